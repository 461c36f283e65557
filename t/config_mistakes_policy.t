# What `nginx -t` says of mistakes in who of the verified may pass, and of every
# directive at every level.

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
authgear: "authgear_require" must have "error=401" or "error=403" once, behind its values in nginx.conf:2

=== authgear_require: two statuses
server {
    authgear_require $arg_a error=401 error=403;
}
--- emerg
authgear: "authgear_require" must have "error=401" or "error=403" once, behind its values in nginx.conf:2

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

=== authgear_require: where nobody is verified
server {
    location / {
        authgear_require $arg_a;
    }
}
--- emerg
authgear: "authgear_require" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

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

=== authgear_require_role: where nobody is verified
server {
    location / {
        authgear_require_role admin;
    }
}
--- emerg
authgear: "authgear_require_role" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_role: where authgear_verify is off
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
authgear: "authgear_require_role" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:8

=== authgear_require_role: where nobody is verified, in an if
server {
    location / {
        if ($arg_x) {
            authgear_require_role admin;
        }
    }
}
--- emerg
authgear: "authgear_require_role" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:4

=== authgear_require_role: where nobody is verified, in a limit_except
server {
    location / {
        limit_except GET {
            authgear_require_role admin;
        }
    }
}
--- emerg
authgear: "authgear_require_role" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:4

=== authgear_require_role: where nobody is verified, in a named location
server {
    location @a {
        authgear_require_role admin;
    }
}
--- emerg
authgear: "authgear_require_role" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

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
authgear: "authgear_require_role" is not asked in location "/", since nobody is verified there; add "authgear_verify myapp;", or "authgear_verify off;" if that is meant in nginx.conf:5

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
authgear: "authgear_require_role" is not asked in location "/", since nobody is verified there; add "authgear_verify myapp;", or "authgear_verify off;" if that is meant in nginx.conf:6

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

=== authgear_require_scope: a blank
server {
    authgear_require_scope "read write";
}
--- emerg
authgear: "authgear_require_scope" has a scope that no token can hold, "read write"; separate scopes by spaces, and all of them are needed in nginx.conf:2

=== authgear_require_scope: a quote
server {
    authgear_require_scope 'read"all';
}
--- emerg
authgear: "authgear_require_scope" has a scope that no token can hold, "read"all"; separate scopes by spaces, and all of them are needed in nginx.conf:2

=== authgear_require_scope: a backslash
server {
    authgear_require_scope 'read\\all';
}
--- emerg
authgear: "authgear_require_scope" has a scope that no token can hold, "read\all"; separate scopes by spaces, and all of them are needed in nginx.conf:2

=== authgear_require_scope: not ASCII
server {
    authgear_require_scope lesen:ü;
}
--- emerg
authgear: "authgear_require_scope" has a scope that no token can hold, "lesen:ü"; separate scopes by spaces, and all of them are needed in nginx.conf:2

=== authgear_require_scope: empty
server {
    authgear_require_scope "";
}
--- emerg
authgear: "authgear_require_scope" has an empty parameter, which no token can match in nginx.conf:2

=== authgear_require_scope: a variable
server {
    authgear_require_scope $arg_scope;
}
--- emerg
authgear: "authgear_require_scope" cannot hold variables, as "$arg_scope" does in nginx.conf:2

=== authgear_require_scope: off and another
server {
    authgear_require_scope off read;
}
--- emerg
authgear: "authgear_require_scope" is "off" and something else; remove one in nginx.conf:2

=== authgear_require_scope: twice
server {
    authgear_require_scope read;
    authgear_require_scope write;
}
--- emerg
authgear: "authgear_require_scope" is duplicate in nginx.conf:3

=== authgear_require_scope: where nobody is verified
server {
    location / {
        authgear_require_scope read;
    }
}
--- emerg
authgear: "authgear_require_scope" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_scope: every character that a scope may hold
server {
    authgear_require_scope "!#&'()*+,-./09:;<=>?@AZ[]^_`az{|}~";
}
--- fine

=== authgear_require_auth_age: no time
server {
    authgear_require_auth_age soon;
}
--- emerg
authgear: "authgear_require_auth_age" has an invalid time "soon"; write it as "30s", "5m" or "1h" in nginx.conf:2

=== authgear_require_auth_age: parts of a second
server {
    authgear_require_auth_age 500ms;
}
--- emerg
authgear: "authgear_require_auth_age" has an invalid time "500ms"; write it as "30s", "5m" or "1h" in nginx.conf:2

=== authgear_require_auth_age: 0
server {
    authgear_require_auth_age 0;
}
--- emerg
authgear: "authgear_require_auth_age" must be more than 0 in nginx.conf:2

=== authgear_require_auth_age: negative
server {
    authgear_require_auth_age -5m;
}
--- emerg
authgear: "authgear_require_auth_age" has an invalid time "-5m"; write it as "30s", "5m" or "1h" in nginx.conf:2

=== authgear_require_auth_age: a variable
server {
    authgear_require_auth_age $arg_age;
}
--- emerg
authgear: "authgear_require_auth_age" has an invalid time "$arg_age"; write it as "30s", "5m" or "1h" in nginx.conf:2

=== authgear_require_auth_age: more than there is
server {
    authgear_require_auth_age 99999999999999999999s;
}
--- emerg
authgear: "authgear_require_auth_age" has an invalid time "99999999999999999999s"; write it as "30s", "5m" or "1h" in nginx.conf:2

=== authgear_require_auth_age: two times
server {
    authgear_require_auth_age 5m 10m;
}
--- emerg
authgear: "authgear_require_auth_age" takes one time, not 2 parameters in nginx.conf:2

=== authgear_require_auth_age: twice
server {
    authgear_require_auth_age 5m;
    authgear_require_auth_age off;
}
--- emerg
authgear: "authgear_require_auth_age" is duplicate in nginx.conf:3

=== authgear_require_auth_age: where nobody is verified
server {
    location / {
        authgear_require_auth_age 5m;
    }
}
--- emerg
authgear: "authgear_require_auth_age" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_auth_age: of clients
authgear_project a {
    endpoint https://a.example;
    token_type client;
}
server {
    location / {
        authgear_verify a;
        authgear_require_auth_age 5m;
    }
}
--- emerg
authgear: "authgear_verify" names the project "a" of "token_type client", but "authgear_require_auth_age" asks for what only users have; remove one in nginx.conf:7

=== authgear_audience: empty
server {
    authgear_audience "";
}
--- emerg
authgear: "authgear_audience" has an empty parameter, which no token can match in nginx.conf:2

=== authgear_audience: a variable
server {
    authgear_audience https://$host;
}
--- emerg
authgear: "authgear_audience" cannot hold variables, as "https://$host" does in nginx.conf:2

=== authgear_audience: off and another
server {
    authgear_audience off https://api.example;
}
--- emerg
authgear: "authgear_audience" is "off" and something else; remove one in nginx.conf:2

=== authgear_audience: twice
server {
    authgear_audience https://one.example;
    authgear_audience https://two.example;
}
--- emerg
authgear: "authgear_audience" is duplicate in nginx.conf:3

=== authgear_audience: where nobody is verified
server {
    location / {
        authgear_audience https://api.example;
    }
}
--- emerg
authgear: "authgear_audience" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_claim_set: without a variable
server {
    authgear_claim_set plan;
}
--- emerg
authgear: "authgear_claim_set" must begin with a variable, not "plan"; write "authgear_claim_set $plan https://example.com/claims plan;" in nginx.conf:2

=== authgear_claim_set: without a claim
server {
    authgear_claim_set $plan;
}
--- emerg
authgear: "authgear_claim_set" has no claim for "$plan"; write "authgear_claim_set $plan https://example.com/claims plan;" in nginx.conf:2

=== authgear_claim_set: what no variable is called
server {
    authgear_claim_set $my-plan plan;
}
--- emerg
authgear: "authgear_claim_set" must begin with a variable, not "$my-plan"; write "authgear_claim_set $plan https://example.com/claims plan;" in nginx.conf:2

=== authgear_claim_set: a part of a regular expression
server {
    authgear_claim_set $1 plan;
}
--- emerg
authgear: "authgear_claim_set" must begin with a variable, not "$1"; write "authgear_claim_set $plan https://example.com/claims plan;" in nginx.conf:2

=== authgear_claim_set: an empty step
server {
    authgear_claim_set $plan claims "";
}
--- emerg
authgear: "authgear_claim_set" has an empty parameter, which no token can match in nginx.conf:2

=== authgear_claim_set: a variable for a step
server {
    authgear_claim_set $plan $arg_claim;
}
--- emerg
authgear: "authgear_claim_set" cannot hold variables, as "$arg_claim" does in nginx.conf:2

=== authgear_claim_set: a variable twice
server {
    authgear_claim_set $plan a;
    authgear_claim_set $Plan b;
}
--- emerg
authgear: "authgear_claim_set" sets "$Plan" twice; remove one in nginx.conf:3

=== authgear_claim_set: off
server {
    authgear_claim_set off;
}
--- emerg
authgear: "authgear_claim_set" must begin with a variable, not "off"; write "authgear_claim_set $plan https://example.com/claims plan;" in nginx.conf:2

=== authgear_claim_set: a variable of this module
server {
    authgear_claim_set $authgear_user_id sub;
}
--- emerg
authgear: "authgear_claim_set" cannot set "$authgear_user_id": names that begin with "authgear_" are this module's own; rename it in nginx.conf:2

=== authgear_claim_set: a variable of this module's for claims
server {
    authgear_claim_set $authgear_claim_plan plan;
}
--- emerg
authgear: "authgear_claim_set" cannot set "$authgear_claim_plan": names that begin with "authgear_" are this module's own; rename it in nginx.conf:2

=== authgear_claim_set: a variable of nginx
server {
    authgear_claim_set $host plan;
}
--- emerg
the duplicate "host" variable in nginx.conf:2

=== authgear_claim_set: a variable of nginx that can be set
server {
    authgear_claim_set $limit_rate plan;
}
--- emerg
authgear: "authgear_claim_set" cannot set "$limit_rate", which another directive sets; rename it in nginx.conf:2

=== authgear_claim_set: a variable that map sets above
map $host $plan {
    default free;
}
server {
    authgear_claim_set $plan plan;
}
--- emerg
authgear: "authgear_claim_set" cannot set "$plan", which another directive sets; rename it in nginx.conf:5

=== authgear_claim_set: a variable that set sets above
server {
    set $plan free;
    authgear_claim_set $plan plan;
}
--- emerg
authgear: "authgear_claim_set" cannot set "$plan", which another directive sets; rename it in nginx.conf:3

=== authgear_claim_set: a variable that a regular expression sets
server {
    location ~ ^/(?<plan>.*)$ {
        authgear_claim_set $plan plan;
    }
}
--- emerg
authgear: "authgear_claim_set" cannot set "$plan", which another directive sets; rename it in nginx.conf:3

=== authgear_claim_set: a variable that map sets below
server {
    authgear_claim_set $plan plan;
}
map $host $plan {
    default free;
}
--- emerg
the duplicate "plan" variable in nginx.conf:4

=== authgear_claim_set: a variable that set sets below
server {
    authgear_claim_set $Plan plan;
    location / {
        set $plan free;
    }
}
--- emerg
the duplicate "plan" variable in nginx.conf:4

=== authgear_claim_set: one variable, set to one claim here and to another there
server {
    location /a {
        authgear_claim_set $plan plan;
    }
    location /b {
        authgear_claim_set $plan https://example.com/claims plan;
    }
}
--- fine

=== every directive at every level
authgear_project a {
    endpoint https://a.example;
    token_type any;
}
authgear_verify a;
authgear_token $arg_access_token $cookie_token "Bearer $http_x_token";
authgear_audience https://a.example https://api.example;
authgear_require $plan;
authgear_require "$arg_a$arg_b" $http_x error=401;
authgear_require_role admin "two words";
authgear_require_scope read:all write:all;
authgear_require_auth_age 1h30m;
authgear_claim_set $plan https://example.com/claims plan "a b" 0;
authgear_realm 'my "app" \\ here';
authgear_resource_metadata https://api.example/m?x=1;
authgear_bypass_preflight on;
server {
    authgear_token off;
    authgear_audience off;
    authgear_require off;
    authgear_require_role off;
    authgear_require_scope off;
    authgear_require_auth_age off;
    authgear_claim_set $plan plan;
    authgear_realm off;
    authgear_resource_metadata off;
    authgear_bypass_preflight off;
    location / {
        authgear_require $plan error=403;
        if ($arg_x) {
            authgear_require_role admin;
            authgear_token $arg_token;
        }
        limit_except GET {
            authgear_require_scope write:all;
            authgear_audience https://write.example;
        }
    }
}
--- fine
