# Runs test files side by side, each with a server root and ports of its own,
# and counts what they found; see suite.sh.
#
#   perl tools/suite.pl FLAVOUR plain|valgrind|asan FILE…
#
# With COUNTS=FILE in the environment, one line "PASSED FAILED SKIPPED" is
# appended to that file; with FAILURES=FILE, what a failed file said.
use strict;
use warnings;

use Cwd qw(getcwd);
use Fcntl qw(:flock O_CREAT O_RDWR);
use File::Basename qw(basename);
use File::Copy qw(copy);
use File::Path qw(make_path remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use TAP::Harness;

my ($flavour, $mode, @files) = @ARGV;
my $root = getcwd();
# A test file spends most of its time waiting.
my $jobs = $ENV{JOBS} || 2 * `nproc`;
my $kept = "build/failed-$flavour";

# Outside the checkout, which a worker that is not root may not be able to
# enter.
my $scratch = tempdir('ngx-authgear-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $scratch;

# nginx would take it for a list of inherited sockets.
delete $ENV{NGINX};
$ENV{TEST_NGINX_NO_SHUFFLE} //= 1;
$ENV{TEST_NGINX_FAST_SHUTDOWN} //= 1 if $mode eq 'plain';

if ($mode eq 'valgrind') {
    $ENV{TEST_NGINX_USE_VALGRIND} = join ' ', qw(--num-callers=50 --leak-check=full
        --show-possibly-lost=no --keep-debuginfo=yes --gen-suppressions=all),
        "--suppressions=$root/t/lib/valgrind.suppress",
        "--log-file=%q{AUTHGEAR_TEST_DIR}/valgrind.%p";
    $ENV{TEST_NGINX_TIMEOUT} //= 60;
}
elsif ($mode eq 'asan') {
    $ENV{TEST_NGINX_TIMEOUT} //= 20;
}

my (%directory, @locks);
for my $file (@files) {
    my $name = basename($file, '.t');
    $directory{$file} = "$scratch/$name";
    mkdir $directory{$file} or die "cannot make $directory{$file}: $!\n";
    # A worker that is not root writes what a sanitizer finds in it.
    mkdir "$directory{$file}/sanitizer" or die "cannot make a folder: $!\n";
    chmod 01777, "$directory{$file}/sanitizer";
}
my %port = map { $_ => free_ports() } @files;

my $harness = TAP::Harness->new({
    jobs => $jobs,
    verbosity => $ENV{VERBOSE} ? 1 : 0,
    timer => 1,
    color => -t STDOUT ? 1 : 0,
    exec => sub {
        my ($self, $file) = @_;
        my $directory = $directory{$file};
        my @environment = (
            "AUTHGEAR_TEST_DIR=$directory",
            "TEST_NGINX_SERVROOT=$directory/servroot",
            "TEST_NGINX_PORT=$port{$file}",
            "TEST_NGINX_SERVER_PORT=$port{$file}",
        );
        if ($mode eq 'asan') {
            push @environment, 'ASAN_OPTIONS=' . join(':', 'detect_leaks=' . ($ENV{LEAKS} // 1),
                'detect_odr_violation=0', "log_path=$directory/sanitizer/report");
            push @environment, "LSAN_OPTIONS=suppressions=$root/t/lib/lsan.suppress";
        }
        return ['env', @environment, 'sh', '-c', 'exec "$@" 2>"$AUTHGEAR_TEST_DIR/stderr.log"', 'sh',
            $^X, "-I$root/t/lib", $file];
    },
});

remove_tree($kept);
my $results = eval { $harness->runtests(@files) };
my $stopped = $@;

my ($passed, $failed, $skipped) = (0, 0, 0);
my @failed_files;
if (!$results) {
    warn $stopped;
    $failed = 1;
    @failed_files = @files;
}
else {
    for my $file (@files) {
        my ($parser) = $results->parsers($file);
        my $not_ok = $parser->failed;
        # A file that died or lost count has failed, whatever it had passed.
        $not_ok ||= 1 if $parser->has_problems;
        my $not_run = $parser->skipped + $parser->todo;
        $not_run = 1 if defined $parser->skip_all;

        $failed += $not_ok;
        $skipped += $not_run;
        $passed += $parser->passed - $parser->skipped - $parser->todo;
        push @failed_files, $file if $not_ok;
    }
}

for my $file (@files) {
    my @findings = findings($directory{$file});
    next if !@findings;
    print "\n$file: findings of $mode\n", @findings;
    $failed++;
    push @failed_files, $file if !grep { $_ eq $file } @failed_files;
}

keep_logs($_) for @failed_files;
print "logs are in $kept/\n" if @failed_files;
my $said = join '', map { "\n$_, nginx $flavour:\n" . stderr_tail($directory{$_}) } @failed_files;
print $said;
append($ENV{FAILURES}, $said) if $ENV{FAILURES};

append($ENV{COUNTS}, "$passed $failed $skipped\n") if $ENV{COUNTS};
print "$mode suite, nginx $flavour: $passed passed, $failed failed, $skipped skipped\n";
exit($failed || !$passed ? 1 : 0);

# The first of eight ports that nobody listens on and no other run has taken.
# Test::Nginx hands out blocks of four from 1988 on as $TEST_NGINX_RAND_PORT_n,
# and keeps off each other with these lock files: so do we.
sub free_ports {
    my $locks = File::Spec->tmpdir() . "/test-nginx-port-locks-$<";
    make_path($locks);
    our $next //= 20_004;
    PORT: while ($next < 32_000) {
        my $first = $next;
        $next += 8;
        my @taken;
        for my $block ($first, $first + 4) {
            sysopen my $lock, "$locks/port-$block.lock", O_CREAT | O_RDWR, 0600 or next PORT;
            flock $lock, LOCK_EX | LOCK_NB or next PORT;
            push @taken, $lock;
        }
        for my $port ($first .. $first + 7) {
            IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => $port, Proto => 'tcp',
                Listen => 1, ReuseAddr => 1)
                or next PORT;
        }
        push @locks, @taken;
        return $first;
    }
    die "no free ports below 32000\n";
}

# The last 60 lines that a test file wrote to standard error: its failed tests,
# with the values that they got.
sub stderr_tail {
    my ($directory) = @_;
    open my $in, '<', "$directory/stderr.log" or return '';
    my @lines = <$in>;
    splice @lines, 0, -60 if @lines > 60;
    return join '', @lines;
}

sub append {
    my ($file, $text) = @_;
    open my $out, '>>', $file or die "cannot write $file: $!\n";
    print {$out} $text;
    close $out or die "cannot write $file: $!\n";
    return;
}

# Lines of a checker's log: valgrind's begin with ==, and so does the headline
# of a sanitizer's.
sub findings {
    my ($directory) = @_;
    my @lines;
    for my $log (glob("$directory/valgrind.* $directory/sanitizer/*"),
        glob("$directory/servroot/logs/error.log"))
    {
        open my $in, '<', $log or next;
        my @all = <$in>;
        push @lines, @all if grep { /^==/ } @all and $log !~ /error\.log$/;
        push @lines, grep { /^==/ } @all if $log =~ /error\.log$/;
    }
    return @lines;
}

sub keep_logs {
    my ($file) = @_;
    my $to = "$kept/" . basename($file, '.t');
    make_path($to);
    my $from = $directory{$file};
    for my $log (glob("$from/valgrind.* $from/sanitizer/* $from/*.log"),
        glob("$from/servroot/logs/*.log $from/servroot/conf/nginx.conf"))
    {
        copy($log, $to) if -s $log;
    }
}
