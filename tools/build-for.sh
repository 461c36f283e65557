#!/bin/bash
# Builds the module for the nginx whose source is in TREE, in a copy of it, into
# OUT (build/for/): as everybody builds a module, by configure and `make modules`.
#
#   tools/build-for.sh TREE [OUT]
#
# CONFIGURE is what nginx's configure is told, --with-compat unless set: for an
# nginx that was built without it, what `nginx -V` prints. CC is the compiler.
# It needs Rust, a C compiler, make, libclang, and the headers of PCRE2 and zlib,
# and neither Debian's packages nor nginx itself.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"

tree=$(cd "${1:?the folder of nginx source}" && pwd)
out=${2:-$root/build/for}
mkdir -p "$out"
out=$(cd "$out" && pwd)

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$tree/." "$copy"
cd "$copy"
configure=./configure
if [ ! -e configure ]; then configure=auto/configure; fi
eval "arguments=(${CONFIGURE:---with-compat})"
$configure "${arguments[@]}" ${CC:+--with-cc="$CC"} --add-dynamic-module="$root"
env -u MAKEFLAGS make modules
for file in "objs/$module_name.so" "objs/$module_name.so.debug"; do
    cp "$file" "$out/.new"
    mv -f "$out/.new" "$out/$(basename "$file")"
done
ls -l "$out"
