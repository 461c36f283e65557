package Test::Nginx::Authgear::Redis;

# A Redis of its own, which keeps nothing on disk.
#
#   start_redis('--requirepass', 'secret') or die;   the options are redis-server's
#   redis('XADD', …)                                 a command; the first line of its answer
#   signal_redis('STOP'); signal_redis('CONT');
#   stop_redis();                                    by SIGKILL: all that it held is lost

use strict;
use warnings;

use Exporter qw(import);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX ();
use Test::Nginx::Authgear standin => 0;

our @EXPORT = qw($redis_port redis signal_redis start_redis stop_redis);

our $redis_port = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)->sockport;
my $directory = tempdir(CLEANUP => 1);
my ($pid, $main) = (undef, $$);

sub connected { return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $redis_port) }

sub start_redis {
    my @options = @_;
    $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        open STDOUT, '>', "$directory/redis.log";
        exec 'redis-server', '--port', $redis_port, '--bind', '127.0.0.1', '--save', '', '--dir', $directory, @options
            or POSIX::_exit(1);
    }
    return wait_for { connected() } 5;
}

sub signal_redis { return kill $_[0] => $pid }

sub stop_redis {
    kill KILL => $pid;
    waitpid $pid, 0;
    undef $pid;
    return;
}

sub redis {
    my $socket = connected() or die "no Redis\n";
    print {$socket} '*' . @_ . "\r\n", map { '$' . length($_) . "\r\n$_\r\n" } @_;
    my $answer = <$socket>;
    return $answer =~ s/\r\n//r;
}

END { kill KILL => $pid if $pid && $$ == $main }

1;
