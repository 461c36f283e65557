# Sources of keys: discovery, jwks_uri or jwks_file; over http or https,
# by the public or an internal address; and what is refused on the way.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear tls => 1, args => ['--tenants'];
use Test::Nginx::Authgear::Client;

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use File::Temp qw(tempdir);
use Time::HiRes qw(time);

# A master that may read what its workers may not.
master_on();
$Test::Nginx::Util::WorkerUser = 'nobody ' . getgrgid((getpwnam 'nobody')[3]) if $> == 0;

my ($http, $https, $ca, $other_ca) = @{ standin() }{qw(http https ca other_ca)};
my $second = start_standin('--tls-listen', '0.0.0.0:0', '--tenants');
my ($http_port) = $http =~ /:(\d+)$/;
my ($second_port) = $second->{https} =~ /:(\d+)$/;

# Every token is signed by the stand-in's own project, and every tenant publishes
# the same keys.
my $keys = do {
    my ($name) = $https =~ m{^https://(.*)};
    ask('GET /oauth2/jwks', { port => $http_port }, "Host: $name", 'X-Forwarded-Proto: https')->{body};
};

sub of_tenant {
    my ($origin, $method, $path, $body, $server) = @_;
    return control($method, "$path?project=$origin", $body, $server);
}

sub tenant {
    my ($origin, $server) = @_;
    of_tenant($origin, 'PUT', '/-/keys/raw', $keys, $server);
    return $origin;
}

sub claims_of {
    my ($issuer, @audience) = @_;
    return (user => 'alice', claims => { iss => $issuer, aud => [@audience ? @audience : $issuer] });
}

my $directory = tempdir(CLEANUP => 1);
my $file = "$directory/keys.json";
sub write_keys {
    open my $out, '>', $file or die "cannot write $file: $!\n";
    print {$out} $keys;
    close $out;
    chmod 0600, $file;
    chmod 0700, $directory;
}
write_keys();

my $by_name = tenant("http://localhost:$http_port");
my $by_address = tenant($http);
my $for_uri = tenant($second->{http}, $second);
my $internal = tenant('https://internal.example.com');
# A developer's endpoint: http, and a server behind another address.
my $internal_http = tenant('http://localhost:3100');
my $linked = tenant('https://linked.example.com');
my $overridden = tenant('https://overridden.example.com');
my $slow = tenant('https://slow.example.com');
my $issuer = 'https://issuer.example.com';

# Projects by name: their block, and what their tokens say.
my %project = (
    http => ["endpoint $by_address;", $by_address],
    https => ["endpoint $https; ssl_trusted_certificate $ca;", $https],
    internal => ["endpoint $internal; internal_endpoint $http;", $internal],
    'internal-http' => ["endpoint $internal_http; internal_endpoint $http;", $internal_http],
    linked => ["endpoint $linked; internal_endpoint $http; ssl_trusted_certificate $ca;", $linked],
    uri => ["endpoint https://uri.example.com; jwks_uri $for_uri/oauth2/jwks;", 'https://uri.example.com'],
    'uri-query' => ["endpoint https://query.example.com; jwks_uri $for_uri/oauth2/jwks?a=b;",
        'https://query.example.com'],
    'uri-alone' => ["issuer $issuer; audience a b; jwks_uri $for_uri/oauth2/jwks;", $issuer, 'b'],
    file => ["endpoint $by_name; jwks_file $file;", $by_name],
    'file-alone' => ["issuer $issuer; audience a b; jwks_file $file;", $issuer, 'a'],
    overridden => ["endpoint $overridden; internal_endpoint $http; issuer $issuer https://moved.example.com; audience a b;",
        $issuer, 'x', 'b'],
);

# Projects whose keys cannot be had, and what the log says of each.
my %unusable = (
    'other-ca' => ["endpoint $https; ssl_trusted_certificate $other_ca;", qr{keys of \Q$https\E: TLS: }],
    'system-ca' => ["endpoint https://127.0.0.1:$second_port;",
        qr{keys of https://127\.0\.0\.1:$second_port: TLS: }],
    'another-name' => ["endpoint https://127.0.0.2:$second_port; ssl_trusted_certificate $second->{ca};",
        qr{keys of https://127\.0\.0\.2:$second_port: TLS: }],
    'no-tls' => ["endpoint https://127.0.0.1:$http_port; ssl_trusted_certificate $ca;",
        qr{keys of https://127\.0\.0\.1:$http_port: TLS: }],
    'uri-tls' => ["endpoint https://u.example.com; jwks_uri $https/oauth2/jwks; ssl_trusted_certificate $other_ca;",
        qr{keys of \Q$https/oauth2/jwks\E: TLS: }],
    'foreign-issuer' => [undef, qr{discovery: .*issuer}],
    'foreign-slash' => [undef, qr{discovery: .*issuer}],
    'exposed-keys' => [undef, qr{discovery: .*http://192\.0\.2\.1/oauth2/jwks is plain http, and the endpoint is https}],
    'loopback-4' => [undef, qr{discovery: .*http://127\.0\.0\.1:$http_port/oauth2/jwks is plain http, and the endpoint}],
    'loopback-6' => [undef, qr{discovery: .*http://\[::1\]/oauth2/jwks is plain http, and the endpoint is https}],
    'loopback-name' => [undef, qr{discovery: .*http://localhost:$http_port/oauth2/jwks is plain http, and the endpoint}],
    'own-http' => [undef, qr{discovery: .*http://own-http\.example\.com/oauth2/jwks is plain http, and the endpoint}],
    'moved-discovery' => [undef, qr{redirect: .*status 302 .*not followed}],
    'moved-keys' => [undef, qr{redirect: .*status 301 .*not followed}],
    'moved-public' => ["endpoint https://moved-public.example.com; jwks_uri $second->{http}/oauth2/moved;",
        qr{keys of \Q$second->{http}\E/oauth2/moved: status 404}],
);
for my $name (keys %unusable) {
    my $origin = "https://$name.example.com";
    if (!$unusable{$name}[0]) {
        $unusable{$name}[0] = 'endpoint ' . tenant($origin) . "; internal_endpoint $http;";
        $unusable{$name}[1] = qr{keys of \Q$origin\E: $unusable{$name}[1]};
    }
}

# TLS takes its time under valgrind.
$ENV{TEST_NGINX_PROJECTS} = join '', map {
    my ($name, $lines) = @$_;
    $lines .= ' fetch_timeout 60s;' if $lines !~ /jwks_file/;
    "authgear_project $name { $lines }\n"
}
    map({ [$_, $project{$_}[0]] } sort keys %project),
    map({ [$_, $unusable{$_}[0]] } sort keys %unusable);
($ENV{TEST_NGINX_SLOW}, $ENV{TEST_NGINX_KEYS_FILE}) = ($slow, $file);

# Discovery documents and redirects that are refused; a heal before each block
# takes them away.
sub faults {
    my $set = sub {
        my ($name, $what, %fault) = @_;
        of_tenant("https://$name.example.com", 'PUT', "/-/fault/$what", \%fault);
    };
    my $document = sub {
        my ($name, $issuer, $uri) = @_;
        $set->($name, discovery => mode => 'body', body => qq({"issuer":"$issuer","jwks_uri":"$uri"}));
    };
    $document->('linked', $linked, "$https/oauth2/jwks");
    $document->('foreign-issuer', 'https://foreign.example.com', 'https://foreign-issuer.example.com/oauth2/jwks');
    $document->('foreign-slash', 'https://foreign-slash.example.com/a', "$by_address/oauth2/jwks");
    $document->('exposed-keys', 'https://exposed-keys.example.com', 'http://192.0.2.1/oauth2/jwks');
    $document->(@$_[0], "https://$_->[0].example.com", "$_->[1]/oauth2/jwks")
        for ['loopback-4', $by_address], ['loopback-6', 'http://[::1]'], ['loopback-name', $by_name],
        ['own-http', 'http://own-http.example.com'];
    $set->('moved-discovery', discovery => mode => 'redirect',
        location => "$second->{http}/.well-known/openid-configuration");
    $set->('moved-keys', jwks => mode => 'redirect', status => 301, location => "$second->{http}/oauth2/jwks");
}

sub outcome {
    my ($answer) = @_;
    return "$answer->{status} " . header($answer, 'X-Reason');
}

sub counted {
    my ($origin, $server) = @_;
    my $counts = of_tenant($origin, 'GET', '/-/counts', undef, $server);
    return [@{$counts}{qw(discovery jwks)}];
}

# --- checks

sub sources {
    for my $name (sort keys %project) {
        my (undef, @claims) = @{ $project{$name} };
        my $token = bearer(claims_of(@claims));
        is(outcome(ask("GET /?project=$name", $token)), '200 ok', "$name: a valid token");
        is(outcome(ask("GET /?project=$name", bearer(claims_of(@claims), key => 'stranger'))),
            '401 bad_signature', "$name: a stranger's is refused");
        is(outcome(ask("GET /?project=$name", bearer(claims_of('https://x.example.com', @claims)))),
            '401 bad_issuer', "$name: another issuer's is refused");
        is(outcome(ask("GET /?project=$name", bearer(claims_of($claims[0], 'https://x.example.com')))),
            '401 bad_audience', "$name: one for another audience is refused");
    }
    is(outcome(ask('GET /?project=overridden', bearer(claims_of('https://moved.example.com', 'a')))), '200 ok',
        'any of several issuers');
    is(outcome(ask('GET /?project=overridden', bearer(claims_of($overridden, 'a')))), '401 bad_issuer',
        "issuer replaces the endpoint's origin");
    is(outcome(ask('GET /?project=overridden', bearer(claims_of($issuer, $overridden)))),
        '401 bad_audience', "audience replaces the endpoint's origin");
}

sub requests_counted {
    is_deeply(counted($by_name), [0, 0], 'jwks_file: no network at all');
    is_deeply(counted($for_uri, $second), [0, 2], 'jwks_uri: the key set alone is fetched, once for all projects with that URL');
    is_deeply(counted($https), [1, 2], 'https: discovery, then the key set, from the public origin;'
            . ' a jwks_uri off the endpoint is fetched where it says');
    is_deeply(counted($overridden), [1, 1], 'issuer and audience leave discovery alone');
    is_deeply(counted($by_address), [1, 1], 'http on loopback: discovery and the key set');
    is_deeply(counted($linked), [1, 0], 'and not at the internal endpoint');

    my $public = $internal =~ s{^https://}{}r;
    my $counts = of_tenant($internal, 'GET', '/-/counts');
    my $request = [{ host => $public, x_forwarded_proto => 'https' }];
    is_deeply($counts->{discovery_requests}, $request,
        'internal_endpoint: discovery carries the public Host and X-Forwarded-Proto');
    is_deeply($counts->{jwks_requests}, $request,
        'internal_endpoint: the key set under the endpoint is fetched here too, with both');
    $counts = of_tenant($internal_http, 'GET', '/-/counts');
    $request = [{ host => 'localhost:3100', x_forwarded_proto => 'http' }];
    is_deeply([@$counts{qw(discovery_requests jwks_requests)}], [$request, $request],
        'internal_endpoint of an http endpoint: http, with which alone its server answers');
    is_deeply([map { $_->{x_forwarded_proto} } @{ of_tenant($by_address, 'GET', '/-/counts')->{jwks_requests} }],
        [undef], 'without internal_endpoint there is no X-Forwarded-Proto');
}

sub unusable {
    for my $name (sort keys %unusable) {
        my ($path, $token) = ("/?project=$name", bearer(claims_of("https://$name.example.com")));
        my $answer = ask("GET $path", $token);
        is(outcome($answer), '503 keys_unavailable', "$name: 503");
        like(header($answer, 'Retry-After'), qr/\A[1-9]\d*\z/, "$name: Retry-After");
        is(outcome(ask("GET $path")), '401 no_credential', "$name: no credential is 401 all the same");
    }
    my @log = log_lines('error.log', 1);
    for my $name (sort keys %unusable) {
        my ($line) = grep { /authgear: / && $_ =~ $unusable{$name}[1] } @log;
        ok($line, "$name: a log line says why") or diag(grep {/authgear: keys of/} map {"$_\n"} @log);
        like($line // '', qr/\[error\]/, "$name: of level error");
    }
    is_deeply(counted($for_uri, $second), [0, 2], 'redirects are never followed');
    is(counted("https://$_.example.com")->[1], 0, "$_: the fetch ends before its key set")
        for qw(foreign-issuer foreign-slash exposed-keys loopback-4 loopback-6 loopback-name own-http moved-discovery);
}

sub file_is_read_at_start {
    unlink $file or die "cannot remove $file: $!\n";
    is(outcome(ask('GET /?project=file', bearer(claims_of($by_name)))), '200 ok',
        'jwks_file: readable by root alone, gone after the start: still in use');
    write_keys();
}

sub waits_for_the_keys {
    my $good = bearer(claims_of($slow));
    my $body = join '', map { pack 'N', $_ * 2654435761 & 0xffffffff } 1 .. 262_144;
    my @rows = (
        ['a valid token' => 'GET /?project=slow', [$good], '200 ok'],
        ['the same once more' => 'GET /?project=slow', [$good], '200 ok'],
        ['HEAD' => 'HEAD /?project=slow', [$good], '200 ok'],
        ['a body of 1 MiB' => 'POST /?project=slow', [$good, \$body], '200 ok'],
        ["a stranger's token" => 'GET /?project=slow', [bearer(claims_of($slow), key => 'stranger')],
            '401 bad_signature'],
        ['optional' => 'GET /optional?project=slow', [$good], '200 ok'],
        ['observe' => 'GET /observe?project=slow', [$good], '200 ok'],
    );
    my @waiting = map {
        my ($name, $line, $more) = @$_;
        my $client = connection();
        $client->request($line, @$more);
        $client;
    } @rows;

    my $started = time;
    for my $round (1 .. 3) {
        is(outcome(ask('GET /?project=ready', bearer(claims_of($issuer, 'a')))), '200 ok',
            'meanwhile another project is served');
        is(outcome(ask('GET /?project=slow')), '401 no_credential', 'and whoever sends no credential');
        is(outcome(ask('GET /?project=slow', bearer(kind => 'opaque'))), '401 unsupported',
            'and whoever sends what no key can help');
        is(ask('GET /free')->{status}, 200, 'and what is not guarded');
    }
    my $served = time - $started;
    my @answered = grep { IO::Select->new($_->{socket})->can_read(0) } @waiting;
    is(scalar @answered, 0, 'while every request that needs the keys still waits')
        or diag("the others took $served s");

    for my $index (0 .. $#rows) {
        my ($name, undef, undef, $expected) = @{ $rows[$index] };
        my $answer = $waiting[$index]->answer;
        is(outcome($answer), $expected, "$name waits for the keys and is answered right");
        next if $name !~ /body/;
        like(echoed($answer)->{body}, qr/1048576 bytes, sha256 @{[sha256_hex($body)]}/, "$name arrives whole");
    }
    is_deeply(counted($slow), [1, 1], 'all of them waited for one fetch');
}

run_tests();

__DATA__

=== TEST 1: sources of keys
--- post_setup_server_root: main::faults();
--- check
sources
requests_counted
unusable
file_is_read_at_start
--- http_config
$TEST_NGINX_PROJECTS
--- config
add_header X-Reason $authgear_reason always;
location / {
    authgear_verify $arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}

=== TEST 2: a request that arrives before the keys waits for them
--- control
PUT /-/fault/jwks {"mode": "slow", "delay_ms": 6000}
--- check
waits_for_the_keys
--- http_config
authgear_project slow {
    endpoint $TEST_NGINX_SLOW;
    internal_endpoint $TEST_NGINX_AUTHGEAR;
    fetch_timeout 60s;
}
authgear_project ready {
    issuer https://issuer.example.com;
    audience a;
    jwks_file $TEST_NGINX_KEYS_FILE;
}
--- config
add_header X-Reason $authgear_reason always;
location / {
    authgear_verify $arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /optional {
    authgear_verify $arg_project optional;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /observe {
    authgear_verify $arg_project observe;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /free {
    proxy_pass $TEST_NGINX_ECHO;
}
