package Bench::Workers;

# Measurements of several workers together: how often a token's signature is checked,
# the memory that a token takes in all of them, and what it costs them to share a table.

use strict;
use warnings;

use Bench::Load qw(send_requests);
use Bench::Processes qw(cpu_time shared_out_bytes start_nginx stop);
use Exporter qw(import);
use IO::Socket::INET;
use List::Util qw(min);
use Time::HiRes qw(sleep);

our @EXPORT_OK = qw(full_load shared_memory signature_checks);

# Tokens that each worker has room for, where it keeps them for itself.
my $kept = 16_384;

# Sends each token to 4 workers one after another. Returns how often its signature was
# checked and how often it was known.
sub signature_checks {
    my ($values, $module, @lines) = @_;
    my $nginx = start('signature_checks', $module, $values, workers => 4);
    my @sockets = connections($nginx);
    for my $line (@lines) {
        answer($_, '/counted', $line) for @sockets;
    }
    my %counts = counts($nginx, @sockets * @lines, scalar @lines);
    stop($nginx->{master});
    return { tokens => scalar @lines, checks => $counts{jwt} // 0, known => $counts{jwt_cache} // 0 };
}

# Sends each token to 4 workers, first to the bare server and then to be verified. Returns the
# memory of all processes together and the shared part of it, before, between and after, and how
# many of the tokens were known at the end.
sub shared_memory {
    my ($values, $module, @lines) = @_;
    # The other module may need more than its default to remember them all.
    my %tuning = $module eq 'base' ? (TUNING => 'authgear_token_cache 32768;') : ();
    my $nginx = start('shared_memory', $module, { %$values, %tuning }, workers => 4);
    my @pids = ($nginx->{master}, @{ $nginx->{workers} });
    my @sockets = connections($nginx);
    # What a worker makes once is not the tokens' memory.
    for my $path ('/bare', '/jwt', '/counted') {
        answer($_, $path, $lines[0]) for @sockets;
    }
    counts($nginx, scalar @sockets, 1);

    # On a kept connection nginx itself, without any module, keeps some 88 bytes for each request of this
    # size until the connection ends: the bare server's growth is not the tokens'.
    my @before = shared_out_bytes(@pids);
    for my $line (@lines) {
        answer($_, '/bare', $line) for @sockets;
    }
    my @between = shared_out_bytes(@pids);
    for my $line (@lines) {
        answer($_, '/jwt', $line) for @sockets;
    }
    my @after = shared_out_bytes(@pids);
    answer($sockets[$_ % @sockets], '/counted', $lines[$_]) for 0 .. $#lines;
    my %counts = counts($nginx, scalar @lines);
    stop($nginx->{master});
    return {
        tokens => scalar @lines, before => \@before, between => \@between, after => \@after,
        known => $counts{jwt_cache} // 0,
    };
}

# CPU time per request of 2 workers that are busy on 2 cores, in microseconds: with the defaults,
# and where each keeps the tokens for itself, by turns; and the share of the less busy worker
# in it, which is far below a half where others keep its core busy.
sub full_load {
    my ($values, $rounds, $modules, @lines) = @_;
    my $backend = start_nginx('backend', as => 'backend_full_load', bare => 1, workers => 2, cores => 2);
    my %values = (%$values, BACKEND => $backend->{listen});
    my %private = (TUNING => "authgear_token_cache $kept;");
    my %server;
    for my $module (@$modules) {
        $server{"$module, shared"} = start("full_load_shared", $module, \%values, workers => 2, cores => 2)
            if $module eq 'new';
        $server{"$module, private"} = start("full_load_private", $module, { %values, %private },
            workers => 2, cores => 2);
    }
    # Each worker has seen each token.
    for my $nginx (values %server) {
        my @sockets = connections($nginx);
        for my $line (@lines) {
            answer($_, '/jwt', $line) for @sockets;
        }
    }

    my %cost;
    my @names = sort keys %server;
    for my $turn (1 .. 2 * $rounds) {
        for my $name ($turn % 2 ? @names : reverse @names) {
            my $nginx = $server{$name};
            my @workers = @{ $nginx->{workers} };
            my @before = map { cpu_time($_) } @workers;
            my ($count) = send_requests("http://$nginx->{listen}/jwt", \@lines,
                requests => 3 * @lines, connections => 64, cores => 2);
            my @took = map { cpu_time($workers[$_]) - $before[$_] } 0 .. $#workers;
            my $all = $took[0] + $took[1];
            push @{ $cost{$name}{cost} }, 1e6 * $all / $count;
            push @{ $cost{$name}{share} }, min(@took) / $all;
        }
    }
    stop($_->{master}) for values %server, $backend;
    return \%cost;
}

sub start {
    my ($as, $module, $values, %option) = @_;
    return start_nginx('defaults', as => "${as}_$module", module => $module, values => $values, %option);
}

# A kept connection to each worker.
sub connections {
    my ($nginx) = @_;
    my %sockets;
    for (1 .. 1000) {
        my $socket = IO::Socket::INET->new($nginx->{listen}) or die "cannot connect: $!\n";
        my $pid = answer($socket, '/worker');
        $sockets{ $pid + 0 } //= $socket;
        return @sockets{ @{ $nginx->{workers} } } if keys %sockets == @{ $nginx->{workers} };
    }
    die "no connection reaches some of the workers\n";
}

# The body of the answer to one request, which must be 200.
sub answer {
    my ($socket, $path, $line) = @_;
    my $request = join "\r\n", "GET $path HTTP/1.1", 'Host: bench', $line // (), '', '';
    syswrite($socket, $request) == length $request or die "cannot send: $!\n";
    my $answer = '';
    while (1) {
        sysread $socket, $answer, 65_536, length $answer or die "$path: the connection was closed\n";
        my ($head, $body) = split /\r\n\r\n/, $answer, 2;
        next if !defined $body;
        die "$path: $head\n" if $head !~ m{^HTTP/1\.1 200 };
        my ($length) = $head =~ /^Content-Length: (\d+)/mi or die "$path: no length\n";
        return $body if length $body == $length;
    }
}

# Where the answers to so many requests came from, by the log: how many of each kind. With
# `each`, every worker must have given that many. Empties the log.
sub counts {
    my ($nginx, $requests, $each) = @_;
    my $file = "$nginx->{root}/source.log";
    my @lines;
    # A line is written after its answer.
    for (1 .. 100) {
        open my $in, '<', $file or die "cannot read $file: $!\n";
        @lines = <$in>;
        last if @lines >= $requests;
        sleep 0.02;
    }
    die "$file has " . @lines . " lines, not $requests\n" if @lines != $requests;
    truncate $file, 0 or die "cannot empty $file: $!\n";
    my (%counts, %by_worker);
    for (@lines) {
        my ($pid, $source) = split;
        $counts{$source}++;
        $by_worker{$pid}++;
    }
    my @uneven = grep { ($by_worker{$_} // 0) != ($each // 0) } @{ $nginx->{workers} };
    die "workers @uneven did not answer $each requests each\n" if defined $each && @uneven;
    return %counts;
}

1;
