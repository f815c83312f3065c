# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # what cluster.sh sets and reads
# A real Prometheus that scrapes every pod with a port named http, each second.
# Sourced by cluster.sh. It listens on the bridge, where this machine, pods and
# the API server's proxy all reach it: a Service refuses a loopback endpoint.

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
}

write_prometheus_config() { # DIR
  cat >"$1/prometheus.yaml" <<YAML
global: {scrape_interval: 1s, scrape_timeout: 900ms, evaluation_interval: 1s}
scrape_configs:
- job_name: pods
  file_sd_configs: [{files: [$1/targets.json]}]
YAML
}

# Endpoints, since the API server's proxy reads nothing else; the controllers
# copy them to an EndpointSlice for kube-proxy. kubectl warns that they are old.
expose_prometheus() { # PORT
  kubectl apply -f - >/dev/null 2> >(grep -v 'Endpoints is deprecated' >&2) <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
---
apiVersion: v1
kind: Service
metadata: {name: prometheus, namespace: monitoring}
spec:
  ports: [{name: http, port: 9090, targetPort: $1}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: prometheus, namespace: monitoring}
subsets:
- addresses: [{ip: $API_HOST}]
  ports: [{name: http, port: $1}]
YAML
}
