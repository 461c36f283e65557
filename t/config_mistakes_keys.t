# Messages of `nginx -t` about the source of keys and the places that keep them.

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

=== fetch_timeout: 0
authgear_project a {
    endpoint https://a.example;
    fetch_timeout 0s;
}
--- emerg
authgear: "fetch_timeout" must be more than 0 in nginx.conf:3

=== fetch_timeout: an unknown unit
authgear_project a {
    endpoint https://a.example;
    fetch_timeout 5sec;
}
--- emerg
authgear: "fetch_timeout" has an invalid time "5sec"; write it as "500ms", "5s" or "10m" in nginx.conf:3

=== fetch_timeout: twice
authgear_project a {
    endpoint https://a.example;
    fetch_timeout 5s;
    fetch_timeout 6s;
}
--- emerg
authgear: "fetch_timeout" is duplicate in nginx.conf:4

=== ssl_trusted_certificate: not there
authgear_project a {
    endpoint https://a.example;
    ssl_trusted_certificate nosuch.pem;
}
--- emerg
authgear: "ssl_trusted_certificate" cannot read "nosuch.pem": No such file or directory (os error 2) in nginx.conf:3

=== ssl_trusted_certificate: a key
authgear_project a {
    endpoint https://a.example;
    ssl_trusted_certificate key.pem;
}
--- emerg
authgear: "ssl_trusted_certificate" "key.pem": no CA certificate in PEM form in nginx.conf:3

=== ssl_trusted_certificate: no certificate in a certificate's place
authgear_project a {
    endpoint https://a.example;
    ssl_trusted_certificate junk.pem;
}
--- emerg
authgear: "ssl_trusted_certificate" "junk.pem": CA certificate number 1 is not an X.509 certificate in nginx.conf:3

=== ssl_name: no name
authgear_project a {
    endpoint https://a.example;
    ssl_name "a b";
}
--- emerg
authgear: "ssl_name" has an invalid value "a b": is neither a domain name nor an address in nginx.conf:3

=== ssl_name: a variable
authgear_project a {
    endpoint https://a.example;
    ssl_name $host;
}
--- emerg
authgear: "ssl_name" cannot hold variables, as "$host" does in nginx.conf:3

=== ssl_certificate: without its key
authgear_project a {
    endpoint https://a.example;
    ssl_certificate junk.pem;
}
--- emerg
authgear: "authgear_project" "a" has one of "ssl_certificate" and "ssl_certificate_key", which need each other; add the other, or remove both in nginx.conf:4

=== ssl_certificate_key: without its certificate
authgear_project a {
    endpoint https://a.example;
    ssl_certificate_key key.pem;
}
--- emerg
authgear: "authgear_project" "a" has one of "ssl_certificate" and "ssl_certificate_key", which need each other; add the other, or remove both in nginx.conf:4

=== ssl_certificate_key: not there
authgear_project a {
    endpoint https://a.example;
    ssl_certificate_key nosuch.pem;
}
--- emerg
authgear: "ssl_certificate_key" cannot read "nosuch.pem": No such file or directory (os error 2) in nginx.conf:3

=== ssl_certificate: a key
authgear_project a {
    endpoint https://a.example;
    ssl_certificate key.pem;
    ssl_certificate_key key.pem;
}
--- emerg
authgear: "authgear_project" "a" has "ssl_certificate" "key.pem" and "ssl_certificate_key" "key.pem": the certificate file holds no certificate in PEM form in nginx.conf:5

=== ssl_certificate_key: a certificate
authgear_project a {
    endpoint https://a.example;
    ssl_certificate client.pem;
    ssl_certificate_key client.pem;
}
--- emerg
authgear: "authgear_project" "a" has "ssl_certificate" "client.pem" and "ssl_certificate_key" "client.pem": the key file holds no private key in PEM form; a key with a passphrase cannot be used in nginx.conf:5

=== ssl_certificate_key: another certificate's
authgear_project a {
    endpoint https://a.example;
    ssl_certificate client.pem;
    ssl_certificate_key other.key;
}
--- emerg
authgear: "authgear_project" "a" has "ssl_certificate" "client.pem" and "ssl_certificate_key" "other.key": the private key does not belong to the certificate; the file's first certificate must be the key's in nginx.conf:5

=== ssl_certificate and its key
authgear_project a {
    endpoint https://a.example;
    ssl_certificate client.pem;
    ssl_certificate_key client.key;
    ssl_name a.internal;
}
--- fine

=== fetch_proxy: no URL
authgear_project a {
    endpoint https://a.example;
    fetch_proxy proxy:3128;
}
--- emerg
authgear: "fetch_proxy" has an invalid value "proxy:3128": begins with neither https:// nor http://, write https:// before the host in nginx.conf:3

=== fetch_proxy: https
authgear_project a {
    endpoint https://a.example;
    fetch_proxy https://proxy:3128;
}
--- emerg
authgear: "fetch_proxy" has an invalid value "https://proxy:3128": is not plain http, write http:// before the proxy's host in nginx.conf:3

=== fetch_proxy: a password in the URL
authgear_project a {
    endpoint https://a.example;
    fetch_proxy http://user:password@proxy:3128;
}
--- emerg
authgear: "fetch_proxy" has a user name or a password; write "credentials=file" with a file that holds user:password in nginx.conf:3

=== fetch_proxy: an unknown parameter
authgear_project a {
    endpoint https://a.example;
    fetch_proxy http://proxy:3128 user=x;
}
--- emerg
authgear: "fetch_proxy" must be the URL of a proxy and perhaps a file that holds user:password, or "off"; write it as "fetch_proxy http://proxy:3128 credentials=proxy.secret;" in nginx.conf:3

=== fetch_proxy: no file of credentials
authgear_project a {
    endpoint https://a.example;
    fetch_proxy http://proxy:3128 credentials=nosuch.txt;
}
--- emerg
authgear: "fetch_proxy" cannot read "nosuch.txt": No such file or directory (os error 2) in nginx.conf:3

=== fetch_proxy: no credentials in the file
authgear_project a {
    endpoint https://a.example;
    fetch_proxy http://proxy:3128 credentials=blank.txt;
}
--- emerg
authgear: "fetch_proxy" has "credentials=" with a file that does not hold user:password in one line of at most 1 KiB in nginx.conf:3

=== fetch_proxy: with credentials, and off
authgear_project a {
    endpoint https://a.example;
    fetch_proxy http://proxy:3128 credentials=credentials.txt;
}
authgear_project b {
    endpoint https://b.example;
    fetch_proxy off;
}
--- fine

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

=== authgear_token_cache: 0
authgear_token_cache 0;
--- emerg
authgear: "authgear_token_cache" cannot be 0; write "authgear_token_cache off;" in nginx.conf:1

=== authgear_token_cache: a negative number
authgear_token_cache -1;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "-1" in nginx.conf:1

=== authgear_token_cache: a number with a sign
authgear_token_cache +1;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "+1" in nginx.conf:1

=== authgear_token_cache: no number
authgear_token_cache on;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "on" in nginx.conf:1

=== authgear_token_cache: a size
authgear_token_cache 4k;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "4k" in nginx.conf:1

=== authgear_token_cache: too large a number
authgear_token_cache 1048577;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "1048577" in nginx.conf:1

=== authgear_token_cache: a number beyond all numbers
authgear_token_cache 99999999999999999999;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "99999999999999999999" in nginx.conf:1

=== authgear_token_cache: empty
authgear_token_cache "";
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "" in nginx.conf:1

=== authgear_token_cache: twice
authgear_token_cache 16;
authgear_token_cache off;
--- emerg
authgear: "authgear_token_cache" is duplicate; one number serves all projects in nginx.conf:2

=== authgear_token_cache: two numbers
authgear_token_cache 16 16;
--- emerg
invalid number of arguments in "authgear_token_cache" directive in nginx.conf:1

=== authgear_token_cache: the most
authgear_token_cache 1048576;
--- fine

=== authgear_shared_zone: without a size
authgear_shared_zone zone=authgear;
--- emerg
authgear: "authgear_shared_zone" has no size in "zone=authgear"; write "authgear_shared_zone zone=authgear:32m;" in nginx.conf:1

=== authgear_shared_zone: an empty size
authgear_shared_zone zone=authgear:;
--- emerg
authgear: "authgear_shared_zone" has an invalid size ""; write "authgear_shared_zone zone=authgear:32m;" in nginx.conf:1

=== authgear_shared_zone: no size
authgear_shared_zone zone=authgear:large;
--- emerg
authgear: "authgear_shared_zone" has an invalid size "large"; write "authgear_shared_zone zone=authgear:32m;" in nginx.conf:1

=== authgear_shared_zone: without a name
authgear_shared_zone zone=:1m;
--- emerg
authgear: "authgear_shared_zone" has no name in "zone=:1m"; write "authgear_shared_zone zone=authgear:32m;" in nginx.conf:1

=== authgear_shared_zone: without zone=
authgear_shared_zone authgear:1m;
--- emerg
authgear: "authgear_shared_zone" has an invalid parameter "authgear:1m"; write "authgear_shared_zone zone=authgear:32m;" in nginx.conf:1

=== authgear_shared_zone: too small
authgear_shared_zone zone=authgear:511k;
--- emerg
authgear: "authgear_shared_zone" zone "authgear" is too small with 511k; the least is 512k, which holds 183 tokens and sessions; 32m, the default, holds 41958 in nginx.conf:1

=== authgear_shared_zone: the least
authgear_shared_zone zone=authgear:512k;
--- fine

=== authgear_shared_zone: twice
authgear_shared_zone zone=one:1m;
authgear_shared_zone zone=two:1m;
--- emerg
authgear: "authgear_shared_zone" is duplicate; one zone serves all projects in nginx.conf:2

=== authgear_shared_zone: the name of another module's zone
limit_req_zone $host zone=taken:1m rate=1r/s;
authgear_shared_zone zone=taken:1m;
--- emerg
the shared memory zone "taken" is already declared for a different use in nginx.conf:2

=== authgear_shared_zone: in a server
server {
    authgear_shared_zone zone=authgear:1m;
}
--- emerg
"authgear_shared_zone" directive is not allowed here in nginx.conf:2

=== authgear_shared_zone: made by default where there is a project
limit_req_zone $host zone=authgear:1m rate=1r/s;
--- fine

=== authgear_shared_zone: made by default for keys from a file too
authgear_project a {
    issuer https://a.example;
    audience https://a.example;
    jwks_file jwks.json;
}
limit_req_zone $host zone=authgear:1m rate=1r/s;
--- emerg
authgear: the zone "authgear" is another module's; name one with "authgear_shared_zone zone=authgear_other:32m;"

=== authgear_shared_zone: made by default, unless its name is taken
limit_req_zone $host zone=authgear:1m rate=1r/s;
authgear_project a {
    endpoint https://a.example;
}
--- emerg
authgear: the zone "authgear" is another module's; name one with "authgear_shared_zone zone=authgear_other:32m;"

=== authgear_shared_zone: another name leaves the default's free
limit_req_zone $host zone=authgear:1m rate=1r/s;
authgear_project a {
    endpoint https://a.example;
}
authgear_shared_zone zone=authgear_keys:1m;
--- fine

=== jwks_file: beside fetch_proxy
authgear_project a {
    endpoint https://a.example;
    jwks_file jwks.json;
    fetch_proxy http://proxy:3128;
}
--- emerg
authgear: "authgear_project" "a" has both "jwks_file" and "fetch_proxy", but keys from a file are never fetched; remove one in nginx.conf:5
