#!/usr/bin/env bash
# The controller on a real control plane with kwok's nodes: runs that pass, are aborted and deleted in force; replicas
# that are killed, paused and woken; an account, an API server, our definitions and a namespace that go. After each the
# workload is as before and nobody holds anything. Prints a line for each with what it took; exits 1 on any difference.
#
#   controller.sh
#
# FIREDRILL=… is the program, else it is built (debug).
set -Eeuo pipefail
trap 'echo "controller: error: line $LINENO: $BASH_COMMAND" >&2' ERR

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/real/program.sh
source "$here/program.sh"
# shellcheck source=tests/real/drilled.sh
source "$here/drilled.sh"

passes() {
  local begun
  begun=$(now)
  firedrill run --controller experiment/trial -n shop >"$work/follow.log" 2>&1
  clean 'a run that passes, followed' $(($(now) - begun))
  firedrill runs --controller >"$work/runs.log"
  grep -q Passed "$work/runs.log"
}

aborted() {
  begin long
  in_force
  local asked
  asked=$(now)
  firedrill abort "$run" -n shop 2>"$work/abort.log"
  back 20
  local took=$(($(now) - asked))
  verdict Aborted UserAbort
  clean 'aborted in force: asked to back' "$took"
}

# A game day by hand, its gate answered from elsewhere.
game_day() {
  local begun follows
  begun=$(now)
  firedrill run --controller gameday/drill -n shop >"$work/day.log" 2>&1 &
  follows=$!
  run=
  while [[ -z $run ]]; do
    run=$(kubectl get runs -n shop -l firedrill.dev/gameday=drill -o 'jsonpath={.items[0].metadata.name}' 2>/dev/null) || true
    sleep 0.2
  done
  until_is 90 two/gate run "$run" '{.status.currentStep}'
  firedrill confirm "$run" -n shop 2>"$work/confirm.log"
  wait "$follows" || { cat "$work/day.log" >&2; return 1; }
  verdict Passed AllPassed
  firedrill report --controller "$run" >"$work/day-report.log"
  grep -q 'gate two' "$work/day-report.log"
  clean 'a game day of two, followed, its gate answered' $(($(now) - begun))
}

patched() { kubectl patch run "$run" -n shop --type "$1" -p "$2" >/dev/null; } # TYPE PATCH
answered() { # NAME ACTION, by somebody, now
  patched json "[{\"op\":\"add\",\"path\":\"/spec/steps/-\",\"value\":{\"name\":\"$1\",\"action\":\"$2\",\"by\":\"cy\",\"time\":\"$(date -u +%FT%TZ)\"}}]"
}

# All that people say of a game day, by kubectl and nothing else: somebody else agrees, it is held, noted and let go, its
# gate and a step are confirmed, another is skipped. Then the red button, with a fault in force.
by_kubectl() {
  local begun hash
  begun=$(now)
  run=$(kubectl create -n shop -o name -f - <<<"{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {generateName: agreed-}, spec: {gameDayRef: {name: agreed}, requestedBy: ada}}")
  run=${run#*/}
  until_is 30 AwaitingApproval run "$run" '{.status.phase}'
  hash=$(kubectl get run "$run" -n shop -o 'jsonpath={.status.hash}')
  patched merge '{"spec":{"hold":true}}'
  patched merge "{\"spec\":{\"approvals\":[{\"by\":\"bob\",\"hash\":\"$hash\",\"time\":\"$(date -u +%FT%TZ)\"}]}}"
  until_is 30 Held run "$run" '{.status.reason}'
  until_is 1 bob run "$run" '{.status.conditions[?(@.type=="Approved")].message}'
  patched merge '{"spec":{"hold":false}}'
  until_is 60 two/gate run "$run" '{.status.currentStep}'
  patched merge "{\"spec\":{\"notes\":[{\"by\":\"cy\",\"time\":\"$(date -u +%FT%TZ)\",\"text\":\"the queue grows\"}]}}"
  patched merge "{\"spec\":{\"steps\":[{\"name\":\"two/gate\",\"action\":\"Confirm\",\"by\":\"cy\",\"time\":\"$(date -u +%FT%TZ)\"}]}}"
  until_is 30 two/hand-over run "$run" '{.status.currentStep}'
  answered two/pause Skip
  answered two/hand-over Confirm
  kubectl wait -n shop "run/$run" --for=jsonpath='{.status.phase}'=Finished --timeout=30s >/dev/null
  verdict Passed AllPassed
  firedrill report --controller "$run" >"$work/agreed.log"
  grep -q 'the queue grows' "$work/agreed.log"
  clean 'agreed, held, noted, confirmed, skipped by kubectl alone' $(($(now) - begun))
  begin long
  in_force
  kubectl apply --server-side -f - >/dev/null <<<'{apiVersion: firedrill.dev/v1alpha1, kind: Guardrail, metadata: {name: halt}, spec: {}}'
  local asked
  asked=$(now)
  kubectl patch guardrail halt --type merge -p '{"spec":{"halt":true,"haltReason":"a drill"}}' >/dev/null
  back 20
  local took=$(($(now) - asked))
  verdict Aborted Halted
  kubectl patch guardrail halt --type merge -p '{"spec":{"halt":false}}' >/dev/null
  kubectl delete guardrail halt >/dev/null
  clean 'halted by kubectl patch: asked to back' "$took"
}

# Its replica dies with the first experiment of a game day in force.
day_killed() {
  run=$(kubectl create -n shop -o name -f - <<<"{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {generateName: drill-}, spec: {gameDayRef: {name: long}}}")
  run=${run#*/}
  in_force
  replica replica-b
  b=$pid
  sleep 2
  local died
  died=$(now)
  kill -KILL "$1"
  back 30
  local took=$(($(now) - died))
  until_is 60 'Aborted Skipped' run "$run" '{.status.experiments[0].verdict} {.status.experiments[1].verdict}'
  clean 'SIGKILL in a game day: to back, by the survivor' "$took"
}

# What comes due every minute is made, on time, and once.
scheduled() {
  kubectl patch gameday often -n shop --type merge -p '{"spec":{"suspend":false}}' >/dev/null
  local due=$((($(date +%s) / 60 + 1) * 60))
  until_is 75 "often-$((due / 60))" run "often-$((due / 60))" '{.metadata.name}'
  local late=$(($(now) - due * 1000))
  kubectl patch gameday often -n shop --type merge -p '{"spec":{"suspend":true}}' >/dev/null
  run=often-$((due / 60))
  verdict Passed AllPassed
  until_is 10 Passed gameday often '{.status.lastRun.verdict}'
  clean 'a game day that comes due: made so late' "$late"
}

deleted() {
  begin long
  in_force
  local asked
  asked=$(now)
  kubectl delete run "$run" -n shop --wait=true >/dev/null
  back 1
  clean 'deleted in force: asked to gone' $(($(now) - asked))
}

killed() { # of its replica, which is the only one until it is in force
  begin long
  in_force
  replica replica-b
  b=$pid
  sleep 2
  local died
  died=$(now)
  kill -KILL "$1"
  back 30
  local took=$(($(now) - died))
  verdict Aborted RunnerLost
  clean 'SIGKILL of its replica: to back, by the survivor' "$took"
  ((took <= 17000)) || { say "later than the lease and 2 s"; return 1; }
}

# Its file asks for more: the survivor goes on with it, to a pass.
resumed() { # of its replica
  begin lasting
  in_force
  sleep 2
  replica replica-f
  f=$pid
  sleep 2
  local died
  died=$(now)
  kill -KILL "$1"
  sleep 8
  [[ $(kubectl get deployment web -n shop -o 'jsonpath={.spec.replicas}') == 1 ]]
  verdict Passed HypothesisHeld
  until_is 5 2 run "$run" '{.status.runner.epoch}'
  clean 'SIGKILL of its replica: to its end, by the survivor' $(($(now) - died))
}

paused() { # the one that has it is stopped, and woken when another has taken over
  begin long
  in_force
  local who stopped
  who=$(kubectl get run "$run" -n shop -o 'jsonpath={.status.runner.identity}')
  case $who in replica-b-*) stopped=$1 ;; *) stopped=$2 ;; esac
  kill -STOP "$stopped"
  back 30
  verdict Aborted RunnerLost
  local woken
  woken=$(now)
  kill -CONT "$stopped"
  sleep 8
  [[ $(kubectl get run "$run" -n shop -o 'jsonpath={.status.runner.epoch}') == 2 ]]
  clean 'a replica paused, held for dead, and woken' $(($(now) - woken))
}

ends() { # SIGTERM
  begin long
  in_force
  local asked
  asked=$(now)
  kill -TERM "$@"
  back 20
  local took=$(($(now) - asked))
  wait "$@" || { say "it does not end well"; return 1; }
  replica replica-d
  verdict Aborted Signal
  clean 'SIGTERM of all: to back' "$took"
}

account_gone() {
  begin long
  in_force
  local gone
  gone=$(now)
  kubectl delete serviceaccount,rolebinding firedrill -n shop >/dev/null
  back 30
  local took=$(($(now) - gone))
  verdict Aborted AccountGone
  clean 'its account and rights gone: to back' "$took"
  kubectl apply --server-side -f "$here/controller.yaml" >/dev/null
}

# The API server dies under it and comes back: what is in force goes back, whatever that came to.
server_gone() {
  begin long
  in_force
  "$here/cluster.sh" stop apiserver --dir "$dir"
  sleep 6
  "$here/cluster.sh" start apiserver --dir "$dir"
  until_is 30 1 deployment web '{.spec.replicas}' || true
  local there
  there=$(now)
  kubectl patch run "$run" -n shop --type merge -p '{"spec":{"abort":true}}' >/dev/null
  back 30
  until_is 90 Finished run "$run" '{.status.phase}'
  clean 'the API server killed for 6 s in force: there again to back' $(($(now) - there))
}

# Our kinds go with a Run in force: it is put back first, and with the kinds there again all goes on.
kinds_gone() {
  begin long
  in_force
  local gone
  gone=$(now)
  kubectl delete crd runs.firedrill.dev --wait=true >/dev/null
  local took=$(($(now) - gone))
  clean 'the definition of Runs deleted in force: to gone' "$took"
  define
  sleep 2
  passes
}

# A namespace that never ends to terminate holds up nothing but itself.
stuck() {
  sed 's/namespace: shop/namespace: stuck/; s/{name: shop,/{name: stuck,/' "$here/controller.yaml" | kubectl apply --server-side -f - >/dev/null
  kubectl create -n stuck -f - >/dev/null <<<'{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [example.com/held]}}'
  kubectl rollout status -n stuck deployment/web --timeout=60s >/dev/null
  kubectl create -n stuck -f - >/dev/null <<<'{apiVersion: firedrill.dev/v1alpha1, kind: Run, metadata: {name: long-1}, spec: {experimentRef: {name: long}}}'
  kubectl wait -n stuck deployment/web --for=jsonpath='{.status.readyReplicas}'=1 --timeout=30s >/dev/null
  local gone
  gone=$(now)
  kubectl delete namespace stuck --wait=false >/dev/null
  kubectl wait -n stuck run/long-1 --for=delete --timeout=60s >/dev/null
  nobody_holds
  [[ $(kubectl get namespace stuck -o 'jsonpath={.status.phase}') == Terminating ]]
  printf '%-58s %7s ms\n' 'its namespace stuck in Terminating: Run let go' $(($(now) - gone))
  passes
  kubectl patch configmap held -n stuck --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null
  kubectl wait --for=delete namespace/stuck --timeout=60s >/dev/null
}

namespace_gone() {
  begin long
  in_force
  local gone
  gone=$(now)
  kubectl delete namespace shop --wait=true >/dev/null
  nobody_holds
  printf '%-58s %7s ms\n' 'its namespace deleted in force: to gone' $(($(now) - gone))
  firedrill report --controller "$run" >"$work/report.log" || true
  grep -q "$run" "$work/report.log"
}

stage

replica replica-a
a=$pid
passes
# Without policies, which it says, and with the kinds of this version.
firedrill doctor --installation >"$work/doctor.log"
grep -q '4 of 4 as this version has them' "$work/doctor.log"
grep -q '1 replica at work' "$work/doctor.log"
game_day
by_kubectl
scheduled
aborted
deleted
killed "$a"
replica replica-c
c=$pid
sleep 2
paused "$b" "$c"
kill -TERM "$b"
wait "$b"
day_killed "$c"
resumed "$b"
b=$f
replica replica-e
c=$pid
account_gone
server_gone
kinds_gone
stuck
ends "$b" "$c"
namespace_gone
