# HTTP/3: who is let in, and that each request ends, whatever becomes of the
# resolver's answer. An nginx before 1.25 has no HTTP/3, and that is checked.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict);
use Test::Nginx::Authgear::Http3;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

if (!has_http3()) {
    my ($version) = `$ENV{TEST_NGINX_BINARY} -v 2>&1` =~ m{nginx/1\.(\d+)};
    cmp_ok($version, '<', 25, 'an nginx without HTTP/3 is one from before 1.25');
    exit;
}

my $session = cookie(session => session(user => 'alice'));

# --- checks

sub tokens {
    my $client = http3(port(1));
    my $answer = $client->ask('GET /required', bearer(user => 'alice'), 'X-Authgear-User-Id: forged');
    is(verdict($answer), '200 alice', 'a token passes');
    is_deeply([grep {/User-Id/i} @{ echoed_authgear($answer) }], ['X-Authgear-User-Id: alice'],
        "and the client's own headers do not");
    $answer = $client->ask('GET /required');
    is($answer->{status}, 401, 'no credential: 401');
    is(header($answer, 'WWW-Authenticate'), 'Bearer realm="myapp"', 'and the challenge');
    is(verdict($client->ask('GET /required', bearer(user => 'alice', expires_in => -1))), 401, 'an expired token: 401');
    $answer = $client->ask('POST /required', bearer(user => 'alice'), \'the body');
    is(verdict($answer), '200 alice', 'a body');
    is(echoed($answer)->{body}, 'the body', 'and the backend gets it');
}

sub sessions {
    my $client = http3(port(1));
    for my $round (1 .. 3) {
        is(verdict($client->ask('GET /required', $session)), '200 alice', "a session passes, round $round");
        is(verdict($client->ask('GET /required', cookie(session => 'dead'))), 401, "a dead one: 401, round $round");
    }
    my @asked = map { [$_ % 2 ? 'GET /required' : 'POST /required', $session, $_ % 2 ? () : \'text'] } 1 .. 20;
    is_deeply([map { verdict($_) } $client->ask_all(@asked)], [('200 alice') x 20], '20 streams at the same time');
}

# Of one connection: requests whose question fails, then one that needs none. No
# HEAD: the client takes the length of the body that is not sent for a mistake.
sub in_vain {
    my ($path, $how) = @_;
    my $client = http3(port(1));
    for my $method (qw(GET POST GET)) {
        my $answer = $client->ask("$method $path", $session, $method eq 'POST' ? (\'text') : ());
        is($answer->{error}, undef, "$how: $method ends");
        is($answer->{status}, 503, "$how: with 503");
        is(header($answer, 'Retry-After'), 1, "$how: and Retry-After");
    }
    is(verdict($client->ask("GET $path", bearer(user => 'bob'))), '200 bob', "$how: a token passes afterwards");
}

sub the_resolver_refuses { in_vain('/refused', 'connection refused') }

sub the_resolver_closes {
    fault(resolver => 'close');
    in_vain('/required', 'closed without an answer');
    heal();
    # It is suspended until it responds to a probe.
    ok((wait_for { verdict(http3(port(1))->ask('GET /required', $session)) eq '200 alice' }), 'and it is back');
}

sub the_resolver_hangs {
    fault(resolver => 'hang');
    in_vain('/hasty', 'no answer in time');
    heal();
}

# Questions in the background, those that fail too.
sub rechecked {
    for my $path (qw(/recheck /recheck-refused)) {
        my $client = http3(port(1));
        my $before = asked();
        for my $round (1 .. 4) {
            my $answer = $client->ask("GET $path", bearer(user => 'alice'));
            is($answer->{error}, undef, "$path: round $round ends") or last;
            is(verdict($answer), '200 alice', "$path: round $round passes");
        }
        ok(wait_for { asked() == $before + 4 }, "$path: each was asked about") if $path eq '/recheck';
    }
}

sub logins {
    my $client = http3(port(1));
    my @page = ('Sec-Fetch-Mode: navigate', 'Sec-Fetch-Dest: document');
    for my $round (1, 2) {
        my $answer = $client->ask('GET /login', @page);
        is($answer->{status}, 302, "a browser goes to the login, round $round");
        is($answer->{body}, '', "without a body, round $round");
        like(header($answer, 'Location'), qr{/oauth2/authorize\?}, "with a Location, round $round");
        $answer = $client->ask('GET /login', @page, 'Cookie: authgear_logins=2');
        is($answer->{status}, 401, "and not a third time, round $round");
        like($answer->{body}, qr{<h1>Your login.*</html>}s, "but to a whole page, round $round");
        is($client->ask('POST /login', @page, \'text')->{status}, 401, "a form gets the 401, round $round");
    }
}

$ENV{TEST_NGINX_HTTP3} = http3_listen(port(1));

run_tests();

__DATA__

=== TEST 1: HTTP/3
--- check
tokens
sessions
the_resolver_refuses
the_resolver_closes
the_resolver_hangs
rechecked
logins
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    login client_id=site callback=http://localhost/callback;
}
$TEST_NGINX_FAILING_PROJECTS
--- config
$TEST_NGINX_HTTP3
include $TEST_NGINX_RESOLVER;
$TEST_NGINX_FAILING_RESOLVERS
location = /required {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /login {
    authgear_verify myapp;
    authgear_login on;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /callback { authgear_login_callback myapp; }
location = /hasty {
    authgear_verify hasty;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /refused {
    authgear_verify refused;
    proxy_pass $TEST_NGINX_ECHO;
}
