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
if [ "$flavour" = asan ]; then
    export ASAN_OPTIONS=detect_leaks=1:detect_odr_violation=0:log_path=$dir/asan
    export LSAN_OPTIONS=suppressions=$root/t/lib/lsan.suppress
fi

export TEST_NGINX_BINARY=$nginx TEST_NGINX_LOAD_MODULES=$module AUTHGEAR_TEST_DIR=$dir
status=0
perl -I"$root/t/lib" "$root/tools/stress.pl" || status=$?
if compgen -G "$dir/asan.*" > /dev/null; then
    cat "$dir"/asan.*
    status=1
fi
if [ $status != 0 ]; then
    mkdir -p "$root/build/failed-stress"
    cp "$dir/servroot/logs/error.log" "$root/build/failed-stress/"
    echo "the log is build/failed-stress/error.log" >&2
fi
exit $status
