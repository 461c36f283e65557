#!/bin/bash
# Cross-compiles the module for arm64 against Debian's nginx of this machine's
# release, and has that nginx load it under qemu-user and answer the demo's four
# requests. Nothing of arm64 is installed: the packages are unpacked in build/arm64.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
. "$root/tools/chroot.sh"

dir=$root/build/arm64
sysroot=$dir/root
triple=aarch64-unknown-linux-gnu
export LC_ALL=C

# With no package installed apt finds all that these need.
unpack() {
    local lists=$dir/apt mirror security
    mirror=$(mirror_of Debian) security=$(mirror_of Debian-Security)
    rm -rf "$dir"
    mkdir -p "$sysroot" "$lists/lists/partial" "$lists/cache/archives/partial"
    chmod 755 "$dir" "$lists"
    : >"$lists/status"
    printf 'deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s main\n' \
        "$mirror $this_release" "$mirror $this_release-updates" ${security:+"$security $this_release-security"} >"$lists/sources.list"
    local options=(-qq -y --no-install-recommends -o APT::Architecture=arm64 -o APT::Architectures=arm64
        -o Dir::Etc::sourcelist="$lists/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State="$lists"
        -o Dir::State::status="$lists/status" -o Dir::Cache="$lists/cache" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    apt-get "${options[@]}" install --download-only nginx nginx-dev libc6-dev libpcre2-dev libssl-dev zlib1g-dev
    local package
    for package in "$lists"/cache/archives/*.deb; do dpkg-deb --extract "$package" "$sysroot"; done
    # Absolute links lead back into the sysroot.
    find "$sysroot" -lname '/*' -print0 | while IFS= read -r -d '' link; do
        ln -sfn "$sysroot$(readlink "$link")" "$link"
    done
    touch "$dir/unpacked"
}

# nginx's configure runs what it compiles: the compiler leaves a script there.
write_compiler() {
    cat >"$dir/cc" <<END
#!/bin/bash
aarch64-linux-gnu-gcc --sysroot=$sysroot "\$@" || exit
while [ \$# -gt 0 ]; do
    if [ "\$1" = -o ] && [[ \$2 == */autotest ]] && [ -x "\$2" ]; then
        mv "\$2" "\$2.arm64"
        printf '#!/bin/sh\nexec qemu-aarch64-static -L $sysroot %s\n' "\$2.arm64" >"\$2"
        chmod 755 "\$2"
    fi
    shift
done
END
    chmod 755 "$dir/cc"
}

if [ ! -e "$dir/unpacked" ]; then unpack; fi
write_compiler

export NGINX_SOURCE_DIR=$sysroot/usr/share/nginx/src NGINX_BUILD_DIR=$dir/objs
if [ ! -e "$dir/configured" ]; then
    (
        cd "$NGINX_SOURCE_DIR"
        . ./conf_flags
        ./configure "${NGX_CONF_FLAGS[@]}" --with-cc="$dir/cc" --with-cc-opt=-fPIC --builddir="$NGINX_BUILD_DIR"
    ) >"$dir/configure.log" 2>&1 || {
        tail -n 20 "$dir/configure.log" >&2
        exit 1
    }
    touch "$dir/configured"
fi

rustup target add "$triple"
env CARGO_BUILD_TARGET="$triple" CARGO_TARGET_DIR="$root/build/target-arm64" OBJCOPY=aarch64-linux-gnu-objcopy \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$dir/cc" CC_aarch64_unknown_linux_gnu="$dir/cc" \
    AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar BINDGEN_EXTRA_CLANG_ARGS="--sysroot=$sysroot" \
    "$root/tools/build-module.sh" configured

printf '#!/bin/sh\nexec qemu-aarch64-static -L %s %s/usr/sbin/nginx "$@"\n' "$sysroot" "$sysroot" >"$NGINX_BUILD_DIR/nginx"
chmod 755 "$NGINX_BUILD_DIR/nginx"
FLAVOUR=configured "$root/tools/demo.sh" --check
