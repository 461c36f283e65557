package Sender;

# Clients of torture.pl, each a process: random requests to one nginx, byte for byte
# where HTTP/1 allows it, and checks of the answers. A line of JSON for each request is
# in its file before it is sent: who may be seen by it. `wrong` lines are findings.

use strict;
use warnings;

use Errno qw(EAGAIN);
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use POSIX ();
use Socket qw(IPPROTO_TCP SOL_SOCKET SO_LINGER TCP_NODELAY);
use Test::Nginx::Authgear::Http2;
use Test::Nginx::Authgear::Http3;
use Time::HiRes qw(sleep time);
use Conf qw(chance one some);
use Credentials qw(mix);

my $json = JSON::PP->new->canonical->latin1;

# Starts one: number, seed, seconds, conf, file, port, and h2 and h3, ports.
sub start {
    my (%self) = @_;
    my $pid = fork // die "cannot fork: $!\n";
    return $pid if $pid;
    $SIG{PIPE} = 'IGNORE';
    $SIG{TERM} = sub { POSIX::_exit(0) };
    srand $self{seed};
    my $self = bless { %self, made => 0, status => {}, requests => 0 }, __PACKAGE__;
    open $self->{out}, '>>', $self->{file} or POSIX::_exit(1);
    $self->{out}->autoflush(1);
    my $ends = time + $self->{seconds};
    my $kind = $self->{number} == 2 ? 'h2' : $self->{number} == 3 ? 'h3' : 'h1';
    $kind = 'h1' if !$self->{$kind};
    while (time < $ends) {
        my $went = eval { $self->$kind; 1 };
        $self->count($kind, $went ? 'connections' : 'given up: ' . $@ =~ s/(?: at \S+ line.*)?\n.*//sr);
        sleep 0.01 if !$went;
    }
    $self->note(count => $self->{status}, requests => $self->{requests});
    POSIX::_exit(0);
}

sub note { my ($self, %what) = @_; print { $self->{out} } $json->encode(\%what), "\n" }
sub count { my ($self, $kind, $what) = @_; $self->{status}{"$kind $what"}++ }

# --- one request: method, path, headers, body, and who may be seen

my @spoofed = ('X-Authgear-User-Id', 'x-authgear-user-id', 'X_Authgear_User_Id', 'X-Authgear_User-Id', 'X.Authgear.User.Id',
    'X-AUTHGEAR-SESSION-VALID', 'X-Authgear-User-Roles', 'X~Authgear~User~Id', 'X-Authgear-', 'X-Authgear-Foo',
    "X-Authgear-User-Id\x0b");

sub request {
    my ($self, $version) = @_;
    my ($headers, $query, $users) = mix($self->{conf}{prefix});
    my $n = "$self->{round}-$self->{number}-" . ++$self->{made};
    my $path = one(@{ $self->{conf}{paths} });
    $path = "/l" . int(1 + rand 8) if chance(0.5);
    $path .= one('/', '/x', '/../l1', '%2fx', '//', '/%00', '/./', ';a', '/' . 'y' x rand 3000) if chance(0.06);
    my @query = (@$query, "n=$n");
    push @query, some(one(0, 0, 0, 1, 2), 'deep=1', 'x=1', 'x=0', 'p=a', 'p=b', 'p=c', 'p=d', 'p=off', 'p=x', 't=evil', 't='
        . 'z' x 80, 'access_token=', 'q=' . 'w' x rand 3000, '&&', '%');
    my $method = chance(0.75) ? 'GET' : one(qw(GET HEAD POST PUT OPTIONS DELETE PROPFIND PATCH));
    push @$headers, "X-Torture: $n";
    push @$headers, some(one(1, 1, 3), map { "$_: spoof-user" } @spoofed) if chance(0.25);
    push @$headers, 'Origin: https://o.example', 'Access-Control-Request-Method: GET' if $method eq 'OPTIONS' && chance(0.6);
    push @$headers, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document" if chance(0.2);
    push @$headers, 'Accept: ' . one('text/html', '*/*', 'application/json', 'application/openmetrics-text;q=1', ',,',
        'a/b;q=x') if chance(0.2);
    push @$headers, one('Range: bytes=0-10', 'Range: bytes=9-', 'If-None-Match: *', 'User-Agent: ' . 'u' x rand 3000,
        "User-Agent: \x80\xfe", 'X-Real-IP: 2001:db8::1', 'X-Real-IP: 203.0.113.9', 'X-Empty:', 'X-Big: ' . 'b' x rand 9000,
        'X-Authgear-Body-Signature: ' . '0' x 64, 'Accept-Encoding: gzip', 'Via: 1.1 x', 'Referer: http://x/' . 'r' x 200)
            if chance(0.3);
    my $body;
    if ($method =~ /POST|PUT|PATCH|PROPFIND/ || chance(0.05)) {
        $body = one('', 'a=b', '{"id":"1","seq":1,"type":"user.disabled","payload":{}}', 'x' x rand 3000,
            "\0\r\n\r\n" x rand 20, 'y' x 20_000);
    }
    $self->{requests}++;
    $self->note(n => $n, users => $users);
    return { n => $n, method => $method, path => $path . '?' . join('&', @query), headers => $headers, body => $body,
        users => $users, plain => 1 };
}

# --- HTTP/0.9, 1.0, 1.1

sub text_of {
    my ($self, $request) = @_;
    my ($method, $path, @headers) = (@$request{qw(method path)}, @{ $request->{headers} });
    my $odd = sub { $request->{plain} = 0; one(@_) };
    if (chance(0.02)) {
        $request->{plain} = 0;
        # Its headers are not read, so no credential of them counts; the query's does.
        return "GET $path\r\n";
    }
    my $version = chance(0.9) ? 'HTTP/1.1' : chance(0.6) ? 'HTTP/1.0' : $odd->('HTTP/1.2', 'HTTP/2.0', 'HTTP/0.9', 'HTTP/1.',
        'http/1.1', 'HTTP/11.1', '');
    my $host = chance(0.93) ? 'localhost' : one('www.example.com', 'localhost:80', 'LOCALHOST', '[::1]', '127.0.0.1');
    $path = 'http://' . one('localhost', 'other.example', 'localhost:1') . $path if chance(0.04);
    $path = $odd->('*', '', 'localhost:80', '/' . 'p' x 9000, "/\x01", '/a b', "/\x80", '\\l1') if chance(0.01);
    my @host = chance(0.96) ? "Host: $host" : $odd->([], ["Host: $host", 'Host: evil'], ['Host:'], ['Host: a b'],
        ['Host: x/../y']);
    @host = @{ $host[0] } if ref $host[0];
    push @headers, @host;
    if ($method =~ /^GET$/ && chance(0.05)) { push @headers, 'Connection: Upgrade', 'Upgrade: websocket',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 13'; $request->{plain} = 0 }
    push @headers, $odd->('Connection: close', 'Connection: keep-alive', 'Expect: 100-continue', 'Expect: nothing',
        'TE: trailers', 'Content-Length: x', 'Content-Length: -1', 'Transfer-Encoding: gzip, chunked',
        'Transfer-Encoding: chunked', ": no name", 'no colon', "X\0: nul", "X: a\0b", "X: a\rb", " folded: x",
            "X: first\r\n second", 'Content-Length: 99999999999999999999', 'Content-Length: 5') if chance(0.08);
    my $tail = '';
    if (defined $request->{body}) {
        my $body = $request->{body};
        if (chance(0.35) && $version eq 'HTTP/1.1') {
            push @headers, 'Transfer-Encoding: chunked';
            for (my $at = 0; $at < length $body;) {
                my $piece = substr $body, $at, 1 + rand 5000;
                $at += length $piece;
                $tail .= sprintf one("%x\r\n", "%X\r\n", "%04x\r\n", "%x;ext=1\r\n"), length $piece;
                $tail .= "$piece\r\n";
            }
            $tail .= "0\r\n" . (chance(0.1) ? "X-Authgear-User-Id: spoof-user\r\nAuthorization: Bearer x\r\n" : '') . "\r\n";
            $tail = $odd->('', "zz\r\n", "ffffffffffffffff\r\nx", "5\r\nab", "-1\r\n\r\n", "0\r\n", substr($tail, 0,
                rand length $tail)) if chance(0.12);
        }
        else {
            push @headers, 'Content-Length: ' . length $body;
            $tail = chance(0.06) ? $odd->(substr($body, 0, rand length $body), $body . 'more', '') : $body;
        }
    }
    @headers = sort { rand() <=> 0.5 } @headers if chance(0.5);
    my $end = chance(0.01) ? $odd->("\n", "\r\r\n") : "\r\n";
    return join($end, "$method $path" . (length $version ? " $version" : ''), @headers) . "$end$end$tail";
}

sub h1 {
    my ($self) = @_;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) or die "cannot connect\n";
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    $socket->blocking(0);
    my (@all, $text);
    for (1 .. one(1, 1, 2, 3, 5, 8)) {
        my @batch = map { $self->request } 1 .. one(1, 1, 1, 2, 6);
        my $bytes = join '', map { $self->text_of($_) } @batch;
        push @all, @batch;
        my $is_plain = !grep { !$_->{plain} } @batch;
        if (chance(0.05)) {
            $is_plain = 0;
            $bytes = substr $bytes, 0, rand length $bytes;
        }
        my $sent = $self->write($socket, $bytes);
        $self->count(h1 => 'requests') for @batch;
        if (chance(0.06)) {
            sleep rand 0.05 if chance(0.5);
            setsockopt $socket, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0 if chance(0.5);
            chance(0.3) ? shutdown $socket, 1 : close $socket;
            $self->count(h1 => 'left');
            return;
        }
        $text = $self->read_answers($socket, scalar @batch, $is_plain && $sent ? 20 * $self->{slow} : 0.4);
        $self->judge($_, \@all) for answers($text // '');
        last if !defined $text || !$is_plain;
    }
    close $socket;
    return;
}

sub write {
    my ($self, $socket, $bytes) = @_;
    my $select = IO::Select->new($socket);
    while (length $bytes) {
        $select->can_write(2) or return 0;
        my $size = chance(0.1) ? 1 + int rand 200 : length $bytes;
        my $sent = syswrite $socket, $bytes, $size;
        next if !defined $sent && $!{EAGAIN};
        return 0 if !$sent;
        substr $bytes, 0, $sent, '';
        sleep 0.003 if chance(0.05);
    }
    return 1;
}

# The bytes of so many answers; undef once the connection has ended, after them.
sub read_answers {
    my ($self, $socket, $times, $patience) = @_;
    my ($text, $until) = ('', time + $patience);
    my $select = IO::Select->new($socket);
    while (time < $until) {
        next if !$select->can_read(0.1);
        my $got = sysread $socket, $text, 65536, length $text;
        if (!$got) {
            return length $text ? $text : undef;
        }
        return $text if answers($text) >= $times && complete($text);
    }
    $self->note(late => 1, at => time, got => substr($text, -300), asked => $times) if $patience > 1;
    $self->count(h1 => 'without an answer in time') if $patience > 1;
    return $text;
}

sub answers {
    my ($text) = @_;
    my @answers;
    while ($text =~ m{HTTP/1\.[01] (\d{3})[^\r\n]*\r\n(.*?)\r\n\r\n}gs) {
        push @answers, { status => $1, head => "$2\r\n" } if $1 != 100;
    }
    return @answers;
}

# True if the last answer seems to be there with its body.
sub complete {
    my ($text) = @_;
    my ($head, $body) = $text =~ m{.*(HTTP/1\.[01] \d{3}.*?)\r\n\r\n(.*)\z}s or return 0;
    return length $body >= $1 || !length $body if $head =~ /^Content-Length: (\d+)/mi;
    return $body =~ /0\r\n\r\n\z/ || !length $body if $head =~ /^Transfer-Encoding: chunked/mi;
    return 1;
}

# --- what no answer may be

my %status = map { $_ => 1 } qw(101 200 201 204 206 207 301 302 303 304 400 401 403 404 405 408 409 411 412 413 414 415 416 418 421 429 431 494 501 503 505);
my %unavailable = map { $_ => 1 } qw(keys_unavailable resolver_unavailable);
my %known = map { $_ => 1 } qw(ok no_credential policy);

sub judge {
    my ($self, $answer, $asked) = @_;
    my ($status, $head) = @$answer{qw(status head)};
    my $protocol = $answer->{kind} // 'h1';
    $self->count($protocol => $status);
    my ($mode, $reason, $valid, $user, $n,
        $argument) = $head =~ /^X-Told: ([^|\r]*)\|([^|\r]*)\|([^|\r]*)\|([^|\r]*)\|([^|\r]*)\|([^\r]*)\r$/m;
    my ($header_user) = $head =~ /^X-User: (.+?)\r$/m;
    my ($backend_user) = $head =~ /^X-Backend-User: (.+?)\r$/m;
    # The request of this answer if it says so, else any of this connection.
    my @of = grep { defined $n && $_->{n} eq $n } @$asked;
    @of = @$asked if !@of;
    my %users = map { %{ $_->{users} } } @of;
    for my $seen (grep { defined && length } $user, $header_user, $backend_user) {
        $self->wrong("an answer is for $seen: $status", $answer, @of) if !$users{$seen};
    }
    if (!$status{$status}) {
        $status =~ /^(?:500|502|504)$/ ? $self->note(odd => $status, n => $n, head => $head) : $self->wrong("status $status",
            $answer, @of);
    }
    $self->wrong('a token in the answer', $answer, @of) if $head =~ /$Credentials::secret_parts/
        && $head !~ /^(?:Location|Set-Cookie): .*$Credentials::secret_parts/m;
    return if !defined $mode;
    $self->count($protocol => $reason) if length $reason;
    my $kind = $self->{conf}{modes}{$mode} // '';
    $self->wrong("a user but not valid", $answer, @of) if length $user && $valid ne 'true';
    $self->wrong("$reason with $valid", $answer, @of) if $valid eq 'true' && $reason !~ /^(?:ok|policy)$/ || $reason eq 'ok'
        && $valid ne 'true';
    return if !$self->{conf}{simple}{$mode};
    # authgear_bypass_preflight lets those in.
    return if grep { $_->{method} eq 'OPTIONS' } @of;
    if ($kind =~ /required|optional/) {
        my $is_in = $status =~ /^2|^304|^101/;
        $self->wrong("let in with $reason", $answer, @of) if $is_in && length $reason && !$known{$reason};
        $self->wrong('let in without a credential', $answer, @of) if $is_in && $kind eq 'required'
            && $reason eq 'no_credential';
        $self->wrong("$status for ok", $answer, @of) if $status eq '401' && $reason eq 'ok';
        $self->wrong("$status, not 503", $answer, @of) if $unavailable{$reason} && $status !~ /^(?:503|429|400|408|413|499)$/;
        $self->wrong('503 without Retry-After', $answer, @of) if $status eq '503' && $unavailable{$reason}
            && $head !~ /^Retry-After: /m;
        $self->wrong('401 without a challenge', $answer, @of) if $status eq '401' && length $reason
            && $head !~ /^WWW-Authenticate: Bearer realm=/m;
    }
    elsif ($kind eq 'observe') {
        $self->wrong("$status under observe", $answer, @of) if $status =~ /^(?:401|503)$/;
    }
    return;
}

sub wrong {
    my ($self, $what, $answer, @of) = @_;
    $self->note(wrong => $what, head => $answer->{head}, of => [map { { %$_ } } @of[0 .. ($#of > 1 ? 1 : $#of)]]);
    return;
}

# --- HTTP/2 and HTTP/3

sub h2 {
    my ($self) = @_;
    my $http = http2($self->{h2});
    for (1 .. one(1, 3, 8)) {
        my @asked = map { $self->request } 1 .. one(1, 2, 6);
        my @streams = map { $self->count(h2 => 'requests'); [$_, $http->request(as_lines($_))] } @asked;
        for my $pair (@streams) {
            if (chance(0.1)) { $http->reset($pair->[1]); next }
            my $answer = $http->answer($pair->[1]);
            $self->count(h2 => $answer->{status});
            $self->wrong('status of HTTP/2', { head => $answer->{status} }, $pair->[0]) if $answer->{status} ne 'reset'
                && !$status{ $answer->{status} } && $answer->{status} !~ /^50[024]/;
        }
    }
    return;
}

sub h3 {
    my ($self) = @_;
    my $http = http3($self->{h3});
    # Its packets may reach a worker that does not know the connection, after a reload.
    my $ended = eval {
        local $SIG{ALRM} = sub { die "no answer\n" };
        alarm 12 * $self->{slow};
        $self->ask_h3($http) for 1 .. one(1, 3, 8);
        1;
    };
    my $error = $@;
    alarm 0;
    return if $ended;
    kill KILL => $http->{pid};
    die $error;
}

sub ask_h3 {
    my ($self, $http) = @_;
    my @asked = map { $self->request } 1 .. one(1, 2, 6);
    $self->count(h3 => 'requests') for @asked;
    for my $answer ($http->ask_all(map { [as_lines($_)] } @asked)) {
        my $head = join '', map {"$_->[0]: $_->[1]\r\n"} @{ $answer->{headers} // [] };
        $head =~ s/^([a-z-]+)/join '-', map { ucfirst } split m{-}, $1/gme;
        $head =~ s/^Www-/WWW-/m;
        $self->judge({ status => $answer->{status}, head => $head, kind => 'h3' }, \@asked) if $answer->{status};
    }
    return;
}

# As Http2 and Http3 take a request: what these protocols forbid is left out.
sub as_lines {
    my ($request) = @_;
    my @headers = grep { !/[^\x20-\x7e]/ && !/^(?:connection|upgrade|transfer-encoding):/i
        && !/^\s|^[^:]*\s[^:]*:/ } @{ $request->{headers} };
    my $body = $request->{body};
    return ("$request->{method} $request->{path}", @headers, defined $body && length $body && length $body < 16_000
        && $body !~ /[^\x20-\x7e]/ ? \$body : ());
}

1;
