# Among nginx's own modules: satisfy, error_page, bodies, upgrades, HTTP/2 and
# internal redirects work as with nginx's own access modules.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict challenges chunked);
use Test::Nginx::Authgear::Http2 qw(http2_listen);
use Test::Nginx::Authgear::Neighbours;

use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Select;

my $directory = tempdir(CLEANUP => 1);
chmod 0755, $directory;
$ENV{TEST_NGINX_LISTEN_HTTP} = http2_listen(port(1));
sub spill {
    my ($name, $text) = @_;
    open my $out, '>', "$directory/$name" or die "cannot write $directory/$name: $!\n";
    binmode $out;
    print {$out} $text;
    close $out;
    return "$directory/$name";
}

my ($alice, $expired) = (token(user => 'alice'), token(user => 'mallory', expires_in => -1));
my %credential = (
    none => [],
    good => ["Authorization: Bearer $alice"],
    bad => ["Authorization: Bearer $expired"],
    basic => [basic('secret')],
    wrong => [basic('guessed')],
    cookie => ["Cookie: app_access_token=$alice"],
    'basic and cookie' => [basic('secret'), "Cookie: app_access_token=$alice"],
    'wrong and cookie' => [basic('guessed'), "Cookie: app_access_token=$alice"],
    'basic and bad cookie' => [basic('secret'), "Cookie: app_access_token=$expired"],
    'wrong and bad cookie' => [basic('guessed'), "Cookie: app_access_token=$expired"],
);

my $bearer = 'Bearer realm="myapp"';
my $invalid = "$bearer, error=\"invalid_token\", error_description=\"the access token expired\"";
my $eve = 'Basic realm="eve"';

my $mebibyte = mebibyte();

# --- checks

sub satisfy {
    my @rows = (
        # location, credential, verdict, challenges
        ['/all-allow', none => 401, $bearer], ['/all-allow', good => '200 alice', ''],
        ['/all-allow', bad => 401, $invalid],
        ['/all-deny', none => 403, ''], ['/all-deny', good => 403, ''], ['/all-deny', bad => 403, ''],
        ['/all-basic', none => 401, $eve], ['/all-basic', good => 401, $eve],
        ['/all-basic', basic => 401, $bearer], ['/all-basic', wrong => 401, $eve],
        ['/all-basic', 'basic and cookie' => '200 alice', ''],
        ['/all-basic', 'wrong and cookie' => 401, $eve],
        ['/all-basic', 'basic and bad cookie' => 401, $invalid],

        ['/any-allow', none => '200 nobody', ''], ['/any-allow', bad => '200 nobody', ''],
        ['/any-deny', none => 401, $bearer], ['/any-deny', good => '200 alice', ''],
        ['/any-deny', bad => 401, $invalid], ['/any-deny', cookie => '200 alice', ''],
        ['/any-deny-optional', none => 403, ''], ['/any-deny-optional', good => '200 alice', ''],
        ['/any-deny-optional', bad => 401, $invalid],
        ['/any-deny-observe', none => 403, ''], ['/any-deny-observe', good => 403, ''],
        ['/any-deny-observe', bad => 403, ''],
        ['/any-basic', none => 401, "$eve | $bearer"], ['/any-basic', good => '200 alice', ''],
        ['/any-basic', bad => 401, "$eve | $invalid"], ['/any-basic', basic => '200 nobody', ''],
        ['/any-basic', wrong => 401, "$eve | $bearer"], ['/any-basic', cookie => '200 alice', ''],
        ['/any-basic', 'wrong and cookie' => '200 alice', ''],
        ['/any-basic', 'wrong and bad cookie' => 401, "$eve | $invalid"],

        ['/all-request', none => 401, $bearer], ['/all-request', good => '200 alice', ''],
        ['/all-request-no', good => 403, ''],
        ['/any-request', none => '200 nobody', ''], ['/any-request', bad => '200 nobody', ''],
        ['/any-request', good => '200 alice', ''],
        ['/any-request-no', none => 401, $bearer], ['/any-request-no', good => '200 alice', ''],
    );
    for my $row (@rows) {
        my ($path, $which, $expected, $challenges) = @$row;
        my $answer = ask("GET $path", @{ $credential{$which} });
        is(verdict($answer), $expected, "satisfy $path, credential $which");
        is(challenges($answer), $challenges, "satisfy $path, credential $which: the challenges");
    }
}

sub error_pages {
    my $answer = ask('GET /login-named');
    is("$answer->{status} $answer->{body}", "200 please log in: no_credential\n",
        'error_page 401 to a named location, with its status');
    $answer = ask('GET /login-named', @{ $credential{bad} });
    is("$answer->{status} $answer->{body}", "200 please log in: expired\n", 'and with a bad credential');
    is(verdict(ask('GET /login-named', @{ $credential{good} })), '200 alice', 'and a good one passes');

    $answer = ask('GET /login-kept');
    is("$answer->{status} $answer->{body}", "401 no entry\n", 'error_page 401 to a page keeps the status');
    is(challenges($answer), $bearer, 'and the challenge');

    $answer = ask('GET /login-redirect?a=1');
    is($answer->{status}, 302, 'error_page 401 =302 to another site');
    is(header($answer, 'Location'), 'https://login.example.com/?reason=no_credential', 'and its Location');

    $answer = ask('GET /login-return');
    is($answer->{status}, 303, 'error_page 401 to a named location that redirects');
    is(header($answer, 'Location'), 'https://login.example.com/', 'and its Location');

    $answer = ask('GET /down-named', @{ $credential{good} });
    is("$answer->{status} $answer->{body}", "503 back soon: keys_unavailable\n", 'error_page 503 to a named location');
    like(header($answer, 'Retry-After'), qr/\A[1-9]\d*\z/, 'keeps Retry-After');
    $answer = ask('GET /down-open', @{ $credential{good} });
    is(verdict($answer), '200 nobody', 'error_page 503 to an open location of the backend: nobody');
}

sub bodies {
    my @good = @{ $credential{good} };
    my $answer = ask('POST /required', @good, \$mebibyte);
    is(verdict($answer), '200 alice', 'POST of 1 MiB');
    whole($answer, $mebibyte, 'POST of 1 MiB');

    $answer = ask('POST /required', @good, 'Transfer-Encoding: chunked', \chunked($mebibyte));
    is(verdict($answer), '200 alice', 'chunked POST of 1 MiB');
    whole($answer, $mebibyte, 'chunked POST of 1 MiB');

    $answer = ask('PUT /unbuffered', @good, \$mebibyte);
    is(verdict($answer), '200 alice', 'PUT of 1 MiB, unbuffered');
    whole($answer, $mebibyte, 'PUT of 1 MiB, unbuffered');

    my $client = connection();
    $client->request('POST /required', @good, 'Expect: 100-continue', 'Content-Length: 1048576');
    is($client->answer->{status}, 100, 'Expect: 100-continue is told to go on');
    push @{ $client->{asked} }, 'POST';
    $client->send($mebibyte);
    whole($client->answer, $mebibyte, 'POST of 1 MiB behind 100-continue');

    # A refused body is read and thrown away, so that the connection can go on.
    $client = connection();
    for my $which (qw(none bad)) {
        $client->request('POST /required', @{ $credential{$which} }, \$mebibyte);
        is($client->answer->{status}, 401, "POST of 1 MiB, credential $which: 401");
        $client->request('GET /required', @good);
        is(verdict($client->answer), '200 alice', 'and the next request on the connection passes');
    }

    $answer = ask('POST /login-proxied', \$mebibyte);
    is(verdict($answer), '200 nobody', 'POST of 1 MiB that error_page 401 sends to a named location');
    whole($answer, $mebibyte, 'POST to a named location');
    like(echoed($answer)->{line}, qr/^POST /, 'and its method stays');
}

sub upgrades {
    my $client = connection();
    $client->request('GET /socket', @upgrade, @{ $credential{good} }, 'X-Authgear-User-Id: forged');
    my $answer = $client->answer;
    is($answer->{status}, 101, 'a WebSocket upgrade with a valid token: 101');
    is(header($answer, 'Echo-X-Authgear-User-Id'), 'alice', 'and the backend knows who it is');
    there_and_back($client, 'a WebSocket');

    for my $which (qw(none bad)) {
        $client = connection();
        $client->request('GET /socket', @upgrade, @{ $credential{$which} });
        is($client->answer->{status}, 401, "a WebSocket upgrade, credential $which: 401");
    }
}

sub http2 {
    my $body = spill(body => $mebibyte);
    my $ask = sub {
        my ($path, @more) = @_;
        my $out = `curl --silent --show-error --max-time 30 --http2-prior-knowledge --write-out '\n%{http_code} %{http_version}' @{[map {"'$_'"} @more]} http://127.0.0.1:@{[port(1)]}$path`;
        my ($text, $status, $version) = $out =~ /\A(.*)\n(\d+) (\S+)\z/s;
        is($version, '2', "HTTP/2: $path");
        return { status => $status, body => $text, headers => [] };
    };
    my @good = map { ('--header', $_) } @{ $credential{good} };
    is(verdict($ask->('/required', @good, '--header', 'x-authgear-user-id: forged')), '200 alice',
        'HTTP/2: a valid token');
    is(verdict($ask->('/required', '--header', "cookie: app_access_token=$alice")), '200 alice',
        'HTTP/2: a valid token in a cookie');
    is(verdict($ask->('/required')), 401, 'HTTP/2: no credential');
    is(verdict($ask->('/required', map { ('--header', $_) } @{ $credential{bad} })), 401, 'HTTP/2: a bad one');
    my $answer = $ask->('/required', @good, '--data-binary', "\@$body");
    is(verdict($answer), '200 alice', 'HTTP/2: a body of 1 MiB');
    whole($answer, $mebibyte, 'HTTP/2: a body of 1 MiB');
    # nginx resets what is left of a body that it does not want, which curl takes amiss.
    my $client = Test::Nginx::Authgear::Http2::http2(port(1));
    for my $which (qw(none bad)) {
        my $stream = $client->request('POST /required', @{ $credential{$which} }, \('x' x 16_000));
        is($client->answer($stream)->{status}, 401, "HTTP/2: a body, credential $which");
    }
    is(verdict($client->answer($client->request('GET /required', @{ $credential{good} }))), '200 alice',
        'HTTP/2: and the connection goes on');
    like($ask->('/required', '--head', @good)->{body}, qr/^HTTP\/2 200 .*\r\n\r\n\z/s, 'HTTP/2: HEAD');
    like($ask->('/required', '--head')->{body}, qr/^HTTP\/2 401 .*^www-authenticate: \Q$bearer\E\r$/ms,
        'HTTP/2: HEAD without credential, the challenge');
}

sub methods_and_forms {
    my @good = @{ $credential{good} };
    my $answer = ask('HEAD /required', @good);
    is($answer->{status}, 200, 'HEAD: 200');
    $answer = ask('HEAD /required');
    is($answer->{status} . ' ' . challenges($answer), "401 $bearer", 'HEAD without credential: 401 and the challenge');
    for my $method (qw(DELETE PATCH OPTIONS PROPFIND MADEUP)) {
        $answer = ask("$method /required", @good);
        is(verdict($answer), '200 alice', "$method: 200");
        like(echoed($answer)->{line}, qr/^$method /, "$method reaches the backend");
        is(ask("$method /required")->{status}, 401, "$method without credential: 401");
    }
    is(verdict(ask('GET /required HTTP/1.0', @good)), '200 alice', 'HTTP/1.0');
    is(verdict(ask('GET http://localhost/required HTTP/1.1', @good)), '200 alice', 'an absolute URI');
    is(ask('GET http://localhost/required HTTP/1.1')->{status}, 401, 'an absolute URI without credential');
    is(ask('GET /%72equired')->{status}, 401, 'an escaped URI');
    is(ask('GET /open/../required')->{status}, 401, 'a URI with dots');
    is(ask('GET //required')->{status}, 401, 'a URI with two slashes');

    # return and rewrite answer before the access phase, whatever guards it.
    $answer = ask('GET /returned');
    is("$answer->{status} $answer->{body}", "200 returned to anybody\n",
        'return answers before any access module is asked');
    is(ask('GET /rewritten-away')->{status}, 301, 'and so does rewrite … permanent');
}

sub static_files {
    my @good = @{ $credential{good} };
    my $answer = ask('GET /static.txt', @good);
    is("$answer->{status} $answer->{body}", "200 0123456789\n", 'a file');
    my $modified = header($answer, 'Last-Modified');
    $answer = ask('GET /static.txt', @good, 'Range: bytes=2-4');
    is("$answer->{status} $answer->{body}", '206 234', 'a range of it');
    is(ask('GET /static.txt', @good, "If-Modified-Since: $modified")->{status}, 304, 'not modified');
    is(ask('GET /static.txt', 'Range: bytes=2-4')->{status}, 401, 'a range without credential: 401');
    is(ask('GET /static.txt', "If-Modified-Since: $modified")->{status}, 401,
        'If-Modified-Since without credential: 401');
    is(ask('GET /no-such-file.txt')->{status}, 401, 'a file that is not there, without credential: 401');
    is(ask('GET /no-such-file.txt', @good)->{status}, 404, 'and with one: 404');
    is(ask('GET /internal.txt', @good)->{status}, 404, 'an internal location stays internal');
}

sub internal_redirects {
    my @rows = (
        # the first location, and whether each location guards itself
        ['/try', 'try_files from a guarded location'],
        ['/try-to-guarded', 'try_files to a guarded one'],
        ['/try-named', 'try_files to a guarded named location'],
        ['/rewrite', 'rewrite last to a guarded location'],
        ['/not-found', 'error_page 404 from a guarded location'],
        ['/accel', 'X-Accel-Redirect from a guarded location'],
        ['/accel-to-guarded', 'X-Accel-Redirect to a guarded one'],
        ['/dir/', 'index in a guarded location'],
        ['/slash', 'error_page 401 to a guarded location'],
    );
    for my $row (@rows) {
        my ($path, $name) = @$row;
        my $answer = ask("GET $path", @{ $credential{good} });
        is("$answer->{status} $answer->{body}", "200 0123456789\n", "$name: a valid token passes")
            if $path ne '/slash';
        $answer = ask("GET $path");
        is($answer->{status}, 401, "$name: no credential does not");
        like(challenges($answer), qr/^\Q$bearer\E/, "$name: the challenge");
    }
}

sub many_headers {
    my @good = @{ $credential{good} };
    my @lines = map { sprintf 'X-Number-%d: %s', $_, 'v' x ($_ % 50 + 1) } 1 .. 500;
    my $answer = ask('GET /required', @lines[0 .. 249], @good, @lines[250 .. 499]);
    is(verdict($answer), '200 alice', '500 headers around the token');
    is_deeply([header_lines(echoed($answer), qr/^X-Number-/)], \@lines, '500 headers arrive in their order');
    is(ask('GET /required', @lines)->{status}, 401, '500 headers and no token');

    my $long = 'y' x 15_000;
    $answer = ask('GET /required', @good, "X-Long: $long");
    is(header(echoed($answer), 'X-Long'), $long, 'a header of 15,000 bytes arrives');
    my $large = bearer(user => 'alice', claims => { note => 'z' x 9_000 });
    is(verdict(ask('GET /required', $large)), '200 alice', 'a token of 12 KiB');
    is(ask('GET /required', "Authorization: Bearer $long$long")->{status}, 400,
        "a header beyond nginx's own limit is nginx's 400");
}

# Access phases that are left in the middle, and gone on with.
sub while_waiting {
    my @rows = (
        ['GET /any-deny', 'good', '200 alice'], ['GET /any-basic', 'good', '200 alice'],
        ['GET /any-request', 'good', '200 alice'], ['GET /all-basic', 'basic and cookie', '200 alice'],
        ['GET /all-request', 'good', '200 alice'], ['GET /all-request-no', 'good', 403],
        ['GET /any-deny', 'bad', 401], ['GET /any-request', 'bad', '200 nobody'],
        ['GET /any-deny-optional', 'good', '200 alice'],
        ['PUT /unbuffered', 'good', '200 alice', \$mebibyte],
    );
    my @waiting = map {
        my $client = connection();
        $client->request($_->[0], @{ $credential{ $_->[1] } }, $_->[3] // ());
        $client;
    } @rows;
    is(ask('GET /any-deny')->{status}, 401, 'meanwhile no credential is 401 at once');
    is(scalar(grep { IO::Select->new($_->{socket})->can_read(0) } @waiting), 0, 'while the others wait for keys');
    for my $index (0 .. $#rows) {
        my ($line, $which, $expected, $body) = @{ $rows[$index] };
        my $answer = $waiting[$index]->answer;
        is(verdict($answer), $expected, "after the wait: $line, credential $which");
        is(challenges($answer), '', "after the wait: $line, credential $which: no challenge is left over")
            if $answer->{status} == 200;
        whole($answer, $mebibyte, "after the wait: $line") if $body;
    }
}

run_tests();

__DATA__

=== TEST 1: among nginx's own modules
--- check
satisfy
error_pages
bodies
upgrades
http2
methods_and_forms
static_files
internal_redirects
many_headers
--- user_files
>>> static.txt
0123456789
>>> internal.txt
internal
>>> dir/static.txt
0123456789
--- http_config
large_client_header_buffers 8 16k;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
server {
    $TEST_NGINX_LISTEN_HTTP
    client_max_body_size 2m;
    location = /required {
        authgear_verify myapp;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
$TEST_NGINX_OTHER
--- config
$TEST_NGINX_SATISFY
$TEST_NGINX_ERROR_PAGES
$TEST_NGINX_STREAMS
$TEST_NGINX_REDIRECTS

location = /required {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location /open/ {
    proxy_pass $TEST_NGINX_ECHO;
}
location = /returned {
    authgear_verify myapp;
    return 200 "returned to anybody\n";
}
location = /rewritten-away {
    authgear_verify myapp;
    rewrite ^ /elsewhere permanent;
}

location = /internal.txt {
    internal;
    authgear_verify myapp;
}

=== TEST 2: access phases that wait for keys
--- control
PUT /-/fault/jwks {"mode": "slow", "delay_ms": 1000}
--- check: while_waiting
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
$TEST_NGINX_OTHER
--- config
$TEST_NGINX_SATISFY
$TEST_NGINX_STREAMS
