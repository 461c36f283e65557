# A subrequest that is refused stays refused: no error page of nginx makes a yes of it, and its
# request ends, whatever the resolver does.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict);
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my $alice = 'Authorization: Bearer ' . token(user => 'alice');
my $forged = 'Authorization: Bearer ' . token(user => 'mallory', key => 'stranger');

# auth_request takes a status of its subrequest that an error page has changed.
sub an_error_page_is_no_yes {
    for my $path (qw(/by-page /by-status /by-name /by-server)) {
        for my $row (
            ['nobody', 401], ['a forged token', 401, $forged], ['a dead cookie', 401, cookie(session => 'dead')],
            ['alice', 200, $alice],
        ) {
            my ($who, $status, @headers) = @$row;
            my $answer = ask("GET $path", @headers);
            is($answer->{status}, $status, "$path, $who: $status");
        }
        is(ask("GET $path-admin", $alice)->{status}, 403, "$path, a role that is missing: 403");
        fault(resolver => 'close');
        isnt(ask("GET $path", cookie(session => session(user => 'bob')))->{status}, 200,
            "$path, the resolver is down: no yes");
        heal();
    }
}

# nginx tells of the end of a failed subrequest twice.
sub every_request_ends {
    my $session = session(user => 'bob');
    for my $fault (['close'], ['status', status => 500], ['status', status => 403], ['garbage']) {
        fault(resolver => @$fault);
        for my $path (qw(/mirrored /included /asked /limited)) {
            for my $round (1 .. 3) {
                my $answer = eval { ask("GET $path", cookie(session => $session)) };
                ok($answer && $answer->{status}, "$path, @$fault: answered") or diag($@);
            }
        }
        heal();
    }
    # It is suspended until it responds to a probe.
    wait_for { ask('GET /asked', cookie(session => $session))->{status} == 200 };
    for my $path (qw(/mirrored /included /asked)) {
        is(ask("GET $path", cookie(session => $session))->{status}, 200, "$path: answered when all is well");
    }
}

run_tests();

__DATA__

=== TEST 1: error pages of a refused subrequest
--- check
an_error_page_is_no_yes
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
--- config
include $TEST_NGINX_RESOLVER;
error_page 401 403 503 =200 /login.html;
location = /login.html { return 200 "please log in"; }
location @login { return 200 "please log in"; }
location = /by-page { auth_request /_page; proxy_pass $TEST_NGINX_ECHO; error_page 599 /x; }
location = /by-page-admin { auth_request /_page-admin; proxy_pass $TEST_NGINX_ECHO; error_page 599 /x; }
location = /_page { internal; authgear_verify myapp; error_page 401 403 503 = /login.html; proxy_pass $TEST_NGINX_ECHO; }
location = /_page-admin { internal; authgear_verify myapp; authgear_require_role admin; error_page 401 403 = /login.html; proxy_pass $TEST_NGINX_ECHO; }
location = /by-status { auth_request /_status; proxy_pass $TEST_NGINX_ECHO; error_page 599 /x; }
location = /by-status-admin { auth_request /_status-admin; proxy_pass $TEST_NGINX_ECHO; error_page 599 /x; }
location = /_status { internal; authgear_verify myapp; error_page 401 403 503 =200 /login.html; proxy_pass $TEST_NGINX_ECHO; }
location = /_status-admin { internal; authgear_verify myapp; authgear_require_role admin; error_page 401 403 =200 /login.html; proxy_pass $TEST_NGINX_ECHO; }
location = /by-name { auth_request /_name; proxy_pass $TEST_NGINX_ECHO; error_page 599 /x; }
location = /by-name-admin { auth_request /_name-admin; proxy_pass $TEST_NGINX_ECHO; error_page 599 /x; }
location = /_name { internal; authgear_verify myapp; error_page 401 403 503 = @login; proxy_pass $TEST_NGINX_ECHO; }
location = /_name-admin { internal; authgear_verify myapp; authgear_require_role admin; error_page 401 403 = @login; proxy_pass $TEST_NGINX_ECHO; }
location = /by-server { auth_request /_server; proxy_pass $TEST_NGINX_ECHO; error_page 599 /x; }
location = /by-server-admin { auth_request /_server-admin; proxy_pass $TEST_NGINX_ECHO; error_page 599 /x; }
location = /_server { internal; authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location = /_server-admin { internal; authgear_verify myapp; authgear_require_role admin; proxy_pass $TEST_NGINX_ECHO; }

=== TEST 2: questions that fail
--- check
every_request_ends
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project limited {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_limited/resolve;
}
limit_req_zone $binary_remote_addr zone=one:1m rate=1r/m;
--- config
include $TEST_NGINX_RESOLVER;
location = /_limited/resolve {
    internal;
    limit_req zone=one;
    proxy_pass $TEST_NGINX_RESOLVER_ORIGIN/_resolver/resolve;
    proxy_set_header Host $TEST_NGINX_AUTHGEAR_HOST;
}
location = /mirrored { mirror /_mirror; proxy_pass $TEST_NGINX_ECHO; }
location = /_mirror { internal; authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location = /limited { mirror /_limited-mirror; proxy_pass $TEST_NGINX_ECHO; }
location = /_limited-mirror { internal; authgear_verify limited; proxy_pass $TEST_NGINX_ECHO; }
location = /asked { auth_request /_mirror; proxy_pass $TEST_NGINX_ECHO; }
location = /included { ssi on; ssi_types *; default_type text/html; root html; try_files /page.html =404; }
location = /part { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
--- user_files
>>> page.html
<!--#include virtual="/part" --><!--#include virtual="/part" -->
--- no_error_log
[alert]
[emerg]
