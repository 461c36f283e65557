# Measures what the module costs per request, beside the bare server and the
# documented set-ups with auth_request; README.md says how. See run.sh.
use strict;
use warnings;

use Bench::Load qw(check_source check_user mint send_requests sessions settle);
use Bench::Processes qw($directory cpu_time start_nginx start_standin);
use Bench::Report qw(report);
use Bench::Rows qw(rows);
use Bench::Side qw(floor latency memory);
use File::Path qw(make_path remove_tree);
use List::Util qw(shuffle sum);

my $rounds = $ENV{ROUNDS} || 12;
# Tokens never sent before, for each round.
my $unseen = $ENV{UNSEEN} || 5_000;
# In rotation; for each row and round, each once.
my $seen = 10_000;
my $sessions = 1_000;
# Requests of one stretch.
my $stretch = 5_000;
# Of a row and its rival in a round: they are so close that it takes many to tell them apart.
my $turns = 6;
# Else a token would be sent twice.
die "UNSEEN must be a multiple of $stretch\n" if $unseen % $stretch;
my @rows = rows($ENV{ROWS});
srand 1;
$| = 1;

remove_tree($directory);
make_path($directory, 'build/bench/state');

my $standin = start_standin('--origin', 'https://auth.example.com', '--tenants', '--state-dir', 'build/bench/state');
my @tokens = map { "Authorization: Bearer $_" } mint($standin, $seen + $rounds * $unseen);
my $backend = start_nginx('backend', bare => 1);
my %values = (AUTHGEAR => $standin->{http}, RESOLVER => $standin->{resolver}, BACKEND => $backend->{listen});
my %server = (
    rows => start_nginx('rows', values => \%values),
    plain => start_nginx('plain', bare => 1, values => \%values),
);
my %lines = (
    seen => [@tokens[0 .. $seen - 1]],
    one => [$tokens[0]],
    sessions => [map { "Cookie: session=$_" } sessions($standin, $sessions)],
);

my $floor = floor($standin, @{ $lines{seen} }[0 .. 1999]);
my @floor;
my ($bare, @others) = @rows;
my %measured;
for my $round (1 .. $rounds) {
    my $from = $seen + ($round - 1) * $unseen;
    $lines{unseen} = [@tokens[$from .. $from + $unseen - 1]];
    for my $row (shuffle grep { ($round - 1) % ($_->{every} // 1) == 0 } @others) {
        print STDERR "\r\e[Kround $round of $rounds: $row->{name}" if -t STDERR;
        my $result = $measured{ $row->{name} } //= {};
        my %found = measure($row);
        $found{beside} = beside($row) if $row->{rival};
        push @{ $result->{$_} }, @{ $found{$_} } for keys %found;
    }
}
print STDERR "\r\e[K" if -t STDERR;
$measured{floor} = \@floor;
my %side = (
    memory => memory(\%values, @tokens),
    latency => latency(\%values, $rounds, @{ $lines{seen} }[0 .. 999]),
);
report(\@rows, \%measured, \%side, grep { $_ eq '--markdown' } @ARGV);

# A round of a row, in microseconds per request: CPU time of the bare server, what the row took more,
# and CPU time of the resolver.
sub measure {
    my ($row) = @_;
    my $server = $server{ $row->{server} // 'rows' };
    my $url = "http://$server->{listen}$row->{path}";
    my $lines = $lines{ $row->{send} };
    my $is_unseen = $row->{send} eq 'unseen';
    my $bare_url = "http://$server{rows}{listen}$bare->{path}";
    my $bare_lines = $is_unseen ? $lines{seen} : $lines;

    # Caches then hold what is sent next, or, for unseen tokens, none of it.
    send_requests($url, $lines, requests => $seen) if $row->{auth} && !$row->{asks} && !$is_unseen;
    my $asked = settle($standin);
    my $resolver = cpu_time($standin->{pid});
    my $count = 0;
    my (@base, @over);
    my $until = time + ($row->{seconds} // 0);
    # Few of the bare server, so that the resolver is asked as seldom as it would be without.
    my $times = $row->{seconds} ? 4 : 1;
    my $pieces = ($is_unseen ? $unseen : $seen) / $stretch;
    for (my $piece = 0; $piece < $pieces || time < $until; $piece++) {
        my @parts = map {
            my $from = ($piece * $times + $_) * $stretch;
            [map { $_ % @$lines } $from .. $from + $stretch - 1]
        } 0 .. $times - 1;
        $count += $times * $stretch;
        my %cost;
        my %stretch = (
            bare => sub { stretch($server{rows}, $bare_url, [@$bare_lines[@{ $parts[0] }]]) },
            row => sub { sum(map { stretch($server, $url, [@$lines[@$_]]) } @parts) / $times },
        );
        # Side by side, for the machine may be another one a second later.
        $cost{$_} = $stretch{$_}->() for $piece % 2 ? qw(row bare) : qw(bare row);
        push @base, $cost{bare};
        push @over, $cost{row} - $cost{bare};
        push @floor, $floor->() if $row->{floor};
    }
    # The questions come in few of the stretches, which no median would show.
    @$_ = sum(@$_) / @$_ for $row->{seconds} ? (\@base, \@over) : ();
    $asked = settle($standin) - $asked;
    $resolver = 1e6 * (cpu_time($standin->{pid}) - $resolver) / $count;

    # wrk does not count those that are on their way when it ends, one for each connection.
    my $per_request = $asked / $count;
    die "$row->{name}: $per_request questions to the resolver per request\n"
        if defined $row->{asks} && abs($per_request - $row->{asks}) > 0.02;
    check_user($url, $lines->[0]) if $row->{auth};
    check_source("http://$server->{listen}/source", $lines->[0], $row->{source}) if $row->{source};
    return (base => \@base, over => \@over, resolver => [$resolver]);
}

# A round of a row and of its rival by turns: what the row takes more, in microseconds per request.
sub beside {
    my ($row) = @_;
    my @over;
    for my $turn (1 .. $turns) {
        my %cost;
        for my $one ($turn % 2 ? ($row, $row->{rival}) : ($row->{rival}, $row)) {
            my $lines = $lines{ $one->{send} };
            my $url = "http://$server{rows}{listen}$one->{path}";
            $cost{ $one->{name} } = stretch($server{rows}, $url, [@$lines[map { $_ % @$lines } 1 .. $stretch]]);
        }
        push @over, $cost{ $row->{name} } - $cost{ $row->{rival}{name} };
    }
    return \@over;
}

# CPU time of the server's worker per request, one for each line.
sub stretch {
    my ($server, $url, $lines) = @_;
    my $before = cpu_time($server->{worker});
    my ($count) = send_requests($url, $lines, requests => scalar @$lines);
    return 1e6 * (cpu_time($server->{worker}) - $before) / $count;
}
