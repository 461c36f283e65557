# authgear_login among nginx's own: error pages, satisfy, caches, trailers, HTTP/2.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Http2;
use Test::Nginx::Authgear::Login;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

$ENV{TEST_NGINX_PORT} = port();
$ENV{TEST_NGINX_H2} = http2_listen(port(1));
$ENV{TEST_NGINX_BACKEND_PORT} = port(2);
my $here = 'http://localhost:' . port();

sub no_cache_keeps_an_answer_whatever_expires_and_add_header_say {
    for my $path (qw(/cached /cached/callback /cached/callback?state=x)) {
        my $answer = browser()->get($path);
        is(header($answer, 'Cache-Control'), 'no-store', "$path: Cache-Control");
        is(header($answer, 'Expires'), undef, "$path: Expires");
        is(header($answer, 'X-Other'), 'other', "$path: other headers of add_header are there");
    }
    my $browser = browser();
    my $answer = $browser->get('/cached/callback?state=' . state_of($browser->get('/cached')));
    is(where($answer), "302 $here/cached", 'a redirect of the callback');
    is(header($answer, 'Cache-Control'), 'no-store', 'Cache-Control of it');
    $answer = ask('GET /cached', cookie(session => session(user => 'alice')));
    is(header($answer, 'Cache-Control'), 'max-age=3600 | public', 'a page is kept as it was');
    is(header(ask('GET /cached'), 'Cache-Control'), 'public', 'and so is a 401');
}

sub error_pages_and_other_modules_go_with_it {
    my $alice = cookie(session => session(user => 'alice'));
    for my $row (
        # what, path, a browser, others
        ['error_page that keeps the 401', '/paged', '302 login', '401 no entry'],
        ['error_page of another status', '/paged-200', '200 please log in', '200 please log in'],
        ['error_page to a named location', '/named', '302 login', '401 named'],
        ['error_page with a redirect of its own', '/elsewhere', '302 https://elsewhere.example/', '302 https://elsewhere.example/'],
        ['an error page that is verified', '/paged-verified', '302 login', 401],
        ['an error page of a backend', '/paged-proxied', '302 login', '401 from the backend'],
        ['satisfy any: nobody is let in', '/any-denied', '302 login', 401],
        ['satisfy any: another module lets in', '/any-allowed', '200', '200'],
        ['satisfy any: a 401 of the backend', '/any-backend', '401 from the backend', '401 from the backend'],
        ['auth_basic beside it', '/basic', 401, 401],
        ['error_page that leaves it to another location', '/left', '401 from the backend', '401 from the backend'],
        ['satisfy any, then a location without a login', '/any-accel', 401, 401],
    ) {
        my ($name, $path, $browser, $other) = @$row;
        is(shown(ask("GET $path", @opens_a_page)), $browser, "$name: a browser");
        is(shown(ask("GET $path")), $other, "$name: others");
    }
    is(shown(ask('GET /own-401', @opens_a_page, $alice)), '401 from the backend', "a backend's 401 stays");
    my $answer = browser()->get('/paged-proxied');
    is(join('|', map { header($answer, $_) // '' } qw(Content-Type ETag Last-Modified Content-Encoding)), '|||', 'nothing is left of a page in its place');
    is($answer->{body}, '', 'nor its body');
    is(shown(ask('GET /subrequest', @opens_a_page)), 401, 'a subrequest gets the 401');
}

# The status and where it leads, or what the page says.
sub shown {
    my ($answer) = @_;
    my $where = where($answer);
    return $where =~ / / || $answer->{body} =~ /^</ || $where eq '200' && $answer->{body} !~ /^please/ ? $where
        : "$where $answer->{body}" =~ s/\s+$//r;
}

sub a_location_behind_another_that_refuses_counts {
    my $browser = browser();
    $browser->has_session;
    for my $round (1, 2) {
        my $answer = $browser->get('/behind');
        is($answer->{status}, 302, "login $round");
        $browser->get("$callback?state=" . state_of($answer));
    }
    like($browser->get('/behind')->{body}, qr/<h1>Your login does not reach this site/, 'two are enough');
}

sub a_redirect_ends_where_there_are_trailers {
    my $client = connection();
    $client->request('GET /trailers', @opens_a_page);
    $client->read_until(qr/\r\n0\r\n.*\r\n\r\n/s);
    like($client->{buffer}, qr/^HTTP\/1\.1 302 .*^X-Status: 302\r\n.*\r\n\r\n0\r\nX-Trailer: end\r\n\r\n$/ms, 'an empty body ends, and $status is right');
    $client->{buffer} = '';
    $client->request('GET /free');
    is($client->answer->{body}, "free\n", 'and the next answer follows it');
}

sub over_http2 {
    my $connection = http2(port(1));
    my @page = ('sec-fetch-mode: navigate', 'sec-fetch-dest: document');
    my @streams = map { $connection->request(@$_) } ['GET /', @page], ['GET /', @page, 'cookie: authgear_logins=2'],
        ["GET $callback?state=x"], ['GET /trailers', @page], ['GET /trailers', @page, 'cookie: authgear_logins=2'];
    my @answers = map { $connection->answer($_) } @streams;
    is(join(' ', map { $_->{status} } @answers), '302 401 400 302 401', 'the statuses');
    is($answers[$_]{body}, '', "a redirect without a body, $_") for 0, 3;
    like($answers[$_]{body}, qr/<h1>.*<\/html>/s, "a whole page, $_") for 1, 2, 4;
}

run_tests();

__DATA__

=== TEST 1: a login among other modules
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    login client_id=site callback=http://localhost:$TEST_NGINX_PORT/_authgear/callback;
}
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / {
        add_header ETag '"x"' always;
        add_header Last-Modified 'Thu, 01 Jan 1970 00:00:01 GMT' always;
        add_header WWW-Authenticate 'Backend realm="x"' always;
        return 401 "from the backend\n";
    }
    location /any-accel { add_header X-Accel-Redirect /off; return 204; }
}
--- config
$TEST_NGINX_H2
include $TEST_NGINX_RESOLVER;
$TEST_NGINX_LOGIN_SITE
location / { proxy_pass $TEST_NGINX_ECHO; }
location /off { authgear_login off; proxy_pass $TEST_NGINX_ECHO; }
location /cached {
    expires 1h;
    add_header Cache-Control public always;
    add_header X-Other other always;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /cached/callback {
    expires 1h;
    add_header Cache-Control public always;
    add_header X-Other other always;
    authgear_login_callback myapp;
}
location /paged { error_page 401 /no-entry; proxy_pass $TEST_NGINX_ECHO; }
location /paged-200 { error_page 401 =200 /please; proxy_pass $TEST_NGINX_ECHO; }
location /paged-verified { error_page 401 /off-limits; proxy_pass $TEST_NGINX_ECHO; }
location /paged-proxied { error_page 401 /proxied; proxy_pass $TEST_NGINX_ECHO; }
location /named { error_page 401 @named; proxy_pass $TEST_NGINX_ECHO; }
location /elsewhere { error_page 401 =302 https://elsewhere.example/; proxy_pass $TEST_NGINX_ECHO; }
location = /no-entry { internal; authgear_verify off; default_type text/plain; return 401 "no entry\n"; }
location = /please { internal; authgear_verify off; default_type text/plain; return 200 "please log in\n"; }
location = /off-limits { internal; proxy_pass $TEST_NGINX_ECHO; }
location = /proxied { internal; authgear_verify off; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
location @named { authgear_verify off; default_type text/plain; return 401 "named\n"; }
location /any-denied { satisfy any; deny all; proxy_pass $TEST_NGINX_ECHO; }
location /any-allowed { satisfy any; allow all; proxy_pass $TEST_NGINX_ECHO; }
location /any-backend {
    satisfy any;
    auth_request /allowed;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /allowed { internal; authgear_verify off; return 204; }
location /basic { auth_basic x; auth_basic_user_file /dev/null; proxy_pass $TEST_NGINX_ECHO; }
location /own-401 { proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
location /subrequest { authgear_verify off; auth_request /judged; proxy_pass $TEST_NGINX_ECHO; }
location = /judged { internal; proxy_pass $TEST_NGINX_ECHO; }
location /left { error_page 401 = @left; proxy_pass $TEST_NGINX_ECHO; }
location @left { authgear_verify off; proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }
location /any-accel {
    satisfy any;
    auth_request /allowed;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location /behind { try_files /none @behind; }
location @behind { authgear_require $arg_value error=401; proxy_pass $TEST_NGINX_ECHO; }
location /trailers { add_header X-Status $status always; add_trailer X-Trailer end always; proxy_pass $TEST_NGINX_ECHO; }
--- check
no_cache_keeps_an_answer_whatever_expires_and_add_header_say
error_pages_and_other_modules_go_with_it
a_location_behind_another_that_refuses_counts
a_redirect_ends_where_there_are_trailers
over_http2
