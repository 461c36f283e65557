#!/bin/bash
# Checks the built module as a file: what it exports, what it links, what it
# asks of nginx, its size, and that it holds one crypto library.
#
#   tools/check-so.sh debian|source|asan|newest
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour "$1"
cd "$root"

passed=0 failed=0
same() { # NAME EXPECTED GOT
    if [ "$2" = "$3" ]; then
        echo "ok: $1"
        passed=$((passed + 1))
    else
        echo "not ok: $1"
        diff <(echo "$2") <(echo "$3") | sed -n 's/^</  expected:/p; s/^>/  got:     /p'
        failed=$((failed + 1))
    fi
}

export LC_ALL=C

# What nginx's loader looks up, and the module that directives and requests refer to.
same "exports the module and what nginx looks up, and nothing else" \
    "$(printf '%s\n' ngx_http_authgear_module ngx_module_names ngx_module_order ngx_modules)" \
    "$(nm -D --defined-only --format=posix "$module" | awk '{ print $1 }' | sort)"

# The dynamic loader is libc's own half: thread-local variables name it.
same "links libc and libgcc_s alone" \
    "$(printf '%s\n' libc.so.6 libgcc_s.so.1)" \
    "$(readelf -d "$module" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^ld-linux' | sort)"

same "refers to its own symbols when two builds of it are loaded" \
    "SYMBOLIC" "$(readelf -d "$module" | grep -o SYMBOLIC | sort -u)"

same "is never unmapped" \
    "NODELETE" "$(readelf -d "$module" | grep -o NODELETE)"

same "refers to nothing that nginx and libc do not have" \
    "" \
    "$(comm -23 \
        <(nm -D --undefined-only "$module" | awk '$1 == "U" && $2 !~ /@/ { print $2 }' | sort) \
        <(nm -D --defined-only "$nginx" | awk '{ print $3 }' | sed 's/@.*//' | sort))"

same "has no text relocation and no executable stack" \
    "" \
    "$(readelf -dW "$module" | grep -o TEXTREL; readelf -lW "$module" | grep GNU_STACK | grep -o RWE)"

# What debuggers need is a file of its own.
if [ "$flavour" != asan ]; then
    same "has less than 5 MB" "" "$(find -L "$module" -size +5000000c)"
    same "names the file that debuggers need" "$module_name.so.debug" \
        "$(readelf -p .gnu_debuglink "$module" | grep -o "$module_name.*debug" | sort -u)"
fi

crates=$(cargo tree --locked --package "$module_name" --edges normal --prefix none --format '{p}' |
    awk '{ print $1 }' | sort | uniq)
versions() {
    cargo tree --locked --package "$module_name" --edges normal --prefix none --format '{p}' |
        awk -v name="$1" '$1 == name { print $1, $2 }' | sort -u | wc -l
}
same "holds one aws-lc" "1" "$(versions aws-lc-sys)"
same "holds no other crypto library" \
    "" \
    "$(grep -xE 'ring|openssl|openssl-sys|native-tls|boring|boring-sys|mbedtls.*|aws-lc-fips-sys|rsa|p256|ed25519-dalek|sha2|hmac' <<<"$crates" || true)"

if [ -n "${COUNTS:-}" ]; then echo "$passed $failed 0" >>"$COUNTS"; fi
[ $failed = 0 ]
