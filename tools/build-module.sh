#!/bin/bash
# Builds the module against one flavour of nginx, in release mode, into
# build/FLAVOUR/ngx_http_authgear_module.so. That of source is built as everybody
# builds a module: by `make modules` in nginx's source, which comes back here
# with `configured`.
#
# What debuggers need is beside it, in ngx_http_authgear_module.so.debug; that of
# asan keeps it.
#
#   tools/build-module.sh debian|source|asan|newest|configured
#
# CARGO_BUILD_TARGET, with OBJCOPY, builds for another machine or libc.
#
# DENY_WARNINGS=1 makes the module's own warnings errors: an older nginx and a
# newer one compile different lines, and `make lint` sees those of one.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour "$1"

cd "$root"
target=$CARGO_TARGET_DIR
if [ -n "${CARGO_BUILD_TARGET:-}" ]; then target=$target/$CARGO_BUILD_TARGET; fi
args=(rustc --locked --release --package "$module_name" --lib)

if [ "$flavour" = asan ]; then
    # With --target the flags reach the module and its dependencies but not
    # the build scripts. The runtime is the one that nginx is linked with.
    triple=$(rustc -vV | sed -n 's/^host: //p')
    export RUSTC_BOOTSTRAP=1
    export RUSTFLAGS="-Zsanitizer=address -Zexternal-clangrt -Cforce-frame-pointers=yes"
    export CARGO_TARGET_DIR=$target-asan
    args+=(--target "$triple")
    target=$CARGO_TARGET_DIR/$triple
fi

# Angie's names and signatures are not all nginx's, which the crates know.
if [ -e "$NGINX_SOURCE_DIR/src/core/angie.h" ]; then
    export BINDGEN_EXTRA_CLANG_ARGS="${BINDGEN_EXTRA_CLANG_ARGS:-} -include '$root/src/nginx/angie.h'"
fi

# The code names no folder of this machine: `make reproducible`.
# With other flags cargo builds all anew, so that of source, which comes here twice, has them once.
remap="--remap-path-prefix=$root=. --remap-path-prefix=$CARGO_TARGET_DIR=target --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
case " ${RUSTFLAGS:-} " in
*" $remap "*) ;;
*) export RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }$remap" ;;
esac

if [ "$flavour" = source ]; then
    # A make above this one would hand on its targets.
    env -u MAKEFLAGS make -C "$NGINX_SOURCE_DIR" -f "$NGINX_BUILD_DIR/Makefile" modules
    built=$NGINX_BUILD_DIR/$module_name.so
else
    cargo "${args[@]}" -- ${DENY_WARNINGS:+-D warnings}
    built=$target/release/lib$module_name.so
fi

# By rename: an nginx that has the old file mapped keeps it.
new=$(mktemp "$module.XXXXXX")
cp "$built" "$new"
chmod 644 "$new"
if [ "$flavour" = source ]; then
    cp "$built.debug" "$module.debug"
elif [ "$flavour" != asan ]; then
    objcopy=${OBJCOPY:-objcopy}
    $objcopy --only-keep-debug --compress-debug-sections "$built" "$module.debug"
    chmod 644 "$module.debug"
    $objcopy --strip-unneeded --add-gnu-debuglink="$module.debug" "$new"
fi
mv -f "$new" "$module"
