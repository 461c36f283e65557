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
use List::Util qw(shuffle);

my $rounds = $ENV{ROUNDS} || 12;
# Tokens never sent before, for each round.
my $unseen = $ENV{UNSEEN} || 1_500;
# In rotation; for each row and round, each once.
my $seen = 10_000;
my $sessions = 1_000;
my @rows = rows($ENV{ROWS});
srand 1;
$| = 1;

remove_tree($directory);
make_path($directory, 'build/bench/state');

my $standin = start_standin('--origin', 'https://auth.example.com', '--tenants', '--state-dir', 'build/bench/state');
my @tokens = map { "Authorization: Bearer $_" } mint($standin, $seen + $rounds * $unseen);
my $backend = start_nginx('backend', bare => 1);
my %values = (AUTHGEAR => $standin->{http}, BACKEND => $backend->{listen});
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
my ($bare, @others) = @rows;
my %measured;
for my $round (1 .. $rounds) {
    my $from = $seen + ($round - 1) * $unseen;
    $lines{unseen} = [@tokens[$from .. $from + $unseen - 1]];
    for my $row (shuffle grep { ($round - 1) % ($_->{every} // 1) == 0 } @others) {
        print STDERR "\r\e[Kround $round of $rounds: $row->{name}" if -t STDERR;
        # Just before, for the machine may be another one a minute later.
        my ($base) = measure($bare, $row->{send} eq 'sessions' ? 'sessions' : 'seen');
        my ($cpu, $resolver) = measure($row, $row->{send});
        my $result = $measured{ $row->{name} } //= {};
        push @{ $result->{base} }, $base;
        push @{ $result->{over} }, $cpu - $base;
        push @{ $result->{resolver} }, $resolver;
    }
    push @{ $measured{floor} }, $floor->();
}
print STDERR "\r\e[K" if -t STDERR;
my %side = (
    memory => memory(\%values, @tokens),
    latency => latency(\%values, $rounds, @{ $lines{seen} }[0 .. 999]),
);
report(\@rows, \%measured, \%side, grep { $_ eq '--markdown' } @ARGV);

# One stretch of a row: CPU time of nginx's worker and of the resolver, in
# microseconds per request.
sub measure {
    my ($row, $send) = @_;
    my $server = $server{ $row->{server} // 'rows' };
    my $url = "http://$server->{listen}$row->{path}";
    my $lines = $lines{$send};
    my $is_unseen = $send eq 'unseen';

    # Caches then hold what is sent next, or, for unseen tokens, none of it.
    send_requests($url, $lines, requests => $seen) if $row->{auth} && !$row->{asks} && !$is_unseen;
    my $asked = settle($standin);
    my @before = map { cpu_time($_) } $server->{worker}, $standin->{pid};
    my ($count) = send_requests($url, $lines,
        $row->{seconds} ? (seconds => $row->{seconds}) : (requests => $is_unseen ? $unseen : $seen));
    $asked = settle($standin) - $asked;
    my @after = map { cpu_time($_) } $server->{worker}, $standin->{pid};

    # wrk does not count those that are on their way when it ends, one for each connection.
    my $per_request = $asked / $count;
    die "$row->{name}: $per_request questions to the resolver per request\n"
        if defined $row->{asks} && abs($per_request - $row->{asks}) > 0.02;
    check_user($url, $lines->[0]) if $row->{auth};
    check_source("http://$server->{listen}/source", $lines->[0], $row->{source}) if $row->{source};
    return map { 1e6 * ($after[$_] - $before[$_]) / $count } 0, 1;
}
