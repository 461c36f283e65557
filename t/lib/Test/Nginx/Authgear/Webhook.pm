package Test::Nginx::Authgear::Webhook;

# Webhooks as Authgear signs them, sent by the test itself.
#
#   project => 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;', server => webhook_location()
#   is(deliver($nginx, event('user.disabled', 'alice')), 204);

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use Exporter qw(import);
use File::Temp qw(tempdir);
use JSON::PP ();

our @EXPORT = qw(webhook_location webhook_secret secret_file event deliver post);

my $secret = 'J_Lp9ExsOUayqK0VcBWalL1fQMGmBP6c';
my $directory = $ENV{AUTHGEAR_TEST_DIR} || tempdir(CLEANUP => 1);
my ($files, $seq) = (0, 1000);

$ENV{TEST_NGINX_WEBHOOK_SECRET} = secret_file("$secret\n");

sub webhook_secret { return $secret }

# The name of a new file with that text.
sub secret_file {
    my ($text) = @_;
    my $name = "$directory/webhook-secret-" . ++$files;
    open my $out, '>', $name or die "cannot write $name: $!\n";
    print {$out} $text;
    close $out;
    return $name;
}

# A location of that project, `myapp` unless told, and lines in it.
sub webhook_location {
    my ($project, $lines) = @_;
    $project //= 'myapp';
    return "location = /webhook/$project { authgear_webhook $project; " . ($lines // '') . ' }';
}

# The body of an event about a user: now, and with a higher `seq` than all before.
#
#   seq, at (Unix seconds), payload and user (members to add), type
sub event {
    my ($type, $user, %more) = @_;
    return JSON::PP->new->canonical->encode({
        id => '0000000000000256', seq => $more{seq} // ++$seq, type => $type,
        payload => {
            user => {
                id => $user, is_disabled => JSON::PP::true, %{ $more{user} // {} },
            },
            %{ $more{payload} // {} },
        },
        context => { app_id => 'myapp', user_id => $user, timestamp => int($more{at} // time) },
    });
}

# Delivers a body, signed; the status of the answer.
#
#   project, secret, headers (text instead of the signature), on (a connection)
sub deliver {
    my ($nginx, $body, %more) = @_;
    my $signature = hmac_sha256_hex($body, $more{secret} // $secret);
    my $headers = $more{headers} // "X-Authgear-Body-Signature: $signature";
    my $path = '/webhook/' . ($more{project} // 'myapp');
    return post($nginx, $path, $body, $headers, $more{on})->{status};
}

# Posts a body; the answer.
sub post {
    my ($nginx, $path, $body, $headers, $on) = @_;
    my $socket = $on || $nginx->connection;
    my $close = $on ? '' : "Connection: close\r\n";
    my $length = length $body;
    my $head = "POST $path HTTP/1.1\r\nHost: localhost\r\n${close}Content-Type: application/json\r\n"
        . "Content-Length: $length\r\n" . ($headers ? "$headers\r\n" : '') . "\r\n";
    local $SIG{PIPE} = 'IGNORE';
    my $text = $head . $body;
    while (length $text) {
        my $sent = syswrite $socket, $text;
        last if !defined $sent;
        substr $text, 0, $sent, '';
    }
    my ($answer) = $nginx->receive({ socket => $socket, own => !$on, text => '', at => time });
    return $answer;
}

1;
