# authgear_verify with several projects: a verdict holds for the location that made it
# alone.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Verify;

use strict;
use warnings;

sub two_projects {
    verdicts('two projects side by side',
        ['/required', good => '200 alice'], ['/required', theirs => 401],
        ['/other', theirs => '200 alice'], ['/other', good => 401]);
    is(header(ask('GET /other', $good), 'X-Reason'), 'unknown_key', 'a token of one in the other: unknown_key');
    is(header(ask('GET /required', $theirs), 'X-Reason'), 'unknown_key', 'and the other way round');
    is(header(ask('GET /other'), 'WWW-Authenticate'), 'Bearer realm="other"',
        'the challenge names the project of the location');
}

# One token, judged by the rules of each location in turn.
sub no_shared_verdict {
    my $late = bearer(user => 'alice', expires_in => -20);
    my $web = bearer(user => 'alice', client_id => 'web');
    my $api = bearer(user => 'alice', audience => [standin()->{http}, 'https://api.example.com']);
    my $id = bearer(user => 'alice', kind => 'id', client_id => 'web');
    my $m2m = bearer(kind => 'm2m', client_id => 'web', audience => [standin()->{http}]);
    my $issuer = bearer(user => 'alice', claims => { iss => 'https://issuer.example.com' });

    # the token, and what each project says of it
    my @rows = (
        [leeway => $late, lenient => 'ok', myapp => 'expired'],
        [client_id => $web, web => 'ok', native => 'bad_client', myapp => 'ok'],
        [audience => $api, api => 'ok', myapp => 'ok', native => 'bad_client', elsewhere => 'bad_audience'],
        [audience => $web, api => 'bad_audience', myapp => 'ok'],
        [typ => $id, untyped => 'ok', myapp => 'bad_type'],
        [token_type => $m2m, any => 'ok', myapp => 'bad_type', clients => 'ok'],
        [token_type => $web, any => 'ok', myapp => 'ok', clients => 'bad_type'],
        [issuer => $issuer, issued => 'ok', myapp => 'bad_issuer'],
        [algorithms => $web, es => 'unsupported_algorithm', myapp => 'ok'],
    );
    for my $row (@rows) {
        my ($rule, $token, %reason) = @$row;
        my $client = connection();
        for my $round (1 .. 2) {
            for my $project (sort keys %reason) {
                $client->request("GET /by-name?project=$project", $token);
                my $answer = $client->answer;
                is(header($answer, 'X-Reason'), $reason{$project},
                    "$rule, round $round on one connection: $reason{$project} in project $project");
                is($answer->{status}, $reason{$project} eq 'ok' ? 200 : 401, 'and its status');
            }
        }
    }

    verdicts('internal redirects are judged by the rules of where they lead',
        ['/redirect-strict', good => 401], ['/redirect-strict', none => 401]);
    my $answer = ask('GET /lenient-then-strict', $late);
    is($answer->{status} . ' ' . header($answer, 'X-Reason'), '401 expired',
        'accepted in one location, an internal redirect into a stricter one: refused there');
    is_deeply(echoed_authgear(ask('GET /lenient-then-observed', $late)), ['X-Authgear-Session-Valid: false'],
        'and where that one observes, the identity is taken back');
    is_deeply(echoed_authgear(ask('GET /lenient-then-variable-off', $late)), [],
        'and where that one is off by its variable, none is passed on');
}

run_tests();

__DATA__

=== TEST 1: authgear_verify with several projects
--- check
two_projects
no_shared_verdict
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project other {
    endpoint $TEST_NGINX_OTHER;
}
authgear_project lenient {
    endpoint $TEST_NGINX_AUTHGEAR;
    leeway 60s;
}
authgear_project web {
    endpoint $TEST_NGINX_AUTHGEAR;
    client_id spa web;
}
authgear_project native {
    endpoint $TEST_NGINX_AUTHGEAR;
    client_id native;
}
authgear_project api {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://api.example.com;
}
authgear_project elsewhere {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://elsewhere.example.com;
}
authgear_project untyped {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience web;
    typ off;
}
authgear_project any {
    endpoint $TEST_NGINX_AUTHGEAR;
    token_type any;
}
authgear_project clients {
    endpoint $TEST_NGINX_AUTHGEAR;
    token_type client;
}
authgear_project issued {
    endpoint $TEST_NGINX_AUTHGEAR;
    issuer https://issuer.example.com;
}
authgear_project es {
    endpoint $TEST_NGINX_AUTHGEAR;
    algorithms ES256;
}
authgear_verify myapp;
add_header X-Reason $authgear_reason always;
--- config
$TEST_NGINX_MODES
location = /other {
    authgear_verify other;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /variable {
    authgear_verify $arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /by-name {
    authgear_verify $arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}

location = /redirect-strict {
    authgear_verify myapp observe;
    try_files /no-such-file /other;
}
location = /lenient-then-strict {
    authgear_verify lenient;
    try_files /no-such-file /required;
}
location = /lenient-then-observed {
    authgear_verify lenient;
    try_files /no-such-file /observe;
}
location = /lenient-then-variable-off {
    authgear_verify lenient;
    try_files /no-such-file /variable;
}
