#!/bin/bash
# Installs the package of build/deb/RELEASE/ in a clean Debian of that release,
# beside its nginx, by the commands of docs/install.md as they stand there, has
# it answer requests, upgrades, removes and purges it. As root; nothing outside
# of build/ is changed, and no port of the machine is used.
#
#   tools/deb-check.sh [bookworm|trixie]
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
. "$root/tools/chroot.sh"
cd "$root"

package=libnginx-mod-http-authgear
release=${1:-$this_release}
deb=$(ls build/deb/"$release/${package}"_*.deb)
chroot=$chroots/$release
log=$chroots/$release-check.log
standin=${STANDIN:-$CARGO_TARGET_DIR/debug/authgear-standin}

passed=0 failed=0
check() { # NAME COMMAND…
    local name=$1
    shift
    echo "== $name" >>"$log"
    if "$@" >>"$log" 2>&1; then
        echo "ok: $name"
        passed=$((passed + 1))
    else
        echo "not ok: $name (see $log)"
        failed=$((failed + 1))
    fi
}
same() { diff <(echo "$1") <(echo "$2"); }
inside() { within "$chroot" "$@"; }

# The commands below one heading of the guide.
guide() { # HEADING
    awk -v heading="$1" '
        /^#/ { here = ($0 ~ "^#+ " heading "$") }
        /^```/ { code = (here && $0 == "```sh"); next }
        code' docs/install.md
}

# Authgear as the guide names it, with a certificate that the system trusts, and
# the backend; in one namespace with what follows.
with_authgear() { # COMMANDS
    inside bash -euc '
        cd /check
        rm -f alive authgear backend
        mkfifo alive
        exec 9<>alive
        ./authgear-standin serve --listen 127.0.0.1:0 --tls-listen 127.0.0.1:443 --control 127.0.0.1:81 \
            --name myapp.authgear.cloud --origin https://myapp.authgear.cloud --state-dir /check/state \
            --exit-with-stdin <alive >authgear 9>&- &
        ./authgear-standin echo --listen 127.0.0.1:3000 --exit-with-stdin <alive >backend 9>&- &
        for tries in $(seq 200); do
            if [ -s authgear ] && [ -s backend ]; then break; fi
            sleep 0.05
        done
        cp state/ca.pem /usr/local/share/ca-certificates/check.crt
        update-ca-certificates >/dev/null 2>&1
        TOKEN=$(curl -sS --fail --data "{}" http://127.0.0.1:81/-/token)
        '"$1"
}

make_chroot "$release" "$release" nginx curl
export NETWORK=none
: >"$log"
# What an earlier run that was ended left behind.
inside dpkg --purge "$package" >>"$log" 2>&1 || true
rm -rf "$chroot/check" "$chroot/etc/nginx/conf.d/myapp.conf"
# nginx itself makes its folders when it is tested for the first time.
inside nginx -t >>"$log" 2>&1

# What apt, dpkg and logs keep for themselves is no residue, nor are the
# certificates and names of this check.
files() { (cd "$chroot" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./run -o -path ./var/lib/dpkg -o -path ./var/lib/apt \
    -o -path ./var/log -o -path ./var/cache -o -path ./tmp -o -path ./check -o -path ./etc/ssl/certs -o -path ./etc/hosts \) -prune -o -print | sort); }
before=$(files)

mkdir -p "$chroot/check/tools" "$chroot/check/target/debug"
cp tools/demo.sh tools/nginx.sh "$chroot/check/tools/"
cp "$standin" "$chroot/check/target/debug/"
cp "$standin" "$deb" "$chroot/check/"
# Whoever types the commands says yes to apt.
echo 'APT::Get::Assume-Yes "true";' >"$chroot/check/apt.conf"
export APT_CONFIG=/check/apt.conf
touch "$chroot/etc/hosts"
hosts=$(cat "$chroot/etc/hosts")
printf '127.0.0.1 localhost myapp.authgear.cloud\n' >"$chroot/etc/hosts"

# nginx stops with the namespace that it runs in.
seconds=$(date +%s)
answers=$(with_authgear "{ $(guide Debian)
    } 2>&1; service nginx stop >/dev/null" | tee -a "$log" | tr -d '\r' |
    sed -n 's/^\(HTTP\/.*\)/\1/p; s/^\(X-Authgear-User-Id\): ..*/\1/p' || true)
seconds=$(($(date +%s) - seconds))
check "lets a request with a token in, and none without, by the guide's commands" \
    same "$(printf '%s\n' 'HTTP/1.1 401 Unauthorized' 'HTTP/1.1 200 OK' X-Authgear-User-Id)" "$answers"
echo "   $(guide Debian | wc -l) lines, $seconds s; of configuration $(guide Debian | sed -n '/<<.END/,/^END/p' | sed '1d;$d' | wc -l)"

check "is loaded by Debian's nginx" inside sh -c 'nginx -T 2>&1 | grep -q "^load_module modules/ngx_http_authgear_module.so;"'
check "answers the demo's four requests" inside env FLAVOUR=installed CARGO_TARGET_DIR=/check/target /check/tools/demo.sh --check
check "holds back an nginx of another ABI" inside sh -c \
    "dpkg-query -W -f '\${Depends}' $package | grep -o 'nginx-abi-[0-9.-]*' | xargs -I ABI sh -c 'dpkg-query -W -f \"\\\${Provides}\" nginx | grep -qF ABI'"
check "ships the resolver's location" inside test -s /usr/share/$package/authgear_resolver.conf
check "ships its manual page and examples" inside bash -c \
    "set -o pipefail; dpkg -L $package | grep -q '/ngx_http_authgear_module.5.gz$' && dpkg -L $package | grep -q '/examples/minimal.conf'"
check "is upgraded by the guide's commands" with_authgear "cd /check; set -e; $(guide Upgrade)
    service nginx stop"
check "is uninstalled by the guide's commands" inside bash -euc "$(guide Uninstall)
    service nginx stop"
check "leaves an nginx that starts" inside nginx -t
rm -f "$chroot/usr/local/share/ca-certificates/check.crt"
printf '%s\n' "$hosts" >"$chroot/etc/hosts"
inside update-ca-certificates >>"$log" 2>&1
check "leaves no file behind" same "$before" "$(files)"
check "has nothing that lintian calls an error or a warning" lintian --allow-root --fail-on error,warning "$deb"

rm -rf "$chroot/check"
if [ -n "${COUNTS:-}" ]; then echo "$passed $failed 0" >>"$COUNTS"; fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
