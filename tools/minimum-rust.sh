#!/bin/bash
# Compiles the workspace with the oldest Rust that Cargo.toml states, which
# rustup installs where it is missing. Where it cannot, `make lint` alone speaks
# for the number: clippy knows since when each function of the standard library
# is stable, and each dependency says what it needs.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour debian
cd "$root"

minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! rustup run "$minimum" rustc --version 2>/dev/null &&
    ! rustup toolchain install "$minimum" --profile minimal; then
    echo "Rust $minimum cannot be had here: not compiled with it"
    exit
fi
CARGO_TARGET_DIR=$root/build/target-minimum rustup run "$minimum" cargo check --locked --workspace
