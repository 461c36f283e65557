# Attacks on authgear_login: open redirects, login CSRF, replayed and foreign states, cookies of sibling domains,
# headers and log lines through the path.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Login;
use Test::Nginx::Authgear::Resolver;
use MIME::Base64 qw(encode_base64url);

use strict;
use warnings;

my $here = 'https://www.example.com';

sub visitor { return browser(host => 'www.example.com') }

# The Location to which a whole login leads that began with this request target.
sub returns_to {
    my ($target) = @_;
    my $browser = visitor();
    my $answer = $browser->get($target);
    return $answer->{status} if $answer->{status} != 302;
    $answer = $browser->get("$callback?state=" . state_of($answer));
    is(scalar(grep { lc $_->[0] eq 'location' } @{ $answer->{headers} }), 1, "one Location, for $target");
    return header($answer, 'Location');
}

sub no_spelling_of_a_page_leads_elsewhere {
    for my $target (
        '//evil.example', '///evil.example', '////evil.example', '//evil.example/%2e%2e', '//evil.example@www.example.com',
        '//www.example.com@evil.example', '//%65vil.example', '//evil%E3%80%82example', '//[::1]', '//evil.example:443/',
        '/\\evil.example', '/\\\\evil.example', '/\\/evil.example', '//\\evil.example', '/%5cevil.example', '/%5C%5Cevil.example',
        '/%2fevil.example', '/%2f%2fevil.example', '/%2F%2Fevil.example', '/%252f%252fevil.example', '/.//evil.example',
        '/..//evil.example', '/a/..//evil.example', '/%2e%2e//evil.example', '/%09/evil.example', '/%0a/evil.example', '/%0d%0a/evil.example',
        '/%00/evil.example', "/\xe3\x80\x82evil.example", "/\xff\xfe", '/@evil.example', '/:@evil.example', '/.evil.example',
        '/?//evil.example', '/?https://evil.example', '/;//evil.example', '/javascript:alert(1)', '/#//evil.example', '/a#@evil.example',
        'http://evil.example/', 'http://evil.example//evil.example', 'https://www.example.com@evil.example/', 'http://evil.example?a',
        '/' . 'a' x 1500 . '//evil.example', '//' . 'a' x 2000, '/' . '%2f' x 600,
    ) {
        my $back = returns_to($target);
        my $name = substr $target =~ s/([^ -~])/sprintf '\\x%02x', ord $1/egr, 0, 40;
        # nginx refuses some of them itself, and one that names another host has no login.
        like($back, qr{\A(?:400|401|\Q$here\E/(?![/\\])[!-\[\]-~]*\z)}, "$name: on this host, encoded");
    }
    is(returns_to('/a/../b//c'), "$here/a/../b//c", 'a page whose path has two slashes is still reached');
}

sub a_cookie_that_was_made_up_leads_nowhere_else {
    my $nonce = 'A' x 22;
    for my $page ('//evil.example', '/\\evil.example', '\\\\evil.example', 'https://evil.example', '@evil.example', '.evil.example', ':80@evil.example',
        "/\t/evil.example", "\t//evil.example", "/\r\nSet-Cookie: session=evil", "/\nLocation: https://evil.example", "/\0", "/\xe3\x80\x82", ' /', '',
        '/' . 'x' x 1024, 'javascript:alert(1)') {
        my $cookie = "__Host-authgear_login_$nonce=" . time . '.' . encode_base64url($page);
        my $answer = ask("GET $callback?state=$nonce", 'Host: www.example.com', @opens_a_page, "Cookie: $cookie");
        my $name = $page =~ s/([^ -~])/sprintf '\\x%02x', ord $1/egr;
        is(where($answer), 400, substr "made up: $name", 0, 60);
    }
}

sub a_login_of_somebody_else_is_not_completed {
    my ($attacker, $victim) = (visitor(), visitor());
    my $state = state_of($attacker->get('/attackers'));
    is(where($victim->get("$callback?state=$state")), 400, 'login CSRF: the victim has not begun this login');
    state_of($victim->get('/own'));
    is(where($victim->get("$callback?state=$state")), 400, 'nor if it has begun another');
    is(where($attacker->get("$callback?state=$state")), "302 $here/attackers", 'who began it comes back');
}

sub a_state_counts_once {
    my $browser = visitor();
    my $state = state_of($browser->get('/a'));
    is(where($browser->get("$callback?state=$state")), "302 $here/a", 'the first time');
    my $answer = $browser->get("$callback?state=$state");
    is(where($answer), 400, 'replayed');
    like($answer->{body}, qr/<h1>This login cannot be completed.*href="\/"/s, 'a page explains, and leads to the start page');
    my ($first, $second) = map { state_of($browser->get("/$_")) } 1, 2;
    is(where($browser->get("$callback?state=$first&state=$first")), 400, 'twice in a query');
    is(where($browser->get("$callback?state=$first&state=$second")), 400, 'two states');
    is(where($browser->get("$callback?state=$first;state=$second")), 400, 'another separator');
    is(where($browser->get("$callback?State=$first")), 400, 'another case');
    is(where($browser->get("$callback?state=")), 400, 'empty');
    is(where($browser->get("$callback?state=$_")), 400, "not a nonce: $_") for '%00', '*', '..', 'A' x 22, 'A' x 21, substr($first, 1), "${first}A";
    is(where($browser->get("$callback?state=$first")), "302 $here/1", 'the login is still open');
}

sub a_state_of_another_host_or_project_counts_nothing {
    my $other = browser();
    my $state = state_of($other->get('/local/a'));
    my $answer = ask("GET $callback?state=$state", 'Host: www.example.com', @opens_a_page, cookie(%{ $other->{cookies} }));
    is(where($answer), 400, 'a state and a cookie of another project');
    $answer = ask('GET /', 'Host: evil.example', @opens_a_page);
    is(where($answer), 401, 'a login cannot begin on another host');
    is(scalar set_cookies($answer), 0, 'and sets no cookie there');
    my $browser = visitor();
    $state = state_of($browser->get('/a'));
    $browser->{host} = 'evil.example';
    is(where($browser->get("$callback?state=$state")), "302 $here/a", 'whatever Host says, it leads to the configured origin');
}

sub a_sibling_domain_can_toss_no_cookie {
    my $nonce = 'B' x 22;
    my $value = time . '.' . encode_base64url('/tossed');
    my $get = sub { where(ask("GET $_[0]", 'Host: www.example.com', @opens_a_page, "Cookie: $_[1]")) };
    is($get->("$callback?state=$nonce", $_), 400, "not the name: $_") for map {"$_=$value"}
        "authgear_login_$nonce", "__host-authgear_login_$nonce", "__Secure-authgear_login_$nonce", " __Host-authgear_login_$nonce\xa0",
        "=__Host-authgear_login_$nonce", "x__Host-authgear_login_$nonce";
    my $browser = visitor();
    my $state = state_of($browser->get('/a'));
    my ($cookie) = map {"$_=$browser->{cookies}{$_}"} keys %{ $browser->{cookies} };
    is($get->("$callback?state=$state", "$cookie; $cookie"), 400, 'two of one name: which is the own one cannot be told');
    is($get->("$callback?state=$state", "a=b; authgear_login_$state=$value; $cookie"), "302 $here/a", 'one without the prefix is not looked at');
    is($get->('/', "authgear_logins=9; __Host-authgear_logins=-1; __Host-authgear_logins=x"), '302 login', 'nor a count without it, or that is none');
}

sub nothing_of_a_request_gets_into_headers_or_the_log {
    for my $target ("/\r\nSet-Cookie: a=b", "/a\r\n b", "/\x0bx", "/\x01", "/%0d%0aSet-Cookie:%20evil=1", "/\xc2\x85x", "/\x7f") {
        my $connection = connection();
        $connection->request("GET $target HTTP/1.1", 'Host: www.example.com', @opens_a_page, 'Connection: close');
        $connection->read_until(qr/(?!)/);
        my @set = $connection->{buffer} =~ /^Set-Cookie: ([^\r\n]*)/mg;
        my $name = $target =~ s/([^ -~])/sprintf '\\x%02x', ord $1/egr;
        like(join('|', @set), qr/^(?:__Host-authgear_login_[\w-]{22}=\d+\.[\w-]*; Path=\/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure)?$/,
            "the own cookie at most: $name");
    }
    my $browser = visitor();
    my $state = state_of($browser->get('/%22%3E%3Cscript%3E?"><script>alert(1)</script>'));
    my $answer = $browser->get("$callback?state=$state&error=%22%3E%3Cscript%3Eserver_error%0a(alert)+evil&error_description=<script>&error_uri=javascript:x");
    is(where($answer), 403, 'an error that is none');
    unlike($answer->{body}, qr/script>|javascript|evil/, 'and nothing of it in the page, but the link');
    like($answer->{body}, qr{href="/%22%3E%3Cscript%3E\?%22%3E%3Cscript%3Ealert\(1\)%3C/script%3E"}, 'which is encoded');
    # What nginx adds to each line begins with the client.
    my @lines = grep {/evil|script|$state/} map {/authgear: (.*?), client: /} log_lines('error.log', 0);
    is(scalar @lines, 0, 'nor in what the module logs');
}

sub many_cookies_make_no_long_answer {
    my $value = time . '.' . encode_base64url('/' . 'x' x 100);
    my $cookies = join '; ', map { sprintf '__Host-authgear_login_%022d=%s', $_, $value } 1 .. 40;
    my $answer = ask('GET /', 'Host: www.example.com', @opens_a_page, "Cookie: $cookies");
    is(where($answer), '302 login', 'forty outstanding logins');
    is(scalar set_cookies($answer), 17, 'sixteen are forgotten at a time');
}

run_tests();

__DATA__

=== TEST 1: attackers
--- http_config
merge_slashes off;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    login client_id=site callback=https://www.example.com/_authgear/callback;
}
authgear_project local {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    login client_id=local callback=http://localhost/local/callback;
}
--- config
include $TEST_NGINX_RESOLVER;
authgear_login on;
location / { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location = /_authgear/callback { authgear_login_callback myapp; }
location /local/ { authgear_verify local; proxy_pass $TEST_NGINX_ECHO; }
location = /local/callback { authgear_login_callback local; }
--- check
no_spelling_of_a_page_leads_elsewhere
a_cookie_that_was_made_up_leads_nowhere_else
a_login_of_somebody_else_is_not_completed
a_state_counts_once
a_state_of_another_host_or_project_counts_nothing
a_sibling_domain_can_toss_no_cookie
nothing_of_a_request_gets_into_headers_or_the_log
many_cookies_make_no_long_answer
