//! What a Prometheus knows of a workload. Only queries.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};

use super::{
    candidates::{Windows, candidates, paced, samples, settle},
    families::{Present, Who, identities, presence},
    found::{Candidate, Found, Metrics, Sought},
};
use crate::{
    api::Signal,
    cluster::Access,
    env::HttpClient,
    probes::{MetricSource, SourceError},
};

/// Asks a source, called `name` on the command line, for the metrics of a workload.
///
/// # Errors
/// Why the source cannot be asked.
pub async fn metrics(
    (access, http): (&Access, &HttpClient),
    (name, source): (&str, &MetricSource),
    found: &Found,
) -> Result<Metrics, SourceError> {
    let asking = Asking { access, http, source };
    let present = asking.present(found).await?;
    let (requests, containers) = paced(&present);
    let windows = Windows {
        requests: asking.window(requests.as_deref()).await,
        containers: asking.window(containers.as_deref()).await,
    };
    let signals = asking.sought(candidates(&present, windows)).await;
    Ok(Metrics::Asked { source: name.to_owned(), signals })
}

struct Asking<'a> {
    access: &'a Access,
    http: &'a HttpClient,
    source: &'a MetricSource,
}

impl Asking<'_> {
    /// The metrics that are there under each identity.
    async fn present(&self, found: &Found) -> Result<Vec<Present>, SourceError> {
        let ways = Who::ALL
            .into_iter()
            .flat_map(|who| identities(found, who).into_iter().map(move |identity| (who, identity)));
        let asked = ways.map(|(who, identity)| async move {
            let elements = self.source.vector(self.access, self.http, &presence(who, &identity)).await?;
            Ok(Present::read(who, &identity, elements.into_iter().map(|element| element.labels)))
        });
        let mut present = try_join_all(asked).await?;
        present.retain(|present: &Present| !present.metrics.is_empty());
        Ok(present)
    }

    /// The window for the rates of a selector's series.
    async fn window(&self, selector: Option<&str>) -> u64 {
        let samples = match selector {
            Some(selector) => self.number(&samples(selector)).await,
            None => None,
        };
        samples.map_or(60, Windows::for_samples)
    }

    /// The one number that a query gives, if it does.
    async fn number(&self, query: &str) -> Option<f64> {
        let elements = self.source.vector(self.access, self.http, query).await.ok()?;
        match elements.as_slice() {
            [one] => Some(one.value).filter(|value| value.is_finite()),
            _ => None,
        }
    }

    /// Asks every candidate for its number.
    async fn sought(&self, candidates: Vec<Candidate>) -> BTreeMap<Signal, Sought> {
        let asked = candidates.into_iter().map(|candidate| async move {
            let number = self.number(&candidate.query).await;
            (candidate, number)
        });
        settle(join_all(asked).await)
    }
}
