# The steps of docs/migration.md: what the backend is told at each of them.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear args => ['--amr'];
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Documented;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my $origin = standin()->{origin};
my ($host) = $origin =~ m{//(.*)};
my @plain = (amr => ['pwd'], auth_time => 5);

my %visitor = (
    nobody => [],
    session => [cookie(session => session(user => { id => 'greta', roles => ['r'] }, @plain))],
    opaque => [opaque(user => 'greta', @plain)],
    jwt => [bearer(user => 'greta', @plain)],
    dead => [cookie(session => 'dead')],
    expired => [bearer(user => 'greta', @plain, expires_in => -1)],
);
my @logged_in = qw(session opaque jwt);
my $greta = identity({ id => 'greta', roles => ['r'] }, {@plain});
my $no = ['session-valid: false'];

# The identity that the backend gets for each visitor, and the module's reason.
sub visits {
    my ($step, %expected) = @_;
    for my $who (sort keys %visitor) {
        my $answer = ask('GET /api/', @{ $visitor{$who} }, 'X-Authgear-User-Plan: gold');
        my ($told, $reason) = @{ $expected{$who} };
        is_deeply([told($answer), header($answer, 'X-Reason')], [$told, $reason], "$step: $who");
    }
}

sub move_documented {
    my $plan = 'user-plan: gold';
    visits('before',
        nobody => [[$plan]], dead => [[@$no, $plan]], expired => [[$plan]],
        map { $_ => [[sort @{ without_roles($greta) }, $plan]] } @logged_in);
}

# Nobody is refused yet.
my @watched = (nobody => [[], 'no_credential'], dead => [$no, 'session_invalid'], expired => [$no, 'expired'],
    map { $_ => [$greta, 'ok'] } @logged_in);

# The documented set-up's headers go first, and the resolver says nothing of a bad token.
sub move_watch { visits('watched beside auth_request', @watched, expired => [[], 'expired']) }

sub move_alone { visits('auth_request removed', @watched) }

my @refused = (dead => [401, 'session_invalid'], expired => [401, 'expired'], map { $_ => [$greta, 'ok'] } @logged_in);

sub move_required { visits('required', nobody => [401, 'no_credential'], @refused) }

sub move_optional { visits('optional', nobody => [[], 'no_credential'], @refused) }

# nginx-conf/observe.conf, but for where things are: the documented set-up tells
# the backend all, and the log says what the module would have told it.
sub observe_conf {
    my %expected = (
        jwt => [['session-valid: true', 'user-id: greta'], 'resolver=greta module=greta reason=ok'],
        expired => [[], 'resolver= module= reason=expired'],
        nobody => [[], 'resolver= module= reason=no_credential'],
    );
    my $count = 0;
    for my $who (sort keys %expected) {
        my ($told, $line) = @{ $expected{$who} };
        my $answer = ask('GET /api/', { port => port(1) }, @{ $visitor{$who} }, 'X-Authgear-User-Plan: gold');
        is_deeply(told($answer), $told, "observe.conf, $who: the backend is told what the resolver says");
        like((log_lines('authgear.log', ++$count))[-1], qr/ 200 "GET \/api\/ HTTP\/1\.1" \Q$line\E$/,
            "observe.conf, $who: the log tells both");
    }
}

# --- configuration

my $to_echo = 'proxy_pass ' . echo_origin() . ';';
my $project = "endpoint $origin; resolve_request /_authgear/resolve;";
my $module = "include $ENV{TEST_NGINX_RESOLVER}; add_header X-Reason \$authgear_reason always;";
my $auth = asks('/_auth');
$ENV{TEST_NGINX_MOVING} = "variables_hash_max_size 2048; authgear_project myapp { $project }";
$ENV{TEST_NGINX_MOVE_DOCUMENTED} = documented('/api/', '/_auth') . $auth;
$ENV{TEST_NGINX_MOVE_WATCH} = $module . documented('/api/', '/_auth', 'authgear_verify myapp observe;') . $auth;
$ENV{ 'TEST_NGINX_MOVE_' . uc $_->[0] } = "$module location /api/ { authgear_verify myapp $_->[1]; $to_echo }"
    for [alone => 'observe'], [required => ''], [optional => 'optional'];

$ENV{TEST_NGINX_OBSERVE_CONF} = shipped(
    'observe.conf',
    'endpoint https://myapp.authgear.cloud;' => "endpoint $origin;",
    'Host myapp.authgear.cloud;' => "Host $host;",
    'server 127.0.0.1:3001;' => 'server ' . (resolver_origin() =~ s{^http://}{}r) . ';',
    'server 127.0.0.1:9000;' => 'server ' . (echo_origin() =~ s{^http://}{}r) . ';',
    'listen 8080;' => 'listen 127.0.0.1:' . port(1) . ';',
    '/var/log/nginx/' => 'logs/',
) =~ s/.*^http \{\n//msr =~ s/^\}\s*\z//mr;

run_tests();

__DATA__

=== TEST 1: before
--- check: move_documented
--- http_config: variables_hash_max_size 2048;
--- config: $TEST_NGINX_MOVE_DOCUMENTED

=== TEST 2: authgear_verify observe beside auth_request
--- check: move_watch
--- http_config: $TEST_NGINX_MOVING
--- config: $TEST_NGINX_MOVE_WATCH

=== TEST 3: auth_request removed
--- check: move_alone
--- http_config: $TEST_NGINX_MOVING
--- config: $TEST_NGINX_MOVE_ALONE

=== TEST 4: observe dropped
--- check: move_required
--- http_config: $TEST_NGINX_MOVING
--- config: $TEST_NGINX_MOVE_REQUIRED

=== TEST 5: optional in its place
--- check: move_optional
--- http_config: $TEST_NGINX_MOVING
--- config: $TEST_NGINX_MOVE_OPTIONAL

=== TEST 6: observe.conf
--- check: observe_conf
--- http_config: $TEST_NGINX_OBSERVE_CONF
--- config
