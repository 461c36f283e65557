#!/bin/bash
# Takes the steps of Dockerfile.alpine without Docker: builds nginx and the module
# with musl-gcc, and has that nginx answer the demo's four requests. Debian has
# neither PCRE2 nor zlib for musl, so this nginx rewrites and compresses nothing.
#
# NGINX_TREE is nginx's source, that of NGINX=source unless set.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"

tree=${NGINX_TREE:-$root/build/source/nginx}
dir=$root/build/musl
triple=$(uname -m)-unknown-linux-musl
headers=/usr/include/$(uname -m)-linux-musl
rm -rf "$dir/nginx"
mkdir -p "$dir/lib"

rustup target add "$triple"
# Alpine's libgcc_s is linked with musl, Debian's is not: the unwinder of Rust's
# own musl target stands in for it.
unwinder=$(rustc --print sysroot)/lib/rustlib/$triple/lib/self-contained/libunwind.a
echo "INPUT($unwinder)" >"$dir/lib/libgcc_s.so"

configure="--with-compat --without-pcre --without-http_rewrite_module --without-http_gzip_module"
cp -r "$tree" "$dir/nginx"
(
    cd "$dir/nginx"
    auto/configure $configure --with-cc=musl-gcc
    make -f objs/Makefile binary
) >"$dir/nginx.log" 2>&1

clang=$(dirname "$(find /usr/lib/llvm-*/lib/clang -name stddef.h | sort -V | tail -n 1)")
env CARGO_BUILD_TARGET="$triple" CARGO_TARGET_DIR="$root/build/target-musl" CC=musl-gcc CONFIGURE="$configure" \
    CC_"${triple//-/_}"=musl-gcc HOST_CC=cc \
    RUSTFLAGS="-C target-feature=-crt-static -C linker=musl-gcc -L native=$dir/lib" \
    BINDGEN_EXTRA_CLANG_ARGS="-nostdinc -isystem $clang -isystem $headers" \
    "$root/tools/build-for.sh" "$tree" "$dir"

readelf -d "$dir/$module_name.so" | grep NEEDED
cp "$dir/$module_name.so" "$dir/nginx/objs"
FLAVOUR=configured NGINX_BUILD_DIR=$dir/nginx/objs NGINX_SOURCE_DIR=$dir/nginx "$root/tools/demo.sh" --check
