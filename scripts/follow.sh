#!/usr/bin/env bash
# Writes the log of container $1 to the end of file $2 until the container is removed, through all its restarts.
# deploy.sh starts one for each replica in Docker.
set -euo pipefail
container=$1 log=$2

exec 8>>"$log"
flock --nonblock 8 || exit 0

# The file may have been followed before, and then has everything up to its last change.
since=()
[[ -s $log ]] && since=(--since "$(date --utc --reference="$log" +%FT%T.%NZ)")
while docker container inspect "$container" >/dev/null 2>&1; do
    docker logs --follow "${since[@]}" "$container" >&8 2>&1 || true
    # The container has stopped. What it says from now on it says in another life.
    since=(--since "$(date --utc +%FT%T.%NZ)")
    sleep 1
done
