# A JWT that is judged here is never shown to the resolver, whatever stands beside it.

use Test::Nginx::Socket 'no_plan';
use JSON::PP ();
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my ($bob, $app) = (session(user => 'bob'), session(user => 'app', kind => 'app'));
my %opaque = (carol => token(user => 'carol', kind => 'opaque'));
my $good = token(user => 'jay');
my $revoked = token(user => 'rita');
control('POST', '/-/token/revoke', $revoked);
my $api = 'https://api.example.com';

# Tokens that the project refuses: [reason, token, name]. To the resolver most of them are good.
my @bad = (
    [expired => token(user => 'x', expires_in => -1)],
    [not_yet_valid => token(user => 'x', claims => { nbf => time + 600 })],
    [bad_signature => token(user => 'x', key => 'stranger')],
    [unknown_key => token(user => 'x', header => { kid => 'nobody' })],
    [unsupported_algorithm => token(user => 'x', alg => 'HS256')],
    [unsupported_algorithm => token(user => 'x', header => { alg => 'none' }), 'none'],
    [bad_type => token(user => 'x', header => { typ => 'JWT' })],
    [bad_type => token(user => 'x', kind => 'id'), 'an ID token'],
    [bad_type => token(kind => 'm2m', audience => [standin()->{origin}]), "a client's"],
    [bad_issuer => token(user => 'x', claims => { iss => 'https://other.example' })],
    [bad_audience => token(user => 'x', audience => [$api])],
    [bad_claim => token(user => 'x', claims => { nbf => undef })],
    [bad_claim => token(user => 'x', claims => { auth_time => 'noon' }), 'a time that is text'],
    [bad_claim => token(user => 'x', header => { kid => "a\nb" }), 'a kid with a control character'],
    [unsupported => token(user => 'x', claims => { cnf => { jkt => 'a' } })],
    [malformed => "$good=", 'padded'],
);

# A row's status, user and source, and its questions.
sub meets {
    my ($name, $path, $headers, $expected, @questions) = @_;
    reset_counts();
    my $answer = ask("GET $path", @$headers);
    my $told = join ' ', $answer->{status}, map { header($answer, "X-$_") // '-' } qw(User Reason);
    is($told, $expected, $name);
    my @asked = map {
        my $headers = $_->{headers};
        join ' | ', map { join ' & ', @{ $headers->{$_} // [] } } qw(authorization cookie)
    } asked_requests();
    is_deeply(\@asked, \@questions, "$name: the question");
}

sub bearer_of { return "Authorization: Bearer $_[0]" }

my @fallen = ('200 bob ok', " | session=$bob");

# Alone it asks nobody; beside a session the session is asked about.
sub refused_everywhere {
    my ($path, $reason, $token, $name) = @_;
    $name = join ' ', $path, $reason, $name // ();
    my $as_cookie = "app_access_token=$token";
    meets("$name, alone", $path, [bearer_of($token)], "401 - $reason");
    meets("$name, alone in app_access_token", $path, ["Cookie: $as_cookie"], "401 - $reason");
    meets("$name, beside a session", $path, [bearer_of($token), "Cookie: a=b; session=$bob"], @fallen);
    meets("$name, in app_access_token beside a session", $path, ["Cookie: $as_cookie; session=$bob"], @fallen);
    meets("$name, behind the session", $path, ["Cookie: session=$bob; $as_cookie"], @fallen);
    meets("$name, twice beside a session", $path, [bearer_of($token), "Cookie: $as_cookie; session=$bob"], @fallen);
    meets("$name, beside a dead session", $path, [bearer_of($token), 'Cookie: session=dead'], '401 - session_invalid',
        ' | session=dead');
    meets("$name, in app_access_token beside a dead app_session", $path, ["Cookie: app_session=dead; $as_cookie"],
        '401 - session_invalid', ' | app_session=dead');
    meets("$name, between a dead app_session and a session", $path, ["Cookie: app_session=dead; $as_cookie; session=$bob"],
        '200 bob ok', " | app_session=dead; session=$bob");
    meets("$name, beside an app_session", $path, [bearer_of($token), "Cookie: app_session=$app; $as_cookie"], '200 app ok',
        " | app_session=$app");
    meets("$name, beside an opaque app_access_token", $path, [bearer_of($token), "Cookie: app_access_token=$opaque{carol}"],
        '200 carol ok', " | app_access_token=$opaque{carol}");
    meets("$name, in app_access_token behind an opaque token", $path, [bearer_of('dead'), "Cookie: $as_cookie; session=$bob"],
        '200 bob ok', "Bearer dead | session=$bob");
}

# --- checks

sub for_every_reason {
    refused_everywhere('/plain', @$_) for @bad;
}

# A good token, which these projects do not take.
sub by_a_rule {
    refused_everywhere('/es', 'unsupported_algorithm', $good);
    refused_everywhere('/typ', 'bad_type', $good);
    refused_everywhere('/issuer', 'bad_issuer', $good);
}

# The resolver is not asked if sessions cannot be let in either.
sub by_a_rule_for_all {
    for my $case (['/client' => 'bad_client'], ['/audience' => 'bad_audience'], ['/location' => 'bad_audience']) {
        my ($path, $reason) = @$case;
        meets("$path: alone", $path, [bearer_of($good)], "401 - $reason");
        meets("$path: beside a session", $path, [bearer_of($good), "Cookie: session=$bob"], "401 - $reason");
        meets("$path: in app_access_token beside a session", $path, ["Cookie: app_access_token=$good; session=$bob"],
            "401 - $reason");
        meets("$path: a session alone", $path, ["Cookie: session=$bob"], "401 - $reason");
    }
}

# It is verified before anyone is asked about a credential that goes first.
sub a_good_one_in_a_cookie {
    my $jwt = "app_access_token=$good";
    my ($expired) = map { $_->[1] } @bad;
    for my $row (
        ['beside a session', ["Cookie: $jwt; session=$bob"], '200 jay ok'],
        ['behind an app_session', ["Cookie: app_session=$app; $jwt; session=$bob"], '200 app ok', " | app_session=$app"],
        ['behind a dead app_session', ["Cookie: app_session=dead; $jwt"], '200 jay ok', ' | app_session=dead'],
        ['between a dead app_session and a session', ["Cookie: session=$bob; app_session=dead; $jwt"], '200 jay ok',
            ' | app_session=dead'],
        ['behind an opaque token', [bearer_of($opaque{carol}), "Cookie: $jwt; session=$bob"], '200 carol ok',
            "Bearer $opaque{carol} | "],
        ['behind a dead opaque token', [bearer_of('dead'), "Cookie: $jwt; session=$bob"], '200 jay ok', 'Bearer dead | '],
        ['behind two dead ones', [bearer_of('dead'), "Cookie: app_session=dead; $jwt; session=$bob"], '200 jay ok',
            'Bearer dead | app_session=dead'],
        ['behind an expired one', [bearer_of($expired), "Cookie: $jwt"], '200 jay ok'],
        ['behind an expired one, beside a session', [bearer_of($expired), "Cookie: $jwt; session=$bob"], '200 jay ok'],
        ['behind an expired one and a dead app_session', [bearer_of($expired), "Cookie: app_session=dead; $jwt"],
            '200 jay ok', ' | app_session=dead'],
        ['behind what no token may be', [bearer_of('a b'), "Cookie: $jwt; session=$bob"], '200 jay ok'],
        ['behind another scheme', ['Authorization: Basic dTpw', "Cookie: $jwt; session=$bob"], '200 jay ok'],
        ['behind another scheme and a dead app_session', ['Authorization: Basic dTpw', "Cookie: app_session=dead; $jwt"],
            '200 jay ok', ' | app_session=dead'],
    ) {
        my ($name, @rest) = @$row;
        meets("a good JWT in app_access_token, $name", '/plain', @rest);
    }
    fault(resolver => 'status');
    meets('a good JWT in app_access_token, behind an app_session of which nothing is known', '/plain',
        ["Cookie: app_session=$app; $jwt"], '503 - resolver_unavailable', " | app_session=$app");
    heal();
}

# The resolver judges a JWT then, and it alone, unless it can be refused without keys.
sub without_keys {
    my $alone = "Bearer $good | ";
    meets('no keys: a JWT', '/plain', [bearer_of($good)], '200 jay ok', $alone);
    meets('no keys: beside a session', '/plain', [bearer_of($good), "Cookie: a=b; session=$bob"], '200 jay ok', $alone);
    meets('no keys: in a cookie', '/plain', ["Cookie: app_access_token=$good"], '200 jay ok', $alone);
    meets('no keys: in a cookie beside a session', '/plain', ["Cookie: app_access_token=$good; session=$bob"],
        '200 jay ok', $alone);
    meets('no keys: a revoked one', '/plain', [bearer_of($revoked)], '401 - session_invalid', "Bearer $revoked | ");
    meets('no keys: a revoked one beside a session', '/plain', [bearer_of($revoked), "Cookie: session=$bob"], '200 bob ok',
        "Bearer $revoked | ", " | session=$bob");
    for my $case (@bad) {
        my ($reason, $token, $name) = @$case;
        # These two need a key.
        next if $reason eq 'bad_signature' || $reason eq 'unknown_key';
        $name = join ' ', 'no keys:', $reason, $name // ();
        meets($name, '/plain', [bearer_of($token)], "401 - $reason");
        meets("$name, beside a session", '/plain', [bearer_of($token), "Cookie: session=$bob"], @fallen);
        meets("$name, in a cookie beside a session", '/plain', ["Cookie: app_access_token=$token; session=$bob"], @fallen);
    }
    refused_everywhere('/es', 'unsupported_algorithm', $good);
}

# --- configuration

my $endpoint = 'endpoint ' . standin()->{http} . '; resolve_request /_authgear/resolve;';
my %rule = (
    plain => '', es => 'algorithms ES256;', typ => 'typ jwt;', issuer => 'issuer https://issuer.example;',
    client => 'client_id another;', audience => "audience $api;", location => '',
);
$ENV{TEST_NGINX_PROJECTS} = join "\n", map {"authgear_project $_ { $endpoint $rule{$_} }"} sort keys %rule;
# Nobody listens there.
$ENV{TEST_NGINX_KEYLESS} = $ENV{TEST_NGINX_PROJECTS} =~ s{resolve_request}{jwks_uri http://127.0.0.1:1/jwks; resolve_request}gr;
$ENV{TEST_NGINX_SERVER} = join "\n", "include $ENV{TEST_NGINX_RESOLVER};",
    'add_header X-Reason $authgear_reason always; add_header X-User $authgear_user_id always;',
    map {
    my $audience = $_ eq 'location' ? "authgear_audience $api;" : '';
    "location = /$_ { authgear_verify $_; $audience proxy_pass @{[echo_origin()]}; }"
    } sort keys %rule;

run_tests();

__DATA__

=== TEST 1: a JWT that is refused here
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: for_every_reason by_a_rule by_a_rule_for_all

=== TEST 2: a good one in a cookie
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: a_good_one_in_a_cookie

=== TEST 3: keys are missing
--- http_config: $TEST_NGINX_KEYLESS
--- config: $TEST_NGINX_SERVER
--- check: without_keys
