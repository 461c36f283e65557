#!/bin/bash
# Installs what the given tasks need and this machine lacks, with apt, rustup,
# cargo and pip (the latter into build/venv); where nothing is missing it touches
# none.
#
#   tools/install-missing.sh build|demo|test|lua|supply-chain|source|valgrind|asan|newest|bench|deb|musl|arm64|fuzz …
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
. "$root/tools/debian-unstable.sh"

build="libc6-dev libclang-dev libpcre2-dev libssl-dev nginx nginx-dev zlib1g-dev"
demo="curl"
test="binutils chromium chromium-driver curl dnsmasq-base fonts-dejavu-core iproute2 libcrypt-jwt-perl openssl perl procps prometheus psmisc python3-venv redis-server tinyproxy-bin"
lua="libnginx-mod-http-lua"
source="libpcre2-dev libssl-dev zlib1g-dev"
valgrind="valgrind"
asan="libasan8"
newest="dpkg-dev patchelf"
bench="curl perl util-linux wrk"
deb="debhelper debootstrap dpkg-dev lintian lowdown"
musl="musl-tools"
fuzz="g++"
arm64="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static"

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Test::Nginx is in Debian's unstable suite alone. Its one package is taken
# from there, and all that it depends on from the machine's own release.
install_test_nginx() (
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    use_unstable "$dir"
    download_unstable "$dir" libtest-nginx-perl
    $apt install "$dir"/deb/libtest-nginx-perl_*_all.deb
)

apt="apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0"
export DEBIAN_FRONTEND=noninteractive

# As root. Debian starts a service that it installs; an nginx on port 80 is not
# what anybody asked for here, so that is held back for these packages.
install_packages() {
    local packages=() package test_nginx= policy=/usr/sbin/policy-rc.d
    for package in "$@"; do
        if [ "$package" = libtest-nginx-perl ]; then test_nginx=1; else packages+=("$package"); fi
    done

    if [ ! -e "$policy" ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    $apt update
    case " ${packages[*]} " in
    *" nginx "*) echo "nginx is installed for its files; its service is not started now" ;;
    esac
    if [ ${#packages[@]} -gt 0 ]; then $apt install "${packages[@]}"; fi
    if [ -n "$test_nginx" ]; then install_test_nginx; fi
}

if [ "${1:-}" = --as-root ]; then
    shift
    install_packages "$@"
    exit
fi

wanted=() components=() tools=() python=
for task in "$@"; do
    case $task in
    build) wanted+=($build) ;;
    demo) wanted+=($build $demo) ;;
    test)
        wanted+=($build $test libtest-nginx-perl)
        components+=(rustfmt clippy)
        python=$root/build/venv
        ;;
    lua) wanted+=($lua) ;;
    supply-chain) tools+=(cargo-deny) ;;
    source) wanted+=($source) ;;
    valgrind) wanted+=($valgrind) ;;
    asan) wanted+=($asan) ;;
    newest) wanted+=($newest) ;;
    bench) wanted+=($build $bench) ;;
    deb) wanted+=($build $deb) ;;
    musl) wanted+=($build $demo $musl) ;;
    fuzz) wanted+=($build $fuzz) ;;
    arm64) wanted+=($build $demo $arm64) ;;
    *)
        echo "usage: $0 build|demo|test|lua|supply-chain|source|valgrind|asan|newest|bench|deb|musl|arm64|fuzz …" >&2
        exit 2
        ;;
    esac
done

if ! command -v cargo >/dev/null; then
    echo "cargo is not on the PATH: install Rust 1.88 or newer first" >&2
    exit 1
fi

missing=()
for package in $(printf '%s\n' "${wanted[@]}" | sort -u); do
    installed "$package" || missing+=("$package")
done

if [ ${#missing[@]} -gt 0 ]; then
    echo "installing with apt: ${missing[*]}"
    self=$(readlink -f "$0")
    if [ "$(id -u)" = 0 ]; then
        bash "$self" --as-root "${missing[@]}"
    elif command -v sudo >/dev/null; then
        sudo bash "$self" --as-root "${missing[@]}"
    else
        echo "not root, and no sudo: as root run 'apt-get install ${missing[*]}'" >&2
        exit 1
    fi
fi

for component in "${components[@]}"; do
    case $component in
    rustfmt) command -v rustfmt >/dev/null && rustfmt --version >/dev/null 2>&1 && continue ;;
    clippy) cargo clippy --version >/dev/null 2>&1 && continue ;;
    esac
    echo "installing with rustup: $component"
    rustup component add "$component"
done

for tool in "${tools[@]}"; do
    if command -v "$tool" >/dev/null; then continue; fi
    echo "installing with cargo: $tool"
    env -u CARGO_TARGET_DIR -u RUSTFLAGS cargo install --quiet --locked "$tool"
done

# An HTTP/3 client for the suite, in a Python of its own.
if [ -n "$python" ] && ! "$python/bin/python" -c 'import aioquic' 2>/dev/null; then
    echo "installing with pip into build/venv: aioquic"
    python3 -m venv --clear "$python"
    "$python/bin/pip" install --quiet 'aioquic==1.*'
fi
