package Backend;

# The backend of torture.pl: it answers in some odd ways, by path, and writes a line
# of JSON for each request: the header X-Torture or the argument n by which it is
# known, and all headers from which a backend could take an identity.
#
#   my $backend = Backend::start($file);      { origin, pid }

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX ();

my $json = JSON::PP->new->canonical->latin1;

sub start {
    my ($file) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 512, ReuseAddr => 1) or die "cannot listen: $@\n";
    my $port = $listener->sockport;
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        $SIG{PIPE} = 'IGNORE';
        $SIG{TERM} = sub { POSIX::_exit(0) };
        open my $out, '>>', $file or POSIX::_exit(1);
        serve($listener, $out);
    }
    return { origin => "http://127.0.0.1:$port", pid => $pid };
}

sub serve {
    my ($listener, $out) = @_;
    my $select = IO::Select->new($listener);
    my %text;
    my $parent = getppid;
    while (getppid == $parent) {
        for my $socket ($select->can_read(0.5)) {
            if ($socket == $listener) {
                my $new = $listener->accept or next;
                $select->add($new);
                $text{ fileno $new } = '';
                next;
            }
            my $got = sysread $socket, $text{ fileno $socket }, 65536, length $text{ fileno $socket };
            my $head = head(\$text{ fileno $socket });
            if (!$got || $head && answer($socket, $out, $head)) {
                $select->remove($socket);
                delete $text{ fileno $socket };
                close $socket;
            }
        }
    }
    POSIX::_exit(0);
}

# The head of a request whose body is here, too. nginx asks one at a time.
sub head {
    my ($text) = @_;
    return if $$text !~ /\A(.*?)\r\n\r\n(.*)\z/s;
    my ($head, $body) = ($1, $2);
    return if $head =~ /^Content-Length: (\d+)/mi && length $body < $1;
    return if $head =~ /^Transfer-Encoding: chunked/mi && $body !~ /(?:\A|\r\n)0\r\n(?:.*\r\n)?\r\n\z/s;
    $$text = '';
    return $head;
}

# Answers; true to close.
sub answer {
    my ($socket, $out, $head) = @_;
    my ($line, @lines) = split /\r\n/, $head;
    my ($method, $path) = $line =~ /^(\S+) (\S*)/ or return 1;
    my @fields = map { /^([^:]*):\s*(.*?)\s*\z/s ? [$1, $2] : [$_, ''] } @lines;
    my ($n) = map { $_->[1] } grep { lc $_->[0] eq 'x-torture' } @fields;
    $n = $1 if !defined $n && $path =~ /[?&]n=([\w-]+)/;
    my %seen;
    for my $field (@fields) {
        my $name = lc $field->[0] =~ s/[^A-Za-z0-9]/-/gr;
        push @{ $seen{$name} }, $field->[1] if $name =~ /^x-(?:authgear|var|clean)-?|^authorization$|^cookie$/;
    }
    my ($argument) = $path =~ /[?&]t=([\w-]+)/;
    # One write, so that lines of a file that two open stay whole.
    syswrite $out, $json->encode({ n => $n, path => $path, t => $argument, seen => \%seen }) . "\n";

    my $user = join ',', @{ $seen{'x-authgear-user-id'} // [] };
    my $close = $head =~ /^Connection: close/mi || $line =~ m{HTTP/1\.0};
    my $body = $method eq 'HEAD' ? '' : "for $user\n";
    my ($kind) = $path =~ m{^/(\w+)};
    $kind //= '';
    return 1 if $kind eq 'close';
    if ($kind eq 'ws') {
        syswrite $socket, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nX-Backend-User: $user\r\n\r\nbytes" if $head =~ /^Upgrade:/mi;
        return 1;
    }
    my $more = "X-Backend-User: $user\r\n";
    my $status = $kind =~ /^\d{3}$/ ? "$kind Odd" : '200 OK';
    $more .= "X-Accel-Redirect: /l" . (1 + int rand 8) . "?n=$n\r\n" if $kind eq 'accel' && defined $n;
    $more .= "Set-Cookie: a=b\r\nX-Authgear-User-Id: from-backend\r\nCache-Control: no-store\r\n" if $kind eq 'cookie';
    $body = $body x 20_000 if $kind eq 'big';
    select undef, undef, undef, 0.05 if $kind eq 'slow';
    my $frame = $kind eq 'chunked' && !$close ? "Transfer-Encoding: chunked\r\n" : 'Content-Length: ' . length($body) . "\r\n";
    $body = sprintf "%x\r\n%s\r\n0\r\n\r\n", length $body, $body if $kind eq 'chunked' && !$close && $method ne 'HEAD';
    $body = '' if $method eq 'HEAD';
    my $text = "HTTP/1.1 $status\r\n$frame$more" . ($close ? "Connection: close\r\n" : '') . "\r\n$body";
    while (length $text) {
        my $sent = syswrite $socket, $text;
        return 1 if !$sent;
        substr $text, 0, $sent, '';
    }
    return $close;
}

1;
