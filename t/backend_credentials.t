# $authgear_backend_authorization and $authgear_backend_cookie: the backend gets what is none of Authgear's, byte for
# byte, and never a credential.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver qw(asked cookie shipped resolver_origin);

use strict;
use warnings;

$ENV{TEST_NGINX_OTHER_PORT} = port(1);

# Where the functions ask.
my $port;
my $jwt = token(user => 'alice');
my $session = session(user => 'alice');

BEGIN {
    # nginx-conf/hide-credentials.conf, its server's part.
    my $text = shipped('hide-credentials.conf', 'http://backend' => $ENV{TEST_NGINX_ECHO});
    ($ENV{TEST_NGINX_HIDE}) = $text =~ /include authgear_resolver\.conf;\n(.*)^    \}\n\}/ms or die "no server in it\n";
}

# The status, and a header as the backend saw it.
sub told {
    my ($name, $line, @headers) = @_;
    my $answer = ask($line, { port => $port }, @headers);
    my @lines = header_lines(echoed($answer), qr/^\Q$name\E$/i);
    return join ' ', $answer->{status}, map { s/^[^:]*: ?//r } @lines;
}

sub authorization_of_others {
    $port = port(1);
    for my $row (
        ["Bearer $jwt", ''], ["bEARER $jwt", ''], ["Bearer  $jwt", ''], ['Bearer', ''], ["Bearer\t$jwt", ''],
        ['Basic dXNlcjpwYXNz', ' Basic dXNlcjpwYXNz'], ['Basic  a  b', ' Basic  a  b'], ["Bearer$jwt", " Bearer$jwt"],
        ['Digest username="Bearer x"', ' Digest username="Bearer x"'],
    ) {
        my ($sent, $left) = @$row;
        is(told(authorization => 'GET /observe', "Authorization: $sent"), "200$left", "Authorization, $sent");
    }
    is(told(authorization => 'GET /assets/', "Authorization: Bearer $jwt"), '200', 'Authorization where nobody is verified');
    is(told(authorization => 'GET /assets/', 'Authorization: Basic x'), '200 Basic x', 'another scheme there');
    my $several = told(authorization => 'GET /assets/', 'Authorization: Basic x', "Authorization: Bearer $jwt");
    like($several, qr/^(?:200|400)$/, 'several Authorization headers: no token gets through');
    like(ask('GET /', { port => $port }, "Authorization: Bearer $jwt")->{body}, qr/^X-Authgear-User-Id: alice\r?$/m, 'and the identity is there');
}

sub cookies_of_others {
    $port = port(1);
    for my $row (
        ['theme=dark; lang=en', 'theme=dark; lang=en'],
        ['a=1;b=2;;  c = "x y" ', 'a=1;b=2;;  c = "x y"'],
        ["session=$session", ''],
        ["theme=dark; session=$session; lang=en", 'theme=dark; lang=en'],
        ["session=$session; theme=dark", 'theme=dark'],
        ["theme=dark;session=\"$session\"", 'theme=dark'],
        ["theme=dark; session =$session; session=x; a=b", 'theme=dark; a=b'],
        ["app_session=$session; app_access_token=$jwt; session=s; Session=S", 'Session=S'],
        ["theme=\"; session=$session\"", 'theme="'],
        ["theme=dark; session=a\\b; session=$session", 'theme=dark'],
    ) {
        my ($sent, $left) = @$row;
        for my $path (qw(/observe /assets/)) {
            my $expected = length $left ? "200 $left" : '200';
            is(told(cookie => "GET $path", "Cookie: $sent"), $expected, "Cookie at $path, $sent");
        }
    }
    is(told(cookie => 'GET /observe', 'Cookie: a=1', "Cookie: session=$session; b=2", 'Cookie: session=x', 'Cookie: c=3'),
        '200 a=1; b=2; c=3', 'several Cookie headers');
    my $before = asked();
    is(told(cookie => 'GET /', "Cookie: a=1; session=$session"), '200 a=1', 'a session is judged, and stays here');
    is(asked() - $before, 1, 'the resolver was asked about it');
}

sub by_project_and_location {
    $port = port();
    for my $row (
        # path, cookies, what is left of them
        ['/no-resolver', "session=s; app_session=a; app_access_token=$jwt", 'session=s; app_session=a'],
        ['/prefixed', "my-session=s; session=t; my-app_access_token=$jwt", 'session=t'],
        # Nobody is verified: what any project would take for its own.
        ['/none', "my-session=s; session=t; theirs=u; my-app_session=x; other-session=v; other-app_access_token=w",
            'theirs=u; other-session=v'],
        ['/off', "my-session=s; session=t; theirs=u", 'theirs=u'],
        ['/variable', "my-session=s; session=t; theirs=u", 'theirs=u'],
        ['/variable?project=prefixed', "my-session=s; session=t; theirs=u", 'session=t; theirs=u'],
        ['/redirected', "my-session=s; session=t; theirs=u", 'session=t; theirs=u'],
    ) {
        my ($path, $sent, $left) = @$row;
        is(told(cookie => "GET $path", "Cookie: $sent"), "200 $left", "Cookie at $path, $sent");
    }
    my $answer = ask('GET /set', "Cookie: a=1; session=$session", "Authorization: Basic x");
    is($answer->{body}, "[a=1] [Basic x]\n", 'before the access phase');
}

sub subrequests_by_their_location {
    my $answer = ask('GET /ssi', "Cookie: my-session=s; session=t; theirs=u");
    like($answer->{body}, qr/\[session=t; theirs=u\] \[theirs=u\]/, 'each by its own location');
}

sub with_authgear_token {
    $port = port();
    for my $row (
        # path, headers, name, what is left
        ['/token', ["Cookie: a=1; token=$jwt; b=2"], cookie => ' a=1; b=2'],
        ['/token', ["Cookie: a=1; token=\"$jwt\"; b=2", "X-Token: $jwt"], cookie => ' a=1; b=2'],
        ['/token', ["Cookie: a=$jwt; token=x", "X-Token: Bearer $jwt"], cookie => ''],
        ['/token', ['Cookie: a=1; token=; b=2'], cookie => ' a=1; token=; b=2'],
        ['/token', ["Authorization: Bearer other", "Cookie: token=$jwt"], authorization => ''],
        ['/raw', ["Authorization: $jwt"], authorization => ''],
        ['/raw', ["Authorization: Basic x"], authorization => ' Basic x'],
        # A variable that asks for itself has no token in it.
        ['/loop', ["Cookie: a=1; session=s"], cookie => ' a=1'],
    ) {
        my ($path, $headers, $name, $left) = @$row;
        is(told($name => "GET $path", @$headers), "200$left", "authgear_token, $path, @$headers: $name");
    }
}

run_tests();

__DATA__

=== TEST 1: nginx-conf/hide-credentials.conf
--- check
authorization_of_others
cookies_of_others
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
server {
    listen 127.0.0.1:$TEST_NGINX_OTHER_PORT;
    include $TEST_NGINX_RESOLVER;
    $TEST_NGINX_HIDE
    location = /observe { authgear_verify myapp observe; proxy_pass $TEST_NGINX_ECHO; }
}
--- config

=== TEST 2: projects, locations, subrequests, authgear_token
--- check
by_project_and_location
subrequests_by_their_location
with_authgear_token
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project prefixed {
    endpoint $TEST_NGINX_AUTHGEAR;
    cookie_prefix my-;
    resolve_request /_authgear/resolve;
}
authgear_project other {
    endpoint $TEST_NGINX_AUTHGEAR;
    cookie_prefix other-;
}
authgear_project plain {
    endpoint $TEST_NGINX_AUTHGEAR;
}
--- user_files
>>> ssi
<!--# include virtual="/ssi-prefixed" --> <!--# include virtual="/ssi-none" -->
--- config
include $TEST_NGINX_RESOLVER;
proxy_set_header Authorization $authgear_backend_authorization;
proxy_set_header Cookie $authgear_backend_cookie;
location = /no-resolver { authgear_verify plain observe; proxy_pass $TEST_NGINX_ECHO; }
location = /prefixed { authgear_verify prefixed observe; proxy_pass $TEST_NGINX_ECHO; }
location = /none { proxy_pass $TEST_NGINX_ECHO; }
location = /off { authgear_verify off; proxy_pass $TEST_NGINX_ECHO; }
location = /variable { authgear_verify $arg_project observe; proxy_pass $TEST_NGINX_ECHO; }
location = /redirected { rewrite ^ /prefixed; }
location = /set {
    authgear_verify myapp;
    set $cookies $authgear_backend_cookie;
    return 200 "[$cookies] [$authgear_backend_authorization]\n";
}
location = /ssi { ssi on; default_type text/html; }
location = /ssi-prefixed { authgear_verify prefixed observe; return 200 "[$authgear_backend_cookie]"; }
location = /ssi-none { return 200 "[$authgear_backend_cookie]"; }
location = /token { authgear_verify myapp observe; authgear_token $cookie_token $http_x_token; proxy_pass $TEST_NGINX_ECHO; }
location = /raw { authgear_verify myapp observe; authgear_token $http_authorization; proxy_pass $TEST_NGINX_ECHO; }
location = /loop { authgear_verify myapp observe; authgear_token $authgear_backend_cookie; proxy_pass $TEST_NGINX_ECHO; }
