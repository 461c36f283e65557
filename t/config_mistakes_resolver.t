# Messages of `nginx -t` about authgear_project: the resolver's location, resolve_cache,
# resolve_stale and recheck.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

=== resolve_request: no URI
authgear_project a {
    endpoint https://a.example;
    resolve_request https://a.example/_resolver/resolve;
}
--- emerg
authgear: "resolve_request" must be the URI of an internal location such as "/_authgear/resolve", or "off", not "https://a.example/_resolver/resolve" in nginx.conf:3

=== resolve_request: beside token_type client
authgear_project a {
    endpoint https://a.example;
    token_type client;
    resolve_request /_authgear/resolve;
}
--- emerg
authgear: "authgear_project" "a" has "resolve_request" and "token_type client", but the resolver knows users only; remove one in nginx.conf:5

=== resolve_request, resolve_cache and recheck
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    resolve_cache 10s;
    recheck 30s strict;
}
--- fine

=== resolve_request: a location that clients can ask
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
}
server {
    location = /_authgear/resolve {
        proxy_pass https://127.0.0.1/_resolver/resolve;
    }
}
--- warn
authgear: location "/_authgear/resolve" is the "resolve_request" of the project "a" and open to clients, so no question is sent to it; add "internal;"

=== resolve_request: an internal location
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
}
server {
    location = /_authgear/resolve {
        internal;
        proxy_pass https://127.0.0.1/_resolver/resolve;
    }
}
--- fine

=== resolve_stale
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    resolve_cache 10s;
    resolve_stale 1h;
}
--- fine

=== resolve_stale: no resolve_cache
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    resolve_cache off;
    resolve_stale 1h;
}
--- emerg
authgear: "authgear_project" "a" has "resolve_stale" but no "resolve_cache", which keeps what may be used longer; add "resolve_cache 10s;" in nginx.conf:6

=== resolve_stale: 0
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    resolve_cache 10s;
    resolve_stale 0;
}
--- emerg
authgear: "resolve_stale" must be more than 0 in nginx.conf:5

=== authgear_endpoint_host: several endpoints share a location that does not use it
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
}
authgear_project b {
    endpoint https://b.example;
    resolve_request /_authgear/resolve;
}
server {
    location = /_authgear/resolve {
        internal;
        proxy_pass https://127.0.0.1/_resolver/resolve;
    }
}
--- warn
authgear: location "/_authgear/resolve" is asked about several endpoints and does not say about which; add "proxy_set_header Host $authgear_endpoint_host;"

=== authgear_endpoint_host: an endpoint with variables, and a location that does not use it
authgear_project a {
    endpoint https://$host;
    resolve_request /_authgear/resolve;
}
server {
    location = /_authgear/resolve {
        internal;
        proxy_pass https://127.0.0.1/_resolver/resolve;
    }
}
--- warn
authgear: location "/_authgear/resolve" is asked about several endpoints and does not say about which; add "proxy_set_header Host $authgear_endpoint_host;"

=== authgear_endpoint_host: a variable names the projects that share a location
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
}
authgear_project b {
    endpoint https://b.example;
    resolve_request /_authgear/resolve;
}
server {
    authgear_verify $host;
    location = /_authgear/resolve {
        internal;
        proxy_pass https://127.0.0.1/_resolver/resolve;
    }
}
--- warn
authgear: location "/_authgear/resolve" is asked about several endpoints and does not say about which; add "proxy_set_header Host $authgear_endpoint_host;"

=== authgear_endpoint_host: each endpoint has its own server
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
}
authgear_project b {
    endpoint https://b.example;
    resolve_request /_authgear/resolve;
}
server {
    server_name a.example.com;
    authgear_verify a;
    location / { root html; }
    location = /_authgear/resolve {
        internal;
        proxy_pass https://127.0.0.1/_resolver/resolve;
    }
}
server {
    server_name b.example.com;
    location / { root html; authgear_verify b; }
    location = /_authgear/resolve {
        internal;
        proxy_pass https://127.0.0.1/_resolver/resolve;
    }
}
--- fine

=== authgear_endpoint_host: projects with one endpoint share a location
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
}
authgear_project b {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
}
server {
    location = /_authgear/resolve {
        internal;
        proxy_pass https://127.0.0.1/_resolver/resolve;
    }
}
--- fine

=== authgear_endpoint_host: a location that uses it
authgear_project a {
    endpoint https://$host;
    resolve_request /_authgear/resolve;
}
server {
    location = /_authgear/resolve {
        internal;
        proxy_pass https://127.0.0.1/_resolver/resolve;
        proxy_set_header Host $authgear_endpoint_host;
    }
}
--- fine

=== resolve_cache: no resolve_request
authgear_project a {
    endpoint https://a.example;
    resolve_cache 10s;
}
--- emerg
authgear: "authgear_project" "a" has "resolve_cache" but no "resolve_request"; add "resolve_request /_authgear/resolve;" and that location in nginx.conf:4

=== resolve_cache: 0
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    resolve_cache 0;
}
--- emerg
authgear: "resolve_cache" must be more than 0 in nginx.conf:4

=== recheck: no resolve_request
authgear_project a {
    endpoint https://a.example;
    recheck 30s;
    resolve_request off;
}
--- emerg
authgear: "authgear_project" "a" has "recheck" but no "resolve_request"; add "resolve_request /_authgear/resolve;" and that location in nginx.conf:5

=== recheck: an unknown word
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    recheck 30s always;
}
--- emerg
authgear: "recheck" must be a time, a time and "strict", or "off"; write it as "recheck 30s;" or "recheck 30s strict;" in nginx.conf:4

=== recheck: off and strict
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    recheck off strict;
}
--- emerg
authgear: "recheck" must be a time, a time and "strict", or "off"; write it as "recheck 30s;" or "recheck 30s strict;" in nginx.conf:4

=== recheck: too many values
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    recheck 30s strict 30s;
}
--- emerg
authgear: "recheck" must be a time, a time and "strict", or "off"; write it as "recheck 30s;" or "recheck 30s strict;" in nginx.conf:4
