#!/usr/bin/env bash
# Reads only: formatting, lints and documentation of the whole workspace.
set -euo pipefail
cd "$(dirname "$0")"
cargo fmt --all --check
cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked --quiet
# The fuzz targets are a workspace of their own, whose lock file names what the programs need.
cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
# So is the comparison with other stores. Its lints need protoc, and .ci/run has it.
cargo metadata --locked --format-version 1 --manifest-path bench/Cargo.toml >/dev/null
cargo fmt --all --check --manifest-path bench/Cargo.toml
