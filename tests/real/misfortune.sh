#!/usr/bin/env bash
# What can go wrong around the controller, on a real control plane with kwok's nodes: Events are refused and notices
# reach nobody, rights are withdrawn in force, somebody plants marks, game days come due while no replica lives, and what
# a dead replica has sent last arrives when its Run was put back. After each the workload is as before and nobody holds
# anything. Prints a line for each with what it took; exits 1 on any difference.
#
#   misfortune.sh
#
# FIREDRILL=… is the program, else it is built (debug).
set -Eeuo pipefail
trap 'echo "misfortune: error: line $LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/real/program.sh
source "$here/program.sh"
# shellcheck source=tests/real/drilled.sh
source "$here/drilled.sh"

scaled() { # REPLICAS MANAGER
  kubectl patch deployment web -n shop --subresource=scale --type merge -p "{\"spec\":{\"replicas\":$1}}" --field-manager="$2" >/dev/null
}

# No Event is taken, and the webhook's host is known to nobody.
unheard() {
  kubectl apply --server-side -f - >/dev/null <<'YAML'
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-events}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: ["", events.k8s.io], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: [events]}
  matchConditions: [{name: here, expression: "request.namespace == 'shop'"}]
  validations: [{expression: "false", message: nobody hears of it}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-events}
spec: {policyName: no-events, validationActions: [Deny]}
---
apiVersion: firedrill.dev/v1alpha1
kind: Guardrail
metadata: {name: hooks}
spec: {probeHosts: [hooks.invalid]}
---
apiVersion: firedrill.dev/v1alpha1
kind: GameDay
metadata: {name: unheard, namespace: shop}
spec:
  experiments: [{name: trial}]
  notifications: [{name: nobody, webhook: {url: "http://hooks.invalid/drills"}}]
YAML
  # A policy holds a moment after it is there.
  local deadline=$((SECONDS + 30)) begun
  while kubectl create -n shop --dry-run=server -f - >/dev/null 2>&1 \
    <<<'{apiVersion: v1, kind: Event, metadata: {name: any}, involvedObject: {namespace: shop}}'; do
    ((SECONDS < deadline)) || { say 'Events are still taken'; return 1; }
    sleep 0.2
  done
  begun=$(now)
  firedrill run --controller gameday/unheard -n shop >"$work/unheard.log" 2>&1 || { cat "$work/unheard.log" >&2; return 1; }
  clean 'Events refused and a webhook that is nowhere: a pass' $(($(now) - begun))
  grep -q 'notification nobody' "$work/replica-a.log"
  kubectl delete validatingadmissionpolicybinding,validatingadmissionpolicy no-events >/dev/null
  kubectl delete guardrail hooks >/dev/null
}

# What kubectl shows of all that, as a table.
columns() {
  local kind
  header() { kubectl get "$@" | head -n 1 | tr -s ' ' | sed 's/ $//'; }
  [[ $(header runs -n shop -o wide) == 'NAME SUBJECT PHASE STEP VERDICT RTO RECOVERY RESIDUE REASON REQUESTED-BY SEED AGE' ]]
  [[ $(header gamedays -n shop) == 'NAME SCHEDULE TIME-ZONE SUSPEND NEXT LAST-VERDICT AGE' ]]
  [[ $(header experiments -n shop -o wide) == 'NAME READY LAST-VERDICT LAST-RUN HYPOTHESIS AGE' ]]
  # No step any more; how long it took to heal, and to recover.
  kubectl get runs -n shop -l firedrill.dev/gameday=unheard --no-headers >"$work/columns.log"
  grep -Eq '^unheard-\S+ +GameDay/unheard +Finished +Passed +[0-9.]+m?s +[0-9.]+m?s +0 +[0-9]+s$' "$work/columns.log"
  kubectl get gamedays -n shop --no-headers | grep -Eq '^often +\* \* \* \* \* +UTC +true '
  for kind in experiments gamedays; do
    kubectl wait -n shop "$kind" --all --for=condition=Ready --timeout=10s >/dev/null
  done
}

# Its account is there and may nothing any more.
withdrawn() {
  begin long
  in_force
  local gone
  gone=$(now)
  kubectl delete rolebinding firedrill -n shop >/dev/null
  kubectl patch run "$run" -n shop --type merge -p '{"spec":{"abort":true}}' >/dev/null
  back 30
  local took=$(($(now) - gone))
  until_is 90 Finished run "$run" '{.status.phase}'
  clean 'its rights withdrawn in force, and aborted: to back' "$took"
  kubectl apply --server-side -f "$here/controller.yaml" >/dev/null
}

# A tenant marks a workload of theirs as if a run had left it at no replicas. Nobody acts on that by themselves: neither
# a replica that starts, nor a Run there.
planted() {
  local begun
  begun=$(now)
  kubectl label deployment web -n shop firedrill.dev/run=trial-0a1b2c >/dev/null
  scaled 5 bench
  scaled 4 'firedrill:trial-0a1b2c:replicas=0'
  replica replica-p
  sleep 20
  until_is 1 4 deployment web '{.spec.replicas}'
  kill -TERM "$pid"
  wait "$pid"
  # A Run waits for whoever holds it, and says so.
  begin trial
  local deadline=$((SECONDS + 30))
  until [[ $(kubectl get run "$run" -n shop -o 'jsonpath={.status.message}') == *trial-0a1b2c* ]]; do
    ((SECONDS < deadline)) || { say 'the Run does not say what it waits for'; return 1; }
    sleep 0.5
  done
  until_is 1 4 deployment web '{.spec.replicas}'
  kubectl label deployment web -n shop firedrill.dev/run- >/dev/null
  scaled 5 bench
  scaled 4 bench
  until_is 90 'Finished Passed' run "$run" '{.status.phase} {.status.verdict}'
  clean 'marks that somebody has planted: acted on by nobody' $(($(now) - begun))
}

# It comes due each minute, and nobody is there for more than one: what is later than its deadline is said, not made.
missed() {
  kubectl patch gameday often -n shop --type merge -p '{"spec":{"suspend":false,"startingDeadline":"5s"}}' >/dev/null
  kill -KILL "$1"
  wait "$1" 2>/dev/null || true
  local due=$((($(date +%s) / 60 + 1) * 60)) begun
  while (($(date +%s) < due + 8)); do sleep 0.5; done
  begun=$(now)
  replica replica-b
  b=$pid
  until_is 40 "$(date -u -d "@$due" +%Y-%m-%dT%H:%M:%SZ)" gameday often '{.status.lastSkipped.time}'
  local took=$(($(now) - begun))
  kubectl patch gameday often -n shop --type merge -p '{"spec":{"suspend":true,"startingDeadline":null}}' >/dev/null
  if kubectl get run "often-$((due / 60))" -n shop >/dev/null 2>&1; then
    say 'what was missed was made'
    return 1
  fi
  # That of the minute after it may have been made meanwhile.
  kubectl wait run -n shop -l firedrill.dev/gameday=often --for=jsonpath='{.status.phase}'=Finished --timeout=90s >/dev/null 2>&1 || true
  clean 'due while no replica lived: to said as missed' "$took"
}

# A replica in a pod dies with its Run in force. The Run is put back; then what it had sent last arrives, and is put back
# as well when its token is dead.
late() { # of the other replica, which ends before
  kill -TERM "$1"
  wait "$1"
  local uid
  kubectl create -f - >/dev/null <<'YAML'
{apiVersion: v1, kind: Pod, metadata: {name: replica-c, namespace: firedrill},
 spec: {terminationGracePeriodSeconds: 0, containers: [{name: controller, image: firedrill}]}}
YAML
  uid=$(kubectl get pod replica-c -n firedrill -o 'jsonpath={.metadata.uid}')
  replica replica-c "$uid"
  c=$pid
  begin long
  in_force
  local by died
  by=$(kubectl get deployment web -n shop --show-managed-fields -o json |
    jq -r '[.metadata.managedFields[].manager | select(startswith("firedrill:"))][0]')
  [[ $by == firedrill:*:replicas=4 ]] || { say "nobody of ours manages the replicas: $by"; return 1; }
  replica replica-d
  d=$pid
  sleep 2
  died=$(now)
  kill -KILL "$c"
  back 30
  scaled 1 "$by"
  back 30
  local took=$(($(now) - died))
  if kubectl get pod replica-c -n firedrill >/dev/null 2>&1; then
    say 'the pod of the dead replica is still there'
    return 1
  fi
  verdict Aborted RunnerLost
  clean 'SIGKILL, and its last write after it was put back: to back' "$took"
}

stage
replica replica-a
a=$pid
unheard
columns
withdrawn
planted
missed "$a"
late "$b"
kill -TERM "$d"
wait "$d"
