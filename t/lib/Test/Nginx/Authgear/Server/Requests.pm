package Test::Nginx::Authgear::Server::Requests;

# Requests to a Test::Nginx::Authgear::Server, many at the same time; what is here
# is called on it.
#
#   my @answers = $nginx->receive(map { $nginx->send(token => $token) } 1 .. 200);

use strict;
use warnings;

use Exporter qw(import);
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX ();
use Socket qw(IPPROTO_TCP TCP_NODELAY);
use Test::Nginx::Authgear standin => 0;
use Time::HiRes qw(time);

our @EXPORT_OK = qw($slow);

# The factor by which time limits grow under a sanitizer, or as SLOW says, on a busy machine.
our $slow = $ENV{SLOW} || ($ENV{ASAN_OPTIONS} ? 3 : 1);

# A connection that stays open, for `send(on => …)`.
sub connection {
    my ($self) = @_;
    my $socket;
    # The queue of a socket may be full for a moment.
    wait_for {
        $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port});
    };
    die "cannot connect to nginx: $@\n" if !$socket;
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    return $socket;
}

# One connection to each worker: a hash by pid.
sub connection_to_each {
    my ($self) = @_;
    my %to;
    wait_for {
        my $connection = $self->connection;
        my ($answer) = $self->receive($self->send(path => '/free', on => $connection));
        $to{ $answer->{worker} } //= $connection if $answer->{worker};
        keys %to >= $self->{option}{workers};
    } 10 * $slow;
    return %to;
}

# Sends a request and returns without its answer. `on` is a connection; without
# it there is a new one, which is closed behind the answer.
#
#   path, token, headers (text), on
sub send {
    my ($self, %request) = @_;
    my $own = !$request{on};
    my $socket = $request{on} || $self->connection;
    my $head = 'GET ' . ($request{path} // '/') . " HTTP/1.1\r\nHost: localhost\r\n";
    $head .= "Authorization: Bearer $request{token}\r\n" if defined $request{token};
    $head .= "$request{headers}\r\n" if $request{headers};
    $head .= "Connection: close\r\n" if $own;
    local $SIG{PIPE} = 'IGNORE';
    my $sent = syswrite $socket, "$head\r\n";
    return {
        socket => $socket, own => $own, text => '', at => time,
        (defined $sent ? () : (error => 'closed')),
    };
}

# Answers to what `send` returned, in that order, whenever they come; after so
# many seconds what is missing has the error "time-out". Each is a hash with
# status, reason, user, worker, headers (text), body and seconds; or with error.
sub receive {
    my ($self, @sent) = @_;
    my $limit = 20 * $slow;
    $limit = pop(@sent) if @sent && !ref $sent[-1];
    my $until = time + $limit;
    my $select = IO::Select->new;
    my %by;
    for my $one (grep { !$_->{error} } @sent) {
        $by{ fileno $one->{socket} } = $one;
        $select->add($one->{socket});
    }
    while ($select->count && time < $until) {
        for my $socket ($select->can_read(0.05)) {
            my $one = $by{ fileno $socket };
            my $got = sysread $socket, $one->{text}, 65536, length $one->{text};
            $one->{error} = 'closed' if !$got && !is_complete($one->{text});
            next if $got && !is_complete($one->{text});
            $one->{seconds} = time - $one->{at};
            $select->remove($socket);
            close $socket if $one->{own};
        }
    }
    $by{ fileno $_ }{error} = 'time-out' for $select->handles;
    return map { answer($_) } @sent;
}

# The answer to one request.
sub ask {
    my ($self, %request) = @_;
    return ($self->receive($self->send(%request)))[0];
}

# Those of the requests that have an answer by now, or lost their connection.
sub answered {
    my ($self, @sent) = @_;
    my $select = IO::Select->new(map { $_->{socket} } @sent);
    my %ready = map { fileno $_ => 1 } $select->can_read(0);
    return grep { $ready{ fileno $_->{socket} } } @sent;
}

# The client goes away.
sub leave {
    my ($self, @sent) = @_;
    close $_->{socket} for @sent;
    return;
}

sub is_complete {
    my ($text) = @_;
    my ($head, $body) = split /\r\n\r\n/, $text, 2;
    return 0 if !defined $body;
    return 1 if $head !~ /^Content-Length: (\d+)/mi;
    return length $body >= $1;
}

sub answer {
    my ($one) = @_;
    my %answer = (seconds => $one->{seconds}, error => $one->{error});
    return \%answer if $one->{error};
    @answer{qw(headers body)} = split /\r\n\r\n/, $one->{text}, 2;
    ($answer{status}) = $answer{headers} =~ m{^HTTP/1\.1 (\d+)};
    for my $name (qw(Reason User Worker)) {
        ($answer{ lc $name }) = $answer{headers} =~ /^X-$name: (.*?)\r?$/m;
    }
    ($answer{retry_after}) = $answer{headers} =~ /^Retry-After: (.*?)\r?$/m;
    return \%answer;
}

# Requests one after another from a process of its own, until the function that
# this returns is called: it returns how often each outcome was, as `tally`.
sub load {
    my ($self, %request) = @_;
    pipe my $stop_out, my $stop_in or die "no pipe: $!\n";
    pipe my $result_out, my $result_in or die "no pipe: $!\n";
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        close $stop_in;
        my $stop = IO::Select->new($stop_out);
        my %count;
        while (!$stop->can_read(0)) {
            my $tally = $self->tally($self->receive(map { $self->send(%request) } 1 .. 5));
            $count{$_} += $tally->{$_} for keys %$tally;
        }
        syswrite $result_in, JSON::PP->new->encode(\%count);
        POSIX::_exit(0);
    }
    close $stop_out;
    close $result_in;
    return sub {
        close $stop_in;
        local $/;
        my $result = <$result_out>;
        waitpid $pid, 0;
        return JSON::PP->new->decode($result || '{"load":"died"}');
    };
}

# The number of answers with each outcome: "200 ok" => 12, "401 unknown_key" => 3, closed => 1.
sub tally {
    my ($self, @answers) = @_;
    my %count;
    for my $answer (@answers) {
        my $word = $answer->{error} // join ' ', $answer->{status}, $answer->{reason} // ();
        $count{$word}++;
    }
    return \%count;
}

1;
