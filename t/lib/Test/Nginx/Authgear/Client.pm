package Test::Nginx::Authgear::Client;

# Many requests to one nginx: `--- check` names functions of the test file that
# run while the block's nginx is up, in place of the block's own request. Those
# below ask, byte for byte where it matters, and read the echo's answers.

use strict;
use warnings;

use Exporter qw(import);
use IO::Select;
use IO::Socket::INET;
use Test::Nginx::Authgear ();
use Test::Nginx::Util ();
use Time::HiRes qw(time);

our @EXPORT = qw(ask connection header header_lines echoed echoed_authgear recorder held servroot port
    log_lines);
our @EXPORT_OK = qw(verdict challenges chunked);

my $patience = ($ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1) * 10;

{
    my $usual = $Test::Nginx::Util::RunTestHelper;
    $Test::Nginx::Util::RunTestHelper = sub {
        my ($block, $dry_run, $repeated) = @_;
        my $checks = $block->check;
        return $usual->(@_) if !defined $checks;
        for my $check (split ' ', $checks) {
            my $code = main->can($check) or die "no function main::$check\n";
            Test::More::note($check);
            eval { $code->($block); 1 } or Test::More::fail("$check died: $@");
        }
        $Test::Nginx::Util::CheckErrorLog->($block, undef, $dry_run, $repeated, 0);
    };
}

sub servroot { return $Test::Nginx::Util::ServRoot }

# The file's eight ports, by number: port() is where nginx listens.
sub port { return Test::Nginx::Util::server_port() + ($_[0] // 0) }

# The lines of a log below the server root once there are so many of them; nginx
# writes an access log after the answer is sent.
sub log_lines {
    my ($name, $count) = @_;
    my @lines;
    Test::Nginx::Authgear::wait_for(sub {
        open my $in, '<', servroot() . "/logs/$name" or return 0;
        chomp(@lines = <$in>);
        return @lines >= $count;
    });
    return @lines;
}

# ask('GET /path', 'Name: value', …, \$body): one request on a connection of its
# own. An answer is { status, headers => [[name, value], …], body }.
sub ask {
    my ($line, @rest) = @_;
    my $port = ref $rest[0] eq 'HASH' ? (shift @rest)->{port} : undef;
    my $connection = connection($port);
    $connection->request($line, 'Connection: close', @rest);
    return $connection->answer;
}

# A connection to one of the file's ports, that of nginx unless it is named.
sub connection {
    my ($port) = @_;
    my $socket = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $port || port(), Proto => 'tcp', Timeout => $patience)
        or die "cannot connect: $@\n";
    return bless { socket => $socket, buffer => '', asked => [] }, __PACKAGE__;
}

# Sends a request, with a Host unless one of the headers is it.
sub request {
    my ($self, $line, @headers) = @_;
    my $body = ref $headers[-1] ? ${ pop @headers } : undef;
    $line .= ' HTTP/1.1' if $line !~ / HTTP\//;
    unshift @headers, 'Host: localhost' if !grep { /^host:/i } @headers;
    push @headers, 'Content-Length: ' . length $body
        if defined $body and !grep { /^transfer-encoding:/i } @headers;
    push @{ $self->{asked} }, $line =~ /^(\S+)/;
    return $self->send(join("\r\n", $line, @headers) . "\r\n\r\n" . ($body // ''));
}

sub send {
    my ($self, $text) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $writable = IO::Select->new($self->{socket});
    while (length $text) {
        $writable->can_write($patience) or die "cannot send\n";
        my $sent = syswrite $self->{socket}, $text;
        # nginx may refuse a request before it has read it all.
        last if !defined $sent;
        substr $text, 0, $sent, '';
    }
    return $self;
}

# Reads until the buffer matches, or the other side closes.
sub read_until {
    my ($self, $pattern) = @_;
    my $until = time + $patience;
    my $readable = IO::Select->new($self->{socket});
    while ($self->{buffer} !~ $pattern) {
        my $left = $until - time;
        $left > 0 && $readable->can_read($left) or die "no answer within $patience s\n";
        sysread $self->{socket}, $self->{buffer}, 65536, length $self->{buffer} or return 0;
    }
    return 1;
}

sub read_bytes {
    my ($self, $count) = @_;
    my $readable = IO::Select->new($self->{socket});
    while (length $self->{buffer} < $count) {
        $readable->can_read($patience) or die "no answer within $patience s\n";
        sysread $self->{socket}, $self->{buffer}, 65536, length $self->{buffer}
            or die "the connection closed in the middle of an answer\n";
    }
    return substr $self->{buffer}, 0, $count, '';
}

# The next answer, in the order of the requests.
sub answer {
    my ($self) = @_;
    my $method = shift @{ $self->{asked} } // 'GET';
    $self->read_until(qr/\r\n\r\n/) or die "the connection closed without an answer\n";
    $self->{buffer} =~ s/\A(.*?)\r\n\r\n//s;
    my ($status, @lines) = split /\r\n/, $1;
    my %answer = (status => $status =~ m{^HTTP/\d\.\d (\d{3})}, body => '');
    $answer{headers} = [map { /^([^:]*):[ \t]*(.*?)[ \t]*\z/s ? [$1, $2] : [$_, ''] } @lines];

    my $length = header(\%answer, 'Content-Length');
    if ($method eq 'HEAD' || $answer{status} =~ /^1|204|304/) {
        return \%answer;
    }
    elsif ((header(\%answer, 'Transfer-Encoding') // '') eq 'chunked') {
        while (1) {
            $self->read_until(qr/\A[0-9a-fA-F]+\r\n/) or die "the answer is cut\n";
            $self->{buffer} =~ s/\A([0-9a-fA-F]+)\r\n//;
            my $size = hex $1;
            $answer{body} .= $self->read_bytes($size) if $size;
            $self->read_bytes(2);
            last if !$size;
        }
    }
    elsif (defined $length) {
        $answer{body} = $self->read_bytes($length) if $length;
    }
    else {
        $self->read_until(qr/(?!)/);
        $answer{body} = $self->{buffer};
        $self->{buffer} = '';
    }
    return \%answer;
}

# True if the other side has closed, with nothing left to read.
sub closed {
    my ($self) = @_;
    return !$self->read_until(qr/./s);
}

# The value of a header, of several of that name joined by ' | '; undef without.
sub header {
    my ($message, $name) = @_;
    my @values = map { $_->[1] } grep { lc $_->[0] eq lc $name } @{ $message->{headers} };
    return @values ? join(' | ', @values) : undef;
}

# Headers as lines in their order, those whose name matches.
sub header_lines {
    my ($message, $pattern) = @_;
    return map {"$_->[0]: $_->[1]"} grep { $_->[0] =~ $pattern } @{ $message->{headers} };
}

# The request that the echo received: { line, headers, body }.
sub echoed {
    my ($answer) = @_;
    my ($head, $body) = split /\r?\n\r?\n/, $answer->{body}, 2;
    my ($line, @lines) = split /\r?\n/, $head // '';
    return {
        line => $line // '',
        headers => [map { /^([^:]*):[ ]?(.*)\z/s ? [$1, $2] : [$_, ''] } @lines],
        body => $body // '',
    };
}

# The status, and who the echo thinks it is.
sub verdict {
    my ($answer) = @_;
    return $answer->{status} if $answer->{status} != 200;
    return '200 ' . (header(echoed($answer), 'X-Authgear-User-Id') // 'nobody');
}

# All values of WWW-Authenticate, sorted.
sub challenges {
    my ($answer) = @_;
    return join ' | ', sort map { $_->[1] } grep { lc $_->[0] eq 'www-authenticate' } @{ $answer->{headers} };
}

# A body in chunks of many sizes.
sub chunked {
    my ($text) = @_;
    my $out = '';
    for (my ($at, $size) = (0, 1); $at < length $text; $at += $size, $size = $size * 3 % 20_011 + 1) {
        my $piece = substr $text, $at, $size;
        $out .= sprintf "%x\r\n%s\r\n", length $piece, $piece;
    }
    return "${out}0\r\n\r\n";
}

# All headers that reached the echo under a name that a backend could read as
# X-Authgear-Something, as sorted lines.
sub echoed_authgear {
    my ($answer) = @_;
    return [sort(header_lines(echoed($answer), qr/^x[^a-z0-9]*authgear/i))];
}

# A backend that remembers: recorder() returns its port and a function that
# waits for so many requests and returns what each sent, like echoed().
sub recorder {
    my ($port, $next) = held();
    my $take = sub {
        my ($count) = @_;
        return map {
            my $peer = $next->();
            $peer->send("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
            $peer->{request};
        } 1 .. $count;
    };
    return ($port, $take);
}

# A server that answers when the test does: held() returns its port and a function
# that waits for the next connection. What it sent is its {request}, like echoed().
sub held {
    my $listener = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', Proto => 'tcp', Listen => 16, ReuseAddr => 1)
        or die "cannot listen: $@\n";
    my $next = sub {
        IO::Select->new($listener)->can_read($patience) or die "nothing is asked within $patience s\n";
        my $peer = bless { socket => scalar $listener->accept, buffer => '' }, __PACKAGE__;
        $peer->read_until(qr/\r?\n\r?\n/);
        $peer->{request} = echoed({ body => $peer->{buffer} });
        $peer->{buffer} = '';
        return $peer;
    };
    return ($listener->sockport, $next);
}

1;
