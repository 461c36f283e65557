package Bench::Load;

# The load: tokens and sessions of the stand-in, sent by wrk.

use strict;
use warnings;

use Bench::Processes qw($directory on_cores);
use Exporter qw(import);
use HTTP::Tiny;
use JSON::PP;
use Time::HiRes qw(sleep);

our @EXPORT_OK = qw(check_source check_user mint mint_padded send_requests sessions settle write_lines);

my $user = '3b7f4a52-7c07-4a0e-9d5e-0f6f3a1c2b4d';

# Enough to keep the worker busy.
my $connections = 16;
# Tokens are good for that many days, and taken by later runs for half of them.
my $days = 30;

# On a kept connection the body would wait 40 ms for the acknowledgement of the head.
my $http = HTTP::Tiny->new(timeout => 10, keep_alive => 0);

# The answer to one request; it must be 200.
sub ask {
    my ($method, $url, %option) = @_;
    my $answer = $http->request($method, $url, \%option);
    die "$method $url: $answer->{status} $answer->{content}\n" if !$answer->{success};
    return $answer;
}

# So many tokens, all different: made now, or by an earlier run with the same key. The rest
# of the request for a token is that of `claims`, and such tokens are kept in a file of their own.
sub mint {
    my ($standin, $count, %option) = @_;
    my %user = (id => $user, roles => ['admin', 'editor']);
    # The resolver has to know the user of tokens that another run made.
    ask('POST', "http://$standin->{control}/-/users", content => encode_json(\%user));

    my $file = 'build/bench/state/' . ($option{file} // 'tokens');
    my @tokens = -e $file && -M $file < $days / 2 ? read_lines($file) : ();
    if (@tokens < $count) {
        print "minting $count tokens, for later runs too\n";
        my @command = ($ENV{BENCH_STANDIN}, 'token', '--control', "http://$standin->{control}", '--count', $count,
            '--json', encode_json({ user => \%user, expires_in => $days * 86400, claims => $option{claims} // {} }));
        open my $minted, '-|', @command or die "cannot mint: $!\n";
        chomp(@tokens = <$minted>);
        close $minted or die "minting failed\n";
        write_lines($file, @tokens);
    }
    return @tokens[0 .. $count - 1];
}

# The same, each padded to this many bytes with a claim that nobody asks for.
sub mint_padded {
    my ($standin, $count, $bytes) = @_;
    my ($token) = mint($standin, 1);
    my %claims = ('https://example.com/padding' => 'x' x (3 / 4 * ($bytes - length $token) - 34));
    return mint($standin, $count, file => "tokens_$bytes", claims => \%claims);
}

sub sessions {
    my ($standin, $count) = @_;
    return map {
        ask('POST', "http://$standin->{control}/-/session", content => encode_json({ user => $user }))->{content}
    } 1 .. $count;
}

# The number of questions to the resolver, once it no longer grows.
sub settle {
    my ($standin) = @_;
    my ($asked, $before) = (questions($standin), -1);
    while ($asked != $before) {
        sleep 0.02;
        ($before, $asked) = ($asked, questions($standin));
    }
    return $asked;
}

sub questions {
    my ($standin) = @_;
    return decode_json(ask('GET', "http://$standin->{control}/-/counts")->{content})->{resolver};
}

# The backend must be told whom a request is from.
sub check_user {
    my ($url, $line) = @_;
    my $answer = ask('GET', "$url/whoami", headers => header($line))->{content};
    die "$url: the backend is told that the user is $answer\n" if $answer ne "$user\n";
}

# A token must come from where the row says.
sub check_source {
    my ($url, $line, $expected) = @_;
    my $source = ask('GET', $url, headers => header($line))->{headers}{'x-source'} // '';
    die "$url: \$authgear_source is $source, not $expected\n" if $source ne $expected;
}

sub header {
    my ($line) = @_;
    return { split /: /, $line, 2 };
}

# Sends so many requests, for two minutes at most, each with the next of the header
# lines; all must be answered 200. Returns their number, and median and
# 99th percentile of their latency in microseconds.
sub send_requests {
    my ($url, $lines, %option) = @_;
    my $file = "$directory/lines";
    write_lines($file, @$lines);
    my @command = on_cores($option{cores} // 1, 'wrk', '-t1', '-c' . ($option{connections} // $connections),
        '-d120', '--timeout', '30s', '-s', 'bench/load.lua', $url, '--',
        $file, $option{requests});
    open my $wrk, '-|', @command or die "cannot run wrk: $!\n";
    my $output = join '', <$wrk>;
    my ($requests, $failed, $median, $p99) = $output =~ /^result\t(\d+)\t(\d+)\t(\S+)\t(\S+)/m
        or die "wrk failed: $output\n";
    die "$url: $failed of $requests requests failed\n$output\n" if $failed;
    return ($requests, $median, $p99);
}

sub read_lines {
    my ($file) = @_;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    chomp(my @lines = <$in>);
    return @lines;
}

sub write_lines {
    my ($file, @lines) = @_;
    open my $out, '>', $file or die "cannot write $file: $!\n";
    print {$out} map { "$_\n" } @lines;
    close $out or die "cannot write $file: $!\n";
}

1;
