# Sourced by the other scripts: clean systems of Debian's releases under
# build/chroot/, off the mirror that this machine uses already. As root.
#
# They have namespaces of their own for mounts and, where asked, the network, so
# that nothing is left mounted and no port of the machine is taken.

chroots=$root/build/chroot
this_release=$(. /etc/os-release && echo "$VERSION_CODENAME")
apt="apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0"

mirror_of() { # LABEL: Debian or Debian-Security
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' |
        awk -v label="$1" '$1 == label { print $2; exit }'
}

# Makes the chroot NAME of RELEASE with the given packages, once.
make_chroot() { # NAME RELEASE PACKAGE…
    local dir=$chroots/$1 release=$2 log=$chroots/$1.log mirror security
    shift 2
    if [ "$(cat "$dir/made" 2>/dev/null)" = "$*" ]; then return; fi
    echo "making $dir"
    mkdir -p "$chroots"
    rm -rf --one-file-system "$dir"
    mirror=$(mirror_of Debian) security=$(mirror_of Debian-Security)
    if [ -z "$mirror" ]; then
        echo "no Debian mirror among this machine's apt sources" >&2
        return 1
    fi
    # An old index of packages is accepted there if it is here. No service is started in it but by name.
    if ! {
        debootstrap --variant=minbase --include=ca-certificates "$release" "$dir" "$mirror" &&
            printf 'deb %s main\n' "$mirror $release" "$mirror $release-updates" \
                ${security:+"$security $release-security"} >"$dir/etc/apt/sources.list" &&
            apt-config dump Acquire::Check-Valid-Until >"$dir/etc/apt/apt.conf.d/90machine" &&
            printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d" &&
            chmod 755 "$dir/usr/sbin/policy-rc.d" &&
            within "$dir" $apt update &&
            within "$dir" $apt upgrade &&
            within "$dir" $apt install "$@"
    } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        return 1
    fi
    echo "$*" >"$dir/made"
}

# Runs a command in a chroot. Folders of the machine in READ_ONLY are seen there
# under their own names; NETWORK=none gives it a loopback of its own alone.
within() { # DIR COMMAND…
    local namespaces=(--mount)
    if [ "${NETWORK:-}" = none ]; then namespaces+=(--net --pid --fork --kill-child); fi
    unshare "${namespaces[@]}" bash -c '
        set -e
        dir=$1
        shift
        mount -t proc proc "$dir/proc"
        mount --rbind /dev "$dir/dev"
        for folder in $READ_ONLY; do
            mkdir -p "$dir$folder"
            mount --bind -o ro "$folder" "$dir$folder"
        done
        if [ "${NETWORK:-}" = none ]; then ip link set lo up; fi
        export LC_ALL=C DEBIAN_FRONTEND=noninteractive
        unset CARGO_TARGET_DIR NGINX_SOURCE_DIR NGINX_BUILD_DIR MAKEFLAGS MAKELEVEL
        exec chroot "$dir" "$@"' within "$@" </dev/null
}
