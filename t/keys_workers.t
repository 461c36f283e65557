# Workers that die, reload and stop, and clients that leave, while keys are
# fetched.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Http2;
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep time);

# Nothing is fetched before the first request, and each tenant is new.
my $by_tenant = 'endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR;';
my $key_set = key_set();
my $tenants = 0;

# A tenant that has the default project's keys: its path, a token, and a
# function that says how often its keys were fetched.
sub tenant {
    my $host = 'tenant-' . ++$tenants . '.example.com';
    my $project = "?project=https://$host";
    control('PUT', "/-/keys/raw$project", $key_set);
    my $token = token(claims => { iss => "https://$host", aud => ["https://$host"] });
    my $fetches = sub { return control('GET', "/-/counts$project")->{discovery} };
    return ("/?t=tenant-$tenants", $token, $fetches);
}

# Keys survive whatever happens to workers.
{
    reset_counts();
    my $nginx = Test::Nginx::Authgear::Server->start(workers => 4);
    my $token = token();
    my $all_pass = sub {
        my %to = $nginx->connection_to_each;
        return $nginx->tally(map { $nginx->ask(token => $token, on => $_) } values %to);
    };
    is_deeply($all_pass->(), { '200 ok' => 4 }, 'four workers have keys');
    is(counts()->{jwks}, 1, 'by one fetch');

    for my $worker ($nginx->workers) {
        kill KILL => $worker;
        soon { $nginx->workers == 4 && !grep { $_ == $worker } $nginx->workers }
            'a worker is killed, another one starts';
    }
    is_deeply($all_pass->(), { '200 ok' => 4 }, 'four new workers have them');
    ok($nginx->reload, 'a reload');
    ok($nginx->reload(workers => 2), 'a reload with fewer workers');
    ok($nginx->reload(workers => 4), 'with more');
    is_deeply($all_pass->(), { '200 ok' => 4 }, 'these have them, too');
    is(counts()->{jwks}, 1, 'and nobody has fetched again');
    $nginx->stop_soundly(killed => 1);
}

# kill -9 of the worker that fetches.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => "$by_tenant fetch_timeout 2s;",
    );
    my ($path, $token, $fetches) = tenant();
    # Forty clients whose worker is known, at least one for each.
    my @clients = map { { connection => $_ } } map { $nginx->connection } 1 .. 40;
    my %to = $nginx->connection_to_each;
    push @clients, map { { connection => $_ } } values %to;
    $_->{worker} = $nginx->ask(path => '/free', on => $_->{connection})->{worker} for @clients;

    fault(discovery => 'hang');
    my @sent = map { $nginx->send(path => $path, token => $token, on => $_->{connection}) } @clients;
    soon { $fetches->() } 'a fetch hangs';
    my $killed = $nginx->fetching_worker;
    ok($killed, 'one worker is fetching');
    heal();
    kill KILL => $killed;
    my @answers = $nginx->receive(@sent);
    my (@its, @others);
    for my $i (0 .. $#clients) {
        push @{ $clients[$i]{worker} == $killed ? \@its : \@others }, $answers[$i];
    }
    is_deeply($nginx->tally(@its), { closed => scalar @its },
        scalar @its . ' connections of the killed worker are lost');
    is_deeply($nginx->tally(@others), { '200 ok' => scalar @others },
        scalar @others . ' others are answered');
    is($fetches->(), 2, 'after one fetch by another worker');
    # The lease lasts three seconds.
    is_deeply([grep { $_->{seconds} > 8 } @others], [], 'once the lease is over');
    is($nginx->ask(path => $path, token => $token)->{status}, 200, 'then at once');
    $nginx->stop_soundly(killed => 1);
}

# kill -9 of workers that write the zone, at any moment: they publish keys, evict
# tenants' and store what the resolver said.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        http => 'authgear_shared_zone zone=authgear:512k; authgear_project asking { endpoint $TEST_NGINX_AUTHGEAR;'
            . ' resolve_request /_authgear/resolve; resolve_cache 1s; recheck 1s; }',
        server => 'include $TEST_NGINX_RESOLVER; location /asking { authgear_verify asking; empty_gif; }',
        project => "$by_tenant jwks_refresh 1s; jwks_stale 300s; jwks_min_interval 1s; fetch_timeout 2s;",
    );
    my @requests = (
        (map { my ($path, $token) = tenant(); { path => $path, token => $token } } 1 .. 30),
        (map { { path => '/asking', token => token(user => "asking-$_") } } 1 .. 10),
        (map { { path => '/asking', headers => cookie(session => session(user => "asking-$_")) } } 1 .. 10),
    );
    my $send_all = sub { return map { $nginx->send(%$_) } @requests };
    my $killed = 0;
    for my $round (1 .. 15) {
        my @sent = ($send_all->(), $send_all->());
        sleep rand 0.1;
        my @workers = $nginx->workers;
        $killed += kill KILL => $workers[rand @workers];
        $nginx->receive(@sent);
        wait_for { $nginx->workers == 4 } 10;
    }
    is($killed, 15, 'fifteen workers are killed while they fetch, evict and store');
    my $all_pass = sub {
        my $tally = $nginx->tally($nginx->receive($send_all->()));
        return keys %$tally == 1 && $tally->{'200 ok'};
    };
    soon { $all_pass->() } 'then all requests are answered';
    $nginx->mark_log;
    sleep 1.1;
    ok($all_pass->(), 'and again, with keys fetched anew') for 1 .. 3;
    is_deeply([$nginx->key_lines('no room')], [], 'no part of the zone is lost');
    $nginx->stop_soundly(killed => 1);
}

# Reloads under load.
{
    my $nginx = Test::Nginx::Authgear::Server->start(workers => 2);
    my $token = token();
    is($nginx->ask(token => $token)->{status}, 200, 'keys are at hand');
    reset_counts();
    my $load = $nginx->load(token => $token);
    for my $round (1 .. 5) {
        ok($nginx->reload, "reload $round");
        sleep 0.2;
    }
    my $count = $load->();
    is_deeply([keys %$count], ['200 ok'], 'under load, nothing is lost');
    cmp_ok($count->{'200 ok'}, '>=', 50, "$count->{'200 ok'} requests");
    is(counts()->{jwks} + counts()->{discovery}, 0, 'and nothing is fetched');
    soon { $nginx->all_workers == 2 } 'the old workers are gone';
    $nginx->stop_soundly;
}

# A reload while requests wait.
{
    my $nginx = Test::Nginx::Authgear::Server->start(workers => 4, project => $by_tenant);
    my ($path, $token, $fetches) = tenant();
    fault(jwks => 'slow', delay_ms => 2000);
    my @sent = map { $nginx->send(path => $path, token => $token) } 1 .. 40;
    soon { $fetches->() } 'a fetch is under way';
    ok($nginx->reload, 'a reload');
    push @sent, map { $nginx->send(path => $path, token => $token) } 1 .. 40;
    is_deeply($nginx->tally($nginx->receive(@sent)), { '200 ok' => 80 },
        'requests that came before and after are answered');
    is($fetches->(), 1, 'after one fetch');

    # A graceful stop finishes what waits, in whatever worker.
    ($path, $token, $fetches) = tenant();
    @sent = map { $nginx->send(path => $path, token => $token) } 1 .. 40;
    soon { $fetches->() } 'another fetch';
    soon { $nginx->has_read_all } 'all requests are read';
    $nginx->signal('QUIT');
    is_deeply($nginx->tally($nginx->receive(@sent)), { '200 ok' => 40 },
        'a graceful stop finishes the requests that wait');
    ok($nginx->ends, 'and nginx ends');
    heal();
    $nginx->was_sound;
}

# A graceful stop while the fetch fails.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        project => "$by_tenant fetch_timeout 1s;",
    );
    my ($path, $token, $fetches) = tenant();
    fault(jwks => 'hang');
    my @sent = map { $nginx->send(path => $path, token => $token) } 1 .. 40;
    soon { $fetches->() } 'a fetch hangs';
    soon { $nginx->has_read_all } 'all requests are read';
    $nginx->signal('QUIT');
    is_deeply($nginx->tally($nginx->receive(@sent)), { '503 keys_unavailable' => 40 },
        'a graceful stop tells them all');
    ok($nginx->ends, 'and nginx ends');
    heal();
    $nginx->was_sound;
}

# Clients that leave while they wait.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 2,
        project => "$by_tenant fetch_timeout 2s;",
    );
    my $round = sub {
        my ($leaving, $staying) = @_;
        my ($path, $token, $fetches) = tenant();
        fault(jwks => 'slow', delay_ms => 1000);
        my @leaving = map { $nginx->send(path => $path, token => $token) } 1 .. $leaving;
        my @staying = map { $nginx->send(path => $path, token => $token) } 1 .. $staying;
        wait_for { $fetches->() };
        $nginx->leave(@leaving);
        my $tally = $nginx->tally($nginx->receive(@staying));
        heal();
        return ($tally, $fetches->());
    };
    my $size = sub {
        my ($measure) = @_;
        my $sum = 0;
        $sum += $measure->($_) for $nginx->workers;
        return $sum;
    };
    my @measures = map { \&{"Test::Nginx::Authgear::Server::$_"} } qw(descriptors memory threads);
    $round->(300, 10);
    my ($descriptors, $memory, $threads) = map { $size->($_) } @measures;
    for (1 .. 3) {
        my ($tally, $fetches) = $round->(300, 10);
        is_deeply($tally, { '200 ok' => 10 }, '300 clients leave, 10 stay and are answered');
        is($fetches, 1, 'after one fetch');
    }
    soon { $size->($measures[0]) <= $descriptors } 'no descriptor is left behind';
    is($size->($measures[2]), $threads, 'and no thread');
    # AddressSanitizer keeps freed memory; there LeakSanitizer looks at what is left at the end.
    cmp_ok($size->($measures[1]) - $memory, '<', 8192, 'and no memory') unless $ENV{ASAN_OPTIONS};

    # The last one who waits leaves, too.
    my ($path, $token, $fetches) = tenant();
    fault(jwks => 'hang');
    my @sent = map { $nginx->send(path => $path, token => $token) } 1 .. 20;
    soon { $fetches->() } 'a fetch hangs';
    $nginx->leave(@sent);
    soon { $size->($measures[0]) <= $descriptors + 2 } 'nobody waits for it any more';
    is($nginx->ask(path => '/free')->{status}, 200, 'the worker works');
    heal();
    soon { $nginx->ask(path => $path, token => $token)->{status} == 200 } 'and fetches again';

    # Nobody waits: a stop is held back by the fetch at most.
    $nginx->stop_soundly;
}

# HTTP/2: streams that are reset while they wait, on a connection that stays.
{
    my $port = Test::Nginx::Authgear::Server::other_port();
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 2,
        project => "$by_tenant fetch_timeout 3s;",
        http => "server { listen 127.0.0.1:$port http2;"
            . ' location / { authgear_verify myapp; empty_gif; } location /free { empty_gif; } }',
    );
    my ($path, $token, $fetches) = tenant();
    fault(jwks => 'slow', delay_ms => 1500);
    my $h2 = http2($port);
    my $get = sub { return $h2->request("GET $path", "Authorization: Bearer $token") };
    my @streams = map { $get->() } 1 .. 60;
    soon { $fetches->() } 'a fetch is under way';
    $h2->reset($_) for @streams[0 .. 29];
    is($h2->answer($h2->request('GET /free'))->{status}, 200, 'another stream is served at once');
    is((grep { $h2->answer($_)->{status} eq '200' } @streams[30 .. 59]), 30,
        'streams that were not reset are answered');
    is($fetches->(), 1, 'after one fetch');

    ($path, $token, $fetches) = tenant();
    fault(jwks => 'hang');
    @streams = map { $get->() } 1 .. 60;
    soon { $fetches->() } 'a fetch hangs';
    $h2->reset($_) for @streams;
    is($h2->answer($h2->request('GET /free'))->{status}, 200, 'all are reset, the connection lives');
    for (1 .. 10) {
        my $leaving = http2($port);
        $leaving->request("GET $path", "Authorization: Bearer $token") for 1 .. 5;
    }
    heal();
    soon { $nginx->ask(path => $path, token => $token)->{status} == 200 }
        'connections are closed, and later requests are answered';
    is($h2->answer($get->())->{status}, 200, 'on the first connection, too');
    undef $h2;
    $nginx->stop_soundly;
}

# While a fetch hangs, its worker serves everybody else.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        project => "$by_tenant fetch_timeout 20s;",
    );
    my ($path, $token) = tenant();
    is($nginx->ask(path => $path, token => $token)->{status}, 200, 'one tenant has keys');
    my ($hanging, $its_token, $fetches) = tenant();
    fault(discovery => 'hang');
    my @waiting = map { $nginx->send(path => $hanging, token => $its_token) } 1 .. 20;
    soon { $fetches->() } q{another's fetch hangs};
    my @answers = map {
        ($nginx->ask(path => $path, token => $token), $nginx->ask(path => '/free'))
    } 1 .. 20;
    is_deeply($nginx->tally(@answers), { '200 ok' => 20, '200' => 20 }, 'others are answered');
    is_deeply([grep { $_->{seconds} > 3 } @answers], [], 'at once');
    is(scalar $nginx->answered(@waiting), 0, 'while it still hangs');
    $nginx->leave(@waiting);
    heal();
    $nginx->signal('TERM');
    ok($nginx->ends, 'and is no reason not to end');
    $nginx->was_sound;
}

done_testing();
