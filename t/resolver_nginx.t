# Among nginx's own modules while the resolver is asked: what t/nginx_behaviour.t
# shows of JWTs, of cookie sessions and opaque tokens.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear args => ['--amr'];
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict challenges);
use Test::Nginx::Authgear::Neighbours;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

use File::Temp qw(tempdir);

my $directory = tempdir(CLEANUP => 1);
chmod 0755, $directory;
my %session = map { $_ => cookie(session => session(user => $_)) } qw(alice bob);
my $opaque = 'Authorization: Bearer ' . token(user => 'alice', kind => 'opaque');
my $dead = cookie(session => 'dead');
my %credential = (
    none => [],
    session => [$session{alice}],
    opaque => [$opaque],
    dead => [$dead],
    'dead token' => ['Authorization: Bearer made-up'],
    basic => [basic('secret')],
    wrong => [basic('guessed')],
    map {
        my ($name, $password) = @$_;
        ("$name and session" => [basic($password), $session{alice}], "$name and dead" => [basic($password), $dead])
    } [basic => 'secret'], [wrong => 'guessed'],
);

my $bearer = 'Bearer realm="myapp"';
my $invalid = qq{$bearer, error="invalid_token", error_description="the session is invalid"};
my $eve = 'Basic realm="eve"';
my $clear = 'session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; SameSite=Lax';
my $mebibyte = mebibyte();

# The requests that mirror and auth_request send.
my ($recorder_port, $take) = recorder();

# --- checks

sub satisfy {
    my ($alice, $yes, $no) = ('200 alice', '200 nobody', $invalid);
    my @rows = (
        # location, credential, verdict, challenges, how often the resolver is asked
        ['/all-allow', none => 401, $bearer, 0], ['/all-allow', session => $alice, '', 1],
        ['/all-allow', opaque => $alice, '', 1], ['/all-allow', dead => 401, $no, 1],
        ['/all-allow', 'dead token' => 401, $no, 1], ['/all-allow', down => 503, '', 1],
        # No question about clients that are refused anyway.
        ['/all-deny', none => 403, '', 0], ['/all-deny', session => 403, '', 0],
        ['/all-deny', opaque => 403, '', 0], ['/all-deny', dead => 403, '', 0], ['/all-deny', down => 403, '', 0],
        ['/all-basic', none => 401, $eve, 0], ['/all-basic', session => 401, $eve, 0],
        ['/all-basic', opaque => 401, $eve, 0], ['/all-basic', dead => 401, $eve, 0],
        ['/all-basic', basic => 401, $bearer, 0], ['/all-basic', wrong => 401, $eve, 0],
        ['/all-basic', 'basic and session' => $alice, '', 1], ['/all-basic', 'basic and dead' => 401, $no, 1],
        ['/all-basic', 'wrong and session' => 401, $eve, 0], ['/all-basic', 'wrong and dead' => 401, $eve, 0],
        ['/all-basic', 'basic and down' => 503, '', 1],
        ['/all-request', none => 401, $bearer, 0], ['/all-request', session => $alice, '', 1],
        ['/all-request', opaque => $alice, '', 1], ['/all-request', dead => 401, $no, 1],
        ['/all-request', down => 503, '', 1],
        ['/all-request-no', none => 401, $bearer, 0], ['/all-request-no', session => 403, '', 1],
        ['/all-request-no', opaque => 403, '', 1], ['/all-request-no', dead => 401, $no, 1],

        # No question about clients that are let in anyway.
        ['/any-allow', none => $yes, '', 0], ['/any-allow', session => $yes, '', 0],
        ['/any-allow', dead => $yes, '', 0], ['/any-allow', down => $yes, '', 0],
        ['/any-deny', none => 401, $bearer, 0], ['/any-deny', session => $alice, '', 1],
        ['/any-deny', opaque => $alice, '', 1], ['/any-deny', dead => 401, $no, 1],
        ['/any-deny', 'dead token' => 401, $no, 1], ['/any-deny', down => 503, '', 1],
        ['/any-deny-optional', none => 403, '', 0], ['/any-deny-optional', session => $alice, '', 1],
        ['/any-deny-optional', dead => 401, $no, 1], ['/any-deny-optional', down => 503, '', 1],
        ['/any-deny-observe', none => 403, '', 0], ['/any-deny-observe', session => 403, '', 1],
        ['/any-deny-observe', dead => 403, '', 1], ['/any-deny-observe', down => 403, '', 1],
        ['/any-basic', none => 401, "$eve | $bearer", 0], ['/any-basic', session => $alice, '', 1],
        ['/any-basic', opaque => $alice, '', 1], ['/any-basic', dead => 401, "$eve | $no", 1],
        ['/any-basic', 'dead token' => 401, "$eve | $no", 1], ['/any-basic', basic => $yes, '', 0],
        ['/any-basic', wrong => 401, "$eve | $bearer", 0], ['/any-basic', 'basic and session' => $yes, '', 0],
        ['/any-basic', 'basic and dead' => $yes, '', 0], ['/any-basic', 'basic and down' => $yes, '', 0],
        ['/any-basic', 'wrong and session' => $alice, '', 1],
        ['/any-basic', 'wrong and dead' => 401, "$eve | $no", 1],
        # nginx leaves the challenge of auth_basic on whatever else becomes of the request.
        ['/any-basic', down => 503, $eve, 1],
        ['/any-request', none => $yes, '', 0], ['/any-request', session => $alice, '', 1],
        ['/any-request', opaque => $alice, '', 1], ['/any-request', dead => $yes, '', 1],
        # No verdict is no refusal: nobody else is asked.
        ['/any-request', down => 503, '', 1],
        ['/any-request-no', none => 401, $bearer, 0], ['/any-request-no', session => $alice, '', 1],
        ['/any-request-no', opaque => $alice, '', 1], ['/any-request-no', dead => 401, $no, 1],
        ['/any-request-no', down => 503, '', 1],
    );
    for my $row (@rows) {
        my ($path, $which, $verdict, $challenges, $asked) = @$row;
        my $down = $which =~ /down/;
        fault(resolver => 'status') if $down;
        reset_counts();
        my $answer = ask("GET $path", @{ $credential{ $which =~ s/down/session/r } });
        is(verdict($answer), $verdict, "satisfy $path, credential $which");
        is(challenges($answer), $challenges, "satisfy $path, credential $which: the challenges");
        is(header($answer, 'Retry-After'), $verdict eq '503' ? 1 : undef,
            "satisfy $path, credential $which: Retry-After");
        is(asked(), $asked, "satisfy $path, credential $which: the resolver is asked $asked times");
        is(header($answer, 'Set-Cookie'), $asked && $which =~ /dead$/ ? $clear : undef,
            "satisfy $path, credential $which: a dead session's cookie");
        heal() if $down;
    }
}

sub error_pages {
    my %said = (none => 'no_credential', dead => 'session_invalid', 'dead token' => 'session_invalid');
    for my $which (sort keys %said) {
        my @headers = @{ $credential{$which} };
        my $cookie = $which eq 'dead' ? $clear : undef;
        my $challenge = $which eq 'none' ? $bearer : $invalid;
        my @rows = (
            # location, status, body or Location, challenges
            ['/plain', 401, undef, $challenge],
            ['/login-named', 200, "please log in: $said{$which}\n", $challenge],
            ['/login-kept', 401, "no entry\n", $challenge],
            ['/login-redirect', 302, "https://login.example.com/?reason=$said{$which}", $challenge],
            ['/login-return', 303, 'https://login.example.com/', $challenge],
            ['/login-proxied', 200, undef, $challenge],
        );
        for my $row (@rows) {
            my ($path, $status, $text, $challenges) = @$row;
            for my $method (qw(GET POST HEAD)) {
                my $answer = ask("$method $path?a=b", @headers, $method eq 'POST' ? \$mebibyte : ());
                my $name = "error_page 401: $method $path, credential $which";
                is($answer->{status}, $status, $name);
                is($status =~ /^3/ ? header($answer, 'Location') : $answer->{body}, $text, "$name: what it says")
                    if defined $text and ($method ne 'HEAD' or $status =~ /^3/);
                is($answer->{body}, '', "$name: no body") if $method eq 'HEAD';
                is(challenges($answer), $challenges, "$name: the challenge");
                is(header($answer, 'Set-Cookie'), $cookie, "$name: a dead session's cookie is cleared, once");
            }
        }
        my $answer = ask('POST /login-proxied', @headers, \$mebibyte);
        is(verdict($answer), '200 nobody', "error_page 401 to the backend, credential $which: as nobody");
        whole($answer, $mebibyte, "error_page 401 to the backend, credential $which");
    }
    for my $path (qw(/plain /login-named /login-kept /login-redirect /login-return /login-proxied)) {
        is(verdict(ask("GET $path", @{ $credential{$_} })), '200 alice', "error_page 401: $path, credential $_ passes")
            for qw(session opaque);
        fault(resolver => 'status');
        my $answer = ask("GET $path", @{ $credential{session} });
        is("$answer->{status} " . challenges($answer), '503 ', "error_page 401: $path is not for a 503");
        heal();
    }
    # Set-Cookie of a failing resolver is not handed on: it belongs to no known user.
    fault(resolver => 'status', headers => { 'Set-Cookie' => 'a=b' });
    for my $row (['/plain', 503, undef], ['/down-named', 503, "back soon: resolver_unavailable\n"],
        ['/down-open', 200, undef])
    {
        my ($path, $status, $text) = @$row;
        my $answer = ask("GET $path", @{ $credential{session} });
        is($answer->{status}, $status, "error_page 503: $path");
        is($answer->{body}, $text, "error_page 503: $path: what it says") if defined $text;
        is(header($answer, 'Retry-After'), 1, "error_page 503: $path: Retry-After stays");
        is(header($answer, 'Set-Cookie'), undef, "error_page 503: $path: no cookie");
    }
    is(verdict(ask('GET /down-open', @{ $credential{session} })), '200 nobody',
        'error_page 503 to an open location of the backend: nobody');
    heal();

    fault(resolver => 'slow', delay_ms => 1, headers => { 'Set-Cookie' => 'a=b; Path=/' });
    for my $path (qw(/plain /static.txt)) {
        my $answer = ask("GET $path", @{ $credential{session} });
        is("$answer->{status} " . header($answer, 'Set-Cookie'), '200 a=b; Path=/', "$path: Set-Cookie with a 200");
    }
    my $answer = ask('GET /no-such-file.txt', @{ $credential{session} });
    is("$answer->{status} " . header($answer, 'Set-Cookie'), '404 a=b; Path=/', 'and with a 404');
    heal();
}

# auth_request, mirror and the parts of a page beside it.
sub beside {
    my @forged = ('X-Authgear-User-Id: forged', 'X-Authgear-User-Roles: root');
    my $expected = [
        'X-Authgear-Session-Amr: pwd', 'X-Authgear-Session-Authenticated-At: 5', 'X-Authgear-Session-Valid: true',
        'X-Authgear-User-Anonymous: false', 'X-Authgear-User-Can-Reauthenticate: true', 'X-Authgear-User-Id: dora',
        'X-Authgear-User-Roles: a,b', 'X-Authgear-User-Verified: true',
    ];
    my $dora = cookie(session => session(user => { id => 'dora', roles => [qw(a b)] }, amr => ['pwd'], auth_time => 5));
    my $told = sub { return [sort(header_lines($_[0], qr/^x[^a-z0-9]*authgear/i))] };

    for my $path (qw(/mirrored /checked)) {
        for my $text ('', 'body', $mebibyte) {
            reset_counts();
            my $client = connection();
            $client->request("POST $path", $dora, @forged, \$text);
            my ($copy) = $take->(1);
            my $answer = $client->answer;
            is(verdict($answer), '200 dora', "$path, " . length($text) . ' bytes');
            whole($answer, $text, "$path, " . length($text) . ' bytes');
            is_deeply(echoed_authgear($answer), $expected, "$path: the backend knows who it is");
            is_deeply($told->($copy), $expected, "$path: so does the other");
            is(asked(), 1, "$path: and the resolver is asked once");
        }
        for my $which ('none', 'dead', 'dead token') {
            is(ask("POST $path", @{ $credential{$which} }, \'body')->{status}, 401, "$path, credential $which: 401");
        }
    }
    my $client = connection();
    $client->request('GET /checked', $dora);
    is(header(($take->(1))[0], 'X-Authgear-User-Id'), 'dora', 'whoever is refused was copied and checked for nobody');
    is(verdict($client->answer), '200 dora', 'and the next one passes');

    # A page with parts from the backend: they are the user's of the page.
    for my $user (qw(alice bob)) {
        reset_counts();
        my $answer = ask('GET /page.shtml', $session{$user}, @forged);
        my @users = $answer->{body} =~ /^X-Authgear-User-Id: (.*?)\r?$/mg;
        is_deeply(\@users, [$user, $user], "a page of two parts, both ${user}'s");
        unlike($answer->{body}, qr/forged|root/, "a page of two parts: nothing that $user wrote");
        is(asked(), 1, 'and the resolver is asked once');
    }
    is(ask('GET /page.shtml', @{ $credential{$_} })->{status}, 401, "a page of two parts, credential $_: 401")
        for 'none', 'dead', 'dead token';
}

# A page is cached for its user.
sub cached_pages {
    my $page = sub {
        my $answer = ask('GET /pages', @_);
        return join ' ', verdict($answer), header($answer, 'X-Cache') // '-';
    };
    my $bobs = 'Authorization: Bearer ' . token(user => 'bob', kind => 'opaque');
    is($page->($session{alice}), '200 alice MISS', 'proxy_cache_key with $authgear_user_id: the first page of alice');
    is($page->($session{alice}), '200 alice HIT', 'the next comes from the cache');
    is($page->($session{bob}), '200 bob MISS', 'bob does not get that of alice');
    is($page->($session{bob}), '200 bob HIT', 'but his own');
    is($page->($opaque), '200 alice HIT', 'whatever the credential, alice gets that of alice');
    is($page->($bobs), '200 bob HIT', 'and bob that of bob');
    is($page->(@{ $credential{$_} }), '401 -', "credential $_ gets none") for 'none', 'dead', 'dead token';
    my $session = session(user => 'alice');
    is($page->(cookie(session => $session)), '200 alice HIT', 'another session of alice');
    control('POST', "/-/session/$session/revoke");
    is($page->(cookie(session => $session)), '401 -', 'which gets nothing when it is revoked, cached or not');
    fault(resolver => 'status');
    is($page->($session{alice}), '503 -', 'nor does anybody without a verdict');
    heal();
}

sub internal_redirects {
    my @rows = (
        # location, what it shows, how often the resolver is asked for a good credential and for a dead one
        ['/try', 'try_files from a guarded location', 1, 1],
        ['/try-to-guarded', 'try_files to a guarded one', 1, 1],
        ['/try-both', 'try_files from a guarded location to another', 1, 1],
        ['/try-named', 'try_files to a guarded named location', 1, 1],
        ['/rewrite', 'rewrite last to a guarded location', 1, 1],
        ['/not-found', 'error_page 404 from a guarded location', 1, 1],
        ['/accel', 'X-Accel-Redirect from a guarded location', 1, 1],
        ['/accel-to-guarded', 'X-Accel-Redirect to a guarded one', 1, 1],
        ['/dir/', 'index in a guarded location', 1, 1],
        ['/slash', 'error_page 401 to a guarded location', 0, 1],
    );
    for my $row (@rows) {
        my ($path, $name, $good, $bad) = @$row;
        for my $which ($good ? qw(session opaque) : ()) {
            reset_counts();
            my $answer = ask("GET $path", @{ $credential{$which} });
            is("$answer->{status} $answer->{body}", "200 0123456789\n", "$name: $which passes");
            is(header($answer, 'X-User'), 'alice', "$name: $which, as alice");
            is(asked(), $good, "$name: $which is asked about $good times");
        }
        for my $which ('none', 'dead', 'dead token') {
            reset_counts();
            my $answer = ask("GET $path", @{ $credential{$which} });
            is($answer->{status}, 401, "$name: $which does not");
            is(challenges($answer), $which eq 'none' ? $bearer : $invalid, "$name: $which, the challenge, once");
            is(header($answer, 'Set-Cookie'), $which eq 'dead' ? $clear : undef,
                "$name: $which, a dead session's cookie is cleared, once");
            is(asked(), $which eq 'none' ? 0 : $bad, "$name: $which is asked about");
        }
        fault(resolver => 'status');
        is(ask("GET $path", $session{alice})->{status}, 503, "$name: no verdict");
        heal();
    }
}

sub methods {
    for my $method (qw(HEAD DELETE PATCH OPTIONS PROPFIND MADEUP)) {
        reset_counts();
        my $answer = ask("$method /plain", $session{alice});
        is($answer->{status}, 200, "$method with a session");
        like(echoed($answer)->{line}, qr/^$method /, "$method reaches the backend") if $method ne 'HEAD';
        is((asked_requests())[0]{method}, 'HEAD', "$method: the resolver is asked by HEAD");
        $answer = ask("$method /plain", $dead);
        is("$answer->{status} " . challenges($answer), "401 $invalid", "$method with a dead session");
        is(header($answer, 'Set-Cookie'), $clear, "$method: its cookie is cleared");
    }
    my $answer = ask('HEAD /static.txt', $session{alice});
    is("$answer->{status} " . header($answer, 'Content-Length'), '200 11', 'HEAD of a file');
    $answer = ask('GET /static.txt', $session{alice}, 'Range: bytes=2-4');
    is("$answer->{status} $answer->{body}", '206 234', 'a range of a file');
    my $modified = header($answer, 'Last-Modified');
    is(ask('GET /static.txt', $session{alice}, "If-Modified-Since: $modified")->{status}, 304, 'not modified');
    is(ask('GET /static.txt', $dead, "If-Modified-Since: $modified")->{status}, 401, 'with a dead session: 401');
    is(verdict(ask('GET /plain HTTP/1.0', $session{alice})), '200 alice', 'HTTP/1.0');
    is(ask('GET /no-such-file.txt', $session{alice})->{status}, 404, 'a file that is not there');
    is(ask('GET /no-such-file.txt', $dead)->{status}, 401, 'with a dead session: 401');
}

# --- configuration

$ENV{TEST_NGINX_RECORDER} = "http://127.0.0.1:$recorder_port";
$ENV{TEST_NGINX_PAGES} = "$directory/pages";

run_tests();

__DATA__

=== TEST 1: among nginx's own modules
--- check
satisfy
error_pages
beside
cached_pages
internal_redirects
methods
--- user_files
>>> static.txt
0123456789
>>> dir/static.txt
0123456789
>>> page.shtml
<!--# include virtual="/part" --><!--# include virtual="/guarded-part" -->
--- http_config
proxy_cache_path $TEST_NGINX_PAGES keys_zone=pages:1m;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
$TEST_NGINX_OTHER
--- config
add_header X-User $authgear_user_id always;
proxy_http_version 1.1;
include $TEST_NGINX_RESOLVER;
$TEST_NGINX_SATISFY
$TEST_NGINX_ERROR_PAGES
$TEST_NGINX_REDIRECTS

location = /plain {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /mirrored {
    authgear_verify myapp;
    mirror /copy;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /copy {
    internal;
    proxy_pass $TEST_NGINX_RECORDER;
}
location = /checked {
    authgear_verify myapp;
    auth_request /check;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /check {
    internal;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
    proxy_pass $TEST_NGINX_RECORDER;
}
location = /page.shtml {
    authgear_verify myapp;
    ssi on;
    ssi_types *;
}
location = /part {
    internal;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /guarded-part {
    internal;
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /pages {
    authgear_verify myapp;
    proxy_cache pages;
    proxy_cache_key $uri|$authgear_user_id;
    proxy_cache_valid 200 1h;
    add_header X-Cache $upstream_cache_status always;
    proxy_pass $TEST_NGINX_ECHO;
}
