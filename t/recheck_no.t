# recheck: a client cannot keep a revoked token alive by what it sends, and only a
# resolver that is down lets a token stand unconfirmed.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT chunked);
use Test::Nginx::Authgear::Neighbours;
use Test::Nginx::Authgear::Resolver;
use Time::HiRes qw(sleep);

use strict;
use warnings;

my ($host) = standin()->{origin} =~ m{//(.*)};
my $users = 0;

sub someone {
    my $name = 'user-' . ++$users;
    return ($name, token(user => $name, @_));
}

sub revoked {
    my ($name, $token) = someone();
    control('POST', '/-/token/revoke', $token);
    return ($name, $token);
}

sub bearer_of { return "Authorization: Bearer $_[0]" }

# A request's status, reason and user.
sub outcome {
    my ($line, @rest) = @_;
    my $answer = ask($line, @rest);
    return join ' ', $answer->{status}, map { header($answer, "X-$_") // '-' } qw(Reason User);
}

# Soon the requests are answered so.
sub becomes {
    my ($name, $expected, @request) = @_;
    my $last;
    wait_for { ($last = outcome(@request)) eq $expected } 6;
    is($last, $expected, $name);
}

sub questions {
    return map {
        my $headers = $_->{headers};
        join ' | ', map { join ' & ', @{ $headers->{$_} // [] } } qw(authorization cookie)
    } asked_requests();
}

my $no = '401 session_invalid -';
my $large = mebibyte() . 'x' x 1000;

# --- what a client can send

# The server of Test::Nginx itself allows 30 MB.
sub bodies_over_a_megabyte {
    my @there = { port => port(2) };
    my %form = (
        'a length' => [\$large],
        'chunks' => ['Transfer-Encoding: chunked', \chunked($large)],
    );
    for my $form (sort keys %form) {
        my ($name, $token) = someone();
        is(outcome('POST /strict', @there, bearer_of($token), @{ $form{$form} }), "200 ok $name", "strict, $form: a good token passes");
        is(join(' & ', questions()), "Bearer $token | ", "strict, $form: after a question");
        is(outcome('POST /strict', @there, bearer_of($token), @{ $form{$form} }), "200 ok $name", "strict, $form: and later");
        is(asked(), 1, "strict, $form: without another");
        reset_counts();

        (undef, $token) = revoked();
        is(outcome('POST /strict', @there, bearer_of($token), @{ $form{$form} }), $no, "strict, $form: a revoked token is refused")
            for 1 .. 2;
        (undef, $token) = revoked();
        becomes("in the background, $form: a revoked token is refused soon", $no,
            'POST /background', @there, bearer_of($token), @{ $form{$form} });
        reset_counts();
    }
}

# The server in front of the resolver takes no line over 8 kB.
sub cookies_of_twelve_kilobytes {
    for my $cookie (qw(junk app_session app_access_token session)) {
        my @lines = map { "Cookie: $cookie=" . 'A' x 4000 } 1 .. 3;
        my ($name, $token) = someone();
        is(outcome('GET /fronted-strict', bearer_of($token), @lines), "200 ok $name", "strict, three $cookie: a good token passes");
        (undef, $token) = revoked();
        is(outcome('GET /fronted-strict', bearer_of($token), @lines), $cookie eq 'junk' ? $no : '503 resolver_unavailable -',
            "strict, three $cookie: a revoked token does not");
        (undef, $token) = revoked();
        becomes("in the background, three $cookie: a revoked token is refused soon",
            $cookie eq 'junk' ? $no : '503 resolver_unavailable -', 'GET /fronted-background', bearer_of($token), @lines);
    }
    my @junk = map { 'Cookie: junk=' . 'A' x 4000 } 1 .. 3;
    is(outcome('GET /fronted-strict', @junk, cookie(session => session(user => 'bob'))), '200 ok bob',
        "cookies of others keep nobody's session out");
}

sub the_token_alone {
    my ($name, $token) = someone();
    my $cookies = 'Cookie: a=b; session=' . session(user => 'bob') . '; app_session=' . session(user => 'app', kind => 'app');
    for my $path (qw(/strict /background)) {
        reset_counts();
        is(outcome("GET $path", bearer_of($token), $cookies), "200 ok $name", "$path: a token beside the cookies of others");
        wait_for { asked() };
        is(join(' & ', questions()), "Bearer $token | ", "$path: is asked about alone");
    }
    ($name, $token) = someone();
    reset_counts();
    is(outcome('GET /strict', "Cookie: app_access_token=$token; session=x"), "200 ok $name", 'a token in a cookie');
    is(join(' & ', questions()), "Bearer $token | ", 'is asked about as a token');
}

# Tokens that authgear_token finds.
sub from_elsewhere {
    my %at = (
        '/header' => sub { ('', "X-Token: $_[0]") },
        '/header-with-scheme' => sub { ('', "X-Token: Bearer $_[0]") },
        '/argument' => sub { ("?access_token=$_[0]") },
        '/cookie' => sub { ('', "Cookie: token=$_[0]") },
    );
    for my $path (sort keys %at) {
        for my $how (qw(strict background)) {
            my $get = sub {
                my ($token) = @_;
                my ($argument, @headers) = $at{$path}->($token);
                return ("GET /$how" . ($path =~ s/-with-scheme//r) . $argument, @headers);
            };
            my ($name, $token) = someone();
            reset_counts();
            is(outcome($get->($token)), "200 ok $name", "$how, $path: a good token passes");
            wait_for { asked() };
            is(join(' & ', questions()), "Bearer $token | ", "$how, $path: the question is about it");
            # Long enough for the answer to a question in the background.
            sleep 0.2;
            is(outcome($get->($token)), "200 ok $name", "$how, $path: and later");
            (undef, $token) = revoked();
            becomes("$how, $path: a revoked one is refused", $no, $get->($token));
        }
    }
}

# --- what the resolver can answer

my @outages = (
    (map { ["status $_" => 'status', status => $_] } 500, 502, 503, 504, 429),
    ['a closed connection' => 'close'],
);
my @user = (headers => { 'X-Authgear-Session-Valid' => 'true', 'X-Authgear-User-Id' => 'u' });
my @no_verdicts = (
    (map { ["status $_" => 'status', status => $_] } 400, 401, 403, 404, 413, 414, 431, 204, 206),
    ['a 403 that says true' => 'status', status => 403, @user],
    ['a redirect' => 'redirect'],
    ['a 307' => 'redirect', status => 307],
    ['a yes without a user' => 'body', headers => { 'X-Authgear-Session-Valid' => 'true' }],
    ['a yes with an empty user' => 'body', headers => { 'X-Authgear-Session-Valid' => 'true', 'X-Authgear-User-Id' => '' }],
    ['TRUE' => 'body', headers => { 'X-Authgear-Session-Valid' => 'TRUE', 'X-Authgear-User-Id' => 'u' }],
);

sub outages {
    for my $case (@outages, ['nobody listens'], ['no answer in time' => 'hang']) {
        my ($what, @fault) = @$case;
        my ($name, $token) = someone();
        @fault ? fault(resolver => @fault) : control('POST', '/-/gone');
        is(outcome('GET /strict', bearer_of($token)), "200 ok $name", "strict, $what: the token stands");
        for my $round (1 .. 3) {
            is(outcome('GET /background', bearer_of($token)), "200 ok $name", "in the background, $what: it stands, $round");
            sleep 0.1;
        }
        heal();
        control('POST', '/-/back');
    }
}

sub no_verdicts {
    for my $case (@no_verdicts) {
        my ($what, @fault) = @$case;
        my ($name, $token) = someone();
        fault(resolver => @fault);
        my $answer = ask('GET /strict', bearer_of($token));
        is("$answer->{status} " . header($answer, 'X-Reason'), '503 resolver_unavailable', "strict, $what: 503");
        like(header($answer, 'Retry-After'), qr/^[1-9]/, "strict, $what: with Retry-After");
        is(header($answer, 'WWW-Authenticate'), undef, "strict, $what: and no challenge");
        heal();
        becomes("strict, $what: with a verdict it passes", "200 ok $name", 'GET /strict', bearer_of($token));
    }
}

# After an answer that is no verdict the token's requests wait.
sub no_verdicts_in_the_background {
    for my $case (@no_verdicts) {
        my ($what, @fault) = @$case;
        my ($name, $token) = someone();
        my ($other, $untouched) = someone();
        is(outcome('GET /background', bearer_of($untouched)), "200 ok $other", "$what: another token is confirmed");
        wait_for { asked() };
        sleep 0.1;
        fault(resolver => @fault);
        is(outcome('GET /background', bearer_of($token)), "200 ok $name", "$what: the first request passes");
        becomes("$what: the next wait, and there is no verdict", '503 resolver_unavailable -',
            'GET /background', bearer_of($token));
        is(outcome('GET /background', bearer_of($untouched)), "200 ok $other", "$what: a token that was confirmed stands");
        control('POST', '/-/token/revoke', $token);
        heal();
        my $then;
        wait_for { ($then = outcome('GET /background', bearer_of($token))) !~ /^503/ };
        is($then, $no, "$what: none of them passes before there is one");
        reset_counts();
    }
}

# Nor does an outage end that wait: it lets the request that waits pass, and no other.
sub an_outage_after_no_verdict {
    for my $case (@outages, ['nobody listens']) {
        my ($what, @fault) = @$case;
        my ($name, $token) = someone();
        fault(resolver => 'status', status => 404);
        is(outcome('GET /background', bearer_of($token)), "200 ok $name", "$what: the first request passes");
        becomes("$what: the next wait, and there is no verdict", '503 resolver_unavailable -',
            'GET /background', bearer_of($token));
        @fault ? fault(resolver => @fault) : control('POST', '/-/gone');
        is(outcome('GET /background', bearer_of($token)), "200 ok $name", "$what: in an outage the token stands") for 1 .. 2;
        heal();
        control('POST', '/-/back');
        control('POST', '/-/token/revoke', $token);
        is(outcome('GET /background', bearer_of($token)), $no, "$what: and its next request waits for the no");
    }
}

# --- configuration

my $resolver = resolver_origin();
my $front = 'http://127.0.0.1:' . port(1);
open my $in, '<', $ENV{TEST_NGINX_RESOLVER} or die "cannot read: $!\n";
my $fronted = join '', grep { !/^#/ } <$in>;
$fronted =~ s{/_authgear/resolve}{/_fronted/resolve} or die 'no location';
$fronted =~ s{proxy_pass \Q$resolver\E}{proxy_pass $front} or die 'no proxy_pass';

my %recheck = (strict => 'recheck 1h strict;', background => 'recheck 1h;');
my $endpoint = 'endpoint ' . standin()->{http} . ';';
my $to_echo = 'proxy_pass ' . echo_origin() . ';';
my %elsewhere = (header => '$http_x_token', argument => '$arg_access_token', cookie => '$cookie_token');
$ENV{TEST_NGINX_PROJECTS} = join "\n",
    (map { (
        "authgear_project $_ { $endpoint resolve_request /_authgear/resolve; $recheck{$_} }",
        "authgear_project fronted-$_ { $endpoint resolve_request /_fronted/resolve; $recheck{$_} }",
    ) } sort keys %recheck),
    "server { listen 127.0.0.1:@{[port(1)]}; location / { proxy_pass $resolver; proxy_set_header Host $host; } }";
my $server = join "\n", "include $ENV{TEST_NGINX_RESOLVER};", $fronted,
    'add_header X-Reason $authgear_reason always; add_header X-User $authgear_user_id always;', map {
    my $how = $_;
    "location = /$how { authgear_verify $how; client_max_body_size 0; $to_echo }",
        "location = /fronted-$how { authgear_verify fronted-$how; $to_echo }",
        map {"location = /$how/$_ { authgear_verify $how; authgear_token $elsewhere{$_}; $to_echo }"} sort keys %elsewhere
    } sort keys %recheck;
$ENV{TEST_NGINX_SERVER} = $server;
$ENV{TEST_NGINX_BY_DEFAULT} = "$ENV{TEST_NGINX_PROJECTS} server { listen 127.0.0.1:@{[port(2)]}; $server }";

run_tests();

__DATA__

=== TEST 1: each place of a token
--- http_config: $TEST_NGINX_BY_DEFAULT
--- config: $TEST_NGINX_SERVER
--- check: bodies_over_a_megabyte cookies_of_twelve_kilobytes the_token_alone

=== TEST 2: tokens from elsewhere
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: from_elsewhere

=== TEST 3: a resolver that is down
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: outages

=== TEST 4: a resolver that gives no verdict
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: no_verdicts no_verdicts_in_the_background an_outage_after_no_verdict
