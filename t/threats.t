# docs/threats.md names tests that are there: each file, and in it a test of each name.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Test::More;

my $root = abs_path(dirname(__FILE__) . '/..');
my $page = text('docs/threats.md');

sub text {
    my ($name) = @_;
    open my $in, '<', "$root/$name" or return;
    local $/;
    return scalar <$in>;
}

# The names of the tests in a file: in Rust functions; in the suite blocks, checks, subtests and texts of assertions.
sub names {
    my ($file) = @_;
    my $text = text($file) // return;
    return $text =~ /#\[test\]\s+(?:#\[[^\n]*\]\s+)*fn (\w+)\(/g, proptests($text) if $file =~ /\.rs\z/;
    my %sub = map { $_ => 1 } $text =~ /^sub (\w+) \{/mg;
    my @checks = map { grep { $sub{$_} } split } $text =~ /^--- check\n((?:\w+\n?)+)/mg;
    my @texts = map { s/\\(['"])/$1/gr } $text =~ /^=== (?:TEST \d+: )?(.*)/mg, $text =~ /'((?:[^'\\\n]|\\.)*)'/g, $text =~ /"((?:[^"\\\n]|\\.)*)"/g;
    return (@checks, @texts);
}

# Functions in `proptest! { … }`.
sub proptests { return map {/fn (\w+)\(/g} $_[0] =~ /^proptest! \{(.*?)^\}/msg }

my (%named, @rows);
for my $row (grep { !/^\| attack \|/ } $page =~ /^\| (?!-).*\|$/mg) {
    my (undef, $attack, $rule, $shown) = split /(?<!\\)\|/, $row;
    push @rows, $attack;
    my ($file, $count);
    for my $word ($shown =~ /`([^`]+)`/g) {
        if ($word =~ m{^(?:t|core|tables)/\S+\.(?:t|rs)$}) {
            $file = $word;
            next;
        }
        $named{$file}{$word} = 1;
        $count++;
    }
    ok($count, "a test shows:$attack");
}
cmp_ok(scalar @rows, '>', 40, 'the page has rows');
for my $file (sort keys %named) {
    my %there = map { $_ => 1 } names($file);
    is_deeply([grep { !$there{$_} } sort keys %{ $named{$file} }], [], "$file has the tests that are named");
}

# What no run can measure on a machine with other work to do.
my @compared = text('core/src/revocation/secrets.rs') =~ /^ +pub fn verify\b(.*?)^    \}/ms;
like($compared[0] // '', qr/hmac::verify\(key, body, &tag\)/, 'secrets are compared in constant time');

done_testing();
