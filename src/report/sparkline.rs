//! A curve in one line of text.

/// One column of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    /// No sample.
    Empty,
    /// Samples, and none had data.
    Missing,
    /// The value furthest from what is usual.
    Value(f64),
}

/// Eighths of a block, lowest first.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The same idea in ASCII, lowest first.
const ASCII: [char; 8] = ['_', '.', ',', '-', '~', '=', '*', '#'];

/// Spreads samples (`offset` in milliseconds from the left edge, value) over `columns`, `total` milliseconds
/// wide. Of several in one column the one furthest from `usual` is kept: a short outage must show.
pub(super) fn columns(samples: &[(i64, Option<f64>)], total: i64, columns: usize, usual: f64) -> Vec<Cell> {
    let mut cells = vec![Cell::Empty; columns];
    for &(offset, value) in samples {
        let Some(cell) = cells.get_mut(column(offset, total, columns)) else { continue };
        *cell = match (*cell, value.filter(|value| value.is_finite())) {
            (Cell::Value(kept), Some(value)) if (kept - usual).abs() >= (value - usual).abs() => {
                Cell::Value(kept)
            }
            (_, Some(value)) => Cell::Value(value),
            (Cell::Value(kept), None) => Cell::Value(kept),
            (_, None) => Cell::Missing,
        };
    }
    cells
}

/// In which of `columns` an offset falls.
pub(super) fn column(offset: i64, total: i64, columns: usize) -> usize {
    let last = columns.saturating_sub(1);
    if total <= 0 || offset <= 0 {
        return 0;
    }
    // 128 bits: milliseconds of years times columns.
    let place = i128::from(offset) * columns as i128 / i128::from(total);
    usize::try_from(place).map_or(last, |place| place.min(last))
}

/// The curve, scaled from its smallest to its largest value; a flat one runs in the middle. Between samples
/// the last value stands. `?` is where there was no data.
pub(super) fn draw(cells: &[Cell], unicode: bool) -> String {
    let values =
        cells.iter().filter_map(|cell| if let Cell::Value(value) = cell { Some(*value) } else { None });
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let levels = if unicode { BLOCKS } else { ASCII };
    let level = |value: f64| {
        if high <= low {
            return levels[3];
        }
        // Both are finite and high is above low: the share lies between 0 and 1.
        let share = ((value - low) / (high - low)).clamp(0.0, 1.0);
        levels[(share * 7.0).round() as usize]
    };
    let last = cells.iter().rposition(|cell| *cell != Cell::Empty).unwrap_or(0);
    let mut drawn = ' ';
    let mut line = String::with_capacity(cells.len() * 3);
    for (place, cell) in cells.iter().enumerate() {
        drawn = match cell {
            Cell::Value(value) => level(*value),
            Cell::Missing => '?',
            Cell::Empty if place > last => ' ',
            Cell::Empty => drawn,
        };
        line.push(drawn);
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_outage_shows_and_missing_data_too() {
        let samples: Vec<(i64, Option<f64>)> = (0..100)
            .map(|i| (i * 1000, if i >= 95 { None } else { Some(if i == 50 { 0.0 } else { 1.0 }) }))
            .collect();
        let cells = columns(&samples, 100_000, 20, 1.0);
        assert_eq!(draw(&cells, true), "██████████▁████████?");
        assert_eq!(draw(&cells, false), "##########_########?");
    }

    #[test]
    fn sparse_samples_hold_their_value_and_end_where_they_end() {
        let cells = columns(&[(0, Some(1.0)), (5_000, Some(3.0)), (7_000, Some(1.0))], 10_000, 10, 1.0);
        assert_eq!(draw(&cells, true), "▁▁▁▁▁██▁  ");
    }

    proptest! {
        #[test]
        fn any_samples_fill_the_line_exactly(
            samples in proptest::collection::vec((any::<i64>(), proptest::option::of(any::<f64>())), 0..20),
            total in any::<i64>(),
            width in 0usize..80,
        ) {
            let cells = columns(&samples, total, width, 0.0);
            prop_assert_eq!(draw(&cells, true).chars().count(), width);
            prop_assert_eq!(draw(&cells, false).chars().count(), width);
        }
    }
}
