#!/bin/bash
# Runs the tests of the crates that know no nginx, or with "fuzz" those of the
# workspace fuzz/, each target over its corpus. With COUNTS=FILE in the
# environment, one line "PASSED FAILED SKIPPED" is appended to that file; with
# FAILURES=FILE, what failed.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour debian
cd "$root"

out=$(mktemp)
trap 'rm -f "$out"' EXIT

# The whole workspace, though the module has no tests of this kind: cargo then
# takes the dependencies that clippy built, and not some with other features.
what=(--workspace)
if [ "${1:-}" = fuzz ]; then what=(--locked --manifest-path fuzz/Cargo.toml); fi

status=0
cargo test "${what[@]}" --no-fail-fast 2>&1 | tee "$out" || status=$?

read -r passed failed skipped < <(awk '
    /^test result: / {
        for (i = 1; i < NF; i++) {
            if ($(i + 1) == "passed;") passed += $i
            if ($(i + 1) == "failed;") failed += $i
            if ($(i + 1) == "ignored;") skipped += $i
        }
    }
    END { print passed + 0, failed + 0, skipped + 0 }' "$out")

# A test that did not compile, or died, has failed too.
if [ $status != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
if [ -n "${COUNTS:-}" ]; then echo "$passed $failed $skipped" >>"$COUNTS"; fi
if [ $status != 0 ] && [ -n "${FAILURES:-}" ]; then
    grep -A 8 -E '^(error|test .* FAILED|thread .* panicked)' "$out" | head -60 >>"$FAILURES" || true
fi
echo "unit tests: $passed passed, $failed failed, $skipped skipped"
exit $status
