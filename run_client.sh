#!/usr/bin/env bash
# Runs the demo of kvpaxos, then the prompt; starts five replicas first if none answers.
#
#   bash run_client.sh TCP                    the same as: bash run_client.sh my-client 1111 TCP
#   bash run_client.sh NAME PORT TCP          ask the replica on PORT first, then the others; NAME is for the log
#
# Commands fed from a pipe run after the demo. The environment of deploy.sh applies here too.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
base_tcp=${KVPAXOS_BASE_TCP:-1111}
logs=${KVPAXOS_LOGS:-$project/logs}
target=${CARGO_TARGET_DIR:-$project/target}
client=$target/release/kvpaxos-client

refuse() {
  echo "run_client.sh: $1" >&2
  sed -n '2,7p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//' >&2
  exit 2
}

case $# in
  1) name=my-client port=$base_tcp protocol=$1 ;;
  3) name=$1 port=$2 protocol=$3 ;;
  *) refuse "one or three arguments are needed, not $#" ;;
esac
case "$protocol" in
  TCP | tcp) ;;
  UDP | udp) echo "run_client.sh: UDP comes with a later release; use TCP" >&2; exit 2 ;;
  *) refuse "the protocol is TCP, not '$protocol'" ;;
esac
[[ $name =~ ^[A-Za-z0-9._-]{1,64}$ ]] || refuse "a name has 1 to 64 letters, digits, dots, dashes or underscores, not '$name'"
[[ $port =~ ^[0-9]{1,5}$ ]] && [ "$port" -ge 1 ] && [ "$port" -le 65535 ] || refuse "a port is 1 to 65535, not '$port'"

endpoints=127.0.0.1:$port
for i in 0 1 2 3 4; do
  [ "$((base_tcp + i))" -eq "$port" ] || endpoints+=,127.0.0.1:$((base_tcp + i))
done

anybody_answers() {
  [ -x "$client" ] && "$client" --endpoints "$endpoints" status --json 2>/dev/null </dev/null | grep -q '"reachable": *true'
}

if ! anybody_answers; then
  echo "no replica answers: starting five with deploy.sh (stop them with: bash deploy.sh --down)"
  bash "$project/deploy.sh" </dev/null
fi
mkdir -p "$logs"
exec "$client" --endpoints "$endpoints" --name "$name" --log-file "$logs/client-$name.log" demo
