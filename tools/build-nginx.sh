#!/bin/bash
# Makes build/FLAVOUR/objs: for debian a configured build folder only, for the
# others nginx itself. Does nothing where that has been done already.
#
#   tools/build-nginx.sh debian|source|asan
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour "$1"

log=$root/build/$flavour/build.log
stamp=$root/build/$flavour/made-from

# What the result depends on; a change starts over.
made_from() {
    case $flavour in
    debian) $nginx -V 2>&1 && dpkg-query -W nginx-dev ;;
    *) cat "$root/tools/nginx-source/Cargo.lock" ;;
    esac
    cat "$root/tools/build-nginx.sh"
}

if [ -f "$stamp" ] && made_from | cmp -s - "$stamp"; then
    exit 0
fi
rm -rf "${root:?}/build/$flavour"
mkdir -p "$root/build/$flavour"

run() {
    if ! "$@" >>"$log" 2>&1; then
        tail -n 30 "$log" >&2
        echo "failed: $* (all of it in $log)" >&2
        exit 1
    fi
}

# The tree is copied: nginx's configure writes into it, and the registry is
# cargo's own.
copy_source() {
    local manifest=$root/tools/nginx-source/Cargo.toml crate
    run cargo fetch --locked --manifest-path "$manifest"
    crate=$(cargo metadata --locked --offline --format-version 1 --manifest-path "$manifest" |
        grep -o '"manifest_path":"[^"]*/nginx-src-[^"]*/Cargo.toml"' | cut -d '"' -f 4)
    cp -r "$(dirname "$crate")/nginx" "$NGINX_SOURCE_DIR"
}

configure_and_make() {
    cd "$NGINX_SOURCE_DIR"
    run auto/configure --builddir="$NGINX_BUILD_DIR" \
        --with-compat --with-debug --with-threads \
        --with-http_ssl_module --with-http_v2_module \
        --with-http_auth_request_module --with-http_realip_module "$@"
    run make -j "$(nproc)" -f "$NGINX_BUILD_DIR/Makefile" binary
}

echo "making build/$flavour"
case $flavour in
debian)
    # conf_flags are those of the packaged binary, which must be matched for
    # it to load the module.
    cd "$NGINX_SOURCE_DIR"
    . ./conf_flags
    run ./configure "${NGX_CONF_FLAGS[@]}" --with-cc-opt=-fPIC --builddir="$NGINX_BUILD_DIR"
    ;;
source)
    copy_source
    configure_and_make
    ;;
asan)
    copy_source
    configure_and_make \
        --with-cc-opt='-O1 -fno-omit-frame-pointer -fsanitize=address -DNGX_DEBUG_PALLOC=1' \
        --with-ld-opt=-fsanitize=address
    ;;
esac
made_from >"$stamp"
