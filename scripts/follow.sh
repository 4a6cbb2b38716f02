#!/usr/bin/env bash
# Writes the log of container $1 to the end of file $2 until the container is removed, through all its restarts.
# deploy.sh starts one for each replica in Docker.
set -euo pipefail
container=$1 log=$2

exec 8>>"$log"
flock --nonblock 8 || exit 0

# What Docker says itself, on the same stream, is not of the replica.
without_dockers_words() {
    grep --line-buffered -vE '^(Error response from daemon|Error: No such|error from daemon)' || true
}

# The file may have been followed before, and then has everything up to its last change.
since=()
[[ -s $log ]] && since=(--since "$(date --utc --reference="$log" +%FT%T.%NZ)")
# Once the file has been moved away, another follower has the one in its place.
while [[ $log -ef /proc/self/fd/8 ]] && docker container inspect "$container" >/dev/null 2>&1; do
    { docker logs --follow "${since[@]}" "$container" 2>&1 || true; } | without_dockers_words >&8
    # The container has stopped. What it says from now on it says in another life.
    since=(--since "$(date --utc +%FT%T.%NZ)")
    sleep 1
done
