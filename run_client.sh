#!/usr/bin/env bash
# Runs the demo and then the prompt, against a cluster that is started first if nothing answers. See usage below.
#
# Environment: as for deploy.sh.
set -euo pipefail
cd "$(dirname "$0")"

base_tcp=${KVPAXOS_BASE_TCP:-1111}
base_udp=${KVPAXOS_BASE_UDP:-5555}
logs=${KVPAXOS_LOGS:-logs}
bin=${KVPAXOS_BIN:-${CARGO_TARGET_DIR:-target}/release}

usage() {
    cat >&2 <<'TEXT'
usage: bash run_client.sh TCP|UDP              the client is named "client" and asks replica 0 first
       bash run_client.sh NAME PORT TCP|UDP    e.g. my-client 1111 TCP; the replica on that port is asked first
Over UDP, what does not fit a datagram goes over TCP.
NAME is for the logs: letters, digits, dots, dashes and underscores, at most 64.
TEXT
    exit 2
}

later() {
    echo "run_client: $1 comes with a later release; use: bash run_client.sh NAME PORT TCP|UDP" >&2
    exit 2
}

[[ ${1:-} == --docker ]] && later "running the client in Docker"
case $# in
    1) name=client port="" protocol=$1 ;;
    3) name=$1 port=$2 protocol=$3 ;;
    *) usage ;;
esac
[[ $name =~ ^[A-Za-z0-9._-]{1,64}$ ]] || usage
case ${protocol^^} in
    TCP) scheme=tcp base=$base_tcp ;;
    UDP) scheme=udp base=$base_udp ;;
    *) usage ;;
esac
port=${port:-$base}
[[ $port =~ ^[1-9][0-9]{0,4}$ ]] || usage
((port <= 65535)) || usage

# The replica on the given port first, then the others.
asked=$scheme://127.0.0.1:$port
for ((other = base; other < base + 5; other++)); do
    ((other == port)) || asked+=",$scheme://127.0.0.1:$other"
done
endpoints=$asked
if [[ $scheme == udp ]]; then
    for ((other = base_tcp; other < base_tcp + 5; other++)); do endpoints+=",tcp://127.0.0.1:$other"; done
fi

# What is typed here is for the client, not for what runs before it.
bash deploy.sh --build </dev/null
mkdir -p "$logs"
client=("$bin/kvpaxos-client" --endpoints "$endpoints" --name "$name" --log-file "$logs/client-$name.log")
if ! "$bin/kvpaxos-client" --endpoints "$asked" status </dev/null >/dev/null 2>&1; then
    echo "No replica answers at $asked, so deploy.sh is run."
    bash deploy.sh </dev/null
fi
exec "${client[@]}" demo
