#!/usr/bin/env bash
# Starts five replicas of kvpaxos and waits until they serve. See usage below.
#
# Environment: KVPAXOS_BASE_TCP (1111), KVPAXOS_BASE_UDP (5555) and KVPAXOS_BASE_PEER (7111), the ports of replica 0;
# KVPAXOS_LOGS (logs); KVPAXOS_DEPLOY, docker or local, as if by flag.
# For processes: KVPAXOS_DIR (.kvpaxos), where data and process ids are kept; KVPAXOS_BIN, a directory of ready-made
# programs.
# For Docker: KVPAXOS_NAME (kvpaxos), with which the names of containers, networks, volumes and images begin;
# KVPAXOS_BUILD_IMAGE, an image to compile in; without it this machine's cargo is used, or rust:1.95 if there is none.
set -euo pipefail
cd "$(dirname "$0")"
source scripts/settings.sh

usage() {
    cat <<'TEXT'
usage: bash deploy.sh [--docker | --local] [COMMAND]
  (none)     start what does not run, and wait until all serve
  --status   show each replica
  --down     stop the replicas; data stays
  --wipe     stop them and remove their data
  --build    only build the images or the programs
Replicas run in Docker when an engine answers, else as processes; --docker and --local choose. Without either, --status,
--down and --wipe are for what there is.
TEXT
}

misused() {
    usage >&2
    exit 2
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
            ;;
        local) build_programs ;;
    esac
}

# Does $1 to the replicas wherever there are any, in the chosen place alone if one was chosen.
to_what_there_is() {
    local places=()
    if [[ -n ${chosen:-${KVPAXOS_DEPLOY:-}} ]]; then
        choose_place "$chosen"
        places=("$place")
    else
        if engine_answers && docker_exists; then places+=(docker); fi
        if ((${#places[@]} == 0)) || local_exists; then places+=(local); fi
    fi
    for place in "${places[@]}"; do "${place}_$1"; done
}

chosen="" command=""
for argument in "$@"; do
    case $argument in
        --docker | --local)
            [[ -z $chosen ]] || misused
            chosen=${argument#--}
            ;;
        --status | --down | --wipe | --build | --help | -h)
            [[ -z $command ]] || misused
            command=${argument##*-}
            ;;
        *) misused ;;
    esac
done
case $command in
    "") up ;;
    build) build ;;
    help | h) usage ;;
    *) to_what_there_is "$command" ;;
esac
