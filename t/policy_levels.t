# Directives at any level: each at http, server,
# location, nested location, if, limit_except and in a named location. A level
# that has it replaces what stands above, `off` takes it back.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;

use strict;
use warnings;

$ENV{TEST_NGINX_PORT_1} = port(1);
$ENV{TEST_NGINX_PORT_2} = port(2);
my $origin = standin()->{origin};

# Two settings of each directive, how it is taken back, the requests that tell
# the three apart, and what these are answered.
my %directive = (
    authgear_require => {
        one => 'authgear_require $http_one;',
        two => 'authgear_require $http_two error=401;',
        off => 'authgear_require off;',
        probes => [map { [bearer(), @$_] } [], ['One: 1'], ['Two: 1']],
        answers => {
            one => ['403', '200', '403'],
            two => [
                ('401 Bearer realm="myapp", error="invalid_token", '
                    . 'error_description="the caller does not meet the requirements"') x 2,
                '200',
            ],
            off => ['200', '200', '200'],
        },
    },
    authgear_require_role => {
        one => 'authgear_require_role admin;',
        two => 'authgear_require_role owner;',
        off => 'authgear_require_role off;',
        probes => [map { [bearer(user => { id => $_, roles => [$_] })] } qw(admin owner guest)],
        answers => {
            one => ['200', '403', '403'],
            two => ['403', '200', '403'],
            off => ['200', '200', '200'],
        },
    },
    authgear_require_scope => {
        one => 'authgear_require_scope read;',
        two => 'authgear_require_scope write;',
        off => 'authgear_require_scope off;',
        probes => [map { [bearer(scope => $_)] } qw(read write)],
        answers => {
            one => ['200', '403 ' . lacking('read')],
            two => ['403 ' . lacking('write'), '200'],
            off => ['200', '200'],
        },
    },
    authgear_require_auth_age => {
        one => 'authgear_require_auth_age 10m;',
        two => 'authgear_require_auth_age 1h;',
        off => 'authgear_require_auth_age off;',
        probes => [map { [bearer(auth_time => time - $_)] } 1800, 86400],
        answers => {
            one => [('401 ' . too_old(600)) x 2],
            two => ['200', '401 ' . too_old(3600)],
            off => ['200', '200'],
        },
    },
    authgear_audience => {
        one => 'authgear_audience https://one.example;',
        two => 'authgear_audience https://two.example;',
        off => 'authgear_audience off;',
        probes => [map { [bearer(audience => [$_])] } 'https://one.example', 'https://two.example', $origin],
        answers => {
            one => ['200', (elsewhere()) x 2],
            two => [elsewhere(), '200', elsewhere()],
            off => [(elsewhere()) x 2, '200'],
        },
    },
    authgear_token => {
        one => 'authgear_token $http_one;',
        two => 'authgear_token $http_two;',
        off => 'authgear_token off;',
        probes => [map { my $name = $_; [bearer() =~ s/^Authorization/$name/r] } qw(One Two Authorization)],
        answers => {
            one => ['200', ('401 Bearer realm="myapp"') x 2],
            two => ['401 Bearer realm="myapp"', '200', '401 Bearer realm="myapp"'],
            off => [('401 Bearer realm="myapp"') x 2, '200'],
        },
    },
    authgear_realm => {
        one => 'authgear_realm one;',
        two => 'authgear_realm two;',
        off => 'authgear_realm off;',
        probes => [[]],
        answers => {
            one => ['401 Bearer realm="one"'],
            two => ['401 Bearer realm="two"'],
            off => ['401 Bearer realm="myapp"'],
        },
    },
    authgear_resource_metadata => {
        one => 'authgear_resource_metadata https://one.example/m;',
        two => 'authgear_resource_metadata https://two.example/m;',
        off => 'authgear_resource_metadata off;',
        probes => [[]],
        answers => {
            one => ['401 Bearer realm="myapp", resource_metadata="https://one.example/m"'],
            two => ['401 Bearer realm="myapp", resource_metadata="https://two.example/m"'],
            off => ['401 Bearer realm="myapp"'],
        },
    },
    authgear_bypass_preflight => {
        one => 'authgear_bypass_preflight on;',
        two => 'authgear_bypass_preflight off;',
        off => 'authgear_bypass_preflight off;',
        method => 'OPTIONS',
        probes => [['Origin: https://app.example', 'Access-Control-Request-Method: PUT']],
        answers => {
            one => ['200'],
            two => ['401 Bearer realm="myapp"'],
            off => ['401 Bearer realm="myapp"'],
        },
    },
    authgear_login => {
        project => 'resolve_request /_authgear/resolve; login client_id=x callback=http://localhost/callback;',
        one => 'authgear_login on;',
        two => 'authgear_login off;',
        off => 'authgear_login off;',
        probes => [['Sec-Fetch-Mode: navigate', 'Sec-Fetch-Dest: document']],
        answers => {
            one => ['302'],
            two => ['401 Bearer realm="myapp"'],
            off => ['401 Bearer realm="myapp"'],
        },
    },
    authgear_pass_headers => {
        one => 'authgear_pass_headers off;',
        two => 'authgear_pass_headers on;',
        off => 'authgear_pass_headers on;',
        probes => [[bearer(user => 'alice')]],
        shows => sub { header(echoed($_[0]), 'X-Authgear-User-Id') // 'nobody' },
        answers => { one => ['200 nobody'], two => ['200 alice'], off => ['200 alice'] },
    },
    # No `off` is needed: another line replaces all that stand above.
    authgear_claim_set => {
        one => 'authgear_claim_set $of_level https://one.example/claims plan;',
        two => 'authgear_claim_set $of_level two;',
        probes => [[bearer(claims => { 'https://one.example/claims' => { plan => 'first' }, two => 'second' })]],
        answers => { one => ['200 first'], two => ['200 second'] },
    },
);

sub lacking {
    return 'Bearer realm="myapp", error="insufficient_scope", '
        . qq{error_description="the access token lacks a scope that is needed", scope="$_[0]"};
}

sub too_old {
    return 'Bearer realm="myapp", error="insufficient_user_authentication", '
        . qq{error_description="a more recent log-in is required", max_age="$_[0]"};
}

sub elsewhere {
    return '401 Bearer realm="myapp", error="invalid_token", '
        . 'error_description="the access token is meant for another audience"';
}

# The places at which the second setting replaces the first, and at which `off`
# takes it back. The limit_except blocks are for POST.
my @places = (
    # at the http level: one
    ['inherited from http', '/', 'one'],
    ['a location replaces', '/two', 'two'],
    ['a nested location inherits what its parent replaced', '/two/nested', 'two'],
    ['a nested location replaces in its turn', '/two/one', 'one'],
    ['a nested location takes back', '/two/off', 'off'],
    ['a location takes back', '/off', 'off'],
    ['a nested location inherits what its parent took back', '/off/nested', 'off'],
    ['a nested location sets anew', '/off/two', 'two'],
    ['if in a location, not taken', '/if', 'one'],
    ['if in a location replaces', '/if?is=two', 'two'],
    ['if in a location takes back', '/if?is=off', 'off'],
    ['if in a location that says nothing inherits', '/if?is=other', 'one'],
    ['outside limit_except', '/limit-except', 'one'],
    ['limit_except replaces', '/limit-except', 'two', 'POST'],
    ['limit_except takes back', '/limit-except-off', 'off', 'POST'],
    ['a named location inherits', '/named', 'one'],
    ['a named location replaces', '/named-two', 'two'],
    ['a named location takes back', '/named-off', 'off'],
    # at the server level: two, and off
    ['a server replaces', '/', 'two', undef, 1],
    ["a location replaces a server's", '/one', 'one', undef, 1],
    ["a location takes a server's back", '/off', 'off', undef, 1],
    ['a server takes back', '/', 'off', undef, 2],
    ['a location sets anew', '/two', 'two', undef, 2],
);

# --- checks

sub levels {
    my ($block) = @_;
    my ($name) = $block->name =~ /(authgear_\w+)/;
    my $directive = $directive{$name} or die "no directive $name\n";
    for my $place (@places) {
        my ($where, $path, $setting, $method, $server) = @$place;
        my $shows = $directive->{shows} // sub { header($_[0], 'X-Claim') // () };
        next if $setting eq 'off' && !$directive->{off};
        # A preflight has its own method; limit_except GET covers it like POST.
        if ($directive->{method}) {
            next if $where eq 'outside limit_except';
            $method = $directive->{method};
        }
        $method //= 'GET';
        my @told = map {
            my $answer = ask("$method $path", { port => port($server // 0) }, @$_);
            join ' ', $answer->{status}, header($answer, 'WWW-Authenticate') // (),
                $shows->($answer);
        } @{ $directive->{probes} };
        is_deeply(\@told, $directive->{answers}{$setting}, "$name: $where");
    }
}

# The block's http text and its server's, with the directive's settings put in.
sub http_config { return filled($_[0], <<'EOC') }
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    PROJECT
}
add_header X-Claim $of_level always;
authgear_verify myapp;
ONE
server {
    listen 127.0.0.1:$TEST_NGINX_PORT_1;
    TWO
    location / { proxy_pass $TEST_NGINX_ECHO; }
    location = /one { ONE proxy_pass $TEST_NGINX_ECHO; }
    location = /off { OFF proxy_pass $TEST_NGINX_ECHO; }
}
server {
    listen 127.0.0.1:$TEST_NGINX_PORT_2;
    OFF
    location / { proxy_pass $TEST_NGINX_ECHO; }
    location = /two { TWO proxy_pass $TEST_NGINX_ECHO; }
}
EOC

sub config { return filled($_[0], <<'EOC') }
location / { proxy_pass $TEST_NGINX_ECHO; }
location /two {
    TWO
    proxy_pass $TEST_NGINX_ECHO;
    location = /two/nested { proxy_pass $TEST_NGINX_ECHO; }
    location = /two/one { ONE proxy_pass $TEST_NGINX_ECHO; }
    location = /two/off { OFF proxy_pass $TEST_NGINX_ECHO; }
}
location /off {
    OFF
    proxy_pass $TEST_NGINX_ECHO;
    location = /off/nested { proxy_pass $TEST_NGINX_ECHO; }
    location = /off/two { TWO proxy_pass $TEST_NGINX_ECHO; }
}
location = /if {
    if ($arg_is = two) { TWO }
    if ($arg_is = off) { OFF }
    if ($arg_is = other) { set $other 1; }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limit-except {
    limit_except GET { TWO }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limit-except-off {
    limit_except GET { OFF }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /named { authgear_verify off; try_files /no-such-file @one; }
location = /named-two { authgear_verify off; try_files /no-such-file @two; }
location = /named-off { authgear_verify off; try_files /no-such-file @off; }
location @one { proxy_pass $TEST_NGINX_ECHO; }
location @two { TWO proxy_pass $TEST_NGINX_ECHO; }
location @off { OFF proxy_pass $TEST_NGINX_ECHO; }
EOC

sub filled {
    my ($name, $text) = @_;
    my $directive = $directive{$name} or die "no directive $name\n";
    $text =~ s{\b(ONE|TWO|OFF|PROJECT)\b}{$directive->{lc $1} // ""}ge;
    $text =~ s/^add_header X-Claim.*\n//m if $name ne 'authgear_claim_set';
    return $text;
}

# Several lines of one level add up; a level with one line replaces them all.
sub lines_add_up {
    my $good = bearer();
    for my $case (
        ['/both', [], '403'], ['/both', ['One: 1'], '401'], ['/both', ['Two: 1'], '403'],
        ['/both', ['One: 1', 'Two: 1'], '200'], ['/both', ['One: 0', 'Two: 1'], '403'],
        ['/both', ['One: 1', 'Two: 0'], '401'],
        ['/both/three', ['One: 1', 'Two: 1'], '403'], ['/both/three', ['Three: 1'], '200'],
        ['/both/same', ['Three: 1'], '403'], ['/both/same', ['One: x', 'Two: x'], '200'],
        ['/one-line', ['One: 1'], '403'], ['/one-line', ['Two: 1'], '403'],
        ['/one-line', ['One: 1', 'Two: 00'], '200'],
    ) {
        my ($path, $headers, $status) = @$case;
        my $with = join(', ', @$headers) || 'nothing';
        is(ask("GET $path", $good, @$headers)->{status}, $status, "authgear_require, $path with $with: $status");
    }
    my $token = bearer(claims => { a => 'x', b => 'y' });
    is(header(ask('GET /claims', $token), 'X-Claims'), '[x] [y]', 'two lines of authgear_claim_set');
    is(header(ask('GET /claims/other', $token), 'X-Claims'), '[y] []',
        'a level with one line replaces both: the other variable is empty');
}

run_tests();

__DATA__

=== authgear_require
--- check: levels
--- http_config eval: main::http_config('authgear_require')
--- config eval: main::config('authgear_require')

=== authgear_require_role
--- check: levels
--- http_config eval: main::http_config('authgear_require_role')
--- config eval: main::config('authgear_require_role')

=== authgear_require_scope
--- check: levels
--- http_config eval: main::http_config('authgear_require_scope')
--- config eval: main::config('authgear_require_scope')

=== authgear_require_auth_age
--- check: levels
--- http_config eval: main::http_config('authgear_require_auth_age')
--- config eval: main::config('authgear_require_auth_age')

=== authgear_audience
--- check: levels
--- http_config eval: main::http_config('authgear_audience')
--- config eval: main::config('authgear_audience')

=== authgear_token
--- check: levels
--- http_config eval: main::http_config('authgear_token')
--- config eval: main::config('authgear_token')

=== authgear_realm
--- check: levels
--- http_config eval: main::http_config('authgear_realm')
--- config eval: main::config('authgear_realm')

=== authgear_resource_metadata
--- check: levels
--- http_config eval: main::http_config('authgear_resource_metadata')
--- config eval: main::config('authgear_resource_metadata')

=== authgear_bypass_preflight
--- check: levels
--- http_config eval: main::http_config('authgear_bypass_preflight')
--- config eval: main::config('authgear_bypass_preflight')

=== authgear_login
--- check: levels
--- http_config eval: main::http_config('authgear_login')
--- config eval: main::config('authgear_login')

=== authgear_pass_headers
--- check: levels
--- http_config eval: main::http_config('authgear_pass_headers')
--- config eval: main::config('authgear_pass_headers')

=== authgear_claim_set
--- check: levels
--- http_config eval: main::http_config('authgear_claim_set')
--- config eval: main::config('authgear_claim_set')

=== several lines of one level
--- check: lines_add_up
--- config
authgear_verify myapp;
add_header X-Claims "[$first] [$second]" always;
location = /both {
    authgear_require $http_one;
    authgear_require $http_two error=401;
    proxy_pass $TEST_NGINX_ECHO;
}
location /both/ {
    authgear_require $http_one;
    authgear_require $http_two error=401;
    location = /both/three {
        authgear_require $http_three;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /both/same {
        proxy_pass $TEST_NGINX_ECHO;
    }
}
location = /one-line {
    authgear_require $http_one $http_two;
    proxy_pass $TEST_NGINX_ECHO;
}
location /claims {
    authgear_claim_set $first a;
    authgear_claim_set $second b;
    proxy_pass $TEST_NGINX_ECHO;
    location = /claims/other {
        authgear_claim_set $first b;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
