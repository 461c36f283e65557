# Messages of `nginx -t` about the source of keys.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

=== jwks_uri: no URL
authgear_project a {
    endpoint https://a.example;
    jwks_uri /oauth2/jwks;
}
--- emerg
authgear: "jwks_uri" has an invalid value "/oauth2/jwks": begins with neither https:// nor http://, write https:// before the host in nginx.conf:3

=== jwks_uri: a fragment
authgear_project a {
    endpoint https://a.example;
    jwks_uri https://a.example/oauth2/jwks#1;
}
--- emerg
authgear: "jwks_uri" has an invalid value "https://a.example/oauth2/jwks#1": has a fragment, leave out # and what follows in nginx.conf:3

=== jwks_uri: an international name
authgear_project a {
    endpoint https://a.example;
    jwks_uri https://bücher.example/oauth2/jwks;
}
--- emerg
authgear: "jwks_uri" has an invalid value "https://bücher.example/oauth2/jwks": has a character that is not allowed in a URL; write an international name in its xn-- form in nginx.conf:3

=== jwks_uri: a variable
authgear_project a {
    endpoint https://$host;
    jwks_uri https://a.example/$host/jwks;
}
--- emerg
authgear: "jwks_uri" cannot hold variables, as "https://a.example/$host/jwks" does in nginx.conf:3

=== jwks_uri: plain http off loopback is a warning
authgear_project a {
    endpoint https://a.example;
    jwks_uri http://a.example/oauth2/jwks;
}
--- warn
authgear: "jwks_uri" "http://a.example/oauth2/jwks" is plain http: an attacker on the network can replace the keys; use https in nginx.conf:3

=== jwks_uri: plain http on loopback is none
authgear_project a {
    endpoint https://a.example;
    jwks_uri http://127.0.0.1:4000/oauth2/jwks;
}
--- fine

=== jwks_file: not there
authgear_project a {
    endpoint https://a.example;
    jwks_file nosuch.json;
}
--- emerg
authgear: "jwks_file" cannot read "nosuch.json": No such file or directory (os error 2) in nginx.conf:3

=== jwks_file: a FIFO
authgear_project a {
    endpoint https://a.example;
    jwks_file fifo;
}
--- emerg
authgear: "jwks_file" cannot read "fifo": it is no regular file in nginx.conf:3

=== jwks_file: a folder
authgear_project a {
    endpoint https://a.example;
    jwks_file private-folder;
}
--- emerg
authgear: "jwks_file" cannot read "private-folder": it is no regular file in nginx.conf:3

=== jwks_file: not JSON
authgear_project a {
    endpoint https://a.example;
    jwks_file text.json;
}
--- emerg
authgear: "jwks_file" "text.json": not JSON at line 1, column 1 in nginx.conf:3

=== jwks_file: JSON, but no key set
authgear_project a {
    endpoint https://a.example;
    jwks_file list.json;
}
--- emerg
authgear: "jwks_file" "list.json": no key set: a JSON object with an array "keys" is needed in nginx.conf:3

=== jwks_file: no key
authgear_project a {
    endpoint https://a.example;
    jwks_file empty.json;
}
--- emerg
authgear: "jwks_file" "empty.json": no usable key in the key set in nginx.conf:3

=== jwks_file: no usable key
authgear_project a {
    endpoint https://a.example;
    jwks_file hmac.json;
}
--- emerg
authgear: "jwks_file" "hmac.json": no usable key in the key set: key "secret" skipped: unknown key type "oct" in nginx.conf:3

=== jwks_file: too many keys
authgear_project a {
    endpoint https://a.example;
    jwks_file many.json;
}
--- emerg
authgear: "jwks_file" "many.json": key set of 65 keys, at most 64 are allowed in nginx.conf:3

=== jwks_file: too large
authgear_project a {
    endpoint https://a.example;
    jwks_file big.json;
}
--- emerg
authgear: "jwks_file" "big.json": key set of more than 256 KiB in nginx.conf:3

=== jwks_file: a key that is skipped is a warning
authgear_project a {
    endpoint https://a.example;
    jwks_file mixed.json;
}
--- warn
authgear: "jwks_file" "mixed.json": key "secret" skipped: unknown key type "oct" in nginx.conf:3

=== jwks_file: for other algorithms
authgear_project a {
    endpoint https://a.example;
    jwks_file jwks.json;
    algorithms ES256;
}
--- emerg
authgear: "authgear_project" "a" has a "jwks_file" without a key for any of its "algorithms" (RS256 unless set), so no token could be verified; write "algorithms RS256;" if that is what signs them in nginx.conf:5

=== jwks_file: beside jwks_uri
authgear_project a {
    endpoint https://a.example;
    jwks_file jwks.json;
    jwks_uri https://a.example/oauth2/jwks;
}
--- emerg
authgear: "authgear_project" "a" has both "jwks_file" and "jwks_uri", but keys from a file are never fetched; remove one in nginx.conf:5

=== jwks_file: beside what is about fetching
authgear_project a {
    endpoint https://a.example;
    fetch_timeout 5s;
    jwks_file jwks.json;
}
--- emerg
authgear: "authgear_project" "a" has both "jwks_file" and "fetch_timeout", but keys from a file are never fetched; remove one in nginx.conf:5

=== jwks_file: beside internal_endpoint
authgear_project a {
    endpoint https://a.example;
    internal_endpoint http://authgear:3000;
    jwks_file jwks.json;
}
--- emerg
authgear: "authgear_project" "a" has both "jwks_file" and "internal_endpoint", but keys from a file are never fetched; remove one in nginx.conf:5

=== jwks_file: usable, and no endpoint
authgear_project a {
    issuer https://a.example;
    audience https://api.example;
    jwks_file jwks.json;
}
--- fine

=== jwks_refresh: 0
authgear_project a {
    endpoint https://a.example;
    jwks_refresh 0;
}
--- emerg
authgear: "jwks_refresh" must be more than 0 in nginx.conf:3

=== jwks_stale: no time
authgear_project a {
    endpoint https://a.example;
    jwks_stale forever;
}
--- emerg
authgear: "jwks_stale" has an invalid time "forever"; write it as "500ms", "5s" or "10m" in nginx.conf:3

=== jwks_stale: 0 means never
authgear_project a {
    endpoint https://a.example;
    jwks_stale 0;
}
--- fine

=== jwks_min_interval: under a second
authgear_project a {
    endpoint https://a.example;
    jwks_min_interval 999ms;
}
--- emerg
authgear: "jwks_min_interval" must be at least 1s, not "999ms" in nginx.conf:3

=== jwks_min_interval: 0
authgear_project a {
    endpoint https://a.example;
    jwks_min_interval 0;
}
--- emerg
authgear: "jwks_min_interval" must be at least 1s, not "0" in nginx.conf:3

=== state_path: twice
authgear_project a {
    endpoint https://a.example;
    state_path off;
    state_path off;
}
--- emerg
authgear: "state_path" is duplicate in nginx.conf:4

=== state_path: empty
authgear_project a {
    endpoint https://a.example;
    state_path "";
}
--- emerg
authgear: "state_path" has an empty parameter; name a folder, or write "state_path off;" in nginx.conf:3

=== state_path: a folder in which all may write, sticky or not
authgear_project a {
    endpoint https://a.example;
    state_path sticky-folder;
}
--- emerg
authgear: "state_path" "sticky-folder" cannot be used: others than its owner may write to it (mode 1777); name a folder in which nobody else may write ("chmod go-w") in nginx.conf:3

=== state_path: a folder in which a group may write
authgear_project a {
    endpoint https://a.example;

    state_path group-folder;
}
--- emerg
authgear: "state_path" "group-folder" cannot be used: others than its owner may write to it (mode 0770); name a folder in which nobody else may write ("chmod go-w") in nginx.conf:4

=== state_path: no folder
authgear_project a {
    endpoint https://a.example;
    state_path jwks.json;
}
--- emerg
authgear: "state_path" "jwks.json" cannot be used: it is no folder; name a folder in which nobody else may write ("chmod go-w") in nginx.conf:3

=== state_path: folders in which nobody else may write
authgear_project a {
    endpoint https://a.example;
    state_path private-folder;
}
authgear_project b {
    endpoint https://b.example;
    state_path shown-folder;
}
--- fine

=== state_path: a variable
authgear_project a {
    endpoint https://$host;
    state_path keys/$host;
}
--- emerg
authgear: "state_path" cannot hold variables, as "keys/$host" does in nginx.conf:3

=== jwks_file: beside fetch_proxy
authgear_project a {
    endpoint https://a.example;
    jwks_file jwks.json;
    fetch_proxy http://proxy:3128;
}
--- emerg
authgear: "authgear_project" "a" has both "jwks_file" and "fetch_proxy", but keys from a file are never fetched; remove one in nginx.conf:5
