# Each time limit of the resolver's location at its edge: 503, and the line that names
# the directive to raise.

use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOCK_STREAM SOL_SOCKET SO_RCVBUF);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(:DEFAULT start_resolving stop_resolving told);
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep);

my $unavailable = '503 resolver_unavailable - -';
my $directory = tempdir(CLEANUP => 1);

# An nginx whose resolver is at that port, with some text of the include replaced.
sub start {
    my ($port, %option) = @_;
    my %limit = %{ delete $option{limits} };
    my $text = shipped('authgear_resolver.conf', 'https://authgear_resolver' => "http://127.0.0.1:$port",
        '/etc/ssl/certs/ca-certificates.crt' => Test::Nginx::Authgear::Resolver::certificates());
    $text =~ s/^( *$_) \S+;/$1 $limit{$_};/m or die "the include has no $_\n" for keys %limit;
    open my $out, '>', "$directory/resolver.conf" or die "cannot write: $!\n";
    print {$out} $text;
    close $out;
    $ENV{TEST_NGINX_RESOLVER} = "$directory/resolver.conf";
    return start_resolving('', %option);
}

sub names {
    my ($nginx, $while, $directive) = @_;
    my $log = $nginx->log_text;
    like($log, qr/\[error\].* upstream timed out .* while \Q$while\E/, 'nginx says when');
    like($log, qr/\[error\].*authgear: the resolver gave no response in time \(status 504\) in location "\/_authgear\/resolve"; if it is slow, raise "$directive" there/,
        'the line names the directive');
    my @named = $log =~ /authgear: [^\n]* raise "(proxy_\w+)"/g;
    is_deeply([grep { $_ ne $directive } @named], [], 'and no other');
    return;
}

# A listener whose queue is full: connections to it are neither accepted nor refused.
sub full {
    my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "no port: $@\n";
    my @held;
    for (1 .. 8) {
        my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $server->sockport, Blocking => 0);
        push @held, $socket if $socket;
    }
    sleep 0.1;
    return ($server, @held);
}

subtest 'proxy_connect_timeout: a listener whose queue is full' => sub {
    my ($server, @held) = full();
    my $nginx = start($server->sockport, limits => { proxy_connect_timeout => '1s' });
    is(told($nginx->ask(headers => cookie(session => 'made-up'))), $unavailable, 'no connection in time');
    names($nginx, 'connecting to upstream', 'proxy_connect_timeout');
    # There is room again.
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        $SIG{PIPE} = 'IGNORE';
        close $_ for @held;
        while (my $client = $server->accept) {
            my $head = '';
            while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
            syswrite $client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n"
                . "X-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: alice\r\n\r\n";
        }
        POSIX::_exit(0);
    }
    close $_ for @held;
    soon { told($nginx->ask(headers => cookie(session => 'alices'))) eq '200 ok alice resolver' } 'then it is asked';
    kill KILL => $pid;
    waitpid $pid, 0;
    stop_resolving($nginx);
};

subtest 'proxy_send_timeout: a resolver that accepts and never reads' => sub {
    socket my $server, Socket::PF_INET(), SOCK_STREAM, 0 or die "no socket: $!\n";
    # Inherited by the connections; otherwise the kernel takes some megabytes.
    setsockopt $server, SOL_SOCKET, SO_RCVBUF, 1;
    bind $server, Socket::pack_sockaddr_in(0, Socket::inet_aton('127.0.0.1')) or die "no port: $!\n";
    listen $server, 16;
    my ($port) = Socket::unpack_sockaddr_in(getsockname $server);
    my $nginx = start($port, limits => { proxy_send_timeout => '1s' },
        http => 'large_client_header_buffers 4 16m; client_header_timeout 60s;');
    my $socket = $nginx->connection;
    my $request = "GET / HTTP/1.1\r\nHost: localhost\r\nCookie: session=" . 'x' x 12_000_000 . "\r\nConnection: close\r\n\r\n";
    for (my $at = 0; $at < length $request;) {
        $at += syswrite($socket, $request, 1 << 20, $at) // die "cannot send: $!\n";
    }
    my ($answer) = $nginx->receive({ socket => $socket, own => 1, text => '', at => time });
    is(told($answer), $unavailable, 'it cannot be sent in time');
    names($nginx, 'sending request to upstream', 'proxy_send_timeout');
    stop_resolving($nginx);
};

subtest 'proxy_read_timeout: a resolver that accepts and never answers' => sub {
    my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 16) or die "no port: $@\n";
    my $nginx = start($server->sockport, limits => { proxy_read_timeout => '1s' });
    is(told($nginx->ask(headers => cookie(session => 'made-up'))), $unavailable, 'no answer in time');
    names($nginx, 'reading response header from upstream', 'proxy_read_timeout');
    stop_resolving($nginx);
};

done_testing();
