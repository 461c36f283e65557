# Many requests and workers that need the same keys make one fetch.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Server;

# The number of fetches from the default project, or from a tenant.
sub fetched {
    my ($tenant) = @_;
    my $counts = control('GET', '/-/counts' . ($tenant ? "?project=https://$tenant" : ''));
    return "discovery $counts->{discovery}, jwks $counts->{jwks}";
}

sub workers_of {
    my %seen = map { $_->{worker} // '' => 1 } @_;
    return scalar keys %seen;
}

# An endpoint with a variable: nothing is fetched at start.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => 'endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR;',
    );
    my $one = 'one.example.com';
    my $token = control('POST', "/-/token?project=https://$one", { user => 'alice' });

    is(fetched($one), 'discovery 0, jwks 0', 'no fetch at start for an endpoint with a variable');
    fault(jwks => 'slow', delay_ms => 1000);
    my @sent = map { $nginx->send(path => '/?t=one', token => $token) } 1 .. 200;
    soon { fetched($one) =~ /jwks 1/ } 'a fetch is under way';
    is(scalar $nginx->answered(@sent), 0, 'all wait for it');
    my @answers = $nginx->receive(@sent);

    is_deeply($nginx->tally(@answers), { '200 ok' => 200 }, '200 first requests are answered');
    is(workers_of(@answers), 4, 'by four workers');
    is(fetched($one), 'discovery 1, jwks 1', 'with one fetch');
    is((grep { ($_->{user} // '') eq 'alice' } @answers), 200, 'each knows its user');

    heal();
    $nginx->stop_soundly;
}

# A fixed endpoint: the workers' own fetch at start serves the first requests.
{
    reset_counts();
    fault(jwks => 'slow', delay_ms => 1500);
    my $token = token(user => 'bob');
    my $nginx = Test::Nginx::Authgear::Server->start(workers => 4);
    my @answers = $nginx->receive(map { $nginx->send(token => $token) } 1 .. 200);

    is_deeply($nginx->tally(@answers), { '200 ok' => 200 }, 'requests wait for the fetch at start');
    is(fetched(), 'discovery 1, jwks 1', 'and make no other');
    heal();
    $nginx->stop_soundly;
}

# Keys that are too old to be used are fetched once.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => 'jwks_refresh 4s; jwks_stale 0;',
    );
    my $token = token();
    is($nginx->ask(token => $token)->{status}, 200, 'keys are at hand');

    fault(jwks => 'slow', delay_ms => 1000);
    reset_counts();
    # The keys are four seconds old when requests make the next fetch, and so long the next
    # ones serve: the answers come well before they expire in turn.
    soon { my $one = $nginx->send(token => $token); counts()->{discovery} } 'they expire';
    my @sent = map { $nginx->send(token => $token) } 1 .. 200;
    my @answers = $nginx->receive(@sent);
    is_deeply($nginx->tally(@answers), { '200 ok' => 200 }, 'all wait for the next set');
    is(fetched(), 'discovery 1, jwks 1', 'which is fetched once');
    heal();
    $nginx->stop_soundly;
}

# Keys that are old but may be used: one fetch in the background, and nobody waits.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => 'jwks_refresh 1s; jwks_stale 60s; fetch_timeout 10s;',
    );
    my $token = token();
    is($nginx->ask(token => $token)->{status}, 200, 'keys are at hand');

    fault(jwks => 'hang');
    reset_counts();
    soon { $nginx->ask(token => $token); counts()->{jwks} } 'a fetch in the background';
    my @answers = $nginx->receive(map { $nginx->send(token => $token) } 1 .. 200);
    is_deeply($nginx->tally(@answers), { '200 ok' => 200 }, 'stale keys serve');
    is_deeply([grep { $_->{seconds} > 3 } @answers], [], 'at once');
    is(fetched(), 'discovery 1, jwks 1', 'beside one fetch');
    heal();
    $nginx->signal('TERM');
    ok($nginx->ends, 'nginx ends');
    $nginx->was_sound;
}

# A fetch that fails is told to all who wait for it, and is not made again by each.
{
    fault(discovery => 'hang');
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => 'fetch_timeout 1s; endpoint https://$arg_t.example.com;'
            . ' internal_endpoint $TEST_NGINX_AUTHGEAR;',
    );
    reset_counts();
    my $token = token();
    my @answers = $nginx->receive(map { $nginx->send(path => '/?t=two', token => $token) } 1 .. 200);
    is_deeply($nginx->tally(@answers), { '503 keys_unavailable' => 200 }, 'no keys, no verdict');
    is((grep { ($_->{retry_after} // '') =~ /^[1-9]\d*$/ } @answers), 200, 'each with Retry-After');
    is(fetched('two.example.com'), 'discovery 1, jwks 0', 'after one attempt');
    heal();
    $nginx->stop_soundly;
}

done_testing();
