# Sourced by the other scripts: where each flavour of nginx is.
#
#   debian   /usr/sbin/nginx, against the headers of nginx-dev
#   source   a newer one, built from the tree that the crate nginx-src carries
#   asan     the same, and the module with it, under AddressSanitizer
#   newest   that of Debian's unstable suite, unpacked with its libraries
#
# For nginx's own make and for packagers, without a folder in build/:
#
#   configured   whatever NGINX_SOURCE_DIR and NGINX_BUILD_DIR name; the module
#                is put into the latter
#   installed    Debian's, with the module where its package puts it
#
# NGINX_TREE=DIR builds source and asan from another tree of nginx's source, also Angie's or
# OpenResty's. CONFIGURE='…' are more arguments for its configure.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
module_name=ngx_http_authgear_module

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/build/target}

use_flavour() {
    flavour=$1
    if [ "$flavour" = configured ]; then
        : "${NGINX_SOURCE_DIR:?}" "${NGINX_BUILD_DIR:?}"
        module=$NGINX_BUILD_DIR/$module_name.so
        nginx=$NGINX_BUILD_DIR/nginx
        return
    fi
    if [ "$flavour" = installed ]; then
        module=/usr/lib/nginx/modules/$module_name.so
        nginx=/usr/sbin/nginx
        return
    fi
    module=$root/build/$flavour/$module_name.so
    export NGINX_BUILD_DIR=$root/build/$flavour/objs
    case $flavour in
    debian)
        export NGINX_SOURCE_DIR=/usr/share/nginx/src
        nginx=/usr/sbin/nginx
        ;;
    source | asan)
        export NGINX_SOURCE_DIR=$root/build/$flavour/nginx
        nginx=$NGINX_BUILD_DIR/nginx
        ;;
    newest)
        export NGINX_SOURCE_DIR=$root/build/newest/root/usr/share/nginx/src
        nginx=$root/build/newest/root/usr/sbin/nginx
        ;;
    *)
        echo "no flavour of nginx is called '$flavour': debian, source, asan, newest" >&2
        exit 2
        ;;
    esac
}
