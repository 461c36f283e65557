# authgear_login: a browser without a valid session goes to Authgear's login and back to the page that it
# asked for; any other request gets the 401.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Login;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

$ENV{TEST_NGINX_PORT} = port();
my $here = 'http://localhost:' . port();

sub a_browser_logs_in_and_returns_to_its_page {
    my $browser = browser();
    my $answer = $browser->get('/reports?year=2026&q=%C3%A9');
    my $state = state_of($answer);
    is($answer->{status}, 302, 'a redirect');
    my $origin = standin()->{http};
    my $redirect_uri = "$here$callback" =~ s/([:\/])/sprintf '%%%02X', ord $1/egr;
    is(header($answer, 'Location'), "$origin/oauth2/authorize?client_id=site&response_type=none&scope=openid"
        . "&redirect_uri=$redirect_uri&state=$state", 'to the authorization endpoint');
    is($answer->{body}, '', 'without a body');
    is(header($answer, 'Content-Length'), 0, 'and said so');
    is(header($answer, 'WWW-Authenticate'), undef, 'nor a challenge');
    is(header($answer, 'Cache-Control'), 'no-store', 'nor to be kept');
    like(join('|', set_cookies($answer)), qr/^authgear_login_\Q$state\E=\d+\.[\w-]+; Path=\/; Max-Age=3600; HttpOnly; SameSite=Lax$/,
        'the page is in a cookie named after the state');
    unlike(header($answer, 'Location'), qr/reports/, 'and not in the state, which others see');

    $browser->has_session;
    $answer = $browser->get("$callback?state=$state&x_traceparent=00-1-2-01");
    is(where($answer), "302 $here/reports?year=2026&q=%C3%A9", 'the callback returns to the page, query included');
    is(header($answer, 'Cache-Control'), 'no-store', 'not to be kept');
    is($browser->kept, 'authgear_logins', 'the cookie of this login is gone');
    $answer = $browser->get('/reports?year=2026');
    is($answer->{status}, 200, 'the page is there');
    is(echoed_user($answer), 'alice', 'for its user');
    is($browser->kept, '', 'and the count of logins ends');
    is(scalar set_cookies($browser->get('/')), 0, 'no more cookies are set');
}

sub echoed_user { return header(echoed($_[0]), 'X-Authgear-User-Id') }

sub an_https_callback_has_host_cookies_whatever_the_scheme_here {
    my $browser = browser(host => 'www.example.com');
    my $answer = $browser->get('/site/a');
    my $state = state_of($answer);
    like(join('|', set_cookies($answer)), qr/^__Host-authgear_login_\Q$state\E=\d+\.[\w-]+; Path=\/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure$/,
        'the cookie of a login');
    $answer = $browser->get("/site/callback?state=$state");
    is(where($answer), '302 https://www.example.com/site/a', 'back to the public origin');
    is(join('|', set_cookies($answer)), "__Host-authgear_login_$state=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure|"
        . '__Host-authgear_logins=1; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure', 'its cookie goes, and logins are counted');
}

sub only_a_browser_that_opens_a_page_is_redirected {
    my ($mode, $dest, $html) = ('Sec-Fetch-Mode: navigate', 'Sec-Fetch-Dest: document', 'Accept: text/html,*/*;q=0.8');
    for my $row (
        # what, request, status, headers
        ['a page', 'GET /', 302, $mode, $dest],
        ['a page of an old browser', 'GET /', 302, $html],
        ['HEAD', 'HEAD /', 401, $mode, $dest, $html],
        ['a form', 'POST /', 401, $mode, $dest, $html],
        ['a form with an error page', 'POST /paged', 401, $mode, $dest, $html],
        ['fetch()', 'GET /', 401, 'Sec-Fetch-Mode: cors', 'Sec-Fetch-Dest: empty', $html],
        ['an image', 'GET /', 401, 'Sec-Fetch-Mode: no-cors', 'Sec-Fetch-Dest: image'],
        ['a frame', 'GET /', 401, $mode, 'Sec-Fetch-Dest: iframe', $html],
        ['a program', 'GET /', 401],
        ['curl', 'GET /', 401, 'Accept: */*'],
        ['an API client', 'GET /', 401, 'Accept: application/json'],
        ['a bearer token', 'GET /', 401, $html, 'Authorization: Bearer x.y.z'],
    ) {
        my ($name, $line, $status, @headers) = @$row;
        my @body = $line =~ /^POST/ ? \'a=b' : ();
        my $answer = ask($line, @headers, @body);
        is(where($answer), $status == 302 ? '302 login' : 401, "$name: $status");
        is(scalar set_cookies($answer), $status == 302 ? 1 : 0, "$name: cookies");
        is(defined header($answer, 'WWW-Authenticate') ? 401 : 302, $status, "$name: a challenge with a 401 alone");
    }
}

sub wherever_a_401_would_be_sent {
    my $old = user(id => 'old');
    my $expired = token(expires_in => -5);
    for my $row (
        # what, path, expected, headers
        ['a dead session', '/', '302 login', cookie(session => 'dead')],
        ['an expired token in a cookie', '/', '302 login', cookie(app_access_token => $expired)],
        ['a valid session', '/', 200, cookie(session => session(user => 'alice'))],
        ['a dead session, identified early', '/early', '302 login', cookie(session => 'dead')],
        ['optional: nobody', '/optional', 200],
        ['optional: a dead session', '/optional', '302 login', cookie(session => 'dead')],
        ['observe', '/observe', 200],
        ['off', '/off', 401],
        ['a role that is missing', '/admin', 403, cookie(session => session(user => 'alice'))],
        ['a value that is missing, 401', '/value', '302 login', cookie(session => session(user => 'alice'))],
        ['two Authorization headers', '/', 400, 'Authorization: Basic eA==', 'Authorization: Basic eA=='],
        ['a variable project with a login', '/variable?site', '302 login'],
        ['a variable project without one', '/variable?plain', 401],
    ) {
        my ($name, $path, $expected, @headers) = @$row;
        is(where(ask("GET $path", @opens_a_page, @headers)), $expected, "$name: $expected");
    }
    like(join('|', set_cookies(ask('GET /', @opens_a_page, cookie(session => 'dead')))), qr/^session=; .*\|authgear_login_/,
        "the resolver's clearing cookie reaches the browser too");
    fault(resolver => 'status', status => 500);
    is(where(ask('GET /', @opens_a_page, cookie(session => 'any'))), 503, 'no verdict is 503, not a login');
    heal();
}

sub a_login_that_is_too_old_is_asked_for_again {
    my $browser = browser()->has_session(auth_time => time - 1000);
    my $answer = $browser->get('/recent');
    like(header($answer, 'Location'), qr/&prompt=login&state=/, 'with prompt=login');
    $browser->has_session(auth_time => time);
    $answer = $browser->get("$callback?state=" . state_of($answer));
    is(where($answer), "302 $here/recent", 'and back');
    is($browser->get('/recent')->{status}, 200, 'a new login is admitted');
    unlike(header(browser()->get('/recent'), 'Location'), qr/prompt/, 'who has no session is asked as usual');

    $browser = browser()->has_session(auth_time => time - 1000);
    for my $round (1, 2) {
        $answer = $browser->get('/recent');
        is(where($answer), '302 login', "a login that stays too old, round $round");
        $browser->get("$callback?state=" . state_of($answer));
    }
    is(where($browser->get('/recent')), 401, 'ends with a page');
}

# Its JWT goes before the cookie of the new login, and only the application can replace it.
sub an_old_jwt_in_a_cookie_does_not_loop {
    my $then = time - 1000;
    my $browser = browser();
    $browser->{cookies}{app_access_token} = token(user => 'alice', claims => { iat => $then, auth_time => $then });
    for my $round (1, 2) {
        my $answer = $browser->get('/recent');
        like(header($answer, 'Location'), qr/&prompt=login&state=/, "round $round: a login");
        $browser->has_session(auth_time => time);
        is(where($browser->get("$callback?state=" . state_of($answer))), "302 $here/recent", "round $round: and back");
    }
    my $answer = $browser->get('/recent');
    is(where($answer), 401, 'two are enough');
    like($answer->{body}, qr/<h1>Your login does not reach this site.*href="\/recent"/s, 'a page explains');
    like(header($answer, 'WWW-Authenticate'), qr/error="insufficient_user_authentication".*max_age="300"/, 'with the challenge');
    is($browser->get('/')->{status}, 200, 'other pages are open to it');
    $browser->{cookies}{app_access_token} = token(user => 'alice', claims => { auth_time => time });
    is($browser->get('/recent')->{status}, 200, 'as that page is with a new JWT');
}

sub two_projects_on_one_host {
    my $browser = browser();
    my %state = map { $_ => state_of($browser->get("$_/page")) } '', '/second';
    is(where($browser->get("/second/callback?state=$state{'/second'}")), "302 $here/second/page", 'each returns to its own page');
    is(where($browser->get("$callback?state=$state{''}")), "302 $here/page", 'in any order');
    is($browser->kept, 'authgear_logins', 'and their logins are counted together');
    $browser = browser();
    for my $number (1 .. 8) {
        $browser->get($_) for "/tab/$number", "/second/tab/$number";
    }
    is(scalar(grep {/^authgear_login_/} keys %{ $browser->{cookies} }), 8, 'of both together eight are outstanding');
}

sub two_logins_that_do_not_stick_end_with_a_page {
    my $browser = browser();
    for my $round (1, 2) {
        my $answer = $browser->get('/reports?a=b&c=d');
        is(where($answer), '302 login', "round $round");
        is(where($browser->get("$callback?state=" . state_of($answer))), "302 $here/reports?a=b&c=d", "round $round: back");
        is($browser->{cookies}{authgear_logins}, $round, "round $round: counted");
    }
    my $answer = $browser->get('/reports?a=b&c=d');
    is(where($answer), 401, 'no third');
    like($answer->{body}, qr/Your login does not reach this site.*href="\/reports\?a=b&#38;c=d"/s, 'a page explains, with a way to try again');
    is(header($answer, 'Content-Type'), 'text/html; charset=utf-8', 'HTML');
    is(header($answer, 'Content-Length'), length $answer->{body}, 'of that length');
    like(header($answer, 'Content-Security-Policy'), qr/^default-src 'none'/, 'that runs nothing');
    is(header($answer, 'X-Content-Type-Options'), 'nosniff', 'and is nothing else');
    is(header($answer, 'Cache-Control'), 'no-store', 'not to be kept');
    like(header($answer, 'WWW-Authenticate'), qr/^Bearer realm/, 'with the challenge');
    is($browser->kept, '', 'the count is forgotten');
    is(where($browser->get('/reports')), '302 login', 'and another try begins anew');
    # fetch() is told as ever.
    is(where(ask('GET /', cookie(authgear_logins => 2))), 401, 'no page for others');

    my $connection = connection();
    for my $expected ('401 Your login', '302 ', '401 Your login', '200 ') {
        my @more = $expected =~ /^401/ ? cookie(authgear_logins => 2)
            : $expected =~ /^200/ ? cookie(session => session(user => 'alice')) : ();
        $connection->request('GET /', @opens_a_page, @more);
        my $answer = $connection->answer;
        my ($title) = $answer->{status} == 401 ? $answer->{body} =~ /<h1>(\w+ \w+)/ : '';
        is("$answer->{status} $title", $expected, "on a kept connection: $expected");
    }
}

# The session is there, so the next login may well be of a user who has the role.
sub a_user_without_the_role_is_no_login_that_failed {
    my $browser = browser();
    for my $round (1 .. 3) {
        my $answer = $browser->get('/admin');
        is(where($answer), '302 login', "login $round");
        $browser->has_session(user => "user-$round");
        $browser->get("$callback?state=" . state_of($answer));
        is($browser->get('/admin')->{status}, 403, "login $round reaches the site, and the user has no such role");
        is($browser->kept, '', "login $round is not counted");
        delete $browser->{cookies}{session};
    }
}

sub several_tabs_log_in_at_once {
    my $browser = browser();
    my %state = map { $_ => state_of($browser->get("/tab/$_")) } 1 .. 3;
    $browser->has_session;
    is(where($browser->get("$callback?state=$state{$_}")), "302 $here/tab/$_", "tab $_") for 2, 3, 1;
    is($browser->get('/')->{status}, 200, 'all are in');
    is($browser->kept, '', 'and nothing is left');

    $browser = browser();
    my @states = map { state_of($browser->get("/tab/$_")) } 1 .. 8;
    # Their times may be in one second, in which none is the oldest.
    $browser->{cookies}{"authgear_login_$states[$_]"} =~ s/^\d+/1000 + $_/e for 0 .. 7;
    push @states, state_of($browser->get('/tab/9'));
    is(scalar(grep {/^authgear_login_/} keys %{ $browser->{cookies} }), 8, 'at most eight are outstanding');
    is(where($browser->get("$callback?state=$states[0]")), 400, 'the oldest went');
    is(where($browser->get("$callback?state=$states[8]")), "302 $here/tab/9", 'the newest counts');
}

sub a_page_over_1_kib_is_the_start_page {
    for my $length (1024, 1025) {
        my $browser = browser();
        my $path = '/' . 'x' x ($length - 1);
        my $state = state_of($browser->get($path));
        is(where($browser->get("$callback?state=$state")), "302 $here" . ($length == 1024 ? $path : '/'), "$length bytes");
    }
}

sub on_another_host_the_401_is_sent_and_logged_once {
    is(where(browser(host => $_)->get('/')), 401, "host $_") for qw(other.example www.localhost 127.0.0.1), ('other.example') x 2;
    is(where(browser(host => $_)->get('/')), '302 login', "host $_") for 'LOCALHOST', 'localhost:8080', 'localhost.';
    my @lines = grep {/is not sent to the login/} log_lines('error.log', 1);
    is(scalar @lines, 1, 'one line');
    like($lines[0], qr/\[warn\].* project "myapp": a browser is not sent to the login, since it asked another host than "localhost"/, 'that says why');
}

sub an_error_of_authgear_is_a_page {
    for my $row (
        ['access_denied', 403, 'You are not logged in'],
        ['login_required', 403, 'You are not logged in'],
        ['something_new', 403, 'You are not logged in'],
        ['server_error', 503, 'The login does not work'],
        ['temporarily_unavailable', 503, 'The login does not work'],
        ['invalid_scope', 503, 'The login does not work'],
    ) {
        my ($error, $status, $title) = @$row;
        my $browser = browser();
        my $query = "error=$error&error_description=Call%20555-0100&state=" . state_of($browser->get('/a?b'));
        is(where(browser()->get("$callback?$query")), 400, "$error: for a matching nonce only");
        my $answer = $browser->get("$callback?$query");
        is(where($answer), $status, "$error: $status");
        like($answer->{body}, qr/<h1>$title.*href="\/a\?b"/s, "$error: a page with a way to try again");
        unlike($answer->{body}, qr/555|$error/, "$error: and nothing of what the query says");
        is(header($answer, 'Cache-Control'), 'no-store', "$error: not to be kept");
        is($browser->kept, '', "$error: the nonce is used up");
    }
    my @lines = grep {/a login of project/} log_lines('error.log', 1);
    is(scalar @lines, 3, 'what operators have to look into is logged');
    like($lines[2], qr/\[warn\].* a login of project "myapp" failed, Authgear says invalid_scope/, 'by name');
}

sub the_callback_answers_everybody_and_reads_alone {
    is(where(browser()->get($callback)), 400, 'nobody is verified there');
    my $browser = browser();
    my $state = state_of($browser->get('/a'));
    my @cookie = cookie(%{ $browser->{cookies} });
    for my $method (qw(POST PUT DELETE OPTIONS)) {
        my $answer = ask("$method $callback?state=$state", @cookie, $method =~ /^P/ ? \'a=b' : ());
        is(where($answer), 405, "$method: 405");
        is(header($answer, 'Allow'), 'GET, HEAD', "$method: Allow");
        is(header($answer, 'Cache-Control'), 'no-store', "$method: not to be kept");
    }
    is(where(ask("HEAD $callback?state=$state", @cookie)), "302 $here/a", 'HEAD is answered as GET');
    my $head = ask("HEAD $callback");
    is($head->{status}, 400, 'HEAD: 400');
    cmp_ok(header($head, 'Content-Length'), '>', 500, 'with the length of its page');
    # The error page of 400, 403, 405 and 503 is another.
    like(ask("GET $callback")->{body}, qr/<h1>This login cannot be completed/, 'no error page in its place');
}

run_tests();

__DATA__

=== TEST 1: browsers
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    login client_id=site callback=http://localhost:$TEST_NGINX_PORT/_authgear/callback;
}
authgear_project site {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    login client_id=site callback=https://www.example.com/site/callback;
}
authgear_project second {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    login client_id=second callback=http://localhost:$TEST_NGINX_PORT/second/callback;
}
authgear_project plain { endpoint $TEST_NGINX_AUTHGEAR; }
map $args $chosen { site myapp; plain plain; }
--- config
include $TEST_NGINX_RESOLVER;
$TEST_NGINX_LOGIN_SITE
location / { proxy_pass $TEST_NGINX_ECHO; }
location /optional { authgear_verify myapp optional; proxy_pass $TEST_NGINX_ECHO; }
location /early { authgear_early on; proxy_pass $TEST_NGINX_ECHO; }
location /observe { authgear_verify myapp observe; proxy_pass $TEST_NGINX_ECHO; }
location /off { authgear_login off; proxy_pass $TEST_NGINX_ECHO; }
location /admin { authgear_require_role admin; proxy_pass $TEST_NGINX_ECHO; }
location /value { authgear_require $arg_value error=401; proxy_pass $TEST_NGINX_ECHO; }
location /recent { authgear_require_auth_age 5m; proxy_pass $TEST_NGINX_ECHO; }
location /variable { authgear_verify $chosen; proxy_pass $TEST_NGINX_ECHO; }
location /site/ { authgear_verify site; proxy_pass $TEST_NGINX_ECHO; }
location = /site/callback { authgear_login_callback site; }
location /second/ { authgear_verify second; proxy_pass $TEST_NGINX_ECHO; }
location = /second/callback { authgear_login_callback second; }
location /paged { error_page 401 /no-entry; proxy_pass $TEST_NGINX_ECHO; }
location = /no-entry { internal; authgear_verify off; default_type text/plain; return 401 "no entry\n"; }
--- check
on_another_host_the_401_is_sent_and_logged_once
a_browser_logs_in_and_returns_to_its_page
an_https_callback_has_host_cookies_whatever_the_scheme_here
only_a_browser_that_opens_a_page_is_redirected
wherever_a_401_would_be_sent
a_login_that_is_too_old_is_asked_for_again
an_old_jwt_in_a_cookie_does_not_loop
two_projects_on_one_host
two_logins_that_do_not_stick_end_with_a_page
a_user_without_the_role_is_no_login_that_failed
several_tabs_log_in_at_once
a_page_over_1_kib_is_the_start_page
an_error_of_authgear_is_a_page
the_callback_answers_everybody_and_reads_alone
