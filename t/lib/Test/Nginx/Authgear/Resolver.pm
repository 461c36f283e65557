package Test::Nginx::Authgear::Resolver;

# The resolver's location for test files: nginx-conf/authgear_resolver.conf as it
# is shipped, but for where the resolver is. `include $TEST_NGINX_RESOLVER;` in a
# config section makes it, and the project says `resolve_request
# /_authgear/resolve;`.

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::Nginx::Authgear ();

our @EXPORT = qw(asked asked_requests cookie shipped resolver_origin);

my $root = abs_path(dirname(__FILE__) . '/../../../../..');
my $directory = $ENV{AUTHGEAR_TEST_DIR} || tempdir(CLEANUP => 1);

if (Test::Nginx::Authgear::standin()) {
    $ENV{TEST_NGINX_RESOLVER} = "$directory/resolver.conf";
    open my $out, '>', $ENV{TEST_NGINX_RESOLVER} or die "cannot write: $!\n";
    print {$out} shipped('authgear_resolver.conf',
        'https://auth.example.com' => resolver_origin(),
        '/etc/ssl/certs/ca-certificates.crt' => certificates());
    close $out;
}

sub resolver_origin { return Test::Nginx::Authgear::standin()->{http} }

# A file that nginx can take for CA certificates.
sub certificates {
    my ($file) = grep { defined && -e }
        Test::Nginx::Authgear::standin()->{ca}, '/etc/ssl/certs/ca-certificates.crt';
    return $file // die "no CA certificates\n";
}

# A file of nginx-conf/, with some of its text replaced.
sub shipped {
    my ($name, @replace) = @_;
    open my $in, '<', "$root/nginx-conf/$name" or die "cannot read $name: $!\n";
    my $text = do { local $/; <$in> };
    while (my ($old, $new) = splice @replace, 0, 2) {
        $text =~ s/\Q$old\E/$new/g or die "$name does not hold $old\n";
    }
    return $text;
}

# What the resolver was asked: how often, and the latest requests.
sub asked { return Test::Nginx::Authgear::counts()->{resolver} }

sub asked_requests { return @{ Test::Nginx::Authgear::counts()->{resolver_requests} } }

# A header line: cookie(session => 'value', …).
sub cookie {
    my @pairs;
    while (my ($name, $value) = splice @_, 0, 2) {
        push @pairs, "$name=$value";
    }
    return 'Cookie: ' . join('; ', @pairs);
}

1;
