#!/bin/sh
# Builds the programs as the images need them, static and stripped, and puts them into directory $1. Runs in whatever
# image the Dockerfile builds in, hence in plain sh.
set -eu
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

# With a named target the flags are for the programs alone, not for what runs at build time and cannot be static.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS='-C target-feature=+crt-static' \
    cargo build --profile image --quiet --locked --target "$host" -p kvpaxos-server -p kvpaxos-client
for program in kvpaxos-server kvpaxos-client; do
    # Somebody may be running the one before, which cannot be written over.
    rm -f "$out/$program"
    cp "${CARGO_TARGET_DIR:-target}/$host/image/$program" "$out/"
done
