# Connections while the resolver is asked: bodies, upgrades, HTTP/2 streams,
# requests one after another, clients that leave.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict chunked);
use Test::Nginx::Authgear::Http2 qw(http2 http2_listen);
use Test::Nginx::Authgear::Neighbours;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

use IO::Select;

my %session = map { $_ => cookie(session => session(user => $_)) } qw(alice bob carol);
my $opaque = 'Authorization: Bearer ' . token(user => 'alice', kind => 'opaque');
my $dead = cookie(session => 'dead');
my %credential = (
    none => [],
    session => [$session{alice}],
    opaque => [$opaque],
    dead => [$dead],
    'dead token' => ['Authorization: Bearer made-up'],
);

my $mebibyte = mebibyte();

# A resolver that answers when it is told to.
my ($held_port, $question) = held();

# Says yes to a question.
sub vouch {
    my ($peer, $user, @headers) = @_;
    $peer->send(join "\r\n", 'HTTP/1.1 200 OK', 'Connection: close', 'X-Authgear-Session-Valid: true',
        "X-Authgear-User-Id: $user", @headers, '', '');
    close $peer->{socket};
}

sub quiet {
    my ($client, $name) = @_;
    ok(!IO::Select->new($client->{socket})->can_read(0), "$name: no answer before the resolver's");
}

# --- checks

# The resolver gets nothing of a body, the backend every byte.
sub bodies {
    my %sent = map { length $_ => $_ } '', 'x', 'y' x 1023, substr($mebibyte, 0, 100_000), $mebibyte;
    for my $which (qw(session opaque)) {
        my @headers = @{ $credential{$which} };
        # Bodies over 1k of /small-buffer go to a file.
        for my $path (qw(/plain /small-buffer /in-file /unbuffered)) {
            for my $size (sort { $a <=> $b } keys %sent) {
                for my $form ([], ['Transfer-Encoding: chunked']) {
                    my $name = join ' ', "POST $path, $size bytes,", @$form, $which;
                    my $text = @$form ? chunked($sent{$size}) : $sent{$size};
                    my $answer = ask("POST $path", @headers, @$form, \$text);
                    is(verdict($answer), '200 alice', $name);
                    whole($answer, $sent{$size}, $name);
                }
            }
            my $client = connection();
            $client->request("PUT $path", @headers, 'Expect: 100-continue', 'Content-Length: 1048576');
            is($client->answer->{status}, 100, "$path, $which: Expect: 100-continue is told to go on");
            push @{ $client->{asked} }, 'PUT';
            $client->send($mebibyte);
            my $answer = $client->answer;
            is(verdict($answer), '200 alice', "$path, $which: and passes");
            whole($answer, $mebibyte, "$path, $which: 1 MiB behind 100-continue");
        }
    }
    my @forms = map {
        grep {/^(?:content|transfer|expect)/} keys %{ $_->{headers} }
    } asked_requests();
    is_deeply(\@forms, [], 'no question says a word of a body');

    # A refused body is read and thrown away, so that the connection can go on.
    my $client = connection();
    for my $which ('none', 'dead', 'dead token') {
        for my $form ([], ['Transfer-Encoding: chunked']) {
            my $text = @$form ? chunked($mebibyte) : $mebibyte;
            $client->request('POST /plain', @{ $credential{$which} }, @$form, \$text);
            is($client->answer->{status}, 401, join ' ', "POST of 1 MiB, credential $which: 401", @$form);
            $client->request('GET /plain', $session{bob});
            is(verdict($client->answer), '200 bob', 'and the next request on the connection passes');
        }
    }
    fault(resolver => 'status');
    $client->request('POST /plain', $session{bob}, \$mebibyte);
    is($client->answer->{status}, 503, 'POST of 1 MiB without a verdict: 503');
    heal();
    $client->request('POST /plain', $session{bob}, \'after');
    my $answer = $client->answer;
    is(verdict($answer), '200 bob', 'and the next request on the connection passes');
    whole($answer, 'after', 'and the next request on the connection');
}

# A body that comes while the resolver is being asked, and one that comes after it.
sub late_bodies {
    for my $path (qw(/held /held-unbuffered)) {
        for my $form ('Content-Length: 1048576', 'Transfer-Encoding: chunked') {
            my $text = $form =~ /chunked/ ? chunked($mebibyte) : $mebibyte;
            for my $early (0, 1, 5_000, length $text) {
                my $name = "$path, $form, $early bytes before the resolver answers";
                my $client = connection();
                $client->request("POST $path", $session{alice}, $form);
                my $peer = $question->();
                # More than the sockets hold cannot be sent before somebody reads it.
                my $part = $early < 100_000 ? $early : 50_000;
                $client->send(substr $text, 0, $part);
                quiet($client, $name);
                is_deeply([header_lines($peer->{request}, qr/^(?:content|transfer|expect)/i), $peer->{request}{body}],
                    [''], "$name: nothing of it in the question");
                vouch($peer, 'alice');
                $client->send(substr $text, $part);
                my $answer = $client->answer;
                is(verdict($answer), '200 alice', $name);
                whole($answer, $mebibyte, $name);
            }
        }
        my $client = connection();
        $client->request("POST $path", $session{alice}, 'Expect: 100-continue', 'Content-Length: 4');
        my $peer = $question->();
        quiet($client, "$path: Expect: 100-continue");
        vouch($peer, 'alice');
        is($client->answer->{status}, 100, "$path: the body is asked for after the resolver's answer");
        push @{ $client->{asked} }, 'POST';
        $client->send('body');
        my $answer = $client->answer;
        is(verdict($answer), '200 alice', "$path: and it passes");
        whole($answer, 'body', "$path: behind 100-continue");
    }
}

sub upgrades {
    for my $which (qw(session opaque)) {
        my $client = connection();
        $client->request('GET /socket', @upgrade, @{ $credential{$which} }, 'X-Authgear-User-Id: forged');
        my $answer = $client->answer;
        is($answer->{status}, 101, "a WebSocket upgrade, credential $which: 101");
        is(header($answer, 'Echo-X-Authgear-User-Id'), 'alice', "$which: and the backend knows who it is");
        there_and_back($client, "a WebSocket, $which");
    }
    my ($seen) = asked_requests();
    is_deeply([grep {/upgrade|websocket|connection/} keys %{ $seen->{headers} }], [],
        'the resolver hears nothing of an upgrade');
    for my $which ('none', 'dead', 'dead token') {
        my $client = connection();
        $client->request('GET /socket', @upgrade, @{ $credential{$which} });
        is($client->answer->{status}, 401, "a WebSocket upgrade, credential $which: 401");
        $client->request('GET /plain', $session{bob});
        is(verdict($client->answer), '200 bob', "credential $which: and the connection goes on");
    }
    fault(resolver => 'status');
    is(ask('GET /socket', @upgrade, $session{alice})->{status}, 503, 'a WebSocket upgrade without a verdict: 503');
    heal();

    # A client that does not wait for the 101 before it speaks.
    my $client = connection();
    $client->request('GET /held-socket', @upgrade, $session{alice});
    $client->send('first');
    my $peer = $question->();
    $client->send(' words');
    quiet($client, 'a WebSocket upgrade');
    vouch($peer, 'alice');
    is($client->answer->{status}, 101, 'a WebSocket upgrade after the wait: 101');
    is($client->read_bytes(11), 'first words', 'and what came before it is not lost');
    there_and_back($client, 'a WebSocket after the wait');
}

sub over_http2 {
    my $client = http2(port(1));
    my $get = sub { return $client->answer($client->request(@_)) };
    is(verdict($get->('GET /plain', $session{alice}, 'X-Authgear-User-Id: forged')), '200 alice', 'HTTP/2: a session');
    is(verdict($get->('GET /plain', $opaque)), '200 alice', 'HTTP/2: an opaque token');
    is(verdict($get->('GET /plain', 'Cookie: a=b', $session{bob}, 'Cookie: c=d')), '200 bob',
        'HTTP/2: cookies in fields of their own');
    is(verdict($get->('GET /plain')), 401, 'HTTP/2: no credential');
    is(verdict($get->('GET /plain', $dead)), 401, 'HTTP/2: a dead session');
    is($get->('HEAD /plain', $session{alice})->{status}, 200, 'HTTP/2: HEAD');
    is(verdict($get->('HEAD /plain', $dead)), 401, 'HTTP/2: HEAD with a dead session');
    my $body = substr $mebibyte, 0, 16_000;
    for my $path (qw(/plain /small-buffer /unbuffered)) {
        my $answer = $get->("POST $path", $session{alice}, \$body);
        is(verdict($answer), '200 alice', "HTTP/2: a body, $path");
        whole($answer, $body, "HTTP/2: a body, $path");
        is($get->("POST $path", $dead, \$body)->{status}, 401, "HTTP/2: a body, $path, a dead session");
    }

    # Streams of one connection that wait, and are answered in another order.
    my %stream = map { $_ => $client->request('POST /held', $session{$_}, \$body) } qw(alice bob);
    my @peers = ($question->(), $question->());
    my $gone = $client->request('GET /held', $session{carol});
    my $left = $question->();
    $client->reset($gone);
    is(verdict($get->('GET /plain', $session{carol})), '200 carol', 'HTTP/2: meanwhile another stream is served');
    for my $peer (reverse @peers) {
        my $cookie = 'Cookie: ' . header($peer->{request}, 'Cookie');
        my ($user) = grep { $session{$_} eq $cookie } keys %stream;
        vouch($peer, $user);
        my $answer = $client->answer($stream{$user});
        is(verdict($answer), "200 $user", "HTTP/2: a stream that waited: $user");
        whole($answer, $body, "HTTP/2: a stream that waited: $user");
    }
    vouch($left, 'carol');
    is(verdict($get->('GET /plain', $session{alice})), '200 alice',
        'HTTP/2: the connection goes on after a stream that was given up');
}

sub one_connection {
    my @rows = (
        # Users of every kind on one connection, as a proxy in front of nginx makes it.
        [$session{alice} => '200 alice'], [$session{bob} => '200 bob'], [undef, 401], [$opaque => '200 alice'],
        [$dead => 401], [$session{carol} => '200 carol'], ['Authorization: Bearer made-up' => 401],
        [bearer(user => 'jay') => '200 jay'], [$session{bob} => '200 bob'],
    );
    my $client = connection();
    for my $row (@rows, @rows) {
        $client->request('POST /plain', grep({defined} $row->[0]), \'body');
        is(verdict($client->answer), $row->[1], "one after the other: $row->[1]");
    }
    $client = connection();
    # All at once; nginx answers in their order.
    $client->request('POST /plain', grep({defined} $_->[0]), \'body') for @rows, @rows;
    is(verdict($client->answer), $_->[1], "pipelined: $_->[1]") for @rows, @rows;

    $client = connection();
    $client->request('GET /held', $session{alice});
    my $peer = $question->();
    $client->request('GET /plain', $session{bob});
    $client->request('GET /plain');
    $client->request('POST /held', $session{carol}, \'body');
    quiet($client, 'pipelined behind one that waits');
    vouch($peer, 'alice');
    is(verdict($client->answer), $_, "pipelined behind one that waits: $_") for '200 alice', '200 bob', 401;
    vouch($question->(), 'carol');
    is(verdict($client->answer), '200 carol', 'and the last one, which waits, too');
}

sub leaving {
    reset_counts();
    for my $i (1 .. 3) {
        my $client = connection();
        $client->request('POST /held-left', $session{alice}, \'body');
        my $peer = $question->();
        close $client->{socket};
        my @lines = log_lines('leaving.log', $i);
        is($lines[-1], 'POST /held-left HTTP/1.1 499', 'a client that leaves while the resolver is asked');
        ok($peer->closed, 'takes its question with it');
    }
    is(verdict(ask('GET /plain', $session{alice})), '200 alice', 'and others are served');

    my $client = connection();
    $client->request('GET /held', $session{alice});
    close $question->()->{socket};
    my $answer = $client->answer;
    is($answer->{status}, 503, 'a resolver that leaves: 503');
    $client->request('GET /held', $session{alice});
    vouch($question->(), 'alice');
    is(verdict($client->answer), '200 alice', 'and the connection goes on');
}

# --- configuration

$ENV{TEST_NGINX_HELD} = "http://127.0.0.1:$held_port";
$ENV{TEST_NGINX_LISTEN_HTTP} = http2_listen(port(1));

run_tests();

__DATA__

=== TEST 1: connections while the resolver is asked
--- check
bodies
late_bodies
upgrades
over_http2
one_connection
leaving
--- http_config
log_format leaving '$request $status';
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project held {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_held/resolve;
}
--- config
$TEST_NGINX_LISTEN_HTTP
proxy_http_version 1.1;
include $TEST_NGINX_RESOLVER;

location = /_held/resolve {
    internal;
    proxy_pass $TEST_NGINX_HELD;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
}
location = /held {
    authgear_verify held;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /held-left {
    authgear_verify held;
    access_log logs/leaving.log leaving;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /held-unbuffered {
    authgear_verify held;
    proxy_request_buffering off;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /held-socket {
    authgear_verify held;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection upgrade;
    proxy_pass $TEST_NGINX_ECHO;
}

location = /plain {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /small-buffer {
    authgear_verify myapp;
    client_body_buffer_size 1k;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /in-file {
    authgear_verify myapp;
    client_body_in_file_only clean;
    proxy_pass $TEST_NGINX_ECHO;
}
$TEST_NGINX_STREAMS
