# resolve_stale: a yes is used on while the resolver cannot answer.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(asked cookie start_resolving stop_resolving told);
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep);

my $unavailable = '503 resolver_unavailable - -';
my $nginx;
my $users = 0;

# A new user's session as a header, once the resolver has said yes, and whatever it
# said has been kept for longer than resolve_cache.
sub old_yes {
    my ($n) = (@_, 1);
    my @sessions = map { my $user = 'user-' . ++$users; [$user, cookie(session => session(user => $user))] } 1 .. $n;
    is(outcome($_->[1]), "200 ok $_->[0] resolver", "a yes for $_->[0]") for @sessions;
    sleep 1.1;
    return map {@$_} @sessions;
}

sub outcome { return told($nginx->ask(headers => $_[0])) }

# Lets the resolver do something, and waits until no earlier failure counts.
sub resolver_does {
    fault(resolver => @_);
    sleep 1.1;
}

my @outages = (
    ['500' => 'status', status => 500],
    ['503' => 'status', status => 503],
    ['429' => 'status', status => 429],
    ['a closed connection' => 'close'],
);
my @unclear = (
    ['404' => 'status', status => 404],
    ['403 that says true' => 'status', status => 403,
        headers => { 'X-Authgear-Session-Valid' => 'true', 'X-Authgear-User-Id' => 'u' }],
    ['a redirect' => 'status', status => 302],
    ['true without a user' => 'status', status => 200, headers => { 'X-Authgear-Session-Valid' => 'true' }],
);

$nginx = start_resolving('resolve_cache 1s; resolve_stale 1h; webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;',
    workers => 2, server => webhook_location());

subtest 'rule 6: a yes is used on while the resolver cannot answer, and anything else that is no verdict is 503' => sub {
    my ($user, $cookie) = old_yes();
    for my $case (@outages) {
        my ($name, @fault) = @$case;
        resolver_does(@fault);
        is(outcome($cookie), "200 ok $user resolver_stale", "$name: the stale yes");
        is(outcome(cookie(session => 'made-up')), $unavailable, "$name: who has none gets 503");
    }
    for my $case (@unclear) {
        my ($name, @fault) = @$case;
        resolver_does(@fault);
        is(outcome($cookie), $unavailable, "$name: no stale yes") for 1, 2;
    }
    resolver_does('status', status => 500);
    is(outcome($cookie), "200 ok $user resolver_stale", 'what was no verdict has not ended it');
    control('POST', '/-/gone');
    sleep 1.1;
    is(outcome($cookie), "200 ok $user resolver_stale", 'nobody listens');
    control('POST', '/-/back');
    heal();
    sleep 1.1;
    is(outcome($cookie), "200 ok $user resolver", 'then the resolver is asked again');
};

subtest 'a resolver that does not answer in time, and who waits for the same answer' => sub {
    my ($user, $cookie) = old_yes();
    fault(resolver => 'hang');
    my $before = asked();
    my @answers = $nginx->receive(map { $nginx->send(headers => $cookie) } 1 .. 20);
    is_deeply([map { told($_) } @answers], [("200 ok $user resolver_stale") x 20], 'twenty get the stale yes');
    is(asked() - $before, 1, 'after one question');
    heal();
};

subtest 'who waits for an answer that is no verdict' => sub {
    my (undef, $cookie) = old_yes();
    # True without a user.
    fault(resolver => 'slow', delay_ms => 1500, headers => { 'X-Authgear-User-Id' => '' });
    my $before = asked();
    my @answers = $nginx->receive(map { $nginx->send(headers => $cookie) } 1 .. 20);
    is_deeply([map { told($_) } @answers], [($unavailable) x 20], 'twenty get 503');
    is(asked() - $before, 1, 'after one question');
    heal();
};

subtest 'a no ends it' => sub {
    my ($user, $cookie, undef, $other) = old_yes(2);
    control('POST', "/-/users/$user/disable");
    is(outcome($cookie), '401 session_invalid - none', 'a no');
    resolver_does('status', status => 500);
    like(outcome($other), qr/resolver_stale$/, 'another session goes on');
    is(outcome($cookie), $unavailable, 'not one stale yes after a no');
    heal();
};

subtest 'a revocation ends it' => sub {
    my ($user, $cookie, undef, $other) = old_yes(2);
    fault(resolver => 'status', status => 500);
    is(outcome($cookie), "200 ok $user resolver_stale", 'a stale yes');
    control('POST', "/-/users/$user/disable");
    is(deliver($nginx, event('user.disabled', $user)), 204, 'a webhook');
    isnt(outcome($cookie), "200 ok $user resolver_stale", 'none any more');
    is(outcome($cookie), $unavailable, 'but no verdict') for 1 .. 3;
    like(outcome($other), qr/resolver_stale$/, 'another user goes on');
    heal();
};

subtest 'a reload keeps it' => sub {
    my ($user, $cookie) = old_yes();
    ok($nginx->reload, 'a reload');
    fault(resolver => 'close');
    is(outcome($cookie), "200 ok $user resolver_stale", 'the stale yes');
};

stop_resolving($nginx);

subtest 'it ends with its time' => sub {
    $nginx = start_resolving('resolve_cache 1s; resolve_stale 1s;');
    my (undef, $cookie) = old_yes();
    fault(resolver => 'status', status => 500);
    sleep 1;
    is(outcome($cookie), $unavailable, '503 after both times') for 1, 2;
    stop_resolving($nginx);
};

subtest 'it is off unless it is asked for' => sub {
    for my $stale ('', 'resolve_stale off;') {
        $nginx = start_resolving("resolve_cache 1s; $stale");
        my (undef, $cookie) = old_yes();
        fault(resolver => 'status', status => 500);
        is(outcome($cookie), $unavailable, "503, '$stale'");
        stop_resolving($nginx);
    }
};

done_testing();
