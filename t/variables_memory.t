# A variable's text stays whole as long as the client request: captures of nginx's
# regular expressions point into it.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

use MIME::Base64 qw(decode_base64url);

sub payload { return decode_base64url((split /\./, $_[0])[1]) }

# As long as a heap block that is soon used again, and as long as none.
my @sizes = (8, 200, 1_000, 3_000);

sub someone {
    my ($name, $size) = @_;
    return token(user => "$name-" . 'x' x 24, claims => { note => substr($name, 0, 1) x $size, more => [$name, "$size"] });
}

my %captured = (claims => 'claims', user => 'user_id', note => 'claim_note', list => 'claim_more');
$ENV{TEST_NGINX_CAPTURES} = join '', map { <<"END" } sort keys %captured;
location = /$_ {
    authgear_verify myapp;
    if (\$authgear_$captured{$_} ~ "^(?<cap>.*)\$") {
        rewrite ^ /second/ last;
    }
}
END
$ENV{TEST_NGINX_CAPTURES} .= <<"END";
location = /mapped {
    authgear_verify myapp;
    if (\$of_map = found) {
        rewrite ^ /second-mapped/ last;
    }
}
location = /numbered {
    authgear_verify myapp;
    if (\$authgear_claims ~ "^(.*)\$") {
        set \$unused \$1;
    }
    set \$cap \$unused;
    rewrite . /second/ last;
}
location = /second/ {
    authgear_verify myapp;
    authgear_token \$http_x_token;
    proxy_set_header V-Capture \$cap;
    proxy_pass @{[echo_origin()]};
}
location = /second-mapped/ {
    authgear_verify myapp;
    authgear_token \$http_x_token;
    proxy_set_header V-Capture \$by_map;
    proxy_pass @{[echo_origin()]};
}
location = /alone {
    authgear_verify myapp;
    if (\$authgear_claims ~ "^(?<cap>.*)\$") {
        set \$unused 1;
    }
    proxy_set_header V-Capture \$cap;
    proxy_pass @{[echo_origin()]};
}
location = /refusing {
    authgear_verify myapp;
    authgear_require_role none;
    error_page 403 =200 /second/;
    if (\$authgear_claims ~ "^(?<cap>.*)\$") {
        set \$unused 1;
    }
    proxy_pass @{[echo_origin()]};
}
END

# --- checks

# A capture is taken before the request moves to another location, which judges
# another credential.
sub after_another_judgement {
    # A token is verified early only where the keys are at hand: the first request has them fetched.
    my $warm = someone('warm', 8);
    ask('GET /second/', "Authorization: Bearer $warm", "X-Token: $warm");
    for my $size (@sizes) {
        my ($first, $second) = (someone("first-$size", $size), someone("second-$size", $size));
        my $claims = payload($first);
        my %expected = (claims => $claims, user => "first-$size-" . 'x' x 24, note => 'f' x $size, list => "first-$size,$size",
            mapped => $claims, numbered => $claims);
        for my $what (sort keys %expected) {
            my $answer = ask("GET /$what", "Authorization: Bearer $first", "X-Token: $second");
            is($answer->{status}, 200, "a capture of $what, $size bytes: let in");
            my $echoed = echoed($answer);
            is(header($echoed, 'X-Authgear-User-Id'), "second-$size-" . 'x' x 24,
                "a capture of $what, $size bytes: another credential is judged meanwhile");
            is(header($echoed, 'V-Capture'), $expected{$what}, "a capture of $what, $size bytes: it is what was captured");
        }
    }
}

# A capture is taken before the access phase, which verifies the same token again.
sub after_the_access_phase {
    for my $size (@sizes) {
        my $token = someone("alone-$size", $size);
        my $answer = ask('GET /alone', "Authorization: Bearer $token");
        is($answer->{status}, 200, "a capture before the access phase, $size bytes: let in");
        is(header(echoed($answer), 'V-Capture'), payload($token), "a capture before the access phase, $size bytes: whole");
    }
}

# One request's access phase, another's, and the error page of the first.
sub after_a_refusal {
    for my $size (@sizes) {
        my ($first, $second) = (someone("first-$size", $size), someone("second-$size", $size));
        my $answer = ask('GET /refusing', "Authorization: Bearer $first", "X-Token: $second");
        is($answer->{status}, 200, "a capture before error_page, $size bytes: answered");
        is(header(echoed($answer), 'V-Capture'), payload($first), "a capture before error_page, $size bytes: whole");
    }
}

# The resolver's answer, kept by resolve_cache.
sub of_a_session {
    my ($first, $second) = map { 'session=' . session(user => "$_-" . 'x' x 200, amr => []) } qw(first second);
    for my $cookie ($first, $second) {
        is(ask('GET /sessions', "Cookie: $cookie")->{status}, 200, 'a session that is known');
    }
    my $answer = ask('GET /sessions', "Cookie: $first", 'Authorization: Bearer ' . someone('third', 200));
    is(header(echoed($answer), 'V-Capture'), 'third-' . 'x' x 24, 'a capture of whoever is known early');
    $answer = ask('GET /sessions', "Cookie: $first");
    is(header(echoed($answer), 'V-Capture'), 'first-' . 'x' x 200, 'a capture of a session, known early');
}

run_tests();

__DATA__

=== TEST 1: no token is remembered
--- check
after_another_judgement
after_the_access_phase
after_a_refusal
of_a_session
--- http_config
large_client_header_buffers 8 32k;
authgear_token_cache off;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
    resolve_cache 1m;
}
map $authgear_claims $of_map {
    default none;
    "~^(?<by_map>.*)$" found;
}
--- config
proxy_buffer_size 32k;
proxy_buffers 8 32k;
proxy_busy_buffers_size 64k;
include $TEST_NGINX_RESOLVER;
$TEST_NGINX_CAPTURES
location = /sessions {
    authgear_verify myapp;
    if ($authgear_user_id ~ "^(?<cap>.*)$") {
        set $unused 1;
    }
    proxy_set_header V-Capture $cap;
    proxy_pass $TEST_NGINX_ECHO;
}

=== TEST 2: one token is remembered
--- check
after_another_judgement
after_the_access_phase
after_a_refusal
--- http_config
large_client_header_buffers 8 32k;
authgear_token_cache 1;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
map $authgear_claims $of_map {
    default none;
    "~^(?<by_map>.*)$" found;
}
--- config
proxy_buffer_size 32k;
proxy_buffers 8 32k;
proxy_busy_buffers_size 64k;
$TEST_NGINX_CAPTURES
