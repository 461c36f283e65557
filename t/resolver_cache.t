# resolve_cache: what the resolver said of credentials serves other requests with
# the same ones, and no others.

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Resolver qw(:DEFAULT @kinds credentials headers_of source start_resolving stop_resolving told);
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep);

my $resolver = 'resolve_request /_authgear/resolve;';
my $endpoint = 'endpoint ' . standin()->{origin} . ';';
my $nginx;

sub start { $nginx = start_resolving(@_) }

sub stop { stop_resolving($nginx, @_) }

# A request's status, reason, user and source, and how often the resolver was asked.
sub outcome {
    my ($headers, %more) = @_;
    my $before = asked();
    my $answer = $nginx->ask(headers => $headers, %more);
    return told($answer) . ' asked ' . (asked() - $before);
}

sub authorization { return "Authorization: Bearer $_[0]" }

my $unavailable = '503 resolver_unavailable - -';
my $no = '401 session_invalid - none';

subtest 'it is off unless it is asked for' => sub {
    for my $project ('', 'resolve_cache off;') {
        start($project);
        my $cookie = cookie(session => session(user => 'alice'));
        is(outcome($cookie), '200 ok alice resolver asked 1', "each request asks, '$project'") for 1 .. 3;
        stop();
    }
};

subtest 'a yes serves later requests with the same credential' => sub {
    start('resolve_cache 10m;', workers => 4);
    my %of = credentials();
    my %to = $nginx->connection_to_each;
    for my $kind (@kinds) {
        my $headers = headers_of($kind => $of{$kind});
        my $user = ($kind =~ tr/_/-/r) . "-$of{n}";
        is(outcome($headers), "200 ok $user resolver asked 1", "$kind: the first request asks");
        is(outcome($headers, on => $to{$_}), "200 ok $user resolver_cache asked 0", "$kind: others do not, in any worker")
            for sort keys %to;
    }
    stop();
};

subtest 'a reload keeps what is known' => sub {
    start('resolve_cache 10m;', workers => 2);
    my $cookie = cookie(session => session(user => 'alice'));
    is(outcome($cookie), '200 ok alice resolver asked 1', 'before');
    ok($nginx->reload, 'a reload');
    is(outcome($cookie), '200 ok alice resolver_cache asked 0', 'after');
    stop();
};

subtest 'the backend receives the same from the cache, byte for byte' => sub {
    start('resolve_cache 10m;', server => 'location /echo { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }');
    for my $fields (
        { id => 'plain' },
        { id => 'full', roles => [qw(editor staff), 'r' x 200], anonymous => JSON::PP::true, verified => JSON::PP::false },
        { id => "\x{e9}\x{4e2d}" },
    ) {
        for my $amr ([], [qw(pwd otp)]) {
            my $headers = cookie(session => session(user => $fields, amr => $amr, auth_time => 1_700_000_000));
            my @answers = map { $nginx->ask(path => '/echo', headers => $headers) } 1 .. 2;
            is_deeply([map { source($_) } @answers], [qw(resolver resolver_cache)], 'asked, then kept');
            my @received = map { join "\n", sort grep {/^X-Authgear-/i} split /\r?\n/, $_->{body} } @answers;
            like($received[0], qr/^X-Authgear-User-Id: ./m, 'there is a user');
            is($received[1], $received[0], 'the same headers');
            is($answers[1]{user}, $answers[0]{user}, 'the same variable');
        }
    }
    stop();
};

subtest 'two requests that differ in one credential share nothing' => sub {
    start('resolve_cache 10m;');
    for my $differs (@kinds) {
        my (%one, %other) = ();
        %one = credentials();
        %other = credentials();
        is(outcome(headers_of($differs => $_->{$differs})),
            '200 ok ' . ($differs =~ tr/_/-/r) . "-$_->{n} resolver asked 1", "$differs alone")
            for \%one, \%other;
        # Beside three others of the same value, valid or dead: the answer can depend on each.
        for my $beside ('live', 'dead') {
            my %rest = credentials();
            %rest = map { $_ => "dead-$rest{n}" } keys %rest if $beside eq 'dead';
            for my $of (\%one, \%other) {
                my $headers = headers_of(%rest, $differs => $of->{$differs});
                like(outcome($headers), qr/^200 ok \S+ resolver asked 1$/, "$differs beside $beside ones is asked");
                my $first = told($nginx->ask(headers => $headers));
                my ($winner) = $beside eq 'dead' ? ($differs) : (grep { $_ eq $differs || $_ eq 'bearer' } @kinds)[0];
                my $n = $winner eq $differs ? $of->{n} : $rest{n};
                is($first, '200 ok ' . ($winner =~ tr/_/-/r) . "-$n resolver_cache", 'and kept for itself');
            }
        }
        # With and without it.
        my %all = credentials();
        is(outcome(headers_of(%all)), "200 ok bearer-$all{n} resolver asked 1", 'all four');
        my $without = headers_of(%all, $differs => undef);
        like(outcome($without), qr/^200 ok \S+ resolver asked 1$/, "without $differs it is another request");
    }
    stop();
};

subtest 'a value under another name is another credential' => sub {
    start('resolve_cache 10m;');
    my $value = session(user => 'alice');
    is(outcome(cookie(session => $value)), '200 ok alice resolver asked 1', 'session');
    is(outcome(cookie(app_session => $value)), "$no asked 1", 'app_session');
    is(outcome(cookie(app_access_token => $value)), "$no asked 1", 'app_access_token');
    is(outcome(authorization($value)), "$no asked 1", 'the Authorization header');
    is(outcome(cookie(session => $value)), '200 ok alice resolver_cache asked 0', 'session again');
    stop();
};

subtest 'blanks and foreign cookies make no other key' => sub {
    start('resolve_cache 10m;');
    my %of = credentials();
    my ($app, $token, $session) = map {"$_=$of{$_}"} @kinds[1 .. 3];
    my $known = "200 ok app-session-$of{n} resolver_cache asked 0";
    is(outcome("Cookie: $app; $token; $session"), "200 ok app-session-$of{n} resolver asked 1", 'the first');
    is(outcome("Cookie:  $app;$token ;\t$session ;"), $known, 'other blanks');
    is(outcome("Cookie: theme=dark; $app; a=b; $token; $session; c"), $known, "cookies of others");
    is(outcome("Cookie: $app; a=b\r\nCookie: $token; $session"), $known, 'two Cookie headers');
    # The question has the cookies in the client's order.
    like(outcome("Cookie: $session; $app; $token"), qr/^200 ok app-session-$of{n} /, 'another order: the same user');
    stop();
};

subtest 'cookies of one name in another order are other credentials' => sub {
    start('resolve_cache 10m;');
    my %session = map { $_ => session(user => $_) } qw(alice bob);
    my @both = map { cookie(session => $session{ $_->[0] }, session => $session{ $_->[1] }) } [qw(alice bob)], [qw(bob alice)];
    is(outcome($both[0]), '200 ok alice resolver asked 1', 'the first counts');
    is(outcome($both[1]), '200 ok bob resolver asked 1', 'in the other order the other is first');
    is(outcome($both[0]), '200 ok alice resolver_cache asked 0', 'each is kept');
    is(outcome($both[1]), '200 ok bob resolver_cache asked 0', 'for itself');
    stop();
};

# The same value is a session of different users in different projects.
subtest 'another project, another prefix' => sub {
    my $other = start_standin('--cookie-prefix', 'my-');
    my ($other_host) = $other->{http} =~ m{//(.*)};
    start('resolve_cache 10m;',
        http => "authgear_project twin { $endpoint $resolver resolve_cache 10m; }
            authgear_project prefixed { endpoint $other->{http}; cookie_prefix my-;
                resolve_request /_other/resolve; resolve_cache 10m; }",
        server => "location /twin { authgear_verify twin; empty_gif; }
            location /prefixed { authgear_verify prefixed; empty_gif; }
            location = /_other/resolve { internal; proxy_method HEAD; proxy_pass_request_body off;
                proxy_set_header Content-Length ''; proxy_set_header Host $other_host;
                proxy_pass $other->{resolver}/_resolver/resolve; }");
    my $value = session(user => 'alice');
    my $cookie = cookie(session => $value);
    is(outcome($cookie), '200 ok alice resolver asked 1', 'one project');
    is(outcome($cookie, path => '/twin'), '200 ok alice resolver asked 1', 'another one asks for itself');
    is(outcome($cookie, path => '/twin'), '200 ok alice resolver_cache asked 0', 'and keeps for itself');
    is(outcome($cookie, path => '/prefixed'), '401 no_credential - none asked 0', 'without the prefix: no credential');

    my $asked_other = sub { return control('GET', '/-/counts', undef, $other)->{resolver} };
    my %of = map { $_ => control('POST', '/-/session', { user => $_ }, $other) } qw(carol dave);
    my $get = sub { return told($nginx->ask(path => '/prefixed', headers => "Cookie: $_[0]")) };
    is($get->("my-session=$of{carol}"), '200 ok carol resolver', 'with the prefix');
    is($get->("my-session=$of{dave}"), '200 ok dave resolver', 'of another user');
    is($get->("session=$value; my-session=$of{carol}"), '200 ok carol resolver_cache',
        'a cookie without the prefix is not the resolver\'s');
    is($get->("my-session=$of{dave}"), '200 ok dave resolver_cache', 'the other user again');
    is($asked_other->(), 2, 'two questions');
    stop();
};

subtest 'another tenant, though all have one issuer' => sub {
    my $tenants = 'endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR;
        issuer https://one.issuer.example; audience https://one.issuer.example; resolve_request /_authgear/resolve; resolve_cache 10m;';
    heal();
    $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        project => $tenants,
        # The shipped location asks about every tenant.
        server => 'add_header X-Source $authgear_source always; include $TEST_NGINX_RESOLVER;',
    );
    my %value = map { $_ => control('POST', "/-/session?project=https://$_.example.com", { user => $_ }) } qw(one two);
    my $get = sub { return told($nginx->ask(path => "/?t=$_[0]", headers => cookie(session => $value{ $_[1] }))) };
    is($get->('one', 'one'), '200 ok one resolver', 'a session at its own tenant');
    is($get->('two', 'one'), $no, 'is none at another');
    is($get->('one', 'one'), '200 ok one resolver_cache', 'it is kept for its own');
    is($get->('two', 'two'), '200 ok two resolver', "the other tenant's session");
    stop();
};

subtest 'a request without a credential asks nobody' => sub {
    start('resolve_cache 10m;', server => 'location /optional { authgear_verify myapp optional; empty_gif; }');
    for my $headers ('', 'Cookie: theme=dark', 'Authorization: Basic dTpw', 'Cookie: app_session=', 'Cookie: sessions=a') {
        for (1 .. 2) {
            is(outcome($headers), '401 no_credential - none asked 0', "'$headers'");
            is(outcome($headers, path => '/optional'), '200 no_credential - none asked 0', "'$headers', optional");
        }
    }
    stop();
};

subtest 'a yes is asked for again after its time' => sub {
    start('resolve_cache 1s;');
    my $cookie = cookie(session => session(user => 'alice'));
    is(outcome($cookie), '200 ok alice resolver asked 1', 'asked');
    sleep 1.1;
    is(outcome($cookie), '200 ok alice resolver asked 1', 'asked again');
    control('POST', '/-/users/alice/disable');
    soon { outcome($cookie) =~ /^401 session_invalid/ } 'a disabled user is out';
    control('POST', '/-/users/alice/enable');
    is(outcome(cookie(session => session(user => 'alice'))), '200 ok alice resolver asked 1',
        'and in again with a new login once enabled');
    sleep 1.1;
    is(outcome($cookie), "$no asked 1", 'the old session has ended for good');
    stop();
};

subtest 'a no is kept for a second at most' => sub {
    start('resolve_cache 10m;');
    control('POST', '/-/users', { id => 'late' });
    my $cookie = cookie(session => session(user => 'late'));
    control('POST', '/-/users/late/disable', { keep_sessions => \1 });
    is(outcome($cookie), "$no asked 1", 'a no');
    control('POST', '/-/users/late/enable');
    sleep 1.1;
    is(outcome($cookie), '200 ok late resolver asked 1', 'after a second the resolver is asked again');

    fault(resolver => 'slow', delay_ms => 1000);
    reset_counts();
    my @answers = $nginx->receive(map { $nginx->send(headers => cookie(session => 'made-up')) } 1 .. 40);
    is_deeply($nginx->tally(@answers), { '401 session_invalid' => 40 }, 'forty requests with one dead session');
    # One question serves them all, but for those that find its answer too old.
    cmp_ok(asked(), '<', 10, 'share a question');
    stop();
};

subtest 'a failure is not kept' => sub {
    start('resolve_cache 10m;');
    my %of = credentials();
    my $cookie = cookie(session => $of{session});
    for my $case (
        ['500' => 'status', status => 500],
        ['403 that says true' => 'status', status => 403,
            headers => { 'X-Authgear-Session-Valid' => 'true', 'X-Authgear-User-Id' => 'u' }],
        ['a closed connection' => 'close'],
        ['garbage' => 'garbage'],
    ) {
        my ($name, @fault) = @$case;
        fault(resolver => @fault);
        is(outcome($cookie), "$unavailable asked 1", "$name: each request asks") for 1 .. 2;
    }
    heal();
    control('POST', '/-/gone');
    is(outcome($cookie), "$unavailable asked 0", 'nobody listens');
    control('POST', '/-/back');
    is(outcome($cookie), "200 ok session-$of{n} resolver asked 1", 'it works again, at once');
    fault(resolver => 'status');
    is(outcome($cookie), "200 ok session-$of{n} resolver_cache asked 0", 'a yes outlives a failure');
    stop();
};

subtest 'a table that is full forgets the least recently used' => sub {
    start('resolve_cache 1h;', http => 'authgear_shared_zone zone=authgear:512k;', workers => 2);
    # The table has room for fewer than 200.
    my $count = 1200;
    my $hot = cookie(session => session(user => 'hot'));
    my @cookies = map { cookie(session => session(user => "u-$_")) } 1 .. $count;
    reset_counts();
    $nginx->ask(headers => $hot);
    my ($wrong, $at) = (0, 0);
    while ($at < $count) {
        my @batch = ($at .. $at + 9);
        my @answers = $nginx->receive(map { $nginx->send(headers => $cookies[$_]) } @batch);
        $wrong += grep { ($answers[$_]{user} // '') ne 'u-' . ($batch[$_] + 1) } 0 .. 9;
        # A use is noted once in ten milliseconds.
        sleep 0.02;
        $wrong += told($nginx->ask(headers => $hot)) ne '200 ok hot resolver_cache';
        $at += 10;
    }
    is($wrong, 0, "$count sessions: each its own user, and one that is in use stays");
    is(asked(), $count + 1, 'each was asked for once');

    reset_counts();
    $wrong = grep { ($nginx->ask(headers => $cookies[$_])->{user} // '') ne 'u-' . ($_ + 1) } 0 .. 99;
    is($wrong, 0, 'the oldest again: each its own user');
    is(asked(), 100, 'asked for anew');
    is(told($nginx->ask(headers => $hot)), '200 ok hot resolver_cache', 'the one in use stays');
    stop();
};

# It is no part of the question.
subtest 'a JWT in a cookie beside a session makes no other key, and its exp no other end' => sub {
    start('resolve_cache 1h;');
    my $session = session(user => 'alice', kind => 'app');
    is(outcome(cookie(app_session => $session)), '200 ok alice resolver asked 1', 'the session alone');
    my $short = token(user => 'alice', expires_in => 2);
    for my $case (
        ['one that expires soon', $short],
        ["somebody else's", token(user => 'bob')],
        ['one of a stranger without end', token(user => 'alice', key => 'stranger', claims => { exp => 1e300 })],
    ) {
        my ($name, $jwt) = @$case;
        is(outcome(cookie(app_session => $session, app_access_token => $jwt)), '200 ok alice resolver_cache asked 0',
            "beside $name");
    }
    sleep 2.1;
    is(outcome(cookie(app_session => $session, app_access_token => $short)), '200 ok alice resolver_cache asked 0',
        'beside one that has expired');
    stop();
};

subtest 'a token that the resolver vouched for is not let in past its exp' => sub {
    # Nobody listens there.
    start('resolve_cache 1h; jwks_uri http://127.0.0.1:1/jwks;');
    my $jwt = authorization(token(user => 'alice', expires_in => 6));
    is(outcome($jwt), '200 ok alice resolver asked 1', 'without keys the resolver judges');
    soon { outcome($jwt) =~ /^401 / } 'it is out when it has expired', 30;
    stop();
};

done_testing();
