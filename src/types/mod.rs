//! Vocabulary: identifiers, durations, amounts, objects, verdicts, findings.
