#!/bin/bash
# Builds the Debian package, with its debugging symbols beside it, into
# build/deb/RELEASE/. For the release of this machine here; for another one in
# its chroot, as root, of the files that git knows.
#
#   tools/deb.sh [bookworm|trixie]
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
. "$root/tools/chroot.sh"
cd "$root"

release=${1:-$this_release}
out=$root/build/deb/$release

# dpkg would stop for cargo's sake: no release has one that is new enough. The
# stamp would make it keep the module of the last build.
build() {
    rm -f debian/debhelper-build-stamp
    dpkg-buildpackage --build=binary --no-sign --no-check-builddeps --no-pre-clean
}

collect() { # FOLDER
    rm -rf "$out"
    mkdir -p "$out"
    # What dpkg-genchanges lists is all that was built.
    local changes file
    for changes in "$1"/libnginx-mod-http-authgear_*.changes; do
        for file in $(awk '/^Files:/ { files = 1; next } /^[^ ]/ { files = 0 } files { print $5 }' "$changes"); do
            mv "$1/$file" "$out"
        done
        mv "$changes" "$out"
    done
    ls -l "$out"
}

if [ "$release" = "$this_release" ]; then
    rm -f ../libnginx-mod-http-authgear_*.changes
    build
    collect ..
    exit
fi

make_chroot "$release-build" "$release" gcc debhelper dpkg-dev libc6-dev libclang-dev libpcre2-dev libssl-dev \
    lowdown make nginx nginx-dev zlib1g-dev
chroot=$chroots/$release-build
# The clock of each file is kept, and so is what cargo has compiled there.
mkdir -p "$chroot/build/src"
find "$chroot/build" -maxdepth 1 -type f -delete
git ls-files -z --cached --others --exclude-standard | tar --null --files-from - -c |
    tar -x -C "$chroot/build/src"
# cargo and the crates are this machine's, and are not written to.
cargo fetch --locked
export READ_ONLY="${CARGO_HOME:-$HOME/.cargo} ${RUSTUP_HOME:-$HOME/.rustup}"
within "$chroot" env CARGO_NET_OFFLINE=true bash -euc "cd /build/src; $(declare -f build); build"
collect "$chroot/build"
