#!/bin/bash
# Installs what the given tasks need and this machine lacks, with apt and
# rustup; where nothing is missing it touches neither.
#
#   tools/install-missing.sh build|demo|test|source|valgrind|asan|bench …
set -euo pipefail

build="libc6-dev libclang-dev libpcre2-dev libssl-dev nginx nginx-dev zlib1g-dev"
demo="curl"
test="binutils curl libcrypt-jwt-perl perl procps psmisc"
source="libpcre2-dev libssl-dev zlib1g-dev"
valgrind="valgrind"
asan="libasan8"
bench="curl perl util-linux wrk"

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Test::Nginx is in Debian's unstable suite alone. Its one package is taken
# from there, off the mirror that this machine uses already, and all that it
# depends on from the machine's own release.
install_test_nginx() (
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    chmod 755 "$dir"
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/deb"
    chmod 777 "$dir/deb"

    mirror=$(apt-get indextargets --format '$(REPO_URI)|$(LABEL)|$(CODENAME)' 'Created-By: Packages' |
        awk -F '|' '$2 == "Debian" && $3 !~ /-/ { print $1; exit }')
    if [ -z "$mirror" ]; then
        echo "no Debian mirror among this machine's apt sources: install libtest-nginx-perl by hand" >&2
        exit 1
    fi
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$dir/sid.list"

    sid=(-qq -o Dir::Etc::sourcelist="$dir/sid.list" -o Dir::Etc::sourceparts=-
        -o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir/cache"
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
    apt-get "${sid[@]}" update
    (cd "$dir/deb" && apt-get "${sid[@]}" download libtest-nginx-perl)
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

wanted=() components=()
for task in "$@"; do
    case $task in
    build) wanted+=($build) ;;
    demo) wanted+=($build $demo) ;;
    test)
        wanted+=($build $test libtest-nginx-perl)
        components+=(rustfmt clippy)
        ;;
    source) wanted+=($source) ;;
    valgrind) wanted+=($valgrind) ;;
    asan) wanted+=($asan) ;;
    bench) wanted+=($build $bench) ;;
    *)
        echo "usage: $0 build|demo|test|source|valgrind|asan|bench …" >&2
        exit 2
        ;;
    esac
done

if ! command -v cargo >/dev/null; then
    echo "cargo is not on the PATH: install Rust 1.85 or newer first" >&2
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
