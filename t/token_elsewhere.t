# authgear_token: tokens from elsewhere than the Authorization header.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my %token = map { $_ => token(user => $_) } qw(header cookie query auth);
my $opaque = token(kind => 'opaque', user => 'opaque');

sub who {
    my ($answer) = @_;
    return join ' ', $answer->{status}, header($answer, 'X-Told') // '';
}

sub tokens_from_elsewhere {
    my %at = (
        header => ["X-Token: $token{header}"],
        cookie => [cookie(token => $token{cookie})],
        auth => ["Authorization: Bearer $token{auth}"],
    );
    for my $row (
        # path, headers, expected
        ['/header', [@{ $at{header} }], '200 ok header'],
        ['/header', ["X-Token: Bearer $token{header}"], '200 ok header'],
        ['/header', ["X-Token: bEARER $token{header}"], '200 ok header'],
        ['/header', ["X-Token: Basic $token{header}"], '401 no_credential -'],
        ['/header', ["X-Token: Token $token{header}"], '401 no_credential -'],
        ['/header', ['X-Token: Bearer'], '401 no_credential -'],
        ['/any', ['X-Token: bearer', cookie(token => $token{cookie})], '200 ok cookie'],
        ['/any', ['Cookie: token=Bearer', "X-Token: $token{header}"], '200 ok header'],
        ['/composed', [], '401 no_credential -'],
        ['/with-header', ['Authorization: Bearer'], '401 no_credential -'],
        ['/header', ['X-Token:'], '401 no_credential -'],
        ['/header', [], '401 no_credential -'],
        ['/header', [@{ $at{auth} }], '401 no_credential -'],
        ['/header', [@{ $at{auth} }, @{ $at{header} }], '200 ok header'],
        ['/header', ["X-Token: $token{header}x"], '401 malformed -'],
        ['/header', ['X-Token: opaque'], '401 unsupported -'],
        ['/header', ["X-Token: Bearer  $token{header}"], '401 malformed -'],
        ['/header', ["X-Token: Bearer $token{header} x"], '401 malformed -'],
        ['/cookie', [@{ $at{cookie} }], '200 ok cookie'],
        ['/cookie', ["X-Token: $token{header}"], '401 no_credential -'],
        ["/query?access_token=$token{query}", [], '200 ok query'],
        ["/query?access_token=$token{query}", [@{ $at{auth} }], '200 ok query'],
        ["/query?access_token=Bearer%20$token{query}", [], '401 malformed -'],
        ['/query?access_token=', [@{ $at{auth} }], '401 no_credential -'],
        ['/query', [@{ $at{auth} }], '401 no_credential -'],
        # The first that is not empty, whatever it is worth.
        ["/any?access_token=$token{query}", [@{ $at{header} }, @{ $at{cookie} }], '200 ok query'],
        ['/any', [@{ $at{header} }, @{ $at{cookie} }], '200 ok cookie'],
        ['/any', [@{ $at{header} }], '200 ok header'],
        ['/any?access_token=', [@{ $at{header} }, cookie(token => '')], '200 ok header'],
        ['/any?access_token=a.b.c', [@{ $at{header} }], '401 unsupported -'],
        ['/any?access_token=eyJhbGciOiJSUzI1NiJ9.b.c', [@{ $at{header} }], '401 malformed -'],
        ['/any', ["X-Token: $token{header}", cookie(token => 'opaque')], '401 unsupported -'],
        ['/any', [@{ $at{auth} }], '401 no_credential -'],
        # A value that is put together; the header may be named again.
        ["/composed?t=$token{query}", [], '200 ok query'],
        ['/with-header', [@{ $at{auth} }], '200 ok auth'],
        ["/with-header?access_token=$token{query}", [@{ $at{auth} }], '200 ok query'],
        # Authgear's own cookie stands behind it, as behind the header.
        ['/query', [cookie(app_access_token => $token{cookie})], '200 ok cookie'],
        ["/query?access_token=$token{query}", [cookie(app_access_token => $token{cookie})], '200 ok query'],
    ) {
        my ($path, $headers, $expected) = @$row;
        my $name = join(', ', $path, @$headers) =~ s/eyJ[\w.-]+/TOKEN/gr;
        is(who(ask("GET $path", @$headers)), $expected, "authgear_token, $name: $expected");
    }
    is(header(ask('GET /query?access_token=x'), 'WWW-Authenticate'),
        'Bearer realm="myapp", error="invalid_token", error_description="this kind of access token is not supported"',
        'authgear_token: the challenge');
}

# Before the access phase, too.
sub tokens_from_elsewhere_early {
    is(header(ask("GET /query-early?access_token=$token{query}"), 'X-Early'), '[ok query]', 'authgear_token, before the access phase');
    is(header(ask('GET /query-early', "Authorization: Bearer $token{auth}"), 'X-Early'), '[ ]', 'and not the Authorization header');
}

# The resolver is told of them, whichever way its location says it.
sub opaque_tokens_from_elsewhere {
    my $other = token(kind => 'opaque', user => 'other');
    for my $row (
        ['/opaque', ["X-Token: $opaque"], '200 ok opaque'],
        ['/opaque', ["X-Token: Bearer $opaque"], '200 ok opaque'],
        ['/opaque', ["X-Token: $other"], '200 ok other'],
        ['/opaque', ['X-Token: made-up'], '401 session_invalid -'],
        ['/opaque', ["Authorization: Bearer $opaque"], '401 no_credential -'],
        ['/opaque', ["Authorization: Bearer $opaque", 'X-Token: made-up'], '401 session_invalid -'],
        ["/opaque-query?access_token=$opaque", [], '200 ok opaque'],
        ['/opaque-query?access_token=made-up', [], '401 session_invalid -'],
    ) {
        my ($path, $headers, $expected) = @$row;
        is(who(ask("GET $path", @$headers)), $expected, join(', ', 'an opaque token', $path, @$headers) . ": $expected");
    }
    # Each token has a verdict of its own.
    for my $round (1, 2) {
        my $before = asked();
        is(who(ask('GET /opaque-cached', "X-Token: $opaque")), '200 ok opaque', "cached verdicts, round $round: opaque");
        is(who(ask('GET /opaque-cached', "X-Token: $other")), '200 ok other', "cached verdicts, round $round: other");
        is(who(ask('GET /opaque-cached', 'X-Token: another')), '401 session_invalid -', "cached verdicts, round $round: a made-up one");
        is(who(ask('GET /opaque-cached')), '401 no_credential -', "cached verdicts, round $round: none");
        my $asked = asked() - $before;
        is($asked, 3, 'and each was asked about') if $round == 1;
        cmp_ok($asked, '<=', 1, 'and no yes was asked for again') if $round == 2;
    }
}

run_tests();

__DATA__

=== TEST 1: tokens from elsewhere
--- check
tokens_from_elsewhere
tokens_from_elsewhere_early
opaque_tokens_from_elsewhere
--- http_config
large_client_header_buffers 8 16k;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project resolved {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /resolve-header;
}
authgear_project cached {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /resolve-header;
    resolve_cache 1m;
}
authgear_project query {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /resolve-query;
}
map $authgear_user_id $user {
    default $authgear_user_id;
    "" -;
}
--- config
add_header X-Told "$authgear_reason $user" always;
location = /header { authgear_verify myapp; authgear_token $http_x_token; proxy_pass $TEST_NGINX_ECHO; }
location = /cookie { authgear_verify myapp; authgear_token $cookie_token; proxy_pass $TEST_NGINX_ECHO; }
location = /query { authgear_verify myapp; authgear_token $arg_access_token; proxy_pass $TEST_NGINX_ECHO; }
location = /query-early {
    authgear_verify myapp;
    authgear_token $arg_access_token;
    set $early "[$authgear_reason $authgear_user_id]";
    add_header X-Early $early always;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /any {
    authgear_verify myapp;
    authgear_token $arg_access_token $cookie_token $http_x_token;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /composed { authgear_verify myapp; authgear_token "Bearer $arg_t"; proxy_pass $TEST_NGINX_ECHO; }
location = /with-header {
    authgear_verify myapp;
    authgear_token $arg_access_token $http_authorization;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /opaque { authgear_verify resolved; authgear_token $http_x_token; proxy_pass $TEST_NGINX_ECHO; }
location = /opaque-cached { authgear_verify cached; authgear_token $http_x_token; proxy_pass $TEST_NGINX_ECHO; }
location = /opaque-query {
    authgear_verify query;
    authgear_token $arg_access_token;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /resolve-header {
    internal;
    proxy_pass $TEST_NGINX_RESOLVER_ORIGIN/_resolver/resolve;
    proxy_set_header Host $TEST_NGINX_AUTHGEAR_HOST;
    proxy_pass_request_headers off;
    proxy_set_header Authorization $authgear_resolver_authorization;
    proxy_set_header Content-Length "";
    proxy_pass_request_body off;
    proxy_method HEAD;
}
location = /resolve-query {
    internal;
    proxy_pass $TEST_NGINX_RESOLVER_ORIGIN/_resolver/resolve;
    proxy_set_header Host $TEST_NGINX_AUTHGEAR_HOST;
    proxy_pass_request_headers off;
    proxy_set_header Authorization $http_authorization;
    proxy_set_header Content-Length "";
    proxy_pass_request_body off;
    proxy_method HEAD;
}
