# Requests one after another on kept connections: each gets an answer of its own
# and nothing else, whatever becomes of the resolver's.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict);
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my $session = cookie(session => session(user => 'alice'));

# The answer to a request on a kept connection, as "status user". It must begin with
# a status line, and nothing may be left behind it.
sub clean {
    my ($client, $name, @request) = @_;
    $client->request(@request);
    my $began = eval { $client->read_until(qr/\r\n\r\n/) };
    my ($first) = $client->{buffer} =~ /\A([^\r\n]*)/;
    if (!$began or $first !~ m{\AHTTP/1\.1 [1-5]\d\d }) {
        fail("$name: the answer begins with a status line");
        diag("it begins with '$first'");
        return '';
    }
    my $answer = eval { $client->answer };
    is($client->{buffer}, '', "$name: nothing is left behind the answer");
    return $answer ? verdict($answer) : 'cut';
}

# Three requests whose question fails, and one that needs none, on one connection.
sub in_turn {
    my ($path, $how) = @_;
    my $client = connection();
    my $expected = $path =~ /observe/ ? '200 nobody' : 503;
    for my $method (qw(GET HEAD POST GET)) {
        my $name = "$path, $how, $method";
        my @body = $method eq 'POST' ? (\'text') : ();
        my $got = clean($client, $name, "$method $path", $session, @body) or return;
        # The echo's answer to HEAD tells nothing of a user.
        is($got, $method eq 'HEAD' && $expected ne 503 ? '200 nobody' : $expected, $name);
    }
    is(clean($client, "$path, $how, then a JWT", "GET $path", bearer(user => 'bob')), '200 bob',
        "$path, $how: a JWT passes on the same connection");
}

# --- checks

sub the_resolver_answers {
    my $client = connection();
    for my $round (1 .. 3) {
        is(clean($client, "round $round", 'GET /required', $session), '200 alice', "round $round: a session passes");
        is(clean($client, "round $round", 'GET /required', cookie(session => 'dead')), 401,
            "round $round: a dead one is refused");
    }
}

sub the_resolver_refuses {
    in_turn("/refused/$_", 'connection refused') for qw(required observe);
}

sub the_resolver_closes {
    fault(resolver => 'close');
    in_turn("/$_", 'closed without an answer') for qw(required observe);
    heal();
    # It is suspended until it responds to a probe.
    ok((wait_for { verdict(ask('GET /required', $session)) eq '200 alice' }), 'and it is back');
}

sub the_resolver_hangs {
    fault(resolver => 'hang');
    in_turn("/hasty/$_", 'no answer in time') for qw(required observe);
    heal();
}

sub the_resolver_fails {
    fault(resolver => 'status', status => 500);
    in_turn("/$_", 'status 500') for qw(required observe);
    heal();
}

# Two requests in one packet.
sub pipelined {
    for my $path (qw(/refused/required /required)) {
        my $client = connection();
        my $one = "GET $path HTTP/1.1\r\nHost: localhost\r\n$session\r\n\r\n";
        $client->send($one x 2);
        push @{ $client->{asked} }, qw(GET GET);
        my @got = map { verdict(eval { $client->answer } // { status => 'none' }) } 1 .. 2;
        my $expected = $path =~ /refused/ ? 503 : '200 alice';
        is_deeply(\@got, [($expected) x 2], "$path: two requests in one packet are both answered");
        is($client->{buffer}, '', "$path: and nothing is left");
    }
}

# A question in the background belongs to a request that is answered already.
sub rechecked {
    my $before = asked();
    my $client = connection();
    for my $round (1 .. 4) {
        is(clean($client, "recheck, round $round", 'GET /recheck', bearer(user => 'alice')), '200 alice',
            "a token that is confirmed in the background: round $round") or last;
    }
    ok(wait_for { asked() == $before + 4 }, 'and the resolver was asked about each');
}

# While the resolver fails, nginx says of each answer whether the connection goes on.
sub rechecked_in_vain {
    my $client = connection();
    for my $round (1 .. 4) {
        $client->request('GET /recheck-refused', bearer(user => 'alice'));
        my $answer = eval { $client->answer } // { status => 'none', headers => [], body => '' };
        is(verdict($answer), '200 alice', "a token that cannot be confirmed: round $round") or last;
        is($client->{buffer}, '', "round $round: nothing is left behind the answer");
        if ((header($answer, 'Connection') // '') eq 'close') {
            ok($client->closed, "round $round: the connection closes as it says");
            $client = connection();
        }
    }
}

$ENV{TEST_NGINX_PLACES} = join '', map {
    my ($prefix, $project) = @$_;
    map {"location = $prefix/$_ { authgear_verify $project $_; proxy_pass $ENV{TEST_NGINX_ECHO}; }\n"}
        qw(required observe);
} ['', 'myapp'], ['/hasty', 'hasty'], ['/refused', 'refused'];

run_tests();

__DATA__

=== TEST 1: kept connections
--- check
the_resolver_answers
the_resolver_refuses
the_resolver_closes
the_resolver_hangs
the_resolver_fails
pipelined
rechecked
rechecked_in_vain
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
$TEST_NGINX_FAILING_PROJECTS
--- config
include $TEST_NGINX_RESOLVER;
$TEST_NGINX_FAILING_RESOLVERS
$TEST_NGINX_PLACES
