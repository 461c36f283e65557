#!/bin/bash
# Runs each fuzz target (fuzz/) for some minutes, or all of them together for
# some, and ends with the number of executions of each. Inputs that reach new
# code are kept in build/fuzz-corpus/; an input with a finding is kept in
# build/failed-fuzz/, and makes the end non-zero.
#
#   [MINUTES=1 | ALL_MINUTES=n] [TARGETS='a b'] [SANITIZER=address|none] tools/fuzz.sh [--quick]
#
# cargo-fuzz instruments every crate and optimises. With --quick only this
# project's crates are instrumented, and all others are those of the unit tests:
# that builds in a fraction of the time, and fuzzes more slowly.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
cd "$root"

sanitizer=${SANITIZER:-address}

build_with_cargo_fuzz() {
    export CARGO_TARGET_DIR=$root/build/fuzz
    # Sanitizers are not in stable Rust's interface.
    if [ "$sanitizer" != none ]; then
        export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$CARGO_TARGET_DIR-$sanitizer
    fi
    if ! cargo fuzz --version >/dev/null 2>&1; then
        echo "installing with cargo: cargo-fuzz"
        CARGO_TARGET_DIR=$root/build/tools cargo install --quiet --locked cargo-fuzz@0.13.2
    fi
    cargo fuzz build --features libfuzzer --sanitizer "$sanitizer"
    binaries=$CARGO_TARGET_DIR/$(rustc --version --verbose | sed -n 's/^host: //p')/release
}

build_quickly() {
    local flags package options=()
    # As cargo-fuzz does.
    flags='"-Cpasses=sancov-module", "-Cllvm-args=-sanitizer-coverage-level=4"'
    flags+=', "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters", "-Cllvm-args=-sanitizer-coverage-pc-table"'
    flags+=', "-Cllvm-args=-sanitizer-coverage-trace-compares"'
    if [ "$sanitizer" != none ]; then flags+=", \"-Zsanitizer=$sanitizer\""; fi
    for package in authgear-core authgear-tables authgear-fuzz; do
        options+=(--config "profile.dev.package.$package.rustflags=[$flags]"
            --config "profile.dev.package.$package.opt-level=1")
    done
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/build/target}
    RUSTC_BOOTSTRAP=1 cargo build -Zprofile-rustflags --locked --manifest-path fuzz/Cargo.toml \
        --features libfuzzer --bins "${options[@]}"
    binaries=$CARGO_TARGET_DIR/debug
}

mapfile -t all < <(basename -s .rs fuzz/fuzz_targets/*.rs)
targets=(${TARGETS:-${all[@]}})
seconds=$((${MINUTES:-1} * 60))
if [ -n "${ALL_MINUTES:-}" ]; then seconds=$(((ALL_MINUTES * 60 + ${#targets[@]} - 1) / ${#targets[@]})); fi

if [ "${1:-}" = --quick ]; then build_quickly; else build_with_cargo_fuzz; fi

total=0 failed=()
for target in "${targets[@]}"; do
    found=$root/build/fuzz-corpus/$target failures=$root/build/failed-fuzz
    mkdir -p "$found" "$failures"
    options=(-max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0
        -artifact_prefix="$failures/$target-")
    if [ -e "fuzz/dictionaries/$target.dict" ]; then options+=(-dict="fuzz/dictionaries/$target.dict"); fi
    log=$failures/$target.log status=0
    ASAN_OPTIONS=detect_odr_violation=0 "$binaries/$target" \
        "${options[@]}" "$found" "fuzz/corpus/$target" >"$log" 2>&1 || status=$?
    count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-12s %12d executions\n' "$target" "${count:-0}"
    total=$((total + ${count:-0}))
    if [ $status = 0 ]; then
        rm "$log"
    else
        failed+=("$target")
        tail -n 60 "$log"
    fi
done
printf '%-12s %12d executions\n' "all" "$total"

if [ -n "${COUNTS:-}" ]; then echo "$((${#targets[@]} - ${#failed[@]})) ${#failed[@]} 0" >>"$COUNTS"; fi
if [ ${#failed[@]} = 0 ]; then
    rmdir "$root/build/failed-fuzz" 2>/dev/null || true
    exit
fi
echo "findings of ${failed[*]}; the inputs are in build/failed-fuzz/" | tee -a "${FAILURES:-/dev/null}" >&2
exit 1
