# The forms of the resolver's location that follow DNS, as nginx-conf/ ships them,
# with a real dnsmasq whose answer changes and that is not there at first.

use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(:DEFAULT start_resolving stop_resolving told);
use Test::Nginx::Authgear::Server;

my $directory = tempdir(CLEANUP => 1);
my $text = shipped('authgear_resolver.conf');
my ($port, @servers) = servers();
# dnsmasq takes TCP and UDP: a port that the kernel picks for nobody.
my $dns_port = Test::Nginx::Authgear::Server::other_port(5);
my $dns;

# Two resolvers at one port, of 127.0.0.1 and 127.0.0.2, who say yes for alice and bob.
sub servers {
    my $first = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', LocalPort => Test::Nginx::Authgear::Server::other_port(4), Listen => 64)
        or die "no port: $!\n";
    my $second = IO::Socket::INET->new(LocalAddr => '127.0.0.2', LocalPort => $first->sockport, Listen => 64)
        or die "no port: $!\n";
    return ($first->sockport, serve($first, 'alice'), serve($second, 'bob'));
}

sub serve {
    my ($server, $user) = @_;
    my $pid = fork // die "cannot fork: $!\n";
    return $pid if $pid;
    while (my $client = $server->accept) {
        my $head = '';
        while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
        syswrite $client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n"
            . "X-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: $user\r\n\r\n";
    }
    POSIX::_exit(0);
}

# Has the name stand for an address from now on.
sub name_is {
    my ($address) = @_;
    open my $out, '>', "$directory/hosts" or die "cannot write: $!\n";
    print {$out} "$address resolver.test\n";
    close $out;
    return kill HUP => $dns if $dns;
    $dns = fork // die "cannot fork: $!\n";
    return if $dns;
    open STDERR, '>', "$directory/dnsmasq.log";
    exec 'dnsmasq', '--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--local-ttl=1',
        '--listen-address=127.0.0.1', '--bind-interfaces', "--port=$dns_port", "--addn-hosts=$directory/hosts",
        '--local=/test/', '--user=' . getpwuid($>), '--pid-file=' or POSIX::_exit(1);
}

END {
    my $status = $?;
    kill KILL => grep { defined } @servers, $dns;
    waitpid $_, 0 for grep { defined } @servers, $dns;
    $? = $status;
}

# Lines of the include that are comments and hold what is to be written, as it is written here.
sub written {
    my ($lines) = @_;
    $lines =~ s/^ *# {0,5}//mg;
    $lines =~ s/127\.0\.0\.53/127.0.0.1:$dns_port/ or die "no DNS server in $lines\n";
    $lines =~ s/auth\.example\.com:443/resolver.test:$port/ or die "no name in $lines\n";
    return $lines;
}

sub follows_dns {
    my ($location, $http) = @_;
    $location =~ s/^ *proxy_ssl_trusted_certificate .*\n//mg;
    $location =~ s/^ *proxy_ssl_verify .*\n//mg;
    $location =~ s{(proxy_pass )https:}{$1http:}g;
    open my $out, '>', "$directory/resolver.conf" or die "cannot write: $!\n";
    print {$out} $location;
    close $out;
    $ENV{TEST_NGINX_RESOLVER} = "$directory/resolver.conf";
    my $nginx = start_resolving('', http => $http);
    my $cookie = cookie(session => 'one');
    like(told($nginx->ask(token => token(user => 'carol'))), qr/^200 ok carol/, 'nginx starts without DNS, and verifies');
    is(told($nginx->ask(headers => $cookie)), '503 resolver_unavailable - -', 'a session has no verdict');
    name_is('127.0.0.1');
    my $user = sub { told($nginx->ask(headers => $cookie)) };
    ok((wait_for { $user->() eq '200 ok alice resolver' } 30), 'with DNS it has one');
    name_is('127.0.0.2');
    ok((wait_for { $user->() eq '200 ok bob resolver' } 30), 'the name moves');
    stop_resolving($nginx);
    kill KILL => $dns;
    waitpid $dns, 0;
    undef $dns;
    return;
}

my ($variable) = $text =~ /^(    #     resolver .*?proxy_pass [^\n]*\n)/ms or die "the include shows no variable\n";
my ($upstream) = $text =~ /^(#     resolver .*?^#     \}\n)/ms or die "the include shows no upstream\n";

subtest 'a variable, for nginx before 1.27.3' => sub {
    follows_dns($text =~ s{^    proxy_pass https://authgear_resolver.*\n}{written($variable)}emr, '');
};

subtest 'server … resolve, from nginx 1.27.3 on' => sub {
    my $http = written($upstream);
    my $error = config_error($http);
    if ($ENV{TEST_NGINX_VERSION_NUM} < 1_027_003) {
        like($error, qr/invalid parameter "resolve"/, 'an older nginx knows it not');
        return;
    }
    is($error, '', 'nginx -t accepts it');
    follows_dns($text, $http);
};

done_testing();
