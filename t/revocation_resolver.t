# A revocation drops what the resolver said of the user before it came.

use strict;
use warnings;

use JSON::PP ();
use POSIX qw(strftime);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(asked cookie start_resolving stop_resolving told);
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep);

my $secret = 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;';
my $users = 0;
my $nginx;

# A session of a new user, who logged in so many seconds ago, as a header.
sub login {
    my ($ago) = @_;
    my $user = 'user-' . ++$users;
    return ($user, cookie(session => session(user => $user, auth_time => time - $ago)));
}

sub outcome {
    my ($headers) = @_;
    my $before = asked();
    return told($nginx->ask(headers => $headers)) . ' asked ' . (asked() - $before);
}

$nginx = start_resolving("resolve_cache 10m; $secret", workers => 2, server => webhook_location());

subtest 'a stored answer is not used any more' => sub {
    my ($user, $session) = login(100);
    my (undef, $other) = login(100);
    outcome($_) for $session, $other;
    is(outcome($session), "200 ok $user resolver_cache asked 0", 'a yes is stored');
    is(deliver($nginx, event('user.reenabled', $user)), 204, 'an event that ends nothing');
    is(outcome($session), "200 ok $user resolver_cache asked 0", 'leaves it');
    control('POST', "/-/users/$user/disable");
    is(outcome($session), "200 ok $user resolver_cache asked 0", 'a disabled user is not heard of');
    is(deliver($nginx, event('user.disabled', $user)), 204, 'before the webhook');
    is(outcome($session), '401 session_invalid - none asked 1', 'then the resolver is asked again');
    like(outcome($other), qr/^200 ok \S+ resolver_cache asked 0$/, 'about nobody else');
};

subtest 'a login after the end is asked about once more' => sub {
    my ($user, $session) = login(10);
    outcome($session);
    is(deliver($nginx, event('user.disabled', $user, at => time - 50)), 204, 'a late webhook');
    is(outcome($session), "200 ok $user resolver asked 1", 'the answer from before it is dropped');
    is(outcome($session), "200 ok $user resolver_cache asked 0", 'the new one is stored');
};

subtest 'a login in the second of the end has ended' => sub {
    my ($user, $at) = ('user-' . ++$users, time - 50);
    my $session = cookie(session => session(user => $user, auth_time => $at));
    fault(resolver => 'slow', delay_ms => 3000);
    my $before = asked();
    my $sent = $nginx->send(headers => $session);
    ok(wait_for { asked() > $before }, 'the resolver is asked');
    is(deliver($nginx, event('user.disabled', $user, at => $at)), 204, 'the webhook comes first');
    is(told($nginx->receive($sent)), '401 session_invalid - none', 'and the answer is a no');
    heal();
};

subtest 'a plan drops what was asked for before its time' => sub {
    my ($user, $session) = login(100);
    my $from = time + 4;
    outcome($session);
    is(deliver($nginx, event('user.disabled', $user, user => { is_disabled => JSON::PP::false },
        payload => { temporarily_disabled_from => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $from) })), 204, 'a plan');
    is(outcome($session), "200 ok $user resolver_cache asked 0", 'before its time') if time < $from - 1;
    sleep $from - Time::HiRes::time() + 0.2;
    is(outcome($session), "200 ok $user resolver asked 1", 'from its time on the resolver decides');
    is(outcome($session), "200 ok $user resolver_cache asked 0", 'whose answer is stored');
};

# Who has captured a delivery can send it again and again.
subtest 'a delivery that is repeated leaves what was asked for since' => sub {
    my ($user, $session) = login(10);
    my $event = event('user.disabled', $user, at => time - 50);
    is(deliver($nginx, $event), 204, 'disabled before the login');
    is(outcome($session), "200 ok $user resolver asked 1", 'who was enabled again and logged in is let in');
    is(deliver($nginx, $event), 204, 'the same delivery');
    is(outcome($session), "200 ok $user resolver_cache asked 0", 'drops no answer');
    is(deliver($nginx, event('user.disabled', $user, at => time - 50)), 204, 'another event of that second');
    is(outcome($session), "200 ok $user resolver asked 1", 'does');
};

for my $keep ('resolve_cache 10m;', '') {
    $nginx->reload(project => "resolve_request /_authgear/resolve; $keep $secret");
    subtest "an answer that was under way, '$keep'" => sub {
        reset_counts();
        for my $case (
            ['a login from before the end', 100, 0, '401 session_invalid - none'],
            ['a login after it', 10, 50, '503 resolver_unavailable - -'],
        ) {
            my ($name, $login, $end, $expected) = @$case;
            my ($user, $session) = login($login);
            fault(resolver => 'slow', delay_ms => 3000);
            my $sent = $nginx->send(headers => $session);
            ok(wait_for { asked() > 0 }, "$name: the resolver is asked");
            is(deliver($nginx, event('user.disabled', $user, at => time - $end)), 204, 'the webhook comes first');
            is(told($nginx->receive($sent)), $expected, 'and the answer is no yes');
            heal();
            reset_counts();
        }
        my ($user, $session) = login(10);
        my $event = event('user.disabled', $user, at => time - 50);
        is(deliver($nginx, $event), 204, 'a webhook before the question');
        sleep 0.1;
        is(told($nginx->ask(headers => $session)), "200 ok $user resolver", 'leaves the answer');
        my ($again, $other) = login(10);
        $event = event('user.disabled', $again, at => time - 50);
        is(deliver($nginx, $event), 204, 'another user');
        sleep 0.1;
        reset_counts();
        fault(resolver => 'slow', delay_ms => 3000);
        my $sent = $nginx->send(headers => $other);
        ok(wait_for { asked() > 0 }, 'the resolver is asked');
        is(deliver($nginx, $event), 204, 'the delivery is repeated while the question is under way');
        is(told($nginx->receive($sent)), "200 ok $again resolver", 'and keeps nobody out');
        heal();
        reset_counts();
    };
}
stop_resolving($nginx);

subtest 'a revoked JWT falls through to a session' => sub {
    $nginx = start_resolving($secret, server => webhook_location());
    my ($user, $session) = login(0);
    my $token = token(user => 'revoked', claims => { iat => time - 100, auth_time => time - 100 });
    is(deliver($nginx, event('user.disabled', 'revoked')), 204, 'disabled');
    is(told($nginx->ask(token => $token)), '401 revoked - none', 'alone it is refused');
    is(told($nginx->ask(token => $token, headers => $session)), "200 ok $user resolver", 'beside a session that counts');
    is(told($nginx->ask(token => $token, headers => 'Cookie: session=bad')), '401 session_invalid - none', 'beside a bad one the resolver decides');
    stop_resolving($nginx);
};

subtest 'recheck asks nobody about a revoked token' => sub {
    $nginx = start_resolving("recheck 30s strict; $secret", server => webhook_location());
    my $token = token(user => 'rechecked', auth_time => time - 100, claims => { iat => time - 100 });
    is(told($nginx->ask(token => $token)), '200 ok rechecked jwt', 'confirmed');
    is(deliver($nginx, event('user.disabled', 'rechecked')), 204, 'disabled');
    my $before = asked();
    is(told($nginx->ask(token => $token)), '401 revoked - none', 'refused');
    is(asked(), $before, 'without a question');
    stop_resolving($nginx);
};

done_testing();
