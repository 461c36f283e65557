# Keys that cannot be fetched: what is known stays in use for its time, the log
# says once what is wrong, and all is well again by itself.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear tls => 1, args => ['--tenants'];
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep time);

# A project of its own for each fault, reached at the one stand-in.
sub host { return "$_[0].example.com" }

sub of_tenant {
    my ($name, $method, $path, $body) = @_;
    return control($method, "$path?project=https://" . host($name), $body);
}

# Lines in the log about the keys of one tenant.
sub lines_of {
    my ($nginx, $name) = @_;
    return $nginx->key_lines(quotemeta 'https://' . host($name) . ':');
}

# Counting is for one part of this file; the log for all.
my @faults = (
    # name, what fails, how, what the log says
    ['garbage', jwks => { mode => 'garbage' }, qr/parse: /],
    ['emptyset', jwks => { mode => 'empty' }, qr/parse: /],
    ['status', jwks => { mode => 'status', status => 500 }, qr/status 500: /],
    ['redirect', jwks => { mode => 'redirect', location => 'http://127.0.0.1:1/keys' },
        qr/redirect: .*status 302 to "?http:\/\/127\.0\.0\.1:1\/keys/],
    ['oversize', jwks => { mode => 'oversize' }, qr/size: /],
    ['drip', jwks => { mode => 'drip' }, qr/time-out: /],
    ['hang', jwks => { mode => 'hang' }, qr/time-out: /],
    ['close', jwks => { mode => 'close' }, qr/response: /],
    ['discovery-status', discovery => { mode => 'status', status => 404 }, qr/status 404: /],
    ['discovery-garbage', discovery => { mode => 'garbage' }, qr/discovery: /],
    ['discovery-hang', discovery => { mode => 'hang' }, qr/time-out: /],
    ['discovery-redirect', discovery => { mode => 'redirect', location => 'https://127.0.0.1/' },
        qr/redirect: /],
    ['discovery-issuer', discovery => { mode => 'body', body =>
        '{"issuer":"https://other.example.com","jwks_uri":"https://other.example.com/k"}' },
        qr/discovery: .*issuer/],
    ['discovery-http', discovery => { mode => 'body', body =>
        '{"issuer":"https://discovery-http.example.com","jwks_uri":"http://192.0.2.1/k"}' },
        qr/discovery: .*http/],
);
my @names = map { $_->[0] } @faults;

{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 3,
        project => 'endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR;'
            . ' jwks_refresh 1s; jwks_stale 300s; jwks_min_interval 1s; fetch_timeout 1s;',
    );
    # The tenants' keys are the default project's, which spares making many.
    my $keys = key_set();
    my %token;
    for my $name (@names) {
        my $origin = 'https://' . host($name);
        of_tenant($name, 'PUT', '/-/keys/raw', $keys);
        $token{$name} = token(claims => { iss => $origin, aud => [$origin] });
    }
    my $ask_all = sub {
        my ($times) = @_;
        return $nginx->tally($nginx->receive(
            map { $nginx->send(path => "/?t=$_", token => $token{$_}) } (@names) x $times
        ));
    };
    is_deeply($ask_all->(1), { '200 ok' => scalar @names }, 'keys are at hand');
    is_deeply([$nginx->key_lines], [], 'and nothing is logged');

    of_tenant($_->[0], 'PUT', "/-/fault/$_->[1]", $_->[2]) for @faults;
    my %seen;
    soon {
        $ask_all->(1);
        $seen{$_} ||= lines_of($nginx, $_) for @names;
        @names == grep { $seen{$_} } @names;
    } 'all fetches fail', 20;
    # Long enough for a second attempt of each, which fails alike.
    my $until = time + 3;
    my $asked = 0;
    my $wrong = 0;
    while (time < $until) {
        my $tally = $ask_all->(3);
        $asked += 3 * @names;
        $wrong += 3 * @names - ($tally->{'200 ok'} // 0);
        sleep 0.2;
    }
    is($wrong, 0, "the old keys serve $asked requests");
    for my $fault (@faults) {
        my ($name, $what, undef, $pattern) = @$fault;
        my @lines = lines_of($nginx, $name);
        is(scalar @lines, 1, "$name: one line") or diag join "\n", @lines;
        like($lines[0] // '', qr/^\[error\] authgear: keys of \S+: $pattern/, 'that says what it was');
    }

    # Another failure is another line.
    of_tenant('garbage', 'PUT', '/-/fault/jwks', { mode => 'status', status => 502 });
    soon {
        $ask_all->(1);
        lines_of($nginx, 'garbage') == 2;
    } 'another failure is logged', 30;
    like((lines_of($nginx, 'garbage'))[1], qr/: status 502: /, 'for what it is');

    control('DELETE', '/-/fault');
    of_tenant($_, 'DELETE', '/-/fault') for @names;
    soon {
        $ask_all->(1);
        @names == grep { (lines_of($nginx, $_))[-1] =~ /^\[notice\] .* fetched again$/ } @names;
    } 'and recovery', 60;
    is_deeply([map { scalar lines_of($nginx, $_) } grep { $_ ne 'garbage' } @names],
        [(2) x (@names - 1)], 'in one line each');
    $nginx->stop_soundly;
}

# Keys missing altogether: connection refused.
{
    my $nginx;
    my $token = token();
    control('POST', '/-/gone');
    $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => 'fetch_timeout 2s; ssl_trusted_certificate $TEST_NGINX_AUTHGEAR_CA;'
            . ' endpoint $TEST_NGINX_AUTHGEAR_HTTPS;',
    );
    my @answers;
    my $until = time + 2;
    while (time < $until) {
        push @answers, $nginx->receive(map { $nginx->send(token => $token) } 1 .. 20);
        sleep 0.05;
    }
    is_deeply($nginx->tally(@answers), { '503 keys_unavailable' => scalar @answers },
        scalar @answers . ' requests without keys');
    is((grep { ($_->{retry_after} // '') !~ /^[12]$/ } @answers), 0, 'may come again in a second or two');
    my @lines = $nginx->key_lines;
    is(scalar @lines, 1, 'one line') or diag join "\n", @lines;
    like($lines[0], qr/^\[error\] authgear: keys of \S+: connect: \S+: .*refused/, 'that says refused');

    # Without a reload, and without any other help.
    control('POST', '/-/back');
    # A second or two later; the interval is 30.
    soon { $nginx->ask(token => $token)->{status} == 200 } 'keys come by themselves';
    like(($nginx->key_lines)[-1], qr/^\[notice\] .* fetched again$/, 'and the log says so');
    $nginx->stop_soundly;
}

# The first connection fails: a certificate that does not verify, a name that is
# not known. The look-up shall not take its time.
for my $case (
    ['a wrong CA', 'endpoint $TEST_NGINX_AUTHGEAR_HTTPS;'
        . ' ssl_trusted_certificate $TEST_NGINX_AUTHGEAR_OTHER_CA;', qr/TLS: /],
    ['an unknown name', 'endpoint https://authgear.invalid;', qr/name look-up: /],
    ['no TLS at all', 'endpoint https://localhost:' . (standin()->{http} =~ /:(\d+)$/)[0] . ';'
        . ' ssl_trusted_certificate $TEST_NGINX_AUTHGEAR_CA;', qr/TLS: /],
    ) {
    my ($name, $project, $pattern) = @$case;
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 2,
        main => 'env RES_OPTIONS=timeout:1\ attempts:1;',
        project => "$project fetch_timeout 10s;",
    );
    my @answers = $nginx->receive(map { $nginx->send(token => token()) } 1 .. 3);
    is_deeply($nginx->tally(@answers), { '503 keys_unavailable' => 3 }, "$name: no verdict");
    my @lines = $nginx->key_lines;
    is(scalar @lines, 1, 'one line') or diag join "\n", @lines;
    like($lines[0], qr/^\[error\] authgear: keys of \S+: $pattern/, 'that says what it was');
    $nginx->stop_soundly;
}

# Old keys are used for their time and no longer.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => 'jwks_refresh 1s; jwks_stale 2s; jwks_min_interval 1s;'
            . ' ssl_trusted_certificate $TEST_NGINX_AUTHGEAR_CA; endpoint $TEST_NGINX_AUTHGEAR_HTTPS;',
    );
    my $token = token();
    my %to = $nginx->connection_to_each;
    is($nginx->ask(token => $token)->{status}, 200, 'keys are at hand');
    fault(jwks => 'status', status => 503);
    soon { $nginx->ask(token => $token); $nginx->key_lines('status 503') } 'a fetch fails';
    my $while_failing = $nginx->ask(token => $token);
    is($while_failing->{status}, 200, 'they serve while they may');

    soon { $nginx->ask(token => $token)->{status} == 503 } 'then no longer';
    my @answers = map { $nginx->ask(token => $token, on => $_) } values %to;
    is_deeply($nginx->tally(@answers), { '503 keys_unavailable' => 4 }, 'in any worker');
    heal();
    soon { $nginx->ask(token => $token)->{status} == 200 } 'until they can be fetched', 4;
    $nginx->stop_soundly;
}

# Back-off: with keys that serve it grows to the interval, without any it stays
# at a second.
{
    my $tenant = 'https://$arg_t.example.com';
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => "endpoint $tenant; internal_endpoint \$TEST_NGINX_AUTHGEAR;"
            . ' jwks_refresh 1s; jwks_stale 300s; jwks_min_interval 20s; fetch_timeout 1s;',
    );
    my ($stale, $never) = qw(status never);
    my $origin = 'https://' . host($stale);
    my $token = token(claims => { iss => $origin, aud => [$origin] });
    is($nginx->ask(path => "/?t=$stale", token => $token)->{status}, 200, 'one tenant has keys');
    of_tenant($_, 'PUT', '/-/fault/discovery', { mode => 'status' }) for $stale, $never;
    soon {
        $nginx->ask(path => "/?t=$stale", token => $token);
        lines_of($nginx, $stale);
    } 'its fetch fails';
    of_tenant($_, 'POST', '/-/counts/reset') for $stale, $never;

    my ($began, @stale, @never) = time;
    while (time < $began + 5) {
        my @answers = $nginx->receive(map {
            $nginx->send(path => "/?t=$_", token => $token)
        } ($stale, $never) x 5);
        push @stale, @answers[map { 2 * $_ } 0 .. 4];
        push @never, @answers[map { 2 * $_ + 1 } 0 .. 4];
        sleep 0.05;
    }
    my $seconds = time - $began;
    is_deeply($nginx->tally(@stale), { '200 ok' => scalar @stale }, 'stale keys serve');
    is_deeply($nginx->tally(@never), { '503 keys_unavailable' => scalar @never }, 'no keys, 503');
    my ($few, $more) = map { of_tenant($_, 'GET', '/-/counts')->{discovery} } $stale, $never;
    # Pauses of 1, 2 and 4 s, each a quarter shorter at the least.
    cmp_ok($few, '<=', 3 + $seconds / 3, 'attempts with stale keys become rare');
    # 1 s, a quarter shorter at the least.
    cmp_ok($more, '<=', 1 + $seconds / 0.75, 'those without keys stay a second apart');
    cmp_ok($more, '>=', 2, 'and go on');
    note "in $seconds s: $few attempts with stale keys, $more without";
    $nginx->stop_soundly;
}

done_testing();
