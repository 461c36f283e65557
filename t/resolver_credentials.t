# Which credential is judged where, and what the resolver is asked.

use Test::Nginx::Socket 'no_plan';
use Digest::SHA qw(sha256_hex);
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver qw(:DEFAULT outcome);

use strict;
use warnings;

my ($host) = standin()->{origin} =~ m{//(.*)};

my $users = 0;

# One of each credential, all of different users.
sub credentials {
    my $n = ++$users;
    return (
        jwt => token(user => "jwt-$n"),
        opaque => token(user => "opaque-$n", kind => 'opaque'),
        app_session => session(user => "app-session-$n", kind => 'app'),
        app_jwt => token(user => "app-jwt-$n"),
        app_opaque => token(user => "app-opaque-$n", kind => 'opaque'),
        session => session(user => "session-$n"),
        n => $n,
    );
}

sub authorization { return "Authorization: Bearer $_[0]" }

# --- checks

sub each_alone {
    my %of = credentials();
    my $n = $of{n};
    # The worker remembers both.
    is(outcome('GET /required', authorization($of{jwt})), "200 ok jwt-$n jwt asked 0", 'a JWT');
    is(outcome('GET /required', cookie(app_access_token => $of{app_jwt})), "200 ok app-jwt-$n jwt asked 0",
        'a JWT in app_access_token');
    for my $case (
        ['a JWT', authorization($of{jwt}), "jwt-$n jwt_cache asked 0"],
        ['an opaque token', authorization($of{opaque}), "opaque-$n resolver asked 1"],
        ['app_session', cookie(app_session => $of{app_session}), "app-session-$n resolver asked 1"],
        ['a JWT in app_access_token', cookie(app_access_token => $of{app_jwt}), "app-jwt-$n jwt_cache asked 0"],
        ['an opaque app_access_token', cookie(app_access_token => $of{app_opaque}), "app-opaque-$n resolver asked 1"],
        ['session', cookie(session => $of{session}), "session-$n resolver asked 1"],
    ) {
        my ($name, $header, $expected) = @$case;
        is(outcome("GET /$_", $header), "200 ok $expected", "$name, $_") for qw(required optional observe);
    }
    for my $case (
        ['opaque token', authorization('made-up')],
        ['app_session', cookie(app_session => 'made-up')],
        ['opaque app_access_token', cookie(app_access_token => 'made-up')],
        ['session', cookie(session => 'made-up')],
    ) {
        my ($name, $header) = @$case;
        is(outcome("GET /$_", $header), '401 session_invalid - none asked 1', "a made-up $name, $_")
            for qw(required optional);
        is(outcome('GET /observe', $header), '200 session_invalid - none asked 1', "a made-up $name, observe");
    }
    my $answer = ask('GET /required', cookie(session => 'made-up'));
    like(header($answer, 'WWW-Authenticate'), qr/^Bearer realm="myapp", error="invalid_token", error_description="/,
        'a dead session gets a challenge');
}

sub in_order {
    my %of = credentials();
    my $n = $of{n};
    my @order = (
        ["opaque-$n", authorization($of{opaque}), undef],
        ["app-session-$n", undef, "app_session=$of{app_session}"],
        ["app-opaque-$n", undef, "app_access_token=$of{app_opaque}"],
        ["session-$n", undef, "session=$of{session}"],
    );
    while (@order) {
        my @headers = grep {defined} map { $_->[1] } @order;
        my @cookies = grep {defined} map { $_->[2] } @order;
        for my $list (\@cookies, [reverse @cookies]) {
            my @all = (@headers, @$list ? 'Cookie: ' . join('; ', @$list) : ());
            is(outcome('GET /required', @all), "200 ok $order[0][0] resolver asked 1",
                "$order[0][0] wins of " . @order);
        }
        is(outcome('GET /required', @headers, map {"Cookie: $_"} reverse @cookies),
            "200 ok $order[0][0] resolver asked 1", "$order[0][0] wins, a header for each cookie");
        shift @order;
    }
    my $cookies = cookie(session => $of{session}, app_access_token => $of{app_jwt});
    is(outcome('GET /required', $cookies), "200 ok app-jwt-$n jwt asked 0",
        'a JWT in app_access_token wins over a session');
    $cookies = cookie(app_access_token => $of{app_jwt}, app_session => $of{app_session});
    is(outcome('GET /required', $cookies), "200 ok app-session-$n resolver asked 1",
        'app_session wins over a JWT in app_access_token');
    is(outcome('GET /required', authorization($of{jwt}), cookie(app_session => $of{app_session})),
        "200 ok jwt-$n jwt asked 0", 'a bearer JWT wins over app_session, and asks nobody');
    like(outcome('GET /required', authorization($of{jwt}), authorization($of{opaque})),
        qr/^400 .* asked 0$/, 'two Authorization headers are a bad request');
}

sub invalid_jwt {
    my %of = credentials();
    my $n = $of{n};
    my %bad = (
        expired => token(user => "expired-$n", expires_in => -1),
        bad_signature => token(user => "stranger-$n", key => 'stranger'),
        malformed => "$of{jwt}=",
        unsupported_algorithm => token(user => "hs-$n", alg => 'HS256'),
        bad_issuer => token(user => "issuer-$n", claims => { iss => 'https://other.example' }),
        bad_audience => token(user => "audience-$n", audience => ['https://api.example.com']),
    );
    for my $reason (sort keys %bad) {
        my $jwt = $bad{$reason};
        my $told = "401 $reason - none asked 0";
        is(outcome('GET /required', authorization($jwt)), $told, "$reason: alone it is refused, and nobody is asked");
        is(outcome('GET /required', cookie(app_access_token => $jwt)), $told, "$reason: so it is as a cookie");
        is(outcome('GET /optional', authorization($jwt)), $told, "$reason: and in optional");
    }
    for my $reason (qw(expired bad_signature malformed unsupported_algorithm)) {
        my $jwt = $bad{$reason};
        for my $case (
            ['a session', session => $of{session}, "session-$n"],
            ['app_session', app_session => $of{app_session}, "app-session-$n"],
            ['an opaque app_access_token', app_access_token => $of{app_opaque}, "app-opaque-$n"],
        ) {
            my ($name, $cookie, $value, $user) = @$case;
            is(outcome('GET /required', authorization($jwt), cookie($cookie => $value)),
                "200 ok $user resolver asked 1", "$reason: beside $name the cookie counts");
        }
        is(outcome('GET /required', cookie(app_access_token => $jwt, session => $of{session})),
            "200 ok session-$n resolver asked 1", "$reason: in app_access_token beside a session, too");
        is(outcome('GET /required', authorization($jwt), cookie(session => 'made-up')),
            '401 session_invalid - none asked 1', "$reason: beside a dead session it is refused");
    }
    (my $odd = $of{jwt}) =~ s/[.]\K/,/;
    is(outcome('GET /required', cookie(app_access_token => $odd)), '401 malformed - none asked 0',
        'a JWT with a character that no token may have, as a cookie');
    is(outcome('GET /required', authorization($odd)), '401 malformed - none asked 0', 'as a bearer');
    is(outcome('GET /required', authorization($odd), cookie(session => $of{session})),
        "200 ok session-$n resolver asked 1", 'beside a session');
    is(outcome('GET /required', authorization('not a token'), cookie(session => $of{session})),
        "200 ok session-$n resolver asked 1", 'a bearer that no token may be, beside a session');
    is(outcome('GET /required', authorization('not a token')), '401 malformed - none asked 0', 'alone');
    my $encrypted = join '.', $of{jwt} =~ /^([^.]+)/, qw(a b c d);
    is(outcome('GET /required', cookie(app_access_token => $encrypted)), '401 unsupported - none asked 0', 'an encrypted token, as a cookie');
    is(outcome('GET /required', cookie(app_access_token => $encrypted, session => $of{session})),
        "200 ok session-$n resolver asked 1", 'beside a session');
}

# A valid JWT of the wrong kind must not become a yes by way of the resolver,
# which does not know this location's audience.
sub refused_by_policy {
    my %of = credentials();
    my $wrong = token(user => 'wrong-audience', audience => ['https://api.example.com']);
    is(outcome('GET /required', authorization($wrong), cookie(session => $of{session})),
        "200 ok session-$of{n} resolver asked 1",
        'a token for another audience beside a session: the session is who comes in');
}

sub none {
    is(outcome('GET /required'), '401 no_credential - none asked 0', 'nothing, required');
    is(outcome("GET /$_"), '200 no_credential - none asked 0', "nothing, $_") for qw(optional observe);
    for my $header (cookie(other => 'x', sessions => 'y', my_session => 'z'),
        'Cookie: app_session=; app_access_token=', 'Cookie: Session=a', 'Authorization: Bearer', 'Authorization: Bearer  ')
    {
        is(outcome('GET /required', $header), '401 no_credential - none asked 0', "'$header' is no credential");
    }
    for my $header ('Cookie: session=', 'Cookie: session', 'Cookie: session=""') {
        is(outcome("GET /$_", $header), '401 session_invalid - none asked 1', "'$header' is a bad session, $_")
            for qw(required optional);
    }
}

sub other_schemes {
    my $session = session(user => 'basic');
    for my $value ('Basic dXNlcjpwYXNz', 'Digest username="a"', 'Negotiate abc', 'Bearerx abc', 'Token abc') {
        my ($scheme) = split ' ', $value;
        is(outcome('GET /required', "Authorization: $value"), '401 no_credential - none asked 0',
            "$scheme alone is no credential of ours");
        my $answer = ask('GET /optional', "Authorization: $value");
        is(header(echoed($answer), 'Authorization'), $value, "$scheme goes on to the backend");
        is(outcome('GET /required', "Authorization: $value", cookie(session => $session)),
            '200 ok basic resolver asked 1', "$scheme beside a session: the session counts");
        $answer = ask('GET /required', "Authorization: $value", cookie(session => $session));
        is(header(echoed($answer), 'Authorization'), $value, "$scheme beside a session goes on, too");
    }
}

sub clients {
    my %of = credentials();
    my $m2m = token(kind => 'm2m', client_id => 'robot', audience => [standin()->{origin}]);
    is(outcome('GET /any', authorization($m2m)), '200 ok - jwt asked 0', "a client's token stays here");
    is(outcome('GET /any', authorization($m2m), cookie(session => $of{session})), '200 ok - jwt_cache asked 0',
        'beside a session, too');
    is(outcome('GET /any', cookie(app_access_token => $m2m, session => $of{session})),
        '200 ok - jwt_cache asked 0', 'and in app_access_token');
    is(outcome('GET /any', authorization($of{jwt})), "200 ok jwt-$of{n} jwt asked 0", "so does a user's");
    is(outcome('GET /any', cookie(session => $of{session})), "200 ok session-$of{n} resolver asked 1",
        'a session is resolved');
    is(outcome('GET /required', authorization($m2m)), '401 bad_type - none asked 0',
        "where only users may enter, a client's token is refused here");
}

sub without_resolver {
    my %of = credentials();
    is(outcome('GET /required', authorization($of{opaque})), '401 unsupported - none asked 0', 'an opaque token');
    is(outcome('GET /required', cookie($_ => $of{$_})), '401 no_credential - none asked 0', "$_: not looked at")
        for qw(session app_session);
    is(outcome('GET /required', cookie(app_access_token => $of{app_jwt})), "200 ok app-jwt-$of{n} jwt asked 0",
        'a JWT in app_access_token');
    is(outcome('GET /required', authorization(token(expires_in => -1)), cookie(session => $of{session})),
        '401 expired - none asked 0', 'an expired JWT has nothing to fall through to');
}

sub keys_unavailable {
    my %of = credentials();
    is(outcome('GET /required', authorization($of{jwt})), "200 ok jwt-$of{n} resolver asked 1",
        'without keys the resolver judges a JWT');
    is(outcome('GET /required', cookie(app_access_token => $of{app_jwt})), "200 ok app-jwt-$of{n} resolver asked 1",
        'in app_access_token, too');
    is(outcome('GET /required', authorization(token(user => 'x', key => 'stranger'))),
        '401 session_invalid - none asked 1', 'a bad one is refused');
    is(outcome('GET /required', cookie(session => $of{session})), "200 ok session-$of{n} resolver asked 1",
        'sessions are as ever');
    is(outcome('GET /any', authorization($of{jwt})), '503 keys_unavailable - - asked 0',
        'with token_type any the resolver, which knows no clients, is not asked');
    fault(resolver => 'status');
    is(outcome('GET /required', authorization($of{jwt})), '503 resolver_unavailable - - asked 1',
        'without keys and without resolver there is no verdict');
    is(outcome('GET /observe', authorization($of{jwt})), '200 resolver_unavailable - - asked 1', 'observe passes');
}

sub what_it_receives {
    my $session = session(user => 'alice');
    my @forged = ('X-Authgear-User-Id: root', 'x_authgear_user_id: root', 'X-Authgear-Session-Valid: true',
        'X-Authgear-Anything: 1', 'X.Authgear.User-Id: root');
    reset_counts();
    my $answer = ask('GET /required', 'Cookie: a=b; c="d"', 'Authorization: Basic eA==', "Cookie: session=$session",
        @forged);
    my ($seen) = asked_requests();
    is($seen->{method}, 'HEAD', 'HEAD');
    is($seen->{uri}, '/_resolver/resolve', 'the path');
    is_deeply($seen->{headers}{host}, [$host], 'the Host of the endpoint');
    is_deeply($seen->{headers}{cookie}, ["session=$session"], "Authgear's cookies alone");
    is($seen->{headers}{authorization}, undef, 'no Authorization of another scheme');
    is_deeply([grep { /authgear/ } keys %{ $seen->{headers} }], [], 'no X-Authgear-*');
    is_deeply([grep { /^(?:content|transfer|connection|expect|upgrade)/ } keys %{ $seen->{headers} }], [],
        'nothing of a body or a connection');
    is(scalar(grep { /root|Anything/ } @{ echoed_authgear($answer) }), 0, 'nor does the backend get the forged ones');

    for my $size (0, 1, 100_000, 1 << 20) {
        my $body = 'x' x $size;
        reset_counts();
        $answer = ask('POST /required', cookie(session => $session), \$body);
        is($answer->{status}, 200, "a POST of $size bytes");
        my $whole = $size < 1024 ? $body : "$size bytes, sha256 " . sha256_hex($body) . "\n";
        is(echoed($answer)->{body}, $whole, 'reaches the backend whole');
        my @seen = asked_requests();
        is(@seen, 1, 'one question');
        is_deeply([grep { /^(?:content|transfer)/ } keys %{ $seen[0]{headers} }], [], 'without a body');
    }
}

# A location as a client of the resolver's own configuration would forget it:
# headers and body are passed on.
sub careless {
    my $session = session(user => 'alice');
    reset_counts();
    my $answer = ask('POST /careless', cookie(session => $session), 'X-Authgear-User-Id: root', \'body');
    is($answer->{status}, 200, 'a location that passes all headers on works');
    my ($seen) = asked_requests();
    is_deeply([grep { /authgear/ } keys %{ $seen->{headers} }], [], "the client's X-Authgear-* do not reach it");
    is(echoed($answer)->{body}, 'body', 'and the body is still there for the backend');
}

$ENV{TEST_NGINX_LOCATIONS} = join "\n", map {
    my ($path, $verify) = @$_;
    <<"END";
location = $path {
    authgear_verify $verify;
    add_header X-Reason \$authgear_reason always;
    add_header X-User \$authgear_user_id always;
    add_header X-Valid \$authgear_session_valid always;
    add_header X-Source \$authgear_source always;
    client_max_body_size 0;
    proxy_pass @{[echo_origin()]};
}
END
} ['/required', 'myapp'], ['/optional', 'myapp optional'], ['/observe', 'myapp observe'], ['/any', 'any'],
    ['/careless', 'careless'];

# A location that takes no care.
my $careless = "location = /_careless/resolve { internal; proxy_method HEAD; proxy_pass_request_body off;
    proxy_set_header Content-Length ''; proxy_set_header Host $host;
    proxy_pass @{[resolver_origin()]}/_resolver/resolve; }";

my $resolver = 'resolve_request /_authgear/resolve;';
my $endpoint = 'endpoint ' . standin()->{origin} . ';';
my $others = "authgear_project any { $endpoint token_type any; $resolver }
    authgear_project careless { $endpoint resolve_request /_careless/resolve; }";
$ENV{TEST_NGINX_PROJECTS} = "authgear_project myapp { $endpoint $resolver } $others";
$ENV{TEST_NGINX_PLAIN} = "authgear_project myapp { $endpoint } $others";
# Nobody listens there.
$ENV{TEST_NGINX_KEYLESS} = $ENV{TEST_NGINX_PROJECTS} =~ s{\Q$endpoint\E}{$endpoint jwks_uri http://127.0.0.1:1/jwks;}gr;
$ENV{TEST_NGINX_SERVER} = "include $ENV{TEST_NGINX_RESOLVER};\n$careless\n$ENV{TEST_NGINX_LOCATIONS}";

run_tests();

__DATA__

=== TEST 1: credentials
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: each_alone in_order invalid_jwt refused_by_policy none other_schemes clients

=== TEST 2: without resolve_request
--- http_config: $TEST_NGINX_PLAIN
--- config: $TEST_NGINX_SERVER
--- check: without_resolver

=== TEST 3: no keys
--- http_config: $TEST_NGINX_KEYLESS
--- config: $TEST_NGINX_SERVER
--- check: keys_unavailable

=== TEST 4: requests that the resolver receives
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: what_it_receives careless
