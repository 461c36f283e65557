# The client's own X-Authgear-* reach no backend and no log either where nginx refuses a request before
# it is read whole, and whatever its hash is.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;

use strict;
use warnings;

my $forged = "X-Authgear-User-Id: forged\r\nX-Authgear-Session-Valid: true\r\n";

sub refused_before_it_is_read {
    my %request = (
        'a length that is none' => "Host: x\r\nContent-Length: abc\r\n",
        'two Host headers' => "Host: x\r\nHost: y\r\n",
        'a header that is too long' => "Host: x\r\nBig: " . ('a' x 40_000) . "\r\n",
    );
    my $seen = 0;
    for my $path (qw(/a /by-variable)) {
        for my $name (sort keys %request) {
            my $client = connection();
            $client->send("GET $path HTTP/1.1\r\n$forged$request{$name}\r\n");
            my $answer = $client->answer;
            is_deeply(echoed_authgear($answer), [], "$name: the backend of the error page is told nothing of the client's");
            my @lines = log_lines('refused.log', ++$seen);
            unlike($lines[-1], qr/forged/, "$name: nor is the log");
        }
    }
}

# There is neither an error page nor a response of a client that leaves in the middle of its headers.
sub left_before_it_is_read {
    my $client = connection();
    $client->send("GET /left HTTP/1.1\r\nHost: x\r\n${forged}Unfinished");
    close $client->{socket};
    my @lines = log_lines('left.log', 1);
    is_deeply(\@lines, ['user=  400'], 'the log of a client that left is told nothing of its headers');
}

# nginx takes a header whose name has the hash 0 for one that was removed.
sub a_name_with_the_hash_0 {
    my $name = 'x-authgear-user-roles-gpemaa2dvb4ayme7hsdf';
    my $answer = ask('GET /optional', "$name: forged", 'X-Kept: yes');
    is_deeply(echoed_authgear($answer), [], 'a name of ours with the hash 0 does not arrive');
    is(header(echoed($answer), 'X-Kept'), 'yes', 'the others do');
}

run_tests();

__DATA__

=== TEST 1: headers of a request that nginx refuses, and odd names
--- check
refused_before_it_is_read
left_before_it_is_read
a_name_with_the_hash_0
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
log_format refused escape=none '$uri user=$http_x_authgear_user_id $authgear_user_id $authgear_reason $status';
log_format left escape=none 'user=$http_x_authgear_user_id $authgear_user_id $status';
map $request $is_left {
    ~left 1;
}
--- config
access_log logs/left.log left if=$is_left;
# The page's URL reads the client's header before it can be removed.
error_page 400 494 /error?user=$authgear_user_id&header=$http_x_authgear_user_id;
location = /error {
    access_log logs/refused.log refused;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /optional {
    authgear_verify myapp optional;
    proxy_pass $TEST_NGINX_ECHO;
}
