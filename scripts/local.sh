# Replicas as processes on this machine. Sourced by settings.sh.

local_endpoints() {
    local list="" i
    for i in "${replicas[@]}"; do list+=",127.0.0.1:$((base_tcp + i))"; done
    echo "${list#,}"
}

local_members() {
    local list="" i
    for i in "${replicas[@]}"; do list+=",$i=127.0.0.1:$((base_peer + i))"; done
    echo "${list#,}"
}

local_client() {
    "$bin/kvpaxos-client" --endpoints "$(local_endpoints)" "$@"
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
    setsid "$bin/kvpaxos-server" --id "$i" --members "$(local_members)" --tcp "127.0.0.1:$((base_tcp + i))" \
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

# Whether any replica runs.
local_runs() {
    local i
    for i in "${replicas[@]}"; do running_pid "$i" >/dev/null && return; done
    return 1
}

# Whether there is anything of a replica.
local_exists() {
    local i
    for i in "${replicas[@]}"; do [[ -e $(data_of "$i") || -e $(pid_file_of "$i") ]] && return; done
    return 1
}

local_wait() {
    local until=$((SECONDS + serve_timeout_s)) report serving=0
    while ((SECONDS < until)); do
        check_alive
        report=$(local_client status --json) || true
        serving=$({ grep -o '"serving":true' <<<"$report" || true; } | wc -l)
        ((serving == ${#replicas[@]})) && return
        sleep 0.1
    done
    fail "only $serving of ${#replicas[@]} replicas serve after $serve_timeout_s s; see $logs/"
}

local_up() {
    build_programs
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
    local_wait
}

local_status() {
    build_programs
    local_client status
}

local_down() {
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

local_wipe() {
    local_down
    local i
    for i in "${replicas[@]}"; do rm -rf "$(data_of "$i")" "$(pid_file_of "$i")" "$dir/replica-$i.err"; done
    echo "The data of all replicas is removed."
}
