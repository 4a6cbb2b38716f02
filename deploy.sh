#!/usr/bin/env bash
# Starts five replicas of kvpaxos and waits until they serve; shows, stops or wipes them. Run it again: it starts only
# what is down.
#
#   bash deploy.sh [--local | --docker]     start
#   bash deploy.sh --status                 show each replica
#   bash deploy.sh --down                   stop
#   bash deploy.sh --wipe                   stop and remove the data
#
# Replica i (0 to 4) serves clients on TCP 1111+i and its peers on 7111+i. The environment can move all of it:
# KVPAXOS_BASE_TCP, KVPAXOS_BASE_PEER, KVPAXOS_DIR (data and process ids), KVPAXOS_LOGS.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base_tcp=${KVPAXOS_BASE_TCP:-1111}
base_peer=${KVPAXOS_BASE_PEER:-7111}
dir=${KVPAXOS_DIR:-$project/.kvpaxos}
logs=${KVPAXOS_LOGS:-$project/logs}
target=${CARGO_TARGET_DIR:-$project/target}
server=$target/release/kvpaxos-server
client=$target/release/kvpaxos-client
replicas=(0 1 2 3 4)

usage() {
  sed -n '2,11p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'
}

main() {
  case "${1:-}" in
    "" | --local) [ $# -le 1 ] || refuse "$*"; start "${1:-}" ;;
    --docker) echo "deploy.sh: --docker comes with a later release; --local starts the replicas as processes" >&2; exit 2 ;;
    --status) show_status ;;
    --down) stop_all ;;
    --wipe) stop_all; rm -rf "$dir"; echo "removed the data in $dir" ;;
    -h | --help) usage ;;
    *) refuse "$*" ;;
  esac
}

refuse() {
  echo "deploy.sh: unknown arguments: $*" >&2
  usage >&2
  exit 2
}

start() {
  if [ "$1" = --local ]; then
    echo "starting five replicas as processes, as --local asks"
  else
    echo "starting five replicas as processes: containers come with a later release"
  fi
  build
  mkdir -p "$dir" "$logs"
  local id
  for id in "${replicas[@]}"; do
    if is_running "$id"; then
      echo "r$id runs already, process $(cat "$(pid_file "$id")")"
    else
      start_replica "$id"
    fi
  done
  wait_until_all_serve
  echo "five replicas serve on TCP $base_tcp to $((base_tcp + 4)); logs in $logs, data in $dir"
  echo "stop them with: bash deploy.sh --down"
}

build() {
  if [ -x "$server" ] && [ -x "$client" ] && [ -z "$(find "$project/server/src" "$project/client/src" "$project/common/src" \
    "$project/paxos/src" "$project/Cargo.lock" -newer "$server" -newer "$client" -print -quit)" ]; then
    return
  fi
  command -v cargo >/dev/null || { echo "deploy.sh: cargo is needed to build, and was not found" >&2; exit 1; }
  echo "building (a minute or two the first time)"
  (cd "$project" && cargo build --release --locked --quiet --workspace)
}

pid_file() {
  echo "$dir/replica-$1.pid"
}

# A process id may have been given to somebody else since: the command line tells.
is_running() {
  local file pid
  file=$(pid_file "$1")
  [ -s "$file" ] || return 1
  pid=$(cat "$file")
  [ -r "/proc/$pid/cmdline" ] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "--data $dir/replica-$1 "
}

members() {
  local id list=()
  for id in "${replicas[@]}"; do
    list+=("$id=127.0.0.1:$((base_peer + id))")
  done
  (IFS=, && echo "${list[*]}")
}

endpoints() {
  local id list=()
  for id in "${replicas[@]}"; do
    list+=("127.0.0.1:$((base_tcp + id))")
  done
  (IFS=, && echo "${list[*]}")
}

start_replica() {
  local id=$1
  setsid "$server" --id "$id" --members "$(members)" --tcp "127.0.0.1:$((base_tcp + id))" \
    --data "$dir/replica-$id" --log-file "$logs/replica-$id.log" \
    >>"$logs/replica-$id.out" 2>&1 </dev/null &
  echo $! >"$(pid_file "$id")"
  echo "r$id started, process $!"
}

wait_until_all_serve() {
  local deadline=$((SECONDS + 30)) serving
  while true; do
    serving=$("$client" --endpoints "$(endpoints)" status --json 2>/dev/null | grep -o '"serving": *true' | wc -l)
    [ "$serving" -eq 5 ] && return
    local id
    for id in "${replicas[@]}"; do
      is_running "$id" && continue
      echo "deploy.sh: r$id has ended; the last lines of its log:" >&2
      tail -n 5 "$logs/replica-$id.out" "$logs/replica-$id.log" >&2 || true
      exit 1
    done
    if [ "$SECONDS" -ge "$deadline" ]; then
      echo "deploy.sh: only $serving of 5 replicas serve after 30 seconds; see $logs" >&2
      exit 1
    fi
    sleep 0.1
  done
}

show_status() {
  build
  "$client" --endpoints "$(endpoints)" status
}

stop_all() {
  local id pid
  for id in "${replicas[@]}"; do
    if is_running "$id"; then
      pid=$(cat "$(pid_file "$id")")
      kill -TERM "$pid"
      echo "r$id is asked to stop, process $pid"
    else
      echo "r$id is not running"
    fi
  done
  local deadline=$((SECONDS + 10))
  for id in "${replicas[@]}"; do
    while is_running "$id"; do
      if [ "$SECONDS" -ge "$deadline" ]; then
        echo "deploy.sh: r$id does not stop; its process is $(cat "$(pid_file "$id")")" >&2
        exit 1
      fi
      sleep 0.05
    done
    rm -f "$(pid_file "$id")"
  done
}

main "$@"
