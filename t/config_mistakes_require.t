# Messages of `nginx -t` about authgear_require and authgear_require_role.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

=== authgear_require: text in place of a variable
server {
    authgear_require admin;
}
--- emerg
authgear: "authgear_require" must hold variables, such as "$authgear_claim_department", and "admin" is none in nginx.conf:2

=== authgear_require: empty
server {
    authgear_require "";
}
--- emerg
authgear: "authgear_require" must hold variables, such as "$authgear_claim_department", and "" is none in nginx.conf:2

=== authgear_require: a $ without a name at the end
server {
    authgear_require $host$;
}
--- emerg
invalid variable name in nginx.conf:2

=== authgear_require: another status
server {
    authgear_require $arg_a error=400;
}
--- emerg
authgear: "authgear_require" must have "error=401" or "error=403", not "error=400" in nginx.conf:2

=== authgear_require: a status and no value
server {
    authgear_require error=401;
}
--- emerg
authgear: "authgear_require" has no value; write "authgear_require $value error=401;" in nginx.conf:2

=== authgear_require: the status before the value
server {
    authgear_require error=401 $arg_a;
}
--- emerg
authgear: "authgear_require" takes "error=401" or "error=403" once, after its values in nginx.conf:2

=== authgear_require: two statuses
server {
    authgear_require $arg_a error=401 error=403;
}
--- emerg
authgear: "authgear_require" takes "error=401" or "error=403" once, after its values in nginx.conf:2

=== authgear_require: off behind a value
server {
    authgear_require $arg_a;
    authgear_require off;
}
--- emerg
authgear: "authgear_require" is "off" and something else; remove one in nginx.conf:3

=== authgear_require: a value behind off
server {
    authgear_require off;
    authgear_require $arg_a;
}
--- emerg
authgear: "authgear_require" is "off" and something else; remove one in nginx.conf:3

=== authgear_require: off among values
server {
    authgear_require $arg_a off;
}
--- emerg
authgear: "authgear_require" is "off" and something else; remove one in nginx.conf:2

=== authgear_require: off twice
server {
    authgear_require off;
    authgear_require off;
}
--- emerg
authgear: "authgear_require" is duplicate in nginx.conf:3

=== authgear_require: an unknown variable
server {
    authgear_require $nosuch;
}
--- emerg
unknown "nosuch" variable

=== authgear_require: without a value
server {
    authgear_require;
}
--- emerg
invalid number of arguments in "authgear_require" directive in nginx.conf:2

=== authgear_require: in an if of a server
server {
    if ($arg_x) {
        authgear_require $arg_a;
    }
}
--- emerg
"authgear_require" directive is not allowed here in nginx.conf:3

=== authgear_require: nobody is verified
server {
    location / {
        authgear_require $arg_a;
    }
}
--- emerg
authgear: "authgear_require" has no effect, since "authgear_verify" is not in force here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_role: a comma
server {
    authgear_require_role admin,owner;
}
--- emerg
authgear: "authgear_require_role" has a role with a comma, "admin,owner"; separate roles by spaces, and any of them is enough in nginx.conf:2

=== authgear_require_role: a control character
server {
    authgear_require_role "ad	min";
}
--- emerg
authgear: "authgear_require_role" has a role with a control character, "ad\tmin", which no token can hold in nginx.conf:2

=== authgear_require_role: empty
server {
    authgear_require_role admin "";
}
--- emerg
authgear: "authgear_require_role" has an empty parameter, which no token can match in nginx.conf:2

=== authgear_require_role: a variable
server {
    authgear_require_role $arg_role;
}
--- emerg
authgear: "authgear_require_role" cannot hold variables, as "$arg_role" does in nginx.conf:2

=== authgear_require_role: off and another
server {
    authgear_require_role admin off;
}
--- emerg
authgear: "authgear_require_role" is "off" and something else; remove one in nginx.conf:2

=== authgear_require_role: twice
server {
    authgear_require_role admin;
    authgear_require_role owner;
}
--- emerg
authgear: "authgear_require_role" is duplicate in nginx.conf:3

=== authgear_require_role: without a role
server {
    authgear_require_role;
}
--- emerg
invalid number of arguments in "authgear_require_role" directive in nginx.conf:2

=== authgear_require_role: nobody is verified
server {
    location / {
        authgear_require_role admin;
    }
}
--- emerg
authgear: "authgear_require_role" has no effect, since "authgear_verify" is not in force here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_role: authgear_verify is off
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a;
    location / {
        authgear_verify off;
        authgear_require_role admin;
    }
}
--- emerg
authgear: "authgear_require_role" has no effect, since "authgear_verify" is not in force here; add "authgear_verify myapp;" in nginx.conf:8

=== authgear_require_role: nobody is verified, in an if
server {
    location / {
        if ($arg_x) {
            authgear_require_role admin;
        }
    }
}
--- emerg
authgear: "authgear_require_role" has no effect, since "authgear_verify" is not in force here; add "authgear_verify myapp;" in nginx.conf:4

=== authgear_require_role: nobody is verified, in a limit_except
server {
    location / {
        limit_except GET {
            authgear_require_role admin;
        }
    }
}
--- emerg
authgear: "authgear_require_role" has no effect, since "authgear_verify" is not in force here; add "authgear_verify myapp;" in nginx.conf:4

=== authgear_require_role: nobody is verified, in a named location
server {
    location @a {
        authgear_require_role admin;
    }
}
--- emerg
authgear: "authgear_require_role" has no effect, since "authgear_verify" is not in force here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_role: of a server, and a location where nobody is verified
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_require_role admin;
    location / {
    }
    location /a {
        authgear_verify a;
    }
}
--- warn
authgear: "authgear_require_role" has no effect in location "/", since "authgear_verify" is not in force there; add "authgear_verify myapp;", or "authgear_verify off;" if that is meant in nginx.conf:5

=== authgear_require_role: of a location that verifies nobody itself
authgear_project a {
    endpoint https://a.example;
}
server {
    location / {
        authgear_require_role admin;
        location /a {
            authgear_verify a;
        }
    }
}
--- warn
authgear: "authgear_require_role" has no effect in location "/", since "authgear_verify" is not in force there; add "authgear_verify myapp;", or "authgear_verify off;" if that is meant in nginx.conf:6

=== authgear_require_role: of a server, and all that is open says so
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_require_role admin;
    location / {
        authgear_verify a;
    }
    location /public {
        authgear_verify off;
    }
    location /free {
        authgear_require_role off;
    }
    location /internal {
        internal;
    }
    location @named {
    }
}
--- fine

=== authgear_require_role: of clients
authgear_project a {
    endpoint https://a.example;
    token_type client;
}
server {
    authgear_require_role admin;
    location / {
        authgear_verify a;
    }
}
--- emerg
authgear: "authgear_verify" names the project "a" of "token_type client", but "authgear_require_role" asks for what only users have; remove one in nginx.conf:8

=== authgear_require_role: of clients, taken back
authgear_project a {
    endpoint https://a.example;
    token_type client;
}
server {
    authgear_require_role admin;
    location / {
        authgear_verify a;
        authgear_require_role off;
    }
}
--- fine
