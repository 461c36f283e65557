# The resolver's files in nginx-conf/, as they are shipped, over TLS. Only where
# things are is replaced: addresses, certificates, ports.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear tls => 1,
    args => [qw(--origin https://auth.example.com --name auth.example.com --amr)];
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my ($tls_port) = standin()->{https} =~ /:(\d+)$/;

# The http block of an example.
sub example {
    my ($name, $ca, @replace) = @_;
    my $text = shipped(
        $name,
        'include authgear_resolver.conf;' => shipped(
            'authgear_resolver.conf',
            '/etc/ssl/certs/ca-certificates.crt' => $ca // standin()->{ca}, @replace
        ),
        'server auth.example.com:443 max_fails=0;' => "server 127.0.0.1:$tls_port;",
        'endpoint https://auth.example.com;' =>
            'endpoint https://auth.example.com; internal_endpoint ' . standin()->{http} . ';',
        'listen 8080;' => 'listen 127.0.0.1:' . port(1) . ';',
        'server 127.0.0.1:9000;' => 'server ' . (echo_origin() =~ s{^http://}{}r) . ';',
    );
    $text =~ s/.*^http \{\n//ms;
    $text =~ s/^\}\s*\z//m;
    return $text;
}

sub get { return ask("GET $_[0]", { port => port(1) }, @_[1 .. $#_]) }

# --- checks

my $user = { id => 'alice', roles => [qw(editor staff)] };
my $session = session(user => $user, amr => [qw(pwd otp)], auth_time => 1_700_000_000);

sub cookies {
    my $answer = get('/', cookie(session => $session));
    is($answer->{status}, 200, 'a session cookie is let in');
    is_deeply(echoed_authgear($answer), [
        'X-Authgear-Session-Amr: pwd otp',
        'X-Authgear-Session-Authenticated-At: 1700000000',
        'X-Authgear-Session-Valid: true',
        'X-Authgear-User-Anonymous: false',
        'X-Authgear-User-Can-Reauthenticate: true',
        'X-Authgear-User-Id: alice',
        'X-Authgear-User-Roles: editor,staff',
        'X-Authgear-User-Verified: true',
    ], 'with all that the resolver says');
    is(asked(), 1, 'asked over TLS');

    get('/', cookie(session => $session)) for 1 .. 5;
    is(asked(), 1, 'and kept');

    is(get('/', bearer(user => $user))->{status}, 200, 'a JWT is let in');
    is(get('/', 'Authorization: Bearer ' . token(user => $user, kind => 'opaque'))->{status}, 200,
        'an opaque token is let in');
    is(get('/')->{status}, 401, 'nobody is not');
    is(get('/', cookie(session => 'made-up'))->{status}, 401, 'nor is a made-up session');
    is(get('/_authgear/resolve')->{status}, 404, 'the location is not for clients');
}

sub what_the_resolver_receives {
    reset_counts();
    get('/', cookie(session => session(user => 'bob')), 'User-Agent: browser/1', 'X-Forwarded-Host: evil.example',
        'X-Original-Host: evil.example', 'Forwarded: host=evil.example', 'X-Forwarded-For: 10.1.2.3',
        'X-Forwarded-Proto: http', 'X-Authgear-User-Id: root', 'X-Other: 1', 'If-None-Match: *', 'Range: bytes=0-0');
    my ($seen) = asked_requests();
    my $headers = $seen->{headers};
    like(delete $headers->{cookie}[0], qr/^session=/, 'the cookie');
    delete $headers->{cookie};
    is_deeply($headers, {
        host => ['auth.example.com'],
        'user-agent' => ['browser/1'],
        'x-forwarded-for' => ['127.0.0.1'],
        'x-forwarded-proto' => ['https'],
    }, 'and nothing else that the client can choose');
    is("$seen->{method} $seen->{uri}", 'HEAD /_resolver/resolve', 'by HEAD');
}

# A server in front of the resolver logs its connections.
sub kept_alive {
    for my $i (1 .. 10) {
        is(get('/', cookie(session => session(user => "user$i")))->{status}, 200, "user $i");
    }
    my %seen = map { $_ => 1 } log_lines('front.log', 10);
    is(keys %seen, 1, 'ten questions, one connection');
}

sub wrong_ca {
    my $answer = get('/', cookie(session => $session));
    is($answer->{status}, 503, 'a certificate that is not trusted: 503');
    is(asked(), 0, 'and no cookie is sent');
}

# The address of the resolver alone differs from the cloud's. Authgear tells projects
# by Host; this one knows that of one.
sub self_hosted {
    my $answer = get('/shop/', cookie(session => $session));
    is($answer->{status}, 200, 'a session of one project is let in');
    is(get('/admin/', cookie(session => $session))->{status}, 503, 'and the other project, which is not there, is');
    is_deeply([log_lines('front.log', 2)], ['auth.example.com https', 'auth.staff.example.com:8443 https'],
        'asked about at the same resolver, with its port and scheme');
    is(get('/shop/', bearer(user => $user))->{status}, 200, 'a JWT is let in');
}

my @old_browser = 'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
my @browser = (@old_browser, 'Sec-Fetch-Mode: navigate', 'Sec-Fetch-Dest: document');

sub login {
    for my $case (
        ['a browser without a session', @browser],
        ['one that does not say that it navigates', @old_browser],
        ['one with a dead session', @browser, cookie(session => 'dead')],
        ['one with an expired token in a cookie', @browser, cookie(app_access_token => token(expires_in => -1))],
        ['one with a password for something else', @browser, 'Authorization: Basic eA=='],
        ['one that names nothing but text/html', 'Accept: text/html'],
        ['one that names it last, in capitals', 'Accept: image/png, */*;q=0.1 , TEXT/HTML ;q=0.5'],
    ) {
        my ($name, @headers) = @$case;
        # The client's request does not change the address of the redirect.
        for my $uri ('/page?a=b', '//evil.example/%2e%2e', '/?redirect_uri=https://evil.example/&x=%0d%0aA:b') {
            my $answer = get($uri, 'Host: www.example.com', @headers, 'X-Forwarded-Host: evil.example');
            is($answer->{status}, 302, "$name is redirected from $uri");
            like(header($answer, 'Location'),
                qr{^https://auth\.example\.com/oauth2/authorize\?client_id=CLIENT_ID&response_type=none&scope=openid&redirect_uri=https%3A%2F%2Fwww\.example\.com%2F_authgear%2Fcallback&state=[\w-]{22}$},
                "$name: to Authgear's login");
            is(!!(header($answer, 'Set-Cookie') =~ /(?:^| )session=;/), !!($name =~ /dead/), "$name: a dead session's cookie is cleared");
        }
    }
    for my $case (
        ['a program', 'GET /', 'Accept: application/json'],
        ['one that accepts anything', 'GET /', 'Accept: */*'],
        ['one that does not say', 'GET /'],
        ['one that accepts what only looks like HTML', 'GET /', 'Accept: text/html-fragment, x-text/html, text/htmlx'],
        ['a form', 'POST /', @browser, \'a=b'],
        ['HEAD', 'HEAD /', @browser],
        ['a preflight', 'OPTIONS /', @browser, 'Origin: https://other.example', 'Access-Control-Request-Method: GET'],
        ['a script of a page', 'GET /', @old_browser, 'Sec-Fetch-Mode: cors'],
        ['one that gets a part of the page', 'GET /', @old_browser, 'Sec-Fetch-Mode: same-origin'],
        ['a WebSocket', 'GET /', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-Fetch-Mode: websocket'],
    ) {
        my ($name, $line, @rest) = @$case;
        my $answer = ask($line, { port => port(1) }, 'Host: www.example.com', @rest);
        is($answer->{status}, 401, "$name gets a 401");
        is(header($answer, 'WWW-Authenticate'), 'Bearer realm="myapp"', "$name: with the challenge");
        is(header($answer, 'Location'), undef, "$name: and no redirect");
    }
    for my $accept ('application/json', $old_browser[0] =~ s/^Accept: //r) {
        for my $header (bearer(expires_in => -1), 'Authorization: bearer made-up') {
            my $answer = get('/', 'Host: www.example.com', "Accept: $accept", $header);
            is($answer->{status}, 401, "a program with a bad token gets a 401, whatever it accepts: $accept");
            like(header($answer, 'WWW-Authenticate'), qr/error="invalid_token"/, 'and is told what is wrong with it');
            is(header($answer, 'Location'), undef, 'and no redirect');
        }
    }
    is(get('/', 'Host: evil.example', @browser)->{status}, 401, 'a browser on another host gets a 401');
    my $answer = get('/', 'Host: www.example.com', @browser);
    my ($state) = header($answer, 'Location') =~ /state=(.*)/;
    my ($kept) = header($answer, 'Set-Cookie') =~ /^(.*?);/;
    $answer = get("/_authgear/callback?state=$state", 'Host: www.example.com', @browser, "Cookie: $kept");
    is(header($answer, 'Location'), 'https://www.example.com/', 'a browser comes back');
    is(header(get('/logout', 'Host: www.example.com', @browser), 'Location'),
        'https://auth.example.com/oauth2/end_session?post_logout_redirect_uri=https%3A%2F%2Fwww.example.com%2F', 'and can log out');
    $answer = get('/', @browser, cookie(session => $session));
    is($answer->{status}, 200, 'a browser with a session is let in');
    fault(resolver => 'status');
    is(get('/', @browser, cookie(session => $session))->{status}, 503, 'a failure is no reason to log in again');
    heal();
}

$ENV{TEST_NGINX_COOKIES} = example('cookies.conf');
$ENV{TEST_NGINX_WRONG_CA} = example('cookies.conf', standin()->{other_ca});
$ENV{TEST_NGINX_LOGIN} = example('login.conf');
my ($front, $plain) = ('127.0.0.1:' . port(2), standin()->{resolver});
$ENV{TEST_NGINX_KEPT_ALIVE} = example('cookies.conf', undef, 'https://authgear_resolver' => 'http://authgear_resolver')
    =~ s/server 127\.0\.0\.1:$tls_port;/server $front;/r . <<"END";
log_format connection \$connection;
server {
    listen $front;
    access_log logs/front.log connection;
    location / {
        proxy_pass $plain;
        proxy_set_header Host auth.example.com;
        proxy_set_header X-Forwarded-Proto https;
    }
}
END

{
    my $include = shipped('authgear_resolver.conf', 'https://authgear_resolver' => 'http://authgear_resolver',
        '/etc/ssl/certs/ca-certificates.crt' => standin()->{ca});
    my $text = shipped('self-hosted.conf',
        'include authgear_resolver.conf;' => $include,
        'https://auth.shop.example.com' => 'https://auth.example.com',
        'https://auth.staff.example.com' => 'https://auth.staff.example.com:8443',
        'http://127.0.0.1:3000' => standin()->{http},
        'server 127.0.0.1:3001 max_fails=0;' => "server $front;",
        'listen 8080;' => 'listen 127.0.0.1:' . port(1) . ';',
        'server 127.0.0.1:9000;' => 'server ' . (echo_origin() =~ s{^http://}{}r) . ';',
    );
    ($text) = $text =~ /^http \{\n(.*)^\}/ms;
    $ENV{TEST_NGINX_SELF_HOSTED} = $text . <<"END";
log_format asked '\$http_host \$http_x_forwarded_proto';
server {
    listen $front;
    access_log logs/front.log asked;
    location / {
        proxy_pass $plain;
        proxy_set_header Host \$http_host;
    }
}
END
}
run_tests();

__DATA__

=== TEST 1: cookies.conf
--- http_config: $TEST_NGINX_COOKIES
--- config
--- check: cookies what_the_resolver_receives

=== TEST 2: a certificate that is not Authgear's
--- http_config: $TEST_NGINX_WRONG_CA
--- config
--- check: wrong_ca
--- error_log
upstream SSL certificate verify error

=== TEST 3: login.conf
--- http_config: $TEST_NGINX_LOGIN
--- config
--- check: login

=== TEST 4: the upstream keeps connections
--- http_config: $TEST_NGINX_KEPT_ALIVE
--- config
--- check: kept_alive

=== TEST 5: self-hosted.conf
--- http_config: $TEST_NGINX_SELF_HOSTED
--- config
--- check: self_hosted
