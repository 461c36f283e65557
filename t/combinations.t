# The configurations of docs/combinations.md: proxy_cache, auth_basic and set beside verification, and an expired token beside
# another user's cookie.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict);
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);

my $page = do {
    open my $in, '<', abs_path(dirname(__FILE__)) . '/../docs/combinations.md' or die "no page: $!\n";
    local $/;
    <$in>;
};
my @parts = $page =~ /^```nginx\n(.*?)^```$/msg;
$_ =~ s{http://backend}{$ENV{TEST_NGINX_ECHO}}g, s{https://myapp\.authgear\.cloud}{$ENV{TEST_NGINX_AUTHGEAR}}g for @parts;
# What stands before a server is for the http block, all else for this file's one server.
my ($http, $server) = ('', '');
for my $part (@parts) {
    if ($part =~ /^(.*)^server \{\n(.*)^\}\n/ms) { $http .= $1; $server .= $2 }
    else { $server .= $part }
}
$ENV{TEST_NGINX_HTTP_PART} = $http;
$ENV{TEST_NGINX_SERVER_PART} = $server;

my $basic = 'Authorization: Basic dG9vbDpyaWdodA==';
my %jwt = map { $_ => bearer(user => $_) } qw(alice bob);
my $expired = bearer(user => 'alice', expires_in => -1);
my %by_cookie = (
    bob => cookie(session => session(user => 'bob')),
    gold => cookie(session => session(user => { id => 'gold', roles => ['gold'] })),
);

sub a_cached_answer_is_for_its_user {
    for my $row (
        ['alice', $jwt{alice}, '200 alice', 'MISS'], ['alice again', $jwt{alice}, '200 alice', 'HIT'],
        ['bob', $jwt{bob}, '200 bob', 'MISS'], ['bob by cookie', $by_cookie{bob}, '200 bob', 'HIT'],
        ['an expired token', $expired, '401', undef], ['nobody', 'X-Nothing: 1', '401', undef],
    ) {
        my ($name, $header, $expected, $cache) = @$row;
        my $answer = ask('GET /reports/1', $header);
        is(verdict($answer), $expected, "proxy_cache, $name: $expected");
        is(header($answer, 'X-Cache'), $cache, "proxy_cache, $name: from where");
    }
}

sub a_password_or_a_token {
    my $token = $jwt{alice} =~ s/.*Bearer //r;
    for my $row (
        ['/tools/', [$basic], '200 nobody'], ['/tools/', ['Authorization: Basic dG9vbDp3cm9uZw=='], '401'],
        ['/tools/', [$jwt{alice}], '200 alice'], ['/tools/', [$expired], '401'], ['/tools/', [], '401'],
        ['/both/', [$basic, "X-Token: $token"], '200 alice'], ['/both/', [$basic], '401'],
        ['/both/', ["X-Token: $token"], '401'], ['/both/', [$jwt{alice}, "X-Token: $token"], '401'],
    ) {
        my ($path, $headers, $expected) = @$row;
        is(verdict(ask("GET $path", @$headers)), $expected, "auth_basic, $path: $expected");
    }
}

sub an_address_is_no_identity {
    is(verdict(ask('GET /office/', $_)), '200 nobody', 'allow: let in by address') for $jwt{alice}, $expired, 'X-Nothing: 1';
}

sub what_is_known_when {
    my $answer = ask('GET /shop/', $by_cookie{gold});
    is(header(echoed($answer), 'X-Tier'), 'gold', 'a map is evaluated where it is used');
    is(header(echoed(ask('GET /shop/', $jwt{alice})), 'X-Tier'), 'free', 'for each caller');
    # The keys are at hand by now.
    for my $row (['a JWT', $jwt{alice}, 'alice'], ['a cookie', $by_cookie{gold}, '']) {
        my ($name, $header, $early) = @$row;
        is(header(ask('GET /set', $header), 'X-Early'), "[$early]", "set, $name");
    }
    is(header(ask('GET /set', $expired), 'X-Early'), '[]', 'set never has what is not verified');
}

sub an_expired_token_beside_a_cookie {
    is(verdict(ask('GET /shop/', $expired, $by_cookie{bob})), '200 bob', 'an expired token beside a cookie: the user of the cookie');
    is(verdict(ask('GET /api/', $expired, $by_cookie{bob})), '401', 'without resolve_request: 401');
    is(verdict(ask('GET /api/', $jwt{alice}, $by_cookie{bob})), '200 alice', 'a valid token: its user');
}

run_tests();

__DATA__

=== TEST 1: docs/combinations.md
--- check
a_cached_answer_is_for_its_user
a_password_or_a_token
an_address_is_no_identity
what_is_known_when
an_expired_token_beside_a_cookie
--- user_files
>>> ../conf/tools.htpasswd
tool:{PLAIN}right
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
$TEST_NGINX_HTTP_PART
--- config
include $TEST_NGINX_RESOLVER;
add_header X-Cache $upstream_cache_status;
$TEST_NGINX_SERVER_PART
location /office/ {
    satisfy any;
    allow 127.0.0.1;
    deny all;
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /set {
    authgear_verify myapp;
    set $early $authgear_user_id;
    add_header X-Early "[$early]" always;
    proxy_pass $TEST_NGINX_ECHO;
}
