# recheck beside the project's rules: they hold for the session that a revoked token
# falls back to, and a token that the resolver cannot judge is not shown to it.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver qw(:DEFAULT outcome);
use Time::HiRes qw(sleep time);

use strict;
use warnings;

my $origin = standin()->{origin};
my ($api, $mcp) = ('https://api.example.com', 'https://mcp.example.com');
my %bob = (session => session(user => 'bob'), app_session => session(user => 'bob', kind => 'app'));
my $users = 0;

sub someone {
    my $name = 'user-' . ++$users;
    return ($name, token(user => $name, @_));
}

sub revoked {
    my (undef, $token) = someone(@_);
    control('POST', '/-/token/revoke', $token);
    return $token;
}

sub bearer_of { return "Authorization: Bearer $_[0]" }

sub status_of {
    my ($path, @headers) = @_;
    my $answer = ask("GET $path", @headers);
    return join ' ', $answer->{status}, map { header($answer, "X-$_") // '-' } qw(Reason User);
}

# --- checks

# No session can be let in at these, whatever stands before it.
sub revoked_beside_a_session {
    my @both = ([$origin, $api]);
    for my $case (
        ['/client', 'bad_client'], ['/client-background', 'bad_client'],
        ['/audience', 'bad_audience', audience => @both], ['/audience-background', 'bad_audience', audience => @both],
        ['/location', 'bad_audience', audience => @both], ['/location-background', 'bad_audience', audience => @both],
    ) {
        my ($path, $reason, @fields) = @$case;
        my ($name, $token) = someone(@fields);
        is(status_of($path, bearer_of($token)), "200 ok $name", "$path: a good token passes");
        for my $cookie (sort keys %bob) {
            my $session = cookie($cookie => $bob{$cookie});
            is(status_of($path, $session), "401 $reason -", "$path: $cookie alone is refused");
            (undef, my $expired) = someone(@fields, expires_in => -1);
            is(status_of($path, bearer_of($expired), $session), '401 expired -', "$path: so it is beside an expired token");

            my $revoked = revoked(@fields);
            ask("GET $path", bearer_of($revoked)) if $path =~ /background/;
            my %seen;
            my $until = time + ($path =~ /background/ ? 2.5 : 0.5);
            do { $seen{ status_of($path, bearer_of($revoked), $session) }++; sleep 0.1 } while time < $until;
            delete $seen{'200 ok user-' . $users} if $path =~ /background/;
            is_deeply([keys %seen], ['401 session_invalid -'], "$path: and $cookie beside a revoked token is refused");
            is(status_of($path, bearer_of($revoked)), '401 session_invalid -', "$path: as the revoked token alone is");
        }
        my $revoked = revoked(@fields);
        if ($path !~ /background/) {
            is(status_of($path, "Cookie: app_access_token=$revoked; session=$bob{session}"), '401 session_invalid -',
                "$path: a revoked token in a cookie beside a session is refused");
        }
    }
}

# As any refused token, it falls through to a session if sessions are let in.
sub revoked_where_sessions_are_let_in {
    my $revoked = revoked();
    reset_counts();
    is(status_of('/any', bearer_of($revoked), cookie(session => $bob{session})), '200 ok bob',
        'beside a revoked token the session counts');
    is_deeply([map { join ' | ', map { $_->[0] // '' } @{ $_->{headers} }{qw(authorization cookie)} } asked_requests()],
        ["Bearer $revoked | ", " | session=$bob{session}"], 'each was asked about for itself');
    is(status_of('/any', bearer_of($revoked)), '401 session_invalid -', 'alone it is refused');
}

# The resolver knows no token whose aud lacks the endpoint's origin.
sub a_token_for_a_resource {
    for my $path (qw(/resource /resource-strict /mixed /mixed-strict /located)) {
        my ($name, $token) = someone(audience => [$mcp]);
        my %told;
        reset_counts();
        my $until = time + 2.5;
        do { $told{ status_of($path, bearer_of($token)) }++; sleep 0.1 } while time < $until;
        is_deeply([keys %told], ["200 ok $name"], "$path: a token for the resource stands");
        is(asked(), 0, "$path: and nobody is asked about it");
    }
    for my $path (qw(/mixed-strict /resource-strict)) {
        my @audience = (audience => $path =~ /mixed/ ? [$origin] : [$mcp, $origin]);
        my ($name, $token) = someone(@audience);
        reset_counts();
        is(status_of($path, bearer_of($token)), "200 ok $name", "$path: a token that the resolver knows");
        is(asked(), 1, "$path: is asked about");
        is(status_of($path, bearer_of(revoked(@audience))), '401 session_invalid -', "$path: and refused when it is revoked");
    }
}

sub a_resource_without_keys {
    my ($name, $token) = someone(audience => [$mcp]);
    my ($known, $other) = someone(audience => [$origin]);
    is(outcome('GET /keyless', bearer_of($token)), '503 keys_unavailable - - asked 0',
        'no keys: a token for the resource gets 503 without a question');
    is(outcome('GET /keyless', "Cookie: app_access_token=$token"), '503 keys_unavailable - - asked 0',
        'no keys: so it does in a cookie');
    is(outcome('GET /keyless', bearer_of($other)), "200 ok $known resolver asked 1",
        'no keys: one that the resolver knows is asked about');
    is(outcome('GET /keyless', bearer_of(token(audience => [$mcp], expires_in => -1))), '401 expired - none asked 0',
        'no keys: an expired one is refused');
    is(outcome('GET /keyless', bearer_of(token(audience => [$api]))), '401 bad_audience - none asked 0',
        'no keys: so is one for another resource');
}

# Warnings of nginx -t.
sub warned {
    my $resolve = 'endpoint https://a.example; resolve_request /_authgear/resolve;';
    for my $case (
        ["$resolve audience $mcp; recheck 30s;", 1],
        ["$resolve audience $mcp; recheck 30s strict;", 1],
        ["$resolve audience $mcp $api; recheck 30s;", 1],
        ["$resolve audience $mcp https://a.example; recheck 30s;", 0],
        ["$resolve audience $mcp;", 0],
        ["$resolve audience $mcp; recheck off;", 0],
        ["$resolve recheck 30s;", 0],
    ) {
        my ($project, $count) = @$case;
        my ($said, $status) = config_output("authgear_project a { $project }");
        my @warnings = grep { /"recheck"/ && /"audience"/ && /"a"/ } $said =~ /^nginx: \[warn\] (.*)$/mg;
        is(@warnings, $count, "nginx -t warns $count times: $project") or diag($said);
        is($status, 0, "and takes it: $project");
    }
}

# --- configuration

my $endpoint = 'endpoint ' . standin()->{http} . ';';
my $both = "audience $mcp $origin;";
my %project = (
    client => 'client_id standin-client; recheck 1h strict;',
    'client-background' => 'client_id standin-client; recheck 1s;',
    audience => "audience $api; recheck 1h strict;",
    'audience-background' => "audience $api; recheck 1s;",
    location => 'recheck 1h strict;',
    'location-background' => 'recheck 1s;',
    any => 'recheck 1h strict;',
    resource => "audience $mcp; recheck 1s;",
    'resource-strict' => "audience $mcp; recheck 1s strict;",
    mixed => "$both recheck 1s;",
    'mixed-strict' => "$both recheck 1s strict;",
    located => 'recheck 1s strict;',
    # Nobody listens there.
    keyless => "$both jwks_uri http://127.0.0.1:1/jwks;",
);
my %at = (
    location => "authgear_audience $api;", 'location-background' => "authgear_audience $api;",
    located => "authgear_audience $mcp;",
);
$ENV{TEST_NGINX_PROJECTS} = join "\n",
    map {"authgear_project $_ { $endpoint resolve_request /_authgear/resolve; $project{$_} }"} sort keys %project;
$ENV{TEST_NGINX_SERVER} = join "\n", "include $ENV{TEST_NGINX_RESOLVER};",
    'add_header X-Reason $authgear_reason always; add_header X-User $authgear_user_id always;',
    'add_header X-Source $authgear_source always;',
    map { "location = /$_ { authgear_verify $_; " . ($at{$_} // '') . " proxy_pass @{[echo_origin()]}; }" } sort keys %project;

run_tests();

__DATA__

=== TEST 1: a revoked token beside a session
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: revoked_beside_a_session revoked_where_sessions_are_let_in

=== TEST 2: tokens for an API resource
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: a_token_for_a_resource a_resource_without_keys warned
