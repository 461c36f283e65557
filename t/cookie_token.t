# A JWT in the cookie app_access_token is verified here; no other cookie is
# looked at without resolve_request.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Http2;

use strict;
use warnings;

$ENV{TEST_NGINX_LISTEN_HTTP} = http2_listen(port(1));

my $alice = token(user => 'alice');
my $bob = token(user => 'bob');
my $expired = token(user => 'mallory', expires_in => -1);
my $forged = token(user => 'mallory', key => 'stranger');
my $opaque = token(kind => 'opaque', user => 'alice');
my $id_token = token(kind => 'id', user => 'alice');
my $app_session = session(user => 'alice', kind => 'app');
my $session = session(user => 'alice', kind => 'idp');
chomp($app_session, $session);
# Over 16 KiB; the other one is no JWT.
my $long = token(user => 'alice', claims => { text => 'x' x 16_384 });
my $long_opaque = 'x' x 17_000;
my $malformed = token(user => 'alice', raw_header => '{"alg":"RS256","alg":"RS256"}');

my $valid = '200 ok alice';
my $nothing = '401 no_credential';

# A request, and its outcome: the status, the reason, the user.
my @cases = (
    ['a JWT' => $valid, "Cookie: app_access_token=$alice"],
    ['an expired JWT' => '401 expired', "Cookie: app_access_token=$expired"],
    ["a stranger's JWT" => '401 bad_signature', "Cookie: app_access_token=$forged"],
    ['an ID token' => '401 bad_type', "Cookie: app_access_token=$id_token"],
    ['a malformed JWT' => '401 malformed', "Cookie: app_access_token=$malformed"],
    ['a JWT over 16 KiB' => '401 malformed', "Cookie: app_access_token=$long"],

    ['first of several cookies' => $valid, "Cookie: app_access_token=$alice; a=b; c=d"],
    ['in the middle of them' => $valid, "Cookie: a=b; app_access_token=$alice; c=d"],
    ['last of them' => $valid, "Cookie: a=b; c=d; app_access_token=$alice"],
    ['without blanks between cookies' => $valid, "Cookie: a=b;app_access_token=$alice;c=d"],
    ['with blanks and a tab around it' => $valid, "Cookie: a=b;  \tapp_access_token=$alice  ; c=d"],
    ['between empty pairs' => $valid, "Cookie: ;; app_access_token=$alice;;"],
    ['in double quotes' => $valid, qq{Cookie: app_access_token="$alice"}],
    ['behind a cookie without a value' => $valid, "Cookie: flag; app_access_token=$alice"],
    ['behind a cookie with an equals sign in its value' => $valid, "Cookie: a=b=c; app_access_token=$alice"],
    ['beside session cookies' => $valid,
        "Cookie: session=$session; app_session=$app_session; app_access_token=$alice"],
    ['behind a hundred others' => $valid,
        'Cookie: ' . join('; ', (map {"c$_=$_"} 1 .. 100), "app_access_token=$alice")],
    ['twice: the first counts' => $valid, "Cookie: app_access_token=$alice; app_access_token=$bob"],
    ['twice, the first expired: the first counts' => '401 expired',
        "Cookie: app_access_token=$expired; app_access_token=$alice"],

    ['several Cookie headers: in the first' => $valid,
        ["Cookie: app_access_token=$alice", 'Cookie: a=b']],
    ['several Cookie headers: in the last' => $valid,
        ['Cookie: a=b', 'Cookie: c=d', "Cookie: e=f; app_access_token=$alice"]],
    ['several Cookie headers with a token: the first counts' => $valid,
        ["Cookie: app_access_token=$alice", "Cookie: app_access_token=$bob"]],
    ['a lower-case Cookie header' => $valid, "cookie: app_access_token=$alice"],

    ['no cookie' => $nothing, 'Cookie: a=b'],
    ['an empty Cookie header' => $nothing, 'Cookie:'],
    ['an empty cookie' => $nothing, 'Cookie: app_access_token='],
    ['another case' => $nothing, "Cookie: App_Access_Token=$alice"],
    ['a longer name' => $nothing, "Cookie: app_access_tokens=$alice"],
    ['a name that ends so' => $nothing, "Cookie: my_app_access_token=$alice"],
    ['a shorter name' => $nothing, "Cookie: access_token=$alice"],
    ['dashes for underscores' => $nothing, "Cookie: app-access-token=$alice"],
    ['the name in another value' => $nothing, "Cookie: a=app_access_token=$alice"],
    ['half a pair of quotes' => $nothing, qq{Cookie: app_access_token="$alice}],
    ['in another header' => $nothing, "X-Cookie: app_access_token=$alice"],
    ['a JWT in app_session' => $nothing, "Cookie: app_session=$alice"],
    ['a JWT in session' => $nothing, "Cookie: session=$alice"],
    ['a session cookie' => $nothing, "Cookie: session=$session"],
    ['an app_session cookie' => $nothing, "Cookie: app_session=$app_session"],
    ['an opaque token' => $nothing, "Cookie: app_access_token=$opaque"],
    ['an opaque token over 16 KiB' => $nothing, "Cookie: app_access_token=$long_opaque"],
    ['a session cookie of some other application' => $nothing, 'Cookie: session=abc; app_session=def'],

    ['Authorization wins over the cookie' => $valid,
        ["Cookie: app_access_token=$bob", "Authorization: Bearer $alice"]],
    ['an expired bearer does not fall through to a good cookie' => '401 expired',
        ["Cookie: app_access_token=$alice", "Authorization: Bearer $expired"]],
    ['nor does a forged one' => '401 bad_signature',
        ["Cookie: app_access_token=$alice", "Authorization: Bearer $forged"]],
    ['nor does an opaque one' => '401 unsupported',
        ["Cookie: app_access_token=$alice", "Authorization: Bearer $opaque"]],
    ['nor does one with characters that no token may have' => '401 malformed',
        ["Cookie: app_access_token=$alice", 'Authorization: Bearer a b']],
    ['a good bearer beside an expired cookie' => $valid,
        ["Cookie: app_access_token=$expired", "Authorization: Bearer $alice"]],
    ['another scheme leaves the cookie to be looked at' => $valid,
        ["Cookie: app_access_token=$alice", 'Authorization: Basic dTpw']],
    ['so does Bearer with nothing behind it' => $valid,
        ["Cookie: app_access_token=$alice", 'Authorization: Bearer']],
    ['and a blank behind it' => $valid,
        ["Cookie: app_access_token=$alice", 'Authorization: Bearer   ']],
);

my @with_prefix = (
    ['a prefixed name' => $valid, "Cookie: my_app_access_token=$alice"],
    ['a prefixed name that is expired' => '401 expired', "Cookie: my_app_access_token=$expired"],
    ['the bare name' => $nothing, "Cookie: app_access_token=$alice"],
    ['the bare name before the prefixed one' => $valid,
        "Cookie: app_access_token=$bob; my_app_access_token=$alice"],
    ['another prefix' => $nothing, "Cookie: your_app_access_token=$alice"],
    ['another case of the prefix' => $nothing, "Cookie: MY_app_access_token=$alice"],
    ['the prefix twice' => $nothing, "Cookie: my_my_app_access_token=$alice"],
    ['a prefixed session cookie' => $nothing, "Cookie: my_session=$session; my_app_session=$app_session"],
);

sub outcome {
    my ($answer) = @_;
    my $user = $answer->{status} == 200 ? header(echoed($answer), 'X-Authgear-User-Id') : undef;
    return join ' ', grep {defined} $answer->{status}, header($answer, 'X-Reason'), $user;
}

sub lines { return ref $_[0] ? @{ $_[0] } : $_[0] }

# --- checks

sub in_every_mode {
    for my $case (@cases) {
        my ($name, $expected, $lines) = @$case;
        is(outcome(ask('GET /required', lines($lines))), $expected, $name);
        is(outcome(ask('GET /optional', lines($lines))),
            $expected eq $nothing ? '200 no_credential' : $expected, "$name, optional");
    }
    is(counts()->{resolver}, 0, 'the resolver is not asked');
}

sub prefixed {
    is(outcome(ask('GET /prefixed', lines($_->[2]))), $_->[1], "cookie_prefix: $_->[0]")
        for @with_prefix;
}

sub around_it {
    my $cookie = "a=b; app_access_token=$alice; c=d";
    my $answer = ask('GET /required', "Cookie: $cookie");
    is(header(echoed($answer), 'Cookie'), $cookie, 'the cookies reach the backend as they were sent');
    is(header(echoed($answer), 'Authorization'), undef, 'and no Authorization is made of them');
    is(header(ask('GET /required', "Cookie: app_access_token=$expired"), 'WWW-Authenticate'),
        'Bearer realm="myapp", error="invalid_token", error_description="the access token expired"',
        'a refused cookie is told so');
    is(header(ask('GET /required', "Cookie: session=$session"), 'WWW-Authenticate'),
        'Bearer realm="myapp"', 'a cookie that is not looked at gets the plain challenge');
}

sub http2_crumbs {
    my $client = http2(port(1));
    my %stream = (
        'one cookie field' => ["cookie: a=b; app_access_token=$alice"],
        'a field for each cookie' => ['cookie: a=b', "cookie: app_access_token=$alice", 'cookie: c=d'],
        'no such cookie' => ['cookie: a=b', 'cookie: c=d'],
    );
    for my $name (sort keys %stream) {
        my $answer = $client->answer($client->request('GET /required', @{ $stream{$name} }));
        is($answer->{status}, $name =~ /^no/ ? 401 : 200, "HTTP/2, $name: its status");
    }
}

run_tests();

__DATA__

=== TEST 1: a JWT in a cookie
--- check
in_every_mode
prefixed
around_it
http2_crumbs
--- http_config
large_client_header_buffers 8 32k;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project prefixed {
    endpoint $TEST_NGINX_AUTHGEAR;
    cookie_prefix my_;
}
server {
    $TEST_NGINX_LISTEN_HTTP
    authgear_verify myapp;
    location / {
        proxy_pass $TEST_NGINX_ECHO;
    }
}
--- config
add_header X-Reason $authgear_reason always;
$TEST_NGINX_MODES
location = /prefixed {
    authgear_verify prefixed;
    proxy_pass $TEST_NGINX_ECHO;
}
