# docs/operations.md has a row for each message that an operator can act on: each call
# of src/ that writes a line of level warn or above, and each error whose text ends one.

use strict;
use warnings;
use utf8;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Find qw(find);
use Test::More;

binmode Test::More->builder->$_, ':encoding(UTF-8)' for qw(output failure_output todo_output);

my $root = abs_path(dirname(__FILE__) . '/..');
my $page = read_file("$root/docs/operations.md");
my @rows = map { s/^authgear: //r } map {/`([^`]+)`/g} $page =~ /^\| (`.*?`) \| /mg;
my %source;
find({ no_chdir => 1, wanted => sub {
    # Without lint levels and the tests.
    $source{ s{^\Q$root/}{}r } = read_file($_) =~ s/^#!\[.*?\n//mgr =~ s/^#\[cfg\(test\)\]\nmod tests \{.*//msr if /\.rs$/ && !m{/tests\b};
} }, map {"$root/$_"} qw(src core/src tables/src));

# --- calls that write a line

# The functions of these files take the text from their callers.
my %wrapper = map { $_ => 1 } qw(src/log.rs src/nginx/messages.rs);
# Texts that are made elsewhere in the file named: all of its texts are looked at.
my %elsewhere = (
    'src/keys/refresh.rs authgear: {line}' => 'src/keys/refresh.rs',
    'src/request/access.rs {line}' => 'docs/reasons.md has a row for each refused request',
    'src/request/resolver/settle.rs {why}' => 'src/request/resolver/reply.rs',
    'src/revocation/webhook.rs webhook of project "{}": {why}' => 'src/revocation/webhook.rs',
    'src/revocation/saver.rs webhook of project "{name}": {error}' => 'src/revocation/saver.rs',
    'src/shm/setup.rs authgear: {why}' => 'src/shm/setup.rs',
    'src/shm/setup.rs error' => 'core/src/digest.rs',
);
my $call = qr/\b(?:ngx_log_error!|log_limited|emerg_nowhere|emerg|emerg_at|warn|warn_at|warn_nowhere)(?=\()/;
my (%used, %seen, $mistakes);
for my $file (grep { m{^src/} && !$wrapper{$_} } sort keys %source) {
    my $text = $source{$file};
    while ($text =~ /(\bfn )?($call)/g) {
        my ($is_declared, $name, $from) = ($1, $2, $+[0]);
        next if $is_declared;
        my $arguments = balanced($text, $from);
        my ($level) = $arguments =~ /\bNGX_LOG_(\w+)/;
        next if $name =~ /^(?:ngx_log_error!|log_limited)$/ && ($level // '') =~ /^(?:INFO|NOTICE|DEBUG)$/;
        # Mistakes in the configuration name their line and say what to write instead.
        if ($name =~ /^emerg(?:_at)?$/ && $file =~ m{^src/conf}) {
            $mistakes++;
            next;
        }
        my @messages = messages($arguments);
        my ($made) = grep { defined } map { $elsewhere{"$file $_"} } @messages ? @messages : $arguments =~ /(\w+)\s*\)$/;
        if ($made) {
            $used{$made} = 1;
            my ($key) = grep { $elsewhere{$_} eq $made } sort keys %elsewhere;
            $seen{$key} = 1;
            next;
        }
        ok(scalar @messages, "$file: a text is found in $name" . substr($arguments, 0, 80) =~ s/\s+/ /gr);
        is_told($_, $file) for @messages;
    }
}
cmp_ok($mistakes, '>', 5, 'mistakes with a line are told from others');

# Texts that become a line, or the part of one that these words are around.
my %around = (
    'src/keys/refresh.rs' => ['', ''],
    'src/request/resolver/reply.rs' => ['', ''],
    'src/revocation/saver.rs' => ['webhook of project "{name}": ', ''],
    'src/revocation/shared.rs' => ['webhook of project "{name}": ', ''],
    'src/revocation/stream.rs' => ['', ''],
    'src/revocation/webhook.rs' => ['webhook of project "{name}": ', ''],
    'src/shm/setup.rs' => ['', ''],
);
is_deeply([grep { !$around{$_} } grep {m{^src/}} keys %used], [], 'each file with such texts is known here');
for my $file (sort keys %around) {
    my @texts = grep {/ .* /} messages($source{$file});
    cmp_ok(scalar @texts, '>', 1, "$file has texts");
    my ($before, $behind) = @{ $around{$file} };
    is_told(/^(?:authgear: |webhook )/ ? $_ : "$before$_$behind", $file) for @texts;
}
is_deeply([grep { !$seen{$_} } sort keys %elsewhere], [], 'each text that is made elsewhere is there');

# --- errors: the row of which each text is the end

my $at_test = 'nginx -t names the line';
my %ends = (
    'core/src/credential/cookies.rs' => undef,
    'core/src/digest.rs' => 'the system gives no random numbers',
    'core/src/keys/document.rs' => 'parse: …',
    'core/src/keys/fetch/ca.rs' => $at_test,
    'core/src/keys/fetch/certificates.rs' => $at_test,
    'core/src/keys/fetch/error.rs' => 'keys of …: …',
    'core/src/keys/fetch/identity.rs' => $at_test,
    'core/src/keys/fetch/proxy.rs' => 'proxy: …: …: …',
    'core/src/keys/fetch/stage.rs' => 'keys of …: …',
    'core/src/keys/origin.rs' => 'project "…": endpoint "…": …',
    'core/src/keys/parameters.rs' => 'keys of …: key … skipped: …',
    'core/src/keys/saved.rs' => 'saved keys of …: ignored "…": …',
    'core/src/login.rs' => $at_test,
    'core/src/revocation/event.rs' => 'webhook of project "…": the body is no event of Authgear: …',
    'core/src/revocation/secrets.rs' => $at_test,
    'core/src/revocation/stream.rs' => 'revocation stream: …; other nodes hear of no revocation until it is back',
    'core/src/session/fields.rs' => 'the resolver says that the session is valid, but names no user',
    'src/conf/project.rs' => 'project "…": endpoint "…": …',
);
my @with_errors = grep { $source{$_} =~ /#\[error\(/ } sort keys %source;
is_deeply(\@with_errors, [sort keys %ends], 'each file with errors is known here');
for my $file (@with_errors) {
    my $row = $ends{$file} // next;
    next if $row eq $at_test;
    ok((grep { $_ eq $row } @rows), "$file: the row \"$row\" is there");
}
# Those that are lines, or their second part, by themselves.
for my $file (qw(core/src/keys/fetch/error.rs core/src/session/fields.rs)) {
    is_told($_, $file) for grep {/[a-z]{3}/} map { messages($_) } $source{$file} =~ /#\[error(\(.*?\))\]/gs;
}

done_testing();

# A message is told by a row that says the same, where one has more of the text than the other, and that has each of
# its words.
sub is_told {
    my ($message, $file) = @_;
    $message =~ s/^authgear: //;
    my @pieces = split /\{[^{}]*\}/, $message, -1;
    my @parts = grep { length >= 5 } map { s/^[\s:,"]+|[\s:,"]+$//gr } @pieces;
    my $as_row = join '.*', map {quotemeta} @pieces;
    my $filled = join "\x{1}", @pieces;
    my @told = grep {
        my $row = $_;
        my $as_message = join '.*', map {quotemeta} split /…/, $row, -1;
        ($filled =~ /^$as_message$/ || $row =~ /^$as_row$/ || index($row, $filled) >= 0) && !grep { index($row, $_) < 0 } @parts;
    } @rows;
    ok(@parts && @told, "$file: docs/operations.md tells: $message");
    return;
}

# The text from a parenthesis to the one that closes it.
sub balanced {
    my ($text, $from) = @_;
    pos($text) = $from;
    my $depth = 0;
    while ($text =~ /\G(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)'|([()])|.)/gs) {
        next if !defined $1;
        $depth += $1 eq '(' ? 1 : -1;
        return substr $text, $from, pos($text) - $from if !$depth;
    }
    die "unbalanced: " . substr($text, $from, 80) . "\n";
}

# The texts in it that are no topics or names: a backslash at the end of a line takes the line end and the blanks
# behind it away.
sub messages {
    my ($text) = @_;
    my @found = $text =~ s/'"'/' '/gr =~ s{^\s*//.*}{}mgr =~ /(?<![\w])"((?:[^"\\]|\\.)*)"/gs;
    return grep {/[ {]/} map { s/\\\n\s*//gr =~ s/\\(["\\])/$1/gr } @found;
}

sub read_file {
    my ($file) = @_;
    open my $in, '<:encoding(UTF-8)', $file or die "cannot read $file: $!\n";
    local $/;
    return <$in>;
}
