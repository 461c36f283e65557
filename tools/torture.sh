#!/bin/bash
# Runs torture.pl against one flavour, that of AddressSanitizer unless told.
#
#   [MINUTES=5] [SEED=n] tools/torture.sh [asan|debian|source|newest]
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour "${1:-asan}"

export AUTHGEAR_STANDIN=$CARGO_TARGET_DIR/debug/authgear-standin
dir=$(mktemp -d "${TMPDIR:-/tmp}/ngx-authgear-torture.XXXXXX")
chmod 755 "$dir"
trap 'rm -rf "$dir"' EXIT
# A worker that is not root writes what the sanitizer finds in it.
mkdir -m 1777 "$dir/sanitizer"
if [ "$flavour" = asan ]; then
    export ASAN_OPTIONS=detect_leaks=1:detect_odr_violation=0:log_path=$dir/sanitizer/report
    export LSAN_OPTIONS=suppressions=$root/t/lib/lsan.suppress
fi

export TEST_NGINX_BINARY=$nginx TEST_NGINX_LOAD_MODULES=$module AUTHGEAR_TEST_DIR=$dir
status=0
perl -I"$root/t/lib" -I"$root/tools/torture" "$root/tools/torture.pl" || status=$?
# Others name the suppressions that were used.
if findings=$(grep -l '^==' "$dir"/sanitizer/* 2>/dev/null); then
    cat $findings
    status=1
fi
if [ $status != 0 ]; then
    kept=$root/build/failed-torture
    rm -rf "$kept"
    mkdir -p "$kept"
    cp -r "$dir"/servroot/logs "$dir"/kept "$dir"/*.conf "$kept/" 2>/dev/null || true
    echo "logs and configurations are in build/failed-torture/" >&2
fi
exit $status
