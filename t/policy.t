# Requirements: every requirement in every mode, for every kind of caller,
# and what a caller is told who does not meet it. The table and the examples of
# the chapter in docs/directives.md are what is run here.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Callers;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);

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
            . " proxy_pass $ENV{TEST_NGINX_BACKEND}; }" } sort keys %requirement
} qw(required optional observe);

# The examples of that chapter, word for word but for the backend.
my $directives = do {
    open my $in, '<', abs_path(dirname(__FILE__) . '/..') . '/docs/directives.md'
        or die "no docs/directives.md: $!\n";
    local $/;
    <$in>;
};
my ($chapter) = $directives =~ /^## Who may do what\n(.*?)^## /ms or die "docs/directives.md has no such chapter\n";
($ENV{TEST_NGINX_EXAMPLES}) = $chapter =~ /^```nginx\n(.*?)^```$/ms or die "the chapter has no example\n";
$ENV{TEST_NGINX_EXAMPLES} =~ s{http://backend}{$ENV{TEST_NGINX_BACKEND}}g;

# The requirements that each caller meets: 1 where the requirement is met.
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
        # Requirements are asked of known callers alone.
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

# The lines of error.log after the first so many, once there are more.
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
        like($lines[0], qr/authgear: policy, project "myapp", \Q$log\E(?:, and \d+ like it before, logged at level info)?(?: while sending to client)?, client: /,
            "all, $who: $log");
    }
}

# One line for each refusal, which says which requirement it was and nothing of the
# caller.
sub in_the_error_log {
    for my $name (sort keys %requirement) {
        for my $who ('bob', "bob's session", 'toy') {
            my $before = () = log_lines('error.log', 0);
            outcome("/required/$name", $who);
            my @ours = grep {/authgear: /} tail($before);
            is(scalar @ours, 1, "$name, $who: one line");
            my $log = $requirement{$name}{log};
            $log .= ', and a session from the resolver has no scope' if $name eq 'scope' && $who eq "bob's session";
            like($ours[0], qr/ \[(?:info|error)\] \d+#\d+: \*\d+ authgear: policy, project "myapp", \Q$log\E(?:, and \d+ like it before, logged at level info)?(?: while sending to client)?, client: "?127\.0\.0\.1"?, /,
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

# The chapter's table: the row of each directive, and who shows each cell.
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

sub the_table_of_the_chapter {
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

sub the_examples_of_the_chapter {
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
    told('/reports/', ['bob for reports', 403, 'policy true bob'],
        ['bob with a plan for reports', 403, 'policy true bob', $scope]);
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

run_tests();

__DATA__

=== TEST 1: each requirement, mode and caller
--- check
in_every_mode
of_the_anonymous
in_their_order
in_the_error_log
the_table_of_the_chapter
the_examples_of_the_chapter
nobody_is_asked_in_vain
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
$TEST_NGINX_CALLED
--- config
add_header X-Told $told always;
include $TEST_NGINX_RESOLVER;
authgear_claim_set $plan https://example.com/claims plan;
authgear_realm myapp;
$TEST_NGINX_REQUIREMENTS
location = /required/scope-of-clients {
    authgear_verify myapp;
    authgear_require_scope read:reports;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /user-value {
    authgear_verify myapp;
    authgear_require $authgear_user_id$plan;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /value-of-anybody {
    authgear_verify myapp optional;
    authgear_require $arg_pass;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /value-of-anybody-401 {
    authgear_verify myapp optional;
    authgear_require $arg_pass error=401;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /audience-project {
    authgear_verify reports;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /audience-location {
    authgear_verify myapp;
    authgear_audience https://other.example.com https://reports.example.com;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /audience-with-endpoint {
    authgear_verify reports;
    authgear_audience https://reports.example.com $TEST_NGINX_AUTHGEAR;
    proxy_pass $TEST_NGINX_BACKEND;
}
location = /client {
    authgear_verify web;
    proxy_pass $TEST_NGINX_BACKEND;
}
$TEST_NGINX_EXAMPLES
