# shellcheck shell=bash
# What the bench's scripts share: messages, bounded waits, recorded processes,
# claimed ports and subnets, Debian packages. Sourced; expects `set -euo pipefail`.

log() { echo "bench: $*" >&2; }
die() {
  log "error: $*"
  exit 1
}

# wait_for SECONDS WHAT COMMAND...: every wait has an end, and says what it waited for.
wait_for() {
  local limit=$1 what=$2 deadline=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || {
      log "error: waited $limit s for $what"
      return 1
    }
    sleep 0.1
  done
}

# wait_up: the same, but gives up at once when a server of DIR has ended.
wait_up() {
  local limit=$1 what=$2 deadline=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    all_alive "$DIR" || return 1
    ((SECONDS < deadline)) || {
      log "error: waited $limit s for $what"
      return 1
    }
    sleep 0.1
  done
}

# --- Processes -------------------------------------------------------------

# A pid is used again after its process is gone; with its start time it is one
# process. One that has ended and was not reaped yet has none.
start_time() { # PID
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }"
  [[ ${fields[0]} != Z ]] || return 1
  echo "${fields[19]}"
}

alive() { [[ -n $2 && $(start_time "$1") == "$2" ]]; } # PID START
not_alive() { ! alive "$@"; }

record_pid() { # DIR PID NAME
  echo "$2 $(start_time "$2" || true) $3" >>"$1/pids"
}

# spawn DIR NAME COMMAND...: a server in a session of its own (the caller's
# Ctrl-C is not its), with its output in a log. Its command is kept for `start`.
spawn() {
  local dir=$1 name=$2
  shift 2
  printf '%q ' "$@" >"$dir/commands/$name"
  setsid "$@" </dev/null >>"$dir/logs/$name.log" 2>&1 &
  record_pid "$dir" "$!" "$name"
  disown
}

all_alive() { # DIR
  local pid start name
  while read -r pid start name; do
    alive "$pid" "$start" || {
      log "error: $name has ended by itself"
      return 1
    }
  done <"$1/pids"
}

# Ends everything recorded in DIR/pids, last started first. Killed outright:
# nothing here has a state worth saving, and a server's polite end takes seconds.
stop_recorded() { # DIR
  local dir=$1 pid start name
  [[ -f $dir/pids ]] || return 0
  while read -r pid start name; do
    if alive "$pid" "$start"; then kill -KILL "$pid" 2>/dev/null || true; fi
  done < <(tac "$dir/pids")
  while read -r pid start name; do
    wait_for 10 "the end of $name ($pid)" not_alive "$pid" "$start" || true
  done < <(tac "$dir/pids")
}

# stop_one DIR NAME and start_one DIR NAME: one server, for drills of the servers themselves.
stop_one() {
  local pid start server
  read -r pid start < <(awk -v name="$2" '$3 == name {print $1, $2}' "$1/pids" | tail -n 1) || die "no server $2"
  if alive "$pid" "$start"; then
    server=$pid
    # What it has started would outlive it: it only waits.
    if [[ $(<"/proc/$pid/comm") == nsenter ]]; then server=$(tr -d ' ' <"/proc/$pid/task/$pid/children"); fi
    kill -KILL "$server"
  fi
  wait_for 10 "the end of $2 ($pid)" not_alive "$pid" "$start"
}

start_one() {
  local -a command
  [[ -f $1/commands/$2 ]] || die "no server $2"
  stop_one "$1" "$2"
  sed -i "/ $2\$/d" "$1/pids"
  eval "command=($(<"$1/commands/$2"))"
  spawn "$1" "$2" "${command[@]}"
}

show_logs() { # DIR
  local file
  for file in "$1"/logs/*.log; do
    [[ -s $file ]] || continue
    echo "--- the end of ${file##*/}" >&2
    tail -n 8 "$file" | cut -c1-400 >&2
  done
}

# --- Claims ----------------------------------------------------------------

# Two clusters may start at the same moment: a port or subnet is claimed by a
# file that names the state directory, and is free again when that is gone.
claims=${TMPDIR:-/tmp}/firedrill-bench-claims-$UID

claim() { # DIR NAME
  local dir=$1 file=$claims/$2 holder
  mkdir -p "$claims"
  if holder=$(cat "$file" 2>/dev/null) && [[ -n $holder && ! -d $holder ]]; then rm -f "$file"; fi
  (set -o noclobber && echo "$dir" >"$file") 2>/dev/null
}

release_claims() { # DIR
  local file
  for file in "$claims"/*; do
    if [[ -f $file && $(cat "$file") == "$1" ]]; then rm -f "$file"; fi
  done
  rmdir "$claims" 2>/dev/null || true
}

port_in_use() { # PORT
  local hex
  hex=$(printf ':%04X ' "$1")
  cut -d: -f2,3 /proc/net/tcp /proc/net/tcp6 | grep -q "$hex"
}

# Below the ephemeral range, so that no outgoing connection takes it meanwhile.
free_port() { # DIR
  local port
  for _ in {1..200}; do
    port=$((20000 + RANDOM % 12000))
    if ! port_in_use "$port" && claim "$1" "port-$port"; then
      echo "$port"
      return
    fi
  done
  die "no free port between 20000 and 32000"
}

# --- Debian ----------------------------------------------------------------

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# apt_install PACKAGE...: only what is missing; no service is started by it.
apt_install() {
  local package missing=()
  for package in "$@"; do installed "$package" || missing+=("$package"); done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "please install: ${missing[*]}"
  log "installing ${missing[*]}"
  local policy=/usr/sbin/policy-rc.d made=
  if [[ ! -e $policy ]]; then
    # What Debian asks before a package starts its service; 101 says no.
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made=yes
  fi
  local rc=0
  {
    timeout 180 apt-get update -qq &&
      DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y -qq --no-install-recommends "${missing[@]}"
  } >&2 || rc=$?
  [[ -z $made ]] || rm -f "$policy"
  # Nor with the next boot.
  if [[ " ${missing[*]} " == *' prometheus '* ]]; then systemctl disable prometheus >/dev/null 2>&1 || true; fi
  ((rc == 0)) || die "could not install ${missing[*]}"
}
