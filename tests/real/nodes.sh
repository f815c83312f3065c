# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154 # what cluster.sh sets, what controlplane.sh reads
# Two real nodes on one machine: each is a process tree with its own network,
# mount and process namespace, in which containerd, kubelet and kube-proxy run
# as they would on a machine of their own. Sourced by cluster.sh.
#
# The namespaces are what makes it possible to clean up: one kill of the first
# process ends shims and containers, and with the last process go the mounts,
# the pod networks and every iptables rule. Outside stay only one bridge and
# the cgroups, which remove_real takes away.
#
# Cluster number S (claimed) has the network 10.(200+S).0.0/16:
#   .0.1         this machine, on the bridge fdbrS: API server and Prometheus
#   .0.11, .0.12 the nodes real-0, real-1
#   .1.0/24, .2.0/24   their pods
#   .128.0/20    Services, by kube-proxy

REAL_PACKAGES=(iproute2 util-linux runc containernetworking-plugins iptables nftables conntrack jq curl prometheus dnsmasq-base)

# Before the API server starts, since it listens on the bridge.
prepare_real() { # DIR
  local dir=$1
  ((EUID == 0)) || die "real nodes need root"
  apt_install "${REAL_PACKAGES[@]}"
  "$here/image.sh" "$BIN/images.tar"
  choose_slot "$dir"
  ip link add "$BRIDGE" type bridge
  ip addr add "$NET.0.1/24" dev "$BRIDGE"
  ip link set "$BRIDGE" up
  API_HOST=$NET.0.1 SERVICE_CIDR=$NET.128.0/20 SERVICE_FIRST=$NET.128.1
  # Pods find the API server as they do elsewhere, at the Service kubernetes.
  ENDPOINT_RECONCILER=lease
}

choose_slot() { # DIR
  local slot
  for slot in {0..15}; do
    if [[ ! -e /sys/class/net/fdbr$slot ]] && claim "$1" "slot-$slot"; then
      BRIDGE=fdbr$slot NET=10.$((200 + slot))
      echo "$slot" >"$1/slot"
      return
    fi
  done
  die "all 16 networks for real nodes are taken"
}

# The control plane has bound kube-proxy's and the kubelets' roles to the users
# that their certificates name.
start_real() { # DIR
  local number
  start_names "$1"
  for number in 0 1; do start_node "$1" "$number"; done
  start_resource_metrics "$1"
  start_monitoring "$1"
}

# Names of Services mean their addresses; no other name means anything, as nothing is reached outside.
start_names() { # DIR
  local dir=$1
  mkdir -p "$dir/names"
  # In a process namespace of its own, so that its pipeline ends with it.
  spawn "$dir" names unshare --pid --fork --kill-child=KILL "$here/names.sh" "$BIN/kubectl" "$dir/kubeconfig" "$dir"
  spawn "$dir" dns dnsmasq --keep-in-foreground --no-hosts --no-resolv --conf-file=/dev/null --user=root \
    --listen-address="$NET.0.1" --bind-interfaces --hostsdir="$dir/names" --local=/#/ --pid-file=
}

# metrics.k8s.io, out of what the kubelets say: without a network of pods on this machine the API server goes to the
# address itself (--enable-aggregator-routing).
start_resource_metrics() { # DIR
  local dir=$1 port
  port=$(free_port "$dir")
  CGO_ENABLED=0 go build -C "$here/workload" -trimpath -buildvcs=false -o "$dir/resource-metrics" ./resourcemetrics
  spawn "$dir" resource-metrics "$dir/resource-metrics" "$API_HOST:$port" "$BIN/kubectl" "$dir/kubeconfig"
  kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Service
metadata: {name: resource-metrics, namespace: kube-system}
spec: {ports: [{port: 443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: resource-metrics, namespace: kube-system, labels: {kubernetes.io/service-name: resource-metrics}}
addressType: IPv4
ports: [{name: "", port: $port}]
endpoints: [{addresses: ["$API_HOST"], conditions: {ready: true}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: resource-metrics, namespace: kube-system, port: 443}
YAML
}

# --- One node --------------------------------------------------------------

start_node() { # DIR NUMBER
  local dir=$1 number=$2 name=real-$2 node=$1/real-$2
  mkdir -p "$node"/{lib,log,cni,manifests}
  make_cgroups "$(cgroup_name "$dir" "$name")"
  write_containerd_config "$node" "$NET.$((number + 1))"
  write_kubelet_config "$node" "$NET.0.1$((number + 1))" "$(cgroup_name "$dir" "$name")"
  write_proxy_config "$node"
  make_kubeconfig "$dir" "$name" "/O=system:nodes/CN=system:node:$name" "$node/kubelet.kubeconfig"
  make_kubeconfig "$dir" "$name-proxy" /CN=system:kube-proxy "$node/proxy.kubeconfig"
  start_namespaces "$dir" "$name"
  connect_node "$dir" "$number"
  start_node_servers "$dir" "$number"
}

# After `stop`, with the disk that it had: what was in memory is gone, /run and the pods' networks among it.
start_node_again() { # DIR NUMBER
  local dir=$1 number=$2 server slot
  slot=$(cat "$dir/slot")
  BIN=$("$here/build.sh") BRIDGE=fdbr$slot NET=10.$((200 + slot))
  for server in "" -init -containerd -kubelet -proxy; do
    stop_one "$dir" "real-$number$server"
    sed -i "/ real-$number$server\$/d" "$dir/pids"
  done
  # Nor are there control groups: the kubelet would wait for each of their containers.
  remove_cgroups "$(cgroup_name "$dir" "real-$number")"
  make_cgroups "$(cgroup_name "$dir" "real-$number")"
  start_namespaces "$dir" "real-$number"
  connect_node "$dir" "$number"
  start_node_servers "$dir" "$number"
}

# The first process of the node's namespaces. It only waits, and reaps what is
# left to it, as an init does. /run, /var/lib and /var/log are the node's own.
start_namespaces() { # DIR NAME
  local dir=$1 name=$2 node=$1/$2 outer
  rm -f "$node/namespaces"
  # shellcheck disable=SC2016 # expanded inside
  spawn "$dir" "$name" unshare --net --mount --pid --fork --kill-child=KILL --mount-proc \
    bash -euc '
      ip link set lo up
      echo 1 >/proc/sys/net/ipv4/ip_forward
      mount -t tmpfs tmpfs /run
      mkdir /run/lock /run/netns
      mount --bind "$1/log" /var/log
      mount --bind "$1/lib" /var/lib
      mkdir -p /var/lib/kubelet /var/lib/containerd
      mount --bind /var/lib/kubelet /var/lib/kubelet
      mount --make-rshared /
      touch "$1/namespaces"
      while :; do sleep 3600 & wait $!; done' init "$node"
  outer=$!
  wait_for 10 "the namespaces of $name" test -e "$node/namespaces"
  # unshare has one child, the first process inside.
  NODE_PID=$(tr -d ' ' <"/proc/$outer/task/$outer/children")
  echo "$NODE_PID" >"$node/pid"
  record_pid "$dir" "$NODE_PID" "$name-init"
}

on_node() { timeout 60 nsenter --target "$NODE_PID" --net --mount --pid -- "$@"; }

# A cable from the bridge to the node, and the way to the pods of either side.
connect_node() { # DIR NUMBER
  local number=$2 address=$NET.0.1$(($2 + 1)) cable=$BRIDGE-$2
  # That of a node that was killed goes some moments after it.
  ! ip link delete "$cable" 2>/dev/null || sleep 0.1
  # One address of its own for good: its neighbours would look for the former one for most of a minute.
  ip link add "$cable" type veth peer name eth0 address "$(printf '02:fd:00:00:%02x:%02x' "${BRIDGE#fdbr}" "$number")" \
    netns "$NODE_PID"
  ip link set "$cable" master "$BRIDGE" up
  on_node ip addr add "$address/24" dev eth0
  on_node ip link set eth0 up
  on_node ip route add default via "$NET.0.1"
  on_node ip route add "$NET.$((2 - number)).0/24" via "$NET.0.1$((2 - number))"
  ip route replace "$NET.$((number + 1)).0/24" via "$address"
}

start_node_servers() { # DIR NUMBER
  local dir=$1 number=$2 name=real-$2 node=$1/real-$2 zone=a
  spawn "$dir" "$name-containerd" nsenter --target "$NODE_PID" --net --mount --pid -- \
    env "PATH=$BIN:/usr/sbin:/usr/bin:/sbin:/bin" \
    "$BIN/containerd" --config "$node/containerd.toml" --root /var/lib/containerd --state /run/containerd \
    --address /run/containerd/containerd.sock
  wait_up 30 "containerd on $name" on_node "$BIN/ctr" version
  local images
  for images in "$BIN/images.tar" ${IMAGES-}; do
    on_node "$BIN/ctr" -n k8s.io images import --local "$images" >>"$dir/logs/$name-images.log" 2>&1
  done
  spawn "$dir" "$name-kubelet" nsenter --target "$NODE_PID" --net --mount --pid -- \
    env "PATH=$BIN:/usr/sbin:/usr/bin:/sbin:/bin" \
    "$BIN/kubelet" --config "$node/kubelet.yaml" --kubeconfig "$node/kubelet.kubeconfig" \
    --hostname-override "$name" --node-ip "$NET.0.1$((number + 1))" --v 1 \
    --node-labels "bench=real,pool=general,topology.kubernetes.io/zone=$zone"
  spawn "$dir" "$name-proxy" nsenter --target "$NODE_PID" --net --mount --pid -- \
    env PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    "$BIN/kube-proxy" --config "$node/proxy.yaml" --hostname-override "$name"
}

# --- Configuration ---------------------------------------------------------

write_containerd_config() { # NODE POD-NET
  cat >"$1/containerd.toml" <<TOML
version = 3
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.zfs', 'io.containerd.snapshotter.v1.devmapper']
[plugins.'io.containerd.cri.v1.runtime']
# Without CAP_SYS_RESOURCE the kernel refuses a negative value, and runc fails.
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['/usr/lib/cni']
conf_dir = '$1/cni'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = 'docker.io/firedrill/pause:1'
TOML
  cat >"$1/cni/10-bench.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "bench", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "/run/cni-addresses",
            "ranges": [[{"subnet": "$2.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
}

write_kubelet_config() { # NODE ADDRESS CGROUP
  cat >"$1/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $2
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $DIR/pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $DIR/pki/apiserver.crt
tlsPrivateKeyFile: $DIR/pki/apiserver.key
cgroupDriver: cgroupfs
cgroupRoot: /$3
failCgroupV1: false
# The machine's limits are not the node's to set.
enforceNodeAllocatable: []
failSwapOn: false
resolvConf: ""
clusterDNS: [$NET.0.1]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
staticPodPath: $1/manifests
# A test machine's disk may be fuller than a node's should be.
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
maxPods: 110
YAML
}

# masqueradeAll: a pod that reaches a neighbour on its own bridge through a
# Service would otherwise get the answer from an address it never asked.
write_proxy_config() { # NODE
  cat >"$1/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: $1/proxy.kubeconfig}
iptables: {masqueradeAll: true, minSyncPeriod: 100ms}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
YAML
}

# --- Cgroups ---------------------------------------------------------------

cgroup_name() { echo "firedrill-bench-$(cat "$1/slot")-$2"; } # DIR NODE

# Where cgroups are: every v1 hierarchy, or the one of v2.
cgroup_roots() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    echo /sys/fs/cgroup
  else
    findmnt -rn -t cgroup,cgroup2 -o TARGET
  fi
}

make_cgroups() { # NAME
  local root
  for root in $(cgroup_roots); do
    mkdir -p "$root/$1"
    # A v1 cpuset takes no process before it knows its cores and memory.
    if [[ -e $root/$1/cpuset.mems && ! -e $root/cgroup.controllers ]]; then
      cat "$root/cpuset.cpus" >"$root/$1/cpuset.cpus"
      cat "$root/cpuset.mems" >"$root/$1/cpuset.mems"
    fi
  done
}

remove_cgroups() { # NAME
  local root
  for root in $(cgroup_roots); do
    if [[ -d $root/$1 ]]; then
      # A cgroup outlives its last process by a moment.
      wait_for 10 "the end of cgroup $1" remove_cgroup_tree "$root/$1" || true
    fi
  done
}

remove_cgroup_tree() {
  find "$1" -depth -type d -exec rmdir {} + 2>/dev/null || true
  [[ ! -d $1 ]]
}

# --- Away again ------------------------------------------------------------

# What outlives the nodes' processes. Only names that carry our claimed number.
remove_real() { # DIR
  local dir=$1 slot name
  [[ -f $dir/slot ]] || return 0
  slot=$(cat "$dir/slot")
  for name in real-0 real-1; do remove_cgroups "$(cgroup_name "$dir" "$name")"; done
  # The cables go with their namespaces, but some moments later. Routes go with the bridge.
  for name in "fdbr$slot-0" "fdbr$slot-1" "fdbr$slot"; do
    if [[ -e /sys/class/net/$name ]]; then ip link delete "$name" 2>/dev/null || true; fi
  done
}
