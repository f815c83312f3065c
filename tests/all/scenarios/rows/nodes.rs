//! What takes real nodes: pods that run a program, a network plugin, resource metrics of kubelets, a Prometheus with a
//! rule. They use the demo workload; firedrill's own image has to be on the nodes (`tests/real/scenarios.sh --real`).

use firedrill::types::Verdict;

use crate::scenarios::row::{Row, row};

const SHOP: &str = include_str!("../../../../experiments/demo/shop.yaml");

/// Something that works for what it is asked, and an autoscaler over it.
const SEARCH: &str = "
apiVersion: v1
kind: Service
metadata: {name: search, namespace: shop}
spec: {selector: {app: search}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: search, namespace: shop}
spec:
  replicas: 1
  selector: {matchLabels: {app: search}}
  template:
    metadata: {labels: {app: search}}
    spec:
      containers:
      - name: search
        image: docker.io/firedrill/demo-shop:1
        imagePullPolicy: Never
        env: [{name: APP, value: search}, {name: SERVICE_TIME, value: 1ms}, {name: CAPACITY, value: '1000'}]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 1}
        resources: {requests: {cpu: 20m, memory: 16Mi}, limits: {memory: 64Mi}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: search, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: search}
  minReplicas: 1
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
";

fn of_the_shop(name: &'static str, steady_state: &str, method: &str, rest: &str) -> Row {
    row(name).objects(&[SHOP]).spec(steady_state, method, rest).on_nodes()
}

/// What is judged on real nodes alone.
pub fn nodes() -> Vec<Row> {
    let shoppers = "  - name: client
    load: {name: shoppers}
    expect: errorRatio <= 0.01 && p99 <= 1.0
    during: errorRatio <= 0.5
    every: 2s
    for: 6s";
    let load = "  load:
  - {name: shoppers, from: Pod, url: 'http://checkout.shop.svc/', requestsPerSecond: 50}
  objectives: {recoverWithin: 1m}";
    let method = "  - name: lose-one
    target: {workload: deployment/checkout}
    podKill: {}
  - name: surge
    load: {from: Pod, url: 'http://checkout.shop.svc/', requestsPerSecond: 100, arrivals: Poisson}
    duration: 10s";
    let replicas = "  - name: replicas
    kubernetes: {apiVersion: apps/v1, kind: Deployment, name: checkout}
    value: object.status.readyReplicas
    expect: object.status.readyReplicas == object.spec.replicas
    during: \"true\"";
    let cut = "  - name: cut
    target: {workload: deployment/checkout, count: 50%}
    dependencyCut: {to: [{service: kitchen}]}
    duration: 5s";
    let pager = "  - name: pager
    alert: {name: ManyErrors, labels: {matchLabels: {app: kitchen}}, firesWithin: 1m, clearsWithin: 2m}
    every: 2s";
    let cook = "  - name: one-cook
    target: {workload: deployment/kitchen}
    scale: {replicas: 1}
    duration: 30s";
    let autoscaler = "  - name: autoscaler
    kubernetes: {apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, name: search}
    value: object.status.currentReplicas
    expect: value >= 1.0
    during: \"true\"";
    let surge = "  - name: surge
    load: {from: Pod, url: 'http://search.shop.svc/', requestsPerSecond: 500}
    duration: 2m
    background: true
  - name: followed
    check: {probe: autoscaler, expect: value >= 2.0, within: 110s}";
    vec![
        of_the_shop("load-from-a-pod", shoppers, method, load).journal(&[
            "LoadPodIntended shoppers",
            "LoadStarted surge",
            "LoadEnded surge",
            "LoadEnded shoppers",
            "Reverted load_shoppers Restored",
        ]),
        of_the_shop("cut-where-the-plugin-does-not-enforce", replicas, cut, "  limits: {duration: 10m}")
            .journal(&[
                "Injected Failed FD4024 still connects to kitchen.shop.svc",
                "Reverted cut.0 Restored",
            ])
            .never(&["EffectSeen"])
            .ends(Verdict::Inconclusive),
        of_the_shop(
            "alert-of-a-real-prometheus",
            pager,
            cook,
            "  objectives: {detectWithin: 1m, recoverWithin: 3m}\n  limits: {pods: 70%}",
        )
        .journal(&["Sampled pager alerting", "Reverted one-cook.0 Restored"]),
        of_the_shop("autoscaler-follows-load", autoscaler, surge, "  objectives: {recoverWithin: 3m}")
            .objects(&[SHOP, SEARCH])
            .differs(&["Deployment", "ReplicaSet", "HorizontalPodAutoscaler"])
            .journal(&["Checked followed Held", "LoadEnded surge"]),
    ]
}
