# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # what cluster.sh sets and reads
# A real Prometheus that scrapes every pod with a port named http, each second.
# Sourced by cluster.sh. It listens on the bridge, where this machine and the
# pods reach it.

start_monitoring() { # DIR
  local dir=$1 port
  port=$(free_port "$dir")
  PROMETHEUS=http://$API_HOST:$port
  write_prometheus_config "$dir"
  # In a process namespace of its own, so that its pipeline ends with it.
  spawn "$dir" targets unshare --pid --fork --kill-child=KILL \
    "$here/targets.sh" "$BIN/kubectl" "$dir/kubeconfig" "$dir/targets.json"
  spawn "$dir" prometheus prometheus --config.file="$dir/prometheus.yaml" \
    --storage.tsdb.path="$dir/prometheus" --web.listen-address="$API_HOST:$port" --log.level=warn
  expose_prometheus "$port"
  wait_up 30 "Prometheus" curl -sf --noproxy '*' --max-time 2 "$PROMETHEUS/-/ready"
  wait_up 60 "the Service prometheus" \
    kubectl get --raw /api/v1/namespaces/monitoring/services/prometheus:9090/proxy/-/ready
}

write_prometheus_config() { # DIR
  cat >"$1/prometheus.yaml" <<YAML
global: {scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}
rule_files: [$1/rules.yaml]
scrape_configs:
- job_name: pods
  file_sd_configs: [{files: [$1/targets.json]}]
YAML
  # What the rows of the table wait to be told of.
  cat >"$1/rules.yaml" <<'YAML'
groups:
- name: bench
  rules:
  - alert: ManyErrors
    expr: |
      sum by (app) (rate(http_requests_total{app="kitchen",code=~"5.."}[10s]))
        / sum by (app) (rate(http_requests_total{app="kitchen"}[10s])) > 0.05
    for: 3s
    labels: {severity: page}
YAML
}

# The API server's proxy goes to nothing but pods, so one on each node passes on
# to Prometheus. A DaemonSet's, since a drain leaves those where they are.
expose_prometheus() { # PORT
  kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: v1
kind: Service
metadata: {name: prometheus, namespace: monitoring}
spec:
  selector: {app: prometheus}
  ports: [{name: web, port: 9090, targetPort: web}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: prometheus, namespace: monitoring}
spec:
  selector: {matchLabels: {app: prometheus}}
  template:
    metadata: {labels: {app: prometheus}}
    spec:
      nodeSelector: {bench: real}
      terminationGracePeriodSeconds: 1
      tolerations: [{operator: Exists}]
      containers:
      - name: relay
        image: docker.io/firedrill/demo-shop:1
        imagePullPolicy: Never
        args: [relay, "$API_HOST:$1"]
        env: [{name: PORT, value: "9090"}]
        ports: [{name: web, containerPort: 9090}]
        readinessProbe: {httpGet: {path: /-/ready, port: web}, periodSeconds: 1}
YAML
}
