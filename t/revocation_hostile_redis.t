# A Redis in the hands of somebody else: it cannot revoke, forge lines of the log, or fill a worker's memory.

use strict;
use warnings;

use File::Temp;
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;

my ($main, $redis) = ($$, undef);
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 16) or die "no port: $@\n";
my $stream = 'authgear_revocation_stream redis://127.0.0.1:' . $listener->sockport . ';';

END { kill KILL => $redis if $redis && $$ == $main }

# A server that answers each command with what `$answer` returns for its name.
sub pretend {
    my ($answer) = @_;
    kill KILL => $redis if $redis;
    $redis = fork // die "cannot fork: $!\n";
    return if $redis;
    $SIG{PIPE} = $SIG{CHLD} = 'IGNORE';
    while (my $client = $listener->accept) {
        next if fork;
        my $text = '';
        while (sysread $client, $text, 65536, length $text) {
            # Commands are arrays of texts, none of which holds a line end here.
            while ($text =~ s/\A\*(\d+)\r\n((?:\$\d+\r\n[^\r]*\r\n){1,99}?)(?=\*|\z)//) {
                my ($name) = $2 =~ /\A\$\d+\r\n([^\r]*)/;
                print {$client} $answer->(uc $name);
            }
        }
        POSIX::_exit(0);
    }
    POSIX::_exit(0);
}

sub resident {
    my ($nginx) = @_;
    my ($worker) = $nginx->workers;
    open my $in, '<', "/proc/$worker/status" or die "no worker: $!\n";
    my ($kib) = join('', <$in>) =~ /^VmRSS:\s+(\d+)/m;
    return $kib >> 10;
}

sub start {
    my ($http) = @_;
    my $status = join ' ', map {"location = /$_ { authgear_status $_; }"} qw(prometheus json);
    return Test::Nginx::Authgear::Server->start(workers => 1, server => webhook_location() . $status, http => $http // $stream,
        project => 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;');
}

sub bulk { return map { '$' . length($_) . "\r\n$_\r\n" } @_ }

# An answer of XREAD, of so many entries with a body of that length.
sub entries {
    my ($count, $length, $from) = @_;
    my @entries = map {
        my @fields = (endpoint => standin()->{origin}, body => ($from + $_) . 'x' x $length, signature => '0' x 64, until => '18446744073709551615');
        join '', "*2\r\n", bulk('1-' . ($from + $_)), '*' . @fields . "\r\n", bulk(@fields);
    } 1 .. $count;
    return join '', "*1\r\n*2\r\n", bulk('authgear'), "*$count\r\n", @entries;
}

my $forged = "2026/01/01 00:00:00 [warn] 1#1: forged\x1b[31m";
for my $case (
    ['an error with a line end', "-ERR evil\n$forged\r\n"],
    ['a long one', '-ERR ' . 'A' x 100_000 . "\r\n"],
) {
    my ($name, $answer) = @$case;
    pretend(sub {$answer});
    my $nginx = start();
    soon { $nginx->log_text =~ /\[error\] .*authgear: revocation stream: [^\n]*; other nodes hear of no revocation until it is back/ } "$name: a line of the log";
    unlike($nginx->log_text, qr/^\Q$forged\E|[^\n -~]/m, "$name: and no other");
    cmp_ok($_, '<', 600, "$name: a short one") for map {length} grep {/revocation stream/} split /\n/, $nginx->log_text;
    $nginx->stop_soundly;
}

# Whether the status page calls the stream connected, as metrics and as JSON.
sub connected {
    my ($nginx) = @_;
    my ($metric) = $nginx->ask(path => '/prometheus')->{body} =~ /^authgear_stream_connected (\d)$/m;
    my ($json) = $nginx->ask(path => '/json')->{body} =~ /"is_connected": (\w+)/;
    return "$metric $json";
}

subtest 'no answer' => sub {
    for my $case ('a start', 'a reload') {
        pretend(sub {''});
        my $nginx = start($case eq 'a start' ? $stream : '');
        $nginx->reload(http => $stream) if $case eq 'a reload';
        is(connected($nginx), '0 false', "$case: not connected before it has answered");
        soon { $nginx->log_text =~ /\[error\] .*authgear: revocation stream: time-out: Redis does not answer; other nodes hear of no revocation/ } "$case: a line of the log", 10;
        is(connected($nginx), '0 false', "$case: nor then");
        pretend(sub {
            my ($command) = @_;
            return "*0\r\n" if $command eq 'XREVRANGE' || $command eq 'ZRANGEBYSCORE';
            return "+OK\r\n" if $command ne 'XREAD';
            select undef, undef, undef, 0.2;
            return "*-1\r\n";
        });
        soon { connected($nginx) eq '1 true' } "$case: connected once it has", 10;
        $nginx->stop_soundly;
    }
};

subtest 'messages without end' => sub {
    # AddressSanitizer keeps 256 MB of what was freed.
    local $ENV{ASAN_OPTIONS} = "$ENV{ASAN_OPTIONS}:quarantine_size_mb=8" if $ENV{ASAN_OPTIONS};
    my $from = 0;
    my $batches = File::Temp->new;
    pretend(sub {
        my ($command) = @_;
        return '*0' . "\r\n" if $command eq 'XREVRANGE' || $command eq 'ZRANGEBYSCORE';
        return "+OK\r\n" if $command ne 'XREAD';
        $from += 200;
        syswrite $batches, '.';
        return entries(200, 20_000, $from);
    });
    my $nginx = start();
    my $refused = sub { scalar(() = $nginx->log_text =~ /revocation stream: refused/g) };
    soon { $refused->() > 0 } 'what is not signed is refused';
    my ($before, $start) = (resident($nginx), time);
    # Of 4 MB each.
    soon { -s "$batches" > 40 } 'forty times', 20;
    cmp_ok(resident($nginx), '<', $before + 64, 'and not kept');
    is($nginx->ask(token => token(user => 'alice'))->{status}, 200, 'requests are answered meanwhile');
    cmp_ok($refused->(), '<=', 3 + time - $start, 'at most a line a second tells of it');
    $nginx->stop_soundly;
};

done_testing();
