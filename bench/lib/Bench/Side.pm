package Bench::Side;

# Measurements beside the rows: the crypto's own cost, memory, and latency
# while keys are being fetched.

use strict;
use warnings;

use Bench::Load qw(send_requests write_lines);
use Bench::Processes qw($directory cpu_time on_core private_bytes start_nginx stop);
use Exporter qw(import);
use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use IPC::Open2;

our @EXPORT_OK = qw(floor latency memory);

my $remembered = 16_384;

# aws-lc's verification of some of the tokens with the parsed key kept: a function
# that returns its CPU time for one, in microseconds.
sub floor {
    my ($standin, @lines) = @_;
    my @curl = ('curl', '-sf', '-H', 'Host: auth.example.com', '-H', 'X-Forwarded-Proto: https');
    system(@curl, '-o', "$directory/jwks", "http://$standin->{http}/oauth2/jwks") == 0
        or die "cannot fetch the key set\n";
    write_lines("$directory/floor", map { s/.* //r } @lines);
    my $pid = open2(my $answers, my $asked,
        on_core($ENV{BENCH_FLOOR}, "$directory/jwks", "$directory/floor"));
    my $verify = sub {
        print {$asked} "\n";
        return scalar <$answers> // die "aws-lc's verification failed\n";
    };
    $asked->autoflush(1);
    $verify->();
    return sub {
        my $before = cpu_time($pid);
        my $count = $verify->();
        return 1e6 * (cpu_time($pid) - $before) / $count;
    };
}

# Private bytes of a worker without a token cache, and of one with it when half
# of the tokens and when all of them were sent.
sub memory {
    my ($values, $module, @lines) = @_;
    my $half = int @lines / 2;
    my %bytes;
    for my $cache ('off', $remembered) {
        my $nginx = start_nginx('memory', as => "memory_${cache}_$module", module => $module,
            values => { %$values, TOKEN_CACHE => $cache });
        for my $part ([@lines[0 .. $half - 1]], [@lines[$half .. $#lines]]) {
            send_requests("http://$nginx->{listen}/jwt", $part, requests => scalar @$part);
            push @{ $bytes{$cache} }, private_bytes($nginx->{worker});
        }
        stop($nginx->{master});
    }
    return { half => $half, tokens => scalar @lines, off => $bytes{off}, on => $bytes{$remembered}, remembered => $remembered };
}

# For each module, median and 99th percentile of the latency of some requests while others
# wait for keys that never come, and while nothing is fetched, of each round.
sub latency {
    my ($values, $rounds, $modules, @lines) = @_;
    # Takes connections and says nothing.
    my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 128) or die "cannot listen: $!\n";
    my %hanging = (quiet => $values->{AUTHGEAR}, fetching => '127.0.0.1:' . $silent->sockport);
    my (@turns, @waiting);
    for my $module (@$modules) {
        for my $which (qw(quiet fetching)) {
            my $nginx = start_nginx('latency', as => "latency_${which}_$module", module => $module,
                values => { %$values, HANGING => $hanging{$which} });
            push @turns, [$module, $which, $nginx];
            next if $which eq 'quiet';
            push @waiting, map {
                my $socket = IO::Socket::INET->new($nginx->{listen}) or die "cannot connect: $!\n";
                print {$socket} "GET /hanging HTTP/1.1\r\nHost: bench\r\n$lines[$_]\r\n\r\n";
                $socket->flush;
                $socket;
            } 1 .. 20;
        }
    }

    my %latency;
    for my $round (1 .. $rounds) {
        for my $turn ($round % 2 ? @turns : reverse @turns) {
            my ($module, $which, $nginx) = @$turn;
            my (undef, @percentiles) = send_requests("http://$nginx->{listen}/jwt", \@lines,
                connections => 4, requests => 10_000);
            push @{ $latency{$module}{$which}[$_] }, $percentiles[$_] for 0, 1;
        }
    }
    die "keys were not being fetched all the time\n" if IO::Select->new(@waiting)->can_read(0);
    stop($_->[2]{master}) for @turns;
    return \%latency;
}

1;
