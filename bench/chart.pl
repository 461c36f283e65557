#!/usr/bin/perl
# Draws the CPU time per request as an SVG: the rows of a table that
# `make bench MARKDOWN=1` printed, such as the README's.
#
#   bench/chart.pl <README.md >docs/costs.svg
use strict;
use warnings;

my ($left, $right, $line, $top) = (476, 60, 26, 64);
my $width = 1000;

# | name | µs more | middle half | … ; the last is the comparison.
my @rows;
while (<STDIN>) {
    my ($name, $median, $low, $high) = /^\| ([^|]+?) \| (-?[\d.]+) \| (-?[\d.]+) to (-?[\d.]+) \|/ or next;
    $name =~ s/`//g;
    # "the same" is the row before it, but for what that one's last words say.
    my $whole = $name;
    if ($name =~ /^the same(,? .*)/) {
        my $rest = $1;
        $whole = $rows[-1]{whole} =~ s/ with authgear_token_cache$|, (?:10,000 in rotation|token|hit)$//r . $rest;
    }
    push @rows, { whole => $whole, median => $median, low => $low, high => $high };
}
@rows or die "no table of µs on standard input\n";

my ($most) = sort { $b <=> $a } map { $_->{high} } @rows;
my $step  = (grep { $most / $_ <= 6 } 5, 10, 20, 25, 50, 100, 250, 1000)[0];
my $scale = ($width - $left - $right) / $most;
my $height = $top + @rows * $line + 20;

sub x {
    my ($value) = @_;
    return sprintf '%.1f', $left + ($value > 0 ? $value : 0) * $scale;
}

sub text {
    my ($text) = @_;
    return $text =~ s/&/&amp;/gr =~ s/</&lt;/gr;
}

print <<"END";
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" font-family="sans-serif" font-size="13">
<title>CPU time per request, more than without any check</title>
<rect width="$width" height="$height" rx="6" fill="#fff"/>
<text x="16" y="26" font-size="15" font-weight="bold" fill="#1a1a2e">CPU time per request, \x{c2}\x{b5}s more than without any check</text>
<rect x="16" y="38" width="11" height="11" fill="#2563eb"/><text x="32" y="48" fill="#444">this module</text>
<rect x="126" y="38" width="11" height="11" fill="#9ca3af"/><text x="142" y="48" fill="#444">documented auth_request, and for comparison</text>
<path d="M476 44h20M476 40v8M496 40v8" stroke="#111" fill="none"/><text x="504" y="48" fill="#444">middle half of the pairs</text>
END
for (my $tick = 0; $tick <= $most; $tick += $step) {
    my $at = x($tick);
    printf qq{<path d="M%s %dV%d" stroke="#e5e7eb"/><text x="%s" y="%d" fill="#777" font-size="11" text-anchor="middle">%s</text>\n},
        $at, $top, $height - 20, $at, $height - 6, $tick;
}
my $y = $top + 4;
for my $row (@rows) {
    my $colour = $row->{whole} =~ /auth_request|comparison/ ? '#9ca3af' : '#2563eb';
    my ($x, $end, $middle) = (x(0), x($row->{median}), $y + 9);
    my ($low, $high) = (x($row->{low}), x($row->{high}));
    printf qq{<text x="%d" y="%d" text-anchor="end" fill="#1a1a2e">%s</text>}, $left - 8, $y + 13, text($row->{whole});
    printf qq{<rect x="%s" y="%d" width="%.1f" height="18" fill="%s"/>}, $x, $y, $end - $x, $colour;
    printf qq{<path d="M%s %dH%sM%s %dv8M%s %dv8" stroke="#111" fill="none"/>}, $low, $middle, $high, $low, $middle - 4, $high, $middle - 4;
    printf qq{<text x="%.1f" y="%d" fill="#1a1a2e">%s</text>\n}, $high + 6, $y + 13, $row->{median};
    $y += $line;
}
print "</svg>\n";
