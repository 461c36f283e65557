#!/bin/bash
# Installs the package of build/deb/ in a clean Debian of this machine's own
# release, beside its nginx, has it answer the demo's requests, and removes and
# purges it. As root; nothing outside of build/ is changed.
set -euo pipefail
cd "$(dirname "$0")/.."

package=libnginx-mod-http-authgear
deb=$(ls build/deb/${package}_*.deb)
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
chroot=$PWD/build/chroot/$release
log=$PWD/build/chroot/$release.log
standin=${STANDIN:-${CARGO_TARGET_DIR:-build/target}/debug/authgear-standin}
targets() { apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(LABEL)' 'Created-By: Packages' | sort -u; }

inside() { LC_ALL=C DEBIAN_FRONTEND=noninteractive chroot "$chroot" "$@" </dev/null; }
apt="apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0"

passed=0 failed=0
check() { # NAME COMMAND…
    local name=$1
    shift
    if "$@" >>"$log" 2>&1; then
        echo "ok: $name"
        passed=$((passed + 1))
    else
        echo "not ok: $name (see $log)"
        failed=$((failed + 1))
    fi
}

if [ ! -e "$chroot/made" ]; then
    echo "making $chroot"
    mkdir -p "$(dirname "$chroot")"
    rm -rf --one-file-system "$chroot"
    mirror=$(targets | awk -v release="$release" '$2 == release && $3 == "Debian" { print $1; exit }')
    debootstrap --variant=minbase --include=ca-certificates "$release" "$chroot" "$mirror" >"$log" 2>&1
    targets | awk -v release="$release" '$2 ~ release && $3 ~ /^Debian/ { print "deb", $1, $2, "main" }' \
        >"$chroot/etc/apt/sources.list"
    # No service is started in it.
    printf '#!/bin/sh\nexit 101\n' >"$chroot/usr/sbin/policy-rc.d"
    chmod 755 "$chroot/usr/sbin/policy-rc.d"
    { inside $apt update && inside $apt install nginx curl; } >>"$log" 2>&1
    touch "$chroot/made"
fi

# What an earlier run that was ended left behind.
inside dpkg --purge "$package" >>"$log" 2>&1 || true
rm -rf "$chroot/check"
# What apt, dpkg and logs keep for themselves is no residue.
files() { (cd "$chroot" && find . -xdev \( -path ./proc -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/log \
    -o -path ./var/cache -o -path ./tmp -o -path ./check \) -prune -o -print | sort); }
# nginx itself makes its folders when it is tested for the first time.
inside nginx -t >>"$log" 2>&1
before=$(files)

mkdir -p "$chroot/check/tools" "$chroot/check/target/debug"
cp tools/demo.sh tools/nginx.sh "$chroot/check/tools/"
cp "$standin" "$chroot/check/target/debug/"
cp "$deb" "$chroot/check/package.deb"

check "is installed with apt" inside $apt install /check/package.deb
check "is loaded by Debian's nginx" inside sh -c 'nginx -T 2>&1 | grep -q "^load_module modules/ngx_http_authgear_module.so;"'
check "answers the demo's four requests" inside env FLAVOUR=installed CARGO_TARGET_DIR=/check/target /check/tools/demo.sh --check
check "holds back an nginx of another ABI" inside sh -c \
    "dpkg-query -W -f '\${Depends}' $package | grep -o 'nginx-abi-[0-9.-]*' | xargs -I ABI sh -c 'dpkg-query -W -f \"\\\${Provides}\" nginx | grep -qF ABI'"
check "ships the resolver's location and examples" inside test -s /usr/share/$package/authgear_resolver.conf
check "is removed" inside $apt remove "$package"
check "leaves an nginx that starts" inside nginx -t
check "is purged" inside $apt purge "$package"
check "leaves no file behind" diff <(echo "$before") <(files)
check "has nothing that lintian calls an error or a warning" lintian --allow-root --fail-on error,warning "$deb"

rm -rf "$chroot/check"
if [ -n "${COUNTS:-}" ]; then echo "$passed $failed 0" >>"$COUNTS"; fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
