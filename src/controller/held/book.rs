//! The journal of a game day, and what is in it already.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::{
    controller::{
        metrics::Metrics,
        status::Writer as Status,
        work::{Case, WorkError},
    },
    engine::Outside,
    journal::{DayRecord, Record, Writer, Written},
    types::{Epoch, Finding},
};

/// Writes it; what is written is told too.
pub(super) struct Book {
    writer: Writer,
    status: Option<Status>,
    metrics: Metrics,
    /// Parts that were begun, and what was asked.
    known: BTreeSet<String>,
    /// Parts that were refused, and why.
    refused: BTreeMap<String, Vec<Finding>>,
    /// What people have observed.
    notes: BTreeSet<(Written, String)>,
}

impl Book {
    /// A new one.
    pub(super) fn begin(case: &Case) -> Result<Self, WorkError> {
        let writer = Writer::create(&case.segments, &case.id, Epoch(1))?;
        Ok(Self::of(writer, case))
    }

    /// One that another owner has begun.
    pub(super) fn resume(case: &Case) -> Result<Self, WorkError> {
        let (writer, entries) =
            Writer::resume(&case.segments, &case.id, |theirs| Epoch(theirs.0.saturating_add(1)))?;
        let mut book = Self::of(writer, case);
        for entry in &entries {
            if let Record::Day(record) = &entry.record {
                book.know(record);
            }
        }
        Ok(book)
    }

    fn of(writer: Writer, case: &Case) -> Self {
        Self {
            writer,
            status: case.told.as_ref().map(|(_, status)| status.clone()),
            metrics: case.context.settings.metrics.clone(),
            known: BTreeSet::new(),
            refused: BTreeMap::new(),
            notes: BTreeSet::new(),
        }
    }

    /// Writes down what people have observed and what is not there yet.
    pub(super) fn note(&mut self, at: Timestamp, said: Vec<Outside>) -> Result<(), WorkError> {
        for said in said {
            if let Outside::Noted(text, written) = said
                && !self.notes.contains(&(written.clone(), text.clone()))
            {
                self.write(at, DayRecord::Noted { text, written })?;
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, at: Timestamp, record: DayRecord) -> Result<(), WorkError> {
        self.know(&record);
        let entry = self.writer.append(at, Record::Day(record))?;
        if let Record::Day(DayRecord::Over { verdict, .. }) = &entry.record {
            self.metrics.ended(*verdict);
        }
        if let Some(status) = &self.status {
            status.tell(|progress| progress.on(&entry));
        }
        Ok(())
    }

    fn know(&mut self, record: &DayRecord) {
        match record {
            DayRecord::Playing { part, .. } => {
                self.known.insert(part.clone());
            }
            DayRecord::Asked { asked } => {
                self.known.insert(format!("? {}", asked.what));
            }
            DayRecord::Noted { text, written } => {
                self.notes.insert((written.clone(), text.clone()));
            }
            DayRecord::Refused { part, findings } => {
                self.refused.insert(part.clone(), findings.clone());
            }
            _ => {}
        }
    }

    /// Whether that part was begun before.
    pub(super) fn has_begun(&self, part: &str) -> bool {
        self.known.contains(part)
    }

    /// Why that part was refused before, if it was.
    pub(super) fn refusal(&self, part: &str) -> Option<Vec<Finding>> {
        self.refused.get(part).cloned()
    }

    /// Whether it was asked before.
    pub(super) fn has_asked(&self, what: &str) -> bool {
        self.known.contains(&format!("? {what}"))
    }
}
