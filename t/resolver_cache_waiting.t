# resolve_cache: requests with the same credential wait for one question, also when who
# asks leaves, fails or dies.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(:DEFAULT @kinds credentials headers_of source start_resolving stop_resolving told);
use Test::Nginx::Authgear::Server;

my $nginx;

sub start { $nginx = start_resolving(@_) }

sub stop { stop_resolving($nginx, @_) }

# A request's status, reason, user and source, and how often the resolver was asked.
sub outcome {
    my ($headers) = @_;
    my $before = asked();
    my $answer = $nginx->ask(headers => $headers);
    return told($answer) . ' asked ' . (asked() - $before);
}

subtest 'who waits for a question that fails is told so' => sub {
    start('resolve_cache 10m;', workers => 4);
    my %of = credentials();
    my $cookie = cookie(session => $of{session});
    fault(resolver => 'hang');
    my @answers = $nginx->receive(map { $nginx->send(headers => $cookie) } 1 .. 40);
    is_deeply($nginx->tally(@answers), { '503 resolver_unavailable' => 40 }, 'no answer in time: forty times 503');
    is((grep { ($_->{retry_after} // '') =~ /^[1-9]/ } @answers), 40, 'with Retry-After');
    is(asked(), 1, 'after one question');
    heal();
    is(outcome($cookie), "200 ok session-$of{n} resolver asked 1", 'the time-out is not kept');
    stop();
};

subtest 'simultaneous requests with one credential make one question' => sub {
    start('resolve_cache 10m;', workers => 4);
    for my $kind (@kinds) {
        my %of = credentials();
        my $headers = headers_of($kind => $of{$kind});
        reset_counts();
        fault(resolver => 'slow', delay_ms => 1000);
        my @answers = $nginx->receive(map { $nginx->send(headers => $headers) } 1 .. 100);
        heal();
        is_deeply($nginx->tally(@answers), { '200 ok' => 100 }, "$kind: a hundred requests are let in");
        my %worker = map { $_->{worker} => 1 } @answers;
        is(keys %worker, 4, "$kind: by four workers");
        is((grep { $_->{user} =~ /^\w.*-$of{n}$/ } @answers), 100, "$kind: each knows its user");
        is(asked(), 1, "$kind: after one question");
        my %from;
        $from{ source($_) }++ for @answers;
        is_deeply(\%from, { resolver => 1, resolver_cache => 99 }, "$kind: of one of them");
    }
    stop();
};

subtest 'simultaneous requests of many users are not mixed up' => sub {
    start('resolve_cache 10m;', workers => 4);
    my @names = map {"user-$_"} 1 .. 50;
    my %session = map { $_ => session(user => $_) } @names;
    fault(resolver => 'slow', delay_ms => 500);
    my @asking = (@names, reverse(@names), @names, @names);
    my @answers = $nginx->receive(map { $nginx->send(headers => cookie(session => $session{$_})) } @asking);
    is_deeply([map { $_->{user} // $_->{error} } @answers], \@asking, 'each is who it is');
    is(asked(), 50, 'one question for each session');
    stop();
};

subtest 'a session too large to be kept is asked for by each request, side by side' => sub {
    start('resolve_cache 10m;');
    my $cookie = cookie(session => session(user => { id => 'large', roles => [map {"role-$_"} 1 .. 100] }));
    is(outcome($cookie), '200 ok large resolver asked 1', "$_: asked") for qw(first second);
    reset_counts();
    fault(resolver => 'hang');
    my @sent = map { $nginx->send(headers => $cookie) } 1 .. 10;
    soon { asked() == 10 } 'ten requests ask before one is answered';
    $nginx->leave(@sent);
    stop();
};

subtest 'whoever asks and leaves hands the question on' => sub {
    start('resolve_cache 10m;', workers => 2);
    my $cookie = cookie(session => session(user => 'alice'));
    my %to = $nginx->connection_to_each;
    my ($one, $other) = map { $to{$_} } sort keys %to;
    fault(resolver => 'hang', times => 1);
    my $asking = $nginx->send(headers => $cookie, on => $one);
    soon { asked() == 1 } 'one asks';
    my @waiting = ($nginx->send(headers => $cookie, on => $other), map { $nginx->send(headers => $cookie) } 1 .. 20);
    is($nginx->ask(path => '/free')->{status}, 200, 'others are served');
    is(asked(), 1, 'the others wait');
    $nginx->leave($asking);
    my @answers = $nginx->receive(@waiting);
    is_deeply($nginx->tally(@answers), { '200 ok' => 21 }, 'all that stay are let in');
    is(asked(), 2, 'after one more question');
    stop();
};

subtest 'who leaves while it waits leaves nothing behind' => sub {
    start('resolve_cache 10m;', workers => 2);
    my %to = $nginx->connection_to_each;
    my $descriptors = sub {
        my $sum = 0;
        $sum += Test::Nginx::Authgear::Server::descriptors($_) for $nginx->workers;
        return $sum;
    };
    my $before = $descriptors->();
    for my $round (1 .. 3) {
        my $cookie = cookie(session => session(user => 'alice'));
        reset_counts();
        fault(resolver => 'slow', delay_ms => 1500);
        my $asking = $nginx->send(headers => $cookie);
        soon { asked() == 1 } 'one asks';
        my @leaving = map { $nginx->send(headers => $cookie) } 1 .. 200;
        my @staying = map { $nginx->send(headers => $cookie) } 1 .. 5;
        $nginx->leave(@leaving);
        is_deeply($nginx->tally($nginx->receive($asking, @staying)), { '200 ok' => 6 }, 'who stays is let in');
        is(asked(), 1, 'after one question');
    }
    # The connections to the resolver may stay open.
    soon { $descriptors->() <= $before + 4 } 'no descriptor is left behind';

    fault(resolver => 'hang');
    reset_counts();
    my $cookie = cookie(session => session(user => 'bob'));
    my @sent = map { $nginx->send(headers => $cookie) } 1 .. 20;
    soon { asked() } 'a question hangs';
    $nginx->leave(@sent);
    soon { $descriptors->() <= $before + 4 } 'when all have left, nobody waits';
    heal();
    is(told($nginx->ask(headers => $cookie)), '200 ok bob resolver', 'and the next request asks at once');
    stop();
};

subtest 'a worker killed while it asks blocks others for ten seconds, not for ever' => sub {
    start('resolve_cache 10m;', workers => 2);
    my $cookie = cookie(session => session(user => 'alice'));
    my %to = $nginx->connection_to_each;
    my ($killed, $other) = sort keys %to;
    fault(resolver => 'hang', times => 1);
    my $asking = $nginx->send(headers => $cookie, on => $to{$killed});
    soon { asked() == 1 } 'one asks';
    kill KILL => $killed;
    is(($nginx->receive($asking))[0]{error}, 'closed', 'its worker dies');
    my @answers = $nginx->receive(map({ $nginx->send(headers => $cookie) } 1 .. 20),
        $nginx->send(headers => $cookie, on => $to{$other}), 60);
    is_deeply($nginx->tally(@answers), { '200 ok' => 21 }, 'the others are let in');
    is(asked(), 2, 'after one more question');
    stop(killed => 1);
};

done_testing();
