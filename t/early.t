# authgear_early: the caller is known where nginx limits, however it is identified, and is judged once. Refusals stay in
# the access phase.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Http2;
use Test::Nginx::Authgear::Resolver;
use Time::HiRes qw(sleep);

use strict;
use warnings;

$ENV{TEST_NGINX_WHOLE_PORT} = port(2);
$ENV{TEST_NGINX_H2} = http2_listen(port(1));
my ($held_port, $held) = held();
$ENV{TEST_NGINX_HELD} = "http://127.0.0.1:$held_port";

# Nobody's rate comes back while the test runs, so each key is admitted once.
my $users = 0;

sub jwt { return 'Authorization: Bearer ' . token(user => $_[0]) }
sub opaque { return 'Authorization: Bearer ' . token(kind => 'opaque', user => $_[0]) }
sub by_cookie { return cookie(session => session(user => $_[0])) }
sub nobody { return cookie(session => 'made-up-' . rand) }
sub new_user { return 'user-' . ++$users . '-' . int rand 1e9 }

# The questions of the address that ended without a yes count for a second.
sub later { sleep 1.1 }

sub statuses { return join ' ', map { $_->{status} } @_ }
sub told { my ($answer) = @_; return join ' ', $answer->{status}, map { header($answer, "X-$_") // '-' } qw(User Reason Source) }

sub a_rate_for_each_user {
    for my $kind (['a JWT', \&jwt], ['an opaque token', \&opaque], ['a cookie', \&by_cookie]) {
        my ($name, $credential) = @$kind;
        for my $path (qw(/early /optional /observe /redirected /paged /satisfied /checked /tried)) {
            my ($one, $other) = map { $credential->($_) } new_user(), new_user();
            is(statuses(map { ask("GET $path", $one) } 1 .. 3), '200 503 503', "$name, $path: 200, then 503");
            is(statuses(ask("GET $path", $other)), 200, "$name, $path: another user is not affected");
        }
        my $user = new_user();
        is(statuses(map { ask('GET /early', $credential->($user)) } 1, 2), '200 503', "$name: one user with two credentials");
        my $late = $credential->(new_user());
        is(statuses(map { ask('GET /late', $late) } 1 .. 3), $name eq 'a JWT' ? '200 503 503' : '200 200 200',
            "$name without authgear_early: known by then only if that takes no question");
    }
}

sub judged_once {
    my ($user, $other) = (new_user(), new_user());
    is(told(ask('GET /early', jwt($user))), "200 $user ok jwt", 'a JWT is verified for this request, in both phases');
    for my $path (qw(/early /checked /tried /redirected)) {
        $user = new_user();
        my $cookie = by_cookie($user);
        my $before = asked();
        like(told(ask("GET $path", $cookie)), qr/^200 $user ok /, "$path: the user of a cookie");
        is(asked() - $before, 1, "$path: after one question");
    }
}

# The resolver's location has the limits too, which are for clients.
sub a_limit_of_the_whole_server {
    my ($one, $other) = map { by_cookie($_) } new_user(), new_user();
    my $whole = { port => port(2) };
    is(statuses(map { ask('GET /', $whole, $one) } 1 .. 3), '200 503 503', 'the whole server: 200, then 503');
    is(statuses(ask('GET /', $whole, $other)), 200, 'the whole server: another user');
    is(statuses(map { ask('GET /', $whole, nobody()) } 1 .. 3), '401 401 401', 'the whole server: nobody');
}

sub refusals_stay_in_the_access_phase {
    my $dead = nobody();
    for my $row (
        # what, path, headers, answers
        ['a dead session has no user', '/early', [nobody()], '401 - session_invalid none'],
        ['a bad token has no user', '/early', ['Authorization: Bearer e30.e30.c2ln'], '401 - malformed none'],
        ['nobody', '/early', [], '401 - no_credential none'],
        ['nobody, where that is allowed', '/optional', [], '200 - no_credential none'],
        ['a dead session, observed', '/observe', [nobody()], '200 - session_invalid none'],
        ['an address that is let in', '/satisfied', [nobody()], '200 - - -'],
        ['a preflight', '/preflight', ['Origin: https://a.example', 'Access-Control-Request-Method: PUT'], '200 - no_credential none', 'OPTIONS'],
    ) {
        my ($name, $path, $headers, $expected, $method) = @$row;
        $method //= 'GET';
        is(told(ask("$method $path", @$headers)), $expected, "$name: $expected") for 1, 2;
    }
    like(header(ask('GET /early', nobody()), 'WWW-Authenticate'), qr/^Bearer realm="myapp", error="invalid_token"/, 'with a challenge');
    is(statuses(map { ask('GET /strangers', nobody()) } 1 .. 3), '401 503 503', 'the rate of an address is that of callers who are not known');
    later();
    is(statuses(map { ask('GET /strangers', by_cookie(new_user())) } 1 .. 15), join(' ', (200) x 15), 'and of nobody else');
    is(told(ask('GET /admin', by_cookie(new_user()))) =~ s/ \S+ / - /r, '403 - policy resolver', 'a requirement is looked at later');
}

sub no_verdict_is_given_later {
    fault(resolver => 'status', status => 500);
    my $before = asked();
    my $answer = ask('GET /early', by_cookie(new_user()));
    is(told($answer), '503 - resolver_unavailable -', 'a resolver that fails: 503');
    like(header($answer, 'Retry-After'), qr/^\d+$/, 'with Retry-After');
    is(asked() - $before, 1, 'after one question');
    heal();
}

sub a_limit_that_delays {
    my $cookie = by_cookie(new_user());
    is(statuses(map { ask('GET /delayed', $cookie) } 1, 2), '200 200', 'a request that the limit delays');
}

sub connections_of_a_user {
    later();
    my ($one, $other) = map { by_cookie($_) } new_user(), new_user();
    my $first = connection()->request('GET /connections', 'Connection: close', $one);
    my $under_way = $held->();
    is(ask('GET /connections', $one)->{status}, 503, 'limit_conn: a second connection of a user');
    my $second = connection()->request('GET /connections', 'Connection: close', $other);
    my $others = $held->();
    $_->send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") for $under_way, $others;
    is(statuses($first->answer, $second->answer), '200 200', 'limit_conn: one of each user');
}

sub streams_of_http2 {
    my ($one, $other) = map { by_cookie($_) } new_user(), new_user();
    my $h2 = http2(port(1));
    my @streams = map { $h2->request('GET /', $one) } 1 .. 5;
    my $last = $h2->request('GET /', $other);
    my @statuses = map { $h2->answer($_)->{status} // '-' } @streams;
    # The client knows no status that nginx does not compress to one byte.
    is(scalar(grep { $_ eq '200' } @statuses), 1, 'HTTP/2: one of five streams at once');
    is($h2->answer($last)->{status}, 200, 'HTTP/2: another user');
}

sub a_client_that_leaves {
    fault(resolver => 'slow', delay_ms => 500);
    for my $credential (nobody(), by_cookie(new_user())) {
        my $before = asked();
        my $connection = connection()->request('GET /early', $credential);
        wait_for { asked() > $before };
        close $connection->{socket};
    }
    heal();
    is(statuses(ask('GET /early', jwt(new_user()))), 200, 'a client that leaves takes nobody with it');
}

run_tests();

__DATA__

=== TEST 1: limits before and after the judgement
--- check
a_rate_for_each_user
judged_once
a_limit_of_the_whole_server
refusals_stay_in_the_access_phase
no_verdict_is_given_later
a_limit_that_delays
connections_of_a_user
streams_of_http2
a_client_that_leaves
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
map $authgear_user_id $stranger {
    volatile;
    "" $binary_remote_addr;
    default "";
}
limit_req_zone $authgear_user_id zone=users:1m rate=1r/m;
limit_req_zone $authgear_user_id zone=delayed:1m rate=10r/s;
limit_req_zone $stranger zone=strangers:1m rate=1r/m;
limit_conn_zone $authgear_user_id zone=connections:1m;
proxy_http_version 1.1;
proxy_set_header Connection "";
server {
    $TEST_NGINX_H2
    include $TEST_NGINX_RESOLVER;
    location / {
        authgear_verify myapp;
        authgear_early on;
        limit_req zone=users;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
server {
    listen 127.0.0.1:$TEST_NGINX_WHOLE_PORT;
    add_header X-User $authgear_user_id always;
    add_header X-Reason $authgear_reason always;
    add_header X-Source $authgear_source always;
    authgear_verify myapp;
    authgear_early on;
    limit_req zone=users;
        include $TEST_NGINX_RESOLVER;
    location / { proxy_pass $TEST_NGINX_ECHO; }
}
--- config
include $TEST_NGINX_RESOLVER;
add_header X-User $authgear_user_id always;
add_header X-Reason $authgear_reason always;
add_header X-Source $authgear_source always;
authgear_early on;
authgear_verify myapp;
location = /early { limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location = /late { authgear_early off; limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location = /optional { authgear_verify myapp optional; limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location = /observe { authgear_verify myapp observe; limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location = /redirected { authgear_verify off; rewrite ^ /early; }
location = /paged { authgear_verify off; error_page 418 = /early; return 418; }
location = /tried { try_files /none /tried-here; }
location = /tried-here { internal; limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location = /satisfied { satisfy any; allow all; limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location = /checked { auth_request /check; limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location = /check { internal; limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location = /strangers { limit_req zone=strangers; proxy_pass $TEST_NGINX_ECHO; }
location = /admin { authgear_require_role admin; proxy_pass $TEST_NGINX_ECHO; }
location = /preflight { authgear_bypass_preflight on; proxy_pass $TEST_NGINX_ECHO; }
location = /delayed { limit_req zone=delayed burst=5; proxy_pass $TEST_NGINX_ECHO; }
location = /connections { limit_conn connections 1; proxy_pass $TEST_NGINX_HELD; }
