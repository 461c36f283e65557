#!/bin/bash
# Builds the Debian package for the release of this machine, with its
# debugging symbols beside it, into build/deb/.
set -euo pipefail
cd "$(dirname "$0")/.."

# The flags that dpkg would hand to cargo's build scripts would compile all anew.
# Rust itself is no package of this release.
dpkg-buildpackage --build=binary --no-sign --no-check-builddeps --no-pre-clean

version=$(dpkg-parsechangelog -S Version)
arch=$(dpkg --print-architecture)
mkdir -p build/deb
for file in ../libnginx-mod-http-authgear{,-dbgsym}_"${version}_$arch".deb \
    ../libnginx-mod-http-authgear_"${version}_$arch".{buildinfo,changes}; do
    mv "$file" build/deb/
done
ls -l build/deb
