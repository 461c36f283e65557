package Bench::Processes;

# The processes of a run: which core each has, how much CPU time it took, and
# that none of them stays.

use strict;
use warnings;

use Exporter qw(import);
use File::Basename qw(basename);
use File::Path qw(make_path);
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(clock_gettime sleep);

our @EXPORT_OK = qw($directory cpu_time on_core private_bytes start_nginx start_standin
    stop);

our $directory = 'build/bench/run';

# The last core that this process may use has all of a run. So nothing sleeps while a
# stretch lasts, and nothing is waked on another core, which costs at random. Nobody
# interrupts whom: the more a request took, the more often it would happen to it.
my $core = core();
my @running;
my $main_process = $$;

sub core {
    open my $in, '<', '/proc/self/status' or die "cannot read /proc/self/status: $!\n";
    my ($core) = map { /^Cpus_allowed_list:\s*(?:\S*[,-])?(\d+)$/ } <$in>;
    return $core // die "no core to run on\n";
}

# A command, as it runs there.
sub on_core { return ('chrt', '--batch', '0', 'taskset', '-c', $core, @_) }

# CPU seconds of a process, all its threads since its start, by the kernel's own
# clock: what clock_getcpuclockid(3) returns.
sub cpu_time {
    my ($pid) = @_;
    return clock_gettime(-8 * $pid - 6);
}

# The private memory of a process.
sub private_bytes {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/smaps_rollup" or die "cannot read the memory of $pid: $!\n";
    my $bytes = 0;
    /^Private_(?:Clean|Dirty):\s*(\d+) kB/ and $bytes += 1024 * $1 while <$in>;
    return $bytes;
}

sub free_address {
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
        or die "no free port: $!\n";
    return '127.0.0.1:' . $socket->sockport;
}

# Runs until it is stopped or this process ends.
sub start {
    my ($output, @command) = @_;
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        open STDOUT, '>', $output;
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(1);
    }
    push @running, $pid;
    return $pid;
}

sub stop {
    my ($pid) = @_;
    kill TERM => $pid;
    waitpid $pid, 0;
    @running = grep { $_ != $pid } @running;
}

# An nginx with one worker and the configuration conf/NAME.conf, where the values
# given stand for @NAMES@. The module is loaded unless the server is `bare`. Two of
# the same NAME differ by `as`. With a command to run `under` there is no master.
sub start_nginx {
    my ($name, %option) = @_;
    my $root = "$directory/" . ($option{as} // $name);
    make_path($root);
    my $listen = free_address();
    my %value = (LISTEN => $listen, %{ $option{values} || {} });
    for my $file (glob('bench/conf/*.conf'), 'nginx-conf/authgear_resolver.conf') {
        open my $in, '<', $file or die "cannot read $file: $!\n";
        my $text = do { local $/; <$in> };
        # The resolver is on loopback, without TLS.
        $text =~ s{https://auth\.example\.com/_resolver}{http://auth.example.com/_resolver};
        $text =~ s/\@([A-Z_]+)\@/$value{$1} \/\/ ''/ge;
        open my $out, '>', "$root/" . basename($file) or die "cannot write into $root: $!\n";
        print {$out} $text;
        close $out;
    }

    my @main = ('daemon off', 'worker_processes 1', 'pid nginx.pid', 'worker_rlimit_nofile 8192');
    push @main, 'user root' if $> == 0;
    push @main, "load_module $ENV{BENCH_MODULE}" if !$option{bare};
    push @main, 'master_process off' if $option{under};
    my $master = start("$root/output", on_core(@{ $option{under} || [] }, $ENV{BENCH_NGINX}, '-p', "$root/", '-e', 'error.log',
        '-c', "$name.conf", '-g', join '', map { "$_;" } @main));
    if (!wait_for(sub { IO::Socket::INET->new(PeerAddr => $listen) })) {
        system 'cat', "$root/output";
        die "nginx did not start with $name.conf\n";
    }
    return { listen => $listen, master => $master, worker => $option{under} ? $master : worker($master) };
}

# nginx's caches have processes of their own beside the worker.
sub worker {
    my ($master) = @_;
    my $found = wait_for(sub {
        open my $in, '<', "/proc/$master/task/$master/children" or return;
        for my $child (split ' ', <$in> // '') {
            open my $line, '<', "/proc/$child/cmdline" or next;
            return $child if <$line> =~ /worker process/;
        }
        return;
    });
    return $found || die "nginx has no worker\n";
}

sub start_standin {
    my @options = @_;
    my $output = "$directory/standin";
    # Tokens of an earlier run name grants that this stand-in has not made.
    my $pid = start($output, on_core($ENV{BENCH_STANDIN}, 'serve', '--foreign-tokens', @options));
    my $line = wait_for(sub {
        open my $in, '<', $output or return;
        my ($line) = grep { /^\{.*\n\z/ } <$in>;
        return $line;
    });
    if (!$line) {
        system 'cat', $output;
        die "the stand-in did not start\n";
    }
    my %at = $line =~ m{"(http|control|resolver)":"http://([^"]+)"}g;
    return { %at, pid => $pid };
}

# Polls for ten seconds.
sub wait_for {
    my ($condition) = @_;
    for (1 .. 500) {
        my $value = $condition->();
        return $value if $value;
        sleep 0.02;
    }
    return;
}

$SIG{INT} = $SIG{TERM} = sub { exit 1 };

END {
    if ($$ == $main_process) {
        my $status = $?;
        kill TERM => @running if @running;
        waitpid $_, 0 for @running;
        $? = $status;
    }
}

1;
