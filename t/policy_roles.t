# A role is one element of the token's array, whatever it holds; the resolver's header is all there is of a
# session's roles, and a comma separates them there.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict);
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my %roles = (one => ['x,admin'], both => ['x', 'admin'], parts => ['x,admin', 'admin,y', ',admin,']);

sub roles_with_commas {
    for my $name (sort keys %roles) {
        my $admin = grep { $_ eq 'admin' } @{ $roles{$name} };
        my $jwt = token(user => { id => $name, roles => $roles{$name} });
        is(verdict(ask('GET /admin', "Authorization: Bearer $jwt")), $admin ? "200 $name" : 403,
            "$name, by a JWT");
        is(verdict(ask('GET /admin', "Cookie: app_access_token=$jwt")), $admin ? "200 $name" : 403,
            "$name, by a JWT in a cookie");
        is(verdict(ask('GET /x', "Authorization: Bearer $jwt")),
            (grep { $_ eq 'x' } @{ $roles{$name} }) ? "200 $name" : 403, "$name, for the other role");
        is(verdict(ask('GET /resolved', cookie(session => session(user => $name)))), "200 $name",
            "$name, by a session");
    }
}

run_tests();

__DATA__

=== TEST 1: a role that holds a comma
--- http_config
authgear_project myapp { endpoint $TEST_NGINX_AUTHGEAR; }
authgear_project resolved { endpoint $TEST_NGINX_AUTHGEAR; resolve_request /_authgear/resolve; }
--- config
include $TEST_NGINX_RESOLVER;
location = /admin {
    authgear_verify myapp;
    authgear_require_role admin;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /resolved {
    authgear_verify resolved;
    authgear_require_role admin;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /x {
    authgear_verify myapp;
    authgear_require_role x;
    proxy_pass $TEST_NGINX_ECHO;
}
--- check: roles_with_commas
