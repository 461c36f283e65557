# Two locations with different policies never share a verdict: not for one
# token, not on one connection, not within one request that moves from one to
# the other, and not what the resolver said.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Neighbours;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

$ENV{TEST_NGINX_PORT_1} = port(1);
my $origin = standin()->{origin};

# Locations by what they ask; each letter is one that the token below meets or not.
my %policy = (
    open => '',
    optional => '',
    admin => 'authgear_require_role admin;',
    reader => 'authgear_require_role reader;',
    read => 'authgear_require_scope read;',
    write => 'authgear_require_scope write;',
    recent => 'authgear_require_auth_age 5m;',
    lately => 'authgear_require_auth_age 5h;',
    other => 'authgear_audience https://other.example;',
    both => 'authgear_audience https://other.example https://api.example;',
    value => 'authgear_require $arg_value;',
    plan => 'authgear_claim_set $plan plan; authgear_require $plan;',
    noplan => 'authgear_claim_set $plan plans; authgear_require $plan;',
    query => 'authgear_token $arg_token;',
);
$ENV{TEST_NGINX_POLICIES} = join "\n", map {
    my $mode = $_ eq 'optional' ? 'optional' : '';
    "location = /$_ { authgear_verify myapp $mode; $policy{$_} proxy_pass \$TEST_NGINX_ECHO; }",
    "location = /observe-$_ { authgear_verify myapp observe; $policy{$_} proxy_pass \$TEST_NGINX_ECHO; }",
    "location \@$_ { authgear_verify myapp $mode; $policy{$_} proxy_pass \$TEST_NGINX_ECHO; }"
} sort keys %policy;
$ENV{TEST_NGINX_POLICIES} =~ s/\$TEST_NGINX_ECHO/echo_origin()/ge;

# One caller, and what each location says of her.
user(id => 'ann', roles => ['reader']);
my $ann = bearer(user => 'ann', scope => 'openid read', auth_time => time - 3600, claims => { plan => 'gold' },
    audience => [$origin, 'https://api.example']);
my %verdict = (
    open => '200 ok ann', optional => '200 ok ann', admin => '403 policy ann', reader => '200 ok ann',
    read => '200 ok ann', write => '403 policy ann', recent => '401 policy ann', lately => '200 ok ann',
    other => '401 bad_audience -', both => '200 ok ann', value => '403 policy ann', plan => '200 ok ann',
    noplan => '403 policy ann', query => '401 no_credential -',
);

sub verdict {
    my ($answer) = @_;
    return join ' ', $answer->{status}, header($answer, 'X-Told') // '';
}

# --- checks

# Every location behind every other.
sub on_one_connection {
    my $client = connection();
    my @names = sort keys %verdict;
    for my $step (1 .. $#names) {
        my $at = 0;
        for (0 .. $#names) {
            my $name = $names[$at];
            $client->request("GET /$name", $ann);
            is(verdict($client->answer), $verdict{$name}, "step $step, one token on one connection: /$name");
            $client->request("GET /observe-$name", $ann);
            is(verdict($client->answer), $verdict{$name} =~ s/^\d+/200/r, "step $step: /observe-$name");
            $at = ($at + $step) % @names;
        }
    }
    # And callers change on it as well.
    for my $row (
        ['/reader', undef, '401 no_credential -'], ['/reader', $ann, '200 ok ann'],
        ['/reader', bearer(user => { id => 'bob', roles => ['admin'] }), '403 policy bob'],
        ['/admin', bearer(user => { id => 'bob', roles => ['admin'] }), '200 ok bob'],
        ['/admin', $ann, '403 policy ann'], ['/optional', undef, '200 no_credential -'],
        ['/value?value=1', $ann, '200 ok ann'], ['/value?value=0', $ann, '403 policy ann'],
        ['/value?value=', $ann, '403 policy ann'], ['/value?value=00', $ann, '200 ok ann'],
    ) {
        my ($path, $credential, $expected) = @$row;
        $client->request("GET $path", $credential // ());
        is(verdict($client->answer), $expected, "one connection, $path: $expected");
    }
}

# One request that nginx moves on is judged by where it arrives, whatever was
# said of it before.
sub within_one_request {
    for my $row (
        ['try_files to a named location that asks more', '/try-admin', '403 policy ann'],
        ['try_files to a named location that asks what is met', '/try-reader', '200 ok ann'],
        ['from an unguarded location to one that asks more', '/free-try-admin', '403 policy ann'],
        ['error_page of a refusal to a location that asks less', '/admin-then-open', '200 ok ann'],
        ['error_page of a refusal to one that asks more still', '/admin-then-write', '403 policy ann'],
        ['error_page 404 to a location that asks more', '/missing-then-admin', '403 policy ann'],
        ['rewrite last to a location that asks more', '/rewrite-admin', '403 policy ann'],
        ['rewrite last to a location that asks what is met', '/rewrite-reader', '200 ok ann'],
        ['X-Accel-Redirect to a location that asks more', '/accel?to=/admin', '403 policy ann'],
        ['X-Accel-Redirect to a location that asks what is met', '/accel?to=/reader', '200 ok ann'],
        ['X-Accel-Redirect to a named location that asks more', '/accel?to=@admin', '403 policy ann'],
        ['X-Accel-Redirect to another audience', '/accel?to=/other', '401 bad_audience -'],
        ['X-Accel-Redirect to a stricter scope', '/accel?to=/write', '403 policy ann'],
        ['X-Accel-Redirect to a location that observes', '/accel?to=/observe-admin', '200 policy ann'],
        ['from open to strict and back', '/there-and-back', '200 ok ann'],
        ['from a token in the header to one in the query', '/accel?to=/query', '401 no_credential -'],
    ) {
        my ($name, $path, $expected) = @$row;
        my $answer = ask("GET $path", $ann);
        is(verdict($answer), $expected, "$name: $expected");
        is(header(echoed($answer), 'X-Authgear-User-Id'), 'ann', "$name: the backend knows who it is")
            if $expected =~ /^200/;
    }
    # Nobody becomes somebody on the way.
    for my $path ('/try-reader', '/free-try-admin', '/admin-then-open', '/rewrite-reader', '/accel?to=/reader') {
        like(verdict(ask("GET $path")), qr/^401 no_credential -$/, "$path without a credential: 401");
    }
}

# A subrequest meets its own location's policy, and leaves the verdict of its request alone.
sub with_subrequests {
    for my $row (
        ['/sub-open', '403 ok ann', 'auth_request to a location that asks more'],
        ['/sub-admin', '403 policy ann', 'auth_request to a location that asks less'],
        ['/sub-mirror', '200 ok ann', 'mirror to a location that asks more'],
    ) {
        my ($path, $expected, $name) = @$row;
        is(verdict(ask("GET $path", $ann)), $expected, "$name: $expected");
    }
}

sub with_satisfy {
    my $basic = basic('secret');
    my $cookie = cookie(app_access_token => $ann =~ s/^Authorization: Bearer //r);
    for my $row (
        # path, headers, expected, challenge, and whether another module alone let the caller in: then
        # nothing was asked of the caller here, and the backend is told nothing
        ['/any-allow-admin', [$ann], '200 ok ann', undef, 1],
        ['/any-deny-admin', [$ann], '403 policy ann', undef],
        ['/any-deny-reader', [$ann], '200 ok ann', undef],
        ['/any-deny-recent', [$ann], '401 policy ann', qr/insufficient_user_authentication/],
        ['/any-deny-write', [$ann], '403 policy ann', qr/insufficient_scope/],
        ['/any-basic-admin', [$basic, $cookie], '200 ok ann', undef, 1],
        ['/any-basic-recent', [$basic, $cookie], '200 ok ann', undef, 1],
        ['/any-basic-admin', [$ann], '401 policy ann', qr/^Basic realm="eve"$/],
        ['/any-basic-reader', [$ann], '200 ok ann', undef],
        ['/all-allow-admin', [$ann], '403 policy ann', undef],
        ['/all-allow-reader', [$ann], '200 ok ann', undef],
        ['/all-basic-admin', [$basic, $cookie], '403 policy ann', undef],
        ['/all-basic-reader', [$basic, $cookie], '200 ok ann', undef],
        ['/any-deny-optional-reader', [], '401 no_credential -', qr/^Bearer realm="myapp"$/],
        ['/any-deny-optional-reader', [$ann], '200 ok ann', undef],
        # Nobody is admitted for being let pass: neither an anonymous caller, nor any that is observed.
        ['/any-deny-optional', [], '403 no_credential -', undef],
        ['/any-deny-optional', [$ann], '200 ok ann', undef],
        ['/any-deny-observe', [], '403 no_credential -', undef],
        ['/any-deny-observe', [$ann], '403 ok ann', undef],
    ) {
        my ($path, $headers, $expected, $challenge, $by_another) = @$row;
        my $answer = ask("GET $path", @$headers);
        is(verdict($answer), $expected, "satisfy, $path: $expected");
        my $told = header($answer, 'WWW-Authenticate');
        defined $challenge ? like($told // '', $challenge, "satisfy, $path: the challenge")
            : is($told, undef, "satisfy, $path: no challenge");
        my $handed = $answer->{status} == 200 ? header(echoed($answer), 'X-Authgear-User-Id') : undef;
        is($handed, $expected =~ /^200 ok/ && !$by_another ? 'ann' : undef, "satisfy, $path: the backend is told of whom the check let in alone");
    }
}

# The resolver's answer is cached for all locations; their requirements are not.
sub with_cached_verdicts {
    my $session = cookie(session => session(user => 'ann', auth_time => time - 3600));
    my %of_session = (%verdict, read => '403 policy ann', write => '403 policy ann', both => '401 bad_audience -',
        plan => '403 policy ann', query => '200 ok ann');
    my $before = asked();
    my $client = connection();
    for my $round (1, 2) {
        for my $name (sort keys %of_session) {
            $client->request("GET /$name", $session);
            is(verdict($client->answer), $of_session{$name}, "a cached session, round $round: /$name");
        }
    }
    is(asked(), $before + 1, 'and the resolver was asked once, also where a token may stand elsewhere');
}

run_tests();

__DATA__

=== TEST 1: no verdict is shared
--- check
on_one_connection
within_one_request
with_subrequests
with_satisfy
with_cached_verdicts
--- user_files
>>> static.txt
a file
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    resolve_cache 1m;
}
map $authgear_user_id $user {
    default $authgear_user_id;
    "" -;
}
server {
    listen 127.0.0.1:$TEST_NGINX_PORT_1;
    location / {
        add_header X-Accel-Redirect $arg_to;
        return 200;
    }
    location = /yes {
        return 200;
    }
}
--- config
add_header X-Told "$authgear_reason $user" always;
auth_basic_user_file $TEST_NGINX_USERS;
include $TEST_NGINX_RESOLVER;
$TEST_NGINX_POLICIES

location = /try-admin { authgear_verify myapp; try_files /no-such-file @admin; }
location = /try-reader { authgear_verify myapp; try_files /no-such-file @reader; }
location = /free-try-admin { try_files /no-such-file @admin; }
location = /admin-then-open {
    authgear_verify myapp;
    authgear_require_role admin;
    error_page 403 =200 /open;
}
location = /admin-then-write {
    authgear_verify myapp;
    authgear_require_role admin;
    error_page 403 /write;
}
location = /missing-then-admin {
    authgear_verify myapp;
    error_page 404 /admin;
    try_files /no-such-file =404;
}
location = /rewrite-admin { rewrite ^ /admin last; }
location = /rewrite-reader { rewrite ^ /reader last; }
location = /accel {
    authgear_verify myapp;
    proxy_pass http://127.0.0.1:$TEST_NGINX_PORT_1;
}
location = /there-and-back {
    authgear_verify myapp;
    recursive_error_pages on;
    error_page 404 @strict-then-back;
    try_files /no-such-file =404;
}
location @strict-then-back {
    authgear_verify myapp;
    authgear_require_role admin;
    recursive_error_pages on;
    error_page 403 =200 @open;
}

location = /sub-open { authgear_verify myapp; auth_request /sub/admin; proxy_pass $TEST_NGINX_ECHO; }
location = /sub-admin {
    authgear_verify myapp;
    authgear_require_role admin;
    auth_request /sub/open;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /sub-mirror { authgear_verify myapp; mirror /sub/admin; proxy_pass $TEST_NGINX_ECHO; }
location /sub/ {
    internal;
    authgear_verify myapp;
    proxy_pass http://127.0.0.1:$TEST_NGINX_PORT_1/yes;
    location = /sub/admin {
        authgear_require_role admin;
        proxy_pass http://127.0.0.1:$TEST_NGINX_PORT_1/yes;
    }
}

location = /any-allow-admin { satisfy any; allow all; authgear_verify myapp; authgear_require_role admin; proxy_pass $TEST_NGINX_ECHO; }
location = /any-deny-admin { satisfy any; deny all; authgear_verify myapp; authgear_require_role admin; proxy_pass $TEST_NGINX_ECHO; }
location = /any-deny-reader { satisfy any; deny all; authgear_verify myapp; authgear_require_role reader; proxy_pass $TEST_NGINX_ECHO; }
location = /any-deny-recent { satisfy any; deny all; authgear_verify myapp; authgear_require_auth_age 5m; proxy_pass $TEST_NGINX_ECHO; }
location = /any-deny-write { satisfy any; deny all; authgear_verify myapp; authgear_require_scope write; proxy_pass $TEST_NGINX_ECHO; }
location = /any-deny-optional-reader { satisfy any; deny all; authgear_verify myapp optional; authgear_require_role reader; proxy_pass $TEST_NGINX_ECHO; }
location = /any-deny-optional { satisfy any; deny all; authgear_verify myapp optional; proxy_pass $TEST_NGINX_ECHO; }
location = /any-deny-observe { satisfy any; deny all; authgear_verify myapp observe; proxy_pass $TEST_NGINX_ECHO; }
location = /any-basic-admin { satisfy any; auth_basic eve; authgear_verify myapp; authgear_require_role admin; proxy_pass $TEST_NGINX_ECHO; }
location = /any-basic-reader { satisfy any; auth_basic eve; authgear_verify myapp; authgear_require_role reader; proxy_pass $TEST_NGINX_ECHO; }
location = /any-basic-recent { satisfy any; auth_basic eve; authgear_verify myapp; authgear_require_auth_age 5m; proxy_pass $TEST_NGINX_ECHO; }
location = /all-allow-admin { satisfy all; allow all; authgear_verify myapp; authgear_require_role admin; proxy_pass $TEST_NGINX_ECHO; }
location = /all-allow-reader { satisfy all; allow all; authgear_verify myapp; authgear_require_role reader; proxy_pass $TEST_NGINX_ECHO; }
location = /all-basic-admin { satisfy all; auth_basic eve; authgear_verify myapp; authgear_require_role admin; proxy_pass $TEST_NGINX_ECHO; }
location = /all-basic-reader { satisfy all; auth_basic eve; authgear_verify myapp; authgear_require_role reader; proxy_pass $TEST_NGINX_ECHO; }
