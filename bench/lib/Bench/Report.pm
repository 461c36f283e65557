package Bench::Report;

# Prints what was measured.

use strict;
use warnings;
use utf8;

use Exporter qw(import);
use List::Util qw(max min);

our @EXPORT_OK = qw(print_text report);

sub report {
    my ($rows, $measured, $side, $markdown) = @_;
    binmode STDOUT, ':utf8';
    my $print = $markdown ? \&print_markdown : \&print_text;

    my ($bare, @others) = @$rows;
    my %cost = map { $_->{name} => median(@{ $measured->{ $_->{name} }{over} }) } @others;
    my @floor = @{ $measured->{floor} };
    my $floor = @floor && median(@floor);
    my %known = (%cost, $floor ? (RS256 => $floor) : ());

    my @table = ['', 'nginx, µs', 'middle half', '% of bare', '× RS256', '× keep-alive', '× cache hit', 'resolver, µs', 'at most'];
    my @bare = map { @{ $measured->{ $_->{name} }{base} } } @others;
    push @table, [$bare->{name}, number(median(@bare)), spread(@bare), ('') x 6];
    for my $row (@others) {
        my ($base, $over, $resolver, $beside) = @{ $measured->{ $row->{name} } }{qw(base over resolver beside)};
        my $cost = $cost{ $row->{name} };
        push @table, [
            $row->{name},
            signed($cost),
            spread(@$over),
            sprintf('%+.0f', 100 * median(map { $over->[$_] / $base->[$_] } 0 .. $#$over)),
            ratio($cost, $floor),
            map({ ratio($cost, $cost{"auth_request, $_"}) } 'keep-alive', 'proxy_cache hit'),
            ($row->{asks} // 1) ? number(median(@$resolver)) : '',
            join('; ', map({ bound($_, $cost, \%known) } @{ $row->{bound} || [] }),
                $row->{floor} ? beside_floor($over, \@floor) : (),
                $row->{rival} ? beside_rival($row->{rival}{name}, $beside) : ()),
        ];
    }
    push @table, ['RS256 in aws-lc, parsed key kept', number($floor), spread(@floor), ('') x 6] if @floor;
    $print->(@table);

    my ($memory, $latency) = @$side{qw(memory latency)};
    my ($off, $on) = map { $memory->{$_}[-1] } qw(off on);
    my $each = ($on - $off) / min($memory->{remembered}, $memory->{tokens});
    print "\n";
    $print->(
        ["A worker's own memory, MiB", "after $memory->{half} tokens", "after $memory->{tokens}"],
        ['authgear_token_cache off', map { number($_ / 2**20) } @{ $memory->{off} }],
        ["authgear_token_cache $memory->{remembered}", map { number($_ / 2**20) } @{ $memory->{on} }],
        ['bytes for each cached token', '', sprintf('%.0f', $each) . '; at most 2048: ' . verdict($each <= 2048)],
    );

    print "\n";
    my ($quiet, $fetching) = map { median(@{ $latency->{$_}[1] }) } qw(quiet fetching);
    $print->(
        ['Latency, µs', 'median', '99th percentile', 'of each round'],
        map({
            my ($name, $of) = @$_;
            [$name, map({ number(median(@$_)) } @$of), spread(@{ $of->[1] })]
        } ['no fetch', $latency->{quiet}], ['keys being fetched from an endpoint that hangs', $latency->{fetching}]),
    );
    print 'The 99th percentile does not leave the range without a fetch: ',
        verdict($fetching <= max @{ $latency->{quiet}[1] }), "\n";
}

# A limit may depend on a row that was left out.
sub bound {
    my ($bound, $cost, $costs) = @_;
    my ($text, $limit) = @$bound;
    my $most = $limit->($costs) or return "$text: not measured";
    $text .= ' = ' . number($most) if $text !~ /^[\d.]+ µs$/;
    return "$text: " . verdict($cost <= $most);
}

# Each stretch against the crypto measured just after it.
sub beside_floor {
    my ($over, $floor) = @_;
    my @ratios = map { $over->[$_] / $floor->[$_] } 0 .. $#$floor;
    my ($low, $ratio, $high) = map { sprintf '%.2f', quantile($_, @ratios) } 1 / 4, 1 / 2, 3 / 4;
    return "1.25 × aws-lc: $ratio ($low to $high), " . verdict($ratio <= 1.25);
}

# The row's cost beyond its rival's, measured by turns.
sub beside_rival {
    my ($name, $beside) = @_;
    my ($low, $over, $high) = map { quantile($_, @$beside) } 1 / 4, 1 / 2, 3 / 4;
    return sprintf '%s: %+.2f µs (%+.2f to %+.2f), %s', $name, $over, $low, $high, verdict($over <= 0);
}

sub verdict { return $_[0] ? 'met' : 'NOT MET' }

sub median { return quantile(1 / 2, @_) }

# Between two values in proportion.
sub quantile {
    my ($part, @values) = @_;
    my @sorted = sort { $a <=> $b } @values;
    my $place = $part * $#sorted;
    my $below = int $place;
    my $above = min($below + 1, $#sorted);
    return $sorted[$below] + ($place - $below) * ($sorted[$above] - $sorted[$below]);
}

sub number { return sprintf abs $_[0] < 100 ? '%.1f' : '%.0f', $_[0] }

sub signed { return ($_[0] < 0 ? '' : '+') . number($_[0]) }

sub spread { return join ' to ', map { number(quantile($_, @_)) } 1 / 4, 3 / 4 }

sub ratio {
    my ($cost, $other) = @_;
    return $other ? sprintf '%.2f', $cost / $other : '';
}

sub print_text {
    my @rows = @_;
    my @widths = map { my $column = $_; max map { length $_->[$column] } @rows } 0 .. $#{ $rows[0] };
    for my $row (@rows) {
        my $line = join '  ', map {
            my $text = $row->[$_];
            my $pad = ' ' x ($widths[$_] - length $text);
            $_ && $_ < $#widths ? $pad . $text : $text . $pad;
        } 0 .. $#widths;
        print $line =~ s/ +\z//r, "\n";
    }
}

sub print_markdown {
    my ($head, @rows) = @_;
    print_line(@$head);
    print_line('---', map { '--:' } 2 .. @$head);
    print_line(@$_) for @rows;
}

sub print_line { print '| ', join(' | ', @_), " |\n" }

1;
