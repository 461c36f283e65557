# Measures what a frozen resolver costs JWT users while made-up cookies arrive 500
# times a second; README.md says how.
use strict;
use warnings;

use Bench::Load qw(mint sessions);
use Bench::Processes qw($directory on_cores start_nginx start_standin);
use File::Path qw(make_path remove_tree);
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(sleep time);

my $rounds = $ENV{ROUNDS} || 3;
my $rate = $ENV{COOKIES} || 500;
# Seconds of one stretch of JWTs.
my $seconds = 12;
$| = 1;

remove_tree($directory);
make_path($directory, 'build/bench/state');
my $standin = start_standin('--origin', 'https://auth.example.com', '--tenants', '--state-dir', 'build/bench/state');
my @tokens = map { "Authorization: Bearer $_" } mint($standin, 2_000);
my ($session) = sessions($standin, 1);
my $backend = start_nginx('backend', bare => 1);
my $nginx = start_nginx('outage', workers => 2, cores => 2, values => {
    AUTHGEAR => $standin->{http}, RESOLVER => $standin->{resolver}, BACKEND => $backend->{listen},
});
Bench::Load::write_lines("$directory/lines", @tokens);
# Each worker has the keys and has seen the tokens.
load(1) for 1 .. 2;

my (%rates, %latencies);
for my $round (1 .. $rounds) {
    my $stop = cookies();
    sleep 1;
    my @quiet_first = load(1);
    my @quiet = load($seconds);
    my $answered = $stop->();

    $stop = cookies();
    kill STOP => $standin->{pid};
    my $frozen_at = time;
    my @first = load(1);
    my @frozen = load($seconds);
    # The probes that timed out in the last three seconds were sent five seconds earlier.
    my $asked = timed_out(3) / 3;
    my $suspended = metric();
    my $refused = $stop->();
    kill CONT => $standin->{pid};
    my $thawed_at = time;
    sleep 0.02 while ask("Cookie: session=$session") !~ /^HTTP\S+ 200/;
    my $recovered = time - $thawed_at;
    printf "round %d: undisturbed %d JWTs/s, p99 %.1f ms, in the first second %d and %.1f ms, cookies %s\n", $round,
        @quiet, @quiet_first, $answered;
    printf "         frozen, the first second: %d JWTs/s (%d %%), p99 %.1f ms (%.2f times)\n", $first[0],
        100 * $first[0] / $quiet_first[0], $first[1], $first[1] / $quiet_first[1];
    printf "         frozen, %d s after that: %d JWTs/s (%d %%), p99 %.1f ms (%.2f times), cookies %s\n", $seconds,
        $frozen[0], 100 * $frozen[0] / $quiet[0], $frozen[1], $frozen[1] / $quiet[1], $refused;
    printf "         suspended %s, %.1f probes a second; recovered after %.2f s\n", $suspended, $asked, $recovered;
    my %found = (first => [\@quiet_first, \@first], later => [\@quiet, \@frozen]);
    for my $when (keys %found) {
        my ($before, $now) = @{ $found{$when} };
        push @{ $rates{$when} }, 100 * $now->[0] / $before->[0];
        push @{ $latencies{$when} }, $now->[1] / $before->[1];
    }
    sleep 1;
}
for my $when ('first', 'later') {
    my $name = $when eq 'first' ? 'in the first second' : 'after it';
    printf "median, %s: %d %% of the undisturbed rate, p99 %.2f times\n", $name, map { median(@$_) } $rates{$when}, $latencies{$when};
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return ($sorted[$#sorted / 2] + $sorted[@sorted / 2]) / 2;
}

# Sends JWTs over 16 kept connections for so many seconds: requests a second, and the 99th percentile of
# their latency in milliseconds.
sub load {
    my ($time) = @_;
    my @command = on_cores(2, 'wrk', '-t1', '-c16', "-d$time", '--timeout', '30s', '-s', 'bench/load.lua',
        "http://$nginx->{listen}/", '--', "$directory/lines", 1e12);
    my $began = time;
    open my $wrk, '-|', @command or die "cannot run wrk: $!\n";
    my $output = join '', <$wrk>;
    my ($requests, $failed, undef, $p99) = $output =~ /^result\t(\d+)\t(\d+)\t(\S+)\t(\S+)/m
        or die "wrk failed: $output\n";
    die "$failed of $requests JWTs failed\n" if $failed;
    return ($requests / $time, $p99 / 1000);
}

# Sends made-up cookies, each on a connection of its own, whether or not earlier ones were answered, until the
# function that this returns is called: it returns how often each status was.
sub cookies {
    pipe my $stop_out, my $stop_in or die "no pipe: $!\n";
    pipe my $result_out, my $result_in or die "no pipe: $!\n";
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        close $stop_in;
        my %count;
        my $select = IO::Select->new($stop_out);
        my ($sent, $began) = (0, time);
        STEP: while (1) {
            while ($sent < (time - $began) * $rate) {
                my $socket = IO::Socket::INET->new(PeerAddr => $nginx->{listen});
                $count{unconnected}++ if !$socket;
                $sent++;
                next if !$socket;
                syswrite $socket, "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
                    . "Cookie: session=made-up-$$-$sent\r\n\r\n";
                $select->add($socket);
            }
            for my $socket ($select->can_read(0.001)) {
                last STEP if $socket == $stop_out;
                my $text = '';
                sysread $socket, $text, 65536;
                $count{ $text =~ m{^HTTP\S+ (\d+)} ? $1 : 'closed' }++;
                $select->remove($socket);
                close $socket;
            }
        }
        $count{waiting} = $select->count - 1;
        syswrite $result_in, join ', ', map { "$count{$_} $_" } grep { $count{$_} } sort keys %count;
        POSIX::_exit(0);
    }
    close $stop_out;
    close $result_in;
    return sub {
        close $stop_in;
        my $result = do { local $/; <$result_out> };
        waitpid $pid, 0;
        return $result;
    };
}

# The number of probes that ran into their time-out in the last seconds. They are no client's.
sub timed_out {
    my ($last) = @_;
    my $now = time;
    my %counts = map { POSIX::strftime('%Y/%m/%d %H:%M:%S', localtime($now - $_)) => 1 } 1 .. $last;
    open my $in, '<', "$nginx->{root}/error.log" or die "cannot read the error log: $!\n";
    return scalar grep { /upstream timed out/ && !/, request: "/ && $counts{ substr $_, 0, 19 } } <$in>;
}

sub metric {
    my ($value) = get('/status', '') =~ /^authgear_resolver_suspended\S+ (\d)/m;
    return $value // '-';
}

sub ask { return get('/', @_) }

sub get {
    my ($path, $line) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => $nginx->{listen}) or return '';
    syswrite $socket, "GET $path HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n" . ($line ? "$line\r\n" : '') . "\r\n";
    local $/;
    return <$socket> // '';
}
