//! Manifests that rows are made of. `$NS` is the row's namespace; its pods go to its own nodes.

use std::fmt::Write as _;

/// A namespace that consents, and four nodes in two zones.
pub fn place() -> String {
    format!(
        "{}\n---\n{}",
        namespace("$NS", true),
        nodes(&[("a0", "a"), ("a1", "a"), ("b0", "b"), ("b1", "b")])
    )
}

/// A namespace of the row.
pub fn namespace(name: &str, consents: bool) -> String {
    let consent = if consents { ", firedrill.dev/allowed: \"true\"" } else { "" };
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{row: $NS{consent}}}}}")
}

/// Nodes with room for 20 pods each, by name and zone.
pub fn nodes(nodes: &[(&str, &str)]) -> String {
    nodes_with(nodes, "", 20)
}

/// The same with further labels (`, key: value`) and so many pods each.
pub fn nodes_with(nodes: &[(&str, &str)], labels: &str, pods: u32) -> String {
    let mut text = String::new();
    for (name, zone) in nodes {
        let room = format!("{{cpu: \"8\", memory: 16Gi, pods: \"{pods}\"}}");
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Node\nmetadata:\n  name: $NS-{name}\n  annotations: {{kwok.x-k8s.io/node: fake}}\n  \
             labels: {{row: $NS, node: {name}, kubernetes.io/hostname: $NS-{name}, kubernetes.io/os: linux, kubernetes.io/arch: amd64, topology.kubernetes.io/zone: $NS-{zone}{labels}}}\n\
             status:\n  capacity: {room}\n  allocatable: {room}\n"
        );
    }
    text.trim_start_matches("---\n").to_owned()
}

/// What every pod of a row has in its spec.
fn pod_spec(app: &str, more: &str) -> String {
    format!(
        "      nodeSelector: {{row: $NS}}\n      terminationGracePeriodSeconds: 1\n      topologySpreadConstraints:\n      - {{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {{matchLabels: {{app: {app}}}}}}}\n      containers:\n      - {{name: main, image: registry.example.com/main:1}}\n{more}"
    )
}

/// A Deployment of the row.
pub fn deployment(name: &str, replicas: u32) -> String {
    workload("Deployment", "$NS", name, &format!("  replicas: {replicas}\n"), "")
}

/// The same elsewhere.
pub fn deployment_in(namespace: &str, name: &str, replicas: u32) -> String {
    workload("Deployment", namespace, name, &format!("  replicas: {replicas}\n"), "")
}

/// A Deployment whose pods keep data in an emptyDir volume.
pub fn with_empty_dir(name: &str, replicas: u32) -> String {
    let volume = "      volumes: [{name: data, emptyDir: {}}]\n";
    workload("Deployment", "$NS", name, &format!("  replicas: {replicas}\n"), volume)
}

/// A StatefulSet of the row.
pub fn stateful_set(name: &str, replicas: u32) -> String {
    workload("StatefulSet", "$NS", name, &format!("  replicas: {replicas}\n  serviceName: {name}\n"), "")
}

/// A DaemonSet of the row.
pub fn daemon_set(name: &str) -> String {
    workload("DaemonSet", "$NS", name, "", "")
}

fn workload(kind: &str, namespace: &str, name: &str, spec: &str, pod: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\nspec:\n{spec}  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n{}",
        pod_spec(name, pod)
    )
}

/// A pod that nobody owns.
pub fn bare_pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: $NS, labels: {{app: {name}}}}}\nspec:\n  nodeSelector: {{row: $NS}}\n  containers:\n  - {{name: main, image: registry.example.com/main:1}}"
    )
}

/// A PodDisruptionBudget over `app`.
pub fn budget(name: &str, app: &str, rule: &str) -> String {
    format!(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: {name}, namespace: $NS}}\nspec:\n  {rule}\n  selector: {{matchLabels: {{app: {app}}}}}"
    )
}

/// A HorizontalPodAutoscaler over Deployment `app`, with further labels.
pub fn autoscaler(app: &str, labels: &str) -> String {
    format!(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: {app}, namespace: $NS, labels: {{app: {app}{labels}}}}}\nspec:\n  minReplicas: 1\n  maxReplicas: 10\n  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {app}}}\n  metrics:\n  - {{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 80}}}}}}"
    )
}

/// A Guardrail over the row's namespace.
pub fn guardrail(spec: &str) -> String {
    format!(
        "apiVersion: firedrill.dev/v1alpha1\nkind: Guardrail\nmetadata: {{name: $NS, labels: {{row: $NS}}}}\nspec:\n  namespaceSelector: {{matchLabels: {{row: $NS}}}}\n{spec}"
    )
}

/// A ServiceAccount `drill` that may look at everything, and change what `rules` say in its namespace.
pub fn account(rules: &str) -> String {
    let subjects = "subjects: [{kind: ServiceAccount, name: drill, namespace: $NS}]";
    let rbac = "apiVersion: rbac.authorization.k8s.io/v1";
    format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: drill, namespace: $NS}}\n---\n\
         {rbac}\nkind: ClusterRole\nmetadata: {{name: $NS, labels: {{row: $NS}}}}\nrules:\n- {{apiGroups: ['*'], resources: ['*'], verbs: [get, list, watch]}}\n---\n\
         {rbac}\nkind: ClusterRoleBinding\nmetadata: {{name: $NS, labels: {{row: $NS}}}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: $NS}}\n{subjects}\n---\n\
         {rbac}\nkind: Role\nmetadata: {{name: drill, namespace: $NS}}\nrules:\n- {{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, update, delete]}}\n{rules}\n---\n\
         {rbac}\nkind: RoleBinding\nmetadata: {{name: drill, namespace: $NS}}\nroleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: drill}}\n{subjects}"
    )
}

/// A word that somebody may take back.
pub const WORD: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: word, namespace: $NS}\ndata: {well: \"yes\"}";

/// Measures the Deployment `web` every second; `during` decides what is too little.
pub fn replicas(during: &str) -> String {
    replicas_of("Deployment", "web", during)
}

/// The same of another workload.
pub fn replicas_of(kind: &str, name: &str, during: &str) -> String {
    format!(
        "  - name: replicas\n    kubernetes: {{apiVersion: apps/v1, kind: {kind}, name: {name}}}\n    value: object.status.readyReplicas\n    expect: object.status.readyReplicas == object.spec.replicas\n    during: {during}\n    every: 1s\n    timeout: 1s\n    for: 1s"
    )
}

/// Anything goes while faults are in force.
pub fn any() -> String {
    replicas("\"true\"")
}
