# authgear_early beside mirror, limit_except, named locations and HTTP/3: each user's rate is that of the location in
# which a request ends, and the resolver is asked once.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Http3;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

$ENV{TEST_NGINX_HTTP3} = has_http3() ? http3_listen(port(1)) : '';
my ($mirror_port, $mirrored) = recorder();
$ENV{TEST_NGINX_MIRROR} = "http://127.0.0.1:$mirror_port";

# Nobody's rate comes back while the test runs, so each key is admitted once.
my $users = 0;

sub jwt { return 'Authorization: Bearer ' . token(user => $_[0]) }
sub by_cookie { return cookie(session => session(user => $_[0])) }
sub new_user { return 'user-' . ++$users . '-' . int rand 1e9 }
sub statuses { return join ' ', map { $_->{status} } @_ }

# 200, then 503, and another user is not affected; one question for a cookie.
sub has_a_rate {
    my ($line, $name) = @_;
    for my $kind (['a JWT', \&jwt, 0], ['a cookie', \&by_cookie, 1]) {
        my ($what, $credential, $questions) = @$kind;
        my ($user, $other) = (new_user(), new_user());
        my ($one, $others) = map { $credential->($_) } $user, $other;
        my $before = asked();
        my $answer = ask($line, $one);
        is("$answer->{status} " . (header($answer, 'X-User') // '-'), "200 $user", "$name: $what");
        is(asked() - $before, $questions, "$name: $what, questions");
        is(statuses(map { ask($line, $one) } 1, 2), '503 503', "$name: $what, again");
        is(statuses(ask($line, $others)), 200, "$name: $what of another user");
    }
}

sub mirrors {
    # The mirrored request has the limit too, which is one for each client request.
    for my $path (qw(/mirrored /mirrored-verified)) {
        has_a_rate("GET $path", $path);
    }
    my @mirrored = $mirrored->(8);
    is(scalar @mirrored, 8, 'what is admitted is mirrored, and nothing else');
    is(scalar(grep { header($_, 'X-Authgear-User-Id') } @mirrored), 8, 'with its user');
    is(statuses(ask('GET /mirrored', cookie(session => 'dead'))), 401, 'who is refused is not');
    is(statuses(ask('GET /mirrored-other', by_cookie(new_user()))), 200, 'a mirror that refuses is nothing to the client');
}

sub methods {
    has_a_rate('POST /methods', 'a method of limit_except');
    my $cookie = by_cookie(new_user());
    my $before = asked();
    is(statuses(map { ask('GET /methods', $cookie) } 1 .. 3), '200 200 200', 'other methods have no limit');
    is(asked() - $before, 0, 'and nobody is asked about them');
    $cookie = by_cookie(new_user());
    $before = asked();
    is(statuses(map { ask('POST /methods-off', $cookie) } 1 .. 2), '200 200', 'a method for which it is off: the limit does not know the user');
    is(asked() - $before, 2, 'who is asked about later');
    is(statuses(map { ask('GET /methods-off', $cookie) } 1 .. 2), '200 503', 'other methods have the limit');
    is(statuses(ask('POST /methods', cookie(session => 'dead'))), 401, 'a refusal in limit_except');
}

sub named_locations {
    has_a_rate("GET $_", $_) for qw(/to-named /to-named-twice /error-to-named);
    my $cookie = by_cookie(new_user());
    my $before = asked();
    is(statuses(map { ask('GET /both-limit', $cookie) } 1, 2), '200 503', 'a limit on both sides counts once');
    is(asked() - $before, 2, 'after one question for each request');
    is(statuses(ask('GET /to-named', cookie(session => 'dead'))), 401, 'a refusal in a named location');
    my $answer = ask('GET /refused-to-named', cookie(session => 'dead'));
    is("$answer->{status} $answer->{body}", "401 refused\n", 'a refusal that a named location shows');
}

sub over_http3 {
    return if !has_http3();
    my ($one, $other) = map { by_cookie($_) } new_user(), new_user();
    my $client = http3(port(1));
    my $before = asked();
    is(join(' ', map { $client->ask('GET /early', $one)->{status} } 1 .. 3), '200 503 503', 'HTTP/3: 200, then 503');
    is($client->ask('GET /early', $other)->{status}, 200, 'HTTP/3: another user');
    cmp_ok(asked() - $before, '>=', 2, 'HTTP/3: after questions');
    my $third = by_cookie(new_user());
    my @answers = $client->ask_all(map { ['GET /early', $third] } 1 .. 5);
    is(scalar(grep { $_->{status} == 200 } @answers), 1, 'HTTP/3: one of five streams at once');
    is($client->ask('GET /early', cookie(session => 'dead'))->{status}, 401, 'HTTP/3: a refusal');
    is($client->ask('POST /methods', by_cookie(new_user()), \'text')->{status}, 200, 'HTTP/3: a body');
}

run_tests();

__DATA__

=== TEST 1: authgear_early beside other modules
--- check
mirrors
methods
named_locations
over_http3
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
limit_req_zone $authgear_user_id zone=users:1m rate=1r/m;
--- config
$TEST_NGINX_HTTP3
include $TEST_NGINX_RESOLVER;
add_header X-User $authgear_user_id always;
authgear_early on;
authgear_verify myapp;
location = /early { limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location = /mirrored { limit_req zone=users; mirror /mirror; proxy_pass $TEST_NGINX_ECHO; }
location = /mirrored-verified { limit_req zone=users; mirror /mirror-verified; proxy_pass $TEST_NGINX_ECHO; }
location = /mirrored-other { limit_req zone=users; mirror /mirror-other; proxy_pass $TEST_NGINX_ECHO; }
location = /mirror { internal; authgear_verify off; limit_req zone=users; proxy_pass $TEST_NGINX_MIRROR; }
location = /mirror-verified { internal; limit_req zone=users; proxy_pass $TEST_NGINX_MIRROR; }
location = /mirror-other { internal; authgear_require_role admin; proxy_pass $TEST_NGINX_MIRROR; }
location = /methods {
    authgear_verify off;
    limit_req zone=users;
    limit_except GET { authgear_verify myapp; }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /methods-off {
    limit_req zone=users;
    limit_except GET { authgear_early off; }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /to-named { authgear_verify off; try_files /none @named; }
location = /to-named-twice { authgear_verify off; try_files /none @first; }
location = /error-to-named { authgear_verify off; error_page 418 = @named; return 418; }
location = /both-limit { limit_req zone=users; try_files /none @named; }
location = /refused-to-named { error_page 401 @refused; proxy_pass $TEST_NGINX_ECHO; }
location @named { limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location @first { try_files /none @named; }
location @refused { authgear_verify off; default_type text/plain; return 401 "refused\n"; }
