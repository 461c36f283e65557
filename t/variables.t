# $authgear_*: what each holds for every kind of caller, in which phases, and
# that nothing unverified is ever in one.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;

use strict;
use warnings;

use JSON::PP;
use MIME::Base64 qw(decode_base64url);

my @names = qw(session_valid user_id user_anonymous user_verified user_can_reauthenticate user_roles
    session_amr session_authenticated_at client_id scope token_id token_exp token_type claims source
    reason claim_sub claim_department);

# In configurations: each variable as a response header, and as one log line.
$ENV{TEST_NGINX_SHOW} = join "\n", map {"add_header V-$_ \"[\$authgear_$_]\" always;"} @names;
$ENV{TEST_NGINX_LINE} = join ' ', map {"$_=[\$authgear_$_]"} @names;
$ENV{TEST_NGINX_OTHER_PORT} = port(1);
$ENV{TEST_NGINX_REFUSING_PORT} = port(2);
($ENV{TEST_NGINX_RECORDER}, my $take) = recorder();

# The variables that are not empty, by name.
sub shown {
    my ($answer) = @_;
    return {
        map { /^V-([a-z_]+): \[(.+)\]\z/s ? ($1 => $2) : () }
            header_lines($answer, qr/^V-/)
    };
}

sub logged {
    my ($line) = @_;
    my %shown = $line =~ /\b([a-z_]+)=\[(.*?)\](?= [a-z_]+=\[|\z)/g;
    return { map { length $shown{$_} ? ($_ => $shown{$_}) : () } keys %shown };
}

sub claims { return JSON::PP->new->utf8->decode(decode_base64url((split /\./, $_[0])[1])) }

# All that a token of these fields fills, from what the token itself says.
sub expected {
    my ($token, %more) = @_;
    my $claims = claims($token);
    return {
        session_valid => 'true', client_id => $claims->{client_id}, scope => $claims->{scope},
        token_id => $claims->{jti}, token_exp => $claims->{exp}, token_type => 'user',
        claims => decode_base64url((split /\./, $token)[1]), source => 'jwt', reason => 'ok',
        claim_sub => $claims->{sub}, %more,
    };
}

my %flags = (user_anonymous => 'false', user_verified => 'true', user_can_reauthenticate => 'true');
my %roles = ('https://authgear.com/claims/user/roles' => ['admin']);

# Tokens that no project takes, with claims that would do harm if anyone read them.
sub forgeries {
    my %claims = (sub => 'mallory', department => 'board', %roles);
    my @fields = (
        ["a stranger's signature" => { key => 'stranger' }, 'bad_signature'],
        ['alg none' => { alg => 'none' }, undef],
        ['HS256 with the public key' => { alg => 'HS256' }, 'unsupported_algorithm'],
        ['expired' => { expires_in => -1 }, 'expired'],
        ['another audience' => { audience => ['https://other.example.com'] }, 'bad_audience'],
        ['an ID token' => { kind => 'id' }, undef],
        ["a client's token" => { kind => 'm2m', claims => { department => 'board' } }, undef],
        ['an unknown kid' => { header => { kid => 'x' } }, 'unknown_key'],
        ['a bad claim' => { claims => { %claims, amr => 'pwd' } }, 'bad_claim'],
        ['roles that hold a line feed' =>
            { claims => { %claims, 'https://authgear.com/claims/user/roles' => ["a\nb"] } },
            'bad_claim'],
    );
    my @made = map { [$_->[0], token(user => 'mallory', claims => {%claims}, %{ $_->[1] }), $_->[2]] }
        @fields;
    my @parts = split /\./, token(user => 'mallory', claims => \%claims);
    push @made, ['its signature cut off' => "$parts[0].$parts[1].AAAA", 'bad_signature'],
        ['another payload' => "$parts[0]." . (split /\./, $made[0][1])[1] . ".$parts[2]", 'bad_signature'],
        ['opaque' => token(kind => 'opaque', user => 'mallory'), 'unsupported'];
    return @made;
}

# --- checks

sub of_a_user {
    my $token = token(user => { id => 'ann', roles => ['b', 'a'] }, amr => ['pwd', 'mfa'],
        auth_time => 1700000000, scope => 'openid email', client_id => 'web',
        claims => { department => 'ops' });
    is_deeply(shown(ask('GET /required', "Authorization: Bearer $token")),
        expected($token, %flags, user_id => 'ann', user_roles => 'b,a', session_amr => 'pwd mfa',
            session_authenticated_at => '1700000000', claim_department => 'ops'),
        'a user token fills every variable');

    $token = token(user => { id => 'anon', anonymous => \1, verified => \0, can_reauthenticate => \0 },
        amr => ['anonymous'], auth_time => 1700000000);
    is_deeply(shown(ask('GET /optional', "Authorization: Bearer $token")),
        expected($token, user_anonymous => 'true', user_verified => 'false',
            user_can_reauthenticate => 'false', user_id => 'anon', session_amr => 'anonymous',
            session_authenticated_at => '1700000000'),
        'an anonymous user: the flags the other way round, no roles, no such claim');

    my @user_claims = map {"https://authgear.com/claims/user/$_"}
        qw(is_anonymous is_verified can_reauthenticate roles);
    $token = token(user => 'old', amr => [], auth_time => undef,
        remove => [@user_claims, qw(jti scope client_id)]);
    my $claims = expected($token, user_id => 'old');
    delete @{$claims}{qw(token_id scope client_id)};
    is_deeply(shown(ask('GET /observe', "Authorization: Bearer $token")), $claims,
        'what a token does not say is empty');
}

sub of_a_client {
    my $token = token(kind => 'm2m', client_id => 'robot', scope => 'read:items write:items',
        claims => { department => 'ops' });
    is_deeply(shown(ask('GET /any', "Authorization: Bearer $token")),
        expected($token, token_type => 'client', claim_department => 'ops'),
        "a client's token has no user: its own variables and the claims alone");
}

sub of_nobody {
    is_deeply(shown(ask("GET /$_")), $_ eq 'off' ? {} : { source => 'none', reason => 'no_credential' },
        "no credential, $_: nothing but the reason")
        for qw(required optional observe any off);
    is_deeply(shown(ask('GET /variable?project=off', bearer(user => 'alice'))), {},
        'verify by a variable that says off: all empty');
    is_deeply(shown(ask('GET /off', bearer(user => 'alice'))), {}, 'verify off: all empty');

    my $answer = ask('GET /down', bearer(user => 'alice'));
    is($answer->{status}, 503, 'no keys: 503');
    is_deeply(shown($answer), { reason => 'keys_unavailable' }, 'no keys: all empty but the reason');
    $answer = ask('GET /down-observed', bearer(user => 'alice'));
    is($answer->{status}, 200, 'no keys, observed: 200');
    is_deeply(shown($answer), { reason => 'keys_unavailable' },
        'no keys, observed: all empty but the reason');
}

sub never_unverified {
    for my $forgery (forgeries()) {
        my ($name, $token, $reason) = @$forgery;
        for my $where (qw(required optional observe)) {
            my $answer = ask("GET /$where", "Authorization: Bearer $token");
            is($answer->{status}, $where eq 'observe' ? 200 : 401, "$name, $where: its status");
            my $shown = shown($answer);
            is(delete $shown->{reason}, $reason, "$name, $where: $reason") if $reason;
            delete $shown->{reason};
            is_deeply($shown, { session_valid => 'false', source => 'none' },
                "$name, $where: nothing of its payload in any variable");
        }
        my $answer = ask('GET /early', "Authorization: Bearer $token");
        is(header($answer, 'V-early'), '[] [] [] []',
            "$name: nothing of its payload before the access phase");
    }
}

sub in_the_log {
    my $good = token(user => 'alice', amr => ['pwd'], auth_time => 1700000000);
    my $bad = token(user => 'mallory', key => 'stranger');
    my $full = expected($good, %flags, user_id => 'alice', session_amr => 'pwd',
        session_authenticated_at => '1700000000');
    my $known = { %$full, source => 'jwt_cache' };
    my @cases = (
        ['/logged/required', "Bearer $good", 200, $full],
        ['/logged/required', '', 401, { source => 'none', reason => 'no_credential' }],
        ['/logged/required', "Bearer $bad", 401,
            { source => 'none', reason => 'bad_signature', session_valid => 'false' }],
        ['/logged/down', "Bearer $good", 503, { reason => 'keys_unavailable' }],
        ['/logged/named', '', 200, { source => 'none', reason => 'no_credential' }],
        ['/logged/missing', "Bearer $good", 404, $known],
        ['/logged/accel', "Bearer $good", 200, $known],
        ['/logged/tried', "Bearer $good", 200, $known],
        ['/logged/off', "Bearer $good", 200, {}],
    );
    for my $case (@cases) {
        my ($path, $credential, $status) = @$case;
        my $answer = ask("GET $path", $credential ? "Authorization: $credential" : ());
        is($answer->{status}, $status, "$path: $status");
    }
    my @lines = log_lines('shown.log', scalar @cases);
    is(scalar @lines, scalar @cases, 'a line for each request');
    for my $index (0 .. $#cases) {
        my ($path, $credential, $status, $expected) = @{ $cases[$index] };
        my $who = !$credential ? 'no' : $credential eq "Bearer $good" ? 'good' : 'bad';
        is_deeply(logged($lines[$index]), $expected, "in the log phase: $path, $who credential");
    }
}

# nginx logs what it refuses by itself too, some of it before any header is read.
sub in_the_log_of_refused_requests {
    my $good = bearer(user => 'alice');
    my $bad = bearer(user => 'mallory', key => 'stranger');
    my @requests = (
        ['no HTTP at all' => "\x16\x03\x01\r\n\r\n", ''],
        ['another version' => "GET / HTTP/9.9\r\n\r\n", ''],
        ['no Host' => "GET / HTTP/1.1\r\n$bad\r\n\r\n", ''],
        ['two Host headers' => "GET / HTTP/1.1\r\n$bad\r\nHost: a\r\nHost: b\r\n\r\n", ''],
        ['a header that is too long' => "GET / HTTP/1.1\r\nHost: a\r\n$bad\r\nX: " . 'x' x 20_000 . "\r\n\r\n", ''],
        ['no Host, a valid token' => "GET / HTTP/1.1\r\n$good\r\n\r\n", 'alice'],
    );
    for my $request (@requests) {
        my ($name, $text) = @$request;
        my $client = connection(port(2));
        $client->send($text);
        like($client->answer->{status}, qr/^(?:400|505)\z/, "$name: refused by nginx");
    }
    my @lines = log_lines('refused.log', scalar @requests);
    for my $index (0 .. $#requests) {
        my ($name, undef, $user) = @{ $requests[$index] };
        my ($shown) = $lines[$index] =~ /^\d+ \[(.*)\]\z/;
        ok(defined $shown && ($shown eq '' || $shown eq $user),
            "in the log phase of a refused request: $name, nobody but the verified");
    }
}

sub after_internal_redirects {
    my $nobody = { source => 'none', reason => 'no_credential' };
    my @cases = (
        ['error_page 401 to a named location', '/named', 0, 200, $nobody],
        ['error_page 401 to a guarded URI', '/login-optional', 0, 200, $nobody],
        ['error_page 404 to an unguarded URI', '/missing', 1, 404],
        ['try_files to an unguarded URI', '/tried', 1, 200],
        ['try_files to a named location', '/tried-named', 1, 200],
        ['rewrite last to a guarded location', '/rewritten', 1, 200],
        ['X-Accel-Redirect to an unguarded location', '/accel?to=/plain', 1, 200],
        ['X-Accel-Redirect to a guarded location', '/accel?to=/required', 1, 200],
        ['X-Accel-Redirect to a named location', '/accel?to=@plain', 1, 200],
        ['index', '/directory/', 1, 200],
    );
    for my $case (@cases) {
        my ($name, $path, $sent, $status, $expected) = @$case;
        my $token = token(user => 'alice', amr => ['pwd'], auth_time => 1700000000);
        $expected //= expected($token, %flags, user_id => 'alice', session_amr => 'pwd',
            session_authenticated_at => '1700000000');
        my $answer = ask("GET $path", $sent ? "Authorization: Bearer $token" : ());
        is($answer->{status}, $status, "$name: $status");
        is_deeply(shown($answer), $expected, "$name: the variables stay readable");
    }
    my $answer = ask('GET /named', bearer(user => 'alice', key => 'stranger'));
    is_deeply(shown($answer), { source => 'none', reason => 'bad_signature', session_valid => 'false' },
        'error_page 401 to a named location, a bad credential: the reason stays readable');
}

sub in_subrequests {
    for my $case (
        ['an auth_request subrequest', '/with-auth-request', bearer(user => 'alice'), '[alice] [ok]'],
        ['a mirror subrequest', '/with-mirror', bearer(user => 'alice'), '[alice] [ok]'],
        ['a mirror subrequest, no credential', '/with-mirror', undef, '[] [no_credential]'],
        )
    {
        my ($name, $path, $credential, $expected) = @$case;
        my $client = connection();
        $client->request("GET $path", $credential // ());
        my ($request) = $take->(1);
        is(header($request, 'X-Who'), $expected, "$name sees the request's variables");
        is($client->answer->{status}, 200, "$name: the request goes on");
    }
    is(ask('GET /page.shtml', bearer(user => 'alice'))->{body}, "main alice, included alice\n\n",
        'a subrequest of SSI sees the request\'s variables');
}

sub used_by_others {
    for my $case (
        ['admin', 'b,admin', 'yes'], ['admin', 'admin', 'yes'], ['admin', 'administrator', 'no'])
    {
        my ($role, $roles, $expected) = @$case;
        my $answer = ask('GET /mapped', bearer(user => { id => 'r', roles => [split /,/, $roles] }));
        is(header($answer, 'X-Admin'), $expected, "map over \$authgear_user_roles: $roles");
    }
    is(header(ask('GET /mapped'), 'X-Admin'), 'no', 'map over $authgear_user_roles: nobody');

    # One cached answer for each user.
    my %line = map { $_ => bearer(user => $_) } qw(alice bob);
    for my $case (['alice', 'MISS'], ['alice', 'HIT'], ['bob', 'MISS'], ['alice', 'HIT'], ['bob', 'HIT'])
    {
        my ($user, $status) = @$case;
        my $answer = ask('GET /cached', $line{$user});
        is(header($answer, 'X-Cache'), $status, "proxy_cache_key with \$authgear_user_id: $user $status");
        is(header(echoed($answer), 'X-Authgear-User-Id'), $user, "and the answer is $user\'s");
    }
    is(ask('GET /cached', bearer(user => 'alice', key => 'stranger'))->{status}, 401,
        'a forged token of a cached user: 401');
    is(ask('GET /cached')->{status}, 401, 'no credential: 401, cached answers or not');
}

# limit_req looks at its key before the access phase: one request a minute for
# each key, none for an empty one.
sub before_the_access_phase {
    for my $round (1 .. 3) {
        is(ask('GET /limited', bearer(user => 'carol', key => 'stranger'))->{status}, 401,
            "limit_req by \$authgear_user_id: a forged token of carol's does not count ($round)");
        is(ask('GET /limited', bearer(user => 'carol', expires_in => -1))->{status}, 401,
            "nor does an expired one ($round)");
    }
    for my $user (qw(carol dave)) {
        is(ask('GET /limited', bearer(user => $user))->{status}, 200, "the first of $user passes");
        is(ask('GET /limited', bearer(user => $user))->{status}, 429,
            "the second is limited: the key was verified with the keys at hand");
    }
    is(header(ask('GET /early', bearer(user => { id => 'ben', roles => ['x'] })), 'V-early'),
        '[ben] [true] [x] [ben]', 'a set directive sees what the keys at hand verify');
    is(header(ask('GET /early'), 'V-early'), '[] [] [] []', 'and nothing without a credential');
    is(header(ask('GET /early-off', bearer(user => 'alice')), 'V-early'), '[]',
        'and nothing where verify is off');
}

# What a set directive learned under one location's rules is not what another
# location's rules say.
sub early_verdicts_stay_where_they_were_asked {
    my $answer = ask('GET /moved', bearer(user => 'alice'));
    is(header($answer, 'V-first'), '[alice]', 'before rewrite last: verified by the first project');
    is(header($answer, 'V-then'), '[]',
        'after rewrite last: empty, since the second project does not take the token');
    is(shown($answer)->{user_id}, undef, 'and so it stays after the access phase');
    $answer = ask('GET /moved-limited', bearer(user => 'erin'));
    is($answer->{status}, 401, 'limit_req after rewrite last into another project: 401');
    $answer = ask('GET /moved-limited', bearer(user => 'erin'));
    is($answer->{status}, 401, 'and it does not count what the second project does not take');
}

# Claims as a token writes them, and as $authgear_claim_NAME shows them.
my @claims = (
    ['a string', q{"ops"}, 'ops'],
    ['an empty string', q{""}, ''],
    ['a string with commas, quotes and a backslash', q{"a,\"b\",\\\\c"}, 'a,"b",\c'],
    ['a string that is not ASCII', "\"zo\xc3\xab\"", "zo\xc3\xab"],
    ['a string with escapes that are not ASCII', q{"zo\u00eb \ud83d\ude00"}, "zo\xc3\xab \xf0\x9f\x98\x80"],
    ['control characters', q{"a\r\nb\tc\u0000d\u001fe\u007ff"}, 'a%0D%0Ab%09c%00d%1Fe%7Ff'],
    ['a percent sign', q{"100% %41 %0a"}, '100% %41 %0a'],
    ['a C1 control character, which is none of ASCII', q{"a\u0085b"}, "a\xc2\x85b"],
    ['a bracket and a dollar', q{"a]$b"}, 'a]$b'],
    ['zero', '0', '0'],
    ['minus zero', '-0', '-0'],
    ['1.0', '1.0', '1.0'],
    ['1e3', '1e3', '1e3'],
    ['1E+2', '1E+2', '1E+2'],
    ['a number of 20 digits', '12345678901234567890', '12345678901234567890'],
    ['a number of 40 digits', '1' x 40, '1' x 40],
    ['a small number', '-0.00000000000000000001', '-0.00000000000000000001'],
    ['a number beyond a double', '1e999', '1e999'],
    ['true', 'true', 'true'],
    ['false', 'false', 'false'],
    ['null', 'null', ''],
    ['an empty array', '[]', ''],
    ['an empty array with a blank', '[ ]', ''],
    ['an array of one string', q{["a"]}, 'a'],
    ['an array of strings', q{["a","b c","d,e"]}, 'a,b c,d,e'],
    ['an array of empty strings', q{["",""]}, ','],
    ['an array of strings with control characters', q{["a\n","\u007f"]}, 'a%0A,%7F'],
    ['an array of numbers', '[1,2.50]', '[1,2.50]'],
    ['a mixed array', q{["a",1]}, q{["a",1]}],
    ['an array of null', '[null]', '[null]'],
    ['an array of arrays', q{[["a"]]}, q{[["a"]]}],
    ['an empty object', '{}', '{}'],
    ['an object', q{{"a":{"b":[1.0,true,null]}}}, q{{"a":{"b":[1.0,true,null]}}}],
    ['an object with white space', q{{ "a" : [ 1.0 , "b c" ] }}, q{{"a":[1.0,"b c"]}}],
    ['an object with control characters', q{{"a\n":"b\r\nc\u0000"}}, q{{"a\n":"b\r\nc\u0000"}}],
    ['an object with 0x7f', "{\"a\":\"b\x7fc\"}", q{{"a":"b\u007fc"}}],
    ['an object that is not ASCII', "{\"a\":\"\xc3\xab\"}", "{\"a\":\"\xc3\xab\"}"],
);
$ENV{TEST_NGINX_CLAIMS} = join "\n",
    map {"add_header C-$_ \"[\$authgear_claim_c$_]\" always;"} 0 .. $#claims;

# A token that says these claims byte for byte.
sub verbatim {
    my %claims = @_;
    my $members = join ',', map {"\"$_\":$claims{$_}"} sort keys %claims;
    my $text = control('POST', '/-/token', "{\"user\":\"alice\",\"claims\":{$members}}");
    return $text =~ s/\s+\z//r;
}

sub claims_by_name {
    my $token = verbatim(map { ("c$_" => $claims[$_][1]) } 0 .. $#claims);
    my $client = connection();
    for my $round ('first', 'second') {
        $client->request('GET /claims', "Authorization: Bearer $token");
        my $answer = $client->answer;
        is($answer->{status}, 200, "claims, $round request: 200");
        for my $index (0 .. $#claims) {
            my ($name, $value, $expected) = @{ $claims[$index] };
            is(header($answer, "C-$index"), "[$expected]", "\$authgear_claim_NAME, $round request: $name");
        }
    }

    my $claims = claims($token);
    my $answer = ask('GET /known', "Authorization: Bearer $token");
    is(header($answer, 'K-iss'), "[$claims->{iss}]", '$authgear_claim_iss');
    is(header($answer, 'K-aud'), "[$claims->{iss}]", '$authgear_claim_aud, an array of one');
    is(header($answer, 'K-exp'), "[$claims->{exp}]", '$authgear_claim_exp');
    is(header($answer, 'K-twice'), '[alice] [alice]', 'the same variable twice');
    is(header($answer, 'K-absent'), '[]', 'a claim that is not there');
    is(header(ask('GET /known'), 'K-iss'), '[]', '$authgear_claim_iss of nobody');

    $token = verbatim(displayName => '"Ann"', UPPER => '"x"', 'a_b' => '1', 'x9' => '2');
    $answer = ask('GET /known', "Authorization: Bearer $token");
    is(header($answer, 'K-names'), '[1] [2]', 'names with an underscore and a digit');
    is(header($answer, 'K-case'), '[Ann] [x]', 'names with capital letters');
}

sub claims_as_json {
    my $parser = JSON::PP->new->utf8->allow_nonref;
    my @members = map { ("c$_" => $claims[$_][1]) } 0 .. $#claims;
    my $answer = ask('GET /required', 'Authorization: Bearer ' . verbatim(@members));
    my $json = header($answer, 'V-claims');
    unlike($json, qr/[\x00-\x1f\x7f]/, '$authgear_claims holds no control character');
    like($json, qr/\A\[\{"[^\n]*\}\]\z/, '$authgear_claims is one object');
    for my $index (0 .. $#claims) {
        my ($name, $value) = @{ $claims[$index] };
        my $compact = $value =~ s/\x7f/\\u007f/gr;
        $compact = { '[ ]' => '[]', '{ "a" : [ 1.0 , "b c" ] }' => '{"a":[1.0,"b c"]}' }->{$value}
            // $compact;
        like($json, qr/"c$index":\Q$compact\E[,}]/, "\$authgear_claims, as it was written: $name");
    }

    my $payload = sprintf q({ "sub" : "alice" ,%s"iss":"%s", "aud":"%s",%s"exp":%d, "o":{ "a b" : [ 1 ] } } ),
        "\n\t", standin()->{http}, standin()->{http}, "\r\n", time + 600;
    my $token = token(raw_payload => $payload);
    my $compact = $payload =~ s/ (?!b")|[\n\t\r]//gr;
    $answer = ask('GET /required', "Authorization: Bearer $token");
    is(header($answer, 'V-claims'), "[$compact]", '$authgear_claims is compact, however the token is not');
}

sub one_after_another {
    my $client = connection();
    for my $user (qw(alice bob alice)) {
        $client->request('GET /required', bearer(user => $user));
        is(shown($client->answer)->{user_id}, $user, "on one connection: $user");
    }
}

# --- before the keys are at hand

sub would_have_to_wait {
    my $answer = ask('GET /early', bearer(user => 'alice'));
    is($answer->{status}, 200, 'keys that come late: the request waits and passes');
    is(header($answer, 'V-early'), '[] [] [] []',
        'a credential that would have to wait leaves the variables empty for now');
    is(shown($answer)->{user_id}, 'alice', 'and they are filled after the access phase');
    is(header(ask('GET /early', bearer(user => 'alice')), 'V-early'), '[alice] [true] [] [alice]',
        'once the keys are there, the variables are filled early');
}

run_tests();

__DATA__

=== TEST 1: variables of every kind of caller
--- check
of_a_user
of_a_client
of_nobody
never_unverified
in_the_log
in_the_log_of_refused_requests
after_internal_redirects
in_subrequests
used_by_others
before_the_access_phase
early_verdicts_stay_where_they_were_asked
claims_by_name
claims_as_json
one_after_another
--- user_files
>>> plain
plain
>>> directory/index.html
index
>>> page.shtml
main <!--# echo var="authgear_user_id" default="nobody" -->, included <!--# include virtual="/part.shtml" -->
>>> part.shtml
<!--# echo var="authgear_user_id" default="nobody" -->
--- http_config
large_client_header_buffers 8 16k;
proxy_buffer_size 32k;
proxy_buffers 8 32k;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project any {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience $TEST_NGINX_AUTHGEAR https://api.example.com;
    token_type any;
}
authgear_project picky {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://picky.example.com;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
log_format shown escape=none "$TEST_NGINX_LINE";
map $authgear_user_roles $is_admin {
    default no;
    "~(^|,)admin(,|$)" yes;
}
limit_req_zone $authgear_user_id zone=users:1m rate=1r/m;
limit_req_status 429;
proxy_cache_path cache keys_zone=answers:1m;
server {
    listen 127.0.0.1:$TEST_NGINX_OTHER_PORT;
    location / {
        add_header X-Accel-Redirect $arg_to;
        return 200;
    }
}
log_format refused "$status [$authgear_user_id]";
server {
    listen 127.0.0.1:$TEST_NGINX_REFUSING_PORT;
    access_log logs/refused.log refused;
    authgear_verify myapp;
}
--- config
$TEST_NGINX_SHOW

location = /required {
    authgear_verify myapp;
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
location = /any {
    authgear_verify any;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /off {
    proxy_pass $TEST_NGINX_ECHO;
}
location = /variable {
    authgear_verify $arg_project;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /down {
    authgear_verify down;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /down-observed {
    authgear_verify down observe;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /early {
    authgear_verify myapp observe;
    set $early "[$authgear_user_id] [$authgear_session_valid] [$authgear_user_roles] [$authgear_claim_sub]";
    $TEST_NGINX_SHOW
    add_header V-early $early always;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /early-off {
    set $early "[$authgear_user_id]";
    add_header V-early $early always;
    proxy_pass $TEST_NGINX_ECHO;
}

location /logged/ {
    access_log logs/shown.log shown;
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
    location = /logged/down {
        authgear_verify down;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /logged/named {
        error_page 401 =200 @logged;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /logged/missing {
        try_files /no-such-file =404;
    }
    location = /logged/accel {
        proxy_pass http://127.0.0.1:$TEST_NGINX_OTHER_PORT/?to=/logged-plain;
    }
    location = /logged/tried {
        try_files /no-such-file /logged-plain;
    }
    location = /logged/off {
        authgear_verify off;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
location @logged {
    access_log logs/shown.log shown;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /logged-plain {
    access_log logs/shown.log shown;
    proxy_pass $TEST_NGINX_ECHO;
}

location = /named {
    authgear_verify myapp;
    error_page 401 =200 @plain;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /login-optional {
    authgear_verify myapp;
    error_page 401 =200 /optional;
    proxy_pass $TEST_NGINX_ECHO;
}
location @plain {
    proxy_pass $TEST_NGINX_ECHO;
}
location = /plain {
    root html;
}
location = /missing {
    authgear_verify myapp;
    error_page 404 /plain;
    try_files /no-such-file =404;
}
location = /tried {
    authgear_verify myapp;
    try_files /no-such-file /plain;
}
location = /tried-named {
    authgear_verify myapp;
    try_files /no-such-file @plain;
}
location = /rewritten {
    rewrite ^ /required last;
}
location = /accel {
    authgear_verify myapp;
    proxy_pass http://127.0.0.1:$TEST_NGINX_OTHER_PORT;
}
location = /directory/ {
    authgear_verify myapp;
    index index.html;
}
location = /directory/index.html {
}

location = /with-auth-request {
    authgear_verify myapp;
    auth_request /recorded;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /with-mirror {
    authgear_verify myapp optional;
    mirror /recorded;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /recorded {
    internal;
    proxy_set_header X-Who "[$authgear_user_id] [$authgear_reason]";
    proxy_pass http://127.0.0.1:$TEST_NGINX_RECORDER;
}
location = /page.shtml {
    authgear_verify myapp;
    ssi on;
    ssi_types *;
}
location = /part.shtml {
    ssi on;
    ssi_types *;
}

location = /mapped {
    authgear_verify myapp optional;
    add_header X-Admin $is_admin;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /cached {
    authgear_verify myapp;
    proxy_cache answers;
    proxy_cache_key $authgear_user_id$uri;
    proxy_cache_valid 200 1m;
    add_header X-Cache $upstream_cache_status;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limited {
    authgear_verify myapp;
    limit_req zone=users;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /moved {
    authgear_verify myapp;
    set $first "[$authgear_user_id]";
    rewrite ^ /moved-here last;
}
location = /moved-here {
    authgear_verify picky observe;
    set $then "[$authgear_user_id]";
    $TEST_NGINX_SHOW
    add_header V-first $first always;
    add_header V-then $then always;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /moved-limited {
    authgear_verify myapp;
    set $first "[$authgear_user_id]";
    rewrite ^ /moved-limited-here last;
}
location = /moved-limited-here {
    authgear_verify picky;
    limit_req zone=users;
    proxy_pass $TEST_NGINX_ECHO;
}

location = /claims {
    authgear_verify myapp;
    $TEST_NGINX_CLAIMS
    proxy_pass $TEST_NGINX_ECHO;
}
location = /known {
    authgear_verify myapp optional;
    add_header K-iss "[$authgear_claim_iss]";
    add_header K-aud "[$authgear_claim_aud]";
    add_header K-exp "[$authgear_claim_exp]";
    add_header K-twice "[$authgear_claim_sub] [$authgear_claim_sub]";
    add_header K-absent "[$authgear_claim_no_such_claim]";
    add_header K-names "[$authgear_claim_a_b] [$authgear_claim_x9]";
    add_header K-case "[$authgear_claim_displayName] [$authgear_claim_UPPER]";
    proxy_pass $TEST_NGINX_ECHO;
}

=== TEST 2: a credential that would have to wait leaves the variables empty for now
--- control
PUT /-/fault/jwks {"mode": "slow", "delay_ms": 700}
--- check
would_have_to_wait
--- config
location = /early {
    authgear_verify myapp observe;
    set $early "[$authgear_user_id] [$authgear_session_valid] [$authgear_user_roles] [$authgear_claim_sub]";
    $TEST_NGINX_SHOW
    add_header V-early $early always;
    proxy_pass $TEST_NGINX_ECHO;
}
