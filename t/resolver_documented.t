# Authgear's documented set-up, auth_request to the resolver, and this module side
# by side: the same Authgear, backend and requests. Where they differ, both sides
# are shown.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear args => ['--amr'];
use Test::Nginx::Authgear::Client qw(:DEFAULT challenges);
use Test::Nginx::Authgear::Documented;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

use File::Temp qw(tempdir);

my $directory = tempdir(CLEANUP => 1);
chmod 0755, $directory;
my $origin = standin()->{origin};
my ($host) = $origin =~ m{//(.*)};
# Another Authgear, whose project has a cookie prefix.
my $prefixed = start_standin('--cookie-prefix', 'my_', '--amr');
my $clear = 'session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=Lax';

# The same request to two locations, or to all that are named.
sub both {
    my ($name, $expected, @headers) = @_;
    for my $where (sort keys %$expected) {
        is_deeply(told(ask("GET /$where", server($where), @headers)), $expected->{$where}, "$name: $where");
    }
}

# The documented set-up has a server of its own, in which nothing is verified and nothing stripped.
sub server { return $_[0] =~ /^documented/ ? { port => port(1) } : () }

# Somebody as both tell of a plain user.
sub plain {
    my ($id) = @_;
    return identity({ id => $id }, { amr => ['pwd'], auth_time => 5 });
}
my @plain = (amr => ['pwd'], auth_time => 5);

# --- checks

# Every user by every credential: the same headers but for the roles, which the
# documented set-up does not know.
sub same_users {
    for my $case (people()) {
        my ($name, $user, $login) = @$case;
        my %same = (user => $user, %$login);
        my $all = identity($user, $login);
        my %by = (
            'session' => cookie(session => session(%same)),
            'app_session' => cookie(app_session => session(%same, kind => 'app')),
            'a JWT' => bearer(%same),
            'a JWT in app_access_token' => cookie(app_access_token => token(%same)),
            'an opaque token' => opaque(%same),
            'an opaque app_access_token' => cookie(app_access_token => token(%same, kind => 'opaque')),
            'an expired JWT beside a session' =>
                bearer(user => 'other', expires_in => -1) . "\r\n" . cookie(session => session(%same)),
        );
        for my $how (sort keys %by) {
            both("$name, $how",
                { documented => without_roles($all), required => $all, optional => $all, observe => $all }, $by{$how});
        }
    }
}

# The resolver's 200 lets everybody in: behind auth_request the backend refuses.
sub who_is_let_in {
    my $no = ['session-valid: false'];
    both('nobody', { documented => [], observe => [], optional => [], required => 401 });
    both('a dead session', { documented => $no, observe => $no, optional => 401, required => 401 },
        cookie(session => 'dead'));
    # The resolver says nothing of these, as if there was no credential.
    for my $case (
        ['a made-up app session', cookie(app_session => 'dead')],
        ['a made-up token', 'Authorization: Bearer made-up'],
        ['an expired JWT', bearer(expires_in => -1)],
        ['a JWT of somebody else', bearer(key => 'stranger')],
    ) {
        my ($name, $header) = @$case;
        both($name, { documented => [], observe => $no, optional => 401, required => 401 }, $header);
    }
    my $user = user(id => 'disabled');
    my $session = cookie(session => session(user => 'disabled'));
    control('POST', '/-/users/disabled/disable');
    both('a disabled user', { documented => $no, observe => $no, optional => 401, required => 401 }, $session);
}

sub roles {
    my %same = (user => { id => 'editor', roles => [qw(editor staff)] }, @plain);
    for my $header (cookie(session => session(%same)), bearer(%same)) {
        my ($how) = $header =~ /^(\w+)/;
        both("the roles header is missing, $how", {
            documented => plain('editor'),
            required => [sort @{ plain('editor') }, 'user-roles: editor,staff'],
        }, $header);
    }
}

sub own_headers {
    my $alice = cookie(session => session(user => 'alice', @plain));
    my $alices = plain('alice');
    for my $case (
        # what a client writes, and what of it reaches the backend
        ['a role', 'X-Authgear-User-Roles: admin', 'user-roles: admin'],
        ['a header of tomorrow', 'X-Authgear-User-Plan: gold', 'user-plan: gold'],
        ['an id with underscores', 'X_Authgear_User_Id: root', 'user_id: root'],
        ['a yes with underscores', 'x_authgear_session_valid: true', 'session_valid: true'],
        ['an id with dots', 'X.Authgear.User.Id: root', 'user.id: root'],
    ) {
        my ($name, $header, $passed) = @$case;
        both("clients' own headers are passed: $name", {
            documented => [sort @$alices, $passed],
            required => $alices, optional => $alices, observe => $alices,
        }, $alice, $header);
        both("clients' own headers are passed: $name, of nobody",
            { documented => [$passed], optional => [], observe => [] }, $header);
    }
    # Both are right if the set-up knows every header.
    both('the names that the documented set-up knows', { documented => $alices, required => $alices }, $alice,
        'X-Authgear-User-Id: root', 'X-Authgear-User-Verified: true', 'X-Authgear-Session-Acr: high');
}

# The documented key, "$cookie_session|$http_authorization", knows neither
# app_session nor app_access_token: to it they are all the same.
sub cached_for_another {
    my %of = (
        app_session => sub { cookie(app_session => session(user => $_[0], @plain, kind => 'app')) },
        'an opaque app_access_token' =>
            sub { cookie(app_access_token => token(user => $_[0], @plain, kind => 'opaque')) },
        'a JWT in app_access_token' => sub { cookie(app_access_token => token(user => $_[0], @plain)) },
    );
    my $n = 0;
    for my $how (sort keys %of) {
        # A cache of its own for each.
        my $documented = 'documented-cached-' . ++$n;
        both("a cached answer is served to another, $how: first alice",
            { $documented => plain('alice'), 'required-cached' => plain('alice') }, $of{$how}->('alice'));
        both("a cached answer is served to another, $how: then bob",
            { $documented => plain('alice'), 'required-cached' => plain('bob') }, $of{$how}->('bob'));
        both("a cached answer is served to another, $how: then nobody",
            { $documented => plain('alice'), 'optional-cached' => [], 'required-cached' => 401 });
        both("a cached answer is served to another, $how: then a dead one",
            { $documented => plain('alice'), 'required-cached' => 401 },
            cookie($how =~ /(app_\w+)/ ? $1 : die, 'dead'));
    }
    # A user who logs in after an anonymous request.
    both('a cached answer is served to another: first nobody', { 'documented-cached-4' => [], 'optional-cached' => [] });
    both('a cached answer is served to another: then a user who has logged in',
        { 'documented-cached-4' => [], 'optional-cached' => plain('carol') }, $of{app_session}->('carol'));

    # app_session goes before session, but the key tells sessions alone.
    my $session = session(user => 'idp', @plain);
    my $app_session = session(user => 'app', @plain, kind => 'app');
    both('a cached answer is served to another: an app_session beside a session',
        { 'documented-cached-4' => plain('app'), 'required-cached' => plain('app') },
        cookie(app_session => $app_session, session => $session));
    both('a cached answer is served to another: then the session alone',
        { 'documented-cached-4' => plain('app'), 'required-cached' => plain('idp') }, cookie(session => $session));

    # Both distinguish users with different cache keys.
    for my $user (qw(dora emil)) {
        for my $header (cookie(session => session(user => $user, @plain)), opaque(user => $user, @plain)) {
            my ($how) = $header =~ /^(\w+)/;
            my %expected = map { $_ => plain($user) } qw(documented-cached-4 required-cached);
            both("sessions and bearer tokens are told apart: $user, $how", \%expected, $header) for 1 .. 2;
        }
    }
}

# With a prefix the key knows no cookie at all.
sub cached_with_prefix {
    for my $user (qw(alice bob)) {
        my $value = control('POST', '/-/session', { user => $user, @plain }, $prefixed) =~ s/\s+\z//r;
        both("a cached answer is served to another, session with a prefix: $user",
            { 'documented-cached' => plain('alice'), 'required-cached' => plain($user) },
            cookie(my_session => $value));
    }
}

sub cached_too_long {
    my ($revoked, $gone) = (session(user => 'alice', @plain), session(user => 'gone', @plain));
    my %before = map { $_ => plain('alice') } qw(documented-cached-5 required);
    both('a cached answer outlives its session: before', \%before, cookie(session => $revoked));
    control('POST', "/-/session/$revoked/revoke");
    both('a cached answer outlives its session: after', { 'documented-cached-5' => plain('alice'), required => 401 },
        cookie(session => $revoked));

    # A token that is good for one answer: the next one is minted if it was late.
    my ($header, $found);
    wait_for {
        $header = bearer(user => 'alice', @plain, expires_in => 2);
        $found = told(ask('GET /documented-cached-5', server('documented'), $header));
        @$found > 1;
    } 30;
    is_deeply($found, plain('alice'), 'a cached answer outlives its token: before');
    ok(wait_for(sub { ask('GET /required', $header)->{status} == 401 }, 30), 'the token expires');
    both('a cached answer outlives its token: after',
        { 'documented-cached-5' => plain('alice'), required => 401, 'required-cached' => 401 }, $header);
}

sub clearing_cookie {
    my %cookie = map { $_ => header(ask("GET /$_", server($_), cookie(session => 'dead')), 'Set-Cookie') }
        qw(documented observe optional required);
    # The shipped include says the scheme of the endpoint, which has no TLS here.
    my $plainly = $clear =~ s/ Secure;//r;
    is_deeply(\%cookie, { documented => undef, observe => $plainly, optional => $plainly, required => $plainly },
        'the cookie that clears a dead session is lost');
}

sub questions {
    my $jwt = bearer(user => 'alice', @plain);
    for my $case ([documented => 5], [required => 0], ['required-cached' => 0]) {
        my ($where, $count) = @$case;
        reset_counts();
        ask("GET /$where", server($where), $jwt) for 1 .. 5;
        is(asked(), $count, "every JWT costs a subrequest: five requests, $where");
    }
    for my $case ([documented => 5], [required => 0]) {
        my ($where, $count) = @$case;
        reset_counts();
        ask("GET /$where", server($where)) for 1 .. 5;
        is(asked(), $count, "nobody costs a subrequest: five requests, $where");
    }
}

# The parts of a client's request that can change the resolver's answer.
sub what_the_resolver_receives {
    my $session = session(user => 'alice');
    my @headers = (cookie(session => $session), 'X-Forwarded-Host: evil.example', 'X-Forwarded-Proto: gopher',
        'X-Forwarded-For: 10.1.2.3', 'X-Authgear-User-Id: root', 'Forwarded: host=evil.example');
    for my $case (
        [
            documented => {
                'x-forwarded-host' => 'evil.example', 'x-forwarded-proto' => 'gopher', 'x-forwarded-for' => '10.1.2.3',
                forwarded => 'host=evil.example', 'x-authgear-user-id' => 'root',
            }
        ],
        [required => { 'x-forwarded-proto' => 'http', 'x-forwarded-for' => '127.0.0.1' }],
    ) {
        my ($where, $expected) = @$case;
        reset_counts();
        ask("POST /$where", server($where), @headers, \'body');
        my ($seen) = asked_requests();
        my %got = map { $_ => $seen->{headers}{$_}[0] } grep {/^(?:x-|forwarded)/} keys %{ $seen->{headers} };
        is_deeply(\%got, $expected, "the client's X-Forwarded-Host reaches the resolver: $where");
        is_deeply([$seen->{headers}{host}, $seen->{headers}{cookie}], [[$host], ["session=$session"]],
            "$where: Host and cookie");
    }
}

# Nothing but a 200 is a verdict.
sub no_verdict {
    my @says_yes = (headers => { 'X-Authgear-Session-Valid' => 'true' });
    for my $case (
        ['the resolver fails', 500, undef, 'status', status => 500],
        ['the resolver refuses to serve', 500, undef, 'status', status => 429],
        ['a firewall says 401', 401, undef, 'status', status => 401],
        ['a firewall says 403', 403, undef, 'status', status => 403],
        ['a redirect', 500, undef, 'redirect'],
        ['no answer', 500, undef, 'close'],
        ['a yes without a user', 200, ['session-valid: true'], 'body', @says_yes],
        ['a 204', 200, [], 'status', status => 204],
    ) {
        my ($name, $status, $told, @fault) = @$case;
        fault(resolver => @fault);
        my $session = cookie(session => session(user => 'alice'));
        my $documented = ask('GET /documented', server('documented'), $session);
        is($documented->{status}, $status, "no verdict, $name: documented");
        is_deeply(told($documented), $told, "no verdict, $name: documented, what the backend is told") if $told;
        for my $where (qw(required optional)) {
            my $answer = ask("GET /$where", $session);
            is(join(' ', $answer->{status}, header($answer, 'Retry-After') // '-', challenges($answer)), '503 1 ',
                "no verdict, $name: $where");
        }
        heal();
    }
}

sub machines {
    my $token = bearer(kind => 'm2m', client_id => 'robot', audience => [$origin]);
    both("a client's token is not known to the resolver",
        { documented => [], any => ['session-valid: true'], required => 401 }, $token);
}

# --- configuration

my $to_echo = 'proxy_pass ' . echo_origin() . ';';

sub verified {
    my ($path, $verify) = @_;
    return "location = $path { authgear_verify $verify; $to_echo }\n";
}

sub documented_server { return join '', "server { listen 127.0.0.1:" . port(1) . ";\n", @_, "}\n" }

sub cache_of {
    my ($name) = @_;
    return qq{proxy_cache $name; proxy_cache_key "\$cookie_session|\$http_authorization"; proxy_cache_valid 200 10m;};
}

my $project = "endpoint $origin; resolve_request /_authgear/resolve;";
# Several caches, so that no case meets what another one left.
my %cache = map { $_ => "auth_cache_$_" } 1 .. 5;
$ENV{TEST_NGINX_PROJECTS} = join "\n",
    # A client's headers as a backend may read them, not as nginx would drop them.
    'variables_hash_max_size 2048; underscores_in_headers on; ignore_invalid_headers off;',
    "authgear_project myapp { $project }",
    "authgear_project cached { $project resolve_cache 10m; }",
    "authgear_project any { $project token_type any; }",
    (map {"proxy_cache_path $directory/$_ keys_zone=$_:1m;"} values %cache),
    documented_server(documented('= /documented', '/_auth'), asks('/_auth'),
        map { (documented("= /documented-cached-$_", "/_auth_$_"), asks("/_auth_$_", undef, cache_of($cache{$_}))) } keys %cache);
$ENV{TEST_NGINX_LOCATIONS} = join '',
    "include $ENV{TEST_NGINX_RESOLVER};\n",
    verified('/required', 'myapp'), verified('/optional', 'myapp optional'), verified('/observe', 'myapp observe'),
    verified('/required-cached', 'cached'), verified('/optional-cached', 'cached optional'), verified('/any', 'any');

$ENV{TEST_NGINX_PREFIXED_PROJECT} = "variables_hash_max_size 2048; proxy_cache_path $directory/prefixed keys_zone=prefixed:1m;
    authgear_project prefixed { endpoint $prefixed->{http}; cookie_prefix my_; resolve_request /_resolve; resolve_cache 10m; }\n"
    . documented_server(documented('= /documented-cached', '/_auth'), asks('/_auth', $prefixed, cache_of('prefixed')));
$ENV{TEST_NGINX_PREFIXED} = join '',
    verified('/required-cached', 'prefixed'), asks('/_resolve', $prefixed);

run_tests();

__DATA__

=== TEST 1: side by side
--- check
same_users
who_is_let_in
roles
own_headers
cached_for_another
cached_too_long
clearing_cookie
questions
what_the_resolver_receives
no_verdict
machines
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_LOCATIONS

=== TEST 2: a project with a cookie prefix
--- check: cached_with_prefix
--- http_config: $TEST_NGINX_PREFIXED_PROJECT
--- config: $TEST_NGINX_PREFIXED
