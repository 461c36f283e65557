# Sourced by stress.sh and torture.sh: a random run against one flavour of nginx.

. "$(dirname "${BASH_SOURCE[0]}")/nginx.sh"

# Runs tools/NAME.pl with a folder of its own, and exits 1 if it fails or a sanitizer
# finds something. keep_logs FOLDER, of the caller, copies there what explains a
# failure, from $dir.
random_run() { # NAME FLAVOUR
    local name=$1 status=0 findings kept=$root/build/failed-$1
    use_flavour "$2"

    export AUTHGEAR_STANDIN=$CARGO_TARGET_DIR/debug/authgear-standin
    dir=$(mktemp -d "${TMPDIR:-/tmp}/ngx-authgear-$name.XXXXXX")
    chmod 755 "$dir"
    trap 'rm -rf "$dir"' EXIT
    # A worker that is not root writes what the sanitizer finds in it.
    mkdir -m 1777 "$dir/sanitizer"
    if [ "$flavour" = asan ]; then
        export ASAN_OPTIONS=detect_leaks=1:detect_odr_violation=0:log_path=$dir/sanitizer/report
        export LSAN_OPTIONS=suppressions=$root/t/lib/lsan.suppress
    fi

    export TEST_NGINX_BINARY=$nginx TEST_NGINX_LOAD_MODULES=$module AUTHGEAR_TEST_DIR=$dir
    perl -I"$root/t/lib" -I"$root/tools/$name" "$root/tools/$name.pl" || status=$?
    # Others name the suppressions that were used.
    if findings=$(grep -l '^==' "$dir"/sanitizer/* 2>/dev/null); then
        cat $findings
        status=1
    fi
    if [ $status != 0 ]; then
        rm -rf "$kept"
        mkdir -p "$kept"
        keep_logs "$kept" 2>/dev/null || true
        echo "logs are in build/failed-$name/" >&2
    fi
    exit $status
}
