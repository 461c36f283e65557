# Keys that come and go: new ones are found, made-up ones cost nothing, and
# those that left are refused by every worker at once.

use strict;
use warnings;

use MIME::Base64 qw(encode_base64url);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep time);

# The token with another kid in its header; its signature fits no key any more.
sub with_kid {
    my ($token, $kid) = @_;
    my (undef, @rest) = split /\./, $token;
    return join '.', encode_base64url(qq({"alg":"RS256","typ":"at+jwt","kid":"$kid"})), @rest;
}

# Each worker's answer to the token, each asked once.
sub on_each {
    my ($nginx, $connections, $token) = @_;
    my @answers = map { $nginx->ask(token => $token, on => $_) } values %$connections;
    return $nginx->tally(@answers);
}

sub fetches { return counts()->{jwks} }

# The least interval is over.
sub wait_until { my ($time) = @_; sleep 0.05 while time < $time }

my $four = { '200 ok' => 4 };

{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        http => 'authgear_token_cache 100;',
        project => 'jwks_min_interval 1s;',
    );
    my $old = token(user => 'alice');
    my %to = $nginx->connection_to_each;
    is(scalar keys %to, 4, 'a connection to each of four workers');
    is_deeply(on_each($nginx, \%to, $old), $four, 'a token passes in each');
    my $over = time + 1.2;
    is(fetches(), 1, 'after one fetch');

    control('POST', '/-/keys/rotate', {});
    my $new = token(user => 'bob');
    wait_until($over);
    my $first = $nginx->ask(token => $new);
    is("$first->{status} $first->{user}", '200 bob', 'the first token of a new key passes');
    is(fetches(), 2, 'after one more fetch');
    is_deeply(on_each($nginx, \%to, $new), $four, 'and in each worker');
    is_deeply(on_each($nginx, \%to, $old), $four, 'beside that of the old key');
    is(fetches(), 2, 'without another fetch');

    # Both were verified by all workers.
    $over = time + 1.2;
    control('POST', '/-/keys/rotate', { keep_old => JSON::PP::false() });
    my $newest = token(user => 'carol');
    wait_until($over);
    is_deeply(on_each($nginx, \%to, $new), $four, 'nobody has asked yet');
    is($nginx->ask(token => $newest)->{status}, 200, 'a rotation that drops the old keys');
    is_deeply(on_each($nginx, \%to, $_), { '401 unknown_key' => 4 },
        'a key that left is refused in each worker, for a token verified before as well')
        for $old, $new;
    is_deeply(on_each($nginx, \%to, $newest), $four, 'the new one passes');
    cmp_ok(fetches(), '<=', 4, 'a dropped key is no reason to fetch again and again');

    # The key set loses a key and nobody comes with an unknown one.
    my $kid = control('POST', '/-/keys/rotate', {});
    my $dropped = token();
    soon { $nginx->ask(token => $dropped)->{status} == 200 } 'one more key';
    is_deeply(on_each($nginx, \%to, $dropped), $four, 'in each worker');
    control('POST', '/-/keys/drop', { kid => $kid });
    ok($nginx->reload(project => 'jwks_min_interval 1s; jwks_refresh 1s;'), 'a shorter refresh');
    %to = $nginx->connection_to_each;
    soon {
        $nginx->ask(token => $newest);
        $nginx->ask(token => $dropped)->{status} == 401;
    } 'the refresh finds that it was dropped', 10;
    is_deeply(on_each($nginx, \%to, $dropped), { '401 unknown_key' => 4 }, 'for each worker');

    $nginx->stop_soundly;
}

# Within the interval: the set is as new as it may be.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => 'jwks_min_interval 60s;',
    );
    my $good = token();
    is($nginx->ask(token => $good)->{status}, 200, 'keys are at hand');
    reset_counts();
    control('POST', '/-/keys/rotate', {});
    my $new = token();
    my @answers = $nginx->receive(
        map { $nginx->send(token => $_) } $new, map { with_kid($good, "made-up-$_") } 1 .. 200
    );
    is_deeply($nginx->tally(@answers), { '401 unknown_key' => 201 },
        'unknown keys within the interval');
    is(fetches(), 0, 'cause no fetch');
    $nginx->stop_soundly;
}

# A kid that no variable may show: no key is looked for.
{
    my $nginx = Test::Nginx::Authgear::Server->start(workers => 1, project => 'jwks_min_interval 1s;');
    my $good = token();
    is($nginx->ask(token => $good)->{status}, 200, 'keys are at hand');
    wait_until(time + 1.2);
    reset_counts();
    my $refused = $nginx->ask(token => with_kid($good, 'a\\nb'));
    is_deeply($nginx->tally($refused), { '401 bad_claim' => 1 }, 'a kid with a control character');
    is(fetches(), 0, 'causes no fetch');
    is_deeply($nginx->tally($nginx->ask(token => with_kid($good, 'made-up'))), { '401 unknown_key' => 1 },
        'another one');
    is(fetches(), 1, 'does');
    $nginx->stop_soundly;
}

# Many made-up kids while the fetch takes its time.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => 'jwks_min_interval 1s; fetch_timeout 8s;',
    );
    my $good = token();
    my %to = $nginx->connection_to_each;
    is_deeply(on_each($nginx, \%to, $good), $four, 'keys are at hand');
    my $over = time + 1.2;
    my @made_up = map { with_kid($good, "made-up-$_") } 1 .. 300;

    reset_counts();
    # All are sent, and good tokens answered, before the fetch ends.
    fault(jwks => 'slow', delay_ms => 4000);
    wait_until($over);
    my @waiting = map { $nginx->send(token => $_) } @made_up;
    soon { fetches() } 'a fetch is under way';
    my @answers = map { $nginx->ask(token => $good, on => $_) } values %to;
    is_deeply($nginx->tally(@answers), $four, 'good tokens pass meanwhile');
    is(scalar $nginx->answered(@waiting), 0, 'before the unknown ones are answered');
    is_deeply($nginx->tally($nginx->receive(@waiting)), { '401 unknown_key' => 300 },
        '300 made-up kids are refused');
    is(fetches(), 1, 'after one fetch for all');
    $over = time + 1.2;

    # A fetch that never ends is no verdict.
    fault(jwks => 'hang');
    reset_counts();
    wait_until($over);
    @waiting = map { $nginx->send(token => $_) } @made_up;
    soon { fetches() } 'a fetch hangs';
    @answers = map { $nginx->ask(token => $good, on => $_) } (values %to) x 5;
    is_deeply($nginx->tally(@answers), { '200 ok' => 20 }, 'good tokens pass');
    is(scalar $nginx->answered(@waiting), 0, 'at once');
    @answers = $nginx->receive(@waiting);
    is_deeply($nginx->tally(@answers), { '503 keys_unavailable' => 300 },
        'an unknown kid is 503 when the fetch failed');
    is((grep { ($_->{retry_after} // '') =~ /^[1-9]\d*$/ } @answers), 300, 'with Retry-After');
    is(fetches(), 1, 'after one attempt');

    # For some seconds, new ones all the time.
    heal();
    soon { $nginx->ask(token => $made_up[0])->{status} == 401 } 'it works again';
    reset_counts();
    my $began = time;
    my @all;
    for (my $round = 1; time < $began + 3; $round++) {
        push @all, $nginx->receive(
            map { $nginx->send(token => with_kid($good, "round-$round-$_")) } 1 .. 20
        );
        sleep 0.02;
    }
    my $seconds = time - $began;
    is_deeply($nginx->tally(@all), { '401 unknown_key' => scalar @all },
        'a flood of made-up kids is refused');
    cmp_ok(fetches(), '<=', 1 + $seconds, 'with at most one fetch per interval');
    note scalar(@all), ' requests in ', int($seconds), ' s, ', fetches(), ' fetches';

    $nginx->stop_soundly;
}

# While fetches fail, an unknown kid is no verdict: 503 within the back-off, too.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => 'jwks_min_interval 60s; jwks_refresh 1s; jwks_stale 60s;',
    );
    my $good = token();
    is($nginx->ask(token => $good)->{status}, 200, 'keys are at hand');
    fault(jwks => 'status');
    soon { $nginx->ask(token => $good); $nginx->key_lines('status 500') } 'a fetch fails';
    my @answers = $nginx->receive(
        map { $nginx->send(token => with_kid($good, "made-up-$_")) } 1 .. 50
    );
    is_deeply($nginx->tally(@answers), { '503 keys_unavailable' => 50 }, 'an unknown kid is 503');
    @answers = $nginx->receive(map { $nginx->send(token => $good) } 1 .. 50);
    is_deeply($nginx->tally(@answers), { '200 ok' => 50 }, 'a known one passes');
    heal();
    soon { $nginx->ask(token => with_kid($good, 'made-up'))->{status} == 401 }
        'it is 401 once a fetch works';
    $nginx->stop_soundly;
}

done_testing();
