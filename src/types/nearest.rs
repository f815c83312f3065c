//! The nearest of several names, for "did you mean".

/// The candidate within two edits (insert, delete, replace, swap of neighbours) of `name`, case aside;
/// the first of the nearest; failing that, one of the same words in another order (`killPod`). None if
/// nothing is near, or the name is too short to tell.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let swapped = || {
        let wanted = words(name);
        candidates.iter().copied().find(|candidate| wanted.len() > 1 && words(candidate) == wanted)
    };
    spelt_alike(name, &candidates).or_else(swapped)
}

/// The words of a camelCase name in the order of the alphabet.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars().take(64) {
        if letter.is_uppercase() && words.last().is_some_and(|word| !word.is_empty()) {
            words.push(String::new());
        }
        words.last_mut().expect("there is one from the start").extend(letter.to_lowercase());
    }
    words.sort();
    words
}

fn spelt_alike<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let lower: Vec<char> = name.to_lowercase().chars().take(64).collect();
    let allowed = (lower.len() / 2).min(2);
    candidates
        .iter()
        .copied()
        .filter_map(|candidate| {
            let other: Vec<char> = candidate.to_lowercase().chars().take(64).collect();
            let distance = distance(&lower, &other);
            (distance <= allowed).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Damerau–Levenshtein distance with adjacent swaps (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replace = above[j] + usize::from(a[i] != b[j]);
            let mut best = replace.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_edits_are_near_and_three_are_not() {
        let names = ["podKill", "podEvict", "nodeDrain"];
        for (name, near) in [
            ("podkill", Some("podKill")),
            ("podKil", Some("podKill")),
            ("opdKill", Some("podKill")),
            ("nodeDrian", Some("nodeDrain")),
            ("killPod", Some("podKill")),
            ("drainNode", Some("nodeDrain")),
            ("killNode", None),
            ("x", None),
        ] {
            assert_eq!(nearest(name, names), near, "{name}");
        }
        assert_eq!(nearest("", names), None);
    }
}
