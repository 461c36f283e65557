# Uploads of any size by cookie or opaque token: the resolver hears nothing of a
# body, the backend gets all of it.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict chunked);
use Test::Nginx::Authgear::Http2 qw(http2 http2_listen);
use Test::Nginx::Authgear::Neighbours;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my ($host) = standin()->{origin} =~ m{//(.*)};
my %credential = (
    session => cookie(session => session(user => 'alice')),
    app_session => cookie(app_session => session(user => 'alice', kind => 'app')),
    'opaque token' => 'Authorization: Bearer ' . token(user => 'alice', kind => 'opaque'),
    'expired JWT beside a session' => bearer(expires_in => -1) . "\r\n" . cookie(session => session(user => 'alice')),
);
# Just over what client_max_body_size allows by default, and well over it.
my @bodies = (mebibyte() . 'x', mebibyte() x 3);

sub said_nothing_of_it {
    my ($name) = @_;
    my @questions = asked_requests();
    ok(scalar @questions, "$name: the resolver is asked");
    is_deeply([grep {/^(?:content|transfer|expect)/} map { keys %{ $_->{headers} } } @questions], [],
        "$name: and hears nothing of a body");
}

# The server of Test::Nginx itself allows 30 MB.
sub upload {
    my ($line, @rest) = @_;
    return ask($line, { port => port(2) }, @rest);
}

# --- checks

sub with_a_length {
    for my $path (qw(/unlimited /ten-megabytes /unbuffered /written)) {
        for my $which (sort keys %credential) {
            for my $body (@bodies) {
                my $name = "POST $path, " . length($body) . " bytes, $which";
                my $answer = upload("POST $path", $credential{$which}, \$body);
                is(verdict($answer), '200 alice', $name);
                whole($answer, $body, $name);
            }
        }
    }
    said_nothing_of_it('Content-Length');
}

sub in_chunks {
    for my $path (qw(/unlimited /ten-megabytes /unbuffered /written)) {
        for my $which (sort keys %credential) {
            my $text = chunked($bodies[1]);
            my $answer = upload("POST $path", $credential{$which}, 'Transfer-Encoding: chunked', \$text);
            is(verdict($answer), '200 alice', "POST $path in chunks, $which");
            whole($answer, $bodies[1], "POST $path in chunks, $which");
        }
    }
    said_nothing_of_it('chunks');
}

sub expecting_100 {
    for my $path (qw(/unlimited /ten-megabytes /unbuffered /written)) {
        for my $which ('session', 'opaque token') {
            my $name = "PUT $path behind 100-continue, $which";
            my $client = connection(port(2));
            $client->request("PUT $path", $credential{$which}, 'Expect: 100-continue', 'Content-Length: ' . length $bodies[1]);
            my $answer = $client->answer;
            is($answer->{status}, 100, "$name: told to go on") or next;
            push @{ $client->{asked} }, 'PUT';
            $client->send($bodies[1]);
            $answer = $client->answer;
            is(verdict($answer), '200 alice', $name);
            whole($answer, $bodies[1], $name);
        }
    }
    said_nothing_of_it('100-continue');
}

sub over_http2 {
    for my $path (qw(/unlimited /ten-megabytes /unbuffered /written)) {
        for my $which ('session', 'opaque token') {
            for my $length ([], ['Content-Length: ' . length $bodies[1]]) {
                my $name = join ' ', "HTTP/2, POST $path,", @$length ? 'with a length,' : 'without a length,', $which;
                my $client = http2(port(1));
                my $answer = $client->answer($client->upload("POST $path", $credential{$which}, @$length, \$bodies[1]));
                is(verdict($answer), '200 alice', $name);
                whole($answer, $bodies[1], $name);
            }
        }
    }
    said_nothing_of_it('HTTP/2');
}

# A refused credential is no failure of the resolver.
sub refused {
    for my $header (cookie(session => 'dead'), 'Authorization: Bearer dead') {
        my $client = connection(port(2));
        for my $path (qw(/unlimited /written)) {
            $client->request("POST $path", $header, \$bodies[0]);
            is($client->answer->{status}, 401, "POST $path, $header: 401");
        }
        $client->request('POST /unlimited', $credential{session}, \'body');
        is(verdict($client->answer), '200 alice', 'and the next request on the connection passes');
    }
}

# Less is allowed elsewhere in the server.
sub more_than_the_server_allows {
    for my $path (qw(/unlimited /ten-megabytes /written)) {
        for my $which (sort keys %credential) {
            my $body = 'y' x 2000;
            my $name = "client_max_body_size 1k in the server, POST $path, $which";
            my $answer = upload("POST $path", $credential{$which}, \$body);
            is(verdict($answer), '200 alice', $name);
            whole($answer, $body, $name);
        }
    }
    is(upload('POST /small', $credential{session}, \('y' x 2000))->{status}, 413, 'where the location allows less, it is 413');
}

# --- configuration

my $to_echo = "proxy_http_version 1.1; proxy_pass @{[echo_origin()]};";
my $locations = <<"END";
include $ENV{TEST_NGINX_RESOLVER};
location = /_written/resolve {
    internal;
    proxy_pass @{[resolver_origin()]}/_resolver/resolve;
    proxy_set_header Host $host;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
}
location = /unlimited { authgear_verify myapp; client_max_body_size 0; $to_echo }
location = /ten-megabytes { authgear_verify myapp; client_max_body_size 10m; $to_echo }
location = /unbuffered { authgear_verify myapp; client_max_body_size 0; proxy_request_buffering off; $to_echo }
location = /written { authgear_verify written; client_max_body_size 0; $to_echo }
location = /small { authgear_verify myapp; $to_echo }
END
my $listen = "listen 127.0.0.1:@{[port(2)]};";
my $endpoint = 'endpoint ' . standin()->{http} . ';';
my $projects = join "\n",
    map {"authgear_project $_->[0] { $endpoint resolve_request $_->[1]; }"}
    [myapp => '/_authgear/resolve'], [written => '/_written/resolve'];
$ENV{TEST_NGINX_BY_DEFAULT} = "$projects server { $listen $locations }"
    . ' server { ' . http2_listen(port(1)) . " $locations }";
$ENV{TEST_NGINX_LESS} = "$projects server { $listen client_max_body_size 1k; $locations }";

run_tests();

__DATA__

=== TEST 1: over one megabyte
--- http_config: $TEST_NGINX_BY_DEFAULT
--- config
--- check: with_a_length in_chunks expecting_100 over_http2 refused

=== TEST 2: more than the server allows
--- http_config: $TEST_NGINX_LESS
--- config
--- check: more_than_the_server_allows
