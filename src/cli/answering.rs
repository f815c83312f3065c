//! Whether the Service that `--prometheus` names is there: a proxy says only when it is asked, in the middle of
//! Baseline, that it is not.

use crate::{
    cluster::{Access, ApiError},
    engine::Request,
    env::Env,
    probes::{self, ServiceRef},
    types::{Finding, ObjectRef, codes::guard, nearest},
};

/// That no such Service answers PromQL, or not on that port. Nothing where no probe asks it, and where it may not be
/// read: then the run will tell.
pub(super) async fn absent(env: &Env, request: &Request) -> Option<Finding> {
    let service = request.source.as_ref()?.service.as_ref()?;
    let probe = request.experiment.spec.steady_state.iter().find(|probe| asks(request, probe))?;
    let access = Access::new(env.kube.clone());
    let object = ObjectRef::namespaced("v1", "Service", &service.namespace, &service.name);
    let subject = format!("service/{}/{}", service.namespace, service.name);
    let finding =
        |message: String, remedy: String| Finding::error(guard::NO_SOURCE, &subject, message).remedy(remedy);
    match access.get(&object).await {
        Ok(there) => {
            let ports = there.data["spec"]["ports"].as_array().into_iter().flatten();
            let ports: Vec<u64> = ports.filter_map(|port| port["port"].as_u64()).collect();
            let known = ports.contains(&u64::from(service.port));
            let listed = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            (!known).then(|| {
                let message = format!("it has no port {}, and probe {} asks there", service.port, probe.name);
                finding(message, format!("its ports are {listed}"))
            })
        }
        Err(ApiError::NotFound) => {
            let message = format!("there is no such Service, and probe {} asks it", probe.name);
            Some(finding(message, others(&access, service).await))
        }
        Err(_) => None,
    }
}

/// Whether a probe asks whom the command line names.
fn asks(request: &Request, probe: &crate::api::ProbeSpec) -> bool {
    let own = probes::find(&probe.kind).and_then(|kind| kind.source(&probe.params));
    matches!(own, Some(None)) && request.experiment.spec.prometheus.is_none()
}

/// What there is in its place.
async fn others(access: &Access, service: &ServiceRef) -> String {
    let ServiceRef { name, namespace, .. } = service;
    let list = access.list(&ObjectRef::namespaced("v1", "Service", namespace, ""), "").await;
    let mut names: Vec<String> =
        list.unwrap_or_default().into_iter().filter_map(|one| one.metadata.name).collect();
    names.sort();
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean service/{namespace}/{near}?"),
        None if names.is_empty() => format!("kubectl get services -n {namespace}"),
        None => format!("namespace {namespace} has {}", names.join(", ")),
    }
}
