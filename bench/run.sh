#!/bin/bash
# Measures what the module costs; see README.md.
#
#   bench/run.sh debian|source [--markdown]
#   bench/run.sh debian|source --instructions
#   bench/run.sh debian|source --outage
#   bench/run.sh debian|source --revocation
#   bench/run.sh debian|source --connections
#   bench/run.sh debian|source --tenants
#
# With BASE, a commit or a built module, each row is measured with that one too.
set -euo pipefail
. "$(dirname "$0")/../tools/nginx.sh"
use_flavour "$1"
shift

# Builds the module of a commit into build/bench/base/FLAVOUR-COMMIT/, with the include
# for the resolver that the commit has. Nothing is done where that is there already.
# The build folder is not this tree's: cargo takes two checkouts for one package, and
# might leave the other one's module there.
build_base() {
    local commit
    if ! commit=$(git rev-parse --verify --quiet "$BASE^{commit}"); then
        echo "BASE=$BASE is neither a commit nor the .so of a module" >&2
        exit 2
    fi
    base=$root/build/bench/base/$flavour-$commit
    if [ -e "$base/$module_name.so" ]; then return; fi
    mkdir -p "$base"
    tree=$(mktemp -d "$root/build/bench/base/tree.XXXXXX")
    trap 'git worktree remove --force "$tree"' EXIT
    git worktree add --quiet --detach "$tree" "$commit"
    export CARGO_TARGET_DIR=$root/build/bench/base/target
    (cd "$tree" && cargo rustc --release --package "$module_name" --lib)
    cp "$tree/nginx-conf/authgear_resolver.conf" "$base"
    cp "$CARGO_TARGET_DIR/release/lib$module_name.so" "$base/$module_name.so"
    git worktree remove --force "$tree"
    trap - EXIT
}

cd "$root"
export BENCH_NGINX=$nginx BENCH_MODULE=$module
export BENCH_STANDIN=$CARGO_TARGET_DIR/release/authgear-standin
export BENCH_FLOOR=$CARGO_TARGET_DIR/release/examples/rs256_floor
if [ "${1:-}" = --instructions ]; then exec perl -Ibench/lib bench/instructions.pl; fi
if [ "${1:-}" = --outage ]; then exec perl -Ibench/lib bench/outage.pl; fi
if [ "${1:-}" = --tenants ]; then exec perl -Ibench/lib -It/lib bench/tenants.pl; fi
export TEST_NGINX_BINARY=$nginx TEST_NGINX_LOAD_MODULES=$module AUTHGEAR_STANDIN=$BENCH_STANDIN
if [ "${1:-}" = --revocation ]; then exec perl -It/lib bench/revocation.pl; fi
if [ "${1:-}" = --connections ]; then
    ulimit -n "$(ulimit -Hn)"
    exec perl -It/lib bench/connections.pl
fi

if [[ ${BASE:-} == *.so && -f $BASE ]]; then
    export BENCH_BASE=$(readlink -e "$BASE") BENCH_BASE_INCLUDE=nginx-conf/authgear_resolver.conf
elif [ -n "${BASE:-}" ]; then
    build_base
    export BENCH_BASE=$base/$module_name.so BENCH_BASE_INCLUDE=$base/authgear_resolver.conf
fi
exec perl -Ibench/lib bench/run.pl "$@"
