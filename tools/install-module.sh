#!/bin/bash
# Copies the built module to where one flavour of nginx looks for modules, or
# to MODULES_DIR. DESTDIR is put in front, as packagers expect.
#
#   tools/install-module.sh debian|source
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour "$1"

configured() { # the value of nginx's own configure option
    $nginx -V 2>&1 | grep -o -- " --$1=[^ ]*" | cut -d = -f 2
}
prefix=$(configured prefix || echo /usr/local/nginx)
folder=${DESTDIR:-}${MODULES_DIR:-$(configured modules-path || echo "$prefix/modules")}

mkdir -p "$folder"
# By rename, so that a running nginx keeps the file it has.
install -m 644 "$module" "$folder/.$module_name.so.new"
mv -f "$folder/.$module_name.so.new" "$folder/$module_name.so"
echo "installed $folder/$module_name.so; a running nginx takes it up at its next restart, not on reload"
