# A client's own X-Authgear-* are gone before anything can read them, in every
# location of a server in which one verifies; elsewhere they are left alone.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Http2;

use strict;
use warnings;

my %server = (open => 1, nested => 2, if => 3, except => 4, variable => 5, named => 6, http2 => 7);
$ENV{"TEST_NGINX_\U$_\E_PORT"} = port($server{$_}) for keys %server;
$ENV{TEST_NGINX_HTTP2} = http2_listen(port(7));
my $has_sub_filter = `$ENV{TEST_NGINX_BINARY} -V 2>&1` =~ /--with-http_sub_module/;
$ENV{TEST_NGINX_SUB_FILTER} = $has_sub_filter
    ? 'sub_filter_types *; sub_filter nobody "by sub_filter $http_x_authgear_user_id";' : '';

my $alice = bearer(user => 'alice');
my @forged = ('X-Authgear-User-Id: forged', 'X-Authgear-User-Roles: admin', 'X-Authgear-Session-Valid: true',
    'X-Authgear-Client: 10.1.2.3');

# A header that must not show a forged value; what is verified may stand there.
sub unforged {
    my ($answer, $name) = @_;
    my @lines = grep {/forged|admin|10\.1\.2\.3|inside|seen/} header_lines($answer, qr/^/), split /\r?\n/, $answer->{body};
    return is_deeply(\@lines, [], "$name: nothing of the client's");
}

# --- checks

sub roles_by_a_map {
    for my $path (qw(/admin /admin-by-if)) {
        is(ask("GET $path", $alice, @forged)->{status}, 403, "$path: a forged role opens nothing");
        is(ask("GET $path", $alice)->{status}, 403, "$path: nor does none");
        is(ask("GET $path", @forged)->{status}, 401, "$path: nor without a token");
    }
}

sub wherever_it_is_read {
    my @paths = qw(/if /set /map /geo /server-set /proxied /returned /redirected /refused /optional /cached /off /plain
        /files/ /missing);
    for my $path (@paths) {
        for my $credential ([], [$alice], [bearer(user => 'mallory', key => 'stranger')]) {
            my $answer = ask("GET $path", @forged, @$credential);
            my $name = "$path, status $answer->{status}";
            unforged($answer, $name);
            is(header($answer, 'X-Server'), '[] [none] [nowhere]', "$name: what a server sets early");
        }
    }
    is(ask('GET /optional', @forged)->{status}, 200, 'nobody is let in where that is allowed');
    is(header(echoed(ask('GET /proxied', @forged, $alice)), 'X-Authgear-User-Id'), 'alice', 'and alice as alice');

    if ($has_sub_filter) {
        for my $path (qw(/sub-filter /off-sub-filter)) {
            my $answer = ask("GET $path", @forged, $alice);
            like($answer->{body}, qr/by sub_filter/, "$path: sub_filter is at work");
            unforged($answer, $path);
        }
    }
    # A server that sends a forged user elsewhere.
    is(ask('GET /somewhere', @forged)->{status}, 404, 'a server-level rewrite does not see it');
}

sub split_clients {
    my $usual = header(ask('GET /split'), 'X-Split');
    for my $who (1 .. 12) {
        is(header(ask('GET /split', "X-Authgear-User-Id: forged-$who"), 'X-Split'), $usual,
            "split_clients puts a forged user $who where it puts nobody");
    }
}

sub limits {
    is(ask('GET /limited', $alice, 'X-Authgear-User-Id: victim')->{status}, 200,
        "limit_req: round $_, a forged name takes nothing of its bearer's share") for 1 .. 2;
    is(ask('GET /limited-together', $alice, 'X-Authgear-User-Id: first')->{status}, 200, 'limit_req: the first passes');
    is(ask('GET /limited-together', $alice, 'X-Authgear-User-Id: second')->{status}, 429,
        'limit_req: another name is no way out');
}

sub access_log {
    my @requests = (
        ['/plain', @forged], ['/off', @forged], ['/proxied', @forged], ['/proxied', @forged, $alice], ['/returned', @forged],
        ['/missing', @forged],
    );
    # A line is written after its answer was sent.
    select undef, undef, undef, 0.3;
    my $before = () = log_lines('early.log', 0);
    ask("GET $_->[0]", @$_[1 .. $#$_]) for @requests;
    my @lines = log_lines('early.log', $before + @requests);
    is(scalar @lines, $before + @requests, 'each request is logged');
    is(scalar(grep {/forged|admin/} @lines), 0, 'the access log shows nothing of the client\'s') or diag(@lines);
}

# nginx refuses these before any phase has run.
sub refused_by_nginx {
    my $headers = join "\r\n", @forged;
    my @requests = (
        ['no Host' => "GET / HTTP/1.1\r\n$headers\r\n\r\n"],
        ['two Host headers' => "GET / HTTP/1.1\r\n$headers\r\nHost: a\r\nHost: b\r\n\r\n"],
        ['a length that is none' => "GET / HTTP/1.1\r\nHost: a\r\n$headers\r\nContent-Length: x\r\n\r\n"],
        ['a method that is not allowed' => "TRACE / HTTP/1.1\r\nHost: a\r\n$headers\r\n\r\n"],
    );
    for my $request (@requests) {
        my ($name, $text) = @$request;
        # A line is written after its answer was sent.
    select undef, undef, undef, 0.3;
    my $before = () = log_lines('early.log', 0);
        my $client = connection();
        $client->send($text);
        my $answer = $client->answer;
        like($answer->{status}, qr/^4/, "$name: refused");
        unforged($answer, "$name, the answer");
        my @lines = log_lines('early.log', $before + 1);
        unlike($lines[-1], qr/forged|admin/, "$name: nor does the access log show it");

        $client = connection(port($server{named}));
        $client->send($text);
        $answer = $client->answer;
        is($answer->{status}, 200, "$name, sent on by error_page");
        unforged($answer, "$name, sent on by error_page");
    }
}

# Every character that a backend could take for a hyphen, wherever it stands.
sub other_characters {
    my @characters = map {chr} grep { chr !~ /[A-Za-z0-9:]/ } 0x21 .. 0x7e, 0x80, 0xa0, 0xff;
    for my $path (qw(/proxied /off /plain)) {
        my @lines = map { ("X${_}Authgear${_}User${_}Id: forged", "X-Authgear-User${_}Id: forged", "x-authgear${_}user-id: forged") }
            @characters;
        my $answer = ask("GET $path", $alice, @lines);
        is($answer->{status}, 200, "$path, other characters: let in");
        my @arrived = grep {/forged/} header_lines(echoed($answer), qr/^/);
        is_deeply(\@arrived, [], "$path, other characters: none arrives");
    }
    my @others = map {"$_: kept"} 'X', 'X-', 'X-Authgear', 'Authgear-User-Id', 'X-Authgears-User-Id', 'XAuthgear-User-Id',
        'X--Authgear-User-Id', '-X-Authgear-User-Id', 'X-Authgea-User[Id';
    my $answer = ask('GET /plain', @others);
    is_deeply([grep {/: kept/} header_lines(echoed($answer), qr/^/)], \@others, 'names that are nobody\'s arrive');
}

sub the_signature_of_a_webhook {
    for my $path (qw(/proxied /off /plain /optional)) {
        for my $name ('X-Authgear-Body-Signature', 'x-authgear-body-signature', 'X-AUTHGEAR-BODY-SIGNATURE') {
            my $answer = ask("POST $path", "$name: abc", $alice, @forged, \'{}');
            is_deeply([header_lines(echoed($answer), qr/signature/i)], ["$name: abc"], "$path: $name stays");
            unforged($answer, "$path, with $name");
        }
        my $answer = ask("GET $path", $alice, map {"X-Authgear-Body-Signature$_: forged"} '-', 's', '-User-Id');
        unforged($answer, "$path, names that go on behind it");
    }
    is(header(ask('GET /signature', 'X-Authgear-Body-Signature: abc'), 'X-Signature'), 'abc', 'and can be read');
}

sub servers {
    for my $name (qw(nested if except variable named)) {
        for my $path (qw(/ /elsewhere /off)) {
            my $answer = ask("GET $path", { port => port($server{$name}) }, @forged);
            is_deeply(echoed_authgear($answer), [], "a server in which a location verifies ($name), $path: stripped");
            is(header($answer, 'X-Read'), '[]', "a server in which a location verifies ($name), $path: nor read");
        }
    }
    my $client = http2(port(7));
    my $answer = $client->answer($client->request('GET /', map {lc} @forged));
    is_deeply(echoed_authgear($answer), [], 'HTTP/2: stripped');

    for my $where ([{ port => port($server{open}) }], [{ port => port($server{nested}) }, 'Host: open.test']) {
        my $answer = ask('GET /', @$where, @forged);
        is_deeply([header_lines(echoed($answer), qr/^x-authgear/i)], \@forged,
            'a server in which no location verifies: every header arrives as it was sent');
        is(header($answer, 'X-Read'), '[forged]', 'a server in which no location verifies: and can be read');
    }
}

run_tests();

__DATA__

=== TEST 1: a client's own X-Authgear-*, read early
--- check
roles_by_a_map
wherever_it_is_read
split_clients
limits
access_log
refused_by_nginx
other_characters
the_signature_of_a_webhook
servers
--- user_files
>>> files/index.html
nobody
--- http_config
underscores_in_headers on;
ignore_invalid_headers off;
large_client_header_buffers 8 32k;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
map $http_x_authgear_user_roles $is_admin {
    default 0;
    "~(^|,)admin(,|$)" 1;
}
map $http_x_authgear_user_id $mapped {
    default none;
    ~. "seen $http_x_authgear_user_id";
}
geo $http_x_authgear_client $place {
    default nowhere;
    10.0.0.0/8 inside;
}
split_clients $http_x_authgear_user_id $split {
    50% a;
    * b;
}
limit_req_zone $http_x_authgear_user_id zone=users:1m rate=1r/m;
limit_req_zone $server_port$http_x_authgear_user_id zone=together:1m rate=1r/m;
limit_req_status 429;
log_format early '$status $http_x_authgear_user_id $http_x_authgear_user_roles $is_admin $mapped';
proxy_cache_path pages keys_zone=pages:1m;
server {
    listen 127.0.0.1:$TEST_NGINX_OPEN_PORT;
    add_header X-Read "[$http_x_authgear_user_id]";
    location / { proxy_pass $TEST_NGINX_ECHO; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_NESTED_PORT;
    add_header X-Read "[$http_x_authgear_user_id]";
    location / { proxy_pass $TEST_NGINX_ECHO; }
    location /off { authgear_verify off; proxy_pass $TEST_NGINX_ECHO; }
    location /a/ {
        location /a/b/ { authgear_verify myapp; }
    }
}
server {
    listen 127.0.0.1:$TEST_NGINX_NESTED_PORT;
    server_name open.test;
    add_header X-Read "[$http_x_authgear_user_id]";
    location / { proxy_pass $TEST_NGINX_ECHO; }
    location /off/ { authgear_verify off; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_IF_PORT;
    add_header X-Read "[$http_x_authgear_user_id]";
    location / { proxy_pass $TEST_NGINX_ECHO; }
    location /off { authgear_verify off; proxy_pass $TEST_NGINX_ECHO; }
    location /a/ {
        if ($arg_verified) { authgear_verify myapp; }
    }
}
server {
    listen 127.0.0.1:$TEST_NGINX_EXCEPT_PORT;
    add_header X-Read "[$http_x_authgear_user_id]";
    location / { proxy_pass $TEST_NGINX_ECHO; }
    location /off { authgear_verify off; proxy_pass $TEST_NGINX_ECHO; }
    location /a/ {
        limit_except GET { authgear_verify myapp; }
    }
}
server {
    listen 127.0.0.1:$TEST_NGINX_VARIABLE_PORT;
    add_header X-Read "[$http_x_authgear_user_id]";
    authgear_verify $arg_project;
    location / { proxy_pass $TEST_NGINX_ECHO; }
    location /off { authgear_verify off; proxy_pass $TEST_NGINX_ECHO; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_NAMED_PORT;
    add_header X-Read "[$http_x_authgear_user_id]";
    location / { proxy_pass $TEST_NGINX_ECHO; }
    location /off { authgear_verify off; proxy_pass $TEST_NGINX_ECHO; }
    location @named { authgear_verify myapp observe; }
    error_page 400 405 =200 /sent-on;
    location = /sent-on {
        add_header X-Read "[$http_x_authgear_user_id]";
        proxy_method GET;
        proxy_set_body "";
        proxy_set_header Content-Length "";
        proxy_pass $TEST_NGINX_ECHO;
    }
}
server {
    $TEST_NGINX_HTTP2
    location / { proxy_pass $TEST_NGINX_ECHO; }
    location /a/ { authgear_verify myapp; }
}
--- config
access_log logs/early.log early;
set $by_server "[$http_x_authgear_user_id] [$mapped] [$place]";
if ($http_x_authgear_user_id) {
    set $by_server seen;
}
if ($http_x_authgear_user_id = forged) {
    rewrite ^/somewhere$ /plain last;
}
add_header X-Server $by_server always;
add_header X-Refused $http_x_authgear_user_id always;
location = /somewhere { return 404; }
location = /admin {
    authgear_verify myapp;
    authgear_require $is_admin;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /admin-by-if {
    authgear_verify myapp;
    if ($is_admin) { set $x 1; }
    authgear_require $is_admin;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /if {
    authgear_verify myapp;
    if ($http_x_authgear_user_id) { set $x 1; }
    proxy_set_header X-Uid $http_x_authgear_user_id;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /set {
    authgear_verify myapp;
    set $early "$http_x_authgear_user_id $is_admin";
    proxy_set_header X-Uid $early;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /map {
    authgear_verify myapp;
    if ($mapped = none) { set $x 1; }
    proxy_set_header X-Uid $mapped;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /geo {
    authgear_verify myapp;
    proxy_set_header X-Place $place;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /server-set {
    authgear_verify myapp;
    proxy_set_header X-Uid $by_server;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /proxied { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location = /optional { authgear_verify myapp optional; proxy_pass $TEST_NGINX_ECHO; }
location = /returned { authgear_verify myapp; return 200 "$http_x_authgear_user_id $mapped $place\n"; }
location = /redirected { authgear_verify myapp; return 302 "/to?$http_x_authgear_user_id"; }
location = /refused { authgear_verify myapp; deny all; proxy_pass $TEST_NGINX_ECHO; }
location = /cached {
    authgear_verify myapp;
    proxy_cache pages;
    proxy_cache_key "$uri$http_x_authgear_user_id";
    add_header X-Key "$uri$http_x_authgear_user_id" always;
    add_header X-Server $by_server always;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /off {
    authgear_verify off;
    proxy_set_header X-Uid $http_x_authgear_user_id;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /plain {
    proxy_set_header X-Uid $http_x_authgear_user_id;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /files/ { authgear_verify off; index index.html; }
location = /missing { root html; }
location = /sub-filter { authgear_verify myapp; $TEST_NGINX_SUB_FILTER try_files /files/index.html =404; }
location = /off-sub-filter { $TEST_NGINX_SUB_FILTER try_files /files/index.html =404; }
location = /split { add_header X-Split $split; proxy_pass $TEST_NGINX_ECHO; }
location = /signature { add_header X-Signature $http_x_authgear_body_signature; proxy_pass $TEST_NGINX_ECHO; }
location = /limited { authgear_verify myapp; limit_req zone=users; proxy_pass $TEST_NGINX_ECHO; }
location = /limited-together { authgear_verify myapp; limit_req zone=together; proxy_pass $TEST_NGINX_ECHO; }
