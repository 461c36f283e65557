# $authgear_*: what each holds for every kind of caller, and that nothing
# unverified is ever in one.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Variables;

use strict;
use warnings;

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
        expected($token, user_anonymous => 'false', user_verified => 'true',
            user_can_reauthenticate => 'true', user_id => 'ann', user_roles => 'b,a', session_amr => 'pwd mfa',
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

sub one_after_another {
    my $client = connection();
    for my $user (qw(alice bob alice)) {
        $client->request('GET /required', bearer(user => $user));
        is(shown($client->answer)->{user_id}, $user, "on one connection: $user");
    }
}

run_tests();

__DATA__

=== TEST 1: variables of every kind of caller
--- check
of_a_user
of_a_client
of_nobody
never_unverified
one_after_another
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project any {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience $TEST_NGINX_AUTHGEAR https://api.example.com;
    token_type any;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
--- config
$TEST_NGINX_SHOW
$TEST_NGINX_MODES
$TEST_NGINX_EARLY

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
