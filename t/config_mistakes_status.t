# Messages of `nginx -t` about authgear_status.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

=== authgear_status: every format, on loopback
server {
    listen 127.0.0.1:8080;
    listen 127.1.2.3:8080;
    listen [::1]:8080;
    listen unix:nginx.sock;
    location = /status { authgear_status; }
    location = /html { authgear_status html; }
    location = /json { authgear_status json; }
    location = /prometheus { authgear_status prometheus; }
}
--- fine

=== authgear_status: an unknown format
server {
    location = /status {
        authgear_status xml;
    }
}
--- emerg
authgear: "authgear_status" has an unknown format "xml"; write "authgear_status;", or "html", "json" or "prometheus" behind it in nginx.conf:3

=== authgear_status: two formats
server {
    location = /status {
        authgear_status html json;
    }
}
--- emerg
authgear: "authgear_status" takes one format, not 2; write "authgear_status;", or "html", "json" or "prometheus" behind it in nginx.conf:3

=== authgear_status: twice
server {
    location = /status {
        authgear_status;
        authgear_status html;
    }
}
--- emerg
authgear: "authgear_status" is duplicate in nginx.conf:4

=== authgear_status: in a server
server {
    authgear_status;
}
--- emerg
"authgear_status" directive is not allowed here in nginx.conf:2

=== authgear_status: in http
authgear_status;
--- emerg
"authgear_status" directive is not allowed here in nginx.conf:1

=== authgear_status: in an if
server {
    location / {
        if ($arg_status) {
            authgear_status;
        }
    }
}
--- emerg
"authgear_status" directive is not allowed here in nginx.conf:4

=== authgear_status: behind a proxy_pass
server {
    location = /status {
        proxy_pass http://127.0.0.1:1;
        authgear_status;
    }
}
--- emerg
authgear: "authgear_status" stands beside another directive that answers requests, such as "proxy_pass"; give it a location of its own in nginx.conf:4

=== authgear_status: before a proxy_pass
server {
    location = /status {
        authgear_status;
        proxy_pass http://127.0.0.1:1;
    }
}
--- emerg
authgear: "authgear_status" stands beside another directive that answers requests, such as "proxy_pass"; give it a location of its own in nginx.conf:3

=== authgear_status: open to everybody
server {
    listen 8080;
    location = /status {
        authgear_status;
    }
}
--- warn
authgear: "authgear_status" in location "/status" can be read by everybody; add "allow" and "deny", or have its server listen on 127.0.0.1 alone in nginx.conf:4

=== authgear_status: open through one of two listeners, in a nested location
server {
    listen 127.0.0.1:8080;
    listen 127.0.0.1:8081;
    listen [::]:8082;
    location /a/ {
        location = /a/status {
            authgear_status prometheus;
        }
    }
}
--- warn
authgear: "authgear_status" in location "/a/status" can be read by everybody; add "allow" and "deny", or have its server listen on 127.0.0.1 alone in nginx.conf:7

=== authgear_status: an open server beside the one on loopback
server {
    listen 8080;
    server_name a.example;
}
server {
    listen 127.0.0.1:8081;
    server_name b.example;
    location = /status { authgear_status; }
}
--- fine

=== authgear_status: behind allow and deny
server {
    listen 8080;
    location = /status {
        authgear_status;
        allow 10.0.0.0/8;
        deny all;
    }
}
--- fine

=== authgear_status: behind a deny of the server, which the location inherits
server {
    listen 8080;
    deny 192.0.2.1;
    location /a/ {
        location = /a/status { authgear_status; }
    }
}
--- fine

=== authgear_status: where no client can ask
server {
    listen 8080;
    location = /status {
        internal;
        authgear_status;
    }
}
--- fine
