# authgear_status: each counter moves by an exact amount, whichever worker counts, and is kept across
# a reload and the death of a worker.

use strict;
use warnings;

use JSON::PP;
use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Server;

my $http = <<'END';
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
authgear_project checked {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    recheck 1h strict;
}
END
my $server = <<'END';
include $TEST_NGINX_RESOLVER;
location = /status { authgear_status; }
location = /metrics { authgear_status prometheus; }
location = /observe { authgear_verify myapp observe; authgear_require_role admin; empty_gif; }
location = /optional { authgear_verify myapp optional; empty_gif; }
location = /role { authgear_verify myapp; authgear_require_role admin; empty_gif; }
location = /scope { authgear_verify myapp; authgear_require_scope write; empty_gif; }
location = /age { authgear_verify myapp; authgear_require_auth_age 5m; empty_gif; }
location = /value { authgear_verify myapp; authgear_require $arg_none; empty_gif; }
location = /down { authgear_verify down; empty_gif; }
location = /checked { authgear_verify checked; empty_gif; }
location = /again { authgear_verify myapp; try_files /none /end; }
location = /end { authgear_verify myapp; empty_gif; }
END
my $nginx = Test::Nginx::Authgear::Server->start(
    workers => 2, http => $http, server => $server,
    project => 'resolve_request /_authgear/resolve; resolve_cache 1h; jwks_min_interval 1s;');
my %to = $nginx->connection_to_each;
my ($one, $two) = map { $to{$_} } sort keys %to;

# The metrics: a hash of series and their values.
sub metrics {
    my $answer = $nginx->ask(path => '/metrics', @_);
    return { map {/^(\S+) (\S+)$/} grep { !/^#/ } split /\n/, $answer->{body} };
}

# What differs between two readings, but for durations, what the clock moves, and the
# fetches of a project that tries again and again.
sub difference {
    my ($before, $after, $with_tables) = @_;
    my %difference;
    for my $series (keys %$after) {
        next if $series =~ /_(?:sum|bucket|count|age_seconds)\b|^authgear_zone_bytes|fetches_total\{project="down"/;
        next if !$with_tables && $series =~ /^authgear_table_/;
        my $by = $after->{$series} - ($before->{$series} // 0);
        $difference{ $series =~ s/^authgear_//r =~ s/"//gr } = $by if $by;
    }
    return \%difference;
}

# One assertion: what a piece of code moves. Tables are looked at where they are expected
# to move.
sub moves {
    my ($name, $expected, $code) = @_;
    my $with_tables = grep {/^table_/} keys %$expected;
    my $before = metrics();
    $code->();
    my $difference;
    wait_for { $difference = difference($before, metrics(), $with_tables); keys %$difference == keys %$expected } 5;
    is_deeply($difference, $expected, $name);
    return;
}

sub requests {
    my ($mode, $source, $reason, $project) = @_;
    $project //= 'myapp';
    return "requests_total{project=$project,mode=$mode,source=$source,reason=$reason}";
}

my $checks = 'signature_checks_total{project=myapp}';
my ($ann, $bob) = map { token(user => $_, auth_time => time - 3600) } qw(ann bob);

# --- the keys that are fetched at start

my $text;
soon { $text = metrics(); $text->{'authgear_keys{project="myapp"}'} && $text->{'authgear_fetches_total{project="down",result="connect"}'} }
    'keys are fetched at start';
is($text->{"authgear_fetches_total{project=\"$_->[0]\",result=\"$_->[1]\"}"}, 1, "$_->[0]: one fetch, $_->[1]")
    for ['myapp', 'ok'];
cmp_ok($text->{'authgear_fetches_total{project="down",result="connect"}'}, '>=', 1, 'down: a fetch that fails');
is($text->{'authgear_fetch_duration_seconds_count{project="myapp"}'}, 1, 'and its duration');
is($text->{'authgear_keys{project="myapp"}'}, 1, 'one key');
is($text->{'authgear_keys_stale{project="down"}'}, 1, 'no keys');

# --- requests

moves('a token', { requests(qw(required jwt ok)) => 1, $checks => 1 },
    sub { $nginx->ask(token => $ann, on => $one) });
moves('it again', { requests(qw(required jwt_cache ok)) => 3 },
    sub { $nginx->ask(token => $ann, on => $one) for 1 .. 3 });
moves('no credential', { requests(qw(required none no_credential)) => 2 },
    sub { $nginx->ask(on => $_) for $one, $two });
moves('an expired token', { requests(qw(required none expired)) => 2, $checks => 2 },
    sub { $nginx->ask(token => token(expires_in => -1), on => $_) for $one, $two });
moves('no credential, optional', { requests(qw(optional none no_credential)) => 1 },
    sub { $nginx->ask(path => '/optional', on => $one) });
moves('observe: what would be refused', {
        requests(qw(observe none no_credential)) => 1,
        requests(qw(observe jwt_cache policy)) => 1,
        'unmet_requirements_total{project=myapp,kind=role}' => 1,
    },
    sub { $nginx->ask(path => '/observe', on => $one, @$_) for [], [token => $ann] });
for my $kind (qw(role scope age value)) {
    my $label = { age => 'auth_age', value => 'require' }->{$kind} // $kind;
    moves("$kind is not met", {
            requests(qw(required jwt_cache policy)) => 1,
            "unmet_requirements_total{project=myapp,kind=$label}" => 1,
        },
        sub { $nginx->ask(path => "/$kind", token => $ann, on => $one) });
}
moves('an internal redirect is one request', { requests(qw(required jwt_cache ok)) => 1 },
    sub { $nginx->ask(path => '/again', token => $ann, on => $one) });
moves('no keys', { requests(qw(required none keys_unavailable), 'down') => 1 },
    sub { $nginx->ask(path => '/down', token => $ann, on => $one) });

my $lookups = sub {"table_lookups_total{table=judgements,result=$_[0]}"};
my $entries = 'table_entries{table=judgements}';
my $eve = token(user => 'eve');
moves('a token that nobody knows is not in the table, and is put there',
    { requests(qw(required jwt ok)) => 1, $checks => 1, $lookups->('miss') => 1, $entries => 1 },
    sub { $nginx->ask(token => $eve, on => $one) });
moves('the other worker finds it there', { requests(qw(required jwt_cache ok)) => 1, $lookups->('hit') => 1 },
    sub { $nginx->ask(token => $eve, on => $two) });

# --- the resolver

my $questions = sub {"resolver_questions_total{project=$_[1],result=$_[0]}"};
my $cookie = cookie(session => session(user => 'ann'));
moves('a session', { requests(qw(required resolver ok)) => 1, $questions->('yes', 'myapp') => 1 },
    sub { $nginx->ask(headers => $cookie, on => $one) });
moves('it again, in the other worker', { requests(qw(required resolver_cache ok)) => 1 },
    sub { $nginx->ask(headers => $cookie, on => $two) });
moves('a made-up one', { requests(qw(required none session_invalid)) => 1, $questions->('no', 'myapp') => 1 },
    sub { $nginx->ask(headers => cookie(session => 'made-up'), on => $one) });
fault(resolver => 'status', status => 500);
moves('the resolver fails', { requests(qw(required none resolver_unavailable)) => 1, $questions->('error', 'myapp') => 1 },
    sub { $nginx->ask(headers => cookie(session => 'another'), on => $one) });
heal();
my $rechecks = sub {"rechecks_total{project=checked,result=$_[0]}"};
moves('a recheck', {
        requests(qw(required jwt ok), 'checked') => 1, 'signature_checks_total{project=checked}' => 1,
        $questions->('yes', 'checked') => 1, $rechecks->('yes') => 1,
    },
    sub { $nginx->ask(path => '/checked', token => $bob, on => $one) });

fault(resolver => 'status', status => 500);
moves('a recheck without a verdict', {
        requests(qw(required jwt ok), 'checked') => 1, 'signature_checks_total{project=checked}' => 1,
        $questions->('error', 'checked') => 1, $rechecks->('error') => 1,
    },
    sub { $nginx->ask(path => '/checked', token => token(user => 'cid'), on => $one) });
heal();
{
    my $count = 'authgear_resolver_duration_seconds_count{project="checked"}';
    is(metrics()->{$count}, 2, 'the durations of both');
    cmp_ok(metrics()->{'authgear_zone_lock_seconds_count'}, '>', 5, 'and each time that the mutex was taken');
}

# --- workers, reloads

{
    my $before = metrics();
    my $kill = (sort keys %to)[0];
    kill KILL => $kill;
    soon { $nginx->workers == 2 && !grep { $_ == $kill } $nginx->workers } 'a worker is killed, another one starts';
    is_deeply(difference($before, metrics()), {}, 'nothing is lost');
    ok($nginx->reload, 'a reload');
    is_deeply(difference($before, metrics()), {}, 'nothing is lost');
    ok($nginx->reload(http => "authgear_project first { endpoint \$TEST_NGINX_AUTHGEAR; }\n$http", workers => 3),
        'a reload with another project in front, and more workers');
    my $difference = difference($before, metrics());
    delete $difference->{$_} for grep {/project=first/} keys %$difference;
    is_deeply($difference, {}, 'nothing is lost');
    %to = $nginx->connection_to_each;
    moves('three workers', { requests(qw(required none no_credential)) => 6 },
        sub { $nginx->ask(on => $_) for (values %to) x 2 });
}

# --- waiting requests

{
    fault(jwks => 'hang');
    ok($nginx->reload(project => 'jwks_uri $TEST_NGINX_AUTHGEAR/oauth2/jwks?other=1; fetch_timeout 4s;', workers => 2),
        'a reload to keys that hang');
    my @sent = map { $nginx->send(token => $ann) } 1 .. 7;
    soon { (metrics()->{authgear_waiting_requests} // 0) == 7 } 'seven requests wait';
    my @workers = $nginx->workers;
    heal();
    kill KILL => @workers;
    soon { $nginx->workers == 2 && (metrics()->{authgear_waiting_requests} // 1) == 0 }
        'their workers are killed: none waits';
    $nginx->receive(@sent);
}

$nginx->stop_soundly(killed => 1);

# --- a zone that is too small

$nginx = Test::Nginx::Authgear::Server->start(
    workers => 1,
    http => 'authgear_shared_zone zone=authgear:512k;'
        . ' authgear_project tenants { endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR; }',
    server => 'location = /metrics { authgear_status prometheus; } location /tenant { authgear_verify tenants; empty_gif; }',
);
my $evictions = sub {"table_live_evictions_total{table=$_[0]}"};
my $value = sub { metrics()->{ 'authgear_' . $_[0] =~ s/=(\w+)/="$1"/r } };
{
    my $known = 0;
    until ($value->($evictions->('judgements')) || $known > 1000) {
        $nginx->ask(token => $_) for map { token(user => "many-$_") } $known + 1 .. $known + 20;
        $known += 20;
    }
    cmp_ok($known, '>', 100, "$known tokens do not fit");
    moves('a token that is still valid gives way to a new one', {
            requests(qw(required jwt ok)) => 3, $checks => 3, $lookups->('miss') => 3, $evictions->('judgements') => 3,
        },
        sub { $nginx->ask(token => $_) for map { token(user => "last-$_") } 1 .. 3 });
}
{
    # Each key set takes a hundred KiB of the zone.
    my $document = key_set() =~ s/\{/'{' . ' ' x 100_000/er;
    my $tenants = 0;
    my $tenant = sub {
        my $host = 'tenant-' . ++$tenants . '.example.com';
        control('PUT', "/-/keys/raw?project=https://$host", $document);
        my $token = token(claims => { iss => "https://$host", aud => ["https://$host"] });
        return $nginx->ask(path => "/tenant?t=tenant-$tenants", token => $token);
    };
    $tenant->() until $value->($evictions->('keys')) || $tenants > 10;
    cmp_ok($tenants, '>', 1, "$tenants key sets do not fit");
    my $before = metrics();
    $tenant->();
    my $difference = difference($before, metrics(), 1);
    is($difference->{ $evictions->('keys') }, 1, 'a key set that is in use gives way to a new one');
    is($difference->{'fetches_total{project=tenants,result=ok}'}, 1, 'one fetch');
    is($difference->{'tenants{project=tenants}'}, undef, 'the number of tenants stays');
}
$nginx->stop_soundly;

done_testing();
