#!/bin/bash
# Runs the suite, or the test files named, against the nginx of another Debian
# release, in a clean system of it. As root; the module is built there.
#
#   tools/suite-in.sh bookworm|trixie [t/FILE.t …]
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
. "$root/tools/chroot.sh"
cd "$root"

release=${1:?bookworm or trixie}
shift
make_chroot "$release-suite" "$release" gcc libc6-dev make
chroot=$chroots/$release-suite
# pip trusts there what it trusts here.
cp /etc/ssl/certs/ca-certificates.crt "$chroot/etc/ssl/certs/"
# Files keep their times, so that cargo compiles there only what changed.
mkdir -p "$chroot/build/src"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from - -c |
    tar -x -C "$chroot/build/src"
# cargo and the crates are this machine's, and are not written to.
cargo fetch --locked
export READ_ONLY="${CARGO_HOME:-$HOME/.cargo} ${RUSTUP_HOME:-$HOME/.rustup}"
inside() { within "$chroot" env CARGO_NET_OFFLINE=true bash -euc "cd /build/src; $1"; }
inside 'make missing-test module standin'
# No port of this machine is taken.
NETWORK=none inside "tools/suite.sh debian $*"
