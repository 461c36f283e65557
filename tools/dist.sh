#!/bin/bash
# Makes what a release consists of, into build/dist/: the source of this commit with
# all crates that it needs, so that it is built without a network; the licences of
# what the module contains; the bill of materials (CycloneDX); and checksums. The
# same commit gives the same files.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
cd "$root"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=$module_name-$version
out=$root/build/dist
if [ -n "$(git status --porcelain)" ]; then
    echo "note: of the commit, without what is not committed" >&2
fi

rm -rf "$out"
mkdir -p "$out"
git archive --prefix="$name/" HEAD | tar -x -C "$out"
(
    cd "$out/$name"
    cargo vendor --quiet --locked vendor >>.cargo/config.toml
    cargo metadata --locked --offline --format-version 1 >/dev/null
)

tools/components.pl licences >"$out/$name.licences.txt"
tools/components.pl sbom >"$out/$name.cdx.json"
cp "$out/$name.licences.txt" "$out/$name/THIRD-PARTY-LICENCES.txt"

tar --create --directory "$out" --sort=name --mtime="@$(git log -1 --format=%ct)" --mode=u=rwX,go=rX \
    --owner=0 --group=0 --numeric-owner "$name" | xz -T0 -3 >"$out/$name.tar.xz"
rm -rf "${out:?}/$name"
(cd "$out" && sha256sum "$name".* >SHA256SUMS)
ls -l "$out"
