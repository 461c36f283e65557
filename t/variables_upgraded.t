# A connection that was upgraded: nginx reads what the client sends then over the
# request's own headers, and the token's claims are still those that were verified.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Neighbours qw(@upgrade);

use strict;
use warnings;

use JSON::PP;
use MIME::Base64 qw(decode_base64url encode_base64url);

my ($held_port, $next) = held();
$ENV{TEST_NGINX_HELD} = "http://127.0.0.1:$held_port";

# The token with another payload of the same length.
sub forged {
    my ($token) = @_;
    my ($header, $payload, $signature) = split /\./, $token;
    my $claims = decode_base64url($payload);
    $claims =~ s/"plain"/"admin"/ or die "the token names no group\n";
    return join '.', $header, encode_base64url($claims), $signature;
}

sub of_an_upgraded_connection {
    my $number = 0;
    for my $where (qw(header cookie)) {
        my $token = token(user => "ann-$where", claims => { group => 'plain' });
        my %head = map {
            my @headers = ('GET /socket', @upgrade);
            push @headers, "Authorization: Bearer $_" if $where eq 'header';
            push @headers, "Cookie: app_access_token=$_" if $where eq 'cookie';
            ($_ => join "\r\n", $headers[0] . ' HTTP/1.1', 'Host: localhost', @headers[1 .. $#headers], '', '');
        } $token, forged($token);

        my $client = connection();
        push @{ $client->{asked} }, 'GET';
        # nginx uses the buffer of the head for what follows it, if it has read some of that with it.
        $client->send("$head{$token}x");
        my $backend = $next->();
        # The same head again, with the other token: it comes to lie where the first one was.
        $client->send($head{ forged($token) });
        $backend->send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        is($client->answer->{status}, 101, "a token in a $where: an upgraded connection");
        $backend->read_until(qr/admin|websocket/);
        close $_->{socket} for $client, $backend;

        $number++;
        my $line = (log_lines('claims.log', $number))[$number - 1];
        my ($head, $claims, $group, $set) = split / \| /, $line;
        is($head =~ s/.*[ =]//r, forged($token), 'whose head was overwritten');
        is(eval { decode_json($claims)->{group} }, 'plain', 'and whose log line has the claims that were verified all the same');
        is($group, 'plain', 'and each of them');
        is($set, 'plain', 'whatever its name');

        my $answer = ask('GET /', "Authorization: Bearer $token");
        is(decode_json(header(echoed($answer), 'V-Claims'))->{group}, 'plain', 'as the next request has');
    }
}

our $projects = <<'END';
client_header_buffer_size 8k;
log_format claims escape=none '$http_authorization$http_cookie | $authgear_claims | $authgear_claim_group | $group';
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
authgear_claim_set $group group;
END

our $locations = <<'END';
authgear_verify myapp;
location = /socket {
    access_log logs/claims.log claims;
    proxy_pass $TEST_NGINX_HELD;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection upgrade;
}
location = / {
    proxy_set_header V-Claims $authgear_claims;
    proxy_pass $TEST_NGINX_ECHO;
}
END

run_tests();

__DATA__

=== TEST 1: tokens of the zone alone
--- check
of_an_upgraded_connection
--- http_config eval: $::projects
--- config eval: $::locations

=== TEST 2: tokens that a worker keeps
--- check
of_an_upgraded_connection
--- http_config eval: "authgear_token_cache 10;\n$::projects"
--- config eval: $::locations
