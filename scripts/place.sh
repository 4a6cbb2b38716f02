# shellcheck shell=bash disable=SC2154
# Where the replicas are, as processes or in Docker, and what is done alike in both places. Sourced by settings.sh.

# How replicas run in place $1.
in_place() { if [[ $1 == docker ]]; then echo "in Docker"; else echo "as processes"; fi; }
other_than() { if [[ $1 == docker ]]; then echo local; else echo docker; fi; }

runs_in() { if [[ $1 == docker ]]; then engine_answers && docker_runs; else local_runs; fi; }
has_data_in() { if [[ $1 == docker ]]; then engine_answers && docker_has_data; else local_has_data; fi; }
# Whether there is anything that --down or --wipe would remove.
exists_in() { if [[ $1 == docker ]]; then engine_answers && docker_exists; else local_exists; fi; }

say_that_none_runs() {
    if [[ $1 == docker ]]; then echo "No replica runs in Docker."; else echo "No replica runs as a process."; fi
}

# Decides where the replicas are to run: sets place to docker or local, and why to the reason. $1 is what the command
# line says, if it says anything. Where there are replicas already they stay.
choose_place() {
    place=${1:-${KVPAXOS_DEPLOY:-}}
    if [[ -n ${1:-} ]]; then
        why="--$1 was given"
    elif [[ -n $place ]]; then
        why="KVPAXOS_DEPLOY is $place"
    elif local_runs; then
        place=local why="they run so already"
    elif ! engine_answers; then
        place=local why="no Docker engine answers"
    elif docker_runs; then
        place=docker why="they run there already"
    elif docker_has_data; then
        place=docker why="stopped ones have their data there"
    elif local_has_data; then
        place=local why="stopped ones have their data so, in $dir"
    else
        place=docker why="a Docker engine answers"
    fi
    if [[ $place == docker ]]; then engine_answers || fail "no Docker engine answers, and $why"; fi
}

# One cluster has one name, and one place at a time.
refuse_if_elsewhere() {
    local other
    other=$(other_than "$place")
    if runs_in "$other"; then
        fail "the replicas run $(in_place "$other"); stop them with: bash deploy.sh --$other --down"
    fi
    if has_data_in "$other"; then
        echo "Stopped replicas that ran $(in_place "$other") have data of their own;" \
            "bash deploy.sh --$other starts those instead."
    fi
}

# Whether a socket has port $3 of transport $1, tcp or udp, at the address $2 or at all. Of TCP only those that listen
# count.
port_is_taken() {
    local one two three four at port state=0A
    IFS=. read -r one two three four <<<"$2"
    printf -v at %02X%02X%02X%02X "$four" "$three" "$two" "$one"
    if [[ $at == 00000000 ]]; then at='[0-9A-F]{8}'; fi
    printf -v port %04X "$3"
    if [[ $1 == udp ]]; then state=..; fi
    grep -qsE "^ *[0-9]+: (0{8}|0{32}|(0{16}FFFF0000)?$at):$port [0-9A-F:]+ $state " "/proc/net/$1" "/proc/net/${1}6"
}

# Ends if a port that replica $1 is to have is somebody else's. Between replicas ports are published nowhere in Docker.
check_ports_are_free() {
    local i=$1 setting transport base address
    for setting in TCP UDP PEER; do
        transport=tcp address=$publish
        case $setting in
            TCP) base=$base_tcp ;;
            UDP) base=$base_udp transport=udp ;;
            PEER) base=$base_peer address=127.0.0.1 ;;
        esac
        [[ $setting != PEER || $place == local ]] || continue
        if port_is_taken "$transport" "$address" $((base + i)); then
            fail "the ${transport^^} port $((base + i)), which replica $i needs, is taken, perhaps by another cluster (ss -lntup shows);" \
                "KVPAXOS_BASE_$setting chooses others"
        fi
    done
}

remedies_of_other_ports() {
    echo "set KVPAXOS_BASE_TCP, KVPAXOS_BASE_UDP and KVPAXOS_PUBLISH as it was started with, choose another KVPAXOS_NAME," \
        "or run: bash deploy.sh --$1 --down"
}

say_started() {
    echo "replica $1: started, TCP port $((base_tcp + $1)), UDP port $((base_udp + $1)), log in $logs/server-$1.log"
}

# Counts what is found in a text.
count() { { grep -o "$1" <<<"$2" || true; } | wc -l; }

# Waits until all replicas serve. Ends when one has ended, or when they say that they never will.
wait_until_serving() {
    local until=$((SECONDS + serve_timeout_s)) report serving=0 said="" hopeless
    while ((SECONDS < until)); do
        "${place}_check_alive"
        report=$("${place}_client" status --json 2>/dev/null) || true
        serving=$(count '"serving":true' "$report")
        ((serving == ${#replicas[@]})) && return
        hopeless=$(grep -o '"remark":"[^"]*nobody can tell any more what was chosen[^"]*' <<<"$report" | head -n 1) || true
        [[ -z $hopeless ]] || fail "${hopeless#*:\"}"$'\n'"bash deploy.sh --wipe and then bash deploy.sh do that"
        if [[ -z $said ]] && ((SECONDS > until - serve_timeout_s + 5)); then
            said="$serving of ${#replicas[@]} replicas serve so far; waiting for at most $serve_timeout_s s."
            echo "$said"
        fi
        sleep 0.1
    done
    "${place}_client" status >&2 || true
    fail "only $serving of ${#replicas[@]} replicas serve after $serve_timeout_s s; see above and $logs/"
}

# Where replicas in $1 are for clients on this machine.
endpoints_on_host() {
    local list="" i
    for i in "${replicas[@]}"; do list+=",$host:$((base_tcp + i))"; done
    echo "${list#,}"
}

# A new cluster's log is not to begin with that of another.
put_logs_aside() {
    local i
    for i in "${replicas[@]}"; do
        if [[ -e $logs/server-$i.log ]]; then mv "$logs/server-$i.log" "$logs/server-$i.log.1"; fi
    done
}

say_wiped() { echo "The data of replicas that ran $(in_place "$1") is removed; their logs are now $logs/server-*.log.1"; }

# One deploy.sh at a time for one directory.
lock() {
    mkdir -p "$dir" "$logs"
    exec 9>"$dir/lock"
    flock 9
}
