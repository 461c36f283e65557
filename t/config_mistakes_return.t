# What `nginx -t` says of `return` and `rewrite` that answer before anybody is verified.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

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
