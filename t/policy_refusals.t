# Callers who are known and refused: the identity for error pages, the challenge's realm and
# metadata. And preflights, which are not refused.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear args => ['--amr'];
use Test::Nginx::Authgear::Callers;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

# Known but refused: all variables are there, for the error page and the log.
sub identity_on_a_refusal {
    my ($answer) = outcome('/identity', 'bob');
    is($answer->{status}, 403, 'a JWT is refused');
    is(header($answer, 'X-Identity'), "bob false true true reader pwd $long_ago user standin-client",
        'the variables of a JWT');
    ($answer) = outcome('/identity', "bob's session");
    is($answer->{status}, 403, 'a session is refused');
    is(header($answer, 'X-Identity'), "bob false true true reader pwd mfa $long_ago",
        "the variables of the resolver's session");
    ($answer) = outcome('/error-page', 'bob');
    is("$answer->{status} $answer->{body}", "403 bob is not allowed (policy)\n", 'and on an error page');
    ($answer) = outcome('/error-page', 'nobody');
    is($answer->{status}, 401, 'which is not the page of a 401');
    # A backend that makes the page takes nobody for one who was let in.
    for my $who ('bob', "bob's session") {
        ($answer) = outcome('/page-of-a-backend', $who);
        is($answer->{status}, 403, "a page of a backend, $who");
        is_deeply(echoed_authgear($answer), [], 'is asked for without an identity');
    }
}

sub quoting {
    my $text = 'a "quoted" \\ realm; ünï';
    my $quoted = 'a \\"quoted\\" \\\\ realm; ünï';
    my ($answer) = outcome('/realm', 'nobody');
    is(header($answer, 'WWW-Authenticate'), "Bearer realm=\"$quoted\"", 'a realm with quotes and a backslash');
    (my $inside = header($answer, 'WWW-Authenticate')) =~ s/^Bearer realm="(.*)"$/$1/;
    is($inside =~ s/\\(.)/$1/gr, $text, 'read as RFC 9110 has it, it is what the configuration says');
    ($answer) = outcome('/realm', 'expired');
    is(header($answer, 'WWW-Authenticate'),
        "Bearer realm=\"$quoted\", error=\"invalid_token\", error_description=\"the access token expired\"",
        'and the error stands behind it');

    my $metadata = 'resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/a?b=c,d"';
    ($answer) = outcome('/metadata', 'nobody');
    is(header($answer, 'WWW-Authenticate'), "$bearer, $metadata", 'RFC 9728: an anonymous caller is told of the metadata');
    for my $row (['expired', $challenge{expired}], ['forged', $challenge{bad_signature}], ['bob', $challenge{scope}]) {
        my ($who, $challenge) = @$row;
        ($answer) = outcome('/metadata', $who);
        is(header($answer, 'WWW-Authenticate'), "$challenge, $metadata", "RFC 9728: and $who is");
    }
    ($answer) = outcome('/metadata', 'ann');
    is(header($answer, 'WWW-Authenticate'), undef, 'RFC 9728: whoever is let in is told nothing');
}

# A real preflight is let through, whatever it carries, and nothing else is.
sub preflights {
    my @preflight = ('Origin: https://app.example.com', 'Access-Control-Request-Method: PUT');
    my $told = sub {
        my ($method, $path, @headers) = @_;
        my $answer = numbered($method, $path, @headers);
        return join ' ', $answer->{status}, header($answer, 'X-Told') // '',
            @{ $answer->{status} == 200 ? echoed_authgear($answer) : [] };
    };
    for my $who ('nobody', 'ann', 'bob', 'expired', 'forged', "ann's session", 'a dead session') {
        my $before = asked();
        is($told->(OPTIONS => '/preflight', @preflight, @{ $caller{$who} }), '200 no_credential - -',
            "a preflight of $who passes, without an identity");
        is(asked(), $before, "a preflight of $who: the resolver is not asked");
    }
    is($told->(OPTIONS => '/preflight', @preflight, 'X-Authgear-User-Id: forged'), '200 no_credential - -',
        'a preflight cannot bring an identity of its own');
    for my $row (
        ['OPTIONS without any of the two headers', 'OPTIONS'],
        ['OPTIONS without Access-Control-Request-Method', 'OPTIONS', $preflight[0]],
        ['OPTIONS without Origin', 'OPTIONS', $preflight[1]],
        ['OPTIONS with an empty Origin', 'OPTIONS', 'Origin:', $preflight[1]],
        ['OPTIONS with an empty Access-Control-Request-Method', 'OPTIONS', $preflight[0], 'Access-Control-Request-Method:'],
        ['OPTIONS with an Origin of white space', 'OPTIONS', "Origin: \t", $preflight[1]],
        ['OPTIONS with an Access-Control-Request-Method of white space', 'OPTIONS', $preflight[0],
            "Access-Control-Request-Method:\t "],
        (map { ["$_ with both", $_, @preflight] } qw(GET POST HEAD PUT DELETE)),
    ) {
        my ($name, $method, @headers) = @$row;
        is($told->($method, '/preflight', @headers), '401 no_credential - -', "$name is no preflight");
    }
    is($told->(OPTIONS => '/role', @preflight), '401 no_credential - -', 'and off is the default');
}

run_tests();

__DATA__

=== TEST 1: refused callers
--- check
identity_on_a_refusal
quoting
preflights
the_backend_saw_no_other
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    token_type any;
    resolve_request /_authgear/resolve;
}
$TEST_NGINX_CALLED
--- config
add_header X-Told $told always;
include $TEST_NGINX_RESOLVER;
authgear_realm myapp;
location = /role {
    authgear_verify myapp;
    authgear_require_role owner admin;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /identity {
    authgear_verify myapp;
    authgear_require_role nobody;
    add_header X-Identity "$authgear_user_id $authgear_user_anonymous $authgear_user_verified $authgear_user_can_reauthenticate $authgear_user_roles $authgear_session_amr $authgear_session_authenticated_at $authgear_token_type $authgear_client_id" always;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /error-page {
    authgear_verify myapp;
    authgear_require_role nobody;
    error_page 403 @not-allowed;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /page-of-a-backend {
    authgear_verify myapp;
    authgear_require_role nobody;
    error_page 403 /page;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /page {
    proxy_pass $TEST_NGINX_ECHO;
}
location @not-allowed {
    return 403 "$authgear_user_id is not allowed ($authgear_reason)\n";
}
location = /realm {
    authgear_verify myapp;
    authgear_realm 'a "quoted" \\ realm; ünï';
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /metadata {
    authgear_verify myapp;
    authgear_require_scope openid read:reports;
    authgear_resource_metadata https://api.example.com/.well-known/oauth-protected-resource/a?b=c,d;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /preflight {
    authgear_verify myapp;
    authgear_require_role admin;
    authgear_bypass_preflight on;
    proxy_pass $TEST_NGINX_BACKEND;
}
