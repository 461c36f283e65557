#!/bin/bash
# Runs the tests of tables/ under Miri, which finds undefined behaviour: reads of memory that nobody initialised or that
# is another's, data races, and references that are used after others changed what they point to. Those tests in
# which several threads share a table run with several seeds, each another order of the threads.
#
#   SEEDS=4 tools/miri.sh
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "installing with rustup: nightly Rust with Miri"
    rustup toolchain install nightly --profile minimal --component miri --component rust-src
fi

# A killed writer of a test is a panic; its backtrace takes long here.
export RUST_BACKTRACE=0
miri() { cargo +nightly miri test --locked --package authgear-tables --lib -- "$@"; }

concurrent=(
    a_reader_never_sees_half_a_slot
    readers_without_a_lock_never_miss
    no_count_is_lost_where_workers_share_a_lane
    many_ask_for_a_probe_at_once
)
flags="${MIRIFLAGS:-}"
# Nothing races in a single thread.
export MIRIFLAGS="$flags -Zmiri-disable-data-race-detector -Zmiri-disable-weak-memory-emulation"
miri "${concurrent[@]/#/--skip=}"
MIRIFLAGS="$flags -Zmiri-many-seeds=0..${SEEDS:-4}" miri "${concurrent[@]}"
