#!/bin/bash
# Compiles the workspace with the oldest Rust that Cargo.toml states, which
# rustup installs where it is missing.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour debian
cd "$root"

minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! rustup run "$minimum" rustc --version; then
    rustup toolchain install "$minimum" --profile minimal
fi
CARGO_TARGET_DIR=$root/build/target-minimum rustup run "$minimum" cargo check --locked --workspace
