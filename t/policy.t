# Who may do what: every requirement in every mode, for every kind of caller,
# and what a caller is told who does not meet it. The table and the examples of
# the README's chapter are what is run here.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);

$ENV{TEST_NGINX_BACKEND_PORT} = port(1);
my $origin = standin()->{origin};
my $plan = 'https://example.com/claims';

# --- who asks

my $now = time;
user(id => 'ann', roles => ['editor', 'admin']);
user(id => 'bob', roles => ['reader']);
my %ann = (user => 'ann', scope => 'openid read:reports', claims => { $plan => { plan => 'gold' } });
my %bob = (user => 'bob', scope => 'openid', claims => { $plan => { plan => '0' } }, auth_time => $now - 7200);
my %reports = (audience => [$origin, 'https://reports.example.com']);

my %caller = (
    nobody => [],
    # Ann meets what is asked, Bob does not.
    ann => [bearer(%ann)],
    bob => [bearer(%bob)],
    'ann in a cookie' => [cookie(app_access_token => token(%ann))],
    'bob in a cookie' => [cookie(app_access_token => token(%bob))],
    # Clients are granted what no resolver tells.
    robot => [bearer(kind => 'm2m', client_id => 'robot', audience => [$origin], scope => 'read:reports',
        claims => { $plan => { plan => 'gold' } })],
    toy => [bearer(kind => 'm2m', client_id => 'toy', audience => [$origin], scope => 'read:items')],
    # The resolver's sessions, in each form.
    "ann's session" => [cookie(session => session(user => 'ann'))],
    "bob's session" => [cookie(session => session(user => 'bob', amr => ['pwd', 'mfa'], auth_time => $now - 7200))],
    "ann's app session" => [cookie(app_session => session(user => 'ann', kind => 'app'))],
    "ann's opaque token" => ['Authorization: Bearer ' . token(kind => 'opaque', user => 'ann', scope => 'read:reports')],
    "bob's opaque token" => ['Authorization: Bearer '
        . token(kind => 'opaque', user => 'bob', auth_time => $now - 7200)],
    "ann's opaque cookie" => [cookie(app_access_token => token(kind => 'opaque', user => 'ann'))],
    # Bad ones.
    expired => [bearer(%ann, expires_in => -1)],
    forged => [bearer(%ann, key => 'stranger')],
    'a dead session' => [cookie(session => 'made-up')],
    # Others that the audience and client rules tell apart.
    'ann for reports' => [bearer(%ann, audience => ['https://reports.example.com'])],
    'robot for reports' => [bearer(kind => 'm2m', client_id => 'robot', scope => 'read:reports',
        audience => ['https://reports.example.com'])],
    'ann by web' => [bearer(%ann, client_id => 'web')],
    'ann by app' => [bearer(%ann, client_id => 'app')],
    'ann who logged in unknown when' => [bearer(%ann, auth_time => undef)],
    "ann's session of unknown age" => [cookie(session => session(user => 'ann', auth_time => undef))],
);

# --- what they are told

my $bearer = 'Bearer realm="myapp"';
my %challenge = (
    no_credential => $bearer,
    scope => "$bearer, error=\"insufficient_scope\", "
        . 'error_description="the access token lacks a scope that is needed", scope="openid read:reports"',
    age => "$bearer, error=\"insufficient_user_authentication\", "
        . 'error_description="a more recent log-in is required", max_age="900"',
    value401 => "$bearer, error=\"invalid_token\", error_description=\"the caller does not meet the requirements\"",
    map { ($_->[0] => "$bearer, error=\"invalid_token\", error_description=\"$_->[1]\"") }
        ['expired', 'the access token expired'],
        ['bad_signature', 'the signature of the access token is invalid'],
        ['session_invalid', 'the session is invalid'],
        ['bad_audience', 'the access token is meant for another audience'],
        ['bad_client', 'the access token was issued to another client'],
);

# The requirements of the locations below /required/, /optional/ and /observe/:
# what a caller is told who does not meet them, and what the log says.
my %requirement = (
    role => { line => 'authgear_require_role owner admin;', status => 403, challenge => undef,
        log => 'needs a role of "owner", "admin"' },
    scope => { line => 'authgear_require_scope openid read:reports;', status => 403,
        challenge => $challenge{scope}, log => 'needs the scope "openid", "read:reports"' },
    age => { line => 'authgear_require_auth_age 15m;', status => 401, challenge => $challenge{age},
        log => 'needs a log-in within 900 s' },
    value => { line => 'authgear_require $plan;', status => 403, challenge => undef,
        log => '"authgear_require" is not met' },
    value401 => { line => 'authgear_require $plan error=401;', status => 401,
        challenge => $challenge{value401}, log => '"authgear_require" is not met' },
    value403 => { line => 'authgear_require $plan error=403;', status => 403, challenge => undef,
        log => '"authgear_require" is not met' },
    # The first that is not met is told: values, roles, scope, log-in.
    all => { line => 'authgear_require_auth_age 15m; authgear_require_scope openid read:reports; '
            . 'authgear_require_role owner admin; authgear_require $plan error=401;',
        status => 401, challenge => $challenge{value401}, log => '"authgear_require" is not met' },
);
$ENV{TEST_NGINX_REQUIREMENTS} = join "\n", map {
    my $mode = $_;
    map { "location /$mode/$_ { authgear_verify myapp $mode; $requirement{$_}{line}"
            . ' proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT; }' } sort keys %requirement
} qw(required optional observe);
$ENV{TEST_NGINX_REQUIREMENTS} =~ s/\$TEST_NGINX_BACKEND_PORT/port(1)/ge;

# The examples of the README's chapter, word for word but for the backend.
my $readme = do {
    open my $in, '<', abs_path(dirname(__FILE__) . '/..') . '/README.md' or die "no README: $!\n";
    local $/;
    <$in>;
};
my ($chapter) = $readme =~ /^## Who may do what\n(.*?)^## /ms or die "the README has no such chapter\n";
($ENV{TEST_NGINX_EXAMPLES}) = $chapter =~ /^```nginx\n(.*?)^```$/ms or die "the chapter has no example\n";
$ENV{TEST_NGINX_EXAMPLES} =~ s{http://backend}{'http://127.0.0.1:' . port(1)}ge;

# --- asking

my $asked = 0;
my @let_in;

# One request: status, and "reason session_valid user". Each has a number, and
# the backend notes which it saw.
sub outcome {
    my ($path, $who, $method) = @_;
    my $headers = $caller{$who} or die "nobody is called $who\n";
    my $join = $path =~ /\?/ ? '&' : '?';
    $asked++;
    my $answer = ask(($method // 'GET') . " $path${join}n=$asked", @$headers);
    push @let_in, $asked if $answer->{status} == 200;
    return ($answer, join ' ', $answer->{status}, header($answer, 'X-Told') // '');
}

# Rows: who, status, "reason session_valid user", challenge.
sub told {
    my ($path, @rows) = @_;
    for my $row (@rows) {
        my ($who, $status, $told, $challenge, $method) = @$row;
        my ($answer, $outcome) = outcome($path, $who, $method);
        is($outcome, "$status $told", "$path, $who: $status $told");
        is(header($answer, 'WWW-Authenticate'), $challenge, "$path, $who: the challenge");
        is(header($answer, 'Retry-After'), undef, "$path, $who: no Retry-After");
    }
}

sub user_of {
    my ($who) = @_;
    return $who =~ /^(ann|bob)/ ? $1 : '-';
}

# What each caller meets: 1 where the requirement is met.
my %meets = (
    ann => { role => 1, scope => 1, age => 1, value => 1 },
    'ann in a cookie' => { role => 1, scope => 1, age => 1, value => 1 },
    bob => {},
    'bob in a cookie' => {},
    robot => { value => 1 },
    toy => {},
    (map { ($_ => { role => 1, age => 1 }) } "ann's session", "ann's app session", "ann's opaque token",
        "ann's opaque cookie"),
    (map { ($_ => {}) } "bob's session", "bob's opaque token"),
    'ann who logged in unknown when' => { role => 1, scope => 1, value => 1 },
    "ann's session of unknown age" => { role => 1 },
);
for my $meets (values %meets) {
    $meets->{value401} = $meets->{value403} = $meets->{value};
}
$meets{$_}{all} = 1 for 'ann', 'ann in a cookie';

# --- checks

sub in_every_mode {
    for my $name (sort keys %requirement) {
        my $requirement = $requirement{$name};
        for my $who (sort keys %meets) {
            my $user = user_of($who);
            next if $name eq 'all' && !$meets{$who}{all} && $meets{$who}{value};
            if ($meets{$who}{$name}) {
                told("/$_/$name", [$who, 200, "ok true $user"]) for qw(required optional observe);
                next;
            }
            told("/$_/$name", [$who, $requirement->{status}, "policy true $user", $requirement->{challenge}])
                for qw(required optional);
            told("/observe/$name", [$who, 200, "policy true $user"]);
        }
        # Whoever is not known is not asked for more.
        for my $mode (qw(required optional)) {
            told("/$mode/$name",
                ['nobody', 401, 'no_credential - -', $challenge{no_credential}],
                ['expired', 401, 'expired false -', $challenge{expired}],
                ['forged', 401, 'bad_signature false -', $challenge{bad_signature}],
                ['a dead session', 401, 'session_invalid false -', $challenge{session_invalid}]);
        }
        told("/observe/$name",
            ['nobody', 200, 'no_credential - -'], ['expired', 200, 'expired false -'],
            ['forged', 200, 'bad_signature false -'], ['a dead session', 200, 'session_invalid false -']);
    }
}

# What error.log holds beyond so many lines, once there is more.
sub tail {
    my ($before) = @_;
    my @lines = log_lines('error.log', $before + 1);
    return @lines[$before .. $#lines];
}

# Nobody is not asked who they are, as long as all that is asked is met.
sub of_the_anonymous {
    told('/value-of-anybody',
        ['nobody', 401, 'no_credential - -', $bearer], ['ann', 403, 'policy true ann']);
    told('/value-of-anybody?pass=1', ['nobody', 200, 'no_credential - -'], ['ann', 200, 'ok true ann'],
        ['expired', 401, 'expired false -', $challenge{expired}]);
    told('/value-of-anybody?pass=0', ['nobody', 401, 'no_credential - -', $bearer]);
    told('/value-of-anybody-401', ['nobody', 401, 'no_credential - -', $bearer],
        ['ann', 401, 'policy true ann', $challenge{value401}]);
}

# The first requirement that is not met is the one that is told.
sub in_their_order {
    for my $row (
        ['robot', 403, undef, 'needs a role of "owner", "admin"'],
        ["ann's session", 401, $challenge{value401}, '"authgear_require" is not met'],
        ['ann who logged in unknown when', 401, $challenge{age}, 'needs a log-in within 900 s'],
    ) {
        my ($who, $status, $challenge, $log) = @$row;
        my $before = () = log_lines('error.log', 0);
        told('/required/all', [$who, $status, 'policy true ' . user_of($who), $challenge]);
        my @lines = grep {/authgear: policy/} tail($before);
        is(scalar @lines, 1, "all, $who: one line");
        like($lines[0], qr/authgear: policy, project "myapp", \Q$log\E(?: while sending to client)?, client: /,
            "all, $who: $log");
    }
}

# One line for each refusal, at level error, that says which requirement it was
# and nothing of the caller.
sub in_the_error_log {
    for my $name (sort keys %requirement) {
        for my $who ('bob', "bob's session", 'toy') {
            my $before = () = log_lines('error.log', 0);
            outcome("/required/$name", $who);
            my @ours = grep {/authgear: /} tail($before);
            is(scalar @ours, 1, "$name, $who: one line");
            my $log = $requirement{$name}{log};
            $log .= ', and the resolver tells none' if $name eq 'scope' && $who eq "bob's session";
            like($ours[0], qr/ \[error\] \d+#\d+: \*\d+ authgear: policy, project "myapp", \Q$log\E(?: while sending to client)?, client: 127\.0\.0\.1, /,
                "$name, $who: the line");
            my ($ours) = $ours[0] =~ /authgear: (.*?), client: /;
            unlike($ours, qr/bob|reader|gold|toy|read:items/, "$name, $who: no claim is in it");
        }
        my $before = () = log_lines('error.log', 0);
        outcome("/optional/$name", 'nobody');
        outcome("/required/$name", 'nobody');
        outcome("/required/$name", 'expired');
        my @ours = grep {/authgear: /} tail($before);
        is(scalar @ours, 1, "$name: whoever sends nothing leaves no line");
        like($ours[0], qr/\[info\].* authgear: expired, project "myapp", client: /, "$name: whoever is expired leaves one");
    }
}

# The README's table: the row of each directive, and who shows each cell.
my @table = (
    ['`authgear_require_role`', 'its roles', 'never met', 'its roles', '403'],
    ['`authgear_require_scope`', 'its scope', 'its scope', 'never met',
        '403, `error="insufficient_scope"` with `scope` (RFC 6750)'],
    ['`authgear_require_auth_age`', 'its `auth_time`', 'never met', 'its log-in',
        '401, `error="insufficient_user_authentication"` with `max_age` (RFC 9470)'],
    ['`authgear_require`', 'its values', 'its values', 'its values',
        '403; with `error=401`, `error="invalid_token"`'],
    ['`audience`, `authgear_audience`', 'its `aud`', 'its `aud`', 'met by the `endpoint` or `issuer` alone', '401, `bad_audience`'],
    ['`client_id`', 'its `client_id`', 'its `client_id`', 'never met', '401, `bad_client`'],
);

sub the_table_of_the_readme {
    my ($rows) = $chapter =~ /^\| what is asked \|.*\n\|[-|]+\n((?:\|.*\n)+)/m or die "the chapter has no table\n";
    my @rows = map { [map { s/^\s+|\s+$//gr } (split /\|/)[1 .. 5]] } split /\n/, $rows;
    is_deeply(\@rows, \@table, 'the table is the one that is run');

    my $cells = sub {
        my ($row, $path, %of) = @_;
        my $refused = $of{refused};
        for my $kind (0 .. 2) {
            my $cell = "$table[$row][0] of " . ("a user's JWT", "a client's JWT", 'a session')[$kind]
                . ": $table[$row][$kind + 1]";
            my ($met, $unmet) = @{ $of{cells}[$kind] };
            if ($met) {
                my ($answer, $outcome) = outcome($path->[0], $met);
                is($outcome, '200 ok true ' . user_of($met), "$cell, met");
            }
            my ($answer, $outcome) = outcome($path->[-1], $unmet);
            is($outcome, $refused->[0] . ($refused->[0] =~ /policy/ ? ' true ' . user_of($unmet) : ' false -'),
                "$cell, not met");
            is(header($answer, 'WWW-Authenticate'), $refused->[1], "$cell: $table[$row][4]");
        }
    };
    $cells->(0, ['/required/role'], refused => ['403 policy', undef],
        cells => [['ann', 'bob'], [undef, 'robot'], ["ann's session", "bob's session"]]);
    $cells->(1, ['/required/scope'], refused => ['403 policy', $challenge{scope}],
        cells => [['ann', 'bob'], [undef, 'toy'], [undef, "ann's session"]]);
    $cells->(1, ['/required/scope-of-clients', '/required/scope'], refused => ['403 policy', $challenge{scope}],
        cells => [['ann', 'bob'], ['robot', 'toy'], [undef, "ann's opaque token"]]);
    $cells->(2, ['/required/age'], refused => ['401 policy', $challenge{age}],
        cells => [['ann', 'bob'], [undef, 'robot'], ["ann's session", "bob's session"]]);
    $cells->(3, ['/required/value'], refused => ['403 policy', undef],
        cells => [['ann', 'bob'], ['robot', 'toy'], [undef, "ann's session"]]);
    $cells->(3, ['/user-value', '/required/value401'], refused => ['401 policy', $challenge{value401}],
        cells => [['ann', 'bob'], ['robot', 'toy'], ["ann's session", "ann's session"]]);
    for my $path ('/audience-project', '/audience-location') {
        $cells->(4, [$path], refused => ['401 bad_audience', $challenge{bad_audience}],
            cells => [['ann for reports', 'ann'], ['robot for reports', 'robot'], [undef, "ann's session"]]);
    }
    $cells->(4, ['/audience-with-endpoint', '/audience-location'],
        refused => ['401 bad_audience', $challenge{bad_audience}],
        cells => [['ann for reports', 'ann'], ['robot for reports', 'robot'], ["ann's session", "ann's session"]]);
    $cells->(5, ['/client'], refused => ['401 bad_client', $challenge{bad_client}],
        cells => [['ann by web', 'ann by app'], ['robot', 'toy'], [undef, "ann's session"]]);
}

sub the_examples_of_the_readme {
    told('/admin/',
        ['ann', 200, 'ok true ann'], ["ann's session", 200, 'ok true ann'],
        ['bob', 403, 'policy true bob'], ["bob's session", 403, 'policy true bob'],
        ['robot', 403, 'policy true -'], ['nobody', 401, 'no_credential - -', $bearer],
        ['ann who logged in unknown when', 401, 'policy true ann', $challenge{age}]);
    my $scope = $challenge{scope} =~ s/openid read/read/r;
    told('/reports/',
        ['ann for reports', 200, 'ok true ann'],
        ['ann', 401, 'bad_audience false -', $challenge{bad_audience}],
        ["ann's session", 401, 'bad_audience false -', $challenge{bad_audience}],
        # It names the audience, but no plan.
        ['robot for reports', 403, 'policy true -']);
    $caller{'bob for reports'} = [bearer(%bob, %reports)];
    told('/reports/', ['bob for reports', 403, 'policy true bob']);
    $caller{'bob for reports'} = [bearer(%bob, %reports, claims => { $plan => { plan => 'gold' } })];
    told('/reports/', ['bob for reports', 403, 'policy true bob', $scope]);
}

# A session that the rules for tokens refuse whatever the resolver says is
# refused without asking it.
sub nobody_is_asked_in_vain {
    for my $row (['/audience-project', 'bad_audience'], ['/audience-location', 'bad_audience'], ['/client', 'bad_client']) {
        my ($path, $reason) = @$row;
        for my $who ("ann's session", "ann's app session", "ann's opaque token", "ann's opaque cookie") {
            my $before = asked();
            told($path, [$who, 401, "$reason false -", $challenge{$reason}]);
            is(asked(), $before, "$path, $who: the resolver is not asked");
        }
    }
    my $before = asked();
    told('/required/scope', ["ann's session", 403, 'policy true ann', $challenge{scope}]);
    is(asked(), $before + 1, 'who it is that lacks a scope is asked');
}

# Known but refused: all variables are there, for the error page and the log.
sub identity_on_a_refusal {
    my ($answer) = outcome('/identity', 'bob');
    is($answer->{status}, 403, 'a JWT is refused');
    is(header($answer, 'X-Identity'), 'bob false true true reader pwd ' . ($now - 7200) . ' user standin-client',
        'the variables of a JWT');
    ($answer) = outcome('/identity', "bob's session");
    is($answer->{status}, 403, 'a session is refused');
    is(header($answer, 'X-Identity'), 'bob false true true reader pwd mfa ' . ($now - 7200),
        "the variables of the resolver's session");
    ($answer) = outcome('/error-page', 'bob');
    is("$answer->{status} $answer->{body}", "403 bob is not allowed (policy)\n", 'and on an error page');
    ($answer) = outcome('/error-page', 'nobody');
    is($answer->{status}, 401, 'which is not the page of a 401');
}

sub quoting {
    my $text = 'a "quoted" \\ realm; ünï';
    my $quoted = 'a \\"quoted\\" \\\\ realm; ünï';
    my ($answer) = outcome('/realm', 'nobody');
    is(header($answer, 'WWW-Authenticate'), "Bearer realm=\"$quoted\"", 'a realm with quotes and a backslash');
    (my $inside = header($answer, 'WWW-Authenticate')) =~ s/^Bearer realm="(.*)"$/$1/;
    is($inside =~ s/\\(.)/$1/gr, $text, 'read as RFC 9110 has it, it is what the configuration says');
    ($answer) = outcome('/realm', 'expired');
    is(header($answer, 'WWW-Authenticate'),
        "Bearer realm=\"$quoted\", error=\"invalid_token\", error_description=\"the access token expired\"",
        'and the error stands behind it');

    my $metadata = 'resource_metadata="https://api.example.com/.well-known/oauth-protected-resource/a?b=c,d"';
    ($answer) = outcome('/metadata', 'nobody');
    is(header($answer, 'WWW-Authenticate'), "$bearer, $metadata", 'RFC 9728: an anonymous caller is told of the metadata');
    for my $row (['expired', $challenge{expired}], ['forged', $challenge{bad_signature}], ['bob', $challenge{scope}]) {
        my ($who, $challenge) = @$row;
        ($answer) = outcome('/metadata', $who);
        is(header($answer, 'WWW-Authenticate'), "$challenge, $metadata", "RFC 9728: and $who is");
    }
    ($answer) = outcome('/metadata', 'ann');
    is(header($answer, 'WWW-Authenticate'), undef, 'RFC 9728: whoever is let in is told nothing');
}

# A real preflight is let through, whatever it carries, and nothing else is.
sub preflights {
    my @preflight = ('Origin: https://app.example.com', 'Access-Control-Request-Method: PUT');
    my $told = sub {
        my ($line, @headers) = @_;
        $asked++;
        my $answer = ask("$line?n=$asked", @headers);
        push @let_in, $asked if $answer->{status} == 200;
        return join ' ', $answer->{status}, header($answer, 'X-Told') // '',
            @{ $answer->{status} == 200 ? echoed_authgear($answer) : [] };
    };
    for my $who ('nobody', 'ann', 'bob', 'expired', 'forged', "ann's session", 'a dead session') {
        my $before = asked();
        is($told->('OPTIONS /preflight', @preflight, @{ $caller{$who} }), '200 no_credential - -',
            "a preflight of $who passes, without an identity");
        is(asked(), $before, "a preflight of $who: the resolver is not asked");
    }
    is($told->('OPTIONS /preflight', @preflight, 'X-Authgear-User-Id: forged'), '200 no_credential - -',
        'a preflight cannot bring an identity of its own');
    for my $row (
        ['OPTIONS without any of the two headers', 'OPTIONS'],
        ['OPTIONS without Access-Control-Request-Method', 'OPTIONS', $preflight[0]],
        ['OPTIONS without Origin', 'OPTIONS', $preflight[1]],
        ['OPTIONS with an empty Origin', 'OPTIONS', 'Origin:', $preflight[1]],
        ['OPTIONS with an empty Access-Control-Request-Method', 'OPTIONS', $preflight[0], 'Access-Control-Request-Method:'],
        (map { ["$_ with both", $_, @preflight] } qw(GET POST HEAD PUT DELETE)),
    ) {
        my ($name, $method, @headers) = @$row;
        is($told->("$method /preflight", @headers), '401 no_credential - -', "$name is no preflight");
    }
    is($told->('OPTIONS /required/role', @preflight), '401 no_credential - -', 'and off is the default');
}

# Nothing that was refused has reached the backend, and nothing else is missing.
sub the_backend_saw_no_other {
    my @lines = grep {length} log_lines('backend.log', scalar @let_in);
    is_deeply([sort { $a <=> $b } @lines], [sort { $a <=> $b } @let_in],
        scalar(@let_in) . " of $asked requests reached the backend: those that were let in");
}

run_tests();

__DATA__

=== TEST 1: who may do what
--- check
in_every_mode
of_the_anonymous
in_their_order
in_the_error_log
the_table_of_the_readme
the_examples_of_the_readme
nobody_is_asked_in_vain
identity_on_a_refusal
quoting
preflights
the_backend_saw_no_other
--- log_level: info
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    token_type any;
    resolve_request /_authgear/resolve;
}
authgear_project reports {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://reports.example.com;
    token_type any;
    resolve_request /_authgear/resolve;
}
authgear_project web {
    endpoint $TEST_NGINX_AUTHGEAR;
    client_id web robot;
    token_type any;
    resolve_request /_authgear/resolve;
}
map "$authgear_reason $authgear_session_valid $authgear_user_id" $told {
    "~^(\S+) (\S+) (\S+)$" "$1 $2 $3";
    "~^(\S+) (\S+) $" "$1 $2 -";
    "~^(\S+)  $" "$1 - -";
    default "?";
}
log_format number $arg_n;
server {
    listen 127.0.0.1:$TEST_NGINX_BACKEND_PORT;
    location / {
        access_log logs/backend.log number;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
--- config
add_header X-Told $told always;
include $TEST_NGINX_RESOLVER;
authgear_claim_set $plan https://example.com/claims plan;
authgear_realm myapp;
$TEST_NGINX_REQUIREMENTS
location = /required/scope-of-clients {
    authgear_verify myapp;
    authgear_require_scope read:reports;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /user-value {
    authgear_verify myapp;
    authgear_require $authgear_user_id$plan;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /value-of-anybody {
    authgear_verify myapp optional;
    authgear_require $arg_pass;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /value-of-anybody-401 {
    authgear_verify myapp optional;
    authgear_require $arg_pass error=401;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /audience-project {
    authgear_verify reports;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /audience-location {
    authgear_verify myapp;
    authgear_audience https://other.example.com https://reports.example.com;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /audience-with-endpoint {
    authgear_verify reports;
    authgear_audience https://reports.example.com $TEST_NGINX_AUTHGEAR;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /client {
    authgear_verify web;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /identity {
    authgear_verify myapp;
    authgear_require_role nobody;
    add_header X-Identity "$authgear_user_id $authgear_user_anonymous $authgear_user_verified $authgear_user_can_reauthenticate $authgear_user_roles $authgear_session_amr $authgear_session_authenticated_at $authgear_token_type $authgear_client_id" always;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /error-page {
    authgear_verify myapp;
    authgear_require_role nobody;
    error_page 403 @not-allowed;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location @not-allowed {
    return 403 "$authgear_user_id is not allowed ($authgear_reason)\n";
}
location = /realm {
    authgear_verify myapp;
    authgear_realm 'a "quoted" \\ realm; ünï';
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /metadata {
    authgear_verify myapp;
    authgear_require_scope openid read:reports;
    authgear_resource_metadata https://api.example.com/.well-known/oauth-protected-resource/a?b=c,d;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
location = /preflight {
    authgear_verify myapp;
    authgear_require_role admin;
    authgear_bypass_preflight on;
    proxy_pass http://127.0.0.1:$TEST_NGINX_BACKEND_PORT;
}
$TEST_NGINX_EXAMPLES
