# fetch_proxy: keys through a real tinyproxy that asks for a password.

use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Test::Nginx::Authgear tls => 1;
use Test::Nginx::Authgear::Server;

my $directory = tempdir(CLEANUP => 1);
chmod 0755, $directory;
my ($plain, $https, $ca) = @{ standin() }{qw(http https ca)};
my ($plain_port, $tls_port) = map { /:(\d+)$/ } $plain, $https;
my ($port, $nobody, $http_port) = map { Test::Nginx::Authgear::Server::other_port($_) } 1 .. 3;
my $main = $$;

sub write_file {
    my ($name, $text) = @_;
    open my $out, '>', "$directory/$name" or die "cannot write $name: $!\n";
    print {$out} $text;
    close $out;
    chmod 0600, "$directory/$name";
    return "$directory/$name";
}

my $configuration = write_file('tinyproxy.conf', <<"END");
Port $port
Listen 127.0.0.1
LogLevel Connect
BasicAuth user s3cret
ConnectPort $tls_port
ConnectPort $plain_port
END
my $proxy = fork // die "cannot fork: $!\n";
if (!$proxy) {
    open STDOUT, '>', "$directory/tinyproxy.log";
    open STDERR, '>&', \*STDOUT;
    exec 'tinyproxy', '-d', '-c', $configuration or POSIX::_exit(1);
}
END { kill KILL => $proxy if $proxy && $$ == $main }
wait_for { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) } 10 or die "no tinyproxy\n";

sub proxy_log {
    open my $in, '<', "$directory/tinyproxy.log" or return '';
    return join '', <$in>;
}

my $right = write_file(right => "user:s3cret\n");
my $wrong = write_file(wrong => "user:wrong\n");
my ($public) = $https =~ m{^https://(.*)};
my $http_uri = "http://127.0.0.1:$http_port/oauth2/jwks";
my $https_uri = "$https/oauth2/jwks";
my %project = (
    http => ["jwks_uri $http_uri?1; fetch_proxy http://127.0.0.1:$port credentials=$right;", '200 ok'],
    https => ["jwks_uri $https_uri?2; fetch_proxy http://127.0.0.1:$port credentials=$right;", '200 ok'],
    internal => ["internal_endpoint $plain; fetch_proxy http://127.0.0.1:$port credentials=$right;", '200 ok'],
    'no-password' => ["jwks_uri $http_uri?3; fetch_proxy http://127.0.0.1:$port;", qr/407/],
    'wrong-password' => ["jwks_uri $https_uri?4; fetch_proxy http://127.0.0.1:$port credentials=$wrong;", qr/40[17]/],
    'nobody' => ["jwks_uri $https_uri?5; fetch_proxy http://127.0.0.1:$nobody;", qr/refused/],
);
my ($http, $server) = ('', '');
for my $name (sort keys %project) {
    $http .= "authgear_project $name { endpoint $https; fetch_timeout 60s;"
        . " ssl_trusted_certificate $ca; $project{$name}[0] }\n";
    $server .= "location = /$name { authgear_verify $name; empty_gif; }\n";
}
$http .= "server { listen 127.0.0.1:$http_port; location / { proxy_pass $https; proxy_set_header Host $public; } }\n";
$server .= "location = /status { authgear_status prometheus; allow 127.0.0.1; deny all; }\n";

my $nginx = Test::Nginx::Authgear::Server->start(http => $http, server => $server);
for my $name (sort keys %project) {
    my $expected = $project{$name}[1];
    my $answer = $nginx->ask(path => "/$name", token => token());
    my $outcome = "$answer->{status} $answer->{reason}";
    if (!ref $expected) {
        is($outcome, $expected, "$name: the keys are fetched");
        next;
    }
    is($outcome, '503 keys_unavailable', "$name: no keys");
    my $log = $nginx->log_text;
    like($log, qr{authgear: keys of \S+: proxy: \S+: http://127\.0\.0\.1:\d+: .*$expected}, "$name: the proxy is to blame");
    unlike($log, qr/s3cret|user:/, "$name: without the password");
    like($nginx->ask(path => '/status')->{body}, qr/^authgear_fetches_total\{project="$name",result="proxy"\} [1-9]/m,
        "$name: counted as the proxy's failure");
}
like(proxy_log(), qr/CONNECT \Q$public\E /, 'https goes through a tunnel');
like(proxy_log(), qr/CONNECT 127\.0\.0\.1:$plain_port /, 'and so does the internal endpoint, with its public Host');
like(proxy_log(), qr{GET \Q$http_uri\E}, 'http is asked for by its whole URL');
$nginx->stop_soundly;

done_testing();
