# Certificates for the fetch of keys: self-signed ones of a server, names, and client certificates, with an
# nginx as the server and `openssl req -x509` for all certificates.

use strict;
use warnings;

use File::Temp qw(tempdir);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;

my $directory = tempdir(CLEANUP => 1);
chmod 0755, $directory;
my ($open, $closed) = map { Test::Nginx::Authgear::Server::other_port($_) } 1, 2;

sub certificate {
    my ($file, $name) = @_;
    my $said = qx(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \\
        -subj /CN=$name -addext subjectAltName=DNS:$name \\
        -keyout $directory/$file.key -out $directory/$file.pem 2>&1);
    die "openssl: $said\n" if $?;
    return;
}
certificate(server => 'localhost');
certificate(lookalike => 'localhost');
certificate(public => 'myapp.example.com');
certificate(client => 'client');

my %project = (
    listed => [$open, 'ssl_trusted_certificate server.pem;', '200 ok'],
    'not-listed' => [$open, 'ssl_trusted_certificate lookalike.pem;', qr/TLS: \S+ invalid peer certificate: UnknownIssuer/],
    'other-name' => [$closed, 'ssl_trusted_certificate public.pem; ssl_certificate client.pem; ssl_certificate_key client.key;',
        qr/TLS: \S+ invalid peer certificate: certificate not valid for name "localhost"/],
    named => [$closed, 'ssl_trusted_certificate public.pem; ssl_certificate client.pem; ssl_certificate_key client.key;'
        . ' ssl_name myapp.example.com;', '200 ok'],
    'other-client' => [$closed, 'ssl_trusted_certificate public.pem; ssl_certificate lookalike.pem; ssl_certificate_key lookalike.key;'
        . ' ssl_name myapp.example.com;', qr/status 400/],
    'no-client' => [$closed, 'ssl_trusted_certificate public.pem; ssl_name myapp.example.com;', qr/status 400/],
);

my ($http, $server) = ('', '');
for my $name (sort keys %project) {
    my ($port, $lines) = @{ $project{$name} };
    $lines =~ s{(\w+\.(?:pem|key))}{$directory/$1}g;
    $http .= "authgear_project $name { endpoint \$TEST_NGINX_AUTHGEAR; fetch_timeout 60s; $lines"
        . " jwks_uri https://localhost:$port/oauth2/jwks; }\n";
    $server .= "location = /$name { authgear_verify $name; empty_gif; }\n";
}
$http .= <<"END";
server {
    listen 127.0.0.1:$open ssl;
    ssl_certificate $directory/server.pem;
    ssl_certificate_key $directory/server.key;
    location / { proxy_pass \$TEST_NGINX_AUTHGEAR; }
}
server {
    listen 127.0.0.1:$closed ssl;
    ssl_certificate $directory/public.pem;
    ssl_certificate_key $directory/public.key;
    ssl_client_certificate $directory/client.pem;
    ssl_verify_client on;
    location / { proxy_pass \$TEST_NGINX_AUTHGEAR; }
}
END

# The master reads keys that its workers may not.
chmod 0600, glob "$directory/*.key";
my $nginx = Test::Nginx::Authgear::Server->start(http => $http, server => $server);
for my $name (sort keys %project) {
    my (undef, undef, $expected) = @{ $project{$name} };
    my $answer = $nginx->ask(path => "/$name", token => token());
    my $outcome = "$answer->{status} $answer->{reason}";
    if (ref $expected) {
        is($outcome, '503 keys_unavailable', "$name: no keys");
        like($nginx->log_text, qr/authgear: keys of \S+: $expected/, "$name: the log says why");
    } else {
        is($outcome, $expected, "$name: the keys are fetched");
    }
}
$nginx->stop_soundly;

# A machine without a CA bundle: rustls-native-certs looks nowhere else then.
{
    local $ENV{SSL_CERT_FILE} = "$directory/nosuch.pem";
    delete local $ENV{SSL_CERT_DIR};
    my $bare = Test::Nginx::Authgear::Server->start(
        main => 'env SSL_CERT_FILE;', project => "jwks_uri https://localhost:$open/oauth2/jwks;",
    );
    my $remedy = qr/this machine has no CA certificates; install the package ca-certificates, or name a file with "ssl_trusted_certificate"/;
    is($bare->ask(token => token())->{reason}, 'keys_unavailable', 'without CA certificates on the machine: no keys');
    like($bare->log_text, qr/\[warn\] .*authgear: project "myapp" cannot fetch its keys: $remedy/, 'nginx warns at start');
    like($bare->log_text, qr/authgear: keys of \S+: TLS: $remedy/, 'and the log of the fetch names the remedy');
    $bare->stop_soundly;
}

done_testing();
