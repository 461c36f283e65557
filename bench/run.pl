# Measures what the module costs per request, beside the bare server and the
# documented set-ups with auth_request; README.md says how. See run.sh.
use strict;
use warnings;

use Bench::Load qw(check_user mint send_requests sessions settle);
use Bench::Processes qw($directory cpu_time start_nginx start_standin);
use Bench::Report qw(report);
use Bench::Rows qw(rows);
use Bench::Side qw(floor latency memory);
use File::Path qw(make_path remove_tree);
use List::Util qw(shuffle);

my $rounds = $ENV{ROUNDS} || 5;
# For each row and round.
my $requests = $ENV{REQUESTS} || 20_000;
# Tokens never sent before, for each round.
my $unseen = $ENV{UNSEEN} || 8_000;
# In rotation.
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
    rows => start_nginx('rows', measured => 1, values => \%values),
    plain => start_nginx('plain', measured => 1, bare => 1, values => \%values),
);
my %lines = (
    seen => [@tokens[0 .. $seen - 1]],
    one => [$tokens[0]],
    sessions => [map { "Cookie: session=$_" } sessions($standin, $sessions)],
);

my $floor = floor($standin, @{ $lines{seen} }[0 .. 1999]);
my %measured;
for my $round (1 .. $rounds) {
    my $from = $seen + ($round - 1) * $unseen;
    $lines{unseen} = [@tokens[$from .. $from + $unseen - 1]];
    for my $row (shuffle @rows) {
        print STDERR "\r\e[Kround $round of $rounds: $row->{name}";
        measure($row);
    }
    push @{ $measured{floor} }, $floor->();
}
print STDERR "\r\e[K";
my %side = (
    memory => memory(\%values, @tokens),
    latency => latency(\%values, $rounds, $lines{seen}),
);
report(\@rows, \%measured, \%side, grep { $_ eq '--markdown' } @ARGV);

# One stretch of a row: CPU time of nginx's worker and of the resolver, in
# microseconds per request.
sub measure {
    my ($row) = @_;
    my $server = $server{ $row->{server} // 'rows' };
    my $url = "http://$server->{listen}$row->{path}";
    my $lines = $lines{ $row->{send} };

    # Caches then hold what is sent next, or, for unseen tokens, none of it.
    send_requests($url, $lines, requests => $seen) if $row->{send} ne 'unseen';
    my $asked = settle($standin);
    my @before = map { cpu_time($_) } $server->{worker}, $standin->{pid};
    my ($count) = send_requests($url, $lines,
        $row->{seconds} ? (seconds => $row->{seconds})
        : (requests => $row->{send} eq 'unseen' ? $unseen : $requests));
    $asked = settle($standin) - $asked;
    my @after = map { cpu_time($_) } $server->{worker}, $standin->{pid};

    my $per_request = $asked / $count;
    die "$row->{name}: $per_request questions to the resolver per request\n"
        if defined $row->{asks} && abs($per_request - $row->{asks}) > 0.01;
    check_user($url, $lines->[0]) if $row->{auth};
    my $result = $measured{ $row->{name} } //= {};
    push @{ $result->{cpu} }, 1e6 * ($after[0] - $before[0]) / $count;
    push @{ $result->{resolver} }, 1e6 * ($after[1] - $before[1]) / $count;
}
