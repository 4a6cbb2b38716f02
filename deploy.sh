#!/usr/bin/env bash
# Starts five replicas of kvpaxos on this machine and waits until they serve. See usage below.
#
# Environment: KVPAXOS_BASE_TCP (1111), KVPAXOS_BASE_UDP (5555) and KVPAXOS_BASE_PEER (7111), the ports of replica 0;
# KVPAXOS_DIR (.kvpaxos), where data and process ids are kept; KVPAXOS_LOGS (logs); KVPAXOS_BIN, a directory of
# ready-made binaries.
set -euo pipefail
cd "$(dirname "$0")"

replicas=(0 1 2 3 4)
base_tcp=${KVPAXOS_BASE_TCP:-1111}
base_udp=${KVPAXOS_BASE_UDP:-5555}
base_peer=${KVPAXOS_BASE_PEER:-7111}
dir=$(realpath -m "${KVPAXOS_DIR:-.kvpaxos}")
logs=${KVPAXOS_LOGS:-logs}
bin=${KVPAXOS_BIN:-${CARGO_TARGET_DIR:-target}/release}
# Founding takes about a second; a replay of a long journal may take much longer.
serve_timeout_s=120
stop_timeout_s=15

usage() {
    cat <<'TEXT'
usage: bash deploy.sh [--local | --docker]   start what is not running, and wait until all serve
       bash deploy.sh --status               show each replica
       bash deploy.sh --down                 stop what this script started; data stays
       bash deploy.sh --wipe                 stop it and remove its data
       bash deploy.sh --build                only build the programs
TEXT
}

fail() {
    echo "deploy: $*" >&2
    exit 1
}

tcp_endpoints() {
    local list="" i
    for i in "${replicas[@]}"; do list+=",127.0.0.1:$((base_tcp + i))"; done
    echo "${list#,}"
}

member_list() {
    local list="" i
    for i in "${replicas[@]}"; do list+=",$i=127.0.0.1:$((base_peer + i))"; done
    echo "${list#,}"
}

client() {
    "$bin/kvpaxos-client" --endpoints "$(tcp_endpoints)" "$@"
}

# Builds the programs, unless ready-made ones were named. Does nothing, quickly, when they are up to date.
build() {
    [[ -n ${KVPAXOS_BIN:-} ]] && return
    if ! command -v cargo >/dev/null; then
        [[ -x $bin/kvpaxos-server && -x $bin/kvpaxos-client ]] && return
        fail "cargo is needed to build kvpaxos; it comes with Rust, see https://rustup.rs"
    fi
    if [[ ! -x $bin/kvpaxos-server || ! -x $bin/kvpaxos-client ]]; then
        echo "Building kvpaxos; the first time this takes a few minutes..."
    fi
    cargo build --release --quiet --locked -p kvpaxos-server -p kvpaxos-client
}

data_of() { echo "$dir/replica-$1"; }
pid_file_of() { echo "$dir/replica-$1.pid"; }

# Prints the process id of replica $1 if this script started it and it still runs. A process id alone proves nothing,
# since the system gives it out again: the command line must be that of a server on this very directory.
running_pid() {
    local pid arguments
    pid=$(cat "$(pid_file_of "$1")" 2>/dev/null) || return 1
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    # A process that ended and was not waited for has no arguments.
    arguments=$({ tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null) || return 1
    [[ ${arguments%%$'\n'*} == */kvpaxos-server ]] || return 1
    [[ $'\n'$arguments$'\n' == *$'\n'--data$'\n'"$(data_of "$1")"$'\n'* ]] || return 1
    echo "$pid"
}

start_replica() {
    local i=$1 log="$logs/server-$1.log"
    # A session of its own: Ctrl-C in a client's terminal must not reach the replicas. The lock is not theirs.
    setsid "$bin/kvpaxos-server" --id "$i" --members "$(member_list)" --tcp "127.0.0.1:$((base_tcp + i))" \
        --udp "127.0.0.1:$((base_udp + i))" --data "$(data_of "$i")" --log-file "$log" \
        </dev/null >/dev/null 2>"$dir/replica-$i.err" 9>&- &
    local pid=$!
    echo "$pid" >"$(pid_file_of "$i")"
    # Until the program has taken the place of the shell, its command line is not that of a server.
    while kill -0 "$pid" 2>/dev/null && ! running_pid "$i" >/dev/null; do sleep 0.01; done
    echo "replica $i: started, TCP port $((base_tcp + i)), UDP port $((base_udp + i)), log in $log"
}

check_alive() {
    local i
    for i in "${replicas[@]}"; do
        running_pid "$i" >/dev/null && continue
        cat "$dir/replica-$i.err" >&2
        tail -n 3 "$logs/server-$i.log" >&2 2>/dev/null || true
        fail "replica $i does not run; the lines above are its last"
    done
}

wait_until_all_serve() {
    local until=$((SECONDS + serve_timeout_s)) report serving=0
    while ((SECONDS < until)); do
        check_alive
        report=$(client status --json) || true
        serving=$({ grep -o '"serving":true' <<<"$report" || true; } | wc -l)
        ((serving == ${#replicas[@]})) && return
        sleep 0.1
    done
    fail "only $serving of ${#replicas[@]} replicas serve after $serve_timeout_s s; see $logs/"
}

lock() {
    mkdir -p "$dir" "$logs"
    exec 9>"$dir/lock"
    flock 9
}

up() {
    build
    lock
    local i pid
    for i in "${replicas[@]}"; do
        if pid=$(running_pid "$i"); then
            echo "replica $i: runs already, process $pid"
        else
            start_replica "$i"
        fi
    done
    # A replica that cannot start says so at once.
    sleep 0.2
    wait_until_all_serve
    echo "All ${#replicas[@]} replicas serve. Stop them with: bash deploy.sh --down"
}

down() {
    lock
    local i pid stopping=()
    for i in "${replicas[@]}"; do
        if pid=$(running_pid "$i"); then
            kill -TERM "$pid"
            stopping+=("$i")
        else
            echo "replica $i: does not run"
        fi
    done
    local until=$((SECONDS + stop_timeout_s))
    for i in "${stopping[@]}"; do
        while running_pid "$i" >/dev/null; do
            ((SECONDS < until)) || fail "replica $i, process $(running_pid "$i"), does not stop; see $logs/server-$i.log"
            sleep 0.05
        done
        rm -f "$(pid_file_of "$i")" "$dir/replica-$i.err"
        echo "replica $i: stopped"
    done
}

wipe() {
    down
    local i
    for i in "${replicas[@]}"; do rm -rf "$(data_of "$i")" "$(pid_file_of "$i")" "$dir/replica-$i.err"; done
    echo "The data of all replicas is removed."
}

if (($# > 1)); then
    usage >&2
    exit 2
fi
case ${1:-} in
    "")
        echo "Starting five replicas as processes on this machine, because running them in Docker comes with a later release."
        up
        ;;
    --local)
        echo "Starting five replicas as processes on this machine, because --local was given."
        up
        ;;
    --docker)
        echo "deploy: running the replicas in Docker comes with a later release; use --local" >&2
        exit 2
        ;;
    --status)
        build
        client status
        ;;
    --down) down ;;
    --wipe) wipe ;;
    --build) build ;;
    --help | -h) usage ;;
    *)
        usage >&2
        exit 2
        ;;
esac
