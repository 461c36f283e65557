# $authgear_* in which phases: before the access phase and in the log, across
# internal redirects, in subrequests, and where other modules ask for them.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Variables;

use strict;
use warnings;

$ENV{TEST_NGINX_OTHER_PORT} = port(1);
$ENV{TEST_NGINX_REFUSING_PORT} = port(2);
($ENV{TEST_NGINX_RECORDER}, my $take) = recorder();

# The variables of a token of alice.
sub alices {
    my ($token) = @_;
    return expected($token, user_id => 'alice', user_anonymous => 'false', user_verified => 'true',
        user_can_reauthenticate => 'true', session_amr => 'pwd', session_authenticated_at => '1700000000');
}

# --- checks

sub in_the_log {
    my $good = token(user => 'alice', amr => ['pwd'], auth_time => 1_700_000_000);
    my $bad = token(user => 'mallory', key => 'stranger');
    my $full = alices($good);
    my $known = { %$full, source => 'jwt_cache' };
    my @cases = (
        ['/logged/required', "Bearer $good", 200, $full],
        ['/logged/required', '', 401, { source => 'none', reason => 'no_credential' }],
        ['/logged/required', "Bearer $bad", 401,
            { source => 'none', reason => 'bad_signature', session_valid => 'false' }],
        ['/logged/down', "Bearer $good", 503, { reason => 'keys_unavailable' }],
        ['/logged/named', '', 200, { source => 'none', reason => 'no_credential' }],
        ['/logged/missing', "Bearer $good", 404, $known],
        ['/logged/accel', "Bearer $good", 200, $known],
        ['/logged/tried', "Bearer $good", 200, $known],
        ['/logged/off', "Bearer $good", 200, {}],
    );
    for my $case (@cases) {
        my ($path, $credential, $status) = @$case;
        my $answer = ask("GET $path", $credential ? "Authorization: $credential" : ());
        is($answer->{status}, $status, "$path: $status");
    }
    my @lines = log_lines('shown.log', scalar @cases);
    is(scalar @lines, scalar @cases, 'a line for each request');
    for my $index (0 .. $#cases) {
        my ($path, $credential, $status, $expected) = @{ $cases[$index] };
        my $who = !$credential ? 'no' : $credential eq "Bearer $good" ? 'good' : 'bad';
        is_deeply(logged($lines[$index]), $expected, "in the log phase: $path, $who credential");
    }
}

# nginx logs what it refuses by itself too, some of it before any header is read.
sub in_the_log_of_refused_requests {
    my $good = bearer(user => 'alice');
    my $bad = bearer(user => 'mallory', key => 'stranger');
    my @requests = (
        ['no HTTP at all' => "\x16\x03\x01\r\n\r\n", ''],
        ['another version' => "GET / HTTP/9.9\r\n\r\n", ''],
        ['no Host' => "GET / HTTP/1.1\r\n$bad\r\n\r\n", ''],
        ['two Host headers' => "GET / HTTP/1.1\r\n$bad\r\nHost: a\r\nHost: b\r\n\r\n", ''],
        ['a header that is too long' => "GET / HTTP/1.1\r\nHost: a\r\n$bad\r\nX: " . 'x' x 20_000 . "\r\n\r\n", ''],
        ['no Host, a valid token' => "GET / HTTP/1.1\r\n$good\r\n\r\n", 'alice'],
    );
    for my $request (@requests) {
        my ($name, $text) = @$request;
        my $client = connection(port(2));
        $client->send($text);
        like($client->answer->{status}, qr/^(?:400|505)\z/, "$name: refused by nginx");
    }
    my @lines = log_lines('refused.log', scalar @requests);
    for my $index (0 .. $#requests) {
        my ($name, undef, $user) = @{ $requests[$index] };
        my ($shown) = $lines[$index] =~ /^\d+ \[(.*)\]\z/;
        ok(defined $shown && ($shown eq '' || $shown eq $user),
            "in the log phase of a refused request: $name, nobody but the verified");
    }
}

sub after_internal_redirects {
    my $nobody = { source => 'none', reason => 'no_credential' };
    my @cases = (
        ['error_page 401 to a named location', '/named', 0, 200, $nobody],
        ['error_page 401 to a guarded URI', '/login-optional', 0, 200, $nobody],
        ['error_page 404 to an unguarded URI', '/missing', 1, 404],
        ['try_files to an unguarded URI', '/tried', 1, 200],
        ['try_files to a named location', '/tried-named', 1, 200],
        ['rewrite last to a guarded location', '/rewritten', 1, 200],
        ['X-Accel-Redirect to an unguarded location', '/accel?to=/plain', 1, 200],
        ['X-Accel-Redirect to a guarded location', '/accel?to=/required', 1, 200],
        ['X-Accel-Redirect to a named location', '/accel?to=@plain', 1, 200],
        ['index', '/directory/', 1, 200],
    );
    for my $case (@cases) {
        my ($name, $path, $sent, $status, $expected) = @$case;
        my $token = token(user => 'alice', amr => ['pwd'], auth_time => 1_700_000_000);
        $expected //= alices($token);
        my $answer = ask("GET $path", $sent ? "Authorization: Bearer $token" : ());
        is($answer->{status}, $status, "$name: $status");
        is_deeply(shown($answer), $expected, "$name: the variables stay readable");
    }
    my $answer = ask('GET /named', bearer(user => 'alice', key => 'stranger'));
    is_deeply(shown($answer), { source => 'none', reason => 'bad_signature', session_valid => 'false' },
        'error_page 401 to a named location, a bad credential: the reason stays readable');
}

sub in_subrequests {
    for my $case (
        ['an auth_request subrequest', '/with-auth-request', bearer(user => 'alice'), '[alice] [ok]'],
        ['a mirror subrequest', '/with-mirror', bearer(user => 'alice'), '[alice] [ok]'],
        ['a mirror subrequest, no credential', '/with-mirror', undef, '[] [no_credential]'],
        )
    {
        my ($name, $path, $credential, $expected) = @$case;
        my $client = connection();
        $client->request("GET $path", $credential // ());
        my ($request) = $take->(1);
        is(header($request, 'X-Who'), $expected, "$name sees the request's variables");
        is($client->answer->{status}, 200, "$name: the request goes on");
    }
    is(ask('GET /page.shtml', bearer(user => 'alice'))->{body}, "main alice, included alice\n\n",
        'a subrequest of SSI sees the request\'s variables');
}

sub used_by_others {
    for my $case (
        ['admin', 'b,admin', 'yes'], ['admin', 'admin', 'yes'], ['admin', 'administrator', 'no'])
    {
        my ($role, $roles, $expected) = @$case;
        my $answer = ask('GET /mapped', bearer(user => { id => 'r', roles => [split /,/, $roles] }));
        is(header($answer, 'X-Admin'), $expected, "map over \$authgear_user_roles: $roles");
    }
    is(header(ask('GET /mapped'), 'X-Admin'), 'no', 'map over $authgear_user_roles: nobody');

    # One cached answer for each user.
    my %line = map { $_ => bearer(user => $_) } qw(alice bob);
    for my $case (['alice', 'MISS'], ['alice', 'HIT'], ['bob', 'MISS'], ['alice', 'HIT'], ['bob', 'HIT'])
    {
        my ($user, $status) = @$case;
        my $answer = ask('GET /cached', $line{$user});
        is(header($answer, 'X-Cache'), $status, "proxy_cache_key with \$authgear_user_id: $user $status");
        is(header(echoed($answer), 'X-Authgear-User-Id'), $user, "and the answer is $user\'s");
    }
    is(ask('GET /cached', bearer(user => 'alice', key => 'stranger'))->{status}, 401,
        'a forged token of a cached user: 401');
    is(ask('GET /cached')->{status}, 401, 'no credential: 401, cached answers or not');
}

# limit_req looks at its key before the access phase: one request a minute for
# each key, none for an empty one.
sub before_the_access_phase {
    for my $round (1 .. 3) {
        is(ask('GET /limited', bearer(user => 'carol', key => 'stranger'))->{status}, 401,
            "limit_req by \$authgear_user_id: a forged token of carol's does not count ($round)");
        is(ask('GET /limited', bearer(user => 'carol', expires_in => -1))->{status}, 401,
            "nor does an expired one ($round)");
    }
    for my $user (qw(carol dave)) {
        is(ask('GET /limited', bearer(user => $user))->{status}, 200, "the first of $user passes");
        is(ask('GET /limited', bearer(user => $user))->{status}, 429,
            "the second is limited: the key was verified with the keys at hand");
    }
    is(header(ask('GET /early', bearer(user => { id => 'ben', roles => ['x'] })), 'V-early'),
        '[ben] [true] [x] [ben]', 'a set directive sees what the keys at hand verify');
    is(header(ask('GET /early'), 'V-early'), '[] [] [] []', 'and nothing without a credential');
    is(header(ask('GET /early-off', bearer(user => 'alice')), 'V-early'), '[]',
        'and nothing where verify is off');
}

# An early outcome of one location's rules is not used in another location.
sub early_verdicts_stay_where_they_were_asked {
    my $answer = ask('GET /moved', bearer(user => 'alice'));
    is(header($answer, 'V-first'), '[alice]', 'before rewrite last: verified by the first project');
    is(header($answer, 'V-then'), '[]',
        'after rewrite last: empty, since the second project does not take the token');
    is(shown($answer)->{user_id}, undef, 'and so it stays after the access phase');
    $answer = ask('GET /moved-limited', bearer(user => 'erin'));
    is($answer->{status}, 401, 'limit_req after rewrite last into another project: 401');
    $answer = ask('GET /moved-limited', bearer(user => 'erin'));
    is($answer->{status}, 401, 'and it does not count what the second project does not take');
}

# --- before the keys are at hand

sub would_have_to_wait {
    my $answer = ask('GET /early', bearer(user => 'alice'));
    is($answer->{status}, 200, 'keys that come late: the request waits and passes');
    is(header($answer, 'V-early'), '[] [] [] []',
        'a credential that would have to wait leaves the variables empty for now');
    is(shown($answer)->{user_id}, 'alice', 'and they are filled after the access phase');
    is(header(ask('GET /early', bearer(user => 'alice')), 'V-early'), '[alice] [true] [] [alice]',
        'once the keys are there, the variables are filled early');
}

run_tests();

__DATA__

=== TEST 1: variables in every phase
--- check
in_the_log
in_the_log_of_refused_requests
after_internal_redirects
in_subrequests
used_by_others
before_the_access_phase
early_verdicts_stay_where_they_were_asked
--- user_files
>>> plain
plain
>>> directory/index.html
index
>>> page.shtml
main <!--# echo var="authgear_user_id" default="nobody" -->, included <!--# include virtual="/part.shtml" -->
>>> part.shtml
<!--# echo var="authgear_user_id" default="nobody" -->
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project picky {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://picky.example.com;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
log_format shown escape=none "$TEST_NGINX_LINE";
map $authgear_user_roles $is_admin {
    default no;
    "~(^|,)admin(,|$)" yes;
}
limit_req_zone $authgear_user_id zone=users:1m rate=1r/m;
limit_req_status 429;
proxy_cache_path cache keys_zone=answers:1m;
server {
    listen 127.0.0.1:$TEST_NGINX_OTHER_PORT;
    location / {
        add_header X-Accel-Redirect $arg_to;
        return 200;
    }
}
log_format refused "$status [$authgear_user_id]";
server {
    listen 127.0.0.1:$TEST_NGINX_REFUSING_PORT;
    access_log logs/refused.log refused;
    authgear_verify myapp;
}
--- config
$TEST_NGINX_SHOW
$TEST_NGINX_MODES
$TEST_NGINX_EARLY
location = /early-off {
    set $early "[$authgear_user_id]";
    add_header V-early $early always;
    proxy_pass $TEST_NGINX_ECHO;
}

location /logged/ {
    access_log logs/shown.log shown;
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
    location = /logged/down {
        authgear_verify down;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /logged/named {
        error_page 401 =200 @logged;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /logged/missing {
        try_files /no-such-file =404;
    }
    location = /logged/accel {
        proxy_pass http://127.0.0.1:$TEST_NGINX_OTHER_PORT/?to=/logged-plain;
    }
    location = /logged/tried {
        try_files /no-such-file /logged-plain;
    }
    location = /logged/off {
        authgear_verify off;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
location @logged {
    access_log logs/shown.log shown;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /logged-plain {
    access_log logs/shown.log shown;
    proxy_pass $TEST_NGINX_ECHO;
}

location = /named {
    authgear_verify myapp;
    error_page 401 =200 @plain;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /login-optional {
    authgear_verify myapp;
    error_page 401 =200 /optional;
    proxy_pass $TEST_NGINX_ECHO;
}
location @plain {
    proxy_pass $TEST_NGINX_ECHO;
}
location = /plain {
    root html;
}
location = /missing {
    authgear_verify myapp;
    error_page 404 /plain;
    try_files /no-such-file =404;
}
location = /tried {
    authgear_verify myapp;
    try_files /no-such-file /plain;
}
location = /tried-named {
    authgear_verify myapp;
    try_files /no-such-file @plain;
}
location = /rewritten {
    rewrite ^ /required last;
}
location = /accel {
    authgear_verify myapp;
    proxy_pass http://127.0.0.1:$TEST_NGINX_OTHER_PORT;
}
location = /directory/ {
    authgear_verify myapp;
    index index.html;
}
location = /directory/index.html {
}

location = /with-auth-request {
    authgear_verify myapp;
    auth_request /recorded;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /with-mirror {
    authgear_verify myapp optional;
    mirror /recorded;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /recorded {
    internal;
    proxy_set_header X-Who "[$authgear_user_id] [$authgear_reason]";
    proxy_pass http://127.0.0.1:$TEST_NGINX_RECORDER;
}
location = /page.shtml {
    authgear_verify myapp;
    ssi on;
    ssi_types *;
}
location = /part.shtml {
    ssi on;
    ssi_types *;
}

location = /mapped {
    authgear_verify myapp optional;
    add_header X-Admin $is_admin;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /cached {
    authgear_verify myapp;
    proxy_cache answers;
    proxy_cache_key $authgear_user_id$uri;
    proxy_cache_valid 200 1m;
    add_header X-Cache $upstream_cache_status;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limited {
    authgear_verify myapp;
    limit_req zone=users;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /moved {
    authgear_verify myapp;
    set $first "[$authgear_user_id]";
    rewrite ^ /moved-here last;
}
location = /moved-here {
    authgear_verify picky observe;
    set $then "[$authgear_user_id]";
    $TEST_NGINX_SHOW
    add_header V-first $first always;
    add_header V-then $then always;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /moved-limited {
    authgear_verify myapp;
    set $first "[$authgear_user_id]";
    rewrite ^ /moved-limited-here last;
}
location = /moved-limited-here {
    authgear_verify picky;
    limit_req zone=users;
    proxy_pass $TEST_NGINX_ECHO;
}

=== TEST 2: a credential that would have to wait leaves the variables empty for now
--- control
PUT /-/fault/jwks {"mode": "slow", "delay_ms": 700}
--- check
would_have_to_wait
--- config
$TEST_NGINX_EARLY
