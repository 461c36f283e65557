#!/usr/bin/perl
# Prints the manual page ngx_http_authgear_module(5), made of docs/, as Markdown
# for lowdown. A terminal is too narrow for the tables there: each row becomes a
# term with its description.
#
#   tools/man.pl | lowdown -s -Tman -o ngx_http_authgear_module.5
use strict;
use warnings;
use utf8;
use open qw(:std :encoding(UTF-8));
use File::Basename qw(dirname);

my $root = dirname(__FILE__) . '/..';

sub contents {
    my ($file) = @_;
    open my $in, '<', "$root/$file" or die "cannot read $file: $!\n";
    local $/;
    return <$in>;
}

# A pipe in a cell is written \|.
sub cells {
    my ($row) = @_;
    $row =~ s/^\|\s*|\s*\|$//g;
    return map { s/\\\|/|/gr =~ s/^\s+|\s+$//gr } split /(?<!\\)\|/, $row, -1;
}

sub entry {
    my ($heads, @values) = @_;
    my $term  = shift @values;
    my $last  = pop @values // '';
    my @named = map { ucfirst "$heads->[$_ + 1]: $values[$_]." } grep { $values[$_] !~ /^[–\s]*$/ } 0 .. $#values;
    $last .= '.' if $last =~ /[^.]$/;
    return "$term\n: " . join(' ', ucfirst $last, @named) . "\n\n";
}

sub page {
    my ($title, $file) = @_;
    my ($out, @heads) = ("# $title\n\n");
    my @lines = split /\n/, contents($file);
    shift @lines;    # the page's own title
    while (defined(my $line = shift @lines)) {
        if ($line =~ /^\|/) {
            if (@lines && $lines[0] =~ /^\|[-|: ]+\|$/) {
                @heads = cells($line);
                shift @lines;
                $out .= "\n";
                next;
            }
            $out .= entry(\@heads, cells($line));
            next;
        }
        $out .= "$line\n";
    }
    # A link leads nowhere on paper.
    $out =~ s/\[([^][]+)\]\([^()\s]+\)/$1/g;
    return "$out\n";
}

my ($version) = contents('Cargo.toml') =~ /^version = "(.*)"/m;
print <<"END";
title: ngx_http_authgear_module
section: 5
volume: nginx modules
source: $version

# NAME

ngx\\_http\\_authgear\\_module - verifies Authgear's access tokens in nginx

# DESCRIPTION

This page holds the directives, variables and reasons. The files that it names as `docs/` and `nginx-conf/` are in
`/usr/share/doc/libnginx-mod-http-authgear`; those of `t/` are tests in the source.

END
print page('DIRECTIVES', 'docs/directives.md');
print page('VARIABLES',  'docs/variables.md');
print page('REASONS',    'docs/reasons.md');
