# A signature is checked at most once for each client request, however often and wherever its
# variables are read.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;

use strict;
use warnings;

# The lines of the debug log about signatures, since the last call.
my $seen = 0;

sub checks {
    open my $in, '<', servroot() . '/logs/error.log' or die "no log: $!\n";
    my $count = grep {/authgear: signature check/} <$in>;
    (my $new, $seen) = ($count - $seen, $count);
    return $new;
}

sub at_most_one_check {
    checks();
    my $asked = 0;
    my %token = (
        good => token(user => 'alice'),
        forged => token(user => 'mallory', key => 'stranger'),
        expired => token(user => 'alice', expires_in => -1),
    );
    for my $path (qw(/denied /plain /returned /redirected /included /tried/)) {
        for my $which (sort keys %token) {
            ask("GET $path", "Authorization: Bearer $token{$which}");
            # The last reader of the variables is the access log, after the answer.
            log_lines('variables.log', ++$asked);
            my $count = checks();
            # An expired token and a forged one are never remembered.
            my $least = $which eq 'good' ? 0 : 1;
            ok($count >= $least && $count <= 1, "$path, $which: at most one signature check")
                or diag("$count checks");
        }
    }
}

log_level('debug');
run_tests();

__DATA__

=== TEST 1: one check for each client request
--- check
at_most_one_check
--- http_config
log_format variables '$authgear_user_id $authgear_user_roles $authgear_session_valid $authgear_session_amr '
    '$authgear_user_verified $authgear_user_anonymous $authgear_client_id $authgear_scope $authgear_token_id '
    '$authgear_token_exp $authgear_token_type $authgear_kid $authgear_claims $authgear_source $authgear_reason $authgear_claim_sub';
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
map $authgear_user_id $mapped {
    default 1;
    '' 0;
}
--- config
authgear_verify myapp;
access_log logs/variables.log variables;
location = /denied {
    deny all;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /plain {
    add_header X-User "$authgear_user_id $authgear_claims $mapped" always;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /returned {
    return 403 "$authgear_user_id $authgear_claims $mapped";
}
location = /redirected {
    if ($authgear_user_id = "nobody") {
        return 404;
    }
    rewrite ^ /plain last;
}
location = /included {
    error_page 401 404 = /plain;
    if ($mapped = 5) {
        return 404;
    }
    return 404;
}
location /tried/ {
    try_files $uri /plain;
}
