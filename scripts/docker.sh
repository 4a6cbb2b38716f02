# shellcheck shell=bash disable=SC2154
# Replicas as containers. Sourced by settings.sh.
#
# Containers, volumes, networks and images have names that begin with $cluster. A replica is peer-0 to its peers, on one
# network, and replica-0 to clients, on another; neither name is known on the other's network.

# Settings of the server that are passed on to the containers if they are in the environment.
passed_on=(DATAGRAM_BYTES_MAX MEMORY WORKERS NO_QUORUM_AFTER READS VALUE_BYTES_MAX SESSIONS_MAX SESSION_EXPIRY HASH_INTERVAL
    STORE_BYTES_MAX CONNECTIONS_MAX FAIL_ROLES FAIL_EVERY FAIL_FOR LOG_LEVEL)
# What no container of ours needs.
confined=(--read-only --cap-drop ALL --security-opt no-new-privileges)

engine_answers() {
    timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

container_of() { echo "$cluster-replica-$1"; }
volume_of() { echo "$cluster-data-$1"; }

docker_endpoints() {
    local list="" i
    for i in "${replicas[@]}"; do list+=",replica-$i:$((base_tcp + i))"; done
    echo "${list#,}"
}

docker_members() {
    local list="" i
    for i in "${replicas[@]}"; do list+=",$i=peer-$i:$((base_peer + i))"; done
    echo "${list#,}"
}

# Runs the client's image on the clients' network. The first arguments, up to "--", are for docker run. There is an init
# because the first process of a container is deaf to Ctrl-C.
client_in_container() {
    local options=()
    while [[ $1 != -- ]]; do
        options+=("$1")
        shift
    done
    docker run --rm --init --network "$cluster-clients" "${confined[@]}" "${options[@]}" "$cluster-client" "${@:2}"
}

# The client of this machine if there is one, since the addresses that it names are of use here; else the image's.
docker_client() {
    local client
    if client=$(ready_client docker); then
        "$client" --endpoints "$(endpoints_on_host)" "$@"
    else
        client_in_container -- --endpoints "$(docker_endpoints)" "$@"
    fi
}

# Says how the image of "server" or "client" came about: the sources that it was built from.
sources_of_image() {
    docker image inspect --format '{{index .Config.Labels "kvpaxos.sources"}}' "$cluster-$1" 2>/dev/null
}

# A hash over all that goes into an image. The commit alone would not show what is not committed yet.
sources_here() {
    find Cargo.lock Cargo.toml Dockerfile LICENSE client common paxos scripts/static-programs.sh server \
        -name tests -prune -o -type f -print0 | LC_ALL=C sort --zero-terminated | xargs -0 sha256sum |
        sha256sum | cut --characters 1-16
}

# Builds the images if they are missing or were built from other sources.
docker_build() {
    local sources target what="The images $cluster-server and $cluster-client"
    sources=$(sources_here)
    if [[ $(sources_of_image server) == "$sources" && $(sources_of_image client) == "$sources" ]]; then
        echo "$what are up to date."
        return
    elif [[ -z ${KVPAXOS_BUILD_IMAGE:-} ]] && command -v cargo >/dev/null; then
        echo "$what are built from static programs that this machine compiles."
        build_static_programs
        cp LICENSE "$static_bin"
        for target in server client; do build_image "$target" "$sources" --target "$target-prebuilt" "$static_bin"; done
    else
        local image=${KVPAXOS_BUILD_IMAGE:-rust:1.95}
        echo "$what are compiled inside Docker, in $image, which takes a few minutes; see $logs/docker-build.log"
        for target in server client; do
            build_image "$target" "$sources" --target "$target" --build-arg "BUILD_IMAGE=$image" \
                --build-arg "COMMIT=$(commit_of_sources)" .
        done
    fi
    # What was built in has no name and no further use.
    docker image prune --force --filter label=kvpaxos.stage=build >/dev/null
}

# Builds the image of $1 from sources with hash $2. The rest is for docker build. Without --force-rm a build that fails
# leaves its container, with all that was compiled in it.
build_image() {
    local image=$cluster-$1 old log=$logs/docker-build.log
    old=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null) || true
    if ! docker build --force-rm --file Dockerfile --tag "$image" --label "kvpaxos.cluster=$cluster" \
        --label "kvpaxos.sources=$2" "${@:3}" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "the image $image could not be built; all that Docker said is in $log"
    fi
    # The one before has no name any more; if a container still runs it, it stays.
    [[ -z $old ]] || docker image rm "$old" >/dev/null 2>&1 || true
}

docker_network() {
    docker network inspect "$1" >/dev/null 2>&1 ||
        docker network create --label "kvpaxos.cluster=$cluster" "${@:2}" "$1" >/dev/null
}

# The containers of this cluster, with more options. The cluster's label alone is that of any container of its images, a
# client's as well.
containers() { docker ps --quiet --filter "label=kvpaxos.cluster=$cluster" --filter label=kvpaxos.ports "$@"; }

# Whether any replica runs.
docker_runs() { [[ -n $(containers) ]]; }

docker_has_data() { [[ -n $(docker volume ls --quiet --filter "label=kvpaxos.cluster=$cluster") ]]; }

docker_exists() {
    docker_has_data || [[ -n $(containers --all) ]] ||
        [[ -n $(docker network ls --quiet --filter "label=kvpaxos.cluster=$cluster") ]]
}

# Prints something about a container, nothing if there is none.
container_says() {
    docker container inspect --format "$2" "$(container_of "$1")" 2>/dev/null || true
}

container_runs() { [[ $(container_says "$1" '{{.State.Running}}') == true ]]; }

# What clients connect to, for the label of a container.
clients_ports() { echo "TCP $publish:$((base_tcp + $1)), UDP $publish:$((base_udp + $1))"; }

create_replica() {
    local i=$1 tcp=$((base_tcp + $1)) udp=$((base_udp + $1)) peer=$((base_peer + $1)) settings=() setting
    for setting in "${passed_on[@]}"; do
        if [[ -v KVPAXOS_$setting ]]; then settings+=(--env "KVPAXOS_$setting"); fi
    done
    docker volume create --label "kvpaxos.cluster=$cluster" "$(volume_of "$i")" >/dev/null
    docker create --name "$(container_of "$i")" --label "kvpaxos.cluster=$cluster" \
        --label "kvpaxos.ports=$(clients_ports "$i")" --network "$cluster-clients" --network-alias "replica-$i" \
        --publish "$publish:$tcp:$tcp/tcp" --publish "$publish:$udp:$udp/udp" \
        --volume "$(volume_of "$i"):/kvpaxos-data" --restart unless-stopped "${confined[@]}" \
        --log-driver json-file --log-opt max-size=32m --log-opt max-file=2 \
        --env "KVPAXOS_ID=$i" --env "KVPAXOS_MEMBERS=$(docker_members)" --env "KVPAXOS_TCP=0.0.0.0:$tcp" \
        --env "KVPAXOS_UDP=0.0.0.0:$udp" --env "KVPAXOS_LISTEN_PEERS=0.0.0.0:$peer" "${settings[@]}" \
        "$cluster-server" >/dev/null
    docker network connect --alias "peer-$i" "$cluster-peers" "$(container_of "$i")"
}

# Adds to started.
start_container() {
    local i=$1 container current
    container=$(container_of "$i")
    current=$(docker image inspect --format '{{.Id}}' "$cluster-server")
    # One that was stopped while the image was built anew is replaced; its data stays.
    [[ $(container_says "$i" '{{.Image}}') == "$current" ]] || docker rm "$container" >/dev/null 2>&1 || true
    [[ -n $(container_says "$i" '{{.Id}}') ]] || create_replica "$i"
    if ! docker start "$container" >/dev/null; then
        # What was begun here is undone; data stays in any case.
        docker rm --force "$container" "${started[@]}" >/dev/null 2>&1 || true
        fail "replica $i cannot be started, for Docker's reason above; those started just now are stopped again"
    fi
    started+=("$container")
    say_started "$i"
}

# Connects replica $1 to network $2 as $3 if it is not. Somebody may have disconnected it, or have connected it again
# without its name there.
join_network() {
    local aliases
    aliases=$(container_says "$1" "{{with index .NetworkSettings.Networks \"$2\"}}{{join .Aliases \" \"}}{{end}}")
    [[ " $aliases " == *" $3 "* ]] && return
    docker network disconnect "$2" "$(container_of "$1")" >/dev/null 2>&1 || true
    docker network connect --alias "$3" "$2" "$(container_of "$1")"
    echo "replica $1: was not on the network $2 as $3, and is again"
}

# Has the container's log written to logs/. Of two that would, the second ends at once.
follow_log() {
    setsid bash scripts/follow.sh "$(container_of "$1")" "$logs/server-$1.log" </dev/null >/dev/null 2>&1 9>&- &
}

# Two clusters of one name would be one, and only one of them where it is looked for.
check_docker_ports() {
    local i ports
    for i in "${replicas[@]}"; do
        ports=$(container_says "$i" '{{index .Config.Labels "kvpaxos.ports"}}')
        [[ -z $ports || $ports == "$(clients_ports "$i")" ]] || fail "$(container_of "$i") was made for other ports:" \
            "$ports; $(remedies_of_other_ports docker)"
    done
}

docker_up() {
    refuse_if_elsewhere
    lock
    check_docker_ports
    local i running=() started=()
    for i in "${replicas[@]}"; do
        if container_runs "$i"; then running[i]=yes; else check_ports_are_free "$i"; fi
    done
    docker_build
    docker_network "$cluster-peers" --internal
    docker_network "$cluster-clients"
    for i in "${replicas[@]}"; do
        if [[ -n ${running[i]:-} ]]; then
            echo "replica $i: runs already, container $(container_of "$i")"
        else
            start_container "$i"
        fi
        join_network "$i" "$cluster-clients" "replica-$i"
        join_network "$i" "$cluster-peers" "peer-$i"
        follow_log "$i"
    done
    wait_until_serving
}

docker_check_alive() {
    local i
    (($(containers --filter status=running | wc -l) < ${#replicas[@]})) || return 0
    for i in "${replicas[@]}"; do
        [[ $(container_says "$i" '{{.State.Status}}') != running ]] || continue
        docker logs --tail 3 "$(container_of "$i")" >&2 || true
        fail "replica $i does not run; the lines above are its last; bash deploy.sh --docker --down stops the others"
    done
}

docker_status() {
    check_docker_ports
    docker_client status
    if ! ready_client docker >/dev/null; then
        echo "These addresses are for containers. On this machine they are $(endpoints_on_host)."
    fi
}

docker_down() {
    lock
    local i running=() there=() network
    for i in "${replicas[@]}"; do
        [[ -z $(container_says "$i" '{{.Id}}') ]] || there+=("$(container_of "$i")")
        if container_runs "$i"; then running+=("$(container_of "$i")"); fi
    done
    if ((${#running[@]} == 0)); then
        say_that_none_runs docker
    else
        docker stop -t "$stop_timeout_s" "${running[@]}" | sed 's/.*-\([0-9]*\)$/replica \1: stopped/'
    fi
    ((${#there[@]} == 0)) || docker rm "${there[@]}" >/dev/null
    for network in "$cluster-peers" "$cluster-clients"; do
        docker network inspect "$network" >/dev/null 2>&1 || continue
        docker network rm "$network" >/dev/null || echo "The network $network stays, as somebody still uses it."
    done
}

docker_wipe() {
    docker_down
    local volumes
    volumes=$(docker volume ls --quiet --filter "label=kvpaxos.cluster=$cluster")
    if [[ -n $volumes ]]; then
        xargs docker volume rm >/dev/null <<<"$volumes"
        put_logs_aside
        say_wiped docker
    fi
    local images
    images=$(docker image ls --format '{{.Repository}}' --filter "label=kvpaxos.cluster=$cluster" | sort -u | tr '\n' ' ')
    [[ -z $images ]] || echo "The images stay; who wants them gone: docker image rm ${images% }"
}
