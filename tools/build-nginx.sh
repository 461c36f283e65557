#!/bin/bash
# Makes build/FLAVOUR/objs: for debian and newest a configured build folder
# only, for the others nginx itself. Does nothing where that has been done
# already; build/FLAVOUR/made-from says from what.
#
#   tools/build-nginx.sh debian|source|asan|newest
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour "$1"

log=$root/build/$flavour/build.log
stamp=$root/build/$flavour/made-from

# The inputs of the build; a change starts over.
made_from() {
    case $flavour in
    debian) $nginx -V 2>&1 && dpkg-query -W nginx-dev ;;
    newest) $nginx -V 2>&1 && cat "$root/build/newest/packages" ;;
    *)
        echo "${NGINX_TREE:-} ${CONFIGURE:-}"
        cat "${NGINX_TREE:-$root}/src/core/nginx.h" 2>/dev/null || true
        cat "$root/tools/nginx-source/Cargo.lock"
        ;;
    esac
    cat "$root/config" "$root/config.make" "$root/tools/build-nginx.sh" "$root/tools/debian-unstable.sh"
}

if [ -f "$stamp" ] && made_from 2>/dev/null | cmp -s - "$stamp"; then
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
    if [ -n "${NGINX_TREE:-}" ]; then
        cp -r "$NGINX_TREE" "$NGINX_SOURCE_DIR"
        return
    fi
    local manifest=$root/tools/nginx-source/Cargo.toml crate
    run cargo fetch --locked --manifest-path "$manifest"
    crate=$(cargo metadata --locked --offline --format-version 1 --manifest-path "$manifest" |
        grep -o '"manifest_path":"[^"]*/nginx-src-[^"]*/Cargo.toml"' | cut -d '"' -f 4)
    cp -r "$(dirname "$crate")/nginx" "$NGINX_SOURCE_DIR"
}

# The modules are those of Debian's nginx that the suite meets, and HTTP/3.
configure_and_make() {
    local configure=auto/configure more
    cd "$NGINX_SOURCE_DIR"
    # A release and Angie have it at the top.
    if [ ! -e "$configure" ]; then configure=./configure; fi
    eval "more=(${CONFIGURE:-})"
    run $configure --builddir="$NGINX_BUILD_DIR" \
        --with-compat --with-debug --with-threads --with-pcre-jit \
        --with-http_ssl_module --with-http_v2_module --with-http_v3_module \
        --with-http_addition_module --with-http_auth_request_module \
        --with-http_dav_module --with-http_gunzip_module --with-http_realip_module \
        --with-http_secure_link_module --with-http_slice_module \
        --with-http_stub_status_module --with-http_sub_module "$@" "${more[@]}"
    run make -j "$(nproc)" -f "$NGINX_BUILD_DIR/Makefile" binary
    # Angie's binary has its own name.
    if [ ! -e "$NGINX_BUILD_DIR/nginx" ]; then ln -s angie "$NGINX_BUILD_DIR/nginx"; fi
}

# Makes the build folder that the headers of nginx-dev lack. conf_flags are
# those of the packaged binary, which must be matched for it to load the module.
configure_packaged() {
    cd "$NGINX_SOURCE_DIR"
    . ./conf_flags
    run ./configure "${NGX_CONF_FLAGS[@]}" --with-cc-opt=-fPIC --builddir="$NGINX_BUILD_DIR"
}

# The newest nginx as Debian packages it needs newer libraries than a release
# has, so it is unpacked beside them and bound to them, and nothing is installed.
unpack_unstable() (
    packages=$root/build/newest/packages
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    . "$root/tools/debian-unstable.sh"
    run use_unstable "$dir"
    run download_unstable "$dir" nginx nginx-dev $(unstable_libraries nginx)
    for package in "$dir"/deb/*.deb; do
        dpkg-deb --extract "$package" "$root/build/newest/root"
        dpkg-deb --show "$package"
    done >"$packages"

    libraries=$(dirname "$(find "$root/build/newest/root" -name 'libcrypto.so.*' | head -n 1)")
    loader=$(find "$root/build/newest/root" -name "$(basename "$(patchelf --print-interpreter "$nginx")")" -type f | head -n 1)
    # As RPATH, not RUNPATH: it counts for what the module needs, too.
    run patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$nginx"
    run "$nginx" -V
)

echo "making build/$flavour"
case $flavour in
debian) configure_packaged ;;
newest)
    unpack_unstable
    configure_packaged
    ;;
source)
    copy_source
    configure_and_make --add-dynamic-module="$root"
    ;;
asan)
    copy_source
    configure_and_make \
        --with-cc-opt='-O1 -fno-omit-frame-pointer -fsanitize=address -DNGX_DEBUG_PALLOC=1' \
        --with-ld-opt=-fsanitize=address
    ;;
esac
made_from >"$stamp"
