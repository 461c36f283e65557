# Which signature counts: the allow-list of algorithms, which key is tried, and which keys of a key set are used.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Verdict;
use Crypt::PK::ECC;
use Crypt::PK::Ed25519;
use Crypt::PK::RSA;
use File::Temp qw(tempdir);
use JSON::PP;

my @algorithms = qw(RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA);
my $json = JSON::PP->new->utf8->canonical;
my $origin = standin()->{origin};

# The stand-in's keys: one for each algorithm, and its usual one, which is for RS256 alone.
my $usual = control('GET', '/-/keys')->{kids}[0];
control('POST', '/-/keys/add', $_) for { kty => 'RSA', alg => undef },
    { kty => 'EC' }, { kty => 'EC', crv => 'P-384' }, { kty => 'EC', crv => 'P-521' },
    { kty => 'OKP' };

# Our own, whose key sets say of them what the tests need. The exponents of the second and the third are the least and
# one of the greatest that are used.
my %key = (one => Crypt::PK::RSA->new(\control('GET', "/-/keys/pem?kid=$usual")));
$key{two} = Crypt::PK::RSA->new->generate_key(256, 3);
$key{three} = Crypt::PK::RSA->new->generate_key(256, 0xffff_fffb);
$key{small} = Crypt::PK::RSA->new->generate_key(128);
$key{p256} = Crypt::PK::ECC->new->generate_key('secp256r1');
$key{p256k} = Crypt::PK::ECC->new->generate_key('secp256k1');
$key{ed25519} = Crypt::PK::Ed25519->new->generate_key;

# The public half of a key as a JWK, with more members or others; undef takes one away.
sub jwk {
    my ($name, %more) = @_;
    my %jwk = (%{ $key{$name}->export_key_jwk('public', 1) }, %more);
    delete @jwk{ grep { !defined $jwk{$_} } keys %jwk };
    return \%jwk;
}

my %sign = (
    RS256 => sub { $_[0]->sign_message($_[1], 'SHA256', 'v1.5') },
    RS512 => sub { $_[0]->sign_message($_[1], 'SHA512', 'v1.5') },
    PS256 => sub { $_[0]->sign_message($_[1], 'SHA256', 'pss', 32) },
    'PS256 without salt' => sub { $_[0]->sign_message($_[1], 'SHA256', 'pss', 0) },
    'PS256 with SHA-384' => sub { $_[0]->sign_message($_[1], 'SHA384', 'pss', 48) },
    ES256 => sub { $_[0]->sign_message_rfc7518($_[1], 'SHA256') },
    'ES256 in DER' => sub { $_[0]->sign_message($_[1], 'SHA256') },
    'ES256 of zeros' => sub { "\0" x 64 },
    'ES256 cut off' => sub { substr $_[0]->sign_message_rfc7518($_[1], 'SHA256'), 0, 63 },
    EdDSA => sub { $_[0]->sign_message($_[1]) },
);

# A token signed by the key of that name under a kid, undef for none.
sub token_by {
    my ($name, $kid, $how) = @_;
    $how //= 'RS256';
    my %header = (alg => $how =~ /^(\w+)/, typ => 'at+jwt', defined $kid ? (kid => $kid) : ());
    my $text = segment($json->encode(\%header)) . '.' . segment(payload());
    return $text . '.' . segment($sign{$how}->($key{$name}, $text));
}

sub document { return $json->encode({ keys => [@_] }) }

# A project with keys from a file.
my $folder = tempdir(CLEANUP => 1);
our $file_projects = '';
our $file_locations = 'add_header X-Reason $authgear_reason always;';

sub file_project {
    my ($name, @keys) = @_;
    open my $out, '>', "$folder/$name" or die "cannot write $folder/$name: $!\n";
    print {$out} document(@keys);
    close $out;
    $file_projects .= qq(authgear_project $name {
        issuer $origin; audience $origin; jwks_file $folder/$name;
        algorithms RS256 RS512 PS256 ES256 EdDSA;
    }\n);
    $file_locations .= "location /$name { authgear_verify $name; proxy_pass \$TEST_NGINX_ECHO; }\n";
}

file_project('nameless', jwk('one'));
file_project('several', jwk('one', kid => 'a'), jwk('two', kid => 'b'), jwk('p256', kid => 'c'));
file_project('namesakes',
    jwk('one', kid => 'a'), jwk('two', kid => 'a'), jwk('p256', kid => 'a'),
    jwk('ed25519', kid => 'a'));
file_project('bound',
    jwk('one', kid => 'a', alg => 'RS512'), jwk('two', kid => 'b', alg => 'RS256'),
    jwk('p256', kid => 'c', alg => 'ES256'));

# A project whose keys are those of a tenant of the stand-in. What the tokens say of issuer and audience is the same
# for all.
our $remote_projects = '';
our $remote_locations = 'add_header X-Reason $authgear_reason always;';

sub remote_project {
    my ($name, $document, $more) = @_;
    $more //= '';
    control('PUT', "/-/keys/raw?project=https://$name.test", $document);
    $remote_projects .= qq(authgear_project $name {
        endpoint https://$name.test; internal_endpoint \$TEST_NGINX_AUTHGEAR;
        issuer $origin; audience $origin; $more
    }\n);
    $remote_locations .= "location /$name { authgear_verify $name; proxy_pass \$TEST_NGINX_ECHO; }\n";
}

sub number { return segment(pack 'H*', $_[0]) }

# Keys that are no use: kid, JWK, and what the log line says.
my $modulus = jwk('one')->{n};
my @unusable = (
    ['rsa-1024', jwk('small'), '1024 bits'],
    ['rsa-2047', jwk('one', n => number('7f' . 'ff' x 255)), '2047 bits'],
    ['rsa-8193', jwk('one', n => number('01' . 'ff' x 1024)), '8193 bits'],
    ['exponent-even', jwk('one', e => number('010000')), 'exponent'],
    ['exponent-1', jwk('one', e => number('01')), 'exponent'],
    ['exponent-0', jwk('one', e => number('00')), 'exponent'],
    ['exponent-33-bits', jwk('one', e => number('0100000001')), 'exponent'],
    ['no-modulus', jwk('one', n => undef), 'n is absent'],
    ['no-exponent', jwk('one', e => undef), 'e is absent'],
    ['padded-modulus', jwk('one', n => "$modulus=="), 'base64url'],
    ['use-enc', jwk('one', use => 'enc'), 'use'],
    ['use-empty', jwk('one', use => ''), 'use'],
    ['ops-sign', jwk('one', key_ops => ['sign']), 'key_ops'],
    ['ops-empty', jwk('one', key_ops => []), 'key_ops'],
    ['alg-es256', jwk('one', alg => 'ES256'), 'alg'],
    ['alg-hs256', jwk('one', alg => 'HS256'), 'alg'],
    ['alg-none', jwk('one', alg => 'none'), 'alg'],
    ['type-oct', { kty => 'oct', k => segment('a secret that is shared by everybody') }, 'key type'],
    ['type-new', { kty => 'PQ', pub => 'AAAA' }, 'key type'],
    ['type-none', jwk('one', kty => undef), ''],
    ['curve-k', jwk('p256k', crv => 'secp256k1'), 'curve'],
    ['off-the-curve', jwk('p256', x => number('05' x 32)), 'curve'],
    ['curve-x25519', { kty => 'OKP', crv => 'X25519', x => number('05' x 32) }, 'curve'],
);
my %signs = ('rsa-1024' => ['small'], 'curve-k' => ['p256k', 'ES256'],
    'off-the-curve' => ['p256', 'ES256'], 'curve-x25519' => ['ed25519', 'EdDSA']);
my @usable = (
    ['plain', 'one'],
    ['use-sig', 'one', use => 'sig'],
    ['ops-verify', 'one', key_ops => ['sign', 'verify']],
    ['exponent-3', 'two'],
    ['exponent-32-bits', 'three'],
    ['of-authgear', 'one', use => 'sig', alg => 'RS256', created_at => 1700000000],
    ['with-what-nobody-reads', 'one', x5c => ['MIIB'], x5u => 1, d => 'AAAA'],
);
my @mixed = (
    (map { { %{ $_->[1] }, kid => $_->[0] } } @unusable),
    7, 'text', undef, jwk('two', kid => 7), jwk('two', kid => undef, use => 'enc'),
    (map { my ($kid, $name, %more) = @$_; jwk($name, %more, kid => $kid) } @usable),
);
remote_project('mixed', document(@mixed), 'algorithms RS256 ES256 EdDSA; jwks_min_interval 10m;');

my $good = document(jwk('one', kid => 'a'));
my %broken = (
    'over 64 keys' => document(map { jwk('one', kid => $_) } 'a', 2 .. 65),
    'over 256 KiB' => $good . ' ' x (256 * 1024 + 1 - length $good),
    'without a key' => document(),
    'without a usable key' => document(jwk('one', kid => 'a', use => 'enc')),
    'without "keys"' => '{}',
    'with keys that are no array' => '{"keys": {"a": 1}}',
    'that is a list' => '[' . $json->encode(jwk('one', kid => 'a')) . ']',
    'that is no JSON' => substr($good, 0, -1),
    'that is empty' => '',
);
my (%broken_name, %turning_name);
for my $what (sort keys %broken) {
    remote_project($broken_name{$what} = 'broken' . keys %broken_name, $broken{$what});
    remote_project($turning_name{$what} = 'turning' . keys %turning_name, $good,
        'jwks_refresh 1s;');
}
remote_project('keys64', document(map { jwk('one', kid => $_) } 2 .. 64, 'a'));
remote_project('kib256', $good . ' ' x (256 * 1024 - length $good));

our $list_projects = join "\n", map {
    "authgear_project only_$_ { endpoint \$TEST_NGINX_AUTHGEAR; algorithms $_; }"
} @algorithms;
$list_projects .= <<'EOC' . "algorithms @algorithms; }\n";
authgear_project pair { endpoint $TEST_NGINX_AUTHGEAR; algorithms ES256 PS512; }
authgear_project usual { endpoint $TEST_NGINX_AUTHGEAR; }
authgear_project all { endpoint $TEST_NGINX_AUTHGEAR;
EOC
our $list_locations = join "\n", 'add_header X-Reason $authgear_reason always;', map {
    "location /$_ { authgear_verify $_; proxy_pass \$TEST_NGINX_ECHO; }"
} qw(pair usual all), map {"only_$_"} @algorithms;

sub allow_lists {
    for my $algorithm (@algorithms) {
        my $token = token(alg => $algorithm);
        my $row = sub {
            my ($project, $is_listed) = @_;
            my $expected = $is_listed ? 'ok' : 'unsupported_algorithm';
            verdict("$algorithm at a project of $project", $token,
                { reason => $expected, realm => $project }, uri => "/$project");
        };
        $row->('all', 1);
        $row->('usual', $algorithm eq 'RS256');
        $row->('pair', $algorithm =~ /^(?:ES256|PS512)$/);
        $row->("only_$_", $algorithm eq $_) for @algorithms;
    }
    verdicts(map { ["$_ is in no list", token(alg => $_) . ($_ eq 'none' && 'c2ln'),
        { reason => 'unsupported_algorithm', realm => 'all' }, uri => '/all'] }
        qw(none HS256 HS384 HS512));
    verdicts(map { ["alg is compared with case: $_", { header => { alg => $_ } },
        { reason => 'unsupported_algorithm', realm => 'all' }, uri => '/all'] }
        qw(rs256 Rs256 RS-256 ES256K EDDSA Ed25519), '', 'RS256 ');
    verdicts(map { ["a stranger's $_", { alg => $_, key => 'stranger' },
        { reason => 'bad_signature', realm => 'all' }, uri => '/all'] } @algorithms);
    verdicts(['a key that is for RS256 alone', { alg => 'RS512', key => $usual },
        { reason => 'unsupported_algorithm', realm => 'all' }, uri => '/all']);
}

sub which_key {
    my $at = sub {
        my ($project, @rows) = @_;
        verdicts(map { ["$project: $_->[0]", $_->[1], { reason => $_->[2], realm => $project },
            uri => "/$project"] } @rows);
    };
    $at->('nameless',
        ['no kid, one key', token_by('one'), 'ok'],
        ['no kid, one key, another one of its algorithms', token_by('one', undef, 'PS256'), 'ok'],
        ['no kid, signed by another', token_by('two'), 'bad_signature'],
        ['no kid, no key of that type', token_by('p256', undef, 'ES256'), 'unknown_key'],
        ['a kid that the key has not', token_by('one', 'a'), 'unknown_key'],
        ['an empty kid is one', token_by('one', ''), 'unknown_key'],
    );
    $at->('several',
        ['a kid', token_by('one', 'a'), 'ok'],
        ['another kid', token_by('two', 'b'), 'ok'],
        ['a kid, and its neighbour\'s signature', token_by('one', 'b'), 'bad_signature'],
        ['a kid in another case', token_by('one', 'A'), 'unknown_key'],
        ['a kid with a blank', token_by('one', 'a '), 'unknown_key'],
        ['an unknown kid', token_by('one', 'x'), 'unknown_key'],
        ['no kid, two keys fit', token_by('one'), 'unknown_key'],
        ['no kid, two keys fit the second too', token_by('two'), 'unknown_key'],
        ['no kid, one key fits', token_by('p256', undef, 'ES256'), 'ok'],
        ['no kid, no key fits', token_by('ed25519', undef, 'EdDSA'), 'unknown_key'],
        ['the kid of a key of another type', token_by('one', 'c'), 'unsupported_algorithm'],
        ['and the other way round', token_by('p256', 'a', 'ES256'), 'unsupported_algorithm'],
    );
    $at->('namesakes',
        ['the first of one kid', token_by('one', 'a'), 'ok'],
        ['the second', token_by('two', 'a'), 'ok'],
        ['one of another type', token_by('p256', 'a', 'ES256'), 'ok'],
        ['and another', token_by('ed25519', 'a', 'EdDSA'), 'ok'],
        ['none of them', token_by('three', 'a'), 'bad_signature'],
    );
    $at->('bound',
        ['a key\'s own alg', token_by('one', 'a', 'RS512'), 'ok'],
        ['another alg than the key\'s own', token_by('one', 'a'), 'unsupported_algorithm'],
        ['another alg of the family', token_by('one', 'a', 'PS256'), 'unsupported_algorithm'],
        ['no kid, one key is for RS256', token_by('two'), 'ok'],
        ['no kid, one key is for RS512', token_by('one', undef, 'RS512'), 'ok'],
        ['no kid, no key is for PS256', token_by('one', undef, 'PS256'), 'unknown_key'],
    );
    $at->('several',
        ['ES256 in DER', token_by('p256', 'c', 'ES256 in DER'), 'bad_signature'],
        ['ES256 of zeros', token_by('p256', 'c', 'ES256 of zeros'), 'bad_signature'],
        ['ES256 with a byte too few', token_by('p256', 'c', 'ES256 cut off'), 'bad_signature'],
        ['PS256', token_by('one', 'a', 'PS256'), 'ok'],
        ['PS256 without salt', token_by('one', 'a', 'PS256 without salt'), 'bad_signature'],
        ['PS256 with SHA-384', token_by('one', 'a', 'PS256 with SHA-384'), 'bad_signature'],
    );
}

sub mixed {
    verdicts(
        (map { my ($kid, $name) = @$_;
            ["$kid is used", token_by($name, $kid), 'ok', uri => '/mixed'] } @usable),
        (map { my ($kid) = @$_;
            my ($name, $how) = @{ $signs{$kid} || ['one'] };
            ["$kid is not used", token_by($name, $kid, $how),
                { reason => 'unknown_key', realm => 'mixed' }, uri => '/mixed'] } @unusable),
        ['a number is no kid', token_by('two', '7'), { reason => 'unknown_key', realm => 'mixed' },
            uri => '/mixed'],
    );

    my @log = grep {m{authgear: keys of https://mixed\.test\b.*: key .* skipped: }} log_lines('error.log', 1);
    for my $unusable (@unusable) {
        my ($kid, undef, $cause) = @$unusable;
        my @lines = grep {/key "\Q$kid\E" skipped/} @log;
        is(scalar @lines, 1, "$kid: one log line");
        like($lines[0] // '', qr/\[warn\].*: key "\Q$kid\E" skipped: .*\Q$cause\E/,
            "$kid: the log line names the cause");
    }
    my $first = @unusable + 1;
    for my $number ($first .. $first + 4) {
        is(scalar(grep {/key number $number skipped: /} @log), 1,
            "the entry number $number has a log line");
    }
    is(scalar @log, @unusable + 5, 'no other key has one');
}

sub documents {
    verdicts(
        ['64 keys', token_by('one', 'a'), 'ok', uri => '/keys64'],
        ['256 KiB', token_by('one', 'a'), 'ok', uri => '/kib256'],
    );
    for my $what (sort keys %broken) {
        verdict("a key set $what", token_by('one', 'a'), 'keys_unavailable',
            uri => "/$broken_name{$what}");
        my @lines = grep {m{authgear: keys of https://$broken_name{$what}\.test\b}}
            log_lines('error.log', 1);
        is(scalar @lines, 1, "a key set $what: one log line names the endpoint");
    }

    # A key set that was good turns into one of these.
    my $fetches = sub { control('GET', "/-/counts?project=https://$_[0].test")->{jwks} };
    for my $what (sort keys %broken) {
        my $name = $turning_name{$what};
        verdict("before: a key set $what", token_by('one', 'a'), 'ok', uri => "/$name");
        control('PUT', "/-/keys/raw?project=https://$name.test", $broken{$what});
    }
    for my $what (sort keys %broken) {
        my $name = $turning_name{$what};
        my $failed = sub {
            ask("GET /$name", 'Authorization: Bearer ' . token_by('one', 'a'));
            return $fetches->($name) > 1
                && grep {m{authgear: keys of https://$name\.test\b}} log_lines('error.log', 1);
        };
        ok(&wait_for($failed, 10), "fetched again: a key set $what");
        verdict("a key set $what replaces nothing", token_by('one', 'a'), 'ok', uri => "/$name");
    }
}

# The same rules where the keys come from a file, which nginx -t reads.
sub files {
    my $project = sub {
        my ($document) = @_;
        open my $out, '>', "$folder/set" or die "cannot write $folder/set: $!\n";
        print {$out} $document;
        close $out;
        return config_output(
            "authgear_project a { issuer a; audience a; jwks_file $folder/set; }");
    };
    my ($said, $status) = $project->(document(@mixed));
    is($status, 0, 'a file with a usable key');
    for my $unusable (@unusable) {
        my ($kid, undef, $cause) = @$unusable;
        like($said, qr/\[warn\] .*: key "\Q$kid\E" skipped: .*\Q$cause\E/, "$kid: nginx -t warns");
    }
    my @warnings = $said =~ /\[warn\]/g;
    is(scalar @warnings, @unusable + 5, 'nginx -t warns of no other key');

    for my $what (sort keys %broken) {
        ($said, $status) = $project->($broken{$what});
        is($status, 1, "a file $what stops nginx -t");
        like($said, qr/\[emerg\] .*"jwks_file".*nginx\.conf:1/, "a file $what: the message");
    }
    ($said, $status) = $project->($good . ' ' x (256 * 1024 - length $good));
    is($status, 0, 'a file of 256 KiB');
}

run_tests();

__DATA__

=== TEST 1: the allow-list decides, not the token
--- http_config eval: $::list_projects
--- config eval: $::list_locations
--- check: allow_lists

=== TEST 2: a key is used only for its own kid, type and alg
--- http_config eval: $::file_projects
--- config eval: $::file_locations
--- check: which_key

=== TEST 3: a key that cannot be used is skipped with a log line, and costs no other
--- http_config eval: $::remote_projects
--- config eval: $::remote_locations
--- check: mixed

=== TEST 4: a key set over a limit, or without a usable key, is refused whole and replaces nothing
--- http_config eval: $::remote_projects
--- config eval: $::remote_locations
--- check: documents

=== TEST 5: key sets from a file
--- config
--- check: files
