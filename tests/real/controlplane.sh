# shellcheck shell=bash
# shellcheck disable=SC2153,SC2154 # what cluster.sh sets
# The control plane: certificates, etcd, kube-apiserver, kube-controller-manager,
# kube-scheduler and kwok with its nodes. Sourced by cluster.sh.

# --- Certificates ----------------------------------------------------------

make_ca() { # PKI
  mkdir -p "$1"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=bench \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,digitalSignature \
    -keyout "$1/ca.key" -out "$1/ca.crt" 2>/dev/null
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1/sa.key" 2>/dev/null
  openssl pkey -in "$1/sa.key" -pubout -out "$1/sa.pub"
}

# make_cert PKI NAME SUBJECT [SUBJECT-ALT-NAMES]
make_cert() {
  local pki=$1 name=$2 subject=$3 extensions="extendedKeyUsage=clientAuth,serverAuth"
  [[ -z ${4-} ]] || extensions+=$'\n'"subjectAltName=$4"
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" \
    -keyout "$pki/$name.key" 2>/dev/null |
    openssl x509 -req -days 3650 -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -set_serial "0x$(openssl rand -hex 8)" \
      -extfile <(echo "$extensions") -out "$pki/$name.crt" 2>/dev/null
}

# make_kubeconfig DIR NAME SUBJECT FILE: a client of its own certificate, all in one file.
make_kubeconfig() {
  local dir=$1 name=$2 subject=$3 file=$4 pki=$1/pki
  make_cert "$pki" "$name" "$subject"
  cat >"$file" <<YAML
apiVersion: v1
kind: Config
current-context: bench
contexts:
- {name: bench, context: {cluster: bench, user: $name}}
clusters:
- name: bench
  cluster:
    server: https://$API_HOST:$API_PORT
    certificate-authority-data: $(base64 -w0 "$pki/ca.crt")
users:
- name: $name
  user:
    client-certificate-data: $(base64 -w0 "$pki/$name.crt")
    client-key-data: $(base64 -w0 "$pki/$name.key")
YAML
}

make_identities() { # DIR
  local dir=$1 pki=$1/pki
  make_ca "$pki"
  make_cert "$pki" apiserver /CN=kube-apiserver \
    "IP:127.0.0.1,IP:$API_HOST,IP:$SERVICE_FIRST,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
  make_cert "$pki" kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  make_kubeconfig "$dir" admin /O=system:masters/CN=admin "$dir/kubeconfig"
  make_kubeconfig "$dir" controller-manager /CN=system:kube-controller-manager "$dir/controller-manager.kubeconfig"
  make_kubeconfig "$dir" scheduler /CN=system:kube-scheduler "$dir/scheduler.kubeconfig"
}

# --- Servers ---------------------------------------------------------------

start_etcd() { # DIR
  local dir=$1 client=http://127.0.0.1:$ETCD_PORT peer
  peer=http://127.0.0.1:$(free_port "$dir")
  # Nothing of a bench has to survive a power cut.
  spawn "$dir" etcd "$BIN/etcd" --data-dir "$dir/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer"
}

audit_flags() { # DIR
  cat >"$1/audit-policy.yaml" <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
YAML
  # Blocking: a call that has been answered is in the file.
  echo "--audit-policy-file=$1/audit-policy.yaml" "--audit-log-path=$1/audit.log" \
    --audit-log-mode=blocking --audit-log-maxsize=1000
}

start_apiserver() { # DIR
  local dir=$1 pki=$1/pki audit=()
  [[ -z $AUDIT ]] || read -ra audit < <(audit_flags "$dir")
  spawn "$dir" apiserver "$BIN/kube-apiserver" \
    --etcd-servers="http://127.0.0.1:$ETCD_PORT" \
    --bind-address="$API_HOST" --advertise-address="$API_HOST" --secure-port="$API_PORT" --cert-dir="$dir/apiserver" \
    --endpoint-reconciler-type="$ENDPOINT_RECONCILER" --service-cluster-ip-range="$SERVICE_CIDR" \
    --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc \
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
    --kubelet-preferred-address-types=InternalIP \
    --authorization-mode=Node,RBAC --allow-privileged=true --enable-aggregator-routing=true \
    "${audit[@]}"
}

# The controllers' own client limits would make replacement pods slow, which is
# their defaults' doing and not what a drill on this bench is to measure.
# NODE_GRACE: how long a node is believed in that nobody keeps; 50 s is their own default.
start_controllers() { # DIR
  local dir=$1 pki=$1/pki
  spawn "$dir" controller-manager "$BIN/kube-controller-manager" \
    --kubeconfig="$dir/controller-manager.kubeconfig" --secure-port=0 --leader-elect=false \
    --kube-api-qps=500 --kube-api-burst=1000 --use-service-account-credentials=true \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" \
    --concurrent-deployment-syncs=10 --concurrent-replicaset-syncs=10 \
    --horizontal-pod-autoscaler-sync-period=5s --node-monitor-grace-period="${NODE_GRACE:-50s}"
  spawn "$dir" scheduler "$BIN/kube-scheduler" \
    --kubeconfig="$dir/scheduler.kubeconfig" --secure-port=0 --leader-elect=false \
    --kube-api-qps=500 --kube-api-burst=1000
}

start_kwok() { # DIR
  spawn "$1" kwok "$BIN/kwok" --kubeconfig "$1/kubeconfig" --config "$BIN/kwok-stages.yaml" \
    --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake \
    --cidr=10.128.0.1/10 --node-ip=10.127.0.1 --node-lease-duration-seconds=40 \
    --server-address="127.0.0.1:$(free_port "$1")"
}

# --- Objects ---------------------------------------------------------------

kwok_node() { # NUMBER
  local zones=(a b c)
  cat <<YAML
---
apiVersion: v1
kind: Node
metadata:
  name: kwok-$1
  annotations: {kwok.x-k8s.io/node: fake}
  labels:
    kubernetes.io/hostname: kwok-$1
    kubernetes.io/os: linux
    kubernetes.io/arch: amd64
    pool: general
    topology.kubernetes.io/zone: ${zones[$1 % 3]}
status:
  allocatable: {cpu: "64", memory: 256Gi, pods: "256"}
  capacity: {cpu: "64", memory: 256Gi, pods: "256"}
YAML
}

create_kwok_nodes() { # COUNT
  local number
  (($1 > 0)) || return 0
  for ((number = 0; number < $1; number++)); do kwok_node "$number"; done | kubectl create -f - >/dev/null
}

# Ready, and free of the taint that every node is born with.
nodes_ready() { # COUNT
  local ready
  ready=$(kubectl get nodes -o jsonpath='{range .items[*]}{.spec.taints[*].key}|{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' |
    grep -c '^|True$' || true)
  ((ready >= $1))
}

start_control_plane() { # DIR
  local dir=$1
  ETCD_PORT=$(free_port "$dir")
  API_PORT=$(free_port "$dir")
  make_identities "$dir"
  start_etcd "$dir"
  start_apiserver "$dir"
  wait_up 60 "the API server" kubectl get --raw /readyz
  start_controllers "$dir"
  # Without it the first pods of a namespace are refused.
  wait_up 30 "the default service account" kubectl get serviceaccount default
}
