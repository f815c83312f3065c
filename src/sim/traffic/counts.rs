//! What a gateway counts of one Service, and how its scrapes see it.
//!
//! Requests come by the hundred between two scrapes. They are counted here; the series change once for each
//! scrape that sees them.

use super::{BOUNDS, Code, Totals};
use crate::sim::metrics::scrape::{Scrapes, SeriesId};

/// The series of one Service.
pub(super) struct ServiceSeries {
    pub codes: [SeriesId; 4],
    /// In the order of [`BOUNDS`], then the infinite one.
    pub buckets: [SeriesId; 12],
    pub sum: SeriesId,
    pub count: SeriesId,
    pub in_flight: SeriesId,
}

/// Counts of one Service since the start.
pub(super) struct Counts {
    pub totals: Totals,
    /// Answers by the smallest bound that they are within; the last are beyond all.
    within: [u64; 12],
    seconds: f64,
    series: ServiceSeries,
    /// The latest change that no series shows yet.
    unseen: Option<i64>,
    /// The scrape that will see it.
    scrape: i64,
}

impl Counts {
    pub(super) fn new(series: ServiceSeries) -> Self {
        Self {
            totals: Totals::default(),
            within: [0; 12],
            seconds: 0.0,
            series,
            unseen: None,
            scrape: i64::MIN,
        }
    }

    /// A request is sent. Times are milliseconds.
    pub(super) fn sent(&mut self, scrapes: &mut Scrapes, at: i64) {
        self.change(scrapes, at);
        self.totals.offered += 1;
        self.totals.in_flight += 1;
    }

    /// A client has its answer after so many seconds.
    pub(super) fn answered(&mut self, scrapes: &mut Scrapes, at: i64, (code, seconds): (Code, f64)) {
        self.change(scrapes, at);
        self.totals.in_flight -= 1;
        self.totals.by_code[code as usize] += 1;
        self.within[BOUNDS.partition_point(|(bound, _)| *bound < seconds)] += 1;
        self.seconds += seconds;
    }

    /// Before a change at `at`: what an earlier scrape sees is written.
    fn change(&mut self, scrapes: &mut Scrapes, at: i64) {
        let scrape = scrapes.seen_by(self.series.count, at);
        if scrape != self.scrape {
            self.show(scrapes);
            self.scrape = scrape;
        }
        self.unseen = Some(at);
    }

    /// Brings the series up to date.
    pub(super) fn show(&mut self, scrapes: &mut Scrapes) {
        let Some(at) = self.unseen.take() else { return };
        let series = &self.series;
        scrapes.set(series.in_flight, at, self.totals.in_flight as f64);
        for (id, count) in series.codes.iter().zip(self.totals.by_code) {
            scrapes.set(*id, at, count as f64);
        }
        let mut all = 0;
        for (id, count) in series.buckets.iter().zip(self.within) {
            all += count;
            scrapes.set(*id, at, all as f64);
        }
        scrapes.set(series.count, at, all as f64);
        scrapes.set(series.sum, at, self.seconds);
    }
}
