# Messages of `nginx -t` about the place of a request's token, preflights, headers for the
# backend, and challenges.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

=== authgear_pass_headers: neither on nor off
server {
    authgear_pass_headers yes;
}
--- emerg
authgear: "authgear_pass_headers" must be "on" or "off", not "yes" in nginx.conf:2

=== authgear_pass_headers: a variable
server {
    authgear_pass_headers $host;
}
--- emerg
authgear: "authgear_pass_headers" must be "on" or "off", not "$host" in nginx.conf:2

=== authgear_pass_headers: two values
server {
    authgear_pass_headers on off;
}
--- emerg
authgear: "authgear_pass_headers" takes one parameter, "on" or "off" in nginx.conf:2

=== authgear_pass_headers: without a value
server {
    authgear_pass_headers;
}
--- emerg
invalid number of arguments in "authgear_pass_headers" directive in nginx.conf:2

=== authgear_pass_headers: twice
server {
    location / {
        authgear_pass_headers on;
        authgear_pass_headers on;
    }
}
--- emerg
authgear: "authgear_pass_headers" is duplicate in nginx.conf:4

=== authgear_token: text in place of a variable
server {
    authgear_token arg_access_token;
}
--- emerg
authgear: "authgear_token" must hold variables, such as "$arg_access_token", and "arg_access_token" is none in nginx.conf:2

=== authgear_token: empty
server {
    authgear_token $arg_access_token "";
}
--- emerg
authgear: "authgear_token" must hold variables, such as "$arg_access_token", and "" is none in nginx.conf:2

=== authgear_token: an unknown variable
server {
    authgear_token $nosuch;
}
--- emerg
unknown "nosuch" variable

=== authgear_token: off and another
server {
    authgear_token off $arg_access_token;
}
--- emerg
authgear: "authgear_token" is "off" and something else; remove one in nginx.conf:2

=== authgear_token: twice
server {
    authgear_token $arg_access_token;
    authgear_token $cookie_token;
}
--- emerg
authgear: "authgear_token" is duplicate in nginx.conf:3

=== authgear_realm: empty
server {
    authgear_realm "";
}
--- emerg
authgear: "authgear_realm" is empty; name the realm, or leave the directive out in nginx.conf:2

=== authgear_realm: a variable
server {
    authgear_realm $host;
}
--- emerg
authgear: "authgear_realm" cannot hold variables, as "$host" does in nginx.conf:2

=== authgear_realm: a line feed
server {
    authgear_realm "my
app";
}
--- emerg
authgear: "authgear_realm" holds a control character, which no header can in nginx.conf:3

=== authgear_realm: quotes forgotten
server {
    authgear_realm my app;
}
--- emerg
authgear: "authgear_realm" takes one string, in quotes if it has blanks, not 2 parameters in nginx.conf:2

=== authgear_realm: twice
server {
    authgear_realm one;
    authgear_realm two;
}
--- emerg
authgear: "authgear_realm" is duplicate in nginx.conf:3

=== authgear_realm: not UTF-8
server {
    authgear_realm "\xff";
}
--- emerg
authgear: "authgear_realm" has a parameter that is not UTF-8 in nginx.conf:2

=== authgear_resource_metadata: plain http
server {
    authgear_resource_metadata http://api.example/.well-known/oauth-protected-resource;
}
--- emerg
authgear: "authgear_resource_metadata" is plain http, "http://api.example/.well-known/oauth-protected-resource"; write https://, as RFC 9728 asks in nginx.conf:2

=== authgear_resource_metadata: no URL
server {
    authgear_resource_metadata /.well-known/oauth-protected-resource;
}
--- emerg
authgear: "authgear_resource_metadata" has an invalid value "/.well-known/oauth-protected-resource": begins with neither https:// nor http://, write https:// before the host in nginx.conf:2

=== authgear_resource_metadata: a fragment
server {
    authgear_resource_metadata https://api.example/metadata#1;
}
--- emerg
authgear: "authgear_resource_metadata" has an invalid value "https://api.example/metadata#1": has a fragment, leave out # and what follows in nginx.conf:2

=== authgear_resource_metadata: a variable
server {
    authgear_resource_metadata https://$host/metadata;
}
--- emerg
authgear: "authgear_resource_metadata" cannot hold variables, as "https://$host/metadata" does in nginx.conf:2

=== authgear_resource_metadata: two URLs
server {
    authgear_resource_metadata https://one.example/m https://two.example/m;
}
--- emerg
authgear: "authgear_resource_metadata" takes one URL, not 2 parameters in nginx.conf:2

=== authgear_resource_metadata: twice
server {
    authgear_resource_metadata https://one.example/m;
    authgear_resource_metadata https://two.example/m;
}
--- emerg
authgear: "authgear_resource_metadata" is duplicate in nginx.conf:3

=== authgear_resource_metadata: plain http on loopback
server {
    authgear_resource_metadata http://127.0.0.1:8080/m;
}
--- fine

=== authgear_bypass_preflight: neither on nor off
server {
    authgear_bypass_preflight yes;
}
--- emerg
authgear: "authgear_bypass_preflight" must be "on" or "off", not "yes" in nginx.conf:2

=== authgear_bypass_preflight: twice
server {
    authgear_bypass_preflight on;
    authgear_bypass_preflight off;
}
--- emerg
authgear: "authgear_bypass_preflight" is duplicate in nginx.conf:3
