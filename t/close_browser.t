# authgear_close_expired in Chromium, over TLS with HTTP/1.1 and HTTP/2: a page's WebSocket (nginx-conf/websocket.conf)
# and its event streams end when the token expires or the user is revoked, and those of another user go on.

use strict;
use warnings;

use Digest::SHA qw(sha1_base64);
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Browser;
use Test::Nginx::Authgear::Http2;
use Test::Nginx::Authgear::Resolver qw(shipped);
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(time);

my ($backend_pid, $backend) = backend();
my ($certificate, $key, $trust) = Test::Nginx::Authgear::Browser->certificate(qw(one.site.test two.site.test));
my %port = (one => Test::Nginx::Authgear::Server::other_port(1), two => Test::Nginx::Authgear::Server::other_port(2));

my $text = shipped('websocket.conf', 'http://backend' => $backend);
my ($maps) = $text =~ /^(    # The token, for clients.*?)^    upstream /ms or die "the file shows no maps\n";
my ($location) = $text =~ /^(        location \/ws \{\n.*?^        \})/ms or die "the file shows no location\n";
# `listen` of HTTP/2, which is none of TLS.
my $http2 = http2_listen($port{two}) =~ s/(listen [^;]*)/$1 ssl/r;
my $servers = join "\n", map { <<"END" } "listen 127.0.0.1:$port{one} ssl;", $http2;
server {
    $_
    server_name *.site.test;
    include \$TEST_NGINX_RESOLVER;
    $location
    location = /page { default_type text/html; return 200 "<!DOCTYPE html><title>page</title>"; }
    location = /events {
        authgear_verify myapp;
        authgear_close_expired on;
        proxy_pass $backend;
        proxy_buffering off;
    }
}
END
my $nginx = Test::Nginx::Authgear::Server->start(
    project => 'resolve_request /_authgear/resolve; resolve_cache 10m; webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;',
    http => "ssl_certificate $certificate; ssl_certificate_key $key; $maps $servers", server => webhook_location(),
);
my $browser = Test::Nginx::Authgear::Browser->start(width => 1280, height => 900, args => [
    "--host-resolver-rules=MAP one.site.test:443 127.0.0.1:$port{one},MAP two.site.test:443 127.0.0.1:$port{two}", $trust,
]);
# Seconds in which a closing must have come: it takes one, but the machine may be busy.
my $promptly = 5;
my $users = 0;

for my $case (['HTTP/1.1', 'one.site.test', 'http/1.1'], ['HTTP/2', 'two.site.test', 'h2']) {
    my ($name, $host, $protocol) = @$case;
    subtest "$name: when the token expires" => sub {
        page($host);
        is($browser->run('return performance.getEntriesByType("navigation")[0].nextHopProtocol'), $protocol, "the page comes over $name");
        my $expires = int(time) + 15;
        my $other = token(user => new_user());
        my $short = sub { token(user => new_user(), expires_in => $expires - int(time)) };
        has_cookie($host, app_access_token => $short->());
        socket_for(short => $short->());
        socket_for(long => $other);
        $browser->run('openEvents("cookie")');
        stream_for(bearer => $short->());
        stream_for(other => $other);
        all_are_open(qw(short long cookie bearer other));
        is($browser->run('return seen.short.protocol'), 'authgear', 'the WebSocket has a subprotocol that it offered');
        cmp_ok(time, '<', $expires, 'before the token expires');
        all_are_closed($expires, qw(short cookie bearer));
        all_go_on(qw(long other));
    };
    subtest "$name: when the user is revoked" => sub {
        page($host);
        my ($user, $other) = (new_user(), new_user());
        my $then = int(time) - 100;
        my $token = sub { token(user => $_[0], claims => { iat => $then, auth_time => $then }) };
        has_cookie($host, session => session(user => $user, auth_time => $then));
        socket_for(user => $token->($user));
        socket_for(other_socket => $token->($other));
        $browser->run('openEvents("cookie")');
        $browser->run('openStream("fetched", {})');
        stream_for(other_stream => $token->($other));
        all_are_open(qw(user other_socket cookie fetched other_stream));
        my $at = time;
        control('POST', "/-/users/$user/disable");
        is(deliver($nginx, event('user.disabled', $user)), 204, 'the user is disabled');
        all_are_closed($at, qw(user cookie fetched));
        all_go_on(qw(other_socket other_stream));
        soon { $browser->run('return seen.cookie.source.readyState') == 2 } 'the event stream asks again, and is refused for good', 20;
    };
}
$browser->stop;
$nginx->stop_soundly;
kill KILL => $backend_pid;
waitpid $backend_pid, 0;

done_testing();

sub new_user { return 'user-' . ++$users }

# A page of that host, with what it takes to open connections and to see their end.
sub page {
    my ($host) = @_;
    $browser->open("https://$host/page");
    $browser->ask(DELETE => '/cookie');
    $browser->run(<<'END');
window.seen = {};
const begin = name => seen[name] = { state: 'opening', messages: 0 };
const end = (one, how) => { one.state = how; one.at = Date.now() / 1000; };
window.openSocket = (name, token) => {
    const one = begin(name), socket = new WebSocket(`wss://${location.host}/ws`, ['chat', 'authgear', 'authgear.' + token]);
    socket.onopen = () => { one.state = 'open'; one.protocol = socket.protocol; };
    socket.onmessage = () => one.messages++;
    socket.onclose = event => end(one, event.wasClean ? 'clean' : 'closed');
};
window.openEvents = name => {
    const one = begin(name), source = new EventSource('/events');
    one.source = source;
    source.onopen = () => one.state = 'open';
    source.onmessage = () => one.messages++;
    source.onerror = () => one.at || end(one, 'closed');
};
window.openStream = async (name, headers) => {
    const one = begin(name);
    try {
        const answer = await fetch('/events', { headers });
        one.state = answer.ok ? 'open' : answer.status;
        const reader = answer.body.getReader();
        while (!(await reader.read()).done) one.messages++;
        end(one, 'clean');
    }
    catch (error) { end(one, 'closed'); }
};
END
    return;
}

sub has_cookie {
    my ($host, $name, $value) = @_;
    $browser->ask(POST => '/cookie', { cookie => { name => $name, value => $value, path => '/', secure => \1, httpOnly => \1 } });
    return;
}

sub socket_for { my ($name, $token) = @_; return $browser->run("openSocket('$name', '$token')") }
sub stream_for { my ($name, $token) = @_; return $browser->run("openStream('$name', { Authorization: 'Bearer $token' }); return 0") }
sub state_of { return $browser->run("return seen.$_[0].state") }
sub messages { return $browser->run("return seen.$_[0].messages") }

sub all_are_open {
    my @names = @_;
    for my $name (@names) {
        ok((wait_for { messages($name) > 1 } 10), "$name carries messages") or diag state_of($name);
        is(state_of($name), 'open', "$name is open");
    }
    return;
}

sub all_are_closed {
    my ($at, @names) = @_;
    for my $name (@names) {
        ok((wait_for { state_of($name) ne 'open' } 30), "$name ends");
        is(state_of($name), 'closed', "$name is not taken for whole");
        my $ended = $browser->run("return seen.$name.at") - $at;
        cmp_ok($ended, '>=', -0.1, "$name: not before");
        cmp_ok($ended, '<', $promptly, "$name: and soon");
    }
    return;
}

sub all_go_on {
    my @names = @_;
    for my $name (@names) {
        my $before = messages($name);
        ok((wait_for { messages($name) > $before + 1 } 10), "$name carries messages still");
        is(state_of($name), 'open', "$name is open still");
    }
    return;
}

# A backend of WebSockets and event streams, each of which gets a message every 200 ms: its process and its origin.
sub backend {
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64) or die "cannot listen: $@\n";
    my $pid = fork // die "cannot fork: $!\n";
    return ($pid, 'http://127.0.0.1:' . $listener->sockport) if $pid;
    $SIG{PIPE} = 'IGNORE';
    my $select = IO::Select->new($listener);
    my (%head, %message);
    my $next = time;
    while (getppid() != 1) {
        for my $socket ($select->can_read(0.05)) {
            if ($socket == $listener) {
                $select->add(my $new = $listener->accept);
                $head{$new} = '';
                next;
            }
            if (!sysread $socket, my $bytes, 65536) {
                $select->remove($socket);
                delete $message{$socket};
                close $socket;
            }
            elsif (!$message{$socket} && ($head{$socket} .= $bytes) =~ /\r\n\r\n/) {
                my ($nonce) = $head{$socket} =~ /^Sec-WebSocket-Key: (\S+)/mi;
                my $accept = $nonce && sha1_base64($nonce . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11') . '=';
                syswrite $socket, $nonce
                    ? "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: $accept\r\n\r\n"
                    : "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
                # A frame of text, without a mask.
                $message{$socket} = $nonce ? "\x81\x04tick" : "data: tick\n\n";
            }
        }
        next if time < $next;
        $next = time + 0.2;
        syswrite $_, $message{$_} for grep { $message{$_} } $select->handles;
    }
    POSIX::_exit(0);
}
