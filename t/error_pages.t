# error_page for what is refused, in a server that verifies its error pages as well:
# the client gets one challenge, one Retry-After and one Set-Cookie, those of the last
# location that refused.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT challenges);
use Test::Nginx::Authgear::Neighbours;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

$ENV{TEST_NGINX_WHOLE_PORT} = port(1);

my $alice = bearer(user => 'alice');
my %credential = (
    none => [],
    good => [$alice],
    expired => [bearer(user => 'alice', expires_in => -1)],
    dead => [cookie(session => 'dead')],
    session => [cookie(session => session(user => 'alice'))],
    eve => [basic('secret')],
    wrong => [basic('guessed')],
);
my $bearer = 'Bearer realm="myapp"';
my $expired = qq{$bearer, error="invalid_token", error_description="the access token expired"};
my $invalid = qq{$bearer, error="invalid_token", error_description="the session is invalid"};
my $scope = qq{$bearer, error="insufficient_scope", error_description="the access token lacks a scope that is needed", scope="write"};
my $second = 'Bearer realm="second"';
my $elsewhere = 'Bearer realm="elsewhere", error="invalid_token", '
    . 'error_description="the access token is meant for another audience"';
my $basic = 'Basic realm="eve"';
my $clear = 'session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax';

# All values of the headers that this is about.
sub said {
    my ($answer) = @_;
    return [$answer->{status}, challenges($answer), header($answer, 'Retry-After') // '', header($answer, 'Set-Cookie') // ''];
}

# --- checks

sub one_of_each {
    for my $row (
        # location, credential, status, challenge, Retry-After, Set-Cookie
        ['/', none => 401, $bearer], ['/', expired => 401, $expired], ['/', dead => 401, $invalid, '', $clear],
        ['/scope', good => 403, $scope], ['/scope-named', good => 403, $scope],
        ['/down', good => 503, '', 1],
        ['/named', none => 401, $bearer], ['/named', expired => 401, $expired], ['/named', dead => 401, $invalid, '', $clear],
        ['/named-down', good => 503, '', 1],
        ['/open-page', none => 401, $bearer], ['/open-page', dead => 401, $invalid, '', $clear],
        ['/optional-page', none => 401, $bearer], ['/observed-page', none => 401, $bearer],
        ['/observed-page', expired => 401, $expired], ['/observed-page', dead => 401, $invalid, '', $clear],
        # The last location that refuses says how to get there.
        ['/second-page', none => 401, $second],
        ['/any', none => 401, "$basic | $bearer"], ['/any', wrong => 401, "$basic | $bearer"],
        ['/any', expired => 401, "$basic | $expired"],
        ['/any-named', none => 401, "$basic | $bearer"], ['/any-dead', dead => 401, "$basic | $invalid", '', $clear],
        ['/any-down', good => 503, '', 1],
        # Several steps, each of which refuses.
        ['/recursive', none => 401, $bearer], ['/recursive-down', good => 503, '', 1],
        ['/rewritten', none => 401, $bearer],
        # A refusal of another kind takes back what an earlier one said.
        ['/elsewhere', good => 401, $elsewhere],
        ['/elsewhere-role', good => 403, ''], ['/elsewhere-down', good => 503, '', 1],
        ['/elsewhere-nobody', good => 500, ''], ['/elsewhere-scope', good => 403, $scope],
        ['/scope-role', good => 403, ''], ['/scope-down', good => 503, '', 1],
        ['/down-role', good => 403, ''], ['/down-scope', good => 403, $scope],
        ['/down-elsewhere', good => 401, $elsewhere], ['/down-nobody', good => 500, ''],
    ) {
        my ($path, $which, $status, $challenges, $retry_after, $cookie) = @$row;
        my $name = "error_page, $path, credential $which";
        for my $method (qw(GET POST)) {
            my $answer = ask("$method $path", { port => port(1) }, @{ $credential{$which} });
            my $retried = header($answer, 'Retry-After');
            my $said = said($answer);
            # The value of Retry-After may differ; the number of its lines may not.
            $said->[2] = 1 if $retry_after && $said->[2] =~ /\A[1-9]\d*\z/;
            is_deeply($said, [$status, $challenges, $retry_after // '', $cookie // ''], "$name, $method: each header once");
        }
    }
    fault(resolver => 'status');
    for my $path (qw(/ /named)) {
        my $said = said(ask("GET $path", { port => port(1) }, @{ $credential{session} }));
        is_deeply($said, [503, '', 1, ''], "error_page, $path, the resolver fails: each header once");
    }
    heal();
}

# A challenge is taken back when somebody else lets the caller in.
sub nothing_left_over {
    for my $row (['/', 'good'], ['/any', 'eve'], ['/any', 'good'], ['/named', 'session'],
        ['/any-request', 'none'], ['/any-request', 'expired']) {
        my ($path, $which) = @$row;
        my $answer = ask("GET $path", { port => port(1) }, @{ $credential{$which} });
        is_deeply(said($answer), [200, '', '', ''], "error_page, $path, credential $which: let in without a challenge");
    }
}

run_tests();

__DATA__

=== TEST 1: error pages of a server that verifies them
--- check
one_of_each
nothing_left_over
--- user_files
>>> e.html
an error page
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project second {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project elsewhere {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://elsewhere.example.com;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
server {
    listen 127.0.0.1:$TEST_NGINX_WHOLE_PORT;
    auth_basic_user_file $TEST_NGINX_USERS;
    include $TEST_NGINX_RESOLVER;
    authgear_verify myapp;
    error_page 401 403 503 /e.html;

    location / { proxy_pass $TEST_NGINX_ECHO; }
    location = /e.html { root html; }
    location = /scope { authgear_require_scope write; proxy_pass $TEST_NGINX_ECHO; }
    location = /scope-named {
        authgear_require_scope write;
        error_page 403 @scope;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location @scope { authgear_require_scope write; proxy_pass $TEST_NGINX_ECHO; }
    location = /down { authgear_verify down; error_page 503 /down.html; proxy_pass $TEST_NGINX_ECHO; }
    location = /down.html { authgear_verify down; proxy_pass $TEST_NGINX_ECHO; }
    location = /named { error_page 401 503 @page; proxy_pass $TEST_NGINX_ECHO; }
    location @page { proxy_pass $TEST_NGINX_ECHO; }
    location = /named-down { authgear_verify down; error_page 503 @down; proxy_pass $TEST_NGINX_ECHO; }
    location @down { authgear_verify down; proxy_pass $TEST_NGINX_ECHO; }
    location = /open-page { error_page 401 /open.html; proxy_pass $TEST_NGINX_ECHO; }
    location = /open.html { authgear_verify off; proxy_pass $TEST_NGINX_ECHO; }
    location = /optional-page { error_page 401 /optional.html; proxy_pass $TEST_NGINX_ECHO; }
    location = /optional.html { authgear_verify myapp optional; proxy_pass $TEST_NGINX_ECHO; }
    location = /observed-page { error_page 401 /observed.html; proxy_pass $TEST_NGINX_ECHO; }
    location = /observed.html { authgear_verify myapp observe; proxy_pass $TEST_NGINX_ECHO; }
    location = /second-page { error_page 401 /second.html; proxy_pass $TEST_NGINX_ECHO; }
    location = /second.html { authgear_verify second; proxy_pass $TEST_NGINX_ECHO; }
    location = /any { satisfy any; auth_basic eve; proxy_pass $TEST_NGINX_ECHO; }
    location = /any-request { satisfy any; auth_basic eve; auth_request /yes; proxy_pass $TEST_NGINX_ECHO; }
    location = /yes { return 204; }
    location = /any-dead { satisfy any; auth_basic eve; proxy_pass $TEST_NGINX_ECHO; }
    location = /any-named {
        satisfy any;
        auth_basic eve;
        error_page 401 @page;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /any-down {
        satisfy any;
        deny all;
        authgear_verify down;
        error_page 503 /down.html;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /recursive { recursive_error_pages on; error_page 401 /recursive-2; proxy_pass $TEST_NGINX_ECHO; }
    location = /recursive-2 { recursive_error_pages on; error_page 401 /recursive-3; proxy_pass $TEST_NGINX_ECHO; }
    location = /recursive-3 { proxy_pass $TEST_NGINX_ECHO; }
    location = /recursive-down {
        authgear_verify down;
        recursive_error_pages on;
        error_page 503 /recursive-down-2;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /recursive-down-2 {
        authgear_verify down;
        recursive_error_pages on;
        error_page 503 /down.html;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /rewritten { error_page 401 /moved; proxy_pass $TEST_NGINX_ECHO; }
    location = /role { authgear_require_role none; proxy_pass $TEST_NGINX_ECHO; }
    location = /nobody { set $nobody nobody; authgear_verify $nobody; proxy_pass $TEST_NGINX_ECHO; }
    location = /elsewhere { authgear_verify elsewhere; proxy_pass $TEST_NGINX_ECHO; }
    location = /elsewhere-role { authgear_verify elsewhere; error_page 401 = /role; }
    location = /elsewhere-down { authgear_verify elsewhere; error_page 401 /down.html; }
    location = /elsewhere-nobody { authgear_verify elsewhere; error_page 401 /nobody; }
    location = /elsewhere-scope { authgear_verify elsewhere; error_page 401 /scope; }
    location = /scope-role { authgear_require_scope write; error_page 403 /role; }
    location = /scope-down { authgear_require_scope write; error_page 403 /down.html; }
    location = /down-role { authgear_verify down; error_page 503 = /role; }
    location = /down-scope { authgear_verify down; error_page 503 /scope; }
    location = /down-elsewhere { authgear_verify down; error_page 503 /elsewhere; }
    location = /down-nobody { authgear_verify down; error_page 503 /nobody; }
    location = /moved { rewrite ^ /e.html last; }
}
--- config
location = /unused {
}
