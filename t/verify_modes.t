# authgear_verify: its modes, its variable, its inheritance, and that a verdict
# holds for the location that made it alone.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;

use strict;
use warnings;

# A second project with keys of its own, at another Authgear.
my $other = start_standin();
$ENV{TEST_NGINX_OTHER} = $other->{http};
$ENV{TEST_NGINX_PORT_1} = port(1);
$ENV{TEST_NGINX_PORT_2} = port(2);

sub of_other {
    my $text = control('POST', '/-/token', {@_}, $other);
    return 'Authorization: Bearer ' . $text =~ s/\s+\z//r;
}

my $good = bearer(user => 'alice');
my $bad = bearer(user => 'alice', expires_in => -1);
my $theirs = of_other(user => 'alice');
my %credential = (
    none => [],
    good => [$good],
    bad => [$bad],
    both => [$good, $good],
    basic => ['Authorization: Basic dTpw'],
    theirs => [$theirs],
);

my $challenge = 'Bearer realm="myapp"';
my $expired = qq{$challenge, error="invalid_token", error_description="the access token expired"};

# The status, and who the backend thinks it is.
sub verdict {
    my ($answer) = @_;
    return $answer->{status} if $answer->{status} != 200;
    my $echoed = echoed($answer);
    my $valid = header($echoed, 'X-Authgear-Session-Valid') // '';
    return '200 ' . (header($echoed, 'X-Authgear-User-Id') // ($valid eq 'false' ? 'refused' : 'nobody'));
}

# Rows of a table: the request's path, the credential, the verdict.
sub verdicts {
    my ($rule, @rows) = @_;
    for my $row (@rows) {
        my ($path, $which, $expected, $more) = @$row;
        my %more = %{ $more || {} };
        my ($method) = delete $more{method} // 'GET';
        my $answer = ask("$method $path", \%more, @{ $credential{$which} });
        my $where = $more{port} ? ' on another server' : '';
        is(verdict($answer), $expected, "$rule: $method $path$where, $which credential");
    }
}

# --- checks

sub modes {
    verdicts('required',
        ['/required', none => 401], ['/required', good => '200 alice'], ['/required', bad => 401],
        ['/required', both => 400], ['/required', basic => 401]);
    verdicts('required is the default',
        ['/default', none => 401], ['/default', good => '200 alice'], ['/default', bad => 401]);
    verdicts('optional',
        ['/optional', none => '200 nobody'], ['/optional', good => '200 alice'],
        ['/optional', bad => 401], ['/optional', both => 400], ['/optional', basic => '200 nobody']);
    verdicts('observe',
        ['/observe', none => '200 nobody'], ['/observe', good => '200 alice'],
        ['/observe', bad => '200 refused'],
        ['/observe', basic => '200 nobody']);
    verdicts('off', map { ['/off', $_ => '200 nobody'] } qw(none good bad basic theirs));

    # reason and challenge
    for my $row (
        ['/required', none => 'no_credential', $challenge],
        ['/required', basic => 'no_credential', $challenge],
        ['/required', bad => 'expired', $expired],
        ['/required', good => 'ok', undef],
        ['/optional', none => 'no_credential', undef],
        ['/optional', bad => 'expired', $expired],
        ['/observe', none => 'no_credential', undef],
        ['/observe', bad => 'expired', undef],
        ['/observe', good => 'ok', undef],
        ['/off', bad => undef, undef],
        )
    {
        my ($path, $which, $reason, $challenged) = @$row;
        my $answer = ask("GET $path", @{ $credential{$which} });
        is(header($answer, 'X-Reason'), $reason, "$path, $which credential: the reason");
        is(header($answer, 'WWW-Authenticate'), $challenged, "$path, $which credential: the challenge");
    }
}

sub no_verdict_possible {
    verdicts('no keys can be had',
        ['/down-required', good => 503], ['/down-optional', good => 503],
        ['/down-observe', good => '200 nobody'],
        # A request without a credential needs no keys.
        ['/down-required', none => 401], ['/down-optional', none => '200 nobody'],
        ['/down-observe', none => '200 nobody']);
    for my $mode (qw(required optional)) {
        my $answer = ask("GET /down-$mode", $good);
        like(header($answer, 'Retry-After'), qr/\A[1-9]\d*\z/, "503 in $mode carries Retry-After");
        is(header($answer, 'WWW-Authenticate'), undef, "503 in $mode carries no challenge");
    }
}

sub by_variable {
    verdicts('a variable that names a project',
        ['/variable?project=myapp', none => 401], ['/variable?project=myapp', good => '200 alice'],
        ['/variable?project=myapp', bad => 401], ['/variable?project=myapp', theirs => 401],
        ['/variable?project=other', theirs => '200 alice'], ['/variable?project=other', good => 401],
        ['/mixed?project=app', good => '200 alice'], ['/mixed?project=app', bad => 401]);
    verdicts('its mode',
        ['/variable-optional?project=myapp', none => '200 nobody'],
        ['/variable-optional?project=myapp', bad => 401],
        ['/variable-observe?project=myapp', bad => '200 refused']);
    verdicts('a variable that is off or empty',
        map { my $which = $_; map { [$_, $which => '200 nobody'] }
            '/variable?project=off', '/variable?project=', '/variable', '/variable-optional' }
            qw(none good bad theirs));
    verdicts('a variable that names no project',
        map { my $path = $_; map { [$path, $_ => 500] } qw(none good bad) }
            '/variable?project=nosuch', '/variable-optional?project=nosuch2',
            '/variable-observe?project=nosuch3', '/variable?project=MYAPP', '/variable?project=OFF',
            '/variable?project=required', '/mixed?project=');
    verdicts('a variable that names no project leaves other requests alone',
        ['/variable?project=myapp', good => '200 alice']);

    my @log = log_lines('error.log', 1);
    for my $name (qw(nosuch nosuch2 nosuch3 MYAPP OFF required my)) {
        my @lines = grep {/\[(?:error|info)\].*authgear: .*"authgear_verify".*"\Q$name\E"/} @log;
        cmp_ok(scalar @lines, '>=', 3, "a log line for each request whose variable is \"$name\"");
    }
}

sub inheritance {
    my ($second, $third) = ({ port => port(1) }, { port => port(2) });
    verdicts('http to server to location',
        ['/inherited', none => 401], ['/inherited', good => '200 alice'],
        ['/inherited/deeper', none => 401], ['/no/such/location', none => 401]);
    verdicts('a location resets with off, its nested ones inherit that',
        ['/reset', none => '200 nobody'], ['/reset', good => '200 nobody'],
        ['/reset/nested', good => '200 nobody'], ['/reset/again', none => 401],
        ['/reset/again', good => '200 alice']);
    verdicts('a nested location replaces project and mode together',
        ['/outer', none => '200 nobody'], ['/outer/inner', none => 401],
        ['/outer/inner', good => 401], ['/outer/inner', theirs => '200 alice'],
        ['/outer/same', none => '200 nobody'], ['/outer/same', bad => 401]);
    verdicts('a server resets what http says',
        ['/', none => '200 nobody', $second], ['/', good => '200 nobody', $second],
        ['/on', none => 401, $second], ['/on', theirs => '200 alice', $second],
        ['/on', good => 401, $second]);
    verdicts('a server replaces what http says',
        ['/', none => '200 nobody', $third], ['/', theirs => '200 alice', $third],
        ['/', good => 401, $third], ['/a/b', none => '200 nobody', $third]);
    verdicts('authgear_pass_headers is inherited and reset',
        ['/on', theirs => '200 alice', $second], ['/quiet', theirs => '200 nobody', $third],
        ['/quiet/nested', theirs => '200 nobody', $third], ['/quiet/loud', theirs => '200 alice', $third]);
}

sub blocks_in_a_location {
    verdicts('if in a location',
        ['/if', none => '200 nobody'], ['/if', good => '200 nobody'], ['/if?guarded=1', none => 401],
        ['/if?guarded=1', good => '200 alice'], ['/if?guarded=1', bad => 401],
        ['/if?observed=1', bad => '200 refused'],
        ['/if-off', none => 401], ['/if-off?open=1', none => '200 nobody'],
        ['/if-off?open=1', bad => '200 nobody'], ['/if-off?other=1', none => 401]);
    verdicts('limit_except',
        ['/limit-except', none => '200 nobody'], ['/limit-except', bad => '200 nobody'],
        ['/limit-except', none => 401, { method => 'POST' }],
        ['/limit-except', good => '200 alice', { method => 'POST' }],
        ['/limit-except', bad => 401, { method => 'DELETE' }],
        ['/limit-except-off', none => '200 nobody', { method => 'POST' }],
        ['/limit-except-off', none => 401], ['/limit-except-off', good => '200 alice']);
    verdicts('a named location',
        ['/to-named', none => 401], ['/to-named', good => '200 alice'], ['/to-named', bad => 401],
        ['/to-named-off', none => '200 nobody'], ['/to-named-off', bad => '200 nobody']);
    verdicts('a regex location', ['/x.api', none => 401], ['/x.api', good => '200 alice']);
}

sub two_projects {
    verdicts('two projects side by side',
        ['/required', good => '200 alice'], ['/required', theirs => 401],
        ['/other', theirs => '200 alice'], ['/other', good => 401]);
    is(header(ask('GET /other', $good), 'X-Reason'), 'unknown_key', 'a token of one in the other: unknown_key');
    is(header(ask('GET /required', $theirs), 'X-Reason'), 'unknown_key', 'and the other way round');
    is(header(ask('GET /other'), 'WWW-Authenticate'), 'Bearer realm="other"',
        'the challenge names the project of the location');
}

# One token, judged by the rules of each location in turn.
sub no_shared_verdict {
    my $late = bearer(user => 'alice', expires_in => -20);
    my $web = bearer(user => 'alice', client_id => 'web');
    my $api = bearer(user => 'alice', audience => [standin()->{http}, 'https://api.example.com']);
    my $id = bearer(user => 'alice', kind => 'id', client_id => 'web');
    my $m2m = bearer(kind => 'm2m', client_id => 'web', audience => [standin()->{http}]);
    my $issuer = bearer(user => 'alice', claims => { iss => 'https://issuer.example.com' });

    # the token, and what each project says of it
    my @rows = (
        [leeway => $late, lenient => 'ok', myapp => 'expired'],
        [client_id => $web, web => 'ok', native => 'bad_client', myapp => 'ok'],
        [audience => $api, api => 'ok', myapp => 'ok', native => 'bad_client', elsewhere => 'bad_audience'],
        [audience => $web, api => 'bad_audience', myapp => 'ok'],
        [typ => $id, untyped => 'ok', myapp => 'bad_type'],
        [token_type => $m2m, any => 'ok', myapp => 'bad_type', clients => 'ok'],
        [token_type => $web, any => 'ok', myapp => 'ok', clients => 'bad_type'],
        [issuer => $issuer, issued => 'ok', myapp => 'bad_issuer'],
        [algorithms => $web, es => 'unsupported_algorithm', myapp => 'ok'],
    );
    for my $row (@rows) {
        my ($rule, $token, %reason) = @$row;
        my $client = connection();
        for my $round (1 .. 2) {
            for my $project (sort keys %reason) {
                $client->request("GET /by-name?project=$project", $token);
                my $answer = $client->answer;
                is(header($answer, 'X-Reason'), $reason{$project},
                    "$rule, round $round on one connection: $reason{$project} in project $project");
                is($answer->{status}, $reason{$project} eq 'ok' ? 200 : 401, 'and its status');
            }
        }
    }

    verdicts('internal redirects are judged by the rules of where they lead',
        ['/redirect-strict', good => 401], ['/redirect-strict', none => 401]);
    my $answer = ask('GET /lenient-then-strict', $late);
    is($answer->{status} . ' ' . header($answer, 'X-Reason'), '401 expired',
        'accepted in one location, an internal redirect into a stricter one: refused there');
    is_deeply(echoed_authgear(ask('GET /lenient-then-observed', $late)), ['X-Authgear-Session-Valid: false'],
        'and where that one observes, the identity is taken back');
    is_deeply(echoed_authgear(ask('GET /lenient-then-variable-off', $late)), [],
        'and where that one is off by its variable, none is passed on');
}

run_tests();

__DATA__

=== TEST 1: authgear_verify
--- check
modes
no_verdict_possible
by_variable
inheritance
blocks_in_a_location
two_projects
no_shared_verdict
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project other {
    endpoint $TEST_NGINX_OTHER;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
authgear_project lenient {
    endpoint $TEST_NGINX_AUTHGEAR;
    leeway 60s;
}
authgear_project web {
    endpoint $TEST_NGINX_AUTHGEAR;
    client_id spa web;
}
authgear_project native {
    endpoint $TEST_NGINX_AUTHGEAR;
    client_id native;
}
authgear_project api {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://api.example.com;
}
authgear_project elsewhere {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://elsewhere.example.com;
}
authgear_project untyped {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience web;
    typ off;
}
authgear_project any {
    endpoint $TEST_NGINX_AUTHGEAR;
    token_type any;
}
authgear_project clients {
    endpoint $TEST_NGINX_AUTHGEAR;
    token_type client;
}
authgear_project issued {
    endpoint $TEST_NGINX_AUTHGEAR;
    issuer https://issuer.example.com;
}
authgear_project es {
    endpoint $TEST_NGINX_AUTHGEAR;
    algorithms ES256;
}
authgear_verify myapp;
add_header X-Reason $authgear_reason always;
server {
    listen 127.0.0.1:$TEST_NGINX_PORT_1;
    authgear_verify off;
    location / {
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /on {
        authgear_verify other;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
server {
    listen 127.0.0.1:$TEST_NGINX_PORT_2;
    authgear_verify other optional;
    location / {
        proxy_pass $TEST_NGINX_ECHO;
    }
    location /quiet {
        authgear_pass_headers off;
        proxy_pass $TEST_NGINX_ECHO;
        location = /quiet/nested {
            proxy_pass $TEST_NGINX_ECHO;
        }
        location = /quiet/loud {
            authgear_pass_headers on;
            proxy_pass $TEST_NGINX_ECHO;
        }
    }
}
--- config
location = /default {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /required {
    authgear_verify myapp required;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /optional {
    authgear_verify myapp optional;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /observe {
    authgear_verify myapp observe;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /off {
    authgear_verify off;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /other {
    authgear_verify other;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /down-required {
    authgear_verify down;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /down-optional {
    authgear_verify down optional;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /down-observe {
    authgear_verify down observe;
    proxy_pass $TEST_NGINX_ECHO;
}

location = /variable {
    authgear_verify $arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /by-name {
    authgear_verify $arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /variable-optional {
    authgear_verify $arg_project optional;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /variable-observe {
    authgear_verify $arg_project observe;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /mixed {
    authgear_verify my$arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}

location /inherited {
    proxy_pass $TEST_NGINX_ECHO;
}
location /reset {
    authgear_verify off;
    proxy_pass $TEST_NGINX_ECHO;
    location = /reset/nested {
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /reset/again {
        authgear_verify myapp;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
location /outer {
    authgear_verify myapp optional;
    proxy_pass $TEST_NGINX_ECHO;
    location = /outer/inner {
        authgear_verify other;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /outer/same {
        proxy_pass $TEST_NGINX_ECHO;
    }
}

location = /if {
    authgear_verify off;
    if ($arg_guarded) {
        authgear_verify myapp;
    }
    if ($arg_observed) {
        authgear_verify myapp observe;
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /if-off {
    authgear_verify myapp;
    if ($arg_open) {
        authgear_verify off;
    }
    if ($arg_other) {
        add_header X-Other yes;
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limit-except {
    authgear_verify off;
    limit_except GET {
        authgear_verify myapp;
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limit-except-off {
    authgear_verify myapp;
    limit_except GET {
        authgear_verify off;
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /to-named {
    authgear_verify off;
    try_files /no-such-file @guarded;
}
location @guarded {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /to-named-off {
    authgear_verify off;
    try_files /no-such-file @open;
}
location @open {
    authgear_verify off;
    proxy_pass $TEST_NGINX_ECHO;
}
location ~ \.api$ {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}

location = /redirect-strict {
    authgear_verify myapp observe;
    try_files /no-such-file /other;
}
location = /lenient-then-strict {
    authgear_verify lenient;
    try_files /no-such-file /required;
}
location = /lenient-then-observed {
    authgear_verify lenient;
    try_files /no-such-file /observe;
}
location = /lenient-then-variable-off {
    authgear_verify lenient;
    try_files /no-such-file /variable;
}
