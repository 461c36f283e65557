#!/bin/bash
# Checks formatting and runs clippy, with all of nginx's structures that the
# build does not compare with the C compiler forbidden (tools/clippy-conf.pl).
# rustc warns of a crate that is listed and not used. No files import each other
# in a circle (tools/check-imports.pl), and the stated minimum Rust is no older
# than what the dependencies state.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour debian
cd "$root"

cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check
perl tools/check-imports.pl src core/src tables/src

# The folder of this nginx's bindings.
out=$(cargo check --quiet --package nginx-sys --message-format json |
    grep '"reason":"build-script-executed"' | grep 'nginx-sys' |
    grep -o '"out_dir":"[^"]*"' | cut -d '"' -f 4 | tail -n 1)
mkdir -p build/clippy
perl tools/clippy-conf.pl "$out/bindings.rs" >build/clippy/clippy.toml
CLIPPY_CONF_DIR=$root/build/clippy cargo clippy --workspace --all-targets -- -D warnings
# Without libFuzzer, which is built with C++.
cargo clippy --locked --manifest-path fuzz/Cargo.toml --all-targets -- -D warnings

minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
newer=$(cargo metadata --locked --format-version 1 | perl -MJSON::PP -e '
    my $minimum = shift;
    my $number = sub { my ($major, $minor) = split /\./, $_[0]; $major * 1000 + $minor };
    for my $package (@{ decode_json(join "", <STDIN>)->{packages} }) {
        my $version = $package->{rust_version} // next;
        print "$package->{name} $package->{version} needs Rust $version\n"
            if $number->($version) > $number->($minimum);
    }' "$minimum")
if [ -n "$newer" ]; then
    printf '%s\n' "$newer" "but rust-version in Cargo.toml is $minimum" >&2
    exit 1
fi
for file in README.md tools/install-missing.sh; do
    if ! grep -q "Rust $minimum\|($minimum or newer)" "$file"; then
        echo "$file does not state the minimum Rust, $minimum" >&2
        exit 1
    fi
done
