# Answers at the limits of the shipped include, and what proxies between nginx and
# Authgear do to them and to connections.

use strict;
use warnings;

use File::Temp ();
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(:DEFAULT start_resolving stop_resolving told);
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep);

my $unavailable = '503 resolver_unavailable - -';
# Bytes of proxy_buffer_size.
my $most = 96 * 1024;

sub lines { return join '', map { "$_\r\n" } @_ }

sub valid { return ("X-Authgear-Session-Valid: true", "X-Authgear-User-Id: $_[0]") }

# An answer of so many bytes.
sub padded {
    my ($user, $bytes) = @_;
    my $rest = lines('HTTP/1.1 200 OK', valid($user), 'Content-Length: 0', 'X-Padding: ', '');
    return $rest =~ s/X-Padding: /'X-Padding: ' . 'x' x ($bytes - length $rest)/er;
}

# Each says what is sent to a question of that user, which is the n-th on its connection: pieces, with a pause
# before each but the first; undef closes the connection.
my %answer = (
    'a plain one' => sub { lines('HTTP/1.1 200 OK', valid($_[0]), 'Content-Length: 0', '') },
    'names in lower case, in another order' => sub {
        lines('HTTP/1.1 200 OK', 'content-length: 0', "x-authgear-user-id: $_[0]", 'x-authgear-session-valid: true', '');
    },
    'more headers' => sub {
        lines('HTTP/1.1 200 Fine', 'Via: 1.1 proxy', 'X-Cache: MISS', 'Set-Cookie: proxy=1', 'Age: 0', 'Vary: *',
            valid($_[0]), 'X-Authgear-Other: 1', 'X-Accel-Redirect: /free', 'X-Accel-Expires: 100', 'Content-Length: 0', '');
    },
    'byte by byte' => sub { map { ($_, '') } split //, lines('HTTP/1.1 200 OK', valid($_[0]), 'Content-Length: 0', '') },
    'HTTP/1.0' => sub { (lines('HTTP/1.0 200 OK', valid($_[0]), ''), undef) },
    'chunked' => sub { lines('HTTP/1.1 200 OK', valid($_[0]), 'Transfer-Encoding: chunked', '') },
    'chunked, with a body' => sub { lines('HTTP/1.1 200 OK', valid($_[0]), 'Transfer-Encoding: chunked', '', '2', 'ok', '0', '') },
    'compressed' => sub { lines('HTTP/1.1 200 OK', valid($_[0]), 'Content-Encoding: gzip', 'Content-Length: 23', '') },
    'a body that a HEAD has not' => sub { lines('HTTP/1.1 200 OK', valid($_[0]), 'Content-Length: 4', '') . 'body' },
    'a body that comes later' => sub { (lines('HTTP/1.1 200 OK', valid($_[0]), 'Content-Length: 4', ''), 'body') },
    'as large as the buffer' => sub { padded($_[0], $most) },
    'in time' => sub { ('', ('') x 25, lines('HTTP/1.1 200 OK', valid($_[0]), 'Content-Length: 0', '')) },
    'an old connection that closes' => sub {
        return $_[1] > 1 ? undef : lines('HTTP/1.1 200 OK', valid($_[0]), 'Content-Length: 0', '');
    },
    'an old connection that closes within an answer' => sub {
        my $whole = lines('HTTP/1.1 200 OK', valid($_[0]), 'Content-Length: 0', '');
        return $_[1] > 1 ? (substr($whole, 0, 30), undef) : $whole;
    },
    'a connection that closes behind it' => sub { (lines('HTTP/1.1 200 OK', valid($_[0]), 'Content-Length: 0', ''), undef) },

    # What is no yes.
    'without the headers' => sub { lines('HTTP/1.1 200 OK', 'Content-Length: 0', '') },
    'that says false' => sub { lines('HTTP/1.1 200 OK', 'X-Authgear-Session-Valid: false', 'Content-Length: 0', '') },

    # What is no verdict.
    'a byte larger than the buffer' => sub { padded($_[0], $most + 1) },
    'too late' => sub { ('', ('') x 1000) },
    'without the user' => sub { lines('HTTP/1.1 200 OK', 'X-Authgear-Session-Valid: true', 'Content-Length: 0', '') },
    'with the headers twice' => sub { lines('HTTP/1.1 200 OK', valid($_[0]), valid('mallory'), 'Content-Length: 0', '') },
    'with two users in one header' => sub { lines('HTTP/1.1 200 OK', 'X-Authgear-Session-Valid: true, true', "X-Authgear-User-Id: $_[0]", '') },
    'from a proxy of its own' => sub { lines('HTTP/1.1 403 Forbidden', 'Server: filter', 'Content-Length: 0', '') },
    'a redirect' => sub { lines('HTTP/1.1 302 Found', 'Location: https://portal.example.com/', 'Content-Length: 0', '') },
    'a closed connection' => sub { return undef },
    'closed in a header' => sub { ("HTTP/1.1 200 OK\r\nX-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: mal", undef) },
    'without HTTP' => sub { ("SSH-2.0-proxy\r\n", undef) },
);
my @names = sort keys %answer;

# A server that gives the answer whose number the session's cookie begins with.
sub server {
    my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64) or die "no port: $!\n";
    my $pid = fork // die "cannot fork: $!\n";
    return ($server->sockport, $pid) if $pid;
    setpgrp;
    $SIG{CHLD} = 'IGNORE';
    while (1) {
        my $client = $server->accept or next;
        if (!(fork // die "cannot fork: $!\n")) {
            $client->autoflush(1);
            serve($client);
            POSIX::_exit(0);
        }
    }
}

sub serve {
    my ($client) = @_;
    setsockopt $client, 6, 1, 1;
    for (my $count = 1;; $count++) {
        my $head = '';
        while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or return }
        my ($number, $user) = $head =~ /session=(\d+)-(\w+)/ or return;
        my $first = 1;
        for my $piece ($answer{ $names[$number] }->($user, $count)) {
            return if !defined $piece;
            sleep 0.1 if !$first && $names[$number] ne 'byte by byte';
            $first = 0;
            syswrite $client, $piece;
        }
    }
}

sub of_number {
    my ($name, $user) = @_;
    my ($number) = grep { $names[$_] eq $name } 0 .. $#names;
    return cookie(session => "$number-$user");
}

my ($port, $pid) = server();
my $own = $$;
END { if ($own && $$ == $own) { my $status = $?; kill KILL => -$pid; kill KILL => $pid; waitpid $pid, 0; $? = $status } }

my $text = shipped('authgear_resolver.conf', 'https://authgear_resolver' => 'http://authgear_resolver',
    '/etc/ssl/certs/ca-certificates.crt' => Test::Nginx::Authgear::Resolver::certificates());
my $directory = File::Temp->newdir;
open my $out, '>', "$directory/resolver.conf" or die "cannot write: $!\n";
print {$out} $text;
close $out;
$ENV{TEST_NGINX_RESOLVER} = "$directory/resolver.conf";
my $nginx = start_resolving('', http => "upstream authgear_resolver { server 127.0.0.1:$port; keepalive 16; }");
my $users = 0;

sub outcome { return told($nginx->ask(headers => of_number(@_))) }

my %expected = (
    (map { $_ => '200' } @names),
    'without the headers' => '401 session_invalid - none',
    'that says false' => '401 session_invalid - none',
    map { $_ => $unavailable } 'a byte larger than the buffer', 'without the user', 'with the headers twice',
    'with two users in one header', 'from a proxy of its own', 'a redirect', 'a closed connection', 'closed in a header',
    'without HTTP',
);

subtest 'a proxy does no harm: who asks gets their own session or none' => sub {
    for my $name (grep { !/^(?:in time|too late)$/ } @names) {
        for my $round (1 .. 2) {
            my $user = 'user' . ++$users;
            my $expected = $expected{$name} eq '200' ? "200 ok $user resolver" : $expected{$name};
            is(outcome($name, $user), $expected, "an answer $name");
            # On the same connection, if it is kept. A body that nobody may send ruins it, and gives nobody's session.
            my $next = outcome('a plain one', "next$users");
            $next = "200 ok next$users resolver" if $next eq $unavailable && $name eq 'a body that comes later';
            is($next, "200 ok next$users resolver", 'the next one');
        }
    }
    my @answers = map { ["user$_", $nginx->send(headers => of_number('an old connection that closes', "user$_"))] } 1 .. 30;
    is(told($nginx->receive($_->[1])), "200 ok $_->[0] resolver", 'thirty at the same time') for @answers;
};

subtest 'each limit of the include, and the line that names the directive to raise' => sub {
    my %line = (
        'a byte larger than the buffer' => 'the resolver\'s answer, status 200, cannot be used (status 502) in location '
            . '"/_authgear/resolve"; if its headers are too large, raise "proxy_buffer_size" there',
        'too late' => 'the resolver gave no response in time (status 504) in location "/_authgear/resolve"; if it is slow, raise '
            . '"proxy_read_timeout" there',
    );
    is(outcome('as large as the buffer', 'alice'), '200 ok alice resolver', '96 KiB of headers are enough');
    sleep 1.1;
    $nginx->mark_log;
    is(outcome('a byte larger than the buffer', 'alice'), $unavailable, 'one byte more is not');
    like($nginx->log_text, qr/\[error\].*\Q$line{'a byte larger than the buffer'}\E/, 'the line');
    my ($quick, $slow) = map { $nginx->send(headers => of_number($_, 'alice')) } 'in time', 'too late';
    is(told($nginx->receive($quick)), '200 ok alice resolver', 'two and a half seconds are in time');
    is(told($nginx->receive($slow)), $unavailable, 'five are not');
    like($nginx->log_text, qr/\[error\].*\Q$line{'too late'}\E/, 'the line');
};

stop_resolving($nginx);
done_testing();
