# recheck with strict: a token that is new, or was not confirmed for two intervals,
# waits for the resolver's answer.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Recheck;
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep);

subtest 'strict: the first request with a token waits' => sub {
    start('recheck 1h strict;', workers => 4);
    my ($user, $token) = someone();
    is(outcome(token => $token), "200 ok $user jwt", 'a good one is let in');
    is(asked(), 1, 'after the answer');
    is(outcome(token => $token), "200 ok $user jwt", 'and later');
    is(asked(), 1, 'without a question');

    ($user, $token) = someone();
    disable($user);
    is(outcome(token => $token), $no, 'a disabled user is not let in at all');

    for my $live (1, 0) {
        ($user, $token) = someone();
        disable($user) if !$live;
        reset_counts();
        fault(resolver => 'slow', delay_ms => 1000);
        my @sent = map { $nginx->send(token => $token) } 1 .. 100;
        soon { asked() == 1 } 'a hundred first requests: one asks';
        my @answers = $nginx->receive(@sent);
        heal();
        is_deeply($nginx->tally(@answers), { ($live ? '200 ok' : '401 session_invalid') => 100 }, 'all wait for the answer');
        is(asked(), 1, 'of one question');
    }
    stop();
};

subtest 'strict: a token that comes back after two intervals waits' => sub {
    start('recheck 1s strict;');
    my ($user, $token) = someone();
    is(outcome(token => $token), "200 ok $user jwt", 'confirmed');
    suspend($user);
    sleep 2.2;
    is(outcome(token => $token), $no, 'no request passes after the pause');
    enable($user);
    sleep 2.2;
    is(outcome(token => $token), "200 ok $user jwt", 'in again');
    stop();
};

subtest 'strict: within the interval nobody waits' => sub {
    start('recheck 1h strict;');
    my ($user, $token) = someone();
    is(outcome(token => $token), "200 ok $user jwt", 'confirmed');
    fault(resolver => 'hang');
    is(outcome(token => $token), "200 ok $user jwt", 'known') for 1 .. 5;
    is(asked(), 1, 'without a question');
    stop();
};

subtest 'strict: a resolver that does not answer lets the token stand' => sub {
    start('recheck 1h strict;', workers => 2);
    my ($user, $token) = someone();
    fault(resolver => 'hang');
    my @answers = $nginx->receive((map { $nginx->send(token => $token) } 1 .. 20), 60);
    is_deeply($nginx->tally(@answers), { '200 ok' => 20 }, 'after its time-out');
    stop();
};

done_testing();
