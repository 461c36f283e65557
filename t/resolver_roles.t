# A user of many roles comes in by cookie: the shipped location takes what the
# resolver says of one.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

# As long as the keys of roles can be.
sub roles { return map { sprintf 'role:%035d', $_ } 1 .. $_[0] }
($ENV{TEST_NGINX_ROLE}) = roles(1);

# --- checks

sub many_roles {
    for my $count (1, 100, 400, 2000) {
        my $expected = join ',', roles($count);
        my %user = (user => { id => "u$count", roles => [roles($count)] });
        for my $case (
            ['a session', cookie(session => session(%user))],
            ['an app_session', cookie(app_session => session(%user, kind => 'app'))],
            ['an opaque token', 'Authorization: Bearer ' . token(%user, kind => 'opaque')],
        ) {
            my ($how, $header) = @$case;
            for my $path (qw(/required /cached /role)) {
                my $answer = ask("GET $path", $header);
                is($answer->{status}, 200, "$count roles, $how, $path");
                is(header(echoed($answer), 'X-Authgear-User-Roles'), $expected, "$count roles, $how, $path: the backend gets all");
            }
        }
    }
    my (undef, @others) = roles(400);
    is(ask('GET /role', cookie(session => session(user => { id => 'few', roles => \@others })))->{status}, 403,
        'one who lacks the role is refused');
}

# A token of 400 roles is confirmed as any other.
sub rechecked {
    my %user = (user => { id => 'rechecked', roles => [map {"role$_"} 1 .. 400] });
    my $token = token(%user);
    reset_counts();
    is(ask('GET /rechecked', "Authorization: Bearer $token")->{status}, 200, 'a JWT of 400 roles passes a recheck');
    is(asked(), 1, 'after a question');
    $token = token(%user);
    control('POST', '/-/token/revoke', $token);
    is(ask('GET /rechecked', "Authorization: Bearer $token")->{status}, 401, 'and is refused when it is revoked');
}

# Buffers that a server sets for its pages.
sub beside_other_buffers {
    my $project = 'authgear_project myapp { endpoint $TEST_NGINX_AUTHGEAR; resolve_request /_authgear/resolve; }';
    for my $buffers (
        '', 'proxy_busy_buffers_size 8k;', 'proxy_temp_file_write_size 8k;', 'proxy_max_temp_file_size 8k;',
        'proxy_buffer_size 4k; proxy_buffers 2 4k; proxy_busy_buffers_size 4k;', 'proxy_buffers 8 16k;', 'proxy_buffers 4 512k;',
        'proxy_buffer_size 512k; proxy_buffers 4 512k; proxy_busy_buffers_size 1m;', 'proxy_buffering off;',
        'proxy_buffer_size 8k; proxy_buffers 16 8k; proxy_busy_buffers_size 32k; proxy_temp_file_write_size 32k;'
            . ' proxy_max_temp_file_size 32k;',
    ) {
        for my $where (['http', $buffers, ''], ['server', '', $buffers]) {
            my ($level, $http, $server) = @$where;
            my $said = config_output("$project $http server { $server include \$TEST_NGINX_RESOLVER;"
                . ' location / { authgear_verify myapp; } }');
            is_deeply([$said =~ /^nginx: \[\w+\] .*$/mg], [], "nginx -t takes the location in a $level of '$buffers'");
        }
    }
}

run_tests();

__DATA__

=== TEST 1: many roles
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project cached {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    resolve_cache 10m;
}
authgear_project rechecked {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    recheck 1h strict;
}
large_client_header_buffers 4 32k;
# A server's own, too small for the resolver's answer.
proxy_buffer_size 4k;
proxy_buffers 4 4k;
proxy_busy_buffers_size 8k;
--- config
include $TEST_NGINX_RESOLVER;
location = /required {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /cached {
    authgear_verify cached;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /role {
    authgear_verify myapp;
    authgear_require_role $TEST_NGINX_ROLE;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /rechecked {
    authgear_verify rechecked;
    proxy_pass $TEST_NGINX_ECHO;
}
--- check: many_roles rechecked beside_other_buffers
