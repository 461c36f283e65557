# recheck and what is read before the access phase: with `strict` nobody is shown
# before the resolver was asked, where it has to be.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

use Time::HiRes qw(sleep);

# The status, and what is read early and late.
sub told {
    my ($answer) = @_;
    return join ' ', $answer->{status}, header($answer, 'X-Early') // '-', header($answer, 'X-Late') // '-';
}

my ($unknown, $users) = ('[] [] []', 0);
my $keys = token(user => 'keys', expires_in => -1);

# A user, a token, and what is shown of them.
sub someone {
    my $name = 'user-' . ++$users;
    # A worker that has no keys knows nobody.
    wait_for { ask('GET /plain', "Authorization: Bearer $keys")->{status} == 401 };
    return ($name, 'Authorization: Bearer ' . token(user => $name), "[$name] [ok] [$name]");
}

# --- checks

sub strict {
    my ($user, $bearer, $known) = someone();
    is(told(ask('GET /strict', $bearer)), "200 $unknown $known", 'strict, a new token: nobody early, known later');
    is(told(ask('GET /strict', $bearer)), "200 $known $known", 'strict, once it is confirmed: known early');
    control('POST', "/-/users/$user/disable");
    is(told(ask('GET /strict', $bearer)), "200 $known $known", 'strict, within the time: nothing is asked');
}

sub strict_and_disabled {
    my ($user, $bearer) = someone();
    control('POST', "/-/users/$user/disable");
    for my $time (1 .. 2) {
        my $answer = ask('GET /strict', $bearer);
        is($answer->{status}, 401, "strict, a disabled user: refused ($time)");
        is(header($answer, 'X-Early'), $unknown, "strict, a disabled user: nobody early ($time)");
        is(header($answer, 'X-Late'), '[] [session_invalid] []', "strict, a disabled user: nor later ($time)");
    }
    is(ask('GET /strict-returned', $bearer)->{body}, "$unknown\n", 'strict, return before the access phase: nobody');
    my ($other, $new) = someone();
    is(ask('GET /strict-returned', $new)->{body}, "$unknown\n", 'strict, a new token in a return: nobody, whoever it is');
    is(ask('GET /strict-limited', $new)->{status}, 200, "strict, limit_req by the user, a new token: no key ($_)") for 1;
}

sub strict_and_long_ago {
    my ($user, $bearer, $known) = someone();
    is(told(ask('GET /second', $bearer)), "200 $unknown $known", 'strict, 1 s: a new token');
    is(told(ask('GET /second', $bearer)), "200 $known $known", 'strict, 1 s: once it is confirmed');
    sleep 2.3;
    is(told(ask('GET /second', $bearer)), "200 $unknown $known", 'strict, 1 s: after more than twice the time nobody early');
}

sub in_the_background {
    my ($user, $bearer, $known) = someone();
    is(told(ask('GET /background', $bearer)), "200 $known $known", 'in the background, a new token: it stands, early too');
    control('POST', "/-/users/$user/disable");
    my ($other, $new) = someone();
    control('POST', "/-/users/$other/disable");
    is(ask('GET /background', $new)->{status}, 200, 'in the background: the first request passes');
    ok(wait_for(sub { ask('GET /background', $new)->{status} == 401 }), 'until the resolver has said no');
    is(header(ask('GET /background', $new), 'X-Early'), $unknown, 'in the background: then nobody is shown early');
}

run_tests();

__DATA__

=== TEST 1: early reads of tokens that are rechecked
--- check
strict
strict_and_disabled
strict_and_long_ago
in_the_background
--- http_config
authgear_project strict {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    recheck 1h strict;
}
authgear_project second {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    recheck 1s strict;
}
authgear_project background {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    recheck 1h;
}
limit_req_zone $authgear_user_id zone=users:1m rate=1r/m;
limit_req_status 429;
--- config
include $TEST_NGINX_RESOLVER;
add_header X-Early $early always;
add_header X-Late "[$authgear_user_id] [$authgear_reason] [$authgear_claim_sub]" always;
location = /plain {
    authgear_verify strict;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /strict {
    authgear_verify strict;
    set $early "[$authgear_user_id] [$authgear_reason] [$authgear_claim_sub]";
    proxy_pass $TEST_NGINX_ECHO;
}
location = /strict-returned {
    authgear_verify strict;
    return 200 "[$authgear_user_id] [$authgear_reason] [$authgear_claim_sub]\n";
}
location = /strict-limited {
    authgear_verify strict;
    limit_req zone=users;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /second {
    authgear_verify second;
    set $early "[$authgear_user_id] [$authgear_reason] [$authgear_claim_sub]";
    proxy_pass $TEST_NGINX_ECHO;
}
location = /background {
    authgear_verify background;
    set $early "[$authgear_user_id] [$authgear_reason] [$authgear_claim_sub]";
    proxy_pass $TEST_NGINX_ECHO;
}
