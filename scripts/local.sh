# shellcheck shell=bash disable=SC2154
# Replicas as processes on this machine. Sourced by settings.sh.

local_members() {
    local list="" i
    for i in "${replicas[@]}"; do list+=",$i=127.0.0.1:$((base_peer + i))"; done
    echo "${list#,}"
}

local_client() {
    "$bin/kvpaxos-client" --endpoints "$(endpoints_on_host)" "$@"
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

# What process $1 was given for the flag $2.
argument_of() { { tr '\0' '\n' <"/proc/$1/cmdline"; } 2>/dev/null | grep --max-count 1 --after-context 1 -- "^$2\$" | tail -n 1; }

# Processes that were started for other ports are not where they would be looked for.
check_local_ports() {
    local i pid tcp udp
    for i in "${replicas[@]}"; do
        pid=$(running_pid "$i") || continue
        tcp=$(argument_of "$pid" --tcp) udp=$(argument_of "$pid" --udp)
        [[ $tcp == "$publish:$((base_tcp + i))" && $udp == "$publish:$((base_udp + i))" ]] ||
            fail "replica $i runs already, process $pid, at other ports: TCP $tcp, UDP $udp;" \
                "$(remedies_of_other_ports local)"
    done
}

start_replica() {
    local i=$1
    # A session of its own: Ctrl-C in a client's terminal must not reach the replicas. The lock is not theirs.
    setsid "$bin/kvpaxos-server" --id "$i" --members "$(local_members)" --tcp "$publish:$((base_tcp + i))" \
        --udp "$publish:$((base_udp + i))" --data "$(data_of "$i")" --log-file "$logs/server-$i.log" \
        </dev/null >/dev/null 2>"$dir/replica-$i.err" 9>&- &
    local pid=$!
    echo "$pid" >"$(pid_file_of "$i")"
    # Until the program has taken the place of the shell, its command line is not that of a server.
    while kill -0 "$pid" 2>/dev/null && ! running_pid "$i" >/dev/null; do sleep 0.01; done
}

local_check_alive() {
    local i ended=()
    for i in "${replicas[@]}"; do running_pid "$i" >/dev/null || ended+=("$i"); done
    ((${#ended[@]})) || return 0
    for i in "${ended[@]}"; do
        echo "The last lines of replica $i:" >&2
        cat "$dir/replica-$i.err" >&2
        tail -n 3 "$logs/server-$i.log" >&2 2>/dev/null || true
    done
    fail "these replicas do not run, for the reasons above: ${ended[*]};" \
        "bash deploy.sh --local --down stops the others, if any run"
}

# Whether any replica runs.
local_runs() {
    local i
    for i in "${replicas[@]}"; do running_pid "$i" >/dev/null && return; done
    return 1
}

local_has_data() {
    local i
    for i in "${replicas[@]}"; do [[ -e $(data_of "$i") ]] && return; done
    return 1
}

local_exists() {
    local i
    for i in "${replicas[@]}"; do [[ -e $(pid_file_of "$i") ]] && return; done
    local_has_data
}

local_up() {
    refuse_if_elsewhere
    lock
    check_local_ports
    local i pid starting=()
    for i in "${replicas[@]}"; do
        if pid=$(running_pid "$i"); then
            echo "replica $i: runs already, process $pid"
        else
            check_ports_are_free "$i"
            starting+=("$i")
        fi
    done
    build_programs
    for i in "${starting[@]}"; do start_replica "$i"; done
    # A replica that cannot start says so at once.
    ((${#starting[@]} == 0)) || sleep 0.2
    local_check_alive
    for i in "${starting[@]}"; do say_started "$i"; done
    wait_until_serving
}

local_status() {
    check_local_ports
    [[ -x $bin/kvpaxos-client ]] || build_programs
    local_client status
}

local_down() {
    lock
    if ! local_runs; then
        say_that_none_runs local
        return
    fi
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

local_wipe() {
    local_down
    local_has_data || return 0
    local i
    for i in "${replicas[@]}"; do rm -rf "$(data_of "$i")" "$(pid_file_of "$i")" "$dir/replica-$i.err"; done
    put_logs_aside
    say_wiped local
}
