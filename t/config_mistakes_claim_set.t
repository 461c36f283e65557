# Messages of `nginx -t` about authgear_claim_set.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

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

=== authgear_claim_set: no variable's name
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
