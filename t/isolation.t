# Requests that share a connection, a worker or a moment never share an identity.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Http2;

use strict;
use warnings;

my ($authgear, $echo, $http2) = (standin()->{http}, echo_origin(), port(1));
$ENV{TEST_NGINX_LOCATIONS} = join "\n", map {
    my ($path, $mode) = @$_;
    my @who = map {"[\$authgear_$_]"} qw(user_id user_roles session_valid reason claim_of);
    join "\n", "location = $path {", "authgear_verify myapp $mode;",
        'add_header X-Who "' . join('', @who) . '" always;',
        'proxy_set_header X-Who "' . join('', @who) . '";', 'proxy_set_header X-Connection $connection;',
        "proxy_pass http://backend;", 'proxy_http_version 1.1;', 'proxy_set_header Connection "";', '}'
} ['/required', 'required'], ['/optional', 'optional'], ['/observe', 'observe'];
$ENV{TEST_NGINX_SERVERS} = <<"END";
authgear_project myapp {
    endpoint $authgear;
}
upstream backend {
    server @{[$echo =~ s{^http://}{}r]};
    keepalive 4;
}
server {
    @{[http2_listen($http2)]}
    $ENV{TEST_NGINX_LOCATIONS}
}
END

my @users = qw(alice bob carol dave);
my %line = (
    (map { $_ => bearer(user => { id => $_, roles => ["role-of-$_"] }, claims => { of => $_ }) } @users),
    expired => bearer(user => 'mallory', expires_in => -1, claims => { of => 'mallory' }),
    forged => bearer(user => 'mallory', key => 'stranger', claims => { of => 'mallory' }),
);

# The caller that one request shows: the variables, then the backend's headers.
# For a refused one over HTTP/2, whose headers are not read, the status alone.
sub who {
    my ($answer) = @_;
    return "$answer->{status} " . (header($answer, 'X-Who') // '') if $answer->{status} != 200;
    my $echoed = echoed($answer);
    my ($user, $roles, $valid) = map { header($echoed, "X-Authgear-$_") // '' }
        qw(User-Id User-Roles Session-Valid);
    return "200 " . header($echoed, 'X-Who') . " backend: $user $roles $valid";
}

my %nothing = (none => ['', 'no_credential'], expired => ['false', 'expired'],
    forged => ['false', 'bad_signature']);

sub who_expected {
    my ($path, $credential) = @_;
    if (my $refused = $nothing{$credential}) {
        my ($valid, $reason) = @$refused;
        my $status = $path eq '/observe' || $path eq '/optional' && $credential eq 'none' ? 200 : 401;
        return "$status [][][$valid][$reason][]" . ($status == 200 ? " backend:   $valid" : '');
    }
    return "200 [$credential][role-of-$credential][true][ok][$credential]"
        . " backend: $credential role-of-$credential true";
}

my @sequence = (
    ['/required', 'alice'], ['/required', 'bob'], ['/required', 'none'], ['/required', 'forged'],
    ['/required', 'alice'], ['/optional', 'none'], ['/observe', 'expired'], ['/observe', 'none'],
    ['/observe', 'carol'], ['/optional', 'expired'], ['/optional', 'none'], ['/observe', 'forged'],
    ['/optional', 'dave'], ['/required', 'none'], ['/required', 'bob'],
);

# --- checks

sub keepalive {
    my $client = connection();
    for my $step (@sequence) {
        my ($path, $credential) = @$step;
        $client->request("GET $path", $line{$credential} // ());
        is(who($client->answer), who_expected(@$step), "one connection, one after the other: $credential $path");
    }

    # Requests that end early, and whose connection goes on.
    for my $odd (['POST /required', \'a body that nobody reads'], ['GET /missing'], ['HEAD /required']) {
        my ($request, @more) = @$odd;
        $client->request($request, @more[0 .. $#more - 1], $line{alice}, @more ? $more[-1] : ());
        $client->answer;
        $client->request('GET /optional');
        is(who($client->answer), who_expected('/optional', 'none'), "after $request of alice's: nobody");
    }
}

sub pipelined {
    my $client = connection();
    my $text = '';
    for my $step (@sequence) {
        my ($path, $credential) = @$step;
        $text .= join "\r\n", "GET $path HTTP/1.1", 'Host: localhost', $line{$credential} // (), '', '';
    }
    $client->send($text);
    is(who($client->answer), who_expected(@$_), "pipelined: $_->[1] $_->[0]") for @sequence;
}

# Every connection sends before any answer is read.
sub at_once {
    my @waiting = map {
        my $step = $_;
        my $client = connection();
        $client->request("GET $step->[0]", $line{ $step->[1] } // ());
        [$client, $step];
    } @sequence, @sequence;
    is(who($_->[0]->answer), who_expected(@{ $_->[1] }), "at once: $_->[1][1] $_->[1][0]")
        for reverse @waiting;
}

# The same sequence as HTTP/2 streams of one connection, all open together.
sub http2_streams {
    my $client = http2($http2);
    my @streams = map { $client->request("GET $_->[0]", $line{ $_->[1] } // ()) } @sequence;
    my %connections;
    for my $index (reverse 0 .. $#sequence) {
        my ($path, $credential) = @{ $sequence[$index] };
        my $answer = $client->answer($streams[$index]);
        my $expected = who_expected($path, $credential);
        $expected =~ s/^401 \K.*// if $answer->{status} == 401;
        is(who($answer), $expected, "HTTP/2 stream: $credential $path");
        $connections{ header(echoed($answer), 'X-Connection') }++ if $answer->{status} == 200;
    }
    is(scalar keys %connections, 1, 'HTTP/2: all were streams of one connection');
}

# A client that leaves while it waits for keys affects no other.
sub waiting_and_leaving {
    my @leaving = map { connection()->request('GET /required', $line{alice}) } 1 .. 5;
    my @staying = map { [connection()->request('GET /required', $line{$_}), $_] } @users;
    my $streams = http2($http2);
    my @reset = map { $streams->request('GET /required', $line{alice}) } 1 .. 5;
    my @open = map { [$streams->request('GET /required', $line{$_}), $_] } @users;
    # All of them wait now.
    is(ask('GET /required')->{status}, 401, 'others are served while they wait');
    close $_->{socket} for @leaving;
    $streams->reset($_) for @reset;
    is(who($_->[0]->answer), who_expected('/required', $_->[1]),
        "others left while they waited: $_->[1]")
        for @staying;
    is(who($streams->answer($_->[0])), who_expected('/required', $_->[1]),
        "other streams were reset while they waited: $_->[1]")
        for @open;
}

run_tests();

__DATA__

=== TEST 1: requests on one connection
--- check
keepalive
pipelined
at_once
http2_streams
--- http_config
$TEST_NGINX_SERVERS
--- config
$TEST_NGINX_LOCATIONS

=== TEST 2: pipelined requests that wait for their keys
--- control
PUT /-/fault/jwks {"mode": "slow", "delay_ms": 600}
--- check
pipelined
--- http_config
$TEST_NGINX_SERVERS
--- config
$TEST_NGINX_LOCATIONS

=== TEST 3: HTTP/2 streams that wait for their keys
--- control
PUT /-/fault/jwks {"mode": "slow", "delay_ms": 600}
--- check
http2_streams
--- http_config
$TEST_NGINX_SERVERS
--- config
$TEST_NGINX_LOCATIONS

=== TEST 4: connections that wait for their keys
--- control
PUT /-/fault/jwks {"mode": "slow", "delay_ms": 600}
--- check
waiting_and_leaving
at_once
--- http_config
$TEST_NGINX_SERVERS
--- config
$TEST_NGINX_LOCATIONS
