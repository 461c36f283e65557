package Bench::Processes;

# The processes of a run: which core each has, how much CPU time it took, and
# that none of them stays.

use strict;
use warnings;

use Exporter qw(import);
use File::Basename qw(basename);
use File::Path qw(make_path);
use IO::Socket::INET;
use List::Util qw(sum);
use POSIX ();
use Time::HiRes qw(clock_gettime sleep);

our @EXPORT_OK = qw($directory cpu_time on_core on_cores private_bytes shared_out_bytes
    start_nginx start_standin stop);

our $directory = 'build/bench/run';

# The last core that this process may use has all of a run. So nothing sleeps while a
# stretch lasts, and nothing is waked on another core, which costs at random. Nobody
# interrupts whom: the more a request took, the more often it would happen to it.
# The last two are for workers at full load.
my @cores = cores();
my @running;
my $main_process = $$;

sub cores {
    open my $in, '<', '/proc/self/status' or die "cannot read /proc/self/status: $!\n";
    my ($list) = map { /^Cpus_allowed_list:\s*(\S+)$/ } <$in>;
    my @all = map { /^(\d+)-(\d+)$/ ? ($1 .. $2) : $_ } split /,/, $list // '';
    die "no core to run on\n" if !@all;
    return @all > 2 ? @all[-2, -1] : @all;
}

# A command, as it runs there.
sub on_core { return on_cores(1, @_) }

# On so many cores, or on all there are.
sub on_cores {
    my ($count, @command) = @_;
    my @some = $count < @cores ? @cores[-$count .. -1] : @cores;
    return ('chrt', '--batch', '0', 'taskset', '-c', join(',', @some), @command);
}

# CPU seconds of processes, all their threads since their start, by the kernel's own
# clock: what clock_getcpuclockid(3) returns.
sub cpu_time { return sum(map { clock_gettime(-8 * $_ - 6) } @_) }

# The private memory of a process.
sub private_bytes { return memory('Private_(?:Clean|Dirty)', @_) }

# The memory of processes together, and the shared part of it: a page that several of them
# have counts once.
sub shared_out_bytes { return map { memory($_, @_) } qw(Pss Pss_Shmem) }

sub memory {
    my ($kind, @pids) = @_;
    my $bytes = 0;
    for my $pid (@pids) {
        open my $in, '<', "/proc/$pid/smaps_rollup" or die "cannot read the memory of $pid: $!\n";
        for my $line (<$in>) {
            $bytes += 1024 * $1 if $line =~ /^$kind:\s*(\d+) kB/;
        }
    }
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

# An nginx with the configuration conf/NAME.conf, where the values given stand for
# @NAMES@, and one worker or as many as `workers` says, on one core or on as many as
# `cores` says. It loads this tree's module, the one that is compared with it if `module`
# is `base`, or none if it is `bare`. Two of the same NAME differ by `as`. With a command
# to run `under` there is no master.
sub start_nginx {
    my ($name, %option) = @_;
    my $root = "$directory/" . ($option{as} // $name);
    make_path($root);
    my $listen = free_address();
    my $is_base = ($option{module} // '') eq 'base';
    my %value = (LISTEN => $listen, %{ $option{values} || {} });
    my $include = $is_base ? $ENV{BENCH_BASE_INCLUDE} : 'nginx-conf/authgear_resolver.conf';
    for my $file (glob('bench/conf/*.conf'), $include) {
        open my $in, '<', $file or die "cannot read $file: $!\n";
        my $text = do { local $/; <$in> };
        # The resolver is on loopback, without TLS.
        $text =~ s{https://(auth\.example\.com|authgear_resolver)/_resolver}{http://$1/_resolver};
        $text =~ s/\@([A-Z_]+)\@/$value{$1} \/\/ ''/ge;
        open my $out, '>', "$root/" . basename($file) or die "cannot write into $root: $!\n";
        print {$out} $text;
        close $out;
    }

    my $workers = $option{workers} // 1;
    my $cores = $option{cores} // 1;
    my @main = ('daemon off', "worker_processes $workers", 'pid nginx.pid', 'worker_rlimit_nofile 8192');
    push @main, 'user root' if $> == 0;
    push @main, 'load_module ' . ($is_base ? $ENV{BENCH_BASE} : $ENV{BENCH_MODULE}) if !$option{bare};
    push @main, 'master_process off' if $option{under};
    my $master = start("$root/output", on_cores($cores, @{ $option{under} || [] }, $ENV{BENCH_NGINX}, '-p', "$root/",
        '-e', 'error.log', '-c', "$name.conf", '-g', join '', map { "$_;" } @main));
    if (!wait_for(sub { IO::Socket::INET->new(PeerAddr => $listen) })) {
        system 'cat', "$root/output";
        die "nginx did not start with $name.conf\n";
    }
    my @workers = $option{under} ? $master : workers($master, $workers);
    # Each at home on a core of its own, as with worker_cpu_affinity.
    if ($cores > 1) {
        for my $place (0 .. $#workers) {
            system("taskset -p -c $cores[$place % @cores] $workers[$place] >$directory/taskset") == 0
                or die "cannot bind a worker to its core\n";
        }
    }
    return { root => $root, listen => $listen, master => $master, workers => \@workers, worker => $workers[0] };
}

# nginx's caches have processes of their own beside the workers.
sub workers {
    my ($master, $count) = @_;
    my $found = wait_for(sub {
        open my $in, '<', "/proc/$master/task/$master/children" or return;
        my @workers = grep {
            open my $line, '<', "/proc/$_/cmdline";
            $line && (<$line> // '') =~ /worker process/;
        } split ' ', <$in> // '';
        return @workers == $count && \@workers;
    });
    return @{ $found || die "nginx has not $count workers\n" };
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
