# Measures what the module costs per request, beside the bare server and the
# documented set-ups with auth_request, and beside another build of the module if
# there is one; README.md says how. See run.sh.
use strict;
use warnings;

use Bench::Load qw(check_source check_user mint mint_padded send_requests sessions settle);
use Bench::Processes qw($directory cpu_time start_nginx start_standin);
use Bench::Report qw(report);
use Bench::Rows qw(parts rows);
use Bench::Side qw(floor latency memory);
use Bench::Workers qw(full_load shared_memory signature_checks);
use File::Path qw(make_path remove_tree);
use List::Util qw(max shuffle sum);

my $rounds = $ENV{ROUNDS} || 12;
# Tokens never sent before, for each round.
my $unseen = $ENV{UNSEEN} || 5_000;
# Requests of a row in a round, if it has no more tokens than that.
my $seen = 10_000;
# Requests of one stretch.
my $stretch = 5_000;
# Of a row and its rival in a round: they are so close that it takes many to tell them apart.
my $turns = 6;
# Else a token would be sent twice.
die "UNSEEN must be a multiple of $stretch\n" if $unseen % $stretch;
my @rows = rows($ENV{ROWS});
my %has_part = map { $_ => 1 } parts($ENV{ROWS});
my @modules = ('new', $ENV{BENCH_BASE} ? 'base' : ());
srand 1;
$| = 1;

remove_tree($directory);
make_path($directory, 'build/bench/state');

my $standin = start_standin('--origin', 'https://auth.example.com', '--tenants', '--state-dir', 'build/bench/state');
my $known = 20_000;
my @tokens = map { "Authorization: Bearer $_" } mint($standin, $known + $rounds * $unseen);
my $backend = start_nginx('backend', bare => 1);
my %values = (AUTHGEAR => $standin->{http}, RESOLVER => $standin->{resolver}, BACKEND => $backend->{listen});
my %kinds = (
    rows => ['rows'],
    plain => ['plain', bare => 1],
    defaults => ['defaults'],
    '2 workers' => ['defaults', workers => 2],
    '4 workers' => ['defaults', workers => 4],
);
my %servers;

my %makes = (
    seen => sub { @tokens[0 .. $seen - 1] },
    many => sub { @tokens[0 .. $known - 1] },
    one => sub { $tokens[0] },
    # The default of a module that remembers tokens in each worker has room for these.
    large => sub { map { "Authorization: Bearer $_" } mint_padded($standin, 2_000, 4_096) },
    sessions => sub { map { "Cookie: session=$_" } sessions($standin, 1_000) },
    many_sessions => sub { map { "Cookie: session=$_" } sessions($standin, 20_000) },
);
my %lines = map { $_ => [$makes{$_}->()] } 'seen', grep { $makes{$_} } map { $_->{send} // () } @rows;

my $floor = floor($standin, @{ $lines{seen} }[0 .. 1999]);
my @floor;
my ($bare, @others) = @rows;
my %measured;
for my $round (1 .. $rounds) {
    my $from = $known + ($round - 1) * $unseen;
    $lines{unseen} = [@tokens[$from .. $from + $unseen - 1]];
    for my $row (shuffle grep { ($round - 1) % ($_->{every} // 1) == 0 } @others) {
        print STDERR "\r\e[Kround $round of $rounds: $row->{name}" if -t STDERR;
        # With a time of its own a row is measured after the other module's: by turns each would
        # get half of the requests in that time.
        for my $some ($row->{seconds} ? map { [$_] } @modules : \@modules) {
            my $found = measure($row, @$some);
            for my $module (@$some) {
                my $result = $measured{ $row->{name} }{$module} //= {};
                push @{ $result->{$_} }, @{ $found->{$module}{$_} } for keys %{ $found->{$module} };
            }
        }
        push @{ $measured{ $row->{name} }{beside} }, @{ beside($row) } if $row->{rival};
    }
}
print STDERR "\r\e[K" if -t STDERR;
$measured{floor} = \@floor;
my %part = (
    'memory of a worker' => sub { memory(\%values, $_[0], @tokens) },
    'memory of 4 workers' => sub { shared_memory(\%values, $_[0], @tokens[0 .. $known - 1]) },
    'signature checks of 4 workers' => sub { signature_checks(\%values, $_[0], @{ $lines{seen} }) },
);
my %side;
for my $name (grep { $has_part{$_} } keys %part) {
    $side{$name}{$_} = $part{$name}->($_) for @modules;
}
# By turns, so all modules at once.
$side{'2 workers at full load'} = full_load(\%values, $rounds, \@modules, @{ $lines{seen} })
    if $has_part{'2 workers at full load'};
$side{'latency while keys are fetched'} = latency(\%values, $rounds, \@modules, @{ $lines{seen} }[0 .. 999])
    if $has_part{'latency while keys are fetched'};
push @floor, map { $floor->() } 1 .. 5 if !@floor;
report(\@rows, \%measured, \%side, \@modules, grep { $_ eq '--markdown' } @ARGV);

# The server of that kind with that module, which runs until the end.
sub server {
    my ($kind, $module) = @_;
    my ($conf, %option) = @{ $kinds{$kind} };
    return $servers{"$kind, $module"} //= start_nginx($conf, as => "${kind}_$module" =~ tr/ /_/r, module => $module, values => \%values, %option);
}

# A round of a row, for each module, in microseconds per request: CPU time of the bare server,
# what the row took more, and CPU time of the resolver.
sub measure {
    my ($row, @some) = @_;
    my $kind = $row->{server} // 'rows';
    my %server = map { $_ => server($kind, $_) } @some;
    # The one without the module is compared with the others.
    my %bare_server = map { $_ => server($kind eq 'plain' ? 'rows' : $kind, $_) } @some;
    my $lines = $lines{ $row->{send} };
    my $is_unseen = $row->{send} eq 'unseen';
    my $bare_lines = $is_unseen ? $lines{seen} : $lines;
    my $requests = $is_unseen ? $unseen : max($seen, scalar @$lines);
    my %option = (connections => $row->{connections});

    # Caches then hold what is sent next, or, for unseen tokens, none of it.
    for my $server ($row->{auth} && !$row->{asks} && !$is_unseen ? values %server : ()) {
        send_requests("http://$server->{listen}$row->{path}", $lines, requests => $requests, %option);
    }
    my $asked = settle($standin);
    my $count = 0;
    my %found = map { $_ => { bare => [], over => [] } } @some;
    my %resolver;
    my $until = time + ($row->{seconds} // 0);
    # Few of the bare server, so that the resolver is asked as seldom as it would be without.
    my $times = $row->{seconds} ? 4 : 1;
    for (my $piece = 0; $piece < $requests / $stretch || time < $until; $piece++) {
        my @parts = map {
            my $from = ($piece * $times + $_) * $stretch;
            [map { $_ % @$lines } $from .. $from + $stretch - 1]
        } 0 .. $times - 1;
        $count += $times * $stretch;
        # Side by side, for the machine may be another one a second later: the bare server next to
        # the row, and the row next to that of the other module.
        my @turns = map { my $module = $_; map { [$module, $_] } $module eq 'new' ? qw(bare row) : qw(row bare) } @some;
        my %cost;
        for my $turn ($piece % 2 ? reverse @turns : @turns) {
            my ($module, $which) = @$turn;
            if ($which eq 'bare') {
                my $url = "http://$bare_server{$module}{listen}$bare->{path}";
                $cost{$module}{bare} = stretch($bare_server{$module}, $url, [@$bare_lines[@{ $parts[0] }]], %option);
                next;
            }
            my $before = cpu_time($standin->{pid});
            my $url = "http://$server{$module}{listen}$row->{path}";
            $cost{$module}{row} = sum(map { stretch($server{$module}, $url, [@$lines[@$_]], %option) } @parts) / $times;
            $resolver{$module} += cpu_time($standin->{pid}) - $before;
        }
        for my $module (@some) {
            push @{ $found{$module}{bare} }, $cost{$module}{bare};
            push @{ $found{$module}{over} }, $cost{$module}{row} - $cost{$module}{bare};
        }
        push @floor, $floor->() if $row->{floor};
    }
    for my $module (@some) {
        # The questions come in few of the stretches, which no median would show.
        @$_ = sum(@$_) / @$_ for $row->{seconds} ? @{ $found{$module} }{qw(bare over)} : ();
        $found{$module}{resolver} = [1e6 * $resolver{$module} / $count];
    }

    # wrk does not count those that are on their way when it ends, one for each connection.
    my $per_request = (settle($standin) - $asked) / ($count * @some);
    die "$row->{name}: $per_request questions to the resolver per request\n"
        if defined $row->{asks} && abs($per_request - $row->{asks}) > 0.02;
    for my $server (values %server) {
        check_user("http://$server->{listen}$row->{path}", $lines->[0]) if $row->{auth};
        check_source("http://$server->{listen}/source", $lines->[0], $row->{source}) if $row->{source};
    }
    return \%found;
}

# A round of a row and of its rival by turns: what the row takes more, in microseconds per request.
sub beside {
    my ($row) = @_;
    my $server = server('rows', 'new');
    my @over;
    for my $turn (1 .. $turns) {
        my %cost;
        for my $one ($turn % 2 ? ($row, $row->{rival}) : ($row->{rival}, $row)) {
            my $lines = $lines{ $one->{send} };
            my $url = "http://$server->{listen}$one->{path}";
            $cost{ $one->{name} } = stretch($server, $url, [@$lines[map { $_ % @$lines } 1 .. $stretch]]);
        }
        push @over, $cost{ $row->{name} } - $cost{ $row->{rival}{name} };
    }
    return \@over;
}

# CPU time of the server's workers per request, one for each line.
sub stretch {
    my ($server, $url, $lines, %option) = @_;
    my $before = cpu_time(@{ $server->{workers} });
    my ($count) = send_requests($url, $lines, requests => scalar @$lines, %option);
    return 1e6 * (cpu_time(@{ $server->{workers} }) - $before) / $count;
}
