# shellcheck shell=bash disable=SC2154
# The programs: building them, and finding one that is there. Sourced by settings.sh.

# Runs a build with its output in a log, which is named if it takes long.
build_with_log() {
    local log=$logs/build.log hint result=0
    mkdir -p "$logs"
    {
        sleep 2 >/dev/null 2>&1 9>&-
        echo "Building kvpaxos; the first time this takes a few minutes. Cargo's lines are in $log"
    } &
    hint=$!
    "$@" </dev/null >"$log" 2>&1 || result=$?
    kill "$hint" 2>/dev/null || true
    wait "$hint" 2>/dev/null || true
    if ((result != 0)); then
        tail -n 20 "$log" >&2
        fail "kvpaxos could not be built; all that was said is in $log"
    fi
}

# Builds the programs, unless ready-made ones were named. Does nothing, quickly, when they are up to date.
build_programs() {
    [[ -n ${KVPAXOS_BIN:-} ]] && return
    if ! command -v cargo >/dev/null; then
        [[ -x $bin/kvpaxos-server && -x $bin/kvpaxos-client ]] && return
        fail "cargo is needed to build kvpaxos; it comes with Rust, see https://rustup.rs"
    fi
    build_with_log cargo build --release --locked -p kvpaxos-server -p kvpaxos-client
}

build_static_programs() {
    build_with_log env KVPAXOS_COMMIT="$(commit_of_sources)" sh scripts/static-programs.sh "$static_bin"
}

commit_of_sources() { git rev-parse --short=12 HEAD 2>/dev/null || echo unknown; }

# Prints a client that is there without a build, for replicas in place $1.
ready_client() {
    local programs=$bin
    if [[ $1 == docker && -z ${KVPAXOS_BIN:-} ]]; then programs=$static_bin; fi
    # What is compiled in a container stays there, and what may still be here is older.
    [[ $1 == local || -z ${KVPAXOS_BUILD_IMAGE:-} ]] && [[ -x $programs/kvpaxos-client ]] || return 1
    echo "$programs/kvpaxos-client"
}
