# X-Authgear-* on the way to the backend: the verified ones are the resolver's,
# letter for letter, and the client's own never arrive.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear args => ['--amr'];
use Test::Nginx::Authgear::Client;

use strict;
use warnings;

my ($resolver_port) = standin()->{resolver} =~ /:(\d+)$/;
($ENV{TEST_NGINX_RECORDER}, my $take) = recorder();
$ENV{TEST_NGINX_OTHER_PORT} = port(1);

# The answer of the stand-in's resolver to the same token, as sorted lines. A
# header without a value counts as none.
sub resolver {
    my ($token) = @_;
    my $answer = ask('GET /_resolver/resolve', { port => $resolver_port },
        "Host: $ENV{TEST_NGINX_AUTHGEAR_HOST}", "Authorization: Bearer $token");
    return [
        sort map { lc($_->[0]) . ": $_->[1]" }
            grep { $_->[0] =~ /^x-authgear-/i and length $_->[1] } @{ $answer->{headers} }
    ];
}

sub lower_names { return [sort map { s/^([^:]*)/\L$1/r } @{ $_[0] }] }

my %claim = map { $_ => "https://authgear.com/claims/user/$_" }
    qw(is_anonymous is_verified can_reauthenticate roles);

# --- checks

sub as_the_resolver {
    my @users = (
        ['no role' => { user => { id => 'plain' } }, 7],
        ['one role' => { user => { id => 'one', roles => ['admin'] } }, 8],
        ['many roles' => { user => { id => 'many', roles => [qw(b:writer a_reader c.admin)] } }, 8],
        ['a long list of roles' =>
            { user => { id => 'long', roles => [map {"role$_"} 1 .. 200] } }, 8],
        ['anonymous' => { user => { id => 'anon', anonymous => \1, verified => \0 } }, 7],
        ['unverified' => { user => { id => 'unverified', verified => \0 } }, 7],
        ['cannot reauthenticate' => { user => { id => 'stuck', can_reauthenticate => \0 } }, 7],
        ['all flags set' => { user => { id => 'flags', anonymous => \1, verified => \1 } }, 7],
        ['an id that is a UUID' => { user => '1d3bd5f6-7c1e-4e3a-9d53-0d8f4ce0b7b1' }, 7],
        ['an id with a comma, a blank and a quote' => { user => { id => q{a, "b" ;c=d} } }, 7],
        ['an id that is not ASCII' => { user => { id => "zo\x{eb} \x{6f22}" } }, 7],
        ['no amr' => { user => 'plain', amr => [] }, 6],
        ['one amr' => { user => 'plain', amr => ['otp'] }, 7],
        ['several amr' => { user => 'plain', amr => [qw(pwd mfa x_primary)] }, 7],
        ['auth_time absent' => { user => 'plain', auth_time => undef }, 6],
        ['auth_time long ago' => { user => 'plain', auth_time => 1_000_000_000 }, 7],
        ['neither amr nor auth_time' => { user => 'plain', amr => [], auth_time => undef }, 5],
    );
    for my $case (@users) {
        my ($name, $fields, $count) = @$case;
        my $token = token(%$fields);
        my $resolved = resolver($token);
        is(scalar @$resolved, $count, "$name: the resolver answers with $count headers");
        for my $where (qw(required optional observe)) {
            my $answer = ask("GET /$where", "Authorization: Bearer $token");
            is_deeply(lower_names(echoed_authgear($answer)), $resolved,
                "$name, $where: the backend gets what the resolver would have set");
        }
    }

    my $answer = ask('GET /required', bearer(user => { id => 'full', roles => ['r'] }));
    is_deeply([map {s/:.*//r} @{ echoed_authgear($answer) }], [
        qw(
            X-Authgear-Session-Amr X-Authgear-Session-Authenticated-At
            X-Authgear-Session-Valid X-Authgear-User-Anonymous
            X-Authgear-User-Can-Reauthenticate X-Authgear-User-Id X-Authgear-User-Roles
            X-Authgear-User-Verified
            )
    ], 'the eight names are spelled as Authgear spells them');
}

sub what_a_token_does_not_say {
    my $answer = ask('GET /any', bearer(kind => 'm2m', client_id => 'robot'));
    is_deeply(echoed_authgear($answer), ['X-Authgear-Session-Valid: true'],
        "a client's token sets X-Authgear-Session-Valid alone");

    # It has a client's sub, whatever else it claims.
    $answer = ask('GET /any', bearer(kind => 'm2m', claims => {
        $claim{is_verified} => \1, $claim{roles} => ['admin'], amr => ['pwd'], auth_time => 1,
    }));
    is_deeply(echoed_authgear($answer), ['X-Authgear-Session-Valid: true'],
        "a client's token that claims roles and amr sets X-Authgear-Session-Valid alone");

    $answer = ask('GET /required', bearer(user => 'old', amr => [], auth_time => undef,
        remove => [values %claim]));
    is_deeply(echoed_authgear($answer), ['X-Authgear-Session-Valid: true', 'X-Authgear-User-Id: old'],
        'an old token without the user claims sets no header for them');

    $answer = ask('GET /required', bearer(user => 'ann', claims => { auth_time => 1234567890.75 }));
    is(header(echoed($answer), 'X-Authgear-Session-Authenticated-At'), '1234567890',
        'a fractional auth_time reaches the backend in whole seconds');
}

# Names that a backend may read as ours, and names beside them that are nobody's.
my @forged = (
    qw(
        X-Authgear-Session-Valid X-Authgear-User-Id X-Authgear-User-Anonymous
        X-Authgear-User-Verified X-Authgear-User-Can-Reauthenticate X-Authgear-User-Roles
        X-Authgear-Session-Amr X-Authgear-Session-Authenticated-At
        x-authgear-user-id X-AUTHGEAR-USER-ID x-aUTHGEAR-uSER-iD
        X_Authgear_User_Id x_authgear_user_id X_AUTHGEAR_USER_ROLES
        X.Authgear.User.Id x.authgear.session.valid
        X-Authgear_User.Id X_Authgear-User-Id X.Authgear_User-Roles x-authgear.USER_id
        X-Authgear-Session-Acr X-Authgear-Anything-Else x_authgear.future X-Authgear-
        )
);
my @others = qw(X-Authgear Authgear-User-Id X-Authgea-User-Id My-X-Authgear-User-Id XAuthgearUserId);

# The same request three ways: forged names first, in the middle and last, among
# thirty headers that must all arrive in their order.
sub forged_among {
    my ($place, @token) = @_;
    my @kept = ((map {"X-Keep-$_: $_"} 1 .. 25), map {"$_: kept"} @others);
    my $at = { first => 0, middle => 15, last => scalar @kept }->{$place};
    return (@kept[0 .. $at - 1], (map {"$_: forged"} @forged), @token, @kept[$at .. $#kept]);
}

sub kept {
    return [header_lines(echoed($_[0]), qr/^(?:X-Keep-\d+|@{[join '|', @others]})\z/)];
}

my $kept = [(map {"X-Keep-$_: $_"} 1 .. 25), map {"$_: kept"} @others];

# The lines that a verified request carries, as this check's table names them.
sub ours {
    return grep { !/^(?:@{[join '|', @others]}):/ } @{ echoed_authgear($_[0]) };
}

sub client_headers_never_arrive {
    my $good = token(user => { id => 'alice', roles => ['admin'] }, amr => ['pwd']);
    my $verified = join "\n", @{ resolver($good) };
    my $bad = token(user => 'mallory', key => 'stranger');
    my $no = 'x-authgear-session-valid: false';

    # location, credential, what reaches the backend under our names
    my @cases = (
        ['/required', good => $verified],
        ['/optional', good => $verified],
        ['/optional', none => ''],
        ['/observe', good => $verified],
        ['/observe', none => ''],
        ['/observe', bad => $no],
        ['/without', good => ''],
        ['/without-observed', good => ''],
        ['/without-observed', bad => ''],
        ['/without-observed', none => ''],
        ['/variable?project=myapp', good => $verified],
        ['/variable?project=off', good => ''],
        ['/variable?project=off', none => ''],
        ['/variable?project=', good => ''],
        ['/variable', bad => ''],
        ['/satisfy', none => ''],
        ['/satisfy', bad => ''],
        ['/if?guarded=1', good => $verified],
        ['/nested/inner', good => $verified],
        ['/rewritten', good => $verified],
        ['/tried', good => $verified],
        ['/named', none => ''],
    );
    my %token = (good => ["Authorization: Bearer $good"], bad => ["Authorization: Bearer $bad"],
        none => []);
    for my $case (@cases) {
        my ($path, $which, $expected) = @$case;
        for my $place (qw(first middle last)) {
            my $answer = ask("GET $path", forged_among($place, @{ $token{$which} }));
            my $name = "$path, $which credential, forged $place";
            is($answer->{status}, 200, "$name: 200");
            is(join("\n", @{ lower_names([ours($answer)]) }), $expected,
                "$name: no header of the client's arrives under our names");
            is_deeply(kept($answer), $kept, "$name: its other thirty arrive in their order");
        }
    }

    # `satisfy any` grants access without this module: the header is either missing or
    # verified.
    my $answer = ask('GET /satisfy', forged_among('middle', "Authorization: Bearer $good"));
    my %right = map { $_ => 1 } @{ resolver($good) };
    is_deeply([grep { !$right{$_} } @{ lower_names([ours($answer)]) }], [],
        'satisfy any, allow all, a valid token: nothing but the verified identity arrives');
}

sub many_client_headers {
    my $good = token(user => 'alice');
    # nginx keeps a request's headers in parts of twenty.
    for my $count (1, 18, 19, 20, 21, 39, 40, 41, 61, 100) {
        my @forged = map {"X-Authgear-User-Id: forged$_"} 1 .. $count;
        my $answer = ask('GET /required', @forged, "Authorization: Bearer $good");
        is_deeply(lower_names(echoed_authgear($answer)), resolver($good),
            "$count times X-Authgear-User-Id: ours alone arrives");
        $answer = ask('GET /optional', @forged);
        is_deeply(echoed_authgear($answer), [], "$count times X-Authgear-User-Id: none arrives");

        my @kept = map {"X-Keep-$_: $_"} 1 .. $count;
        my @mixed = map { ("X-Authgear-Forged-$_: forged", $kept[$_ - 1]) } 1 .. $count;
        $answer = ask('GET /optional', @mixed);
        is_deeply([header_lines(echoed($answer), qr/^X-(?:Keep|Authgear)-/)], \@kept,
            "$count forged headers between $count others: the others arrive in their order");
    }

    my $answer = ask('GET /required', "Authorization: Bearer $good", 'X-Authgear-User-Id:',
        'Connection: X-Authgear-User-Id, X-Authgear-Session-Valid');
    is_deeply(lower_names(echoed_authgear($answer)), resolver($good),
        'an empty one, and Connection that names ours, take nothing away');
}

# In a server in which a location verifies, its other locations are no way in.
sub locations_that_do_not_verify {
    my @lines = map {"$_: client"} @forged;
    for my $path (qw(/untouched /off)) {
        for my $credential ([], [bearer(user => 'alice')]) {
            my $answer = ask("GET $path", @lines, 'X-Authgear-Body-Signature: kept', @$credential);
            is_deeply(echoed_authgear($answer), ['X-Authgear-Body-Signature: kept'],
                "$path, which does not verify: no header of the client's arrives under our names");
        }
    }
    my $answer = ask('GET /', { port => port(1) }, @lines);
    is_deeply([header_lines(echoed($answer), qr/^x.authgear./i)], \@lines,
        'in a server in which no location verifies, every header arrives as it was sent');
}

sub no_claim_forms_a_header {
    my %evil = (
        'a line feed' => "x\nX-Evil: 1", 'a carriage return' => "x\rX-Evil: 1",
        'CRLF' => "x\r\nX-Evil: 1", 'a zero' => "x\0y", 'a tab' => "x\ty", '0x1f' => "x\x1fy",
        'DEL' => "x\x7fy",
    );
    for my $what (sort keys %evil) {
        my $text = $evil{$what};
        my %claims = (
            'sub' => { sub => $text },
            'client_id' => { client_id => $text },
            'scope' => { scope => $text },
            'jti' => { jti => $text },
            'amr' => { amr => ['pwd', $text] },
            'roles' => { $claim{roles} => ['admin', $text] },
        );
        for my $name (sort keys %claims) {
            my $token = token(user => 'eve', claims => $claims{$name});
            my $answer = ask('GET /required', "Authorization: Bearer $token");
            is("$answer->{status} " . header($answer, 'X-Reason'), '401 bad_claim',
                "$what in $name: 401 bad_claim");
            $answer = ask('GET /observe', "Authorization: Bearer $token");
            is_deeply([header_lines(echoed($answer), qr/^x-(?:authgear-|evil)/i)],
                ['X-Authgear-Session-Valid: false'],
                "$what in $name, observed: the backend gets X-Authgear-Session-Valid: false alone");
        }
        my $answer = ask('GET /required', bearer(user => 'eve', claims => { note => $text }));
        is($answer->{status}, 200, "$what in a claim without a header: 200");
        is(header(echoed($answer), 'X-Evil'), undef, "$what in a claim without a header forms none");
    }
}

sub what_nginx_sets_wins {
    my $answer = ask('GET /override', bearer(user => 'alice'), 'X-Authgear-User-Id: forged');
    is_deeply([grep {/-user-(?:id|verified)/i} @{ echoed_authgear($answer) }],
        ['X-Authgear-User-Verified: fixed'],
        'proxy_set_header with an empty value removes ours, with another replaces it');
    is(header(echoed($answer), 'X-Authgear-Session-Valid'), 'true',
        'proxy_set_header of one leaves the others');

    $answer = ask('GET /variables-too', bearer(user => 'alice'), 'X-Authgear-User-Id: forged',
        'X-Authgear-Foo: forged');
    is(header(echoed($answer), 'X-Seen'), '[alice] []',
        '$http_x_authgear_user_id is ours for the proxy, never the client\'s');
}

sub subrequests {
    my @forged_lines = map {"$_: forged"} @forged;
    my $good = token(user => 'alice', amr => ['pwd']);
    my $verified = resolver($good);

    my $client = connection();
    $client->request('GET /auth-request', @forged_lines, "Authorization: Bearer $good");
    my ($request) = $take->(1);
    my $answer = $client->answer;
    is_deeply(lower_names([header_lines($request, qr/^x.authgear./i)]), $verified,
        'an auth_request subrequest carries our headers, not the client\'s');
    is($answer->{status}, 200, 'auth_request behind us: 200');
    is_deeply(lower_names(echoed_authgear($answer)), $verified,
        'the request behind an auth_request subrequest carries ours once');

    $client = connection();
    $client->request('GET /mirror', @forged_lines, "Authorization: Bearer $good");
    ($request) = $take->(1);
    is_deeply(lower_names([header_lines($request, qr/^x.authgear./i)]), $verified,
        'a mirror subrequest carries our headers, not the client\'s');
    is_deeply(lower_names(echoed_authgear($client->answer)), $verified,
        'the request behind a mirror carries ours once');

    $client = connection();
    $client->request('GET /mirror-optional', @forged_lines);
    ($request) = $take->(1);
    is_deeply([header_lines($request, qr/^x.authgear./i)], [],
        'the mirror of an anonymous request carries none');
    is_deeply(echoed_authgear($client->answer), [], 'nor does the request itself');

    # Its subrequest was verified, the request itself was not.
    $client = connection();
    $client->request('GET /sub-only', @forged_lines, "Authorization: Bearer $good");
    ($request) = $take->(1);
    is_deeply(lower_names([header_lines($request, qr/^x.authgear./i)]), $verified,
        'a subrequest into a guarded location of an unguarded request carries our headers, not the client\'s');
    $answer = $client->answer;
    is($answer->{status}, 200, 'and lets the request go on');
    is_deeply(echoed_authgear($answer), [], 'which carries none');
}

run_tests();

__DATA__

=== TEST 1: headers on the way to the backend
--- check
as_the_resolver
what_a_token_does_not_say
client_headers_never_arrive
many_client_headers
locations_that_do_not_verify
no_claim_forms_a_header
what_nginx_sets_wins
subrequests
--- http_config
underscores_in_headers on;
ignore_invalid_headers off;
large_client_header_buffers 8 16k;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project any {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience $TEST_NGINX_AUTHGEAR https://api.example.com;
    token_type any;
}
server {
    listen 127.0.0.1:$TEST_NGINX_OTHER_PORT;
    location / {
        proxy_pass $TEST_NGINX_ECHO;
    }
}
--- config
add_header X-Reason $authgear_reason always;

$TEST_NGINX_MODES
location = /any {
    authgear_verify any;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /without {
    authgear_verify myapp;
    authgear_pass_headers off;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /without-observed {
    authgear_verify myapp observe;
    authgear_pass_headers off;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /variable {
    authgear_verify $arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /satisfy {
    satisfy any;
    allow all;
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /if {
    if ($arg_guarded) {
        authgear_verify myapp;
        proxy_pass $TEST_NGINX_ECHO;
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location /nested/ {
    authgear_verify myapp;
    location = /nested/inner {
        proxy_pass $TEST_NGINX_ECHO;
    }
}
location = /rewritten {
    rewrite ^ /required last;
}
location = /tried {
    try_files /no-such-file /required;
}
location = /named {
    authgear_verify myapp;
    error_page 401 =200 @anonymous;
    proxy_pass $TEST_NGINX_ECHO;
}
location @anonymous {
    proxy_pass $TEST_NGINX_ECHO;
}
location = /untouched {
    proxy_pass $TEST_NGINX_ECHO;
}
location = /off {
    authgear_verify off;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /override {
    authgear_verify myapp;
    proxy_set_header X-Authgear-User-Id "";
    proxy_set_header X-Authgear-User-Verified fixed;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /variables-too {
    authgear_verify myapp;
    proxy_set_header X-Seen "[$http_x_authgear_user_id] [$http_x_authgear_foo]";
    proxy_pass $TEST_NGINX_ECHO;
}
location = /auth-request {
    authgear_verify myapp;
    auth_request /recorded;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /mirror {
    authgear_verify myapp;
    mirror /recorded;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /mirror-optional {
    authgear_verify myapp optional;
    mirror /recorded;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /recorded {
    internal;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RECORDER;
}
location = /sub-only {
    auth_request /recorded-guarded;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /recorded-guarded {
    internal;
    authgear_verify myapp;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RECORDER;
}
