# Addresses that drop packets, and hosts of one family. Needs a network of its own: make test-network.

use strict;
use warnings;

use POSIX ();
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;

plan skip_all => 'make test-network runs it' if !$ENV{AUTHGEAR_TEST_NETWORK};

my $port = Test::Nginx::Authgear::Server::free_port();
my %host = (
    'one-of-five.test' => 'four dead addresses before the good one',
    'ipv6.test' => 'a host with IPv6 alone',
    'ipv4.test' => 'a host with IPv4 alone',
    'mixed.test' => 'a dead IPv6 address before a good IPv4 one',
    '[2001:db8::1]' => 'an IPv6 address',
    'xn--bcher-kva.test' => 'an international name',
    'dotted.test.' => 'a dot at the end',
);
# Names in /etc/hosts, as DNS has them.
my $dns = fork // die "cannot fork: $!\n";
exec 'dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--addn-hosts=/etc/hosts',
    '--listen-address=127.0.0.1', '--bind-interfaces', '--local=/test/', '--user=root', '--pid-file=' or POSIX::_exit(1) if !$dns;
END { my $status = $?; kill KILL => $dns if $dns; waitpid $dns, 0 if $dns; $? = $status }
my ($http, $server) = ('', '');
my $number = 0;
my %path;
for my $host (sort keys %host) {
    my $name = 'p' . ++$number;
    $path{$host} = "/$name";
    $http .= "authgear_project $name { endpoint \$TEST_NGINX_AUTHGEAR; jwks_uri http://$host:$port/oauth2/jwks; }\n";
    $server .= "location = /$name { authgear_verify $name; empty_gif; }\n";
}
my $tls = start_standin('--tls-listen', '127.0.0.1:0', '--name', 'dotted-tls.test');
my ($tls_port) = $tls->{https} =~ /:(\d+)$/;
control('PUT', '/-/keys/raw', key_set(), $tls);
my $dotted = "https://dotted-tls.test.:$tls_port";
$http .= "authgear_project dotted { endpoint https://localhost:$tls_port; internal_endpoint $dotted; ssl_trusted_certificate $tls->{ca};"
    . ' issuer $TEST_NGINX_AUTHGEAR; audience $TEST_NGINX_AUTHGEAR; }' . "\n";
$server .= "location = /dotted { authgear_verify dotted; empty_gif; }\n";
$http .= "authgear_project dead { endpoint \$TEST_NGINX_AUTHGEAR; fetch_timeout 1s; jwks_uri http://dead.test:$port/oauth2/jwks; }\n";
$server .= "location = /dead { authgear_verify dead; empty_gif; }\n";
$http .= "server { listen 198.51.100.1:$port; listen [2001:db8::1]:$port; location / { proxy_pass \$TEST_NGINX_AUTHGEAR; } }\n";

my $nginx = Test::Nginx::Authgear::Server->start(http => $http, server => $server);
for my $host (sort keys %host) {
    my $answer = $nginx->ask(path => $path{$host}, token => token());
    is("$answer->{status} $answer->{reason}", '200 ok', "$host{$host}: the first fetch has the keys");
}
my $of_dotted = $nginx->ask(path => '/dotted', token => token());
is("$of_dotted->{status} $of_dotted->{reason}", '200 ok', 'a dot at the end, with TLS: the certificate is that of the name');
is_deeply([$nginx->key_lines(join '|', map { quotemeta } keys %host)], [], 'and none failed before');
my $answer = $nginx->ask(path => '/dead', token => token());
is("$answer->{status} $answer->{reason}", '503 keys_unavailable', 'dead addresses alone');
like($nginx->log_text, qr{authgear: keys of \S+: time-out: http://dead\.test:$port/oauth2/jwks: no complete answer within 1s},
    'end with the time');
$nginx->stop_soundly;

done_testing();
