# What deploy.sh and run_client.sh share: settings from the environment, where the replicas are to run, and the programs
# for that. It is sourced, from the top directory.

replicas=(0 1 2 3 4)
base_tcp=${KVPAXOS_BASE_TCP:-1111}
base_udp=${KVPAXOS_BASE_UDP:-5555}
base_peer=${KVPAXOS_BASE_PEER:-7111}
dir=$(realpath -m "${KVPAXOS_DIR:-.kvpaxos}")
logs=${KVPAXOS_LOGS:-logs}
cluster=${KVPAXOS_NAME:-kvpaxos}
build_directory=${CARGO_TARGET_DIR:-target}
bin=${KVPAXOS_BIN:-$build_directory/release}
# Programs for images: they are static, so they run on this machine, too.
static_bin=$build_directory/static
# Founding takes about a second; a replay of a long journal may take much longer.
serve_timeout_s=120
stop_timeout_s=15

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

[[ $cluster =~ ^[a-z0-9][a-z0-9_-]{0,39}$ ]] ||
    fail "KVPAXOS_NAME is \"$cluster\"; it must be of small letters, digits, dashes and underscores, at most 40"

source scripts/local.sh
source scripts/docker.sh

# Decides where the replicas are to run: sets place to docker or local, and why to the reason. $1 is what the command
# line says, if it says anything.
choose_place() {
    place=${1:-${KVPAXOS_DEPLOY:-}}
    if [[ -n ${1:-} ]]; then
        why="--$1 was given"
    elif [[ -n $place ]]; then
        why="KVPAXOS_DEPLOY is $place"
    elif local_runs; then
        place=local why="they run so already"
    elif engine_answers; then
        place=docker why="a Docker engine answers"
    else
        place=local why="no Docker engine answers"
    fi
    case $place in
        local) ;;
        docker) engine_answers || fail "no Docker engine answers, and $why" ;;
        *) fail "KVPAXOS_DEPLOY is \"$place\"; it must be docker or local" ;;
    esac
}

say_first_time() {
    [[ -x $1/kvpaxos-server && -x $1/kvpaxos-client ]] ||
        echo "Building kvpaxos; the first time this takes a few minutes..."
}

# Builds the programs, unless ready-made ones were named. Does nothing, quickly, when they are up to date.
build_programs() {
    [[ -n ${KVPAXOS_BIN:-} ]] && return
    if ! command -v cargo >/dev/null; then
        [[ -x $bin/kvpaxos-server && -x $bin/kvpaxos-client ]] && return
        fail "cargo is needed to build kvpaxos; it comes with Rust, see https://rustup.rs"
    fi
    say_first_time "$bin"
    cargo build --release --quiet --locked -p kvpaxos-server -p kvpaxos-client
}

build_static_programs() {
    say_first_time "$static_bin"
    KVPAXOS_COMMIT=$(commit_of_sources) sh scripts/static-programs.sh "$static_bin"
}

commit_of_sources() { git rev-parse --short=12 HEAD 2>/dev/null || echo unknown; }

# One deploy.sh at a time for one directory.
lock() {
    mkdir -p "$dir" "$logs"
    exec 9>"$dir/lock"
    flock 9
}
