# What the README's tables name is what the module has: every directive, its
# default and its place, every variable, every reason.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Test::More;
use Test::Nginx::Authgear standin => 0;

my $root = abs_path(dirname(__FILE__) . '/..');
my $readme = read_file("$root/README.md");

# --- in authgear_project

my $http = rows('http');
my $inside = rows('in `authgear_project`');
my $anywhere = rows('http, server, location, if in location, limit_except');

config_error("authgear_project a {\n    no_such_directive on;\n}\n") =~ /which takes (.*) in nginx\.conf:2$/
    or die "the module does not say what authgear_project takes\n";
is_deeply([map { $_->{name} } @$inside], [split /, /, $1],
    'the directives in authgear_project, in the same order');
for my $row (@$inside) {
    my ($default) = $row->{default} =~ /^`([^`]+)`$/ or next;
    is(config_error("authgear_project a { endpoint https://a.example; $row->{name} $default; }"), '',
        "$row->{name}: the default can be written");
}

# --- at other levels

my @commands = read_file("$root/src/conf.rs") =~ /^\s*c"(authgear_\w+)",$/mg;
is_deeply([sort map { $_->{name} } @$http, @$anywhere], [sort @commands], 'the directives outside');
for my $row (@$anywhere) {
    my ($default) = $row->{default} =~ /^`(\w+)`$/ or next;
    my $line = "$row->{name} $default;";
    is(config_error("$line server { $line location / { $line if (\$arg_x) { $line } limit_except GET { $line } } }"),
        '', "$row->{name}: its default at every level that is named");
}
for my $row (@$http) {
    my $takes = $row->{name} eq 'authgear_project' ? 'a { endpoint https://a.example; }'
        : $row->{default} =~ /^`(.*)`$/ ? "$1;" : die "no default of $row->{name}\n";
    is(config_error("$row->{name} $takes"), '', "$row->{name} in http");
    like(config_error("server {\n$row->{name} $takes\n}\n"),
        qr/^"$row->{name}" directive is not allowed here in nginx\.conf:2$/, "$row->{name}: and nowhere else");
}

# --- variables

my ($variables) = $readme =~ /^## Variables\n(.*?)^## /ms or die "the README has no variables\n";
my %named = map { $_ => 1 } $variables =~ /\$(authgear_\w+)/g;
my %known = map { $_ => 1 } read_file("$root/src/request/variables.rs") =~ /"(authgear_\w+)"/g;
delete $named{authgear_claim_NAME};
delete $known{authgear_claim_};
is_deeply([sort keys %named], [sort keys %known], 'the variables');
is(config_error("log_format all '@{[map {qq(\$$_)} sort keys %named]} \$authgear_claim_department';"), '',
    'nginx knows each');

# --- reasons

my ($reasons) = $variables =~ /^\| `\$authgear_reason` \|.*?\n((?:\|.*\n)+)/m or die "the README has no reasons\n";
my @told = map { /`(\w+)`/g } map { (split /\s*\|\s*/)[1] } grep { !/^\|-/ } split /\n/, $reasons;
my @words = read_file("$root/core/src/reason.rs") =~ /Reason::\w+ => "(\w+)",$/mg;
my %told = map { $_ => 1 } @told;
my %word = map { $_ => 1 } @words;
is(scalar @told, scalar keys %told, 'no reason is told twice');
is_deeply([grep { !$word{$_} } @told], [], 'each word of $authgear_reason that is told exists');
is_deeply([grep { !$told{$_} } @words], [], 'and each that exists is told');

done_testing();

# The rows of the table below that heading.
sub rows {
    my ($heading) = @_;
    my ($table) = $readme =~ /^### \Q$heading\E\n\n((?:\|.*\n)+)/m or die "the README has no table \"$heading\"\n";
    return [
        map {
            my (undef, $first, $default) = split /\s*(?<!\\)\|\s*/;
            { name => $first =~ /^`(\w+)/, default => $default }
        } grep { !/^\|(?:-| directive)/ } split /\n/, $table
    ];
}

sub read_file {
    my ($file) = @_;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    local $/;
    return <$in>;
}
