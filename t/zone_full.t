# A zone that is too small for all answers of the resolver: a revoked token stays
# refused until it expires, whatever else comes.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(:DEFAULT start_resolving stop_resolving);
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep);

my $warning = 'the shared zone is too small';
my $users = 0;

sub start {
    my ($project, $size) = @_;
    my $nginx = start_resolving($project, http => "authgear_shared_zone zone=authgear:$size;");
    soon { $nginx->ask(token => token(kind => 'user', expires_in => -1))->{status} == 401 } 'nginx has keys';
    reset_counts();
    return $nginx;
}

# A new user and a token; a disabled user's token is one that the resolver says no to.
sub someone {
    my $name = 'user-' . ++$users;
    return ($name, token(user => $name));
}

sub revoked {
    my ($name, $token) = someone();
    control('POST', "/-/users/$name/disable");
    return $token;
}

# Sends what requests are told in pieces that a listen queue holds; returns the outcomes.
sub tally {
    my ($nginx, @requests) = @_;
    my %count;
    while (my @piece = splice @requests, 0, 50) {
        my $tally = $nginx->tally($nginx->receive(map { $nginx->send(%$_) } @piece));
        $count{$_} += $tally->{$_} for keys %$tally;
    }
    return \%count;
}

# Waits until no more questions come: each holds its client's connection.
sub settle {
    my $last = -1;
    return soon { sleep 0.3; my $before = $last; $last = asked(); $last == $before } 'no question is left';
}

sub warnings_of { return scalar grep { /\[warn\].*\Q$warning\E/ } split /\n/, $_[0]->log_text }

subtest 'a no survives 1200 other tokens and 2500 made-up cookies' => sub {
    my $nginx = start('recheck 1h; resolve_cache 10m;', '1m');
    my $token = revoked();
    $nginx->ask(token => $token);
    my $status = sub { $nginx->ask(token => $token)->{status} };
    soon { $status->() == 401 } 'a revoked token is refused';
    is(asked(), 1, 'after one question');

    my $made_up = sub {
        return map { { headers => cookie(session => "made-up-$_[0]-$_") } } 1 .. 2500;
    };
    is_deeply(tally($nginx, $made_up->('a')), { '401 session_invalid' => 2500 }, 'made-up cookies');
    is($status->(), 401, 'do not bring it back');
    is(warnings_of($nginx), 0, 'and are no reason to enlarge the zone');

    my @others = map { { token => (someone())[1] } } 1 .. 1200;
    for my $round (1, 2) {
        is_deeply(tally($nginx, @others), { '200 ok' => 1200 }, "other tokens, round $round");
        is($status->(), 401, 'do not bring it back either');
        settle();
    }
    is_deeply(tally($nginx, $made_up->('b')), { '401 session_invalid' => 2500 }, 'more cookies');
    is($status->(), 401, 'nor do these') for 1 .. 8;
    is(warnings_of($nginx), 1, 'that the zone is too small is said once');
    ok($nginx->reload, 'a reload');
    is($status->(), 401, 'does not bring it back');
    stop_resolving($nginx);
};

subtest 'made-up cookies do not drive out live sessions' => sub {
    my $nginx = start('resolve_cache 10m;', '1m');
    my @sessions = map { { headers => cookie(session => session(user => 'user-' . ++$users)) } } 1 .. 60;
    is_deeply(tally($nginx, @sessions), { '200 ok' => 60 }, 'sixty sessions');
    is(asked(), 60, 'are sixty questions');
    tally($nginx, map { { headers => cookie(session => "made-up-$_") } } 1 .. 2500);
    reset_counts();
    is_deeply(tally($nginx, @sessions), { '200 ok' => 60 }, 'after 2500 made-up ones they are valid');
    # Questions may take a quarter of a set, so it counts if chance has crowded one.
    cmp_ok(asked(), '<=', 3, 'nearly all without a question');
    stop_resolving($nginx);
};

subtest 'where a no has no room, tokens wait for the answer' => sub {
    my $nginx = start('recheck 1h;', '512k');
    my @revoked = map { { token => revoked() } } 1 .. 600;
    tally($nginx, @revoked);
    soon { asked() >= 600 } 'each revoked token has been asked about';
    sleep 0.2;
    is_deeply(tally($nginx, @revoked), { '401 session_invalid' => 600 }, 'all of them are refused');
    is_deeply(tally($nginx, @revoked), { '401 session_invalid' => 600 }, 'and stay refused');
    is(warnings_of($nginx), 1, 'that the zone is too small is said once');

    my @good = map { (someone())[1] } 1 .. 10;
    fault(resolver => 'slow', delay_ms => 500);
    my @answers = $nginx->receive(map { $nginx->send(token => $_) } @good);
    is_deeply($nginx->tally(@answers), { '200 ok' => 10 }, 'tokens that stand pass');
    is((grep { $_->{seconds} >= 0.5 } @answers), 10, 'when the resolver has confirmed them');
    stop_resolving($nginx);
};

done_testing();
