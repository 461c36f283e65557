# The claims of a token: their types and limits, each from both sides. Every token here is signed by the
# project's own key.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Verdict;

our $projects = <<'EOC';
authgear_project myapp { endpoint $TEST_NGINX_AUTHGEAR; jwks_min_interval 10m; }
authgear_project lenient { endpoint $TEST_NGINX_AUTHGEAR; leeway 10m; }
authgear_project typless { endpoint $TEST_NGINX_AUTHGEAR; typ off; }
authgear_project types { endpoint $TEST_NGINX_AUTHGEAR; typ application/Own+JWT jwt; }
authgear_project audiences {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://one.example.com https://two.example.com;
}
EOC

our $locations = <<'EOC';
add_header X-Reason $authgear_reason always;
location / { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location /lenient { authgear_verify lenient; proxy_pass $TEST_NGINX_ECHO; }
location /typless { authgear_verify typless; proxy_pass $TEST_NGINX_ECHO; }
location /types { authgear_verify types; proxy_pass $TEST_NGINX_ECHO; }
location /audiences { authgear_verify audiences; proxy_pass $TEST_NGINX_ECHO; }
EOC

my $about = 'https://authgear.com/claims/user/';

sub claim_types {
    my @strings = qw(iss client_id scope jti sub);
    my @arrays = ('amr', "${about}roles");
    my @flags = map {"$about$_"} qw(is_anonymous is_verified can_reauthenticate);
    my @times = qw(exp nbf iat auth_time);

    my $rows = sub {
        my ($names, $reason, @values) = @_;
        return map {
            my $name = $_;
            map { ["$name is $_", claims(qq("$name": $_)), $reason] } @values;
        } @$names;
    };
    verdicts(
        $rows->(\@strings, 'bad_claim', 'null', '1', 'true', '["a"]', '{}', '"\\ud800"'),
        $rows->(\@arrays, 'bad_claim', 'null', '1', '"a"', '{}', '[1]', '["a",null]', '[["a"]]',
            '["\\ud800"]'),
        $rows->(\@arrays, 'ok', '[]', '["a"]', '["a","b"]'),
        $rows->(\@flags, 'bad_claim', 'null', '1', '"true"', '[true]', '{}'),
        $rows->(\@flags, 'ok', 'true', 'false'),
        $rows->(['aud'], 'bad_claim', 'null', '1', 'true', '{}', '[1]', '["a",1]', '[["a"]]'),
        $rows->(\@times, 'bad_claim', 'null', '"2000000000"', 'true', '[2000000000]', '{}'),

        # Old tokens and clients' tokens lack these claims.
        (map { ["without $_", { remove => [$_] }, 'ok'] }
            qw(nbf iat auth_time amr client_id scope jti), "${about}roles", @flags),
        ['without exp', { remove => ['exp'] }, 'bad_claim'],
        ['without sub', { remove => ['sub'] }, 'bad_claim'],
        ['sub is empty', claims('"sub": ""'), 'bad_claim'],
        ['a claim of another name may be anything',
            claims('"x": null, "y": 1e400, "roles": 1, "is_verified": "true"'), 'ok'],
    );
}

sub validity {
    my $now = time;
    verdicts(
        (map { [$_->[0], claims($_->[0]), $_->[1]] }
            ['"exp": 9007199254740992', 'ok'],
            ['"exp": 9007199254740993', 'bad_claim'],
            ['"exp": 9007199254740992.0', 'ok'],
            ['"exp": 9007199254740994.0', 'bad_claim'],
            ['"exp": 9.007199254740992e15', 'ok'],
            ['"exp": 1e16', 'bad_claim'],
            ['"exp": 1e400', 'bad_claim'],
            ['"exp": 18446744073709551616', 'bad_claim'],
            ['"exp": 0', 'expired'],
            ['"exp": -0', 'expired'],
            ['"exp": -1', 'bad_claim'],
            ['"exp": -0.5', 'bad_claim'],
            ['"nbf": 0', 'ok'],
            ['"nbf": 9007199254740992', 'not_yet_valid'],
            ['"nbf": 9007199254740993', 'bad_claim'],
            ['"nbf": -1', 'bad_claim'],
            ['"iat": 0', 'ok'],
            ['"iat": 9007199254740993', 'bad_claim'],
            ['"iat": -1', 'bad_claim'],
            ['"auth_time": 0', 'ok'],
            ['"auth_time": 9007199254740992', 'ok'],
            ['"auth_time": 9007199254740993', 'bad_claim'],
            ['"auth_time": -1', 'bad_claim'],
        ),
        ['exp with a fraction, ahead', claims(sprintf '"exp": %d.75', $now + 1800), 'ok'],
        ['exp with a fraction, past', claims(sprintf '"exp": %d.75', $now - 2), 'expired'],
        ['exp with an exponent', claims(sprintf '"exp": %.6fe9', ($now + 1800) / 1e9), 'ok'],
        ['nbf with a fraction, past', claims(sprintf '"nbf": %d.75', $now - 2), 'ok'],
        ['nbf with a fraction, ahead', claims(sprintf '"nbf": %d.75', $now + 1800),
            'not_yet_valid'],
        ['auth_time with a fraction', claims(sprintf '"auth_time": %d.75', $now - 5), 'ok'],
        ['iat in the future is not compared', claims(sprintf '"iat": %d', $now + 86400), 'ok'],
        ['iat after exp is not compared', claims(sprintf '"iat": %d', $now + 1_000_000), 'ok'],

        # Ten minutes of leeway; without any, a second decides.
        ['no leeway: exp a second ago', { expires_in => -1 }, 'expired'],
        ['no leeway: exp five minutes ago', { expires_in => -300 }, 'expired'],
        ['no leeway: nbf in five minutes', { claims => { nbf => $now + 300 } }, 'not_yet_valid'],
        ['no leeway: nbf now', { claims => { nbf => $now } }, 'ok'],
        (map { [@$_, uri => '/lenient'] }
            ['leeway: exp five minutes ago', { expires_in => -300 }, 'ok'],
            ['leeway: exp too long ago', { expires_in => -660 },
                { reason => 'expired', realm => 'lenient' }],
            ['leeway: nbf in five minutes', { claims => { nbf => $now + 300 } }, 'ok'],
            ['leeway: nbf too far ahead', { claims => { nbf => $now + 900 } },
                { reason => 'not_yet_valid', realm => 'lenient' }],
            ['leeway: exp 0', claims('"exp": 0'), { reason => 'expired', realm => 'lenient' }],
            ['leeway is not added to the bound', claims('"exp": 9007199254740993'),
                { reason => 'bad_claim', realm => 'lenient' }],
        ),
    );
}

sub control_characters {
    my @rows;
    for my $escape ('\\u0000', '\\t', '\\n', '\\r', '\\u001f', '\\u007f', "\x7f") {
        my $shown = $escape eq "\x7f" ? 'a raw 0x7f' : $escape;
        push @rows, map { ["$_ with $shown", claims(qq("$_": "a${escape}b")), 'bad_claim'] }
            qw(sub client_id scope jti);
        push @rows, map { ["$_ with $shown", claims(qq("$_": ["a","a${escape}b"])), 'bad_claim'] }
            'amr', "${about}roles";
        push @rows, ["a claim without a variable, with $shown", claims(qq("name": "a${escape}b")),
            'ok'];
    }
    verdicts(
        @rows,
        ['a space is none', claims(qq("sub": "a b", "${about}roles": ["a b"])), 'ok'],
        ['nor is anything beyond ASCII', claims(qq("sub": "\\u0080\\u00e9", "scope": "\\u2028")),
            'ok'],
    );
}

sub audiences {
    my $origin = standin()->{origin};
    my $foreign = { reason => 'bad_audience', realm => 'audiences' };
    verdicts(
        ['aud is a string', claims(qq("aud": "$origin")), 'ok'],
        ['aud is an array of one', claims(qq("aud": ["$origin"])), 'ok'],
        ['aud is an array of more', claims(qq("aud": ["https://x.example.com", "$origin"])), 'ok'],
        ['aud is another string', claims('"aud": "https://x.example.com"'), 'bad_audience'],
        ['aud is an empty array', claims('"aud": []'), 'bad_audience'],
        ['aud is an empty string', claims('"aud": ""'), 'bad_audience'],
        ['aud begins with the audience', claims(qq("aud": "$origin/")), 'bad_audience'],
        ['aud is the beginning of the audience', claims(sprintf '"aud": "%s"', substr $origin, 0, -1),
            'bad_audience'],
        ['aud holds the audience in a list', claims(qq("aud": "x $origin")), 'bad_audience'],
        ['without aud', { remove => ['aud'] }, 'bad_audience'],
        (map { [@$_, uri => '/audiences'] }
            ['any of the audiences', claims('"aud": "https://two.example.com"'), 'ok'],
            ['any of the audiences, in an array',
                claims('"aud": ["https://x.example.com", "https://one.example.com"]'), 'ok'],
            ['none of the audiences', claims('"aud": ["https://three.example.com"]'), $foreign],
            ['the endpoint, where others are named', {}, $foreign],
        ),
    );
}

sub types {
    my $own = { reason => 'bad_type', realm => 'types' };
    my $rows = sub {
        my ($uri, $reason, @types) = @_;
        return map { ["typ $_ at $uri", { header => { typ => $_ } }, $reason, uri => $uri] } @types;
    };
    verdicts(
        $rows->('/', 'ok', 'at+jwt', 'AT+JWT', 'At+Jwt', 'application/at+jwt',
            'APPLICATION/AT+JWT'),
        $rows->('/', 'bad_type', 'JWT', 'jwt', 'application/jwt', '', 'at+jwt ', ' at+jwt', 'at',
            'at+jwts', 'application/', 'application/application/at+jwt', 'text/at+jwt', 'id+jwt'),
        ['no typ', { header_remove => ['typ'] }, 'bad_type'],
        $rows->('/types', 'ok', 'own+jwt', 'application/own+jwt', 'JWT'),
        $rows->('/types', $own, 'at+jwt'),
        ['no typ, where others are named', { header_remove => ['typ'] }, $own, uri => '/types'],
        $rows->('/typless', 'ok', 'JWT', 'at+jwt', ''),
        ['no typ, where it is off', { header_remove => ['typ'] }, 'ok', uri => '/typless'],
        ['typ null, where it is off', { header => { typ => undef } },
            { reason => 'malformed', realm => 'typless' }, uri => '/typless'],
    );
}

run_tests();

__DATA__

=== TEST 1: the claims of a token
--- http_config eval: $::projects
--- config eval: $::locations
--- check: claim_types validity control_characters audiences types
