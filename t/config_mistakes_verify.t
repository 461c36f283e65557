# What `nginx -t` says of mistakes in who is verified where, by which token and with
# which challenge, and of what answers before anybody is.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

=== authgear_verify: unknown project
server {
    location / {
        authgear_verify nosuch;
    }
}
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in nginx.conf:3

=== authgear_verify: unknown project, and others that stand behind
server {
    authgear_verify nosuch optional;
    location / {
        authgear_verify a;
    }
}
authgear_project a {
    endpoint https://a.example;
}
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in nginx.conf:2

=== authgear_verify: unknown project at the http level
authgear_verify nosuch;
server {
    location / {
    }
}
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in nginx.conf:1

=== authgear_verify: unknown project that no server inherits
authgear_verify nosuch;
server {
    authgear_verify off;
}
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in nginx.conf:1

=== authgear_verify: unknown project in an if
server {
    location / {
        if ($arg_x) {
            authgear_verify nosuch;
        }
    }
}
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in nginx.conf:4

=== authgear_verify: unknown project in an included file
include server.conf;
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in server.conf:3

=== authgear_verify: case matters
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify A;
}
--- emerg
authgear: "authgear_verify" names no project "A"; add "authgear_project A { endpoint https://...; }" to the http block in nginx.conf:5

=== authgear_verify: a mode where the project belongs
server {
    authgear_verify optional;
}
--- emerg
authgear: "authgear_verify" has a mode but no project; write "authgear_verify myapp optional;" in nginx.conf:2

=== authgear_verify: empty
server {
    authgear_verify "";
}
--- emerg
authgear: "authgear_verify" names no project; write "authgear_verify myapp;" or "authgear_verify off;" in nginx.conf:2

=== authgear_verify: unknown mode
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a strict;
}
--- emerg
authgear: "authgear_verify" has an unknown mode "strict"; it must be "required", "optional" or "observe" in nginx.conf:5

=== authgear_verify: unknown mode beside a variable
server {
    authgear_verify $host off;
}
--- emerg
authgear: "authgear_verify" has an unknown mode "off"; it must be "required", "optional" or "observe" in nginx.conf:2

=== authgear_verify: off with a mode
server {
    authgear_verify off observe;
}
--- emerg
authgear: "authgear_verify" is "off" and cannot be "observe" too; write "authgear_verify off;" in nginx.conf:2

=== authgear_verify: two modes
server {
    authgear_verify a optional observe;
}
--- emerg
authgear: "authgear_verify" takes a project and at most one mode in nginx.conf:2

=== authgear_verify: without a project
server {
    authgear_verify;
}
--- emerg
invalid number of arguments in "authgear_verify" directive in nginx.conf:2

=== authgear_verify: an unknown variable
server {
    authgear_verify $authgear_project;
}
--- emerg
unknown "authgear_project" variable

=== authgear_verify: twice in http
authgear_verify off;
authgear_verify off;
--- emerg
authgear: "authgear_verify" is duplicate in nginx.conf:2

=== authgear_verify: twice in a server
server {
    authgear_verify off;
    authgear_verify off;
}
--- emerg
authgear: "authgear_verify" is duplicate in nginx.conf:3

=== authgear_verify: twice in a location
server {
    location / {
        authgear_verify off;
        authgear_verify off;
    }
}
--- emerg
authgear: "authgear_verify" is duplicate in nginx.conf:4

=== authgear_verify: twice in an if
server {
    location / {
        if ($arg_x) {
            authgear_verify off;
            authgear_verify off;
        }
    }
}
--- emerg
authgear: "authgear_verify" is duplicate in nginx.conf:5

=== authgear_verify: twice in a limit_except
server {
    location / {
        limit_except GET {
            authgear_verify off;
            authgear_verify off;
        }
    }
}
--- emerg
authgear: "authgear_verify" is duplicate in nginx.conf:5

=== authgear_verify: in an if of a server
server {
    if ($arg_x) {
        authgear_verify off;
    }
}
--- emerg
"authgear_verify" directive is not allowed here in nginx.conf:3

=== authgear_verify: at every level, in every form
map $host $project {
    default a;
}
authgear_project a {
    endpoint https://a.example;
}
authgear_verify a;
server {
    authgear_verify $project;
    location / {
        authgear_verify a optional;
        if ($arg_x) {
            authgear_verify $project observe;
        }
        limit_except GET {
            authgear_verify a required;
        }
    }
    location /public/ {
        authgear_verify off;
    }
}
--- fine

=== authgear_verify: the project may stand behind the server
server {
    location / {
        authgear_verify a;
    }
}
authgear_project a {
    endpoint https://a.example;
}
--- fine

=== authgear_verify: many projects
authgear_project a { endpoint https://a.example; }
authgear_project A { endpoint https://a.example; }
authgear_project b.example-2_x { endpoint https://b.example:8443; }
authgear_project 3 { endpoint https://$host; }
server {
    location /a { authgear_verify a; }
    location /A { authgear_verify A; }
    location /b { authgear_verify b.example-2_x; }
    location /3 { authgear_verify 3; }
}
--- fine

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

=== a directive that there is not
server {
    authgear_require_roles admin;
}
--- emerg
unknown directive "authgear_require_roles" in nginx.conf:2

=== return in a protected location
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        return 200 "for anybody";
    }
}
--- warn
authgear: "return" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== return in a location that inherits its protection
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a;
    location /a {
        return 204;
    }
}
--- warn
authgear: "return" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:5

=== return behind an if
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        if ($arg_x) {
            set $x 1;
        }
        return 204;
    }
}
--- warn
authgear: "return" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== return in an observed location
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a observe;
        return 204;
    }
}
--- warn
authgear: "return" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== return beside a variable
server {
    location /a {
        authgear_verify $arg_project;
        return 204;
    }
}
--- warn
authgear: "return" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:3

=== return in a named location that protects itself
authgear_project a {
    endpoint https://a.example;
}
server {
    location @a {
        authgear_verify a;
        return 204;
    }
}
--- warn
authgear: "return" in location "@a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== return in an if is meant
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        if ($request_method = TRACE) {
            return 405;
        }
    }
}
--- fine

=== return where authgear_verify is off is meant
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a;
    location /a {
        authgear_verify off;
        return 204;
    }
}
--- fine

=== return in what clients cannot ask is meant
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a;
    error_page 401 @login;
    error_page 403 /forbidden;
    location @login {
        return 302 https://login.example;
    }
    location /forbidden {
        internal;
        return 403;
    }
}
--- fine

=== return in a server that protects nothing else
authgear_project a {
    endpoint https://a.example;
}
authgear_verify a;
server {
    return 301 https://$host$request_uri;
}
--- fine

=== rewrite ... redirect in a protected location
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        rewrite ^ /b redirect;
    }
}
--- warn
authgear: "rewrite" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== rewrite ... permanent in a protected location
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        rewrite ^/a(.*)$ /b$1 permanent;
    }
}
--- warn
authgear: "rewrite" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== rewrite to another host in a protected location
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        rewrite ^ https://b.example/;
    }
}
--- warn
authgear: "rewrite" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== rewrite ... redirect in an if is meant
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        if ($arg_x) {
            rewrite ^ /b redirect;
        }
    }
}
--- fine

=== rewrite that answers nothing
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a;
    location /a {
        rewrite ^/a(.*)$ /b$1 last;
    }
    location /b {
        rewrite ^/b(.*)$ /c$1 break;
    }
    location /c {
        set $x "return";
        rewrite ^/c(.*)$ /d$1;
        rewrite_log on;
    }
}
--- fine
