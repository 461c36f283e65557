# Messages of `nginx -t` about authgear_project: the rules for tokens, and the block
# itself.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

=== issuer: empty
authgear_project a {
    endpoint https://a.example;
    issuer "";
}
--- emerg
authgear: "issuer" has an empty parameter, which no token can match in nginx.conf:3

=== issuer: a variable
authgear_project a {
    endpoint https://$host;
    issuer https://$host;
}
--- emerg
authgear: "issuer" cannot hold variables, as "https://$host" does in nginx.conf:3

=== issuer: an international name
authgear_project a {
    endpoint https://xn--bcher-kva.example;
    issuer https://a.example https://bücher.example;
}
--- emerg
authgear: "issuer" has an invalid value "https://bücher.example": tokens hold an international name in its xn-- form, write that in nginx.conf:3

=== audience: an international name
authgear_project a {
    endpoint https://a.example;
    audience https://a.example https://bücher.example/api;
}
--- emerg
authgear: "audience" has an invalid value "https://bücher.example/api": tokens hold an international name in its xn-- form, write that in nginx.conf:3

=== issuer, audience and client_id: a text that is no URL may be any
authgear_project a {
    endpoint https://a.example;
    issuer bücher;
    audience bücher;
    client_id bücher;
}
--- fine

=== audience: empty
authgear_project a {
    endpoint https://a.example;
    audience https://api.example "";
}
--- emerg
authgear: "audience" has an empty parameter, which no token can match in nginx.conf:3

=== audience: without a value
authgear_project a {
    endpoint https://a.example;
    audience;
}
--- emerg
authgear: "audience" has no value in nginx.conf:3

=== client_id: a variable
authgear_project a {
    endpoint https://a.example;
    client_id $client;
}
--- emerg
authgear: "client_id" cannot hold variables, as "$client" does in nginx.conf:3

=== token_type: unknown
authgear_project a {
    endpoint https://a.example;
    token_type m2m;
}
--- emerg
authgear: "token_type" must be "user", "client" or "any", not "m2m" in nginx.conf:3

=== token_type: two of them
authgear_project a {
    endpoint https://a.example;
    token_type user client;
}
--- emerg
authgear: "token_type" takes one value, not 2 in nginx.conf:3

=== algorithms: HMAC
authgear_project a {
    endpoint https://a.example;
    algorithms RS256 HS256;
}
--- emerg
authgear: "algorithms" cannot be "HS256"; it may be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA in nginx.conf:3

=== algorithms: none
authgear_project a {
    endpoint https://a.example;
    algorithms none;
}
--- emerg
authgear: "algorithms" cannot be "none"; it may be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA in nginx.conf:3

=== algorithms: in lower case
authgear_project a {
    endpoint https://a.example;
    algorithms rs256;
}
--- emerg
authgear: "algorithms" cannot be "rs256"; it may be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA in nginx.conf:3

=== algorithms: all that there are
authgear_project a {
    endpoint https://a.example;
    algorithms RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA;
}
--- fine

=== typ: off with another
authgear_project a {
    endpoint https://a.example;
    typ at+jwt off;
}
--- emerg
authgear: "typ" is "off" and something else; write "typ off;" or a list in nginx.conf:3

=== typ: empty
authgear_project a {
    endpoint https://a.example;
    typ "";
}
--- emerg
authgear: "typ" has an empty parameter, which no token can match in nginx.conf:3

=== leeway: negative
authgear_project a {
    endpoint https://a.example;
    leeway -5s;
}
--- emerg
authgear: "leeway" has an invalid time "-5s"; write it as "500ms", "5s" or "10m" in nginx.conf:3

=== leeway: empty
authgear_project a {
    endpoint https://a.example;
    leeway "";
}
--- emerg
authgear: "leeway" has an invalid time ""; write it as "500ms", "5s" or "10m" in nginx.conf:3

=== cookie_prefix: a character that no cookie's name may hold
authgear_project a {
    endpoint https://a.example;
    cookie_prefix "my app_";
}
--- emerg
authgear: "cookie_prefix" has an invalid value "my app_": a cookie name may hold letters, digits and !#$%&'*+-.^_`|~ only in nginx.conf:3

=== cookie_prefix: a variable
authgear_project a {
    endpoint https://a.example;
    cookie_prefix $host;
}
--- emerg
authgear: "cookie_prefix" cannot hold variables, as "$host" does in nginx.conf:3

=== a parameter that is not UTF-8
authgear_project a {
    endpoint https://a.example;
    issuer "\xff";
}
--- emerg
authgear: "issuer" has a parameter that is not UTF-8 in nginx.conf:3

=== authgear_project: named off
authgear_project off {
    endpoint https://a.example;
}
--- emerg
authgear: "authgear_project" cannot be named "off"; use letters, digits, "_", "-" and ".", not "off" in nginx.conf:1

=== authgear_project: a blank in the name
authgear_project "my app" {
    endpoint https://a.example;
}
--- emerg
authgear: "authgear_project" cannot be named "my app"; use letters, digits, "_", "-" and ".", not "off" in nginx.conf:1

=== authgear_project: a variable for a name
authgear_project $host {
    endpoint https://a.example;
}
--- emerg
authgear: "authgear_project" cannot be named "$host"; use letters, digits, "_", "-" and ".", not "off" in nginx.conf:1

=== authgear_project: without a name
authgear_project {
    endpoint https://a.example;
}
--- emerg
invalid number of arguments in "authgear_project" directive in nginx.conf:1

=== authgear_project: two names
authgear_project a b {
    endpoint https://a.example;
}
--- emerg
invalid number of arguments in "authgear_project" directive in nginx.conf:1

=== authgear_project: without a block
authgear_project a;
--- emerg
directive "authgear_project" has no opening "{" in nginx.conf:1

=== authgear_project: twice
authgear_project a {
    endpoint https://a.example;
}
authgear_project a {
    endpoint https://b.example;
}
--- emerg
authgear: "authgear_project" "a" is duplicate in nginx.conf:4

=== authgear_project: in a server
server {
    authgear_project a {
        endpoint https://a.example;
    }
}
--- emerg
"authgear_project" directive is not allowed here in nginx.conf:2

=== authgear_project: an unknown directive in it
authgear_project a {
    endpoint https://a.example;
    authgear_verify a;
}
--- emerg
authgear: "authgear_verify" is unknown in "authgear_project", which takes endpoint, internal_endpoint, issuer, audience, client_id, token_type, algorithms, typ, jwks_uri, jwks_file, jwks_refresh, jwks_stale, jwks_min_interval, fetch_timeout, leeway, cookie_prefix, resolve_request, resolve_cache, resolve_stale, recheck, ssl_trusted_certificate, ssl_name, ssl_certificate, ssl_certificate_key, fetch_proxy, webhook_secret_file, revocation_keep, login, state_path in nginx.conf:3

=== authgear_project: a block in it
authgear_project a {
    endpoint https://a.example;
    keys {
    }
}
--- emerg
unexpected "{" in nginx.conf:3

=== authgear_project: a semicolon forgotten
authgear_project a {
    endpoint https://a.example
}
--- emerg
unexpected "}" in nginx.conf:3

=== authgear_project: an included file is named
include project.conf;
--- emerg
authgear: "endpoint" has no value in project.conf:3

=== authgear_project: includes a file, as nginx's own blocks do
authgear_project a {
    include endpoint.conf;
}
--- fine

=== authgear_project: a mistake in a file that it includes
authgear_project a {
    include leeway.conf;
}
--- emerg
authgear: "leeway" has an invalid time "5sec"; write it as "500ms", "5s" or "10m" in leeway.conf:2
