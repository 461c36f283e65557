# The limits of a token, each from both sides. Unless a case says otherwise, every token here is signed by
# the project's own key, so that its form alone decides.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Verdict;
use Crypt::PK::RSA;
use HTTP::Tiny;
use JSON::PP;

our $projects = <<'EOC';
large_client_header_buffers 4 64k;
authgear_project myapp { endpoint $TEST_NGINX_AUTHGEAR; jwks_min_interval 10m; }
EOC

our $locations = <<'EOC';
add_header X-Reason $authgear_reason always;
location / { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
EOC

my $kid = control('GET', '/-/keys')->{kids}[0];

# The right header, with more members behind it as text.
sub jose {
    my ($more) = @_;
    return qq({"alg":"RS256","kid":"$kid","typ":"at+jwt") . (defined $more ? ",$more" : '') . '}';
}

# A signed token of that many bytes.
sub token_of {
    my ($length) = @_;
    for my $blanks (0 .. 3) {
        my $header = segment(jose() . ' ' x $blanks);
        my $filled = payload('"x":""');
        my $room = $length - length("$header..") - 342;
        my $text = int($room * 3 / 4) - length $filled;
        $filled = payload('"x":"' . 'x' x $text . '"');
        my $token = signed($header, segment($filled));
        return $token if length $token == $length;
    }
    die "no token of $length bytes\n";
}

sub sizes {
    my $frame = length jose('"x":""');
    my $header_of = sub { segment(jose('"x":"' . 'x' x ($_[0] - $frame) . '"')) };
    my $many = join ',', map {qq("n$_":$_)} 1 .. 700;

    verdicts(
        ['a token of 16 KiB', token_of(16 * 1024), 'ok'],
        ['a token over 16 KiB', token_of(16 * 1024 + 1), 'malformed'],
        ['a token of 32 KiB', token_of(32 * 1024), 'malformed'],
        ['a JOSE header of 8 KiB', signed($header_of->(8 * 1024), segment(payload())), 'ok'],
        ['a JOSE header over 8 KiB', signed($header_of->(8 * 1024 + 1), segment(payload())),
            'malformed'],
        ['hundreds of claims', { raw_payload => payload($many) }, 'ok'],
        ['hundreds of claims, one of them twice', { raw_payload => payload("$many,\"n9\":9") },
            'malformed'],
    );
}

# An array or object of that depth.
sub arrays { return '[' x $_[0] . ']' x $_[0] }
sub objects { return '{"a":' x $_[0] . '1' . '}' x $_[0] }

sub nesting {
    verdicts(
        ['payload, 64 deep', { raw_payload => payload('"x":' . arrays(63)) }, 'ok'],
        ['payload, 65 deep', { raw_payload => payload('"x":' . arrays(64)) }, 'malformed'],
        ['payload of objects, 64 deep', { raw_payload => payload('"x":' . objects(63)) }, 'ok'],
        ['payload of objects, 65 deep', { raw_payload => payload('"x":' . objects(64)) },
            'malformed'],
        ['payload, 5000 deep', { raw_payload => payload('"x":' . arrays(5000)) }, 'malformed'],
        ['brackets in a string are no depth', { raw_payload => payload('"x":"\\"' . '[{' x 99 . '"') },
            'ok'],
        ['arrays side by side are no depth',
            { raw_payload => payload('"x":[' . join(',', ('[{}]') x 99) . ']') }, 'ok'],
        ['header, 64 deep', { raw_header => jose('"x":' . arrays(63)) }, 'ok'],
        ['header, 65 deep', { raw_header => jose('"x":' . arrays(64)) }, 'malformed'],
    );
}

# The segment with its last letter replaced by one that differs in the unused bits alone.
sub with_trailing_bits {
    my ($segment) = @_;
    my $alphabet = join '', 'A' .. 'Z', 'a' .. 'z', 0 .. 9, '-', '_';
    length($segment) % 4 or die "no unused bits\n";
    my $last = chop $segment;
    return $segment . substr $alphabet, index($alphabet, $last) + 1, 1;
}

# JSON text with blanks behind it, so that its length is that modulo 3.
sub of_length_modulo {
    my ($rest, $text) = @_;
    $text .= ' ' while length($text) % 3 != $rest;
    return $text;
}

sub base64url {
    my $header = segment(of_length_modulo(1, jose()));
    my $payload = segment(of_length_modulo(1, payload()));
    # Text whose base64url has both letters that the other alphabet writes in another way.
    my $odd_header = segment(jose('"x":"' . '>>>???' x 3 . '"'));
    my $odd_payload = segment(payload('"x":"' . '>>>???' x 3 . '"'));
    ($odd_header =~ /-/ && $odd_header =~ /_/ && $odd_payload =~ /-/ && $odd_payload =~ /_/)
        or die "the odd text is not odd\n";
    my $standard = sub { $_[0] =~ tr{-_}{+/}r };
    # The signature's own segment, with its bytes unchanged.
    my $resigned = sub {
        my ($change, $token) = @_;
        my ($h, $p, $s) = split /\./, $token // signed($header, $payload);
        return join '.', $h, $p, $change->($s);
    };
    my $odd_signature;
    do { $odd_signature = signed($header, segment(payload('"x":' . rand))) }
        until $odd_signature =~ /[^.]*-[^.]*\z/ && $odd_signature =~ /_[^.]*\z/;

    verdicts(
        ['base64url without padding', signed($header, $payload), 'ok'],
        ['padding of the header', signed("$header==", $payload), 'malformed'],
        ['padding of the payload', signed($header, "$payload=="), 'malformed'],
        ['padding of the signature', $resigned->(sub { $_[0] . '==' }), 'malformed'],

        ['- and _ in the header', signed($odd_header, $payload), 'ok'],
        ['- and _ in the payload', signed($header, $odd_payload), 'ok'],
        ['- and _ in the signature', $odd_signature, 'ok'],
        ['+ and / in the header', signed($standard->($odd_header), $payload), 'malformed'],
        ['+ and / in the payload', signed($header, $standard->($odd_payload)), 'malformed'],
        ['+ and / in the signature', $resigned->($standard, $odd_signature), 'malformed'],

        ['trailing bits in the header', signed(with_trailing_bits($header), $payload),
            'malformed'],
        ['trailing bits in the payload', signed($header, with_trailing_bits($payload)),
            'malformed'],
        ['trailing bits in the signature', $resigned->(\&with_trailing_bits), 'malformed'],

        ['a letter that stands for no byte, header', signed($header . 'AAA', $payload),
            'malformed'],
        ['a letter that stands for no byte, payload', signed($header, $payload . 'AAA'),
            'malformed'],
        ['a tilde, which a token may have and base64url may not', signed("$header~", $payload),
            'malformed'],
    );
}

sub objects_only {
    verdicts(
        (map { ["payload $_->[0]", { raw_payload => $_->[1] }, $_->[2] // 'malformed'] }
            ['with blanks around', " \n" . payload() . "\r\n\t", 'ok'],
            ['with blanks inside', payload() =~ s/,/ ,\n/gr, 'ok'],
            ['is an array', '[' . payload() . ']'],
            ['is a string', '"alice"'],
            ['is null', 'null'],
            ['is two objects', payload() . payload()],
            ['with something behind it', payload() . 'x'],
            ['with a NUL behind it', payload() . "\0"],
            ['with a byte order mark', "\x{feff}" . payload()],
            ['with a comma too many', payload() =~ s/\}\z/,}/r],
            ['with a comment', '/**/' . payload()],
            ['that ends early', payload() =~ s/\}\z//r],
            ['with a raw line feed in a string', payload("\"x\":\"a\nb\"")],
            ['with NaN', payload('"x":NaN')],
            ['with a leading zero', payload('"x":01')],
        ),
        ['payload with Unicode', { raw_payload => payload("\"x\":\"\x{20ac}\x{1f600}\"") }, 'ok'],
        ['payload that is not UTF-8', signed(segment(jose()), segment(payload("\"x\":\"\xff\""))),
            'malformed'],
        ['header that is not UTF-8', signed(segment(jose("\"x\":\"\xff\"")), segment(payload())),
            'malformed'],
        (map { ["header $_->[0]", { raw_header => $_->[1] }, $_->[2] // 'malformed'] }
            ['with blanks around', ' ' . jose() . "\n", 'ok'],
            ['with an object behind it', jose() . '{}'],
            ['without alg', qq({"kid":"$kid","typ":"at+jwt"})],
            ['with alg null', qq({"alg":null,"kid":"$kid","typ":"at+jwt"})],
            ['with alg in an array', qq({"alg":["RS256"],"kid":"$kid","typ":"at+jwt"})],
            ['with a kid that is a number', '{"alg":"RS256","kid":1,"typ":"at+jwt"}'],
            ['with a kid that is null', '{"alg":"RS256","kid":null,"typ":"at+jwt"}'],
            ['with a typ that is a number', qq({"alg":"RS256","kid":"$kid","typ":1})],
        ),
    );
}

sub duplicates {
    verdicts(
        (map { ["header with $_->[0]", { raw_header => jose($_->[1]) }, $_->[2] // 'malformed'] }
            ['alg twice', '"alg":"RS256"'],
            ['kid twice', qq("kid":"$kid")],
            ['typ twice', '"typ":"at+jwt"'],
            ['an unknown name twice', '"x":1,"x":1'],
            ['a name twice, once escaped', qq("k\\u0069d":"$kid")],
            ['a name twice below the top level', '"x":{"a":1,"a":2}', 'ok'],
            ['names that differ in case', '"ALG":"none","Kid":"x"', 'ok'],
        ),
        (map { ["payload with $_->[0]", { raw_payload => payload($_->[1]) },
            $_->[2] // 'malformed'] }
            ['exp twice', '"exp":2000000000'],
            ['sub twice', '"sub":"user-of-a-made-token"'],
            ['an unknown name twice', '"x":1,"y":2,"x":1'],
            ['the empty name twice', '"":1,"":1'],
            ['sub twice, once escaped', '"\\u0073ub":"mallory"'],
            ['a name twice, escaped in two ways', '"\\u00E9":1,"\\u00e9":1'],
            ['a name twice, once as a surrogate pair', qq("\\ud83d\\ude00":1,"\x{1f600}":1)],
            ['a name twice in an object of its own', '"x":{"a":1,"a":2}', 'ok'],
            ['a name twice in an array\'s object', '"x":[{"sub":1,"sub":2}]', 'ok'],
            ['sub at the top and below', '"x":{"sub":"mallory"}', 'ok'],
            ['names that differ in case', '"SUB":"mallory","Exp":1', 'ok'],
        ),
        ['an escaped name is the name',
            { raw_payload => payload() =~ s/"sub"/"\\u0073\\u0075\\u0062"/r }, 'ok'],
    );
}

sub extensions {
    my $reason = 'unsupported';
    verdicts(map { ["header with $_->[0]", { raw_header => jose($_->[0]) }, $_->[1]] }
        ['"crit":["exp"],"exp":2000000000', $reason],
        ['"crit":[]', $reason],
        ['"crit":null', $reason],
        ['"\\u0063rit":["b64"]', $reason],
        ['"b64":false', $reason],
        ['"b64":true', $reason],
        ['"crit":["b64"],"b64":false', $reason],
        ['"enc":"A256GCM"', $reason],
        ['"x":{"crit":["exp"],"b64":false}', 'ok'],
        ['"cty":"JWT"', 'ok'],
    );
    my $jwe = segment('{"alg":"RSA-OAEP","enc":"A256GCM"}');
    verdicts(
        ['JWE', "$jwe.a2V5.aXY.dGV4dA.dGFn", $reason],
        ['JWE without a key', "$jwe..aXY.dGV4dA.dGFn", $reason],
        ['four segments', signed(segment(jose()), segment(payload())) . '.e30', $reason],
        ['no payload', segment(jose()) . '..' . 'c2ln', $reason],
    );
}

# A token that says which key its sender must prove to have is no bearer token (RFC 7800), whatever it says.
sub bound_to_a_key {
    my $reason = 'unsupported';
    verdicts(
        (map { ["cnf is $_", claims(qq("cnf": $_)), $reason] } 'null', '{}', '""', '[]', 'false',
            '{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}',
            '{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}', '{"jwk":{"kty":"RSA"}}'),
        ['cnf with an escape in its name', { raw_payload => payload('"c\\u006ef":1') }, $reason],
        ['cnf in a custom claim, or in capitals', claims('"CNF": {}, "x": {"cnf": {}}'), 'ok'],
    );
}

# An attacker's key in the token's header, by every parameter that can name one.
sub keys_in_the_header {
    my $attacker = Crypt::PK::RSA->new;
    $attacker->generate_key(256);
    my $jwk = JSON::PP->new->decode($attacker->export_key_jwk('public'));

    my $server = start_standin();
    my $own = control('GET', '/-/keys', undef, $server)->{kids}[0];
    my $uri = "$server->{http}/oauth2/jwks";

    my $forged = sub {
        my ($name, $more) = @_;
        my $header = segment(JSON::PP->new->canonical->encode(
            { alg => 'RS256', typ => 'at+jwt', kid => $name, %$more }));
        my $payload = segment(payload());
        my $signature = $attacker->sign_message("$header.$payload", 'SHA256', 'v1.5');
        return join '.', $header, $payload, segment($signature);
    };
    my $theirs = sub {
        my ($name, $more) = @_;
        my $text = control('POST', '/-/token',
            { header => { kid => $name, %$more }, raw_payload => payload() }, $server);
        $text =~ s/\s+\z//;
        return $text;
    };

    verdicts(
        ['jwk of a stranger under the current kid', $forged->($kid, { jwk => $jwk }),
            'bad_signature'],
        ['jwk of a stranger under its own kid', $forged->('own', { jwk => { %$jwk, kid => 'own' } }),
            'unknown_key'],
        ['x5c of a stranger', $forged->($kid, { x5c => ['MIIB'] }), 'bad_signature'],
        ['jku of a stranger under the current kid', $theirs->($kid, { jku => $uri }),
            'bad_signature'],
        ['jku of a stranger under its own kid', $theirs->($own, { jku => $uri }), 'unknown_key'],
        ['x5u of a stranger under the current kid', $theirs->($kid, { x5u => $uri }),
            'bad_signature'],
        ['x5u of a stranger under its own kid', $theirs->($own, { x5u => $uri }), 'unknown_key'],
        ['in a good token they are passed over, whatever their type',
            { header => { jwk => 1, jku => $uri, x5u => [], x5c => {} } }, 'ok'],
    );
    my $counted = sub { control('GET', '/-/counts', undef, $server)->{jwks} };
    is($counted->(), 0, 'nobody followed jku or x5u');
    HTTP::Tiny->new->get($uri);
    is($counted->(), 1, 'anybody could have');
    is(counts()->{jwks}, 1, 'none of that made another fetch');
}

sub every_limit {
    sizes();
    nesting();
    base64url();
    objects_only();
    duplicates();
    extensions();
    bound_to_a_key();
    keys_in_the_header();
}

run_tests();

__DATA__

=== TEST 1: the limits of a token
--- http_config eval: $::projects
--- config eval: $::locations
--- check: every_limit
