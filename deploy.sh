#!/usr/bin/env bash
# Starts five replicas of kvpaxos and waits until they serve. See usage below.
set -euo pipefail
cd "$(dirname "$0")"
source scripts/settings.sh

usage() {
    cat <<'TEXT'
usage: bash deploy.sh [--docker | --local] [COMMAND]

  (none)     start what does not run, and wait until all five serve
  --status   show each replica
  --down     stop the replicas; data stays
  --wipe     stop them and remove their data; logs are kept as server-N.log.1
  --build    only build the images or the programs, and say where they are

Replicas run in Docker when an engine answers, else as processes; those that run
already, or have data, stay where they are. --docker and --local choose. Without
either, --status, --down and --wipe are for what there is.

Environment, with defaults:
  KVPAXOS_DEPLOY             docker or local, as if by flag
  KVPAXOS_NAME=kvpaxos       names the cluster; a second one beside it needs
                             another name and other ports
  KVPAXOS_BASE_TCP=1111      ports of replica 0 for clients; replica 1 has the next
  KVPAXOS_BASE_UDP=5555      ones, and so on
  KVPAXOS_BASE_PEER=7111     the same, between replicas; in Docker nobody else sees it
  KVPAXOS_PUBLISH=127.0.0.1  the address of the clients' ports; 0.0.0.0 is all
  KVPAXOS_LOGS=logs          logs; under another name logs/NAME
  KVPAXOS_LOG_LEVEL=info     off, error, warn, info, debug or trace
  CARGO_TARGET_DIR=target    what is built
 for processes
  KVPAXOS_DIR=.kvpaxos       data and process ids; under another name .kvpaxos-NAME
  KVPAXOS_BIN                a directory of ready-made programs, not to build any
 for Docker
  KVPAXOS_BUILD_IMAGE        an image to compile in; without it this machine's cargo
                             is used, or rust:1.95 if there is none

Settings of the server, such as KVPAXOS_FAIL_ROLES=acceptor,learner, are passed on to
replicas that are started; docs/OPERATIONS.md has them all. Who runs is not changed:
--down first.
TEXT
}

up() {
    choose_place "$chosen"
    case $place in
        docker) echo "Starting five replicas in Docker, because $why." ;;
        local) echo "Starting five replicas as processes on this machine, because $why." ;;
    esac
    "${place}_up"
    echo "All ${#replicas[@]} replicas serve. Stop them with: bash deploy.sh --down"
}

build() {
    choose_place "$chosen"
    case $place in
        docker)
            mkdir -p "$logs"
            docker_build
            echo "The images: $cluster-server $cluster-client"
            ;;
        local)
            build_programs
            echo "The programs: $bin/kvpaxos-server $bin/kvpaxos-client"
            ;;
    esac
}

# Sets places to those that a command is for: the chosen one, or both.
set_places() {
    places=(docker local)
    [[ -n ${chosen:-${KVPAXOS_DEPLOY:-}} ]] || return 0
    choose_place "$chosen"
    places=("$place")
}

status() {
    local any=""
    set_places
    for place in "${places[@]}"; do
        runs_in "$place" || continue
        any=yes
        "${place}_status"
    done
    [[ -z $any ]] || return 0
    if ((${#places[@]} == 1)); then say_that_none_runs "$place"; else echo "No replica runs."; fi
    say_what_is_in docker
    say_what_is_in local
    exit 1
}

# Says whether replicas run in place $1, or could be started there.
say_what_is_in() {
    if runs_in "$1"; then
        echo "Replicas of this name run $(in_place "$1"); bash deploy.sh --$1 --status shows them."
    elif has_data_in "$1"; then
        echo "Stopped replicas that ran $(in_place "$1") have data; bash deploy.sh --$1 starts them."
    fi
}

# Stops the replicas, or removes their data, too: $1 is down or wipe.
stop() {
    local any=""
    set_places
    for place in "${places[@]}"; do
        ((${#places[@]} == 1)) || exists_in "$place" || continue
        any=yes
        "${place}_$1"
    done
    [[ -n $any ]] || echo "There is no replica, and no data of one."
    ((${#places[@]} == 2)) || say_what_is_in "$(other_than "$place")"
}

chosen="" command=""
for argument in "$@"; do
    case $argument in
        --docker | --local)
            [[ -z $chosen || --$chosen == "$argument" ]] || misused "--$chosen and $argument cannot both be given"
            chosen=${argument#--}
            ;;
        --status | --down | --wipe | --build | --help | -h)
            [[ -z $command ]] || misused "$command and $argument cannot both be given"
            command=$argument
            ;;
        status | down | wipe | build | docker | local) misused "\"$argument\" is not known, but --$argument is" ;;
        *) misused "\"$argument\" is not known" ;;
    esac
done
if [[ $command == --help || $command == -h ]]; then
    usage
    exit
fi
check_settings
case $command in
    "") up ;;
    --build) build ;;
    --status) status ;;
    *) stop "${command#--}" ;;
esac
