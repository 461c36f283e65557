# Tokens made by a library that has nothing to do with this project: Perl's Crypt::JWT.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Verdict;
use Crypt::JWT qw(decode_jwt encode_jwt);
use MIME::Base64 qw(decode_base64url);

my $origin = standin()->{origin};
my $about = 'https://authgear.com/claims/user/';
my $kid = control('GET', '/-/keys')->{kids}[0];
my $pem = control('GET', '/-/keys/pem');
my $now = time;

# A key for each algorithm, beside the one that Authgear has.
my %other_key;
for (
    [{ kty => 'RSA', alg => undef }, qw(RS256 RS384 RS512 PS256 PS384 PS512)],
    [{ kty => 'EC' }, 'ES256'],
    [{ kty => 'EC', crv => 'P-384' }, 'ES384'],
    [{ kty => 'EC', crv => 'P-521' }, 'ES512'],
    [{ kty => 'OKP' }, 'EdDSA'],
) {
    my ($key, @algorithms) = @$_;
    my $kid = control('POST', '/-/keys/add', $key) =~ s/\s+\z//r;
    my $pem = control('GET', "/-/keys/pem?kid=$kid");
    $other_key{$_} = [$kid, $pem] for @algorithms;
}

# Authgear's claims, all of them.
sub claims_of_a_user {
    my %other = @_;
    return {
        iss => $origin,
        aud => [$origin],
        iat => $now,
        exp => $now + 1800,
        sub => '7e37c8a2-0b7e-4d0f-9d42-1a1f5c3a1b11',
        client_id => 'web-app',
        scope => 'openid offline_access',
        jti => sprintf('%064x', 20_241_121),
        auth_time => $now - 600,
        amr => ['pwd', 'otp', 'mfa'],
        "${about}is_anonymous" => \0,
        "${about}is_verified" => \1,
        "${about}can_reauthenticate" => \1,
        "${about}roles" => ['admin', 'store:manager'],
        %other,
    };
}

sub claims_of_a_client {
    return {
        iss => $origin, aud => ['https://api.example.com'], iat => $now, exp => $now + 1800,
        sub => 'client_id_robot', client_id => 'robot', scope => 'read:items write:items',
        jti => sprintf('%064x', 20_241_122), @_,
    };
}

sub without {
    my ($claims, @names) = @_;
    delete @$claims{@names};
    return $claims;
}

sub foreign {
    my ($claims, %other) = @_;
    return encode_jwt(
        payload => $claims, alg => 'RS256', key => \$pem,
        extra_headers => { kid => $kid, typ => 'at+jwt' }, %other);
}

# The stand-in's own token for the claims of a user.
sub of_the_standin {
    my ($claims) = @_;
    my $is = sub { ${ $claims->{"$about$_[0]"} } ? JSON::PP::true : JSON::PP::false };
    return token(
        user => {
            id => $claims->{sub}, roles => $claims->{"${about}roles"},
            anonymous => $is->('is_anonymous'), verified => $is->('is_verified'),
            can_reauthenticate => $is->('can_reauthenticate'),
        },
        client_id => $claims->{client_id}, scope => $claims->{scope},
        amr => $claims->{amr} || [], auth_time => $claims->{auth_time},
    );
}

sub same_headers {
    my ($name, $theirs, $ours, @wanted) = @_;
    for ([$theirs, 'of the library'], [$ours, 'of the stand-in']) {
        my ($token, $whose) = @$_;
        my $answer = verdict("$name: a token $whose", $token, 'ok');
        is_deeply(echoed_authgear($answer), [sort @wanted],
            "$name: the backend's headers for a token $whose");
    }
}

sub users {
    my $claims = claims_of_a_user();
    same_headers('a user with all claims', foreign($claims), of_the_standin($claims),
        'X-Authgear-Session-Valid: true',
        "X-Authgear-User-Id: $claims->{sub}",
        'X-Authgear-User-Anonymous: false',
        'X-Authgear-User-Verified: true',
        'X-Authgear-User-Can-Reauthenticate: true',
        'X-Authgear-User-Roles: admin,store:manager',
        'X-Authgear-Session-Amr: pwd otp mfa',
        'X-Authgear-Session-Authenticated-At: ' . ($now - 600),
    );
    $claims = without(
        claims_of_a_user(
            "${about}is_anonymous" => \1, "${about}is_verified" => \0,
            "${about}can_reauthenticate" => \0, "${about}roles" => []),
        'amr', 'auth_time');
    same_headers('an anonymous user of an older server', foreign($claims), of_the_standin($claims),
        'X-Authgear-Session-Valid: true',
        "X-Authgear-User-Id: $claims->{sub}",
        'X-Authgear-User-Anonymous: true',
        'X-Authgear-User-Verified: false',
        'X-Authgear-User-Can-Reauthenticate: false',
    );

    # The stand-in's token, read by the library, says what Authgear's says.
    my $read = decode_jwt(token => token(key => $kid), key => \$pem, accepted_alg => 'RS256');
    is_deeply([sort keys %$read], [sort keys %{ claims_of_a_user() }], 'claims of the stand-in');
    $read = decode_jwt(token => token(kind => 'm2m', key => $kid), key => \$pem,
        accepted_alg => 'RS256');
    is_deeply([sort keys %$read], [sort keys %{ claims_of_a_client() }],
        'claims of the stand-in in a client\'s token');
}

sub clients {
    for ([foreign(claims_of_a_client()), 'of the library'],
        [token(kind => 'm2m', client_id => 'robot'), 'of the stand-in'])
    {
        my $answer = verdict("a client's token $_->[1]", $_->[0], 'ok', uri => '/robots');
        is_deeply(echoed_authgear($answer), ['X-Authgear-Session-Valid: true'],
            "the backend's headers for a client's token $_->[1]");
    }
    verdicts(
        ['a client\'s token where a user\'s is wanted', foreign(claims_of_a_client(aud => $origin)),
            'bad_type'],
        ['a user\'s token where a client\'s is wanted',
            foreign(claims_of_a_user(aud => 'https://api.example.com')),
            { reason => 'bad_type', realm => 'robots' }, uri => '/robots'],
    );
}

# A right token with one claim changed, under the signature of the unchanged one.
sub forgeries {
    my $claims = claims_of_a_user();
    my ($header, $payload, $signature) = split /\./, foreign($claims);
    for my $name (sort keys %$claims) {
        my $value = $claims->{$name};
        my $other = ref $value eq 'SCALAR' ? \(1 - $$value)
            : ref $value ? [@$value, 'root'] : $value =~ /^\d{9,10}$/ ? $value + 1 : "$value-root";
        my $changed = (split /\./, foreign({ %$claims, $name => $other }))[1];
        die "nothing was changed\n" if $changed eq $payload;
        verdict("$name changed, the signature not", "$header.$changed.$signature",
            'bad_signature');
        $changed = (split /\./, foreign(without({%$claims}, $name)))[1];
        verdict("$name taken away, the signature not changed", "$header.$changed.$signature",
            'bad_signature');
    }
    my $added = (split /\./, foreign({ %$claims, name => 'root' }))[1];
    verdict('a claim added, the signature not changed', "$header.$added.$signature",
        'bad_signature');
}

# The same changes, signed.
sub refusals {
    my $jwe = encode_jwt(payload => claims_of_a_user(), alg => 'RSA-OAEP', enc => 'A256GCM',
        key => \$pem, extra_headers => { kid => $kid, typ => 'at+jwt' });
    my $secret = 'not much of one';
    verdicts(
        ['another issuer', foreign(claims_of_a_user(iss => 'https://other.example.com')),
            'bad_issuer'],
        ['another audience', foreign(claims_of_a_user(aud => ['https://other.example.com'])),
            'bad_audience'],
        ['expired', foreign(claims_of_a_user(exp => $now - 60)), 'expired'],
        ['exp as a string', foreign(claims_of_a_user(exp => 'tomorrow')), 'bad_claim'],
        ['is_verified as a string', foreign(claims_of_a_user("${about}is_verified" => 'true')),
            'bad_claim'],
        ['not yet valid', foreign(claims_of_a_user(nbf => $now + 3600)), 'not_yet_valid'],
        ['an ID token\'s typ',
            foreign(claims_of_a_user(), extra_headers => { kid => $kid, typ => 'JWT' }),
            'bad_type'],
        ['another kid',
            foreign(claims_of_a_user(), extra_headers => { kid => 'x', typ => 'at+jwt' }),
            'unknown_key'],
        ['HMAC', foreign(claims_of_a_user(), alg => 'HS256', key => $secret),
            'unsupported_algorithm'],
        ['none', foreign(claims_of_a_user(), alg => 'none', allow_none => 1) . 'c2ln',
            'unsupported_algorithm'],
        ['JWE', $jwe, 'unsupported'],
        ['claims that a hook added', foreign(claims_of_a_user(
            name => "Zo\x{eb} \x{1f600}", address => { city => ['Hong Kong', { x => undef }] })),
            'ok'],
    );
}

sub algorithms {
    for my $algorithm (sort keys %other_key) {
        my ($kid, $pem) = @{ $other_key{$algorithm} };
        my $made = sub {
            return foreign(claims_of_a_user(jti => "$algorithm-$_[0]"), alg => $algorithm,
                key => \$pem, extra_headers => { kid => $kid, typ => 'at+jwt' });
        };
        my $token = $made->(0);
        verdict($algorithm, $token, 'ok', uri => '/all');
        my ($header, undef, $signature) = split /\./, $token;
        my $payload = segment(payload());
        verdict("$algorithm over something else", "$header.$payload.$signature",
            { reason => 'bad_signature', realm => 'all' }, uri => '/all');
        next if $algorithm !~ /^ES(?:256|512)$/;

        # Both numbers of the signature have their full length, whatever their size.
        my ($time, $half, @numbers) = (1, 0);
        do {
            $token = $made->($time++);
            $signature = decode_base64url((split /\./, $token)[2]);
            $half = length($signature) / 2;
            @numbers = map { substr $signature, $_ * $half, $half } 0, 1;
        } until grep {/^\0/} @numbers;
        verdict("$algorithm with a number that begins with zeros", $token, 'ok', uri => '/all');
    }
}

our $projects = <<'EOC';
authgear_project myapp { endpoint $TEST_NGINX_AUTHGEAR; }
authgear_project robots {
    endpoint $TEST_NGINX_AUTHGEAR; audience https://api.example.com; token_type client;
}
authgear_project all {
    endpoint $TEST_NGINX_AUTHGEAR;
    algorithms RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA;
}
EOC

our $locations = <<'EOC';
add_header X-Reason $authgear_reason always;
location / { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location /robots { authgear_verify robots; proxy_pass $TEST_NGINX_ECHO; }
location /all { authgear_verify all; proxy_pass $TEST_NGINX_ECHO; }
EOC

sub authgears_tokens {
    users();
    clients();
    forgeries();
    refusals();
}

run_tests();

__DATA__

=== TEST 1: Authgear's claims, signed by another library
--- http_config eval: $::projects
--- config eval: $::locations
--- check: authgears_tokens

=== TEST 2: every algorithm, signed by another library
--- http_config eval: $::projects
--- config eval: $::locations
--- check: algorithms
