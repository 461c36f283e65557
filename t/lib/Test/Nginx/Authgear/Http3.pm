package Test::Nginx::Authgear::Http3;

# A client that speaks HTTP/3: t/lib/http3.py, in the Python that
# tools/install-missing.sh has made for it.

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IPC::Open2 qw(open2);
use JSON::PP;

our @EXPORT = qw(has_http3 http3 http3_listen);

my $root = abs_path(dirname(__FILE__) . '/../../../../..');
my @client = ("$root/build/venv/bin/python", "$root/t/lib/http3.py");
my $json = JSON::PP->new->canonical;

# True of an nginx that was built with HTTP/3.
sub has_http3 { return `$ENV{TEST_NGINX_BINARY} -V 2>&1` =~ /--with-http_v3_module/ }

# The directives by which a server speaks HTTP/3 on one of the file's ports.
sub http3_listen {
    my ($port) = @_;
    my $directory = $ENV{AUTHGEAR_TEST_DIR} || tempdir(CLEANUP => 1);
    my $file = "$directory/http3.pem";
    if (!-e $file) {
        system(@client, '--certificate', $file) == 0 or die "@client made no certificate\n";
    }
    return "listen 127.0.0.1:$port quic; ssl_certificate $file; ssl_certificate_key $file;";
}

# http3($port): a connection.
sub http3 {
    my ($port) = @_;
    my $pid = open2(my $out, my $in, @client, $port);
    return bless { pid => $pid, in => $in, out => $out }, __PACKAGE__;
}

# Requests at the same time, each [line, headers …] as ask() takes them; their
# answers, which have an {error} where one did not end.
sub ask_all {
    my ($self, @requests) = @_;
    my @asked = map {
        my ($line, @headers) = @$_;
        my $body = ref $headers[-1] ? ${ pop @headers } : undef;
        my ($method, $path) = split ' ', $line;
        my @fields = map { /^([^:]+):\s*(.*)/s ? [$1, $2] : () } @headers;
        +{ method => $method, path => $path, headers => \@fields, body => $body };
    } @requests;
    print { $self->{in} } $json->encode(\@asked), "\n";
    $self->{in}->flush;
    my $line = readline $self->{out};
    defined $line or die "@client has ended\n";
    return @{ $json->decode($line) };
}

# One request, as ask() does; 0 is the status of an answer that did not end.
sub ask {
    my ($self, @request) = @_;
    my ($answer) = $self->ask_all(\@request);
    $answer->{status} = 0 if defined $answer->{error};
    return $answer;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!);
    close $self->{in};
    waitpid $self->{pid}, 0;
}

1;
