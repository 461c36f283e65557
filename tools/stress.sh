#!/bin/bash
# Runs stress.pl against one flavour.
#
#   [MINUTES=3] [SEED=n] tools/stress.sh debian|source|asan|newest
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour "$1"

export AUTHGEAR_STANDIN=$CARGO_TARGET_DIR/debug/authgear-standin
dir=$(mktemp -d "${TMPDIR:-/tmp}/ngx-authgear-stress.XXXXXX")
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
perl -I"$root/t/lib" -I"$root/tools/stress" "$root/tools/stress.pl" || status=$?
# Others name the suppressions that were used.
if findings=$(grep -l '^==' "$dir"/sanitizer/* 2>/dev/null); then
    cat $findings
    status=1
fi
if [ $status != 0 ]; then
    mkdir -p "$root/build/failed-stress"
    for node in "$dir"/servroot*; do
        cp "$node/logs/error.log" "$root/build/failed-stress/${node##*/}.log"
    done
    echo "the logs are in build/failed-stress/" >&2
fi
exit $status
