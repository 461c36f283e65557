# Messages of `nginx -t` about authgear_verify, and about an unknown directive.

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

=== authgear_verify: a $ without a name at the end, behind which nginx looks
server {
    authgear_verify $;
}
--- emerg
invalid variable name in nginx.conf:2

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

=== a directive that there is not
server {
    authgear_require_roles admin;
}
--- emerg
unknown directive "authgear_require_roles" in nginx.conf:2
