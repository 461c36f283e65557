# nginx-conf/websocket.conf: the token of a browser's WebSocket is one of the subprotocols that it offers.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(shipped);
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;

my $text = shipped('websocket.conf', 'endpoint https://myapp.authgear.cloud;' => "endpoint $ENV{TEST_NGINX_AUTHGEAR};");
my ($maps) = $text =~ /^(    # The token, for clients.*?)^    upstream /ms or die "the file shows no maps\n";
my ($lines) = $text =~ /^        location \/ws \{\n(.*?)^        \}/ms or die "the file shows no location\n";
my $echo = echo_origin();
# A backend that chooses a subprotocol by itself.
my $chooses = Test::Nginx::Authgear::Server::other_port();
my $nginx = Test::Nginx::Authgear::Server->start(
    project => 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;',
    http => "$maps server { listen 127.0.0.1:$chooses; location / { add_header Sec-WebSocket-Protocol chat; return 200 ok; } }",
    server => webhook_location() . "location /ws { @{[$lines =~ s{http://backend}{$echo}r]} }"
        . "location /chosen { @{[$lines =~ s{http://backend}{http://127.0.0.1:$chooses}r]} }",
);

sub offering {
    my ($offered, $path, $more) = @_;
    return $nginx->ask(path => $path // '/ws', headers => join "\r\n", grep {defined} $offered && "Sec-WebSocket-Protocol: $offered", $more);
}

my $token = token(user => 'alice');
for my $row (
    ['before others', "authgear.$token, authgear, chat", 'authgear, chat'],
    ['behind others', "chat, authgear,authgear.$token", 'chat, authgear'],
    ['between others', "chat,authgear.$token , authgear", 'chat, authgear'],
    ['alone', "authgear.$token", ''],
) {
    my ($name, $offered, $told) = @$row;
    my $answer = offering($offered);
    my $told_of = sub { $answer->{body} =~ /^$_[0]: (.*?)\r?$/mi ? $1 : '' };
    is("$answer->{status} " . $told_of->('X-Authgear-User-Id'), '200 alice', "$name: the token is found");
    is($told_of->('Sec-WebSocket-Protocol'), $told, "$name: the backend is told the others");
    unlike($answer->{body}, qr/\Q$token\E/, "$name: and no token");
    my ($reply) = $answer->{headers} =~ /^Sec-WebSocket-Protocol: (.*?)\r?$/mi;
    is($reply // '', $told ? 'authgear' : '', "$name: the reply is one that was offered");
}
# In an order that would leave one of them to the backend.
for my $offered ("authgear.$token, chat, authgear.$token", "authgear.$token,authgear.x", "chat, authgear.x ,authgear.$token") {
    is(offering($offered)->{status}, 401, 'of two tokens none is found');
    unlike(offering($offered, '/ws', "Authorization: Bearer $token")->{body}, qr/^Sec-WebSocket-Protocol: .*authgear\./mi,
        'two tokens: the backend is told of none');
}
my ($reply) = join '|', offering("chat, authgear, authgear.$token", '/chosen')->{headers} =~ /^Sec-WebSocket-Protocol: (.*?)\r?$/mig;
is($reply, 'chat', 'what the backend chooses stays');
is(offering(undef, '/ws', "Authorization: Bearer $token")->{status}, 200, 'another client has it in Authorization');
is(offering('chat, authgear')->{status}, 401, 'without a token it is 401');
is(offering("chat, authgear.$token.x")->{status}, 401, 'with a wrong one, too');
is(offering("chat, xauthgear.$token")->{status}, 401, 'another name is no token');

{
    my ($user, $then) = ('bob', int(time) - 100);
    my $old = token(user => $user, claims => { iat => $then, auth_time => $then });
    my $socket = $nginx->connection;
    print {$socket} "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        . "Sec-WebSocket-Protocol: authgear, authgear.$old\r\n\r\n";
    my $head = '';
    while ($head !~ /\r\n\r\n/) { sysread($socket, $head, 4096, length $head) or last }
    like($head, qr/^HTTP\/1\.1 101 .*^Sec-WebSocket-Protocol: authgear\r$/ms, 'an upgrade');
    is(deliver($nginx, event('user.disabled', $user)), 204, 'the user is disabled');
    ok(!sysread($socket, my $rest, 1), 'which ends the connection');
}
$nginx->stop_soundly;

done_testing();
