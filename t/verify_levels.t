# authgear_verify at every level: what is inherited, replaced and taken back, and the
# blocks in a location.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Verify;

use strict;
use warnings;

$ENV{TEST_NGINX_PORT_1} = port(1);
$ENV{TEST_NGINX_PORT_2} = port(2);

sub inheritance {
    my ($second, $third) = ({ port => port(1) }, { port => port(2) });
    verdicts('http to server to location',
        ['/inherited', none => 401], ['/inherited', good => '200 alice'],
        ['/inherited/deeper', none => 401], ['/no/such/location', none => 401]);
    verdicts('a location resets with off, its nested ones inherit that',
        ['/reset', none => '200 nobody'], ['/reset', good => '200 nobody'],
        ['/reset/nested', good => '200 nobody'], ['/reset/again', none => 401],
        ['/reset/again', good => '200 alice']);
    verdicts('a nested location replaces project and mode together',
        ['/outer', none => '200 nobody'], ['/outer/inner', none => 401],
        ['/outer/inner', good => 401], ['/outer/inner', theirs => '200 alice'],
        ['/outer/same', none => '200 nobody'], ['/outer/same', bad => 401]);
    verdicts('a server resets what http says',
        ['/', none => '200 nobody', $second], ['/', good => '200 nobody', $second],
        ['/on', none => 401, $second], ['/on', theirs => '200 alice', $second],
        ['/on', good => 401, $second]);
    verdicts('a server replaces what http says',
        ['/', none => '200 nobody', $third], ['/', theirs => '200 alice', $third],
        ['/', good => 401, $third], ['/a/b', none => '200 nobody', $third]);
    verdicts('authgear_pass_headers is inherited and reset',
        ['/on', theirs => '200 alice', $second], ['/quiet', theirs => '200 nobody', $third],
        ['/quiet/nested', theirs => '200 nobody', $third], ['/quiet/loud', theirs => '200 alice', $third]);
}

sub blocks_in_a_location {
    verdicts('if in a location',
        ['/if', none => '200 nobody'], ['/if', good => '200 nobody'], ['/if?guarded=1', none => 401],
        ['/if?guarded=1', good => '200 alice'], ['/if?guarded=1', bad => 401],
        ['/if?observed=1', bad => '200 refused'],
        ['/if-off', none => 401], ['/if-off?open=1', none => '200 nobody'],
        ['/if-off?open=1', bad => '200 nobody'], ['/if-off?other=1', none => 401]);
    verdicts('limit_except',
        ['/limit-except', none => '200 nobody'], ['/limit-except', bad => '200 nobody'],
        ['/limit-except', none => 401, { method => 'POST' }],
        ['/limit-except', good => '200 alice', { method => 'POST' }],
        ['/limit-except', bad => 401, { method => 'DELETE' }],
        ['/limit-except-off', none => '200 nobody', { method => 'POST' }],
        ['/limit-except-off', none => 401], ['/limit-except-off', good => '200 alice']);
    verdicts('a named location',
        ['/to-named', none => 401], ['/to-named', good => '200 alice'], ['/to-named', bad => 401],
        ['/to-named-off', none => '200 nobody'], ['/to-named-off', bad => '200 nobody']);
    verdicts('a regex location', ['/x.api', none => 401], ['/x.api', good => '200 alice']);
}

run_tests();

__DATA__

=== TEST 1: authgear_verify at every level
--- check
inheritance
blocks_in_a_location
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project other {
    endpoint $TEST_NGINX_OTHER;
}
authgear_verify myapp;
add_header X-Reason $authgear_reason always;
server {
    listen 127.0.0.1:$TEST_NGINX_PORT_1;
    authgear_verify off;
    location / {
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /on {
        authgear_verify other;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
server {
    listen 127.0.0.1:$TEST_NGINX_PORT_2;
    authgear_verify other optional;
    location / {
        proxy_pass $TEST_NGINX_ECHO;
    }
    location /quiet {
        authgear_pass_headers off;
        proxy_pass $TEST_NGINX_ECHO;
        location = /quiet/nested {
            proxy_pass $TEST_NGINX_ECHO;
        }
        location = /quiet/loud {
            authgear_pass_headers on;
            proxy_pass $TEST_NGINX_ECHO;
        }
    }
}
--- config
location /inherited {
    proxy_pass $TEST_NGINX_ECHO;
}
location /reset {
    authgear_verify off;
    proxy_pass $TEST_NGINX_ECHO;
    location = /reset/nested {
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /reset/again {
        authgear_verify myapp;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
location /outer {
    authgear_verify myapp optional;
    proxy_pass $TEST_NGINX_ECHO;
    location = /outer/inner {
        authgear_verify other;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /outer/same {
        proxy_pass $TEST_NGINX_ECHO;
    }
}

location = /if {
    authgear_verify off;
    if ($arg_guarded) {
        authgear_verify myapp;
    }
    if ($arg_observed) {
        authgear_verify myapp observe;
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /if-off {
    authgear_verify myapp;
    if ($arg_open) {
        authgear_verify off;
    }
    if ($arg_other) {
        add_header X-Other yes;
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limit-except {
    authgear_verify off;
    limit_except GET {
        authgear_verify myapp;
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limit-except-off {
    authgear_verify myapp;
    limit_except GET {
        authgear_verify off;
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /to-named {
    authgear_verify off;
    try_files /no-such-file @guarded;
}
location @guarded {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /to-named-off {
    authgear_verify off;
    try_files /no-such-file @open;
}
location @open {
    authgear_verify off;
    proxy_pass $TEST_NGINX_ECHO;
}
location ~ \.api$ {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
