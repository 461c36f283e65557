# Messages of `nginx -t` about the login of browsers: login, authgear_login, authgear_login_callback.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

=== login: beside a server that verifies
authgear_project a {
    endpoint https://auth.example.com;
    resolve_request /_authgear/resolve;
    login client_id=abc callback=https://www.example.com/_authgear/callback;
}
authgear_project b {
    endpoint http://localhost:3100;
    resolve_request /_authgear/resolve;
    login callback=http://localhost:8080/cb?x=y client_id=abc;
}
server {
    authgear_verify a;
    authgear_login on;
    authgear_require_role admin;
    location / { if ($arg_x) { return 404; } }
    location = /_authgear/callback { authgear_login_callback a; limit_except GET { deny all; } }
    location ~ ^/cb { authgear_login_callback b; }
}
--- fine

=== login: without a callback
authgear_project a { endpoint https://a.example; login client_id=abc; }
--- emerg
authgear: "login" must have a client id and its redirect URI, each once; write it as "login client_id=... callback=https://www.example.com/_authgear/callback;" in nginx.conf:1

=== login: another parameter
authgear_project a { endpoint https://a.example; login client_id=abc callback=https://b.example/ scope=openid; }
--- emerg
authgear: "login" must have a client id and its redirect URI, each once; write it as "login client_id=... callback=https://www.example.com/_authgear/callback;" in nginx.conf:1

=== login: a client twice
authgear_project a { endpoint https://a.example; login client_id=abc client_id=def callback=https://b.example/; }
--- emerg
authgear: "login" must have a client id and its redirect URI, each once; write it as "login client_id=... callback=https://www.example.com/_authgear/callback;" in nginx.conf:1

=== login: an empty client
authgear_project a { endpoint https://a.example; login client_id= callback=https://b.example/; }
--- emerg
authgear: "login" has an empty client_id; write the one that the portal shows in nginx.conf:1

=== login: a callback with a parameter of Authgear's
authgear_project a { endpoint https://a.example; login client_id=abc callback=https://b.example/cb?state=1; }
--- emerg
authgear: "login" has a "callback" with a parameter "state" or "error", which Authgear adds; leave it out in nginx.conf:1

=== login: a callback at a host with a dot
authgear_project a { endpoint https://a.example; login client_id=abc callback=https://b.example./cb; }
--- emerg
authgear: "login" has a "callback" whose host ends in a dot, which nginx takes off a request's; leave it out in nginx.conf:1

=== login: a path for a callback
authgear_project a { endpoint https://a.example; login client_id=abc callback=/cb; }
--- emerg
authgear: "login" has an invalid value "/cb": begins with neither https:// nor http://, write https:// before the host in nginx.conf:1

=== login: plain http off loopback
authgear_project a { endpoint https://a.example; login client_id=abc callback=http://www.example.com/cb; }
--- emerg
authgear: "login" has an invalid value "http://www.example.com/cb": plain http is allowed for loopback only (localhost, 127.0.0.0/8, [::1]), write https:// in nginx.conf:1

=== login: a variable
authgear_project a { endpoint https://a.example; login client_id=abc callback=https://$host/cb; }
--- emerg
authgear: "login" cannot hold variables, as "https://$host/cb" does in nginx.conf:1

=== login: twice
authgear_project a {
    endpoint https://a.example;
    login client_id=abc callback=https://b.example/;
    login client_id=abc callback=https://b.example/;
}
--- emerg
authgear: "login" is duplicate in nginx.conf:4

=== login: beside an endpoint with variables
authgear_project a {
    endpoint https://$host;
    login client_id=abc callback=https://b.example/;
}
--- emerg
authgear: "authgear_project" "a" has "login" and an "endpoint" with variables, but a client is one project's alone; add an "authgear_project" for each that has a login in nginx.conf:4

=== login: beside no endpoint
authgear_project a {
    issuer https://a.example;
    audience https://a.example;
    jwks_file jwks.json;
    login client_id=abc callback=https://b.example/;
}
--- emerg
authgear: "authgear_project" "a" has "login" but no "endpoint", where users log in; add it in nginx.conf:6

=== login: without a resolver, which judges its cookie
authgear_project a {
    endpoint https://a.example;
    login client_id=abc callback=https://b.example/cb;
}
server { location = /cb { authgear_login_callback a; } }
--- warn
authgear: project "a" has "login", but without "resolve_request" the cookie of a login does not count; add "resolve_request /_authgear/resolve;" and that location in nginx.conf:4

=== login: without a location in which it ends
authgear_project a {
    endpoint https://a.example;
    resolve_request /r;
    login client_id=abc callback=https://b.example/cb;
}
server { location / { authgear_verify a; authgear_login on; } }
--- warn
authgear: project "a" has a "login", but no location in which one ends; add a location for the path of "callback", with "authgear_login_callback a;"

=== authgear_login: a project without a login
authgear_project a { endpoint https://a.example; }
server {
    authgear_login on;
    location / {
        authgear_verify a;
    }
}
--- emerg
authgear: "authgear_verify" names the project "a" without a "login", but "authgear_login" is on; add "login client_id=... callback=https://...;" to the project, or write "authgear_login off;" in nginx.conf:5

=== authgear_login: off for a project without a login
authgear_project a { endpoint https://a.example; }
server {
    authgear_login on;
    location / { authgear_verify a; authgear_login off; }
    location /free { empty_gif; }
    location /any { authgear_verify $arg_project; }
}
--- fine

=== authgear_login: another value
server {
    authgear_login yes;
}
--- emerg
authgear: "authgear_login" must be "on" or "off", not "yes" in nginx.conf:2

=== authgear_login_callback: an unknown project
server { location = /cb { authgear_login_callback a; } }
--- emerg
authgear: "authgear_login_callback" names no project "a"; add "authgear_project a { endpoint https://...; }" to the http block in nginx.conf:1

=== authgear_login_callback: a project without a login
authgear_project a { endpoint https://a.example; }
server { location = /cb { authgear_login_callback a; } }
--- emerg
authgear: "authgear_login_callback" names the project "a", which has no "login"; add "login client_id=... callback=https://...;" to it in nginx.conf:2

=== authgear_login_callback: twice
authgear_project a { endpoint https://a.example; resolve_request /r; login client_id=abc callback=https://b.example/cb; }
server {
    location = /cb {
        authgear_login_callback a;
        authgear_login_callback a;
    }
}
--- emerg
authgear: "authgear_login_callback" is duplicate in nginx.conf:5

=== authgear_login_callback: beside another content handler
authgear_project a { endpoint https://a.example; resolve_request /r; login client_id=abc callback=https://b.example/cb; }
server {
    location = /cb {
        authgear_login_callback a;
        proxy_pass http://127.0.0.1:1;
    }
}
--- emerg
authgear: "authgear_login_callback" stands beside another directive that answers requests, such as "proxy_pass"; give it a location of its own in nginx.conf:4

=== authgear_login_callback: beside authgear_webhook
authgear_project a { endpoint https://a.example; resolve_request /r; webhook_secret_file secret.txt; login client_id=abc callback=https://b.example/cb; }
server {
    location = /cb {
        authgear_webhook a;
        authgear_login_callback a;
    }
}
--- emerg
authgear: "authgear_login_callback" stands beside another directive that answers requests, such as "proxy_pass"; give it a location of its own in nginx.conf:5

=== authgear_login_callback: beside authgear_verify
authgear_project a { endpoint https://a.example; resolve_request /r; login client_id=abc callback=https://b.example/cb; }
server {
    location = /cb {
        authgear_verify a;
        authgear_login_callback a;
    }
}
--- emerg
authgear: "authgear_verify" stands beside "authgear_login_callback", where a login ends and no session can be asked for; remove it in nginx.conf:4

=== authgear_login_callback: at another path than the callback's
authgear_project a { endpoint https://a.example; resolve_request /r; login client_id=abc callback=https://b.example/cb; }
server {
    location = /callback {
        authgear_login_callback a;
    }
}
--- warn
authgear: "authgear_login_callback" is in location "/callback", but the "callback" of the project "a" is "/cb"; write "location = /cb" in nginx.conf:4

=== authgear_login_callback: a path that nginx decodes or normalises
authgear_project a {
    endpoint https://a.example;
    resolve_request /r;
    login client_id=x callback=https://www.a.example/c%20b;
}
authgear_project b {
    endpoint https://b.example;
    resolve_request /r;
    login client_id=x callback=https://www.a.example/x/../d//e;
}
server {
    location = "/c b" { authgear_login_callback a; }
    location = /d/e { authgear_login_callback b; }
}
--- fine
