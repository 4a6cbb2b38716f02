# shellcheck shell=bash disable=SC2034
# What deploy.sh and run_client.sh share: settings from the environment. It is sourced, from the top directory.

replicas=(0 1 2 3 4)
cluster=${KVPAXOS_NAME:-kvpaxos}
base_tcp=${KVPAXOS_BASE_TCP:-1111}
base_udp=${KVPAXOS_BASE_UDP:-5555}
base_peer=${KVPAXOS_BASE_PEER:-7111}
# The address at which clients' ports are, and the one at which this machine finds them.
publish=${KVPAXOS_PUBLISH:-127.0.0.1}
host=${publish/#0.0.0.0/127.0.0.1}
# What belongs to a cluster is apart from what belongs to another.
if [[ $cluster == kvpaxos ]]; then
    dir=${KVPAXOS_DIR:-.kvpaxos} logs=${KVPAXOS_LOGS:-logs}
else
    dir=${KVPAXOS_DIR:-.kvpaxos-$cluster} logs=${KVPAXOS_LOGS:-logs/$cluster}
fi
dir=$(realpath -m "$dir")
log_level=${KVPAXOS_LOG_LEVEL:-info}
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

# Ends with what is wrong about the arguments.
misused() {
    echo "${0##*/}: $*" >&2
    echo "bash ${0##*/} --help shows what is allowed" >&2
    exit 2
}

# Whether $1 can be the port of replica 0, with those of the others above it.
is_base_port() { [[ $1 =~ ^[1-9][0-9]{0,4}$ ]] && (($1 + ${#replicas[@]} - 1 <= 65535)); }

# The ports of all replicas, from the one of replica 0.
range_from() { echo "$1 to $(($1 + ${#replicas[@]} - 1))"; }

check_ports() {
    local setting base
    for setting in TCP=$base_tcp UDP=$base_udp PEER=$base_peer; do
        base=${setting#*=}
        is_base_port "$base" ||
            fail "KVPAXOS_BASE_${setting%%=*} is \"$base\"; it must be a port from 1 to $((65536 - ${#replicas[@]}))"
    done
    # Replicas talk over TCP, as clients may.
    ((base_tcp >= base_peer + ${#replicas[@]} || base_peer >= base_tcp + ${#replicas[@]})) ||
        fail "KVPAXOS_BASE_TCP gives the ports $(range_from "$base_tcp") and KVPAXOS_BASE_PEER $(range_from "$base_peer");" \
            "they must not overlap"
}

check_settings() {
    [[ $cluster =~ ^[a-z0-9][a-z0-9_-]{0,39}$ ]] ||
        fail "KVPAXOS_NAME is \"$cluster\"; it must be of small letters, digits, dashes and underscores, at most 40"
    check_ports
    local byte='(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])'
    [[ $publish =~ ^$byte(\.$byte){3}$ ]] ||
        fail "KVPAXOS_PUBLISH is \"$publish\"; it must be an IPv4 address of this machine, or 0.0.0.0 for all"
    [[ $log_level =~ ^(off|error|warn|info|debug|trace)$ ]] ||
        fail "KVPAXOS_LOG_LEVEL is \"$log_level\"; it must be off, error, warn, info, debug or trace"
    case ${KVPAXOS_DEPLOY:-local} in
        local | docker) ;;
        *) fail "KVPAXOS_DEPLOY is \"$KVPAXOS_DEPLOY\"; it must be docker or local" ;;
    esac
    if [[ -n ${KVPAXOS_BIN:-} && ! -x $bin/kvpaxos-client ]]; then
        fail "KVPAXOS_BIN is \"$bin\"; no program kvpaxos-client is there"
    fi
}

source scripts/programs.sh
source scripts/local.sh
source scripts/docker.sh
source scripts/place.sh
