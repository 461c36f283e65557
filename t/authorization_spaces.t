# Spaces and tabs around the value of a header are no part of it (RFC 9110, section
# 5.5); between "Bearer" and a token stands one space.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Http2 qw(http2 http2_listen);
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my $jwt = token(user => 'jay');
my $opaque = token(user => 'carol', kind => 'opaque');
my $session = session(user => 'bob');

# Values of a header, T for the token: what a JWT so written is, to a project without a
# resolver and to others.
my @around = ("T\t", "T \t ", "\tT", " \t T", "\t T \t");
my %reason = (
    (map { s/T/Bearer T/r => 'ok' } 'T', @around),
    "\tbearer T\t" => 'ok',
    "Bearer\tT" => 'no_credential',
    "Bearer\t T" => 'no_credential',
    "\tBearer\tT\t" => 'no_credential',
    "Bearer\t" => 'no_credential',
    "\tBearer \t " => 'no_credential',
    "\t" => 'no_credential',
    " \t " => 'no_credential',
    "\tBasic T\t" => 'no_credential',
    'Bearer  T' => 'malformed',
    "Bearer \tT" => 'malformed',
    "Bearer T\tx" => 'malformed',
    'Bearer T x' => 'malformed',
);

sub shown { return $_[0] =~ s/\t/<tab>/gr =~ s/eyJ[\w.-]+/T/gr }

# Its status, reason and user.
sub outcome {
    my ($path, @headers) = @_;
    my $answer = ask("GET $path", @headers);
    return join ' ', $answer->{status}, map { header($answer, "X-$_") // '-' } qw(Reason User);
}

sub asked_about {
    return [map { $_->{headers}{authorization}[0] // '-' } asked_requests()];
}

# --- checks

sub spellings_of_a_jwt {
    for my $spelling (sort keys %reason) {
        my $reason = $reason{$spelling};
        my $line = 'Authorization:' . ($spelling =~ s/T/$jwt/r);
        my $name = shown("Authorization:$spelling");
        my $alone = $reason eq 'ok' ? '200 ok jay' : "401 $reason -";
        is(outcome('/jwt', $line), $alone, "'$name': $reason");
        is(header(ask('GET /jwt', $line), 'X-Early'), $reason eq 'ok' ? '[jay]' : '[]', "'$name', before the access phase");

        reset_counts();
        is(outcome('/resolved', $line), $alone, "'$name', with a resolver");
        is(asked(), 0, "'$name': nobody is asked");
        is(outcome('/resolved', $line, cookie(session => $session)), $reason eq 'ok' ? '200 ok jay' : '200 ok bob',
            "'$name' beside a session");
        is_deeply(asked_about(), $reason eq 'ok' ? [] : ['-'], "'$name': the question has no part of it");
    }
}

sub spellings_of_an_opaque_token {
    for my $spelling (sort keys %reason) {
        my $reason = $reason{$spelling};
        my $line = 'Authorization:' . ($spelling =~ s/T/$opaque/r);
        my $name = shown("Authorization:$spelling");
        reset_counts();
        is(outcome('/resolved', $line), $reason eq 'ok' ? '200 ok carol' : "401 $reason -", "'$name', an opaque token: $reason");
        is_deeply(asked_about(), $reason eq 'ok' ? ["Bearer $opaque"] : [], "'$name', an opaque token: the question");
        is(outcome('/resolved', $line, cookie(session => $session)), $reason eq 'ok' ? '200 ok carol' : '200 ok bob',
            "'$name', an opaque token beside a session");
    }
}

sub cookies {
    for my $spelling (@around, "a=b;\tT\t;\tc=d") {
        my $name = shown($spelling);
        is(outcome('/jwt', 'Cookie:' . $spelling =~ s/T/app_access_token=$jwt/r), '200 ok jay', "'Cookie:$name': a JWT");
        reset_counts();
        is(outcome('/resolved', 'Cookie:' . $spelling =~ s/T/session=$session/r), '200 ok bob', "'Cookie:$name': a session");
        is_deeply([map { $_->{headers}{cookie}[0] } asked_requests()], ["session=$session"], "'Cookie:$name': the question");
    }
}

# Headers that authgear_token names are headers, too.
sub other_headers {
    for my $spelling (map { ($_, s/T/Bearer T/r) } @around) {
        is(outcome('/elsewhere', 'X-Token:' . $spelling =~ s/T/$jwt/r), '200 ok jay', shown("'X-Token:$spelling'"));
    }
    is(outcome('/elsewhere', "X-Token:$_"), '401 no_credential -', shown("'X-Token:$_'")) for "\t", " \t", "\tBearer\t";
}

# nginx cuts nothing off in HTTP/2.
sub over_http2 {
    my $client = http2(port(1));
    for my $spelling ("Bearer T\t", 'Bearer T ', "Bearer T \t ") {
        my $stream = $client->request('GET /jwt', 'Authorization: ' . $spelling =~ s/T/$jwt/r);
        is($client->answer($stream)->{status}, 200, shown("HTTP/2: '$spelling'"));
    }
}

# --- configuration

$ENV{TEST_NGINX_LISTEN_HTTP} = http2_listen(port(1));

run_tests();

__DATA__

=== TEST 1: white space
--- check
spellings_of_a_jwt
spellings_of_an_opaque_token
cookies
other_headers
over_http2
--- http_config
authgear_project jwt {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project resolved {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
--- config
$TEST_NGINX_LISTEN_HTTP
include $TEST_NGINX_RESOLVER;
add_header X-Reason $authgear_reason always;
add_header X-User $authgear_user_id always;
location = /jwt {
    set $early "[$authgear_user_id]";
    add_header X-Reason $authgear_reason always;
    add_header X-User $authgear_user_id always;
    add_header X-Early $early always;
    authgear_verify jwt;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /resolved {
    authgear_verify resolved;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /elsewhere {
    authgear_verify jwt;
    authgear_token $http_x_token;
    proxy_pass $TEST_NGINX_ECHO;
}
