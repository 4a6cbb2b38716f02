#!/usr/bin/env bash
# Runs the demo and then the prompt, against a cluster that is started first if nothing answers. See usage below.
#
# Environment: as for deploy.sh.
set -euo pipefail
cd "$(dirname "$0")"
source scripts/settings.sh

usage() {
    cat >&2 <<'TEXT'
usage: bash run_client.sh [--docker] TCP|UDP              the client is named "client" and asks replica 0 first
       bash run_client.sh [--docker] NAME PORT TCP|UDP    e.g. my-client 1111 TCP; the replica on that port is asked first
Over UDP, what does not fit a datagram goes over TCP.
NAME is for the logs: letters, digits, dots, dashes and underscores, at most 64.
With --docker the client runs in a container, on the clients' network of replicas that run in Docker.
TEXT
    exit 2
}

chosen=""
if [[ ${1:-} == --docker ]]; then
    chosen=docker
    shift
fi
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
log=$logs/client-$name.log

# Where replica $1 is: in Docker it has a name of its own.
host_of() {
    if [[ $inside ]]; then echo "replica-$1"; else echo 127.0.0.1; fi
}

# Sets asked, the replica on the given port first and then the others, and endpoints: over UDP the TCP ports as well, for
# what does not fit a datagram.
set_endpoints() {
    local i first=$((port - base))
    if [[ $inside ]] && ((first < 0 || first >= ${#replicas[@]})); then
        fail "no replica has the $scheme port $port; they have $base to $((base + ${#replicas[@]} - 1))"
    fi
    asked=$scheme://$(host_of "$first"):$port
    for i in "${replicas[@]}"; do
        ((i == first)) || asked+=",$scheme://$(host_of "$i"):$((base + i))"
    done
    endpoints=$asked
    [[ $scheme == udp ]] || return 0
    for i in "${replicas[@]}"; do endpoints+=",tcp://$(host_of "$i"):$((base_tcp + i))"; done
}

# Without cargo there is no client but the one in the image.
inside=""
if [[ $chosen == docker ]]; then
    choose_place docker
    inside=yes
elif [[ -z ${KVPAXOS_BIN:-} ]]; then
    choose_place ""
    if [[ $place == docker ]] && command -v cargo >/dev/null; then
        build_static_programs
        bin=$static_bin
    elif [[ $place == docker ]]; then
        inside=yes
    else
        build_programs
    fi
fi
set_endpoints
mkdir -p "$logs"

# What is typed here is for the client, not for what runs before it.
anybody_answers() {
    local status=(--endpoints "$asked" status)
    if [[ $inside ]]; then docker_client -- "${status[@]}"; else "$bin/kvpaxos-client" "${status[@]}"; fi \
        </dev/null >/dev/null 2>&1
}
if ! anybody_answers; then
    echo "No replica answers at $asked, so deploy.sh is run."
    bash deploy.sh ${chosen:+--$chosen} </dev/null
fi

if [[ ! $inside ]]; then
    exec "$bin/kvpaxos-client" --endpoints "$endpoints" --name "$name" --log-file "$log" demo
fi
# The log is a file here, written by the client's user: whoever runs this, or for root the one of the image.
user=$(id -u):$(id -g)
touch "$log"
if ((EUID == 0)); then
    user=65532:65532
    chown "$user" "$log"
fi
options=(--interactive --user "$user" --volume "$(realpath "$log"):/client.log:z")
if [[ -t 0 && -t 1 ]]; then options+=(--tty); fi
docker_client "${options[@]}" -- --endpoints "$endpoints" --name "$name" --log-file /client.log demo
