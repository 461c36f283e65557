#!/bin/bash
# Measures what the module costs; see README.md.
#
#   bench/run.sh debian|source [--markdown]
#   bench/run.sh debian|source --instructions
set -euo pipefail
. "$(dirname "$0")/../tools/nginx.sh"
use_flavour "$1"
shift

export BENCH_NGINX=$nginx BENCH_MODULE=$module
export BENCH_STANDIN=$CARGO_TARGET_DIR/release/authgear-standin
export BENCH_FLOOR=$CARGO_TARGET_DIR/release/examples/rs256_floor
cd "$root"
if [ "${1:-}" = --instructions ]; then exec perl -Ibench/lib bench/instructions.pl; fi
exec perl -Ibench/lib bench/run.pl "$@"
