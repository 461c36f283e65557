# The challenge of a refused client, letter for letter (RFC 6750, section 3), and its line in error.log.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Verdict;

our $projects = <<'EOC';
authgear_project myapp { endpoint $TEST_NGINX_AUTHGEAR; }
authgear_project My-app_2.test { endpoint $TEST_NGINX_AUTHGEAR; }
EOC

our $locations = <<'EOC';
add_header X-Reason $authgear_reason always;
location / { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location /other { authgear_verify My-app_2.test; proxy_pass $TEST_NGINX_ECHO; }
location /optional { authgear_verify myapp optional; proxy_pass $TEST_NGINX_ECHO; }
location /observe { authgear_verify myapp observe; proxy_pass $TEST_NGINX_ECHO; }
location /static { authgear_verify myapp; }
EOC

my $app = 'Bearer realm="myapp"';
my $other = 'Bearer realm="My-app_2.test"';

sub challenges {
    my $good = token();
    my $expired = token(expires_in => -60);
    my $error = 'error="invalid_token", error_description="the access token expired"';
    my $authorization = sub { return headers => ["Authorization: $_[0]"] };

    verdicts(
        ['nothing sent', undef, { reason => 'no_credential', challenge => $app }],
        ['a credential sent', $expired, { reason => 'expired', challenge => "$app, $error" }],
        ['nothing sent, the realm is the project', undef,
            { reason => 'no_credential', challenge => $other }, uri => '/other'],
        ['a credential sent, the realm is the project', $expired,
            { reason => 'expired', challenge => "$other, $error" }, uri => '/other'],
        ['a credential sent to optional', $expired,
            { reason => 'expired', challenge => "$app, $error" }, uri => '/optional'],
        ['before a static file', $expired, { reason => 'expired', challenge => "$app, $error" },
            uri => '/static/file'],
        ['accepted: no challenge', $good, 'ok'],
        ['accepted before a static file', $good, { reason => 'ok', body => qr/\Aa file\n\z/ },
            uri => '/static'],
        ['nothing sent to optional: no challenge', undef,
            { reason => 'no_credential', mode => 'optional' }, uri => '/optional'],
        ['observe: no challenge', $expired, { reason => 'expired', mode => 'observe' },
            uri => '/observe'],

        (map { ["no credential of ours: $_->[0]", undef, 'no_credential', @{ $_->[1] }] }
            ['Bearer with nothing behind', [$authorization->('Bearer')]],
            ['Bearer with blanks behind', [$authorization->('Bearer   ')]],
            ['no value at all', [$authorization->('')]],
            ['Basic', [$authorization->('Basic YWxpY2U6c2VjcmV0')]],
            ['Basic with a JWT', [$authorization->("Basic $good")]],
            ['a JWT without a scheme', [$authorization->($good)]],
            ['a scheme that begins alike', [$authorization->("BearerToken $good")]],
            ['a scheme that ends alike', [$authorization->("MyBearer $good")]],
            ['Bearer with something else than a space behind',
                [$authorization->("Bearer:$good")]],
            ['another header', [headers => ["Proxy-Authorization: Bearer $good"]]],
            ['a cookie session', [headers => ['Cookie: session=abc']]],
            ['a cookie app_session', [headers => ['Cookie: app_session=abc']]],
            ['a cookie app_access_token that is opaque',
                [headers => ['Cookie: app_access_token=abc']]],
            ['an argument in the URI', [uri => "/?access_token=$good"]],
            ['a form', [method => 'POST', body => "access_token=$good"]],
        ),
        ['Basic does not hide a cookie', undef, 'ok', headers =>
            ['Authorization: Basic YWxpY2U6c2VjcmV0', "Cookie: app_access_token=$good"]],
        ['an invalid JWT in a cookie is a credential', undef, 'expired',
            headers => ["Cookie: app_access_token=$expired"]],

        (map { ["the scheme $_", undef, 'ok', $authorization->("$_ $good")] }
            qw(Bearer bearer BEARER bEaReR)),
        (map { ["malformed: $_->[0]", undef, 'malformed', $authorization->($_->[1])] }
            ['two spaces', "Bearer  $good"],
            ['a space and a tab', "Bearer \t$good"],
            ['a space in the token', 'Bearer ' . $good =~ s/\./ ./r],
            ['two tokens', "Bearer $good $good"],
            ['a comma', "Bearer $good,realm=x"],
            ['quotes', "Bearer \"$good\""],
            ['a line tabulation', "Bearer $good\x0b"],
            ['a letter beyond ASCII', "Bearer $good\xe9"],
            ['an equals sign in the middle', 'Bearer ' . $good =~ s/\./=./r],
            ['nothing but an equals sign', 'Bearer ='],
        ),
        ['a blank at the end is no part of the value', undef, 'ok',
            $authorization->("Bearer $good  ")],
    );

    for my $method (qw(HEAD POST PUT DELETE OPTIONS)) {
        my @body = $method =~ /^P/ ? (body => 'x' x 20_000) : ();
        verdicts(
            ["$method, nothing sent", undef, 'no_credential', method => $method, @body],
            ["$method, expired", $expired, 'expired', method => $method, @body],
            ["$method, expired, before a static file", $expired, 'expired', method => $method,
                @body, uri => '/static'],
            ["$method, accepted", $good, 'ok', method => $method, @body],
        );
    }
    verdict('a preflight without bypass', undef, 'no_credential', method => 'OPTIONS',
        headers => ['Origin: https://example.com', 'Access-Control-Request-Method: PUT']);

    # HEAD is told what GET is.
    for my $token (undef, $good, $expired, token(key => 'stranger')) {
        my @headers = defined $token ? "Authorization: Bearer $token" : ();
        my ($get, $head) = map {
            my $answer = ask("$_ /static", @headers);
            join "\n", $answer->{status}, header_lines($answer, qr/^(?!Date|Connection)/);
        } 'GET', 'HEAD';
        is($head, $get, 'HEAD and GET: ' . ($get =~ /^X-Reason: (.*)/m)[0]);
    }
}

sub more_than_one {
    my $good = token();
    for (
        ['the same twice', "Authorization: Bearer $good", "Authorization: Bearer $good"],
        ['two tokens', "Authorization: Bearer $good", 'Authorization: Bearer ' . token()],
        ['a token and Basic', "Authorization: Bearer $good", 'Authorization: Basic YTpi'],
        ['Basic and a token', 'Authorization: Basic YTpi', "Authorization: Bearer $good"],
        ['names in other cases', "authorization: Bearer $good", "AUTHORIZATION: Bearer $good"],
        ['the second without a value', "Authorization: Bearer $good", 'Authorization:'],
        ['the first without a value', 'Authorization:', "Authorization: Bearer $good"],
        ['neither of ours', 'Authorization: Basic YTpi', 'Authorization: Basic YTpj'],
    ) {
        my ($name, @headers) = @$_;
        for my $uri ('/', '/optional', '/static') {
            my $answer = ask("GET $uri", @headers);
            is($answer->{status}, 400, "$name at $uri: 400");
            is(header($answer, 'WWW-Authenticate'), undef, "$name at $uri: no challenge");
            like($answer->{body}, qr/<h1>400 /, "$name at $uri: nginx's own page");
            my @told = grep { index($answer->{body}, $_) >= 0 } secrets($good), 'X-Authgear';
            is_deeply(\@told, [], "$name at $uri: the page tells nothing");
        }
    }
}

# The lines that a request adds to error.log.
sub added {
    my ($request) = @_;
    my $before = () = log_lines('error.log', 0);
    $request->();
    my @lines = log_lines('error.log', 0);
    return @lines[$before .. $#lines];
}

sub logged {
    my $told = 'words-of-the-user';
    my %claims = (
        claims => { name => $told, sub => $told, iss => "https://$told.example.com" },
        client_id => $told, scope => $told, header => { "x-$told" => $told },
    );
    my $kid = "$told\n2020/01/01 00:00:00 [emerg] 1#1: $told";
    my $good = token(user => $told);

    for my $row (
        ['malformed', { %claims, raw_payload => qq({"sub":"$told","sub":"$told"}) }],
        ['malformed', "$good!"],
        ['unsupported_algorithm', { %claims, alg => 'HS256' }],
        ['unsupported_algorithm', { %claims, header => { alg => $told } }],
        ['unknown_key', { %claims, header => { kid => $told } }],
        ['bad_claim', { %claims, header => { kid => $kid } }],
        ['bad_signature', { %claims, key => 'stranger' }],
        ['expired', { %claims, expires_in => -60 }],
        ['not_yet_valid', { %claims, claims => { nbf => time + 3600, sub => $told } }],
        ['bad_issuer', \%claims],
        ['bad_audience', { audience => [$told], user => $told }],
        ['bad_type', { user => $told, header => { typ => "JWT-$told" } }],
        ['bad_claim', { claims => { sub => "$told\n$told" } }],
        ['unsupported', { user => $told, header => { crit => [$told] } }],
        ['unsupported', "$told.opaque"],
    ) {
        my ($reason, $token) = @$row;
        $token = minted($token);
        for my $mode ('required', 'optional', 'observe') {
            my $name = "$reason, $mode";
            my @lines = added(sub {
                verdict($name, $token, { reason => $reason, mode => $mode },
                    uri => $mode eq 'required' ? '/' : "/$mode")
            });
            my @ours = grep {/authgear/} @lines;
            is(scalar @ours, 1, "$name: one line in error.log");
            my $observed = $mode eq 'observe' ? qr{, would be 401, \d+ of these so far} : '';
            like($ours[0] // '',
                qr{ \[\w+\] [\d#]+: \*\d+ authgear: $reason, project "myapp"$observed(?:, and \d+ like it before, logged at level info)?, client: },
                "$name: the line");
            my @secrets = grep { my $secret = $_; grep { index($_, $secret) >= 0 } @lines }
                secrets($token), $told;
            is_deeply(\@secrets, [], "$name: error.log holds neither the token nor a claim");
        }
    }

    my @lines = added(sub { verdict('accepted', $good, 'ok') });
    is_deeply([grep {/authgear/} @lines], [], 'accepted: no line');
}

# Debug lines show headers, which is nginx's doing; those of the module show nothing.
sub debugged {
    my $token = token(user => 'words-of-the-user');
    my $bad = token(user => 'words-of-the-user', expires_in => -60);
    my @lines = added(sub {
        verdicts(['with debug lines', $token, 'ok'], ['with debug lines, refused', $bad, 'expired']);
    });
    my @ours = grep {/: \*\d+ authgear/} @lines;
    ok(scalar @ours, 'there are lines of the module');
    for my $secret (secrets($token), secrets($bad)) {
        is_deeply([grep { index($_, $secret) >= 0 } @ours], [], 'no line of the module holds a secret');
    }
}

run_tests();

__DATA__

=== TEST 1: a challenge says what RFC 6750 has it say, and no more
--- http_config eval: $::projects
--- config eval: $::locations
--- user_files
>>> static
a file
--- check: challenges

=== TEST 2: more than one Authorization header is 400
--- http_config eval: $::projects
--- config eval: $::locations
--- check: more_than_one

=== TEST 3: a refused token has one line in error.log, without the token or any claim
--- log_level: info
--- http_config eval: $::projects
--- config eval: $::locations
--- check: logged

=== TEST 4: the module's debug lines hold no token either
--- http_config eval: $::projects
--- config eval: $::locations
--- check: debugged
