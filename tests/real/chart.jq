# The chart's objects, as a list, with everything in it switched on: each kind that it promises is there by name, and
# what refers to something finds it. Given: $alerts (names), $dashboard, $egress. Gives what does not hold.
def one($kind; $name):
  [.[] | select(.kind == $kind and .metadata.name == $name)] |
  if length == 1 then .[0] else error("\(length) times \($kind) \($name)") end;
def selects($labels): (. // {}) | to_entries | length > 0 and all(.value == $labels[.key]);
def unless($holds; $words): if $holds then empty else $words end;

one("Deployment"; "firedrill") as $deployment |
$deployment.spec.template.metadata.labels as $labels |
$deployment.spec.template.spec.containers[0] as $container |
([$container.ports[].name]) as $ports |
one("Service"; "firedrill-metrics") as $service |
one("PodDisruptionBudget"; "firedrill") as $budget |
one("NetworkPolicy"; "firedrill") as $network |
one("ServiceMonitor"; "firedrill") as $monitor |
one("PrometheusRule"; "firedrill") as $rule |
one("ConfigMap"; "firedrill-dashboard") as $map |
one("Job"; "firedrill-drain") as $drain |
one("Pod"; "firedrill-test") as $test |
one("ServiceAccount"; "firedrill") as $account |
one("ClusterRoleBinding"; "firedrill:metrics") as $scraper |
one("Guardrail"; "halt") as $halt |
one("Guardrail"; "firedrill-drain") as $drained |
one("Role"; "firedrill:journals") as $journals |
[
  unless($deployment.spec.replicas == 2; "not two replicas"),
  unless($deployment.spec.selector.matchLabels | selects($labels); "the Deployment does not select its pods"),
  unless([$container.livenessProbe, $container.readinessProbe | .httpGet.port as $port | $ports | index($port)] | all;
    "a probe asks a port that the container does not name"),
  unless([$container.env[] | select(.name | startswith("OTEL_")) | .value // .valueFrom.secretKeyRef] ==
    ["http://collector.observability:4318", {"name": "collector", "key": "headers"}]; "traces are sent elsewhere"),
  unless([$deployment.spec.template.spec.topologySpreadConstraints[] | select(.labelSelector.matchLabels | selects($labels)) |
    .topologyKey] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]; "replicas are not spread over nodes and zones"),
  unless($budget.spec.minAvailable == 1; "the budget does not keep one"),
  unless($network.spec.policyTypes == ["Ingress", "Egress"]; "the network policy is about \($network.spec.policyTypes)"),
  unless([$network.spec.ingress[].ports[].port as $port | $ports | index($port)] | all; "the network policy opens another port"),
  unless($network.spec.ingress | length == 1; "the network policy lets in \($network.spec.ingress)"),
  unless($network.spec.ingress[0].from[0].namespaceSelector.matchLabels == {"kubernetes.io/metadata.name": "monitoring"};
    "the network policy lets in somebody else than Prometheus"),
  unless($network.spec.egress == $egress; "the network policy lets out \($network.spec.egress)"),
  unless($service.spec.ports | length == 1 and (.[0] | .name == "metrics" and (.targetPort as $port | $ports | index($port)));
    "the Service leads to no port of the container"),
  ([$service.spec.selector, $budget.spec.selector.matchLabels, $network.spec.podSelector.matchLabels][] |
    unless(selects($labels); "\(.) does not select the replicas"),
    unless(selects($drain.spec.template.metadata.labels) or selects($test.metadata.labels) | not; "\(.) selects others too")),
  unless($monitor.spec.selector.matchLabels | selects($service.metadata.labels); "the ServiceMonitor does not find the Service"),
  unless($monitor.spec.endpoints[0] | .port == $service.spec.ports[0].name and .scheme == "https"; "it scrapes another port"),
  unless([$rule.spec.groups[].rules[].alert] == $alerts; "not every alert is in the PrometheusRule"),
  unless($map.data["firedrill.json"] | fromjson == $dashboard; "the dashboard is another one"),
  unless([$scraper.subjects[] | "\(.namespace):\(.name)"] == ["monitoring:prometheus"]; "somebody else may scrape"),
  unless($scraper.roleRef.name == "firedrill:metrics"; "who scrapes has another role"),
  unless($drain.metadata.annotations["helm.sh/hook"] == "pre-delete"; "nothing is drained before it is deleted"),
  unless($drain.spec.template.spec.containers[0].args[0:2] == ["controller", "drain"]; "the drain does something else"),
  unless([$deployment.spec.template.spec, $drain.spec.template.spec, $test.spec | .serviceAccountName == $account.metadata.name] | all;
    "a pod has another account"),
  unless([$halt, $drained | .spec | has("halt") or has("haltReason")] | any | not; "a Guardrail says whether it halts"),
  unless($halt.metadata.annotations["helm.sh/resource-policy"] == "keep"; "the red button goes with the release"),
  unless($journals | .metadata.namespace == "firedrill" and .rules == [{apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list", "watch"]}];
    "the role for journals is another one")
]
