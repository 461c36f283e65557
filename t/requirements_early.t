# A variable that is read before the access phase shows the caller's identity as far
# as it is known; a location's requirements are evaluated in the access phase alone.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my %token = (
    a => token(user => { id => 'user-a', roles => ['admin'] }, scope => 'read', auth_time => time),
    b => token(user => 'user-b', auth_time => 1_000_000_000),
);
my %cookie = map { $_ => cookie(session => session(user => "user-$_", auth_time => 1_000_000_000)) } qw(a b);

# --- checks

# Early on the requirement would hold, later it does not; and the other way round.
sub what_changes_before_the_access_phase {
    # Waits for the keys, which early reads do not.
    ask('GET /role', "Authorization: Bearer $token{a}");
    for my $row (
        # location, user, status
        ['/blocked', b => 403], ['/blocked', a => 200],
        ['/unblocked', b => 200], ['/unblocked', a => 403],
        ['/blocked-by-limit', b => 403], ['/blocked-by-limit', a => 200],
        ['/blocked-in-if', b => 403], ['/blocked-in-if', a => 200],
        ['/blocked-by-two', b => 403], ['/blocked-by-two', a => 200],
        ['/blocked-by-claim', b => 403], ['/blocked-by-claim', a => 200],
    ) {
        my ($path, $who, $status) = @$row;
        my $answer = ask("GET $path", "Authorization: Bearer $token{$who}");
        is($answer->{status}, $status, "$path, user-$who: $status");
        is(header($answer, 'X-Reason'), $status == 403 ? 'policy' : 'ok', "$path, user-$who: the reason");
    }
}

# The same of a session that is known.
sub of_sessions {
    for my $row (['/session-blocked', b => 403], ['/session-blocked', a => 200]) {
        my ($path, $who, $status) = @$row;
        # The first one may have to wait for the resolver.
        ask('GET /session', $cookie{$who});
        my $answer = ask("GET $path", $cookie{$who});
        is($answer->{status}, $status, "$path, a session of user-$who: $status");
    }
}

sub what_is_read_early {
    for my $row (
        # location, user, status, early, late
        ['/role', b => 403, '[user-b] [true] [ok]', '[user-b] [true] [policy]'],
        ['/role', a => 200, '[user-a] [true] [ok]', '[user-a] [true] [ok]'],
        ['/scope', b => 403, '[user-b] [true] [ok]', '[user-b] [true] [policy]'],
        ['/scope', a => 200, '[user-a] [true] [ok]', '[user-a] [true] [ok]'],
        ['/auth-age', b => 401, '[user-b] [true] [ok]', '[user-b] [true] [policy]'],
        ['/auth-age', a => 200, '[user-a] [true] [ok]', '[user-a] [true] [ok]'],
        ['/require', b => 403, '[user-b] [true] [ok]', '[user-b] [true] [policy]'],
        ['/require', a => 200, '[user-a] [true] [ok]', '[user-a] [true] [ok]'],
        ['/observed', b => 200, '[user-b] [true] [ok]', '[user-b] [true] [policy]'],
    ) {
        my ($path, $who, $status, $early, $late) = @$row;
        my $answer = ask("GET $path", "Authorization: Bearer $token{$who}");
        is($answer->{status}, $status, "$path, user-$who: $status");
        is(header($answer, 'X-Early'), $early, "$path, user-$who: early, whoever it is");
        is(header($answer, 'X-Late'), $late, "$path, user-$who: late, whether that is enough");
    }
}

# The access phase says why, not an early read.
sub nothing_is_told_early_of_who_is_not_known {
    for my $row (
        ['nobody', '[] [] [no_credential]'],
        ['an expired token', '[] [false] [expired]', 'Authorization: Bearer ' . token(expires_in => -1)],
        ['a forged token', '[] [false] [bad_signature]', 'Authorization: Bearer ' . token(key => 'stranger')],
        ['no token of ours', '[] [false] [malformed]', 'Authorization: Bearer *'],
    ) {
        my ($who, $late, @headers) = @$row;
        my $answer = ask('GET /role', @headers);
        is($answer->{status}, 401, "$who: 401");
        is(header($answer, 'X-Early'), '[] [] []', "$who: early, nothing");
        is(header($answer, 'X-Late'), $late, "$who: late, the reason");
    }
}

# No requirement is evaluated for a caller who is refused before the access phase.
sub refused_elsewhere {
    for my $who (qw(a b)) {
        my $answer = ask('GET /returned', "Authorization: Bearer $token{$who}");
        is("$answer->{status} $answer->{body}", "200 [user-$who] [true] [ok]\n", "return before the access phase, user-$who");
    }
    is(header(ask('GET /evaluated', "Authorization: Bearer $token{b}"), 'X-Evaluated'), 'later',
        'a variable that a requirement names is read for the first time in the access phase');
}

run_tests();

__DATA__

=== TEST 1: requirements and early reads
--- check
what_changes_before_the_access_phase
of_sessions
what_is_read_early
nothing_is_told_early_of_who_is_not_known
refused_elsewhere
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    resolve_cache 1m;
}
map $blocked $not_blocked {
    default 1;
    1 0;
}
map $phase $evaluated {
    default early;
    later later;
}
map $authgear_user_id $is_a {
    default 0;
    user-a 1;
}
limit_req_zone "$authgear_user_id" zone=users:1m rate=1000r/s;
--- config
include $TEST_NGINX_RESOLVER;
set $blocked 0;
set $phase early;
add_header X-Reason $authgear_reason always;
add_header X-Early $early always;
add_header X-Late "[$authgear_user_id] [$authgear_session_valid] [$authgear_reason]" always;

location = /blocked {
    authgear_verify myapp;
    if ($authgear_user_id = user-b) { set $blocked 1; }
    authgear_require $not_blocked;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /unblocked {
    authgear_verify myapp;
    set $blocked 1;
    if ($authgear_user_id = user-b) { set $blocked 0; }
    authgear_require $not_blocked;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /blocked-by-limit {
    authgear_verify myapp;
    limit_req zone=users;
    if ($authgear_user_id = user-b) { set $blocked 1; }
    authgear_require $not_blocked;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /blocked-in-if {
    authgear_verify myapp;
    set $early $authgear_user_id;
    if ($early = user-b) { set $blocked 1; }
    if ($early) { authgear_require $not_blocked; proxy_pass $TEST_NGINX_ECHO; }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /blocked-by-two {
    authgear_verify myapp;
    if ($authgear_user_roles = "") { set $blocked 1; }
    authgear_require $authgear_user_id;
    authgear_require $not_blocked;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /blocked-by-claim {
    authgear_verify myapp;
    if ($authgear_claim_sub = user-b) { set $blocked 1; }
    authgear_require $not_blocked;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /session {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /session-blocked {
    authgear_verify myapp;
    if ($authgear_user_id = user-b) { set $blocked 1; }
    authgear_require $not_blocked;
    proxy_pass $TEST_NGINX_ECHO;
}

location = /role {
    authgear_verify myapp;
    authgear_require_role admin;
    set $early "[$authgear_user_id] [$authgear_session_valid] [$authgear_reason]";
    proxy_pass $TEST_NGINX_ECHO;
}
location = /scope {
    authgear_verify myapp;
    authgear_require_scope read;
    set $early "[$authgear_user_id] [$authgear_session_valid] [$authgear_reason]";
    proxy_pass $TEST_NGINX_ECHO;
}
location = /auth-age {
    authgear_verify myapp;
    authgear_require_auth_age 1h;
    set $early "[$authgear_user_id] [$authgear_session_valid] [$authgear_reason]";
    proxy_pass $TEST_NGINX_ECHO;
}
location = /require {
    authgear_verify myapp;
    authgear_require $is_a;
    set $early "[$authgear_user_id] [$authgear_session_valid] [$authgear_reason]";
    proxy_pass $TEST_NGINX_ECHO;
}
location = /observed {
    authgear_verify myapp observe;
    authgear_require_role admin;
    set $early "[$authgear_user_id] [$authgear_session_valid] [$authgear_reason]";
    proxy_pass $TEST_NGINX_ECHO;
}
location = /returned {
    authgear_verify myapp;
    authgear_require_role admin;
    return 200 "[$authgear_user_id] [$authgear_session_valid] [$authgear_reason]\n";
}
location = /evaluated {
    authgear_verify myapp;
    authgear_require $evaluated;
    set $early $authgear_user_id;
    set $phase later;
    add_header X-Evaluated $evaluated always;
    proxy_pass $TEST_NGINX_ECHO;
}
