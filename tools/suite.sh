#!/bin/bash
# Runs the Test::Nginx suite, or the test files named, against one flavour.
#
#   tools/suite.sh debian|source|asan|newest [--valgrind] [t/FILE.t …]
#
# JOBS files run side by side, two for each core unless it is set. The logs of a
# file that failed are kept in build/failed-FLAVOUR/.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour "$1"
shift

mode=plain
if [ "${1:-}" = --valgrind ]; then
    mode=valgrind
    shift
elif [ "$flavour" = asan ]; then
    mode=asan
fi

cd "$root"
export AUTHGEAR_STANDIN=$CARGO_TARGET_DIR/debug/authgear-standin
for file in "$module" "$AUTHGEAR_STANDIN"; do
    if [ ! -e "$file" ]; then
        echo "$file is missing: make suite builds it" >&2
        exit 1
    fi
done
if [ $# = 0 ]; then set -- t/*.t; fi

export TEST_NGINX_BINARY=$nginx TEST_NGINX_LOAD_MODULES=$module
exec perl tools/suite.pl "$flavour" "$mode" "$@"
