//! What a gateway counts of one Service, and how its scrapes see it.
//!
//! Requests come by the hundred between two scrapes. They are counted here; the series change once for each
//! scrape that sees them.

use super::{BOUNDS, Code, ServiceLoad, Totals};
use crate::sim::metrics::scrape::{Scrapes, SeriesId, TargetId};

/// The series of one Service.
struct ServiceSeries {
    codes: [SeriesId; 4],
    /// In the order of [`BOUNDS`], then the infinite one.
    buckets: [SeriesId; 12],
    sum: SeriesId,
    count: SeriesId,
    in_flight: SeriesId,
}

impl ServiceSeries {
    fn register(scrapes: &mut Scrapes, gateway: TargetId, load: &ServiceLoad, now: i64) -> Self {
        let app = ("app", load.app.as_str());
        let service = ("service", load.name.as_str());
        let mut register = |name: &str, more: &[(&str, &str)]| {
            let labels: Vec<(&str, &str)> = [app, service].into_iter().chain(more.iter().copied()).collect();
            scrapes.register(gateway, name, &labels, (now, 0.0))
        };
        let bucket = "http_request_duration_seconds_bucket";
        Self {
            codes: Code::ALL.map(|c| register("http_requests_total", &[("code", c.label())])),
            buckets: std::array::from_fn(|i| {
                let le = BOUNDS.get(i).map_or("+Inf", |(_, le)| le);
                register(bucket, &[("le", le)])
            }),
            sum: register("http_request_duration_seconds_sum", &[]),
            count: register("http_request_duration_seconds_count", &[]),
            in_flight: register("http_requests_in_flight", &[]),
        }
    }
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
    /// None so far. `now` is in milliseconds.
    pub(super) fn new(scrapes: &mut Scrapes, gateway: TargetId, load: &ServiceLoad, now: i64) -> Self {
        Self {
            totals: Totals::default(),
            within: [0; 12],
            seconds: 0.0,
            series: ServiceSeries::register(scrapes, gateway, load, now),
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

    /// Brings the series up to date as far as a scrape up to `past` has seen it.
    pub(super) fn show_until(&mut self, scrapes: &mut Scrapes, past: i64) {
        if self.scrape <= past {
            self.show(scrapes);
        }
    }

    fn show(&mut self, scrapes: &mut Scrapes) {
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
