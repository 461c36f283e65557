# The server of 2026-08 says no amr of any session, though the JWT of the same login does; others may say it. So a
# rule on amr is met by JWTs alone, which fails closed.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my %login = (user => 'alice', amr => [qw(pwd mfa)]);
my %session = (
    'a session' => cookie(session => session(%login)),
    'an app session' => cookie(app_session => session(%login, kind => 'app')),
    'an opaque token' => 'Authorization: Bearer ' . token(%login, kind => 'opaque'),
);

# A caller's amr in the backend's header and in the variable, and the rule's verdict.
sub amr_of {
    my ($header) = @_;
    my $answer = ask('GET /', $header);
    my @told = map { s/^X-Authgear-Session-Amr: ?//r }
        grep {/^X-Authgear-Session-Amr/} @{ echoed_authgear($answer) };
    return [\@told, header($answer, 'X-Amr') // '', ask('GET /mfa', $header)->{status}];
}

my ($says, $says_nothing) = ([['pwd mfa'], 'pwd mfa', 200], [[], '', 403]);

sub jwt { is_deeply(amr_of(bearer(%login)), $says, 'a JWT says the amr') }

sub sessions_without {
    jwt();
    is_deeply(amr_of($session{$_}), $says_nothing, "of $_ nothing is known") for sort keys %session;
}

sub sessions_with {
    jwt();
    is_deeply(amr_of($session{$_}), $says, "of $_ as well") for sort keys %session;
}

our $config = <<'END';
include $TEST_NGINX_RESOLVER;
location / {
    authgear_verify myapp;
    add_header X-Amr $authgear_session_amr always;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /mfa {
    authgear_verify myapp;
    authgear_require $mfa;
    proxy_pass $TEST_NGINX_ECHO;
}
END
our $http = <<'END';
authgear_project myapp { endpoint $TEST_NGINX_AUTHGEAR; resolve_request /_authgear/resolve; }
map $authgear_session_amr $mfa { default 0; "~(^| )mfa( |$)" 1; }
END

run_tests();

__DATA__

=== TEST 1: the server of 2026-08
--- check: sessions_without
--- http_config eval: $::http
--- config eval: $::config

=== TEST 2: a server whose resolver says the amr
--- control
PUT /-/resolver {"amr": true}
--- check: sessions_with
--- http_config eval: $::http
--- config eval: $::config
