package Bench::Report;

# Prints what was measured.

use strict;
use warnings;
use utf8;

use Exporter qw(import);
use List::Util qw(max min);

our @EXPORT_OK = qw(print_text report);

my $print;

sub report {
    my ($rows, $measured, $side, $modules, $markdown) = @_;
    binmode STDOUT, ':utf8';
    $print = $markdown ? \&print_markdown : \&print_text;

    print_rows($rows, $measured, @$modules > 1) if @$rows;
    my %parts = (
        'memory of a worker' => \&print_memory,
        'memory of 4 workers' => \&print_shared_memory,
        'signature checks of 4 workers' => \&print_signature_checks,
        '2 workers at full load' => \&print_full_load,
        'latency while keys are fetched' => \&print_latency,
    );
    for my $name (sort keys %$side) {
        print "\n";
        $parts{$name}->($side->{$name}, @$modules);
    }
}

sub print_rows {
    my ($rows, $measured, $has_base) = @_;
    my ($bare, @others) = @$rows;
    my %cost = map { $_->{name} => median(@{ $measured->{ $_->{name} }{new}{over} }) } @others;
    my @floor = @{ $measured->{floor} };
    my $floor = median(@floor);
    my %known = (%cost, RS256 => $floor);

    my @base_columns = $has_base ? ('base, µs', 'new - base', 'middle half') : ();
    my @table = ['', 'nginx, µs', 'middle half', @base_columns, '% of bare', '× RS256', '× keep-alive', '× cache hit',
        'resolver, µs', 'at most'];
    my %bare;
    for my $module ('new', $has_base ? 'base' : ()) {
        $bare{$module} = [map { @{ $measured->{ $_->{name} }{$module}{bare} } } @others];
    }
    push @table, [$bare->{name}, number(median(@{ $bare{new} })), spread(@{ $bare{new} }),
        $has_base ? beside_base(@bare{qw(new base)}, \&number) : (), ('') x 6];
    for my $row (@others) {
        my ($new, $base, $beside) = @{ $measured->{ $row->{name} } }{qw(new base beside)};
        my ($over, $bare) = @$new{qw(over bare)};
        my $cost = $cost{ $row->{name} };
        push @table, [
            $row->{name},
            signed($cost),
            spread(@$over),
            $has_base ? beside_base($over, $base->{over}, \&signed) : (),
            sprintf('%+.0f', 100 * median(map { $over->[$_] / $bare->[$_] } 0 .. $#$over)),
            ratio($cost, $floor),
            map({ ratio($cost, $cost{"auth_request, $_"}) } 'keep-alive', 'proxy_cache hit'),
            ($row->{asks} // 1) ? number(median(@{ $new->{resolver} })) : '',
            join('; ', map({ bound($_, $cost, \%known) } @{ $row->{bound} || [] }),
                $row->{floor} ? beside_floor($row->{floor}, $over, \@floor) : (),
                $row->{rival} ? beside_rival($row->{rival}{name}, $beside) : ()),
        ];
    }
    push @table, ['RS256 in aws-lc, parsed key kept', number($floor), spread(@floor), $has_base ? ('') x 3 : (), ('') x 6];
    $print->(@table);
}

# The columns of the other module: its cost, and the difference of neighbours.
sub beside_base {
    my ($new, $base, $write) = @_;
    my @more = map { $new->[$_] - $base->[$_] } 0 .. $#$new;
    return ($write->(median(@$base)), map { join ' to ', map { sprintf '%+.1f', $_ } @$_ }
        [median(@more)], [map { quantile($_, @more) } 1 / 4, 3 / 4]);
}

# A name for the module in the tables of the parts.
sub of_module {
    my ($text, $module) = @_;
    return $module eq 'base' ? "$text, base" : $text;
}

sub print_memory {
    my ($memory, @modules) = @_;
    my ($half, $tokens) = @{ $memory->{new} }{qw(half tokens)};
    my @table = ["A worker's own memory, MiB", "after $half tokens", "after $tokens"];
    for my $module (@modules) {
        my ($off, $on, $remembered) = @{ $memory->{$module} }{qw(off on remembered)};
        my $each = ($on->[-1] - $off->[-1]) / min($remembered, $tokens);
        push @table,
            [of_module('authgear_token_cache off', $module), map { number($_ / 2**20) } @$off],
            [of_module("authgear_token_cache $remembered", $module), map { number($_ / 2**20) } @$on],
            [of_module('bytes for each cached token', $module), '',
                sprintf('%.0f', $each) . ($module eq 'new' ? '; at most 2048: ' . verdict($each <= 2048) : '')];
    }
    $print->(@table);
}

sub print_shared_memory {
    my ($memory, @modules) = @_;
    my @table = ['Memory of zone and 4 workers, MiB', 'before', 'bare server', 'after', 'of it shared, before', 'after', 'known then',
        'bytes for each token'];
    for my $module (@modules) {
        my ($tokens, $before, $between, $after, $known)
            = @{ $memory->{$module} }{qw(tokens before between after known)};
        my ($bare, $verified) = ($between->[0] - $before->[0], $after->[0] - $between->[0]);
        my $each = ($verified - $bare) / $tokens;
        my $bound = '; at most 800: ' . verdict($each <= 800 && $known == $tokens);
        push @table, [of_module("$tokens tokens sent to each", $module),
            map({ number($_ / 2**20) } $before->[0], $between->[0], $after->[0], $between->[1], $after->[1]), $known,
            sprintf('%.0f', $each) . ($module eq 'new' ? $bound : '')];
    }
    $print->(@table);
}

sub print_signature_checks {
    my ($counts, @modules) = @_;
    my @table = ['Signature checks of 4 workers', 'checked', 'known'];
    for my $module (@modules) {
        my ($tokens, $checks, $known) = @{ $counts->{$module} }{qw(tokens checks known)};
        my $bound = "; at most $tokens: " . verdict($checks <= $tokens);
        push @table, [of_module("$tokens tokens, each sent to all of them", $module), $checks,
            $known . ($module eq 'new' ? $bound : '')];
    }
    $print->(@table);
}

sub print_full_load {
    my ($cost, @modules) = @_;
    my $shared = $cost->{'new, shared'};
    my @table = (
        ['2 workers at full load, µs per request', 'median', 'middle half', 'share of the less busy', 'one table / private caches'],
        ['defaults, one table', of_full_load($shared), ''],
    );
    for my $module (@modules) {
        my $private = $cost->{"$module, private"};
        my @ratios = map { $shared->{cost}[$_] / $private->{cost}[$_] } 0 .. $#{ $private->{cost} };
        my ($low, $ratio, $high) = map { sprintf '%.3f', quantile($_, @ratios) } 1 / 4, 1 / 2, 3 / 4;
        push @table, [of_module('authgear_token_cache 16384, private caches', $module), of_full_load($private),
            "$ratio ($low to $high)" . ($module eq 'new' ? '; at most 1.05: ' . verdict($ratio <= 1.05) : '')];
    }
    $print->(@table);
}

sub of_full_load {
    my ($of) = @_;
    return (number(median(@{ $of->{cost} })), spread(@{ $of->{cost} }), sprintf '%.2f', median(@{ $of->{share} }));
}

sub print_latency {
    my ($latency, @modules) = @_;
    my @table = ['Latency, µs', 'median', '99th percentile', 'of each round'];
    for my $module (@modules) {
        for (['no fetch', 'quiet'], ['keys being fetched from an endpoint that hangs', 'fetching']) {
            my ($name, $of) = ($_->[0], $latency->{$module}{ $_->[1] });
            push @table, [of_module($name, $module), map({ number(median(@$_)) } @$of), spread(@{ $of->[1] })];
        }
    }
    $print->(@table);
    my ($quiet, $fetching) = map { $latency->{new}{$_}[1] } qw(quiet fetching);
    print 'The 99th percentile does not leave the range without a fetch: ',
        verdict(median(@$fetching) <= max @$quiet), "\n";
}

# A limit may depend on a row that was left out.
sub bound {
    my ($bound, $cost, $costs) = @_;
    my ($text, $limit) = @$bound;
    my $most = $limit->($costs) or return "$text: not measured";
    $text .= ' = ' . number($most) if $text !~ /^[\d.]+ µs$/;
    return "$text: " . verdict($cost <= $most);
}

# Each stretch beyond the crypto measured just after it: at most so many microseconds, as they
# stand and by the speed of this machine.
sub beside_floor {
    my ($most, $over, $floor) = @_;
    my ($low, $more, $high) = map { quantile($_, map { $over->[$_] - $floor->[$_] } 0 .. $#$floor) } 1 / 4, 1 / 2, 3 / 4;
    my $scaled = $most * median(@$floor) / 18.4;
    return sprintf 'beyond aws-lc %+.1f (%.1f to %.1f); %s µs: %s; %s/18.4 of RS256 = %s: %s', $more, $low, $high,
        $most, verdict($more <= $most), $most, number($scaled), verdict($more <= $scaled);
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
