# README.md and docs/ name what the module has: every directive, its default and its
# place, every variable, every reason, every line of the log. ARCHITECTURE.md and
# its neighbours name files that are there, and every dependency.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Find qw(find);
use Test::More;
use Test::Nginx::Authgear standin => 0;

my $root = abs_path(dirname(__FILE__) . '/..');
my %page = map { s{^\Q$root/}{}r => read_file($_) } "$root/README.md", glob "$root/docs/*.md";
my %source = sources('src', 'core/src', 'tables/src');

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

my $in_location = rows('location');
my @commands = map { $source{$_} =~ /c"(authgear_\w+)"/g } grep {m{^src/conf\b}} sort keys %source;
is_deeply([sort map { $_->{name} } @$http, @$anywhere, @$in_location], [sort @commands], 'the directives outside');
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

for my $row (@$in_location) {
    # Where one needs a project, that it is missing is the first mistake.
    my $line = $row->{name} eq 'authgear_status' ? "$row->{name};" : "$row->{name} a;";
    unlike(config_error("server { location / { $line } }"), qr/not allowed here/, "$row->{name} in a location");
    for my $place ("%s", "server {\n%s\n}", "server { location / { if (\$arg_x) {\n%s\n} } }", "server { location / { limit_except GET {\n%s\n} } }") {
        like(config_error(sprintf $place, $line), qr/^"$row->{name}" directive is not allowed here in nginx\.conf:\d$/,
            "$row->{name} nowhere else");
    }
}

# --- variables

my %named = map { $_ => 1 } map {/\$(authgear_\w+)/g} $page{'docs/variables.md'} =~ /^\| (`\$authgear_.*?) \| /mg;
my %known = map { $_ => 1 } $source{'src/request/variables.rs'} =~ /"(authgear_\w+)"/g;
delete $named{authgear_claim_NAME};
delete $known{authgear_claim_};
is_deeply([sort keys %named], [sort keys %known], 'the variables');
is(config_error("log_format all '@{[map {qq(\$$_)} sort keys %named]} \$authgear_claim_department';"), '',
    'nginx knows each');

# --- reasons

my ($reasons) = $page{'docs/reasons.md'} =~ /^\| `\$authgear_reason` \|.*?\n((?:\|.*\n)+)/m
    or die "docs/reasons.md has no reasons\n";
my @told = map {/`(\w+)`/g} map { (split /\s*\|\s*/)[1] } grep { !/^\|-/ } split /\n/, $reasons;
my @words = $source{'core/src/reason.rs'} =~ /^    \w+ = "(\w+)",/mg;
my %told = map { $_ => 1 } @told;
my %word = map { $_ => 1 } @words;
ok(scalar @words, 'the code has reasons');
is(scalar @told, scalar keys %told, 'no reason is told twice');
is_deeply([grep { !$word{$_} } @told], [], 'each word of $authgear_reason that is told exists');
is_deeply([grep { !$told{$_} } @words], [], 'and each that exists is told');

# --- whatever else a page names

my %directive = map { $_ => 1 } @commands;
my %metric = map { $_ => 1 } $source{'core/src/status/metrics.rs'} =~ /"(authgear_\w+)"/g;
for my $name (sort keys %page) {
    my @variables = grep { !$known{$_} && !/^authgear_claim_/ } $page{$name} =~ /(?:\$\{?|ngx\.var\.)(authgear_\w+)/g;
    is_deeply(\@variables, [], "$name names no variable that there is not");
    my @directives = grep { !$directive{$_} && !$metric{s/_total$//r} } $page{$name} =~ /(?<![\$\w\/{=])(?<!ngx\.var\.)(authgear_\w+)(?!\w|\.conf)/g;
    is_deeply(\@directives, [], "$name names no directive that there is not");
}

# --- files and dependencies

$page{$_} = read_file("$root/$_") for qw(ARCHITECTURE.md CONTRIBUTING.md SECURITY.md CHANGELOG.md);
for my $name (sort keys %page) {
    my @files = $page{$name} =~ m{`((?:bench|core|docs|nginx-conf|src|t|tables|tools)/[\w./-]*\w)`}g;
    my %file = map { $_ => 1 } @files, links($name);
    ok(-e "$root/$_", "$name: $_ is there") for sort keys %file;
}

my ($table) = $page{'ARCHITECTURE.md'} =~ /^## Dependencies\n.*?\n((?:\|.*\n)+)/ms or die "ARCHITECTURE.md has no dependencies\n";
my %explained = map { $_ => 1 } map {/`([\w-]+)`/g} map { (split /\|/)[1] } split /\n/, $table;
my ($members) = read_file("$root/Cargo.toml") =~ /^members = \[(.*?)\]/ms;
my %needed = map { $_ => 1 } map {/^([\w-]+)(?:\.workspace)? = /mg}
    map { read_file("$root/$_/Cargo.toml") =~ /^\[(?:dev-|build-)?dependencies\]\n(.*?)(?=^\[|\z)/msg } $members =~ /"(.*?)"/g;
is_deeply([sort keys %explained], [sort keys %needed], 'ARCHITECTURE.md explains each dependency and no other');

# --- the log; t/log_messages.t sees to it that each line is told

my @literals = map { literals($_, qr/(?<!\w)/) } values %source;
my $said = join "\n", map { parts($_, qr/\{[^{}]*\}/) } @literals;
# Metrics and alerts have tables too, which t/status_prometheus.t compares.
my @lines = grep { !/^(?:authgear_|Authgear)\w+$/ } map {/`([^`]+)`/g} $page{'docs/operations.md'} =~ /^\| (`.*?`) \| /mg;
s/^authgear: // for @lines, @literals;
cmp_ok(scalar @lines, '>', 30, 'docs/operations.md tells lines of the log');
for my $line (@lines) {
    is_deeply([grep { index($said, $_) < 0 } parts($line, qr/…/)], [], "the code says: $line");
}

done_testing();

# The texts between the placeholders of a line that are long enough to be
# distinctive.
sub parts {
    my ($line, $placeholder) = @_;
    return grep { length >= 5 } map { s/^[\s:,"]+|[\s:,"]+$//gr } split $placeholder, $line;
}

# Rust's literals behind that. A backslash at the end of a line takes the line end
# and the blanks behind it away.
sub literals {
    my ($text, $before) = @_;
    my @found = $text =~ s/'"'/' '/gr =~ /$before"((?:[^"\\]|\\.)*)"/gs;
    return map { s/\\\n\s*//gr =~ s/\\(["\\])/$1/gr } @found;
}

# The files of this repository that a page links to.
sub links {
    my ($name) = @_;
    my $folder = dirname($name) eq '.' ? '' : dirname($name) . '/';
    return map { s{^docs/\.\./}{}r } map { $folder . s/#.*//r } grep { !/^(?:https?:|#)/ } $page{$name} =~ /\]\(([^)\s]+)\)/g;
}

# The rows of the table below that heading.
sub rows {
    my ($heading) = @_;
    my ($table) = $page{'docs/directives.md'} =~ /^## \Q$heading\E\n\n((?:\|.*\n)+)/m
        or die "docs/directives.md has no table \"$heading\"\n";
    return [
        map {
            my (undef, $first, $default) = split /\s*(?<!\\)\|\s*/;
            { name => $first =~ /^`(\w+)/, default => $default }
        } grep { !/^\|(?:-| directive)/ } split /\n/, $table
    ];
}

# The Rust files below these folders, without their tests, by their paths.
sub sources {
    my %text;
    find({ wanted => sub { $text{ s{^\Q$root/}{}r } = read_file($_) =~ s/^#\[cfg\(test\)\]\nmod tests \{.*//msr if /\.rs$/ && !m{/tests\b} },
        no_chdir => 1 }, map {"$root/$_"} @_);
    return %text;
}

sub read_file {
    my ($file) = @_;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    local $/;
    return <$in>;
}
