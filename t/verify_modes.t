# authgear_verify: its modes and its variable.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Verify;

use strict;
use warnings;

my $challenge = 'Bearer realm="myapp"';
my $expired = qq{$challenge, error="invalid_token", error_description="the access token expired"};

sub modes {
    verdicts('required',
        ['/required', none => 401], ['/required', good => '200 alice'], ['/required', bad => 401],
        ['/required', both => 400], ['/required', basic => 401]);
    verdicts('required is the default',
        ['/default', none => 401], ['/default', good => '200 alice'], ['/default', bad => 401]);
    verdicts('optional',
        ['/optional', none => '200 nobody'], ['/optional', good => '200 alice'],
        ['/optional', bad => 401], ['/optional', both => 400], ['/optional', basic => '200 nobody']);
    verdicts('observe',
        ['/observe', none => '200 nobody'], ['/observe', good => '200 alice'],
        ['/observe', bad => '200 refused'],
        ['/observe', basic => '200 nobody']);
    verdicts('off', map { ['/off', $_ => '200 nobody'] } qw(none good bad basic theirs));

    # reason and challenge
    for my $row (
        ['/required', none => 'no_credential', $challenge],
        ['/required', basic => 'no_credential', $challenge],
        ['/required', bad => 'expired', $expired],
        ['/required', good => 'ok', undef],
        ['/optional', none => 'no_credential', undef],
        ['/optional', bad => 'expired', $expired],
        ['/observe', none => 'no_credential', undef],
        ['/observe', bad => 'expired', undef],
        ['/observe', good => 'ok', undef],
        ['/off', bad => undef, undef],
        )
    {
        my ($path, $which, $reason, $challenged) = @$row;
        my $answer = ask("GET $path", @{ $credential{$which} });
        is(header($answer, 'X-Reason'), $reason, "$path, $which credential: the reason");
        is(header($answer, 'WWW-Authenticate'), $challenged, "$path, $which credential: the challenge");
    }
}

sub no_verdict_possible {
    verdicts('no keys can be had',
        ['/down-required', good => 503], ['/down-optional', good => 503],
        ['/down-observe', good => '200 nobody'],
        # A request without a credential needs no keys.
        ['/down-required', none => 401], ['/down-optional', none => '200 nobody'],
        ['/down-observe', none => '200 nobody']);
    for my $mode (qw(required optional)) {
        my $answer = ask("GET /down-$mode", $good);
        like(header($answer, 'Retry-After'), qr/\A[1-9]\d*\z/, "503 in $mode carries Retry-After");
        is(header($answer, 'WWW-Authenticate'), undef, "503 in $mode carries no challenge");
    }
}

sub by_variable {
    verdicts('a variable that names a project',
        ['/variable?project=myapp', none => 401], ['/variable?project=myapp', good => '200 alice'],
        ['/variable?project=myapp', bad => 401], ['/variable?project=myapp', theirs => 401],
        ['/variable?project=other', theirs => '200 alice'], ['/variable?project=other', good => 401],
        ['/mixed?project=app', good => '200 alice'], ['/mixed?project=app', bad => 401]);
    verdicts('its mode',
        ['/variable-optional?project=myapp', none => '200 nobody'],
        ['/variable-optional?project=myapp', bad => 401],
        ['/variable-observe?project=myapp', bad => '200 refused']);
    verdicts('a variable that is off or empty',
        map { my $which = $_; map { [$_, $which => '200 nobody'] }
            '/variable?project=off', '/variable?project=', '/variable', '/variable-optional' }
            qw(none good bad theirs));
    verdicts('a variable that names no project',
        map { my $path = $_; map { [$path, $_ => 500] } qw(none good bad) }
            '/variable?project=nosuch', '/variable-optional?project=nosuch2',
            '/variable-observe?project=nosuch3', '/variable?project=MYAPP', '/variable?project=OFF',
            '/variable?project=required', '/mixed?project=');
    verdicts('a variable that names no project leaves other requests alone',
        ['/variable?project=myapp', good => '200 alice']);

    my @log = log_lines('error.log', 1);
    for my $name (qw(nosuch nosuch2 nosuch3 MYAPP OFF required my)) {
        my @lines = grep {/\[(?:error|info)\].*authgear: .*"authgear_verify".*"\Q$name\E"/} @log;
        cmp_ok(scalar @lines, '>=', 3, "a log line for each request whose variable is \"$name\"");
    }
}

run_tests();

__DATA__

=== TEST 1: the modes of authgear_verify
--- check
modes
no_verdict_possible
by_variable
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project other {
    endpoint $TEST_NGINX_OTHER;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
authgear_verify myapp;
add_header X-Reason $authgear_reason always;
--- config
location = /default {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
$TEST_NGINX_MODES
location = /off {
    authgear_verify off;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /down-required {
    authgear_verify down;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /down-optional {
    authgear_verify down optional;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /down-observe {
    authgear_verify down observe;
    proxy_pass $TEST_NGINX_ECHO;
}

location = /variable {
    authgear_verify $arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /variable-optional {
    authgear_verify $arg_project optional;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /variable-observe {
    authgear_verify $arg_project observe;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /mixed {
    authgear_verify my$arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}
