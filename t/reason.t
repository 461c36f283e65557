# Every word of $authgear_reason that a JWT can cause, each with the whole answer that comes of it.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Verdict;
use MIME::Base64 qw(decode_base64url);

our $projects = <<'EOC';
authgear_project myapp { endpoint $TEST_NGINX_AUTHGEAR; jwks_min_interval 10m; }
authgear_project apps { endpoint $TEST_NGINX_AUTHGEAR; client_id web-app mobile-app; }
authgear_project robots {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://api.example.com;
    token_type client;
}
authgear_project anyone {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://api.example.com $TEST_NGINX_AUTHGEAR;
    token_type any;
}
authgear_project other_issuer { endpoint $TEST_NGINX_AUTHGEAR; issuer https://other.example.com; }
EOC

our $locations = <<'EOC';
add_header X-Reason $authgear_reason always;
add_header X-Valid $authgear_session_valid always;
add_header X-User $authgear_user_id always;
add_header X-Type $authgear_token_type always;
add_header X-Claims $authgear_claims always;
location / { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location /apps { authgear_verify apps; proxy_pass $TEST_NGINX_ECHO; }
location /robots { authgear_verify robots; proxy_pass $TEST_NGINX_ECHO; }
location /anyone { authgear_verify anyone; proxy_pass $TEST_NGINX_ECHO; }
location /other_issuer { authgear_verify other_issuer; proxy_pass $TEST_NGINX_ECHO; }
location /optional { authgear_verify myapp optional; proxy_pass $TEST_NGINX_ECHO; }
location /observe { authgear_verify myapp observe; proxy_pass $TEST_NGINX_ECHO; }
EOC

# The token with one segment changed by the function.
sub tampered {
    my ($index, $change) = @_;
    my @segments = split /\./, token(user => 'alice');
    my $text = decode_base64url($segments[$index]);
    my $changed = $change->($text);
    die "nothing was changed\n" if $changed eq $text;
    $segments[$index] = segment($changed);
    return join '.', @segments;
}

sub invalid { return { reason => $_[0], session_valid => 'false', @_[1 .. $#_] } }

sub valid { return { reason => 'ok', session_valid => 'true', @_ } }

sub none { return { reason => 'no_credential', session_valid => undef, @_ } }

sub every_reason {
    my ($header) = split /\./, token();

    verdicts(
        ['ok: a token of Authgear', { user => 'alice' }, valid()],
        ['no_credential: no token', undef, none()],

        ['malformed: a payload that is no JSON', { raw_payload => 'no JSON' }, invalid('malformed')],
        ['malformed: a header that is no JSON', { raw_header => '{"alg":"RS256"' },
            invalid('malformed')],
        ['malformed: a character that no token may have', token() . '!', invalid('malformed')],

        ['unsupported_algorithm: none, with some signature', token(alg => 'none') . 'c2ln',
            invalid('unsupported_algorithm')],
        ['unsupported: none without a signature is no JWT', token(alg => 'none'),
            invalid('unsupported')],
        ['unsupported_algorithm: HMAC with the public key as its secret', { alg => 'HS256' },
            invalid('unsupported_algorithm')],
        ['unsupported_algorithm: another one of the key\'s type', { alg => 'RS384' },
            invalid('unsupported_algorithm')],

        ['unknown_key: a kid of no key', { header => { kid => 'unheard-of' } },
            invalid('unknown_key')],
        ['bad_signature: a stranger\'s key under the current kid', { key => 'stranger' },
            invalid('bad_signature')],
        ['bad_signature: another payload', tampered(1, sub { $_[0] =~ s/alice/carol/r }),
            invalid('bad_signature')],
        ['bad_signature: another header', tampered(0, sub { $_[0] =~ s/^\{/{ /r }),
            invalid('bad_signature')],
        ['bad_signature: another signature',
            tampered(2, sub { substr($_[0], 0, 8) . ~substr($_[0], 8, 1) . substr($_[0], 9) }),
            invalid('bad_signature')],
        ['bad_signature: a part of a signature', tampered(2, sub { substr $_[0], 0, -1 }),
            invalid('bad_signature')],
        ['bad_signature before anything that the payload says',
            { key => 'stranger', expires_in => -3600, claims => { iss => 'x' } },
            invalid('bad_signature')],

        ['expired', { expires_in => -3600 }, invalid('expired')],
        ['not_yet_valid', { claims => { nbf => time + 3600 } }, invalid('not_yet_valid')],
        ['bad_issuer: another', { claims => { iss => 'https://other.example.com' } },
            invalid('bad_issuer')],
        ['bad_issuer: one more slash', { claims => { iss => standin()->{origin} . '/' } },
            invalid('bad_issuer')],
        ['bad_issuer: none', { remove => ['iss'] }, invalid('bad_issuer')],
        ['ok: the issuer that the project names',
            { claims => { iss => 'https://other.example.com' } }, valid(), uri => '/other_issuer'],
        ['bad_issuer: the endpoint, where the project names another', {},
            invalid('bad_issuer', realm => 'other_issuer'), uri => '/other_issuer'],
        ['bad_audience: another', { audience => ['https://other.example.com'] },
            invalid('bad_audience')],
        ['bad_audience: none', { remove => ['aud'] }, invalid('bad_audience')],

        ['bad_client: another', { client_id => 'other-app' },
            invalid('bad_client', realm => 'apps'), uri => '/apps'],
        ['bad_client: none', { remove => ['client_id'] },
            invalid('bad_client', realm => 'apps'), uri => '/apps'],
        ['ok: one of the clients', { client_id => 'mobile-app' }, valid(), uri => '/apps'],
        ['ok: any client where none is named', { client_id => 'other-app' }, valid()],

        ['bad_type: an ID token', { kind => 'id', audience => [standin()->{origin}] },
            invalid('bad_type')],
        ['bad_type: typ JWT', { header => { typ => 'JWT' } }, invalid('bad_type')],
        ['bad_type: no typ', { header_remove => ['typ'] }, invalid('bad_type')],
        ['bad_type: a client\'s token where a user\'s is wanted',
            { kind => 'm2m', audience => [standin()->{origin}] }, invalid('bad_type')],
        ['bad_type: a user\'s token where a client\'s is wanted',
            { audience => ['https://api.example.com'] },
            invalid('bad_type', realm => 'robots'), uri => '/robots'],
        ['ok: a client\'s token where it is wanted', { kind => 'm2m' }, valid(), uri => '/robots'],
        ['ok: a client\'s token where any is', { kind => 'm2m' }, valid(), uri => '/anyone'],
        ['ok: a user\'s token where any is', {}, valid(), uri => '/anyone'],

        ['bad_claim: exp is a string', { claims => { exp => '2000000000' } },
            invalid('bad_claim')],

        ['unsupported: an opaque token', { kind => 'opaque' }, invalid('unsupported')],
        ['unsupported: crit', { header => { crit => ['exp'], exp => 2000000000 } },
            invalid('unsupported')],
        ['unsupported: b64', { header => { b64 => JSON::PP::true } }, invalid('unsupported')],
        ['unsupported: JWE',
            segment('{"alg":"RSA-OAEP","enc":"A256GCM"}') . '.a2V5.aXY.dGV4dA.dGFn',
            invalid('unsupported')],
        ['unsupported: a JWS of two segments', $header . '.e30', invalid('unsupported')],
    );

    my $answer = verdict('ok: the user is known', { user => 'alice' }, valid());
    is(header($answer, 'X-User'), 'alice', 'ok: $authgear_user_id');
    $answer = verdict('bad_type: nothing is known of the user',
        { user => 'alice', header => { typ => 'JWT' } }, invalid('bad_type'));
    is_deeply([header_lines($answer, qr/^X-(?:User|Type|Claims)$/)], [],
        'variables are never filled from a token that is refused');
    is(counts()->{jwks}, 1, 'all that with one fetch');
}

sub optional {
    verdicts(map { [@$_, uri => '/optional'] }
        ['optional, no token: passes as anonymous', undef, none(mode => 'optional')],
        ['optional, a valid one', { user => 'alice' }, valid()],
        ['optional, expired', { expires_in => -3600 }, invalid('expired')],
        ['optional, a stranger\'s key', { key => 'stranger' }, invalid('bad_signature')],
        ['optional, unknown key', { header => { kid => 'x' } }, invalid('unknown_key')],
        ['optional, malformed', { raw_payload => '[]' }, invalid('malformed')],
        ['optional, an ID token', { kind => 'id' }, invalid('bad_type')],
        ['optional, opaque', { kind => 'opaque' }, invalid('unsupported')],
    );
}

sub observe {
    my @mode = (mode => 'observe');
    for my $row (
        ['observe, no token', undef, none(@mode)],
        ['observe, malformed', { raw_payload => '[]' }, invalid('malformed', @mode)],
        ['observe, none', token(alg => 'none') . 'c2ln', invalid('unsupported_algorithm', @mode)],
        ['observe, unknown key', { header => { kid => 'x' } }, invalid('unknown_key', @mode)],
        ['observe, a stranger\'s key', { key => 'stranger' }, invalid('bad_signature', @mode)],
        ['observe, expired', { expires_in => -3600 }, invalid('expired', @mode)],
        ['observe, an ID token', { kind => 'id' }, invalid('bad_type', @mode)],
        ['observe, opaque', { kind => 'opaque' }, invalid('unsupported', @mode)],
    ) {
        my $answer = verdict(@$row, uri => '/observe');
        is_deeply([header_lines($answer, qr/^X-(?:User|Type|Claims)$/)], [],
            "$row->[0]: nobody is known");
        is_deeply([grep { /User/ } @{ echoed_authgear($answer) }], [],
            "$row->[0]: the backend is told of no user");
    }
    my $answer = verdict('observe, a valid token', { user => 'alice' }, valid(@mode),
        uri => '/observe');
    is(header($answer, 'X-User'), 'alice', 'observe: $authgear_user_id');
}

sub no_keys {
    my %nobody = (reason => 'keys_unavailable', session_valid => undef);
    for my $row (
        ['required', '/', \%nobody],
        ['optional', '/optional', \%nobody],
        ['observe', '/observe', { %nobody, mode => 'observe' }],
    ) {
        my ($mode, $uri, $expected) = @$row;
        my $answer = verdict("keys_unavailable in $mode: 503, no challenge", {}, $expected,
            uri => $uri);
        is_deeply([header_lines($answer, qr/^X-(?:User|Type|Claims)$/)], [],
            "keys_unavailable in $mode: all is empty but the reason");
        is_deeply(echoed_authgear($answer), [], 'observe passes it as anonymous')
            if $mode eq 'observe';
    }
    verdicts(
        ['without keys, no token is still 401', undef, none()],
        ['without keys, no token still passes where it is optional', undef,
            none(mode => 'optional'), uri => '/optional'],
        ['without keys, what needs none to be refused is refused', token() . '!',
            invalid('malformed')],
        ['without keys, HMAC is refused', { alg => 'HS256' }, invalid('unsupported_algorithm')],
        ['without keys, an algorithm that is not listed is refused', { alg => 'RS384' },
            invalid('unsupported_algorithm')],
        ['without keys, an expired token gets no verdict', { expires_in => -3600 }, \%nobody],
        ['without keys, a stranger\'s token gets no verdict', { key => 'stranger' }, \%nobody],
        ['without keys, HEAD gets the same', {}, \%nobody, method => 'HEAD'],
    );
}

run_tests();

__DATA__

=== TEST 1: each reason has its status, its challenge and its word
--- http_config eval: $::projects
--- config eval: $::locations
--- check: every_reason

=== TEST 2: optional lets nobody in by a bad credential
--- http_config eval: $::projects
--- config eval: $::locations
--- check: optional

=== TEST 3: observe refuses nothing, and says what would have happened
--- http_config eval: $::projects
--- config eval: $::locations
--- check: observe

=== TEST 4: no keys, no verdict
--- control
PUT /fault/jwks {"mode": "status", "status": 500}
--- http_config eval: $::projects
--- config eval: $::locations
--- check: no_keys

=== TEST 5: no discovery, no verdict
--- control
PUT /fault/discovery {"mode": "close"}
--- http_config eval: $::projects
--- config eval: $::locations
--- check: no_keys
