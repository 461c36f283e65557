# Cookies whose names carry the project's prefix.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear args => ['--cookie-prefix', 'my-'];
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver qw(:DEFAULT outcome);

use strict;
use warnings;

sub prefixed {
    my ($session, $app) = (session(user => 'session'), session(user => 'app', kind => 'app'));
    my ($jwt, $opaque) = (token(user => 'jwt'), token(user => 'opaque', kind => 'opaque'));
    is(outcome('GET /required', cookie('my-session' => $session)), '200 ok session resolver asked 1', 'my-session');
    is(outcome('GET /required', cookie('my-app_session' => $app)), '200 ok app resolver asked 1', 'my-app_session');
    is(outcome('GET /required', cookie('my-app_access_token' => $jwt)), '200 ok jwt jwt asked 0',
        'a JWT in my-app_access_token');
    is(outcome('GET /required', cookie('my-app_access_token' => $opaque)), '200 ok opaque resolver asked 1',
        'an opaque token in my-app_access_token');
    for my $name (qw(session app_session app_access_token My-session xmy-session)) {
        is(outcome('GET /required', cookie($name => $session)), '401 no_credential - none asked 0',
            "$name is not looked at");
    }
    my $answer = ask('GET /required', cookie('my-session' => 'dead'));
    like(header($answer, 'Set-Cookie'), qr/^my-session=;/, 'a dead one is cleared by its name');
}

run_tests();

__DATA__

=== TEST 1: cookie_prefix
--- project
resolve_request /_authgear/resolve;
cookie_prefix my-;
--- config
include $TEST_NGINX_RESOLVER;
location = /required {
    authgear_verify myapp;
    add_header X-Reason $authgear_reason always;
    add_header X-User $authgear_user_id always;
    add_header X-Source $authgear_source always;
    proxy_pass $TEST_NGINX_ECHO;
}
--- check: prefixed
