# Sourced by the other scripts: packages of Debian's unstable suite, off the
# mirror that this machine uses already, for what no release has. Nothing of
# them is taken but the packages that are named, and apt checks the signatures.

# Makes DIR, which must be new, a place for apt's lists of that suite, and sets
# the array `unstable`: apt's options for it.
use_unstable() { # DIR
    local dir=$1 mirror
    # apt fetches as a user of its own.
    chmod 755 "$dir"
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/deb"
    chmod 777 "$dir/deb"

    mirror=$(apt-get indextargets --format '$(REPO_URI)|$(LABEL)|$(CODENAME)' 'Created-By: Packages' |
        awk -F '|' '$2 == "Debian" && $3 !~ /-/ { print $1; exit }')
    if [ -z "$mirror" ]; then
        echo "no Debian mirror among this machine's apt sources: $0 needs Debian's unstable suite" >&2
        return 1
    fi
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$dir/sid.list"

    unstable=(-qq -o Dir::Etc::sourcelist="$dir/sid.list" -o Dir::Etc::sourceparts=-
        -o Dir::State::lists="$dir/lists" -o Dir::Cache="$dir/cache"
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
    apt-get "${unstable[@]}" update
}

# Downloads packages into DIR/deb.
download_unstable() { # DIR PACKAGE…
    (cd "$1/deb" && shift && apt-get "${unstable[@]}" download "$@")
}

# The libraries that packages need, and those that these need.
unstable_libraries() { # PACKAGE…
    local wanted=("$@") found=" " package library
    while [ ${#wanted[@]} -gt 0 ]; do
        package=${wanted[0]}
        wanted=("${wanted[@]:1}")
        for library in $(apt-cache "${unstable[@]}" depends --no-recommends --no-suggests \
            --no-conflicts --no-breaks --no-replaces --no-enhances "$package" |
            awk '$1 == "Depends:" && $2 ~ /^(lib|zlib)/ { print $2 }'); do
            case $found in *" $library "*) continue ;; esac
            found+="$library "
            wanted+=("$library")
        done
    done
    echo "$found"
}
