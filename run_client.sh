#!/usr/bin/env bash
# Runs the demo and then the prompt, against a cluster that is started first if it does not serve. See usage below.
set -euo pipefail
cd "$(dirname "$0")"
source scripts/settings.sh

usage() {
    cat <<'TEXT'
usage: bash run_client.sh [--docker | --local] TCP|UDP
       bash run_client.sh [--docker | --local] NAME PORT TCP|UDP

Runs a demo that checks itself, and then gives a prompt, or takes commands from a pipe.
If the replicas do not serve, deploy.sh is run first.

  NAME       for the logs: letters, digits, dots, dashes, underscores, at most 64
  PORT       the replica with this port is asked first, then the others; without NAME
             and PORT it is replica 0
  TCP|UDP    over UDP, what does not fit a datagram goes over TCP
  --docker   the client runs in a container, on the clients' network of replicas in Docker
  --local    the replicas are processes

Its log is logs/client-NAME.log, or logs/client.log without NAME.
KVPAXOS_LOG_LEVEL=debug logs each request and answer. The other variables are those of
deploy.sh and have to be the same: bash deploy.sh --help
TEXT
}

chosen=""
arguments=()
for argument in "$@"; do
    case $argument in
        --help | -h)
            usage
            exit
            ;;
        --docker | --local)
            [[ -z $chosen || --$chosen == "$argument" ]] || misused "--$chosen and $argument cannot both be given"
            chosen=${argument#--}
            ;;
        -*) misused "\"$argument\" is not known" ;;
        *) arguments+=("$argument") ;;
    esac
done
check_settings
case ${#arguments[@]} in
    1) name="" port="" protocol=${arguments[0]} ;;
    3) name=${arguments[0]} port=${arguments[1]} protocol=${arguments[2]} ;;
    *) misused "${#arguments[@]} words are given, not TCP or UDP alone, or NAME PORT TCP|UDP" ;;
esac
case ${protocol^^} in
    TCP) scheme=tcp base=$base_tcp ;;
    UDP) scheme=udp base=$base_udp ;;
    *) misused "\"$protocol\" is no transport; TCP and UDP are" ;;
esac
[[ -z $name || $name =~ ^[A-Za-z0-9._-]{1,64}$ ]] ||
    misused "the name \"$name\" must be of letters, digits, dots, dashes and underscores, at most 64"
port=${port:-$base}
if [[ ! $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port < base || port >= base + ${#replicas[@]})); then
    misused "no replica has the ${protocol^^} port \"$port\"; they have $(range_from "$base")"
fi
first=$((port - base))
log=$logs/client${name:+-$name}.log
name=${name:-client}

# Where replica $1 is: in Docker it has a name of its own.
host_of() { if [[ $inside ]]; then echo "replica-$1"; else echo "$host"; fi; }

# Sets asked, the replica on the given port first and then the others, and endpoints: over UDP the TCP ports as well, for
# what does not fit a datagram.
set_endpoints() {
    local i
    asked=$scheme://$(host_of "$first"):$((base + first))
    for i in "${replicas[@]}"; do
        ((i == first)) || asked+=",$scheme://$(host_of "$i"):$((base + i))"
    done
    endpoints=$asked
    [[ $scheme == udp ]] || return 0
    for i in "${replicas[@]}"; do endpoints+=",tcp://$(host_of "$i"):$((base_tcp + i))"; done
}

# Sets inside if the client is to run in a container, or else program, which is there after a build. Without cargo there
# is no client but the one in the image.
find_client() {
    inside="" program=$bin/kvpaxos-client
    if [[ $chosen == docker ]]; then
        choose_place docker
        inside=yes
    elif [[ -z ${KVPAXOS_BIN:-} ]]; then
        choose_place "$chosen"
        if [[ $place == docker ]]; then
            program=$static_bin/kvpaxos-client
            command -v cargo >/dev/null || inside=yes
        fi
    fi
}

build_client() {
    if [[ $inside || ${KVPAXOS_BIN:-} ]]; then return; fi
    if [[ $place == docker ]]; then build_static_programs; else build_programs; fi
}

# Whether there is a client without a build.
client_is_there() { if [[ $inside ]]; then docker_runs; else [[ -x $program ]]; fi; }

# Prints what the replicas say of themselves. What is typed here is for the client, not for what runs before it.
ask_status() {
    local status=(--endpoints "$asked" status --json)
    if [[ $inside ]]; then client_in_container -- "${status[@]}"; else "$program" "${status[@]}"; fi </dev/null 2>/dev/null
}

# Whether some replica serves, which it does if it hears a leader. If some answer they may be electing one.
replicas_serve() {
    local until=$((SECONDS + 3)) report
    while :; do
        report=$(ask_status) || true
        answering=$(count '"reachable":true' "$report")
        [[ $report != *'"serving":true'* ]] || return 0
        ((answering > 0 && SECONDS < until)) || return 1
        sleep 0.1
    done
}

deploy() {
    local all=${#replicas[@]}
    local majority=$((all / 2 + 1))
    if ((answering == 0)); then
        echo "No replica answers at $asked, so deploy.sh is run."
    elif ((answering < majority)); then
        echo "$answering of $all replicas answer, $majority are needed, so deploy.sh is run, which starts the others."
    else
        echo "$answering of $all replicas answer, but none serves, so deploy.sh is run, which waits until they do."
    fi
    bash deploy.sh ${chosen:+--$chosen} </dev/null
}

find_client
set_endpoints
mkdir -p "$logs"
answering=0
if ! client_is_there; then
    if [[ $inside ]]; then echo "No replica runs in Docker, so deploy.sh is run."; else
        echo "There is no client yet, so deploy.sh is run first."
    fi
    bash deploy.sh ${chosen:+--$chosen} </dev/null
    build_client
else
    build_client
    replicas_serve || deploy
fi

given=(--endpoints "$endpoints" --name "$name" --log-level "$log_level" --log-file)
if [[ ! $inside ]]; then exec "$program" "${given[@]}" "$log" demo; fi
# The log is a file here, written by the client's user: whoever runs this, or for root, until it ends, the one of the
# image.
user=$(id -u):$(id -g)
touch "$log"
if ((EUID == 0)); then
    trap 'chown "$user" "$log"' EXIT
    image_user=65532:65532
    chown "$image_user" "$log"
fi
options=(--interactive --user "${image_user:-$user}" --volume "$(realpath "$log"):/client.log:z")
if [[ -t 0 && -t 1 ]]; then options+=(--tty); fi
client_in_container "${options[@]}" -- "${given[@]}" /client.log demo
