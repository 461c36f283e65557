# Measures what open connections cost a worker with authgear_close_expired, on beside off, and how soon one of them ends
# after its user was disabled; README.md says how.
use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Select;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep time);

my $connections = $ENV{CONNECTIONS} || 10_000;
my $rounds = $ENV{ROUNDS} || 20;
my $seconds = $ENV{SECONDS} || 20;
my $directory = tempdir(CLEANUP => 1);
chmod 0755, $directory;
my $echo = echo_origin();
$| = 1;

# A download that takes more than all buffers hold; nothing of it is on the disk.
open my $large, '>', "$directory/large" or die "cannot write: $!\n";
truncate $large, 1 << 26;
close $large;

my @tokens = map { token(user => "user-$_", expires_in => 86_400) } 1 .. 1000;

printf "%-5s %18s %20s\n", '', 'CPU, idle', 'memory';
measure($_) for qw(off on);

sub measure {
    my ($setting) = @_;
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1, connections => $connections + 1024, main => 'worker_rlimit_nofile ' . ($connections + 2048) . ';',
        listen => 'sndbuf=8k', project => 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;',
        server => webhook_location() . <<"END");
authgear_close_expired $setting;
location = /large { authgear_verify myapp; root $directory; sendfile on; open_file_cache max=9; send_timeout 1h; }
location = /ws {
    authgear_verify myapp;
    proxy_http_version 1.1;
    proxy_set_header Upgrade \$http_upgrade;
    proxy_set_header Connection upgrade;
    proxy_pass $echo;
}
location = /metrics { authgear_status prometheus; }
END
    my ($worker) = $nginx->workers;
    # What the first requests make the worker allocate is not counted.
    my @held = map { opened($nginx, '/large', $tokens[$_ % @tokens]) } 1 .. 100;
    my $before = memory($worker);
    push @held, map { opened($nginx, '/large', $tokens[$_ % @tokens]) } 1 .. $connections;
    my $memory = (memory($worker) - $before) / $connections;
    sleep 2;
    my ($cpu, $began) = (cpu($worker), time);
    sleep $seconds;
    $cpu = (cpu($worker) - $cpu) / (time - $began);
    printf "%-5s %8.3f ms a second %8.0f bytes each, of %d connections\n", $setting, $cpu / 1e6, $memory, $connections;
    closing($nginx, $worker) if $setting eq 'on';
    close $_ for @held;
    $nginx->signal('TERM');
    $nginx->ends or die "nginx does not end\n";
    return;
}

# From the webhook to the end of a connection, while all others are open; and the CPU time of it.
sub closing {
    my ($nginx, $worker) = @_;
    my (@took, @cost);
    my $then = int(time) - 100;
    for my $round (1 .. $rounds) {
        my $user = "disabled-$round";
        my $one = opened($nginx, '/ws', token(user => $user, claims => { iat => $then, auth_time => $then }));
        my $cpu = cpu($worker);
        my $began = time;
        deliver($nginx, event('user.disabled', $user)) == 204 or die "the webhook is refused\n";
        IO::Select->new($one)->can_read(60) or die "lost: the connection is open after a minute\n";
        push @took, time - $began;
        push @cost, (cpu($worker) - $cpu) / 1e6;
    }
    my ($closed) = $nginx->ask(path => '/metrics')->{body} =~ /^authgear_connections_closed_total\{cause="revoked"\} (\d+)$/m;
    die "$closed connections were closed, of $rounds\n" if $closed != $rounds;
    @took = sort { $a <=> $b } @took;
    @cost = sort { $a <=> $b } @cost;
    printf "%d users disabled one by one: their connections end after %.0f ms (median; worst %.0f ms), for %.1f ms of CPU time (median)\n",
        $rounds, 1000 * $took[$#took / 2], 1000 * $took[-1], $cost[$#cost / 2];
    return;
}

# A connection with an upgrade, or with a download that is not read on.
sub opened {
    my ($nginx, $path, $token) = @_;
    my $socket = $nginx->connection;
    setsockopt $socket, SOL_SOCKET, SO_RCVBUF, 4096;
    my ($status, $upgrade) = $path eq '/ws' ? (101, "Connection: Upgrade\r\nUpgrade: websocket\r\n") : (200, '');
    syswrite $socket, "GET $path HTTP/1.1\r\nHost: localhost\r\n${upgrade}Authorization: Bearer $token\r\n\r\n";
    my $head = '';
    while ($head !~ /\r\n\r\n/) { sysread($socket, $head, 4096, length $head) or die "a connection is refused\n" }
    $head =~ /^HTTP\/1\.1 $status / or die "$path: $head\n";
    return $socket;
}

# CPU time of a process, in nanoseconds.
sub cpu { return (split ' ', content("/proc/$_[0]/schedstat"))[0] }

# Private memory of a process, in bytes.
sub memory {
    my $all = 0;
    $all += $_ for content("/proc/$_[0]/smaps_rollup") =~ /^Private_\w+:\s+(\d+) kB/mg;
    return 1024 * $all;
}

sub content {
    my ($file) = @_;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    local $/;
    return scalar <$in>;
}
