#!/bin/bash
# Shows the module at work: nginx with the smallest configuration, a stand-in
# Authgear and an echoing backend, all on loopback, and four requests.
#
#   tools/demo.sh           stays up until Ctrl-C
#   tools/demo.sh --check   compares every answer and ends
#
# PORT is where nginx listens, 8080 unless that is taken. FLAVOUR is that of
# tools/nginx.sh, debian unless set.
set -euo pipefail
. "$(dirname "$0")/nginx.sh"
use_flavour "${FLAVOUR:-debian}"

check=
if [ "${1:-}" = --check ]; then check=1; fi

standin=$CARGO_TARGET_DIR/debug/authgear-standin
dir=$(mktemp -d "${TMPDIR:-/tmp}/ngx-authgear-demo.XXXXXX")
chmod 755 "$dir"

pids=()
stop() {
    trap '' INT TERM
    if [ ${#pids[@]} -gt 0 ]; then
        kill "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    rm -rf "$dir"
}
trap stop EXIT
trap 'echo; exit 0' INT TERM

until_true() { # polls for ten seconds
    local tries
    for tries in $(seq 200); do
        if "$@"; then return 0; fi
        sleep 0.05
    done
    return 1
}

# Servers end when this descriptor is closed, however this script ends.
mkfifo "$dir/alive"
exec 9<>"$dir/alive"

start() { # NAME COMMAND…: leaves the JSON line that the server prints in $dir/NAME
    local name=$1
    shift
    "$standin" "$@" --exit-with-stdin <"$dir/alive" >"$dir/$name" 2>"$dir/$name.log" 9>&- &
    pids+=($!)
    if ! until_true test -s "$dir/$name"; then
        cat "$dir/$name.log" >&2
        exit 1
    fi
}
url() { sed -n "s/.*\"$2\":\"\([^\"]*\)\".*/\1/p" "$dir/$1"; }

start authgear serve --listen 127.0.0.1:0 --control 127.0.0.1:0
start backend echo --listen 127.0.0.1:0
authgear=$(url authgear http) control=$(url authgear control) backend=$(url backend http)

listens() { curl -s -o /dev/null "http://127.0.0.1:$1/"; }
port=
for candidate in ${PORT:-8080 18080 28080 8081 18081 28081}; do
    if ! listens "$candidate"; then
        port=$candidate
        break
    fi
done
if [ -z "$port" ]; then
    echo "no free port: name one, as in PORT=9000 make demo" >&2
    exit 1
fi

cat >"$dir/nginx.conf" <<EOF
load_module $module;

events { }

http {
    authgear_project myapp {
        endpoint $authgear;
    }
    server {
        listen 127.0.0.1:$port;
        location /api/ {
            authgear_verify myapp;
            proxy_pass $backend;
        }
    }
}
EOF

# A server that is not the system's needs its own places to write.
surroundings="daemon off; pid $dir/nginx.pid; error_log $dir/error.log notice;"
if [ "$(id -u)" = 0 ]; then surroundings+=" user nobody nogroup;"; fi

paths=
for kind in client_body proxy fastcgi scgi uwsgi; do paths+=" ${kind}_temp_path $dir/$kind;"; done
sed "s|^http {|& access_log off;$paths|" "$dir/nginx.conf" >"$dir/full.conf"

"$nginx" -e "$dir/error.log" -p "$dir" -c "$dir/full.conf" -g "$surroundings" 2>"$dir/nginx.log" 9>&- &
nginx_pid=$!
pids+=($nginx_pid)
answers_or_gone() { listens "$port" || ! kill -0 $nginx_pid 2>/dev/null; }
if ! until_true answers_or_gone || ! kill -0 $nginx_pid 2>/dev/null; then
    echo "nginx did not start:" >&2
    cat "$dir/nginx.log" >&2
    exit 1
fi

mint() { curl -sS --fail --data "$1" "$control/-/token"; }

user='{"id": "3b7f4a52-7c07-4a0e-9d5e-0f6f3a1c2b4d", "verified": true, "can_reauthenticate": true, "roles": ["admin", "editor"]}'
valid=$(mint "{\"user\": $user, \"amr\": [\"pwd\", \"otp\"], \"auth_time\": 1760000000}")
expired=$(mint "{\"user\": $user, \"expires_in\": -60}")
stranger=$(mint "{\"user\": $user, \"key\": \"stranger\"}")

failed=0 shown=0
# A request, as it could be typed, and of its answer what is the module's: the
# status line, the challenge, and the headers that the backend saw.
ask() { # TITLE TOKEN-VARIABLE EXPECTED
    local title=$1 token=$2 expected=$3 arguments=() command answer
    command="curl -i http://127.0.0.1:$port/api/hello"
    arguments=(-sS -i "http://127.0.0.1:$port/api/hello")
    if [ -n "$token" ]; then
        command="curl -i -H \"Authorization: Bearer \$$token\" http://127.0.0.1:$port/api/hello"
        arguments+=(-H "Authorization: Bearer ${!token}")
    fi
    answer=$(curl "${arguments[@]}" | tr -d '\r' | grep -iE '^(HTTP/|WWW-Authenticate:|X-Authgear-)' || true)

    printf '\n# %s\n$ %s\n' "$title" "$command"
    sed 's/^/  /' <<<"$answer"
    shown=$((shown + 1))
    if [ -n "$check" ] && [ "$answer" != "$expected" ]; then
        echo "  not as it should be (< expected, > got):"
        diff <(echo "$expected") <(echo "$answer") | sed -n 's/^[<>]/  &/p' || true
        failed=$((failed + 1))
    fi
}

echo "nginx runs with this configuration, beside a stand-in Authgear and a backend that echoes:"
echo
sed 's/^/  /' "$dir/nginx.conf"
cat <<EOF

Tokens to try for yourself:

  VALID='$valid'
  EXPIRED='$expired'
  STRANGER='$stranger'
EOF
VALID=$valid EXPIRED=$expired STRANGER=$stranger

ask "no token: refused, with a challenge" "" \
'HTTP/1.1 401 Unauthorized
WWW-Authenticate: Bearer realm="myapp"'

ask "a valid token: the backend sees who it is" VALID \
'HTTP/1.1 200 OK
X-Authgear-Session-Valid: true
X-Authgear-User-Id: 3b7f4a52-7c07-4a0e-9d5e-0f6f3a1c2b4d
X-Authgear-User-Anonymous: false
X-Authgear-User-Verified: true
X-Authgear-User-Can-Reauthenticate: true
X-Authgear-User-Roles: admin,editor
X-Authgear-Session-Amr: pwd otp
X-Authgear-Session-Authenticated-At: 1760000000'

ask "an expired token" EXPIRED \
'HTTP/1.1 401 Unauthorized
WWW-Authenticate: Bearer realm="myapp", error="invalid_token", error_description="the access token expired"'

ask "a token signed by a stranger" STRANGER \
'HTTP/1.1 401 Unauthorized
WWW-Authenticate: Bearer realm="myapp", error="invalid_token", error_description="the signature of the access token is invalid"'

echo
if [ -n "$check" ]; then
    if [ -n "${COUNTS:-}" ]; then echo "$((shown - failed)) $failed 0" >>"$COUNTS"; fi
    echo "demo: $((shown - failed)) of $shown answers are as they should be"
    [ $failed = 0 ]
    exit
fi

cat <<EOF
All of it stays up until Ctrl-C. More tokens, sessions and faults: $control (standin/README.md)
EOF
wait -n "${pids[@]}" || true
echo "one of the servers has ended" >&2
exit 1
