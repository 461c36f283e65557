# A client request is judged once, whatever internal redirects it meets, and the
# subrequest that asks the resolver leaves no trace in it.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict);
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

$ENV{TEST_NGINX_OTHER_PORT} = port(1);
$ENV{TEST_NGINX_SET_PORT} = port(2);
$ENV{TEST_NGINX_WHOLE_PORT} = port(3);

my %credential = (
    alice => [bearer(user => 'alice')],
    'alice by cookie' => [cookie(session => session(user => 'alice'))],
    'root by cookie' => [cookie(session => session(user => { id => 'root', roles => ['admin'] }))],
    'dead by cookie' => [cookie(session => 'dead')],
);

# --- checks

sub one_judgement {
    for my $row (
        # location, status for alice, for a dead session, how often the resolver is asked about either
        ['/dir/', 200, 401, 1, 1], ['/try', 200, 401, 1, 1], ['/try-named', 200, 401, 1, 1],
        ['/try-thrice', 200, 401, 1, 1], ['/accel', 200, 401, 1, 1], ['/error-page', 200, 401, 1, 1],
        ['/to-admin', 403, 401, 1, 1], ['/to-optional', 200, 401, 1, 1],
        # The other project asks for itself.
        ['/to-second', 200, 401, 2, 1], ['/401-again', 200, 401, 1, 1],
    ) {
        my ($path, $alice, $dead, $asked, $asked_dead) = @$row;
        for my $case (['alice by cookie', $alice, $asked], ['dead by cookie', $dead, $asked_dead]) {
            my ($which, $status, $times) = @$case;
            reset_counts();
            my $answer = ask("GET $path", @{ $credential{$which} });
            is($answer->{status}, $status, "one judgement, $path, $which: $status");
            is(asked(), $times, "one judgement, $path, $which: the resolver is asked $times times");
            is(header($answer, 'X-User'), $which =~ /alice/ ? 'alice' : undef, "one judgement, $path, $which: whose it is");
        }
    }
    is(ask('GET /to-admin', @{ $credential{'root by cookie'} })->{status}, 200, 'one judgement: the admin gets there');
}

# A server that verifies in all its locations, the resolver's among them.
sub the_resolvers_own {
    for my $path (qw(/ /variable /rechecked)) {
        my @known = $path eq '/rechecked' ? @{ $credential{alice} } : @{ $credential{'alice by cookie'} };
        reset_counts();
        my $answer = ask("GET $path", { port => port(3) }, @known);
        is(verdict($answer), '200 alice', "a server that verifies everywhere, $path: let in");
        wait_for { asked() };
        is(asked(), 1, "a server that verifies everywhere, $path: the resolver is asked once");
        is(ask("GET $path", { port => port(3) }, @{ $credential{'dead by cookie'} })->{status}, 401,
            "a server that verifies everywhere, $path: a dead session");
    }
}

sub what_a_server_sets {
    for my $which ('alice', 'alice by cookie', 'dead by cookie') {
        for my $path (qw(/ /rechecked)) {
            my $answer = ask("GET $path?a=b", { port => port(2) }, @{ $credential{$which} });
            my $name = "what a server sets, $path, $which";
            is($answer->{status}, $which =~ /dead/ ? 401 : 200, $name);
            is(header($answer, 'X-Skip'), 1, "$name: set and if");
            my $section = $path eq '/' ? 'home' : 'rechecked';
            is(header($answer, 'X-Section'), $section, "$name: a map that the resolver's location reads, too");
            is(header($answer, 'X-First'), $path eq '/' ? '[]' : '[rechecked]', "$name: a capture");
            is(header($answer, 'X-Uri'), $path, "$name: a copy of \$uri");
        }
    }
}

run_tests();

__DATA__

=== TEST 1: one question for one request
--- check
one_judgement
the_resolvers_own
what_a_server_sets
--- user_files
>>> dir/index.html
index
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project second {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project rechecked {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    recheck 1h;
}
map $uri $section { default resolver; / home; /rechecked rechecked; }
map $arg_project $project { default myapp; }
server {
    listen 127.0.0.1:$TEST_NGINX_OTHER_PORT;
    location / {
        add_header X-Accel-Redirect $arg_to;
        return 200;
    }
}
server {
    listen 127.0.0.1:$TEST_NGINX_SET_PORT;
    set $skip 0;
    set $copied $uri;
    if ($query_string != "") { set $skip 1; }
    if ($uri ~ "^/(?<first>[^/]*)") { set $unused 1; }
    add_header X-Skip $skip always;
    add_header X-Section $section always;
    add_header X-First "[$first]" always;
    add_header X-Uri $copied always;
    location / {
        authgear_verify myapp;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /rechecked {
        authgear_verify rechecked;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /_authgear/resolve {
        internal;
        proxy_method HEAD;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header Host $TEST_NGINX_AUTHGEAR_HOST;
        proxy_set_header X-Section $section;
        proxy_pass $TEST_NGINX_RESOLVER_ORIGIN/_resolver/resolve;
    }
}
server {
    listen 127.0.0.1:$TEST_NGINX_WHOLE_PORT;
    authgear_verify myapp;
    include $TEST_NGINX_RESOLVER;
    location / {
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /variable {
        authgear_verify $project;
        proxy_pass $TEST_NGINX_ECHO;
    }
    location = /rechecked {
        authgear_verify rechecked;
        proxy_pass $TEST_NGINX_ECHO;
    }
}
--- config
include $TEST_NGINX_RESOLVER;
add_header X-User $authgear_user_id always;
location /dir/ { authgear_verify myapp; index index.html; }
location = /try { authgear_verify myapp; try_files /no-such-file /plain; }
location = /try-named { authgear_verify myapp; try_files /no-such-file @named; }
location @named { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location = /try-thrice { authgear_verify myapp; try_files /no-such-file /try; }
location = /accel { authgear_verify myapp; proxy_pass http://127.0.0.1:$TEST_NGINX_OTHER_PORT/?to=/plain; }
location = /error-page { authgear_verify myapp; error_page 404 =200 /plain; try_files /no-such-file =404; }
location = /to-admin { authgear_verify myapp; try_files /no-such-file /admin; }
location = /to-optional { authgear_verify myapp; try_files /no-such-file /optional; }
location = /to-second { authgear_verify myapp; try_files /no-such-file /second; }
location = /401-again { authgear_verify myapp; error_page 401 /plain; proxy_pass $TEST_NGINX_ECHO; }
location = /plain { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location = /admin { authgear_verify myapp; authgear_require_role admin; proxy_pass $TEST_NGINX_ECHO; }
location = /optional { authgear_verify myapp optional; proxy_pass $TEST_NGINX_ECHO; }
location = /second { authgear_verify second; proxy_pass $TEST_NGINX_ECHO; }
