# With state_path a restart forgets no revocation.

use strict;
use warnings;

use JSON::PP ();
use POSIX qw(strftime);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::State;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep);

my $secret = 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;';

sub start_with {
    my ($folder, $project) = @_;
    return start($folder, $project // $secret, workers => 4, server => webhook_location());
}

sub old_token {
    my ($user) = @_;
    return token(user => $user, claims => { iat => time - 100, auth_time => time - 100 });
}

# Ends it without grace, as a power cut does.
sub crash {
    my ($nginx) = @_;
    my @all = ($nginx->workers, $nginx->master);
    kill KILL => $nginx->master, $nginx->workers;
    ok($nginx->ends, 'nginx is killed');
    wait_for { !grep { kill 0 => $_ } @all } 5;
}

my $journal = 'revocations.jsonl';
my $token = old_token('alice');
my $planned = old_token('bob');
my $kept = old_token('carol');
my $folder = folder();

{
    my $nginx = start_with($folder);
    my $from = time + 4;
    my $plan = sub {
        return event('user.disabled', $_[0], user => { is_disabled => JSON::PP::false },
            payload => { temporarily_disabled_from => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $from) });
    };
    is(deliver($nginx, event('user.disabled', 'alice')), 204, 'a disabling');
    is(deliver($nginx, $plan->('bob')), 204, 'a plan');
    is(deliver($nginx, $plan->('carol')), 204, 'another');
    is(deliver($nginx, event('user.deletion_unscheduled', 'carol')), 204, 'which is called off');
    is(deliver($nginx, event('user.created', 'dave')), 204, 'an event of no interest');
    my @file = stat "$folder/$journal";
    is(sprintf('%o', $file[2] & 07777), '600', 'a file for one user alone');
    is(scalar(() = content("$folder/$journal") =~ /\n/g), 4, 'of a line for each event that counts');
    crash($nginx);

    $nginx = start_with($folder);
    is($nginx->ask(token => $token)->{reason}, 'revoked', 'after a restart the user is out');
    is($nginx->ask(token => $planned)->{reason}, 'ok', 'the plan waits for its time') if time < $from - 1;
    sleep $from - Time::HiRes::time() + 0.2 if $from > Time::HiRes::time();
    is($nginx->ask(token => $planned)->{reason}, 'revoked', 'and then counts');
    is($nginx->ask(token => $kept)->{reason}, 'ok', 'the other stays called off');
    is(deliver($nginx, event('user.reenabled', 'alice')), 204, 'what comes later');
    ok($nginx->reload, 'a reload');
    is($nginx->ask(token => $token)->{reason}, 'revoked', 'undoes nothing');
    unlike($nginx->log_text, qr/saved revocations/, 'nothing of this is logged');
    finish($nginx);
}

# Many at the same time.
{
    my $folder = folder();
    my $nginx = start_with($folder);
    my @users = map {"user-$_"} 1 .. 100;
    my @sent = map {
        my $body = event('user.disabled', $_);
        my $signature = Digest::SHA::hmac_sha256_hex($body, webhook_secret());
        my $socket = $nginx->connection;
        my $length = length $body;
        syswrite $socket, "POST /webhook/myapp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            . "X-Authgear-Body-Signature: $signature\r\nContent-Length: $length\r\n\r\n$body";
        { socket => $socket, own => 1, text => '', at => time };
    } @users;
    my %statuses = map { ($_->{status} // $_->{error}) => 1 } $nginx->receive(@sent);
    is_deeply(\%statuses, { 204 => 1 }, 'a hundred at once');
    crash($nginx);
    $nginx = start_with($folder);
    my %reasons = map { $nginx->ask(token => old_token($_))->{reason} => 1 } @users;
    is_deeply(\%reasons, { revoked => 1 }, 'all of them are known after a restart');
    finish($nginx);
}

# Without jwks to fetch the folder is of use too.
{
    my $jwks = secret_file(key_set());
    my $folder = folder();
    my $nginx = start_with($folder, "jwks_file $jwks; $secret");
    is(deliver($nginx, event('user.deleted', 'alice')), 204, 'a project with jwks_file');
    finish($nginx);
    $nginx = start_with($folder, "jwks_file $jwks; $secret");
    is($nginx->ask(token => $token)->{reason}, 'revoked', 'remembers');
    finish($nginx);
}

# What cannot be saved is told, and counts until the next start.
{
    my $folder = folder();
    my $nginx = start_with($folder);
    mkdir "$folder/$journal" or die "cannot make a folder: $!\n";
    is(deliver($nginx, event('user.disabled', 'alice')), 503, 'what cannot be saved');
    is($nginx->ask(token => $token)->{reason}, 'revoked', 'counts all the same');
    like($nginx->log_text, qr/\[error\] .*authgear: webhook of project "myapp": cannot be saved in "state_path": /, 'and is logged');
    rmdir "$folder/$journal" or die "cannot remove it: $!\n";
    is(deliver($nginx, event('user.disabled', 'alice')), 204, 'the next is saved again');
    replace("$folder/$journal", content("$folder/$journal") . "{\"names\":\n");
    $nginx->stop;
    $nginx = start_with($folder);
    is($nginx->ask(token => $token)->{reason}, 'revoked', 'a broken line costs no other');
    like($nginx->log_text, qr/\[warn\] .*authgear: saved revocations: ignored 1 broken lines in "\Q$folder\E"/, 'and is told of');
    $nginx->stop;
    chmod 0666, "$folder/$journal";
    $nginx = start_with($folder);
    is($nginx->ask(token => $token)->{reason}, 'ok', 'a file that others may write is not read');
    like($nginx->log_text, qr/\[error\] .*authgear: saved revocations: cannot read them in "\Q$folder\E": others than its owner may write to it/, 'which is logged');
    $nginx->stop;
}

done_testing();
