#!/usr/bin/perl
# Finds files of Rust that import each other in a circle: in a crate whose files
# depend on each other one way, each can be understood without those above it.
#
#   tools/check-imports.pl [--list] DIR…      DIR: the src of a crate
#
# An item that a module only hands on (`pub use`) counts as one of the file that
# defines it, and `mod` is no import.
use strict;
use warnings;

my $list = @ARGV && $ARGV[0] eq '--list' && shift;
my $circles = 0;

for my $dir (@ARGV) {
    my (%file, %text);    # by module path, 'crate::conf::zone'
    for my $path (sort split /\n/, `find '$dir' -name '*.rs'`) {
        my $module = $path =~ s{^\Q$dir\E/}{}r =~ s{\.rs$}{}r =~ s{/}{::}gr;
        next if $module =~ /(?:^|::)(?:tests|models)(?:::|$)/;
        $module = $module eq 'lib' ? 'crate' : "crate::$module";
        open my $in, '<', $path or die "$path: $!\n";
        local $/;
        my $text = <$in> =~ s{//[^\n]*}{}gr =~ s{^#\[cfg\((?:all\()?test\b[^\n]*\]\nmod \w+;}{}mgr
            =~ s{^#\[cfg\((?:all\()?test\b[^\n]*\]\nmod \w+ \{.*}{}msr;
        ($file{$module}, $text{$module}) = ($path, $text);
    }

    # The paths that a `use` names, as [path, last name].
    my $expand;
    $expand = sub {
        my ($prefix, $tree) = @_;
        $tree =~ s/^\s+|\s+$//g;
        if ($tree =~ /^((?:\w+::)*)\{(.*)\}$/s) {
            my ($head, $inner, $depth, $item, @all) = ($1, $2, 0, '');
            for my $char (split(//, $inner), ',') {
                $depth += ($char eq '{') - ($char eq '}');
                if ($char eq ',' && !$depth) {
                    push @all, $expand->("$prefix$head", $item) if $item =~ /\S/;
                    $item = '';
                } else {
                    $item .= $char;
                }
            }
            return @all;
        }
        my ($path, $name) = $tree =~ /^([\w:*]+)(?:\s+as\s+(\w+))?$/ or return;
        $path = "$prefix$path";
        $path =~ s/::self$//;
        return [$path, $name // $path =~ s/.*:://r];
    };

    # A path as one from the root of the crate; nothing for another crate's.
    my $absolute = sub {
        my ($module, $path) = @_;
        return $path if $path =~ /^crate::/;
        my $at = $module;
        return "$at\::$path" =~ s/::self::/::/r if $path =~ s/^self:://;
        my $is_up = 0;
        while ($path =~ s/^super(?:::|$)//) {
            $at =~ s/::\w+$//;
            $is_up = 1;
        }
        return "$at\::$path" if $is_up;
        my ($first) = $path =~ /^(\w+)/;
        return $file{"$module\::$first"} ? "$module\::$path" : undef;
    };

    # What each module hands on: name => path.
    my (%exports, %imports);
    for my $module (keys %text) {
        while ($text{$module} =~ /^\s*(pub(?:\([\w ]+\))?\s+)?use\s+([^;]+);/mg) {
            my ($is_public, $tree) = ($1, $2);
            for my $one ($expand->('', $tree)) {
                my $path = $absolute->($module, $one->[0]) // next;
                $exports{$module}{$one->[1]} = $path if $is_public;
                push @{ $imports{$module} }, $path unless $is_public;
            }
        }
        # Paths in the code itself.
        (my $code = $text{$module}) =~ s/^\s*(?:pub(?:\([\w ]+\))?\s+)?use\s+[^;]+;//mg;
        while ($code =~ /(?<![\w:])((?:\w+::)+\w+)/g) {
            my $path = $1;
            $path = $absolute->($module, $path) // next;
            push @{ $imports{$module} }, $path;
        }
    }

    # The module that defines what a path names.
    my $definer;
    $definer = sub {
        my ($path, $depth) = @_;
        my @steps = split /::/, $path;
        my $module = shift @steps;
        while (@steps) {
            my $next = $steps[0];
            if ($file{"$module\::$next"}) {
                $module .= "::$next";
                shift @steps;
                next;
            }
            my $there = $exports{$module}{$next};
            return $module if !$there || $depth > 10;
            return $definer->(join('::', $there, @steps[1 .. $#steps]), $depth + 1);
        }
        return $module;
    };

    my %edges;
    for my $module (keys %imports) {
        for my $path (@{ $imports{$module} }) {
            my $other = $definer->($path, 0);
            $edges{$module}{$other} = 1 if $other ne $module && $file{$other};
        }
    }
    if ($list) {
        for my $module (sort keys %edges) {
            print "$file{$module} -> $file{$_}\n" for sort keys %{ $edges{$module} };
        }
    }

    # Files that reach each other stand in one circle.
    my %reach;
    for my $module (keys %file) {
        my @queue = keys %{ $edges{$module} // {} };
        while (defined(my $next = shift @queue)) {
            next if $reach{$module}{$next}++;
            push @queue, keys %{ $edges{$next} // {} };
        }
    }
    my %told;
    for my $module (sort keys %file) {
        next if $told{$module} || !$reach{$module}{$module};
        my @circle = grep { $_ eq $module || $reach{$module}{$_} && $reach{$_}{$module} } sort keys %file;
        @told{@circle} = (1) x @circle;
        $circles++;
        print "import each other in a circle: ", join(', ', map { $file{$_} } @circle), "\n";
        for my $from (@circle) {
            my @to = grep { $edges{$from}{$_} } @circle;
            print "  $file{$from} -> ", join(', ', map { $file{$_} } @to), "\n";
        }
    }
}
exit($circles ? 1 : 0);
