# One project for many tenants: an endpoint with variables.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use MIME::Base64 qw(encode_base64url);
use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Resolver ();
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep time);

my $by_tenant = 'endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR;';
my $smallest = 'authgear_shared_zone zone=authgear:512k;';
my $key_set = key_set();

sub of_tenant {
    my ($name, $method, $path, $body) = @_;
    return control($method, "$path?project=https://$name.example.com", $body);
}

sub fetches { return of_tenant($_[0], 'GET', '/-/counts')->{jwks} }

# Lets a tenant have the default project's keys, in a document of that size, and
# returns a token of its.
sub adopt {
    my ($name, $size) = @_;
    of_tenant($name, 'PUT', '/-/keys/raw', padded($key_set, $size || 0));
    my $origin = "https://$name.example.com";
    return token(claims => { iss => $origin, aud => [$origin] });
}

sub padded {
    my ($document, $size) = @_;
    my $blanks = $size - length $document;
    return $blanks > 0 ? $document . ' ' x $blanks : $document;
}

# --- what one tenant's token is worth at another

{
    my $nginx = Test::Nginx::Authgear::Server->start(project => $by_tenant);
    my %token = map { $_ => of_tenant($_, 'POST', '/-/token', { user => $_ }) } qw(red blue);
    my $ask = sub {
        my ($tenant, $token) = @_;
        my $answer = $nginx->ask(path => "/?t=$tenant", token => $token);
        return "$answer->{status} $answer->{reason}";
    };
    is($ask->($_, $token{$_}), '200 ok', "a token of $_ passes there") for qw(red blue);
    is($ask->(blue => $token{red}), '401 unknown_key', 'and not at another tenant');
    my $kid = of_tenant('blue', 'GET', '/-/keys')->{kids}[0];
    my (undef, @rest) = split /\./, $token{red};
    my $relabelled = join '.', encode_base64url(qq({"alg":"RS256","typ":"at+jwt","kid":"$kid"})),
        @rest;
    is($ask->(blue => $relabelled), '401 bad_signature', 'under a kid of its, either');
    is($ask->(blue => of_tenant('blue', 'POST', '/-/token',
        { claims => { iss => 'https://red.example.com' } })), '401 bad_issuer',
        'the issuer is the tenant');
    is($ask->(blue => of_tenant('blue', 'POST', '/-/token',
        { claims => { aud => ['https://red.example.com'] } })), '401 bad_audience',
        'and so is the audience');
    my $shared = adopt('green');
    adopt('yellow');
    is($ask->(green => $shared), '200 ok', 'two tenants with the same keys');
    is($ask->(yellow => $shared), '401 bad_issuer', 'are two tenants');
    $nginx->stop_soundly;
}

# --- more tenants than the zone holds

{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 3,
        http => $smallest,
        project => $by_tenant,
    );
    my @names = map { "many-$_" } 1 .. 30;
    my %token = map { $_ => adopt($_, 40_000) } 'favourite', @names;
    my $ask = sub {
        return $nginx->tally(map { $nginx->ask(path => "/?t=$_", token => $token{$_}) } @_);
    };
    is_deeply($ask->('favourite'), { '200 ok' => 1 }, 'a tenant');
    my %got;
    for my $name (@names) {
        my $tally = $ask->($name, ('favourite') x 3);
        $got{$_} += $tally->{$_} for keys %$tally;
    }
    is_deeply(\%got, { '200 ok' => 120 }, '30 more, whose keys the zone cannot all hold');
    is_deeply([map { fetches($_) } 'favourite', @names], [(1) x 31], 'one fetch for each');
    is_deeply([$nginx->key_lines], [], 'and no complaint');

    # New workers know only what is in the zone.
    ok($nginx->reload, 'a reload');
    is_deeply($ask->('favourite', @names[-5 .. -1]), { '200 ok' => 6 }, 'the last ones used');
    is_deeply([map { fetches($_) } 'favourite', @names[-5 .. -1]], [(1) x 6], 'are still there');
    is_deeply($ask->(@names[0 .. 4]), { '200 ok' => 5 }, 'the first ones');
    is_deeply([map { fetches($_) } @names[0 .. 4]], [(2) x 5], 'cost a fetch each');
    my %to = $nginx->connection_to_each;
    is_deeply($nginx->tally(map {
        $nginx->ask(path => '/?t=many-1', token => $token{'many-1'}, on => $_)
    } values %to), { '200 ok' => 3 }, 'in each worker');
    is(fetches('many-1'), 2, 'only one');

    # Many at the same time.
    of_tenant($_, 'POST', '/-/counts/reset') for @names;
    my @sent = map { $nginx->send(path => "/?t=$_", token => $token{$_}) } (@names) x 5;
    my @answers = $nginx->receive(@sent);
    is_deeply($nginx->tally(@answers), { '200 ok' => 150 }, 'all of them at the same time');
    is_deeply([grep { $_->{seconds} > 4 } @answers], [], 'nobody waits for a lease to run out');
    is_deeply([grep { fetches($_) > 3 } @names], [], 'no tenant costs more than a fetch a worker');
    is_deeply([$nginx->key_lines], [], 'and no complaint');
    $nginx->stop_soundly;
}

# --- documents that crowd the zone

for my $tenants (2, 1) {
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 4,
        http => $smallest,
        project => "$by_tenant jwks_min_interval 1s; jwks_refresh 1s; jwks_stale 300s;",
    );
    my @names = (qw(big huge))[0 .. $tenants - 1];
    my %token = map { $_ => adopt($_, 262_000) } @names;
    my %to = $nginx->connection_to_each;
    my $on_each = sub {
        my ($tenant, $token) = @_;
        return $nginx->tally(map {
            $nginx->ask(path => "/?t=$tenant", token => $token, on => $_)
        } values %to);
    };
    for my $round (1 .. 3) {
        is_deeply($on_each->($_, $token{$_}), { '200 ok' => 4 }, "$_, round $round") for @names;
    }

    # The next document of that size, while the old one is there: a key is gone.
    is_deeply($on_each->(big => $token{big}), { '200 ok' => 4 }, 'before the rotation');
    control('POST', '/-/keys/rotate', { keep_old => JSON::PP::false() });
    $key_set = key_set();
    my $new = adopt('big', 262_000);
    soon { $nginx->ask(path => '/?t=big', token => $new)->{status} == 200 } 'the new key is found';
    is_deeply($on_each->(big => $token{big}), { '401 unknown_key' => 4 },
        'the old one is refused by every worker at once');
    soon {
        my $tally = $on_each->(big => $new);
        ($tally->{'200 ok'} // 0) == 4;
    } 'which all know the new one';
    my @lines = $nginx->key_lines('no room');
    cmp_ok(scalar @lines, '<=', 1, 'what the zone cannot hold is told once');
    $nginx->stop_soundly;
}

# Keys that the zone has dropped, but the worker still has: they are as good as
# others while their endpoint fails.
for my $fault ('status', 'hang') {
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        http => $smallest,
        project => "$by_tenant jwks_min_interval 1s; jwks_refresh 1s; jwks_stale 300s;"
            . ' fetch_timeout 2s;',
    );
    my $dropped = "dropped-$fault";
    my $token = adopt($dropped, 100_000);
    is($nginx->ask(path => "/?t=$dropped", token => $token)->{status}, 200, 'a tenant');
    for my $name (map { "crowd-$_" } 1 .. 6) {
        my $its = adopt($name, 100_000);
        is($nginx->ask(path => "/?t=$name", token => $its)->{status}, 200, 'and another');
    }
    of_tenant($dropped, 'PUT', '/-/fault/jwks', { mode => $fault });
    my ($until, @answers) = time + 3;
    while (time < $until) {
        push @answers, $nginx->ask(path => "/?t=$dropped", token => $token);
        sleep 0.02;
    }
    is_deeply($nginx->tally(@answers), { '200 ok' => scalar @answers },
        "$fault: keys that are known serve while the endpoint fails");
    control('DELETE', '/-/fault');
    of_tenant($dropped, 'DELETE', '/-/fault');
    $nginx->signal('TERM');
    ok($nginx->ends, 'nginx ends');
    $nginx->was_sound;
}

# --- made-up tenants

{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 2,
        http => $smallest,
        project => 'endpoint http://$arg_t;',
    );
    my ($good) = standin()->{origin} =~ m{^http://(.*)};
    my $token = token();
    reset_counts();
    is($nginx->ask(path => "/?t=$good", token => $token)->{status}, 200, 'a tenant with keys');
    # Enough to fill the zone; nobody listens there.
    my %got;
    for my $i (1 .. 60) {
        my $tally = $nginx->tally($nginx->receive(
            map { $nginx->send(path => "/?t=127.0.$i.$_:1", token => $token) } 1 .. 50
        ));
        $got{$_} += $tally->{$_} for keys %$tally;
    }
    is_deeply(\%got, { '503 keys_unavailable' => 3000 }, '3000 made-up ones');
    ok($nginx->reload, 'a reload');
    is($nginx->ask(path => "/?t=$good", token => $token)->{status}, 200, 'have not driven out');
    is(counts()->{jwks}, 1, 'the one with keys');

    # More than may be fetched at the same time.
    my $silent = IO::Socket::INET->new(LocalAddr => '0.0.0.0', Listen => 512);
    my $port = $silent->sockport;
    $nginx->reload(workers => 1, project => 'endpoint http://$arg_t; fetch_timeout 3s;');
    my @sent = map { my $net = $_; map { $nginx->send(path => "/?t=127.0.$net.$_:$port", token => $token) } 1 .. 100 } 1 .. 3;
    my ($worker) = $nginx->workers;
    my $free = $nginx->ask(path => '/free');
    is($free->{worker}, $worker, 'a worker with three hundred fetches to make answers');
    my $threads = Test::Nginx::Authgear::Server::threads($worker);
    cmp_ok($threads, '<', 170, 'starts no three hundred threads');
    is($nginx->ask(path => "/?t=$good", token => $token)->{status}, 200, 'and serves who has keys');
    my @answers = $nginx->receive(@sent);
    is_deeply($nginx->tally(@answers), { '503 keys_unavailable' => 300 }, 'the others must wait');
    is((grep { ($_->{retry_after} // '') =~ /^[1-9]\d*$/ } @answers), 300, 'each with Retry-After');
    $nginx->stop_soundly;
}

# --- values that are no plain origin

{
    # A connection to this port means that a value was not refused.
    my $trap = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 16);
    my $caught = IO::Select->new($trap);
    my $port = $trap->sockport;
    my $nginx = Test::Nginx::Authgear::Server->start(
        project => "endpoint \$http_x_endpoint; internal_endpoint http://127.0.0.1:$port;",
        # Of one second the first line alone has the level error.
        main => 'error_log logs/info.log info;',
        server => 'location ~ (?s)^/decoded/(?<decoded>.*)$ { authgear_verify decoded; empty_gif; }',
        http => "authgear_project decoded { endpoint https://\$decoded;"
            . " internal_endpoint http://127.0.0.1:$port; }",
    );
    my $token = token();
    my @values = (
        ['empty', ''],
        ['http off loopback', 'http://a.example.com'],
        ['another scheme', 'ftp://a.example.com'],
        ['no scheme', 'a.example.com'],
        ['no scheme but slashes', '//a.example.com'],
        ['one slash', 'https:/a.example.com'],
        ['no host', 'https://'],
        ['no host but a port', 'https://:443'],
        ['a path', 'https://a.example.com/path'],
        ['a path upwards', 'https://a.example.com/..'],
        ['two slashes', 'https://a.example.com//'],
        ['a user', 'https://a.example.com@b.example.com'],
        ['a password', 'https://a:b@c.example.com'],
        ['a fragment', 'https://a.example.com#b'],
        ['an empty fragment', 'https://a.example.com#'],
        ['a query', 'https://a.example.com?b'],
        ['an empty query', 'https://a.example.com?'],
        ['a backslash', 'https://a.example.com\\b'],
        ['a backslash and a user', 'https://a.example.com\\@b.example.com'],
        ['a blank within', 'https://a example.com'],
        ['a tab', "https://a\texample.com"],
        ['a control character', "https://a\x01.example.com"],
        ['a delete', "https://a\x7f.example.com"],
        ['percent-encoding', 'https://a%2eexample.com'],
        ['an encoded slash', 'https://a.example.com%2f..'],
        ['an encoded zero', 'https://a.example.com%00'],
        ['an encoded line feed', 'https://a.example.com%0d%0aHost:b'],
        ['UTF-8', "https://ex\xc3\xa4mple.com"],
        ['no UTF-8', "https://a\xff.example.com"],
        ['two dots', 'https://a..example.com'],
        ['a dot in front', 'https://.example.com'],
        ['a dot behind', 'https://a.example.com.'],
        ['a hyphen in front', 'https://-a.example.com'],
        ['an asterisk', 'https://*.example.com'],
        ['an underscore', 'https://a_b.example.com'],
        ['a short address', 'https://127.1'],
        ['a hexadecimal address', 'https://0x7f.0.0.1'],
        ['an address as a number', 'https://2130706433'],
        ['an octal address', 'https://0177.0.0.1'],
        ['half a bracket', 'https://[::1'],
        ['a zone', 'https://[fe80::1%25eth0]'],
        ['port 0', 'https://a.example.com:0'],
        ['no port', 'https://a.example.com:'],
        ['a port too high', 'https://a.example.com:65536'],
        ['a port that is no number', 'https://a.example.com:+1'],
        ['two ports', 'https://a.example.com:1:2'],
        ['a comma', 'https://a.example.com,b.example.com'],
        ['a semicolon', 'https://a.example.com;b'],
        ['a label too long', 'https://' . 'a' x 64 . '.example.com'],
        ['a name too long', 'https://' . 'a.' x 130 . 'example.com'],
        ['the end of a string', 'https://a.example.com"'],
    );
    my @decoded = (
        ['a decoded zero', 'a.example.com%00'],
        ['a decoded line feed', 'a.example.com%0a'],
        ['decoded header lines', 'a.example.com%0d%0aHost:%20b'],
        ['a decoded user', 'a%40b.example.com'],
        ['a decoded fragment', 'a.example.com%23'],
        ['a decoded query', 'a.example.com%3f'],
        ['a decoded blank', 'a%20.example.com'],
        ['a decoded path', 'a.example.com%2fb'],
    );
    open my $log, '<', "$nginx->{root}/logs/info.log" or die "no log: $!\n";
    my $check = sub {
        my ($name, %request) = @_;
        seek $log, 0, 2;
        my $answer = $nginx->ask(token => $token, %request);
        # nginx itself refuses some.
        my $expected = $answer->{status} == 400 && $name =~ /zero/ ? 400 : 503;
        is($answer->{status}, $expected, "$name: refused");
        return if $expected == 400;
        like($answer->{retry_after} // '', qr/^[1-9]\d*$/, 'with Retry-After');
        my @lines = grep { /authgear: project / } <$log>;
        chomp @lines;
        is(scalar @lines, 1, 'and one log line');
        like($lines[0] // '', qr/ \[(?:error|info)\] .* authgear: project "(?:myapp|decoded)": endpoint "/,
            'that names the endpoint');
        unlike($lines[0] =~ /(.*?), client: / ? $1 : '', qr/[\x00-\x08\x0b-\x1f\x7f-\xff]/,
            'in printable characters');
    };
    $check->($_->[0], headers => "X-Endpoint: $_->[1]") for @values;
    $check->($_->[0], path => "/decoded/$_->[1]") for @decoded;
    is_deeply([$caught->can_read(0.2)], [], 'nothing was fetched');
    $nginx->stop_soundly;
}

# Keys that cannot be used are told of, but a tenant fills no log with them.
{
    my $nginx = Test::Nginx::Authgear::Server->start(workers => 1, project => $by_tenant);
    my $token = adopt('odd');
    my $odd = join ',', map {qq({"kty":"RSA","kid":"odd-$_","n":"AQAB","e":"AQAB"})} 1 .. 50;
    of_tenant('odd', 'PUT', '/-/keys/raw', $key_set =~ s/\]\s*\}\s*$/,$odd]}/r);
    is($nginx->ask(path => '/?t=odd', token => $token)->{status}, 200, "a tenant's odd keys: the others are used");
    my $lines = () = $nginx->key_lines(qr/^\[warn\] .*: key \S+ skipped: /);
    ok($lines == 1 || $lines == 2, "a tenant's odd keys: a line a second") or diag("$lines lines");
    $nginx->stop_soundly;
}

# Without an endpoint nothing that might be a credential is judged; what is none is let in as anonymous.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        project => "$by_tenant resolve_request /_authgear/resolve;",
        server => 'include $TEST_NGINX_RESOLVER; location = /optional { authgear_verify myapp optional; empty_gif; }',
    );
    for my $case (
        ['a session', 'Cookie: session=abc', '503 keys_unavailable'],
        ['app_session', 'Cookie: app_session=abc', '503 keys_unavailable'],
        ['app_access_token', 'Cookie: app_access_token=abc', '503 keys_unavailable'],
        ['a token', 'Authorization: Bearer abc', '503 keys_unavailable'],
        ['another cookie', 'Cookie: other=abc', '200 no_credential'],
        ['another scheme', 'Authorization: Basic abc', '200 no_credential'],
    ) {
        my ($name, $header, $expected) = @$case;
        my $answer = $nginx->ask(path => '/optional?t=a/b', headers => $header);
        is("$answer->{status} $answer->{reason}", $expected, "no endpoint: $name");
    }
    is(counts()->{resolver}, 0, 'the resolver is not asked');
    $nginx->stop_soundly;
}

# One origin in several spellings is one tenant.
{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        project => 'endpoint $http_x_endpoint; internal_endpoint $TEST_NGINX_AUTHGEAR;',
    );
    my $token = adopt('spelled');
    my @answers = map { $nginx->ask(token => $token, headers => "X-Endpoint: $_") }
        'https://spelled.example.com', 'https://spelled.example.com/',
        'https://spelled.example.com:443', 'HTTPS://Spelled.EXAMPLE.com';
    is_deeply($nginx->tally(@answers), { '200 ok' => 4 }, 'spellings of one origin');
    is(fetches('spelled'), 1, 'are one tenant');
    $nginx->stop_soundly;
}

done_testing();
