# Requests whose headers nginx has not read: HTTP/0.9 has none, and a request that
# nginx refuses by itself may still be sent on by error_page. There is no crash, and
# a token from elsewhere is judged as in any other request.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my %token = (
    good => token(user => { id => 'alice', roles => ['reader'] }, scope => 'read'),
    expired => token(user => 'alice', expires_in => -1),
    forged => token(user => 'mallory', key => 'stranger'),
    made => 'abc',
    opaque => token(user => 'olga', kind => 'opaque'),
    dead => 'dead-token',
);

# All that comes back to a request without a version: a body, and no header.
sub simple {
    my ($path) = @_;
    my $client = connection();
    $client->send("GET $path\r\n");
    $client->read_until(qr/(?!)/);
    return $client->{buffer};
}

# The request that the echo received, or the status of nginx's page.
sub outcome {
    my ($body) = @_;
    return $1 if $body =~ m{<title>(\d{3}) };
    my $answer = { body => $body };
    return 'nothing' if $body eq '';
    my %told = map { $_->[0] => $_->[1] } grep { $_->[0] =~ /^X-Authgear-/ } @{ echoed($answer)->{headers} };
    my ($user, $valid) = @told{qw(X-Authgear-User-Id X-Authgear-Session-Valid)};
    return 'let in as ' . ($user // ($valid ? "nobody, $valid" : 'nobody'));
}

sub sent {
    my ($path, $which) = @_;
    my $name = "HTTP/0.9, $path, " . ($which // 'no token');
    $path .= ($path =~ /\?/ ? '&' : '?') . "access_token=$token{$which}" if $which;
    return (outcome(simple($path)), $name);
}

# Rows of a table: location, token, outcome.
sub outcomes {
    for my $row (@_) {
        my ($path, $which, $expected) = @$row;
        my ($outcome, $name) = sent($path, $which);
        is($outcome, $expected, "$name: $expected");
    }
}

# --- checks

sub tokens_in_the_arguments {
    outcomes(
        ['/required', good => 'let in as alice'], ['/required', undef, 401],
        ['/required', expired => 401], ['/required', forged => 401], ['/required', made => 401],
        ['/optional', good => 'let in as alice'], ['/optional', undef, 'let in as nobody'],
        ['/optional', expired => 401], ['/optional', made => 401],
        ['/observe', good => 'let in as alice'], ['/observe', undef, 'let in as nobody'],
        ['/observe', expired => 'let in as nobody, false'], ['/observe', forged => 'let in as nobody, false'],
        ['/observe', made => 'let in as nobody, false'],
        # The module does not set the backend's headers there.
        ['/without', good => 'let in as nobody'],
        ['/variable?project=myapp', good => 'let in as alice'], ['/variable?project=off', good => 'let in as nobody'],
        ['/reader', good => 'let in as alice'], ['/admin', good => 403],
        ['/preflight', good => 'let in as alice'], ['/preflight', undef, 401],
        ['/satisfy', good => 'let in as alice'], ['/satisfy', undef, 401],
        ['/early', good => 'let in as alice'], ['/early', made => 401],
        ['/limited', good => 'let in as alice'],
        # The subrequest of auth_request has no arguments, and so no token.
        ['/checked', good => 401], ['/checked', undef, 401],
        ['/rewritten', good => 'let in as alice'],
        ['/tried', good => 'let in as alice'],
        ['/header', good => 401], ['/cookie', good => 401],
        ['/open', good => 'let in as nobody'],
    );
    is(simple("/page?access_token=$token{made}"), "please log in: unsupported\n", 'HTTP/0.9, error_page 401');
    is(simple('/page'), "please log in: no_credential\n", 'HTTP/0.9, error_page 401, no token');
    is(simple("/shown?access_token=$token{good}"), "[alice] [ok] []\n", 'HTTP/0.9, return: variables');
    my @lines = log_lines('shown.log', 1);
    is($lines[0], '[alice] [ok] [-]', 'HTTP/0.9, the log');
}

sub with_the_resolver {
    outcomes(
        ['/resolved', opaque => 'let in as olga'], ['/resolved', dead => 401], ['/resolved', undef, 401],
        ['/resolved', good => 'let in as alice'],
        ['/resolved-optional', opaque => 'let in as olga'], ['/resolved-optional', undef, 'let in as nobody'],
        ['/resolved-observe', opaque => 'let in as olga'], ['/resolved-observe', made => 'let in as nobody, false'],
        ['/rechecked', good => 'let in as alice'], ['/rechecked', undef, 401],
    );
    # Cached answers have expired.
    select undef, undef, undef, 1.2;
    fault(resolver => 'status');
    is((sent('/resolved', 'opaque'))[0], 503, 'HTTP/0.9, the resolver fails: 503');
    heal();
    is((sent('/down', 'good'))[0], 503, 'HTTP/0.9, no keys: 503');
}

# nginx refuses these before it has read a header, or in the middle of them.
sub refused_by_nginx {
    my $forged = 'X-Authgear-User-Id: forged';
    for my $row (
        ['another version', "GET /x HTTP/9.9\r\n\r\n"],
        ['no request at all', "\x16\x03\x01\r\n\r\n"],
        ['a line that is too long', 'GET /' . 'x' x 40_000 . " HTTP/1.1\r\n\r\n"],
        ['no Host', "GET /x HTTP/1.1\r\n$forged\r\n\r\n"],
        ['two Host headers', "GET /x HTTP/1.1\r\n$forged\r\nHost: a\r\nHost: b\r\n\r\n"],
        ['a header that is too long', "GET /x HTTP/1.1\r\nHost: a\r\n$forged\r\nX: " . 'x' x 40_000 . "\r\n\r\n"],
        ['a body that is too large', "POST /x HTTP/1.1\r\nHost: a\r\n$forged\r\nContent-Length: 9999999\r\n\r\n"],
        ['a method that is not allowed', "TRACE /x HTTP/1.1\r\nHost: a\r\n$forged\r\n\r\n"],
        ['a body that is no number', "POST /x HTTP/1.1\r\nHost: a\r\n$forged\r\nContent-Length: x\r\n\r\n"],
    ) {
        my ($name, $text) = @$row;
        my $client = connection(port(1));
        $client->send($text);
        $client->read_until(qr/(?!)/);
        my ($head, $body) = $client->{buffer} =~ /\A(?:(HTTP.*?)\r\n\r\n)?(.*)\z/s;
        is(outcome($body), 'let in as nobody, false', "$name, sent on by error_page: the made-up token is judged");
        unlike($body, qr/forged/, "$name, sent on by error_page: nothing of the client's under our names");
    }
}

sub all_is_well {
    is(header(echoed(ask("GET /required?access_token=$token{good}")), 'X-Authgear-User-Id'), 'alice',
        'and HTTP/1.1 goes on');
}

$ENV{TEST_NGINX_REFUSING_PORT} = port(1);

# A worker that dies is followed by another one.
master_on();

run_tests();

__DATA__

=== TEST 1: requests whose headers nginx has not read
--- check
tokens_in_the_arguments
with_the_resolver
refused_by_nginx
all_is_well
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project resolved {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    resolve_cache 1s;
}
authgear_project rechecked {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    recheck 1h strict;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
log_format shown "[$authgear_user_id] [$authgear_reason] [$http_x_authgear_user_id]";
limit_req_zone $authgear_user_id$http_x_authgear_user_id zone=users:1m rate=1000r/s;
server {
    listen 127.0.0.1:$TEST_NGINX_REFUSING_PORT;
    error_page 400 405 413 414 494 505 =200 /refused;
    set $made abc;
    location / {
        authgear_verify myapp;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /refused {
        authgear_verify myapp observe;
        authgear_token $made;
        proxy_method GET;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_pass $TEST_NGINX_ECHO;
    }
}
--- config
include $TEST_NGINX_RESOLVER;
authgear_token $arg_access_token;
add_header X-Reason $authgear_reason always;
location = /required {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /optional {
    authgear_verify myapp optional;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /observe {
    authgear_verify myapp observe;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /without {
    authgear_verify myapp;
    authgear_pass_headers off;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /variable {
    authgear_verify $arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /reader {
    authgear_verify myapp;
    authgear_require_role reader;
    authgear_require_scope read;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /admin {
    authgear_verify myapp;
    authgear_require_role admin;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /preflight {
    authgear_verify myapp;
    authgear_bypass_preflight on;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /satisfy {
    satisfy any;
    deny all;
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /early {
    authgear_verify myapp;
    set $early "$authgear_user_id $authgear_claims $http_x_authgear_user_id";
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limited {
    authgear_verify myapp;
    limit_req zone=users;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /checked {
    authgear_verify myapp;
    auth_request /check;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /check {
    internal;
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /rewritten {
    rewrite ^ /required last;
}
location = /tried {
    try_files /no-such-file /required?$args;
}
location = /header {
    authgear_verify myapp;
    authgear_token off;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /cookie {
    authgear_verify myapp;
    authgear_token $cookie_token $http_authorization;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /open {
    proxy_pass $TEST_NGINX_ECHO;
}
location = /page {
    authgear_verify myapp;
    error_page 401 =200 @login;
    proxy_pass $TEST_NGINX_ECHO;
}
location @login {
    return 200 "please log in: $authgear_reason\n";
}
location = /shown {
    access_log logs/shown.log shown;
    authgear_verify myapp;
    return 200 "[$authgear_user_id] [$authgear_reason] [$http_x_authgear_user_id]\n";
}
location = /resolved {
    authgear_verify resolved;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /resolved-optional {
    authgear_verify resolved optional;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /resolved-observe {
    authgear_verify resolved observe;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /rechecked {
    authgear_verify rechecked;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /down {
    authgear_verify down;
    proxy_pass $TEST_NGINX_ECHO;
}
