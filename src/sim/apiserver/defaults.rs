//! Defaults that the API server fills in (pkg/apis/*/*/defaults.go of kubernetes v1.36), and what it sets
//! itself when an object is created (PrepareForCreate of each registry's strategy, and admission).

use crate::sim::store::{Kind, Selector, Store};
use serde_json::{Map, Value, json};

/// Sets a field that is absent or null.
pub(super) fn default(map: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field.into(), value.into());
    }
}

fn spec(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.as_object_mut()?.entry("spec").or_insert_with(|| json!({})).as_object_mut()
}

/// What the API server makes of a pod that a controller creates from a template: defaults, admission, status.
pub(in crate::sim) fn complete_pod(pod: &mut Value) {
    pod["status"] = json!({"phase": "Pending", "qosClass": qos(&pod["spec"])});
    pod_admission(pod);
    apply(&Kind::POD, pod);
}

/// What creation sets, before [`apply`].
pub(super) fn on_create(store: &Store, kind: &Kind, object: &mut Value) {
    match (kind.group.as_ref(), kind.plural.as_ref()) {
        ("", "pods") => {
            object["status"] = json!({"phase": "Pending", "qosClass": qos(&object["spec"])});
            pod_admission(object);
        }
        ("", "namespaces") => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            object["spec"]["finalizers"] = json!(["kubernetes"]);
            object["status"] = json!({"phase": "Active"});
        }
        ("", "persistentvolumeclaims") => object["status"] = json!({"phase": "Pending"}),
        ("", "services") => {
            object["status"] = json!({"loadBalancer": {}});
            allocate_address(store, object);
        }
        // A node brings its own status: so does a kubelet that registers.
        ("", "nodes") => {
            // Structs of the Go type, which are written even when empty.
            let Some(status) = object.as_object_mut().map(|m| m.entry("status").or_insert_with(|| json!({})))
            else {
                return;
            };
            if let Some(status) = status.as_object_mut() {
                default(status, "daemonEndpoints", json!({"kubeletEndpoint": {"Port": 0}}));
                default(
                    status,
                    "nodeInfo",
                    json!({"architecture": "", "bootID": "", "containerRuntimeVersion": "",
                    "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "",
                    "operatingSystem": "", "osImage": "", "systemUUID": ""}),
                );
            }
        }
        ("apiextensions.k8s.io", _) => {}
        ("policy", _) => {
            object["status"] =
                json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
        }
        _ if kind.status => drop_status(object),
        _ => {}
    }
}

fn drop_status(object: &mut Value) {
    object.as_object_mut().map(|m| m.remove("status"));
}

/// A free address of 10.96.0.0/16 for a Service that wants one.
fn allocate_address(store: &Store, service: &mut Value) {
    let kind = service["spec"]["type"].as_str().unwrap_or("ClusterIP");
    if kind == "ExternalName" || service["spec"]["clusterIP"].as_str().is_some_and(|ip| !ip.is_empty()) {
        return;
    }
    let taken: Vec<String> = store
        .list(&Kind::SERVICE, None, &Selector::everything())
        .iter()
        .filter_map(|s| s.field::<Value>("spec").ok()?["clusterIP"].as_str().map(ToString::to_string))
        .collect();
    let free = (1..=255_u32)
        .flat_map(|a| (1..255_u32).map(move |b| format!("10.96.{a}.{b}")))
        .find(|ip| !taken.contains(ip));
    if let Some(ip) = free {
        service["spec"]["clusterIPs"] = json!([ip]);
        service["spec"]["clusterIP"] = ip.into();
    }
}

/// Service account and the tolerations for a node that is lost
/// (plugin/pkg/admission/{serviceaccount,defaulttolerationseconds}).
fn pod_admission(pod: &mut Value) {
    let Some(spec) = spec(pod) else { return };
    default(spec, "serviceAccountName", "default");
    let account = spec["serviceAccountName"].clone();
    default(spec, "serviceAccount", account);
    // The admission plugin Priority, without priority classes.
    default(spec, "priority", 0);
    default(spec, "preemptionPolicy", "PreemptLowerPriority");
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(list) = tolerations.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |t: &Value| {
            (t["key"] == key || (t.get("key").is_none_or(Value::is_null) && t["operator"] == "Exists"))
                && t["effect"].as_str().is_none_or(|e| e.is_empty() || e == "NoExecute")
        };
        if !list.iter().any(covers) {
            list.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
            );
        }
    }
}

/// Quality of service class (pkg/apis/core/helper/qos).
fn qos(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = spec["containers"].as_array().into_iter().flatten().collect();
    let of = |c: &Value, kind: &str, what: &str| c["resources"][kind][what].as_str().map(ToString::to_string);
    let any = containers.iter().any(|c| {
        ["cpu", "memory"].iter().any(|r| of(c, "limits", r).is_some() || of(c, "requests", r).is_some())
    });
    let full = containers.iter().all(|c| {
        ["cpu", "memory"].iter().all(|r| {
            let limit = of(c, "limits", r);
            limit.is_some() && of(c, "requests", r).is_none_or(|q| Some(q) == limit)
        })
    });
    match (any, full) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Fills in the defaults of a kind, at creation and at every change.
pub(super) fn apply(kind: &Kind, object: &mut Value) {
    if let Some(map) = object.as_object_mut().filter(|_| kind.status && !kind.is_custom()) {
        // Structs, not pointers, in the Go types: they are always written, even empty.
        default(map, "spec", json!({}));
        default(map, "status", json!({}));
    }
    match (kind.group.as_ref(), kind.plural.as_ref()) {
        ("", "pods") => {
            if let Some(spec) = spec(object) {
                pod_spec(spec);
                default(spec, "enableServiceLinks", true);
                for container in
                    spec.get_mut("containers").and_then(Value::as_array_mut).into_iter().flatten()
                {
                    requests_from_limits(container);
                }
            }
        }
        // `omitempty`: a list whose last taint is taken away is not written, nor is what is false.
        ("", "nodes") => {
            if let Some(spec) = spec(object) {
                spec.retain(|field, value| match field.as_str() {
                    "taints" => *value != json!([]),
                    "unschedulable" => *value != json!(false),
                    _ => true,
                });
            }
        }
        ("", "services") => service(object),
        ("", "configmaps" | "secrets") if kind.plural == "secrets" => {
            if let Some(map) = object.as_object_mut() {
                default(map, "type", "Opaque");
                merge_string_data(map);
            }
        }
        ("apps", plural) => {
            if let Some(spec) = spec(object) {
                workload(plural, spec);
            }
        }
        ("autoscaling", _) => {
            if let Some(spec) = spec(object) {
                default(spec, "minReplicas", 1);
                autoscaler(spec);
            }
        }
        ("networking.k8s.io", _) => {
            if let Some(spec) = spec(object) {
                super::network_policy::defaults(spec);
            }
        }
        ("apiextensions.k8s.io", _) => definition(object),
        _ => {}
    }
}

/// CPU at 80 % without a metric; a `behavior` that is there is complete (pkg/apis/autoscaling/v2/defaults.go).
fn autoscaler(spec: &mut Map<String, Value>) {
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        spec.insert("metrics".to_owned(), json!([metric]));
    }
    let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    for (name, policies) in [("scaleUp", json!([pods, percent])), ("scaleDown", json!([percent]))] {
        let rules = behavior.entry(name).or_insert(Value::Null);
        if rules.is_null() {
            *rules = json!({});
        }
        if let Some(rules) = rules.as_object_mut() {
            default(rules, "selectPolicy", "Max");
            default(rules, "policies", policies);
            if name == "scaleUp" {
                default(rules, "stabilizationWindowSeconds", 0);
            }
        }
    }
}

fn workload(plural: &str, spec: &mut Map<String, Value>) {
    if plural != "daemonsets" {
        default(spec, "replicas", 1);
    }
    if plural != "replicasets" {
        default(spec, "revisionHistoryLimit", 10);
    }
    match plural {
        "deployments" => {
            default(spec, "progressDeadlineSeconds", 600);
            rolling(spec, "strategy", json!({"maxUnavailable": "25%", "maxSurge": "25%"}));
        }
        "statefulsets" => {
            default(spec, "podManagementPolicy", "OrderedReady");
            rolling(spec, "updateStrategy", json!({"partition": 0}));
            let keep = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
            default(spec, "persistentVolumeClaimRetentionPolicy", keep);
        }
        "daemonsets" => rolling(spec, "updateStrategy", json!({"maxUnavailable": 1, "maxSurge": 0})),
        _ => {}
    }
    template(spec);
}

fn rolling(spec: &mut Map<String, Value>, field: &str, parameters: Value) {
    default(spec, field, json!({}));
    if let Some(strategy) = spec.get_mut(field).and_then(Value::as_object_mut) {
        default(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            default(strategy, "rollingUpdate", json!({}));
            if let (Some(Value::Object(have)), Value::Object(wanted)) =
                (strategy.get_mut("rollingUpdate"), parameters)
            {
                wanted.into_iter().for_each(|(k, v)| default(have, &k, v));
            }
        }
    }
}

fn template(spec: &mut Map<String, Value>) {
    let inner = spec.get_mut("template").and_then(|t| t.get_mut("spec")).and_then(Value::as_object_mut);
    if let Some(pod) = inner {
        pod_spec(pod);
    }
}

fn pod_spec(spec: &mut Map<String, Value>) {
    default(spec, "restartPolicy", "Always");
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "securityContext", json!({}));
    if spec.contains_key("serviceAccountName") {
        let account = spec["serviceAccountName"].clone();
        default(spec, "serviceAccount", account);
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(container) = container.as_object_mut() {
                self::container(container);
            }
        }
    }
}

fn container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!tag.contains(':') || tag.ends_with(":latest"));
    default(container, "imagePullPolicy", if latest { "Always" } else { "IfNotPresent" });
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            default(port, "protocol", "TCP");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(Value::Object(probe)) = container.get_mut(probe) else { continue };
        default(probe, "timeoutSeconds", 1);
        default(probe, "periodSeconds", 10);
        default(probe, "successThreshold", 1);
        default(probe, "failureThreshold", 3);
        if let Some(Value::Object(get)) = probe.get_mut("httpGet") {
            default(get, "path", "/");
            default(get, "scheme", "HTTP");
        }
    }
}

/// Of pods, not of templates: what has a limit and no request requests its limit.
fn requests_from_limits(container: &mut Value) {
    let Some(Value::Object(resources)) = container.get_mut("resources") else { return };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    if let Some(requests) = resources.entry("requests").or_insert_with(|| json!({})).as_object_mut() {
        limits.into_iter().for_each(|(k, v)| default(requests, &k, v));
    }
}

fn service(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    default(spec, "type", "ClusterIP");
    default(spec, "sessionAffinity", "None");
    if spec["type"] != "ExternalName" {
        default(spec, "internalTrafficPolicy", "Cluster");
        default(spec, "ipFamilyPolicy", "SingleStack");
        default(spec, "ipFamilies", json!(["IPv4"]));
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            default(port, "protocol", "TCP");
            let number = port.get("port").cloned().unwrap_or_default();
            default(port, "targetPort", number);
        }
    }
}

/// `stringData` of a Secret is moved into `data`, as base64.
fn merge_string_data(secret: &mut Map<String, Value>) {
    let Some(Value::Object(plain)) = secret.remove("stringData") else { return };
    if let Some(data) = secret.entry("data").or_insert_with(|| json!({})).as_object_mut() {
        for (name, value) in plain {
            let bytes = k8s_openapi::ByteString(value.as_str().unwrap_or_default().as_bytes().to_vec());
            data.insert(name, serde_json::to_value(bytes).unwrap_or_default());
        }
    }
}

fn definition(object: &mut Value) {
    let Some(spec) = spec(object) else { return };
    default(spec, "conversion", json!({"strategy": "None"}));
    if let Some(Value::Object(names)) = spec.get_mut("names") {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_string();
        default(names, "singular", kind.to_lowercase());
        default(names, "listKind", format!("{kind}List"));
    }
}
