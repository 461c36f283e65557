# After an internal redirect the variables show another location's judgement only if it is the same
# one: of the same project, tenant, credential and audience.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;

use strict;
use warnings;

my $alice = 'Authorization: Bearer ' . token(user => 'alice');
my $bob = 'X-Token: ' . token(user => 'bob');

sub body { my ($answer) = @_; return "$answer->{status} " . ($answer->{body} =~ s/\s+\z//r) }

sub only_the_same_judgement_shows {
    # The keys are at hand from here on.
    ask('GET /shown', $alice) for 1, 2;
    for my $row (
        # path, what `if` and `return` see there
        ['/tried-same', '200 [alice] [ok]'],
        ['/tried-other', '200 [] []'],
        ['/tried-credential', '200 [bob] [ok]'],
        ['/tried-audience', '200 [] []'],
        ['/paged-same', '200 [] [expired]', 'Authorization: Bearer ' . token(user => 'eve', expires_in => -1)],
        ['/tried-open', '200 [alice] [ok]'],
        # Nobody was judged yet.
        ['/rewritten-open', '200 [] []'],
    ) {
        my ($path, $expected, $token) = @$row;
        is(body(ask("GET $path", $token // $alice, $bob)), $expected, "$path: $expected");
    }
}

run_tests();

__DATA__

=== TEST 1: variables after an internal redirect
--- check
only_the_same_judgement_shows
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_project staff {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://staff.example.com;
}
--- config
location = /shown { authgear_verify myapp; return 200 "[$authgear_user_id] [$authgear_reason]\n"; }
location = /other { authgear_verify staff; return 200 "[$authgear_user_id] [$authgear_reason]\n"; }
location = /credential { authgear_verify myapp; authgear_token $http_x_token; return 200 "[$authgear_user_id] [$authgear_reason]\n"; }
location = /open { return 200 "[$authgear_user_id] [$authgear_reason]\n"; }
location = /tried-same { authgear_verify myapp; try_files /none /shown; }
location = /tried-other { authgear_verify myapp; try_files /none /other; }
location = /tried-credential { authgear_verify myapp; try_files /none /credential; }
location = /audience { authgear_verify myapp; authgear_audience https://api.example.com; return 200 "[$authgear_user_id] [$authgear_reason]\n"; }
location = /tried-audience { authgear_verify myapp; try_files /none /audience; }
location = /rewritten-open { authgear_verify myapp; set $seen $authgear_session_valid; rewrite ^ /open last; }
location = /tried-open { authgear_verify myapp; try_files /none /open; }
location = /paged-same { authgear_verify myapp; error_page 401 =200 /shown; proxy_pass $TEST_NGINX_ECHO; }
