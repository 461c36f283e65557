package Test::Nginx::Authgear::Http2;

# A client that has many HTTP/2 streams of one connection open at once, as curl
# cannot without TLS. It reads an answer's status and body; its headers stay
# unread, since nginx compresses them.

use strict;
use warnings;

use Exporter qw(import);
use Test::Nginx::Authgear::Client ();

our @EXPORT = qw(http2 http2_listen);

my %type = (DATA => 0, HEADERS => 1, RST_STREAM => 3, SETTINGS => 4, PING => 6, GOAWAY => 7,
    WINDOW_UPDATE => 8);
my ($end_stream, $ack, $end_headers) = (1, 1, 4);

# HPACK's static table, indexes 8 to 14 (RFC 7541, appendix A).
my %status = (0x88 => 200, 0x89 => 204, 0x8a => 206, 0x8b => 304, 0x8c => 400, 0x8d => 404, 0x8e => 500);

# The directives by which a server speaks HTTP/2 without TLS on one of the file's
# ports, in the words of this nginx.
sub http2_listen {
    my ($port) = @_;
    my $listen = "listen 127.0.0.1:$port";
    return $ENV{TEST_NGINX_VERSION_NUM} >= 1_025_001 ? "$listen; http2 on;" : "$listen http2;";
}

# http2($port): a connection, HTTP/2 from the first byte.
sub http2 {
    my ($port) = @_;
    my $connection = Test::Nginx::Authgear::Client::connection($port);
    my $self = bless {
        connection => $connection, next => 1, streams => {}, window => 65_535, initial_window => 65_535,
    }, __PACKAGE__;
    $connection->send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    $self->frame('SETTINGS', 0, 0, '');
    return $self;
}

# Opens a stream with a request, as ask() does; returns its number. A body may have
# 16 KiB.
sub request {
    my ($self, $line, @headers) = @_;
    my $body = ref $headers[-1] ? ${ pop @headers } : undef;
    my $stream = $self->open_stream($line, defined $body, @headers);
    $self->frame('DATA', $end_stream, $stream, $body) if defined $body;
    return $stream;
}

# The same with a body of any size, sent as nginx makes room for it.
sub upload {
    my ($self, $line, @headers) = @_;
    my $body = ${ pop @headers };
    my $stream = $self->open_stream($line, 1, @headers);
    my $state = $self->{streams}{$stream};
    while (length $body and !$state->{ended}) {
        my ($room) = sort { $a <=> $b } 16_384, length $body, $self->{window}, $state->{window};
        if ($room <= 0) {
            $self->read_frame;
            next;
        }
        my $piece = substr $body, 0, $room, '';
        $_->{window} -= $room for $self, $state;
        $self->frame('DATA', length $body ? 0 : $end_stream, $stream, $piece);
    }
    return $stream;
}

sub open_stream {
    my ($self, $line, $has_body, @headers) = @_;
    my ($method, $path) = split ' ', $line;
    my @fields = ([':method', $method], [':scheme', 'http'], [':path', $path], [':authority', 'localhost'],
        map { /^([^:]+):\s*(.*)/s ? [lc $1, $2] : () } @headers);
    # Literals that are never indexed nor compressed.
    my $block = join '', map { "\x10" . text($_->[0]) . text($_->[1]) } @fields;

    my $stream = $self->{next};
    $self->{next} += 2;
    $self->{streams}{$stream} = { body => '', headers => [], window => $self->{initial_window} };
    $self->frame('HEADERS', $end_headers | ($has_body ? 0 : $end_stream), $stream, $block);
    return $stream;
}

# The answer of a stream: { status, body }; the status is 'reset' if it was.
sub answer {
    my ($self, $stream) = @_;
    my $answer = $self->{streams}{$stream};
    $self->read_frame until $answer->{ended};
    return $answer;
}

sub reset {
    my ($self, $stream) = @_;
    $self->frame('RST_STREAM', 0, $stream, pack 'N', 8);
}

sub text {
    my ($text) = @_;
    my $length = length $text;
    return chr($length) . $text if $length < 127;
    my $bytes = "\x7f";
    for ($length -= 127; $length >= 128; $length >>= 7) {
        $bytes .= chr($length & 127 | 128);
    }
    return $bytes . chr($length) . $text;
}

sub frame {
    my ($self, $name, $flags, $stream, $payload) = @_;
    my $length = length $payload;
    $self->{connection}->send(
        pack('CnCCN', $length >> 16, $length & 0xffff, $type{$name}, $flags, $stream) . $payload);
}

sub read_frame {
    my ($self) = @_;
    my ($high, $low, $type, $flags, $stream) =
        unpack 'CnCCN', $self->{connection}->read_bytes(9);
    my $length = $high << 16 | $low;
    my $payload = $length ? $self->{connection}->read_bytes($length) : '';
    my $answer = $self->{streams}{ $stream & 0x7fffffff };

    if ($type == $type{HEADERS}) {
        # nginx sends no padding and no priority; a change of the table's size may come first.
        $payload =~ s/\A[\x20-\x3f]+//;
        my $first = ord $payload;
        $answer->{status} //= $status{$first}
            // ($payload =~ /\A[\x08\x18\x48]\x03(\d{3})/ ? $1 : die "no status in an answer's headers\n");
    }
    elsif ($type == $type{DATA}) {
        $answer->{body} .= $payload;
        $self->frame('WINDOW_UPDATE', 0, $_, pack 'N', $length) for $length ? (0, $stream) : ();
    }
    elsif ($type == $type{RST_STREAM}) {
        # After an answer it only says that the rest of the body is not wanted.
        $answer->{status} = 'reset' if !$answer->{ended};
        $answer->{ended} = 1;
    }
    elsif ($type == $type{SETTINGS} and !($flags & $ack)) {
        my %setting = unpack '(nN)*', $payload;
        # SETTINGS_INITIAL_WINDOW_SIZE, before any stream is open.
        $self->{initial_window} = $setting{4} // $self->{initial_window};
        $self->frame('SETTINGS', $ack, 0, '');
    }
    elsif ($type == $type{PING} and !($flags & $ack)) {
        $self->frame('PING', $ack, 0, $payload);
    }
    elsif ($type == $type{WINDOW_UPDATE}) {
        ($answer // $self)->{window} += unpack 'N', $payload;
    }
    elsif ($type == $type{GOAWAY}) {
        my ($last, $error) = unpack 'NN', $payload;
        die "nginx closes the connection with HTTP/2 error $error\n" if $error;
    }
    $answer->{ended} = 1
        if $answer and ($type == $type{HEADERS} or $type == $type{DATA}) and $flags & $end_stream;
}

1;
