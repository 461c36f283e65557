# Messages of `nginx -t` about authgear_require_scope, authgear_require_auth_age and
# authgear_audience, and about every directive at every level.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

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

=== authgear_require_scope: nobody is verified
server {
    location / {
        authgear_require_scope read;
    }
}
--- emerg
authgear: "authgear_require_scope" has no effect, since "authgear_verify" is not in force here; add "authgear_verify myapp;" in nginx.conf:3

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

=== authgear_require_auth_age: nobody is verified
server {
    location / {
        authgear_require_auth_age 5m;
    }
}
--- emerg
authgear: "authgear_require_auth_age" has no effect, since "authgear_verify" is not in force here; add "authgear_verify myapp;" in nginx.conf:3

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

=== authgear_audience: nobody is verified
server {
    location / {
        authgear_audience https://api.example;
    }
}
--- emerg
authgear: "authgear_audience" has no effect, since "authgear_verify" is not in force here; add "authgear_verify myapp;" in nginx.conf:3

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
