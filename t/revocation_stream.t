# authgear_revocation_stream: two nginx share revocations through a real Redis.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use File::Temp qw(tempdir);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Redis;
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::State;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep time);

my $directory = tempdir(CLEANUP => 1);
my $users = 0;

# --- nodes

sub node {
    my ($beside, %more) = @_;
    my $stream = $more{stream} // "redis://127.0.0.1:$redis_port";
    return Test::Nginx::Authgear::Server->start(
        workers => 4, beside => $beside, server => webhook_location(),
        project => 'webhook_secret_file ' . ($more{secret} // '$TEST_NGINX_WEBHOOK_SECRET') . ';'
            . ($more{state} ? " state_path $more{state};" : ''),
        http => "authgear_revocation_stream $stream;",
    );
}

sub known {
    my $user = 'user-' . ++$users;
    my $then = int(time) - 100;
    return ($user, token(user => $user, claims => { iat => $then, auth_time => $then }));
}

sub reason { my ($node, $token) = @_; return $node->ask(token => $token)->{reason} // '' }

# A node refuses the token before long.
sub is_refused {
    my ($node, $token, $name) = @_;
    return soon { reason($node, $token) eq 'revoked' } $name;
}

ok(start_redis(), 'Redis is up');
my ($one, $other) = map { node($_) } 0, 1;

subtest 'what one node is told the other knows' => sub {
    for my $from ($one, $other) {
        my $to = $from == $one ? $other : $one;
        my ($user, $token) = known();
        is(reason($_, $token), 'ok', 'before') for $one, $other;
        is(deliver($from, event('user.disabled', $user)), 204, 'a webhook of one');
        is(reason($from, $token), 'revoked', 'counts there');
        is_refused($to, $token, 'and at the other');
    }
};

subtest 'a node that starts knows all' => sub {
    my ($user, $token) = known();
    is(deliver($one, event('user.deleted', $user)), 204, 'a webhook');
    my $third = node(2);
    my %reasons;
    wait_for { my $reason = reason($third, $token); $reasons{$reason}++; $reason eq 'revoked' } 8;
    ok(!$reasons{ok}, 'no token is let in before it does');
    is(reason($third, $token), 'revoked', 'then the user is out');
    $third->stop_soundly;
};

subtest 'Redis is not trusted' => sub {
    my ($user, $token) = known();
    my $body = event('user.disabled', $user);
    my $origin = standin()->{origin};
    my $add = sub { redis('XADD', 'authgear', '*', 'endpoint', $_[0], 'body', $body, 'signature', $_[1], 'until', time + 999) };
    $add->($origin, '0' x 64);
    $add->($origin, hmac_sha256_hex($body, 'another'));
    $add->('https://elsewhere.example', hmac_sha256_hex($body, webhook_secret()));
    redis('XADD', 'authgear', '*', 'x', 'y');
    redis('ZADD', '{authgear}:kept', time + 999, 'nonsense');
    for my $node ($one, $other) {
        soon { $node->log_text =~ /\[warn\] .*authgear: revocation stream: refused \d messages, since no project here has their endpoint and secret/ } 'what is not signed is logged';
        is(reason($node, $token), 'ok', 'and counts nowhere');
    }
    $add->($origin, hmac_sha256_hex($body, webhook_secret()));
    is_refused($other, $token, 'what is signed does');
};

subtest 'an entry of any bytes stops nobody' => sub {
    my ($user, $token) = known();
    is(deliver($one, event('user.disabled', $user)), 204, 'a webhook');
    $_->mark_log for $one, $other;
    redis('XADD', 'authgear', '*', "\xff\r\n", "\xff");
    redis('ZADD', '{authgear}:kept', time + 999, "\xff\n\xff\n\xff");
    my $third = node(2);
    is_refused($third, $token, 'a node that starts knows all');
    for my $node ($one, $other, $third) {
        unlike($node->log_text, qr/other nodes hear of no revocation/, 'and no node loses its connection');
    }
    $third->stop_soundly;
};

subtest 'while Redis is down' => sub {
    my ($user, $token) = known();
    stop_redis();
    is(deliver($one, event('user.disabled', $user)), 503, 'the webhook is answered 503');
    is(reason($one, $token), 'revoked', 'and counts at the node that has it');
    is(reason($other, $token), 'ok', 'the other does not know');
    ok(wait_for(sub { $_->log_text =~ /\[error\] .*authgear: revocation stream: .*; other nodes hear of no revocation until it is back/ }, 5), 'a node says so')
        for $one, $other;
    ok(start_redis(), 'Redis is back, and has lost all');
    is_refused($other, $token, 'then the other is told');
    soon { $one->log_text =~ /\[notice\] .*authgear: revocation stream: connected again after \d+ s/ } 'which is logged';
    my ($second, $old) = known();
    is(deliver($one, event('user.disabled', $second)), 204, 'webhooks are accepted again');
    is_refused($other, $old, 'and shared');
};

subtest 'what Redis lost is written again' => sub {
    my ($user, $token) = known();
    is(deliver($one, event('user.disabled', $user)), 204, 'a webhook');
    is_refused($other, $token, 'is shared');
    stop_redis();
    ok(start_redis(), 'Redis has lost it');
    ok(wait_for(sub { redis('ZCARD', '{authgear}:kept') =~ /^:[1-9]/ }, 5), 'a node writes what it holds');
    sleep 0.5;
    my $third = node(2);
    wait_for { reason($third, $token) eq 'revoked' } 8;
    is(reason($third, $token), 'revoked', 'so that a new node learns it');
    $third->stop_soundly;
    redis('FLUSHALL');
    redis('CLIENT', 'KILL', 'TYPE', 'normal');
    ok(wait_for(sub { redis('ZCARD', '{authgear}:kept') =~ /^:[1-9]/ }, 5), 'after FLUSHALL too, when connections end');
};

subtest 'a worker that reads is killed' => sub {
    my @workers = $other->workers;
    my @readers = grep { Test::Nginx::Authgear::Server::threads($_) > 1 } @workers;
    is(scalar @readers, 1, 'one worker of a node reads');
    kill KILL => @readers;
    my ($user, $token) = known();
    is(deliver($one, event('user.disabled', $user)), 204, 'a webhook');
    is_refused($other, $token, 'another takes over');
};

# Kills all workers of a node, and waits for the next ones.
sub kill_workers {
    my ($node) = @_;
    my %old = map { $_ => 1 } $node->workers;
    kill KILL => keys %old;
    return wait_for { my @new = $node->workers; @new == 4 && !grep { $old{$_} } @new } 10;
}

subtest 'what a worker had yet to tell outlives it' => sub {
    my @users = map { [known()] } 1 .. 3;
    stop_redis();
    is(deliver($other, event('user.disabled', $users[0][0])), 503, 'Redis is down: 503');
    ok(kill_workers($other), 'and all workers of the node die');
    is(deliver($other, event('user.disabled', $users[1][0])), 503, 'another webhook');
    ok($other->reload, 'and they are replaced');
    wait_for { !grep { Test::Nginx::Authgear::Server::title($_) =~ /shutting down/ } $other->all_workers } 10;
    ok(start_redis(), 'Redis is back');
    is_refused($one, $users[0][1], 'the other node is told of the first');
    is_refused($one, $users[1][1], 'and of the second');

    signal_redis('STOP');
    my $asks = fork // die "cannot fork: $!\n";
    if (!$asks) {
        deliver($other, event('user.disabled', $users[2][0]));
        POSIX::_exit(0);
    }
    is_refused($other, $users[2][1], 'Redis hangs: a webhook counts at its node');
    ok(kill_workers($other), 'whose workers die before it is answered');
    waitpid $asks, 0;
    # What they sent may be in its buffers.
    stop_redis();
    ok(start_redis(), 'Redis is another');
    is_refused($one, $users[2][1], 'the other node is told');
    is_refused($one, $users[0][1], 'and told of all that counts');
    soon { redis('ZCARD', '{authgear}:kept') =~ /^:[1-9]/ } 'which Redis has again';
};

# It keeps 1 MiB of them.
subtest 'what the zone has no room to keep is told by its worker' => sub {
    my @users = map { [known()] } 1 .. 5;
    stop_redis();
    for my $user (@users) {
        is(deliver($other, event('user.disabled', $user->[0], payload => { more => 'x' x 300_000 })), 503, 'Redis is down: 503');
    }
    ok(start_redis(), 'Redis is back');
    is_refused($one, $_->[1], 'the other node is told') for @users;
};

subtest 'a webhook of the new secret reaches a node that has the old one' => sub {
    my $both = secret_file(webhook_secret() . "\nnew-secret\n");
    my $node = node(2, secret => $both);
    my ($user, $token) = known();
    wait_for { reason($node, $token) eq 'ok' } 8;
    is(deliver($node, event('user.disabled', $user), secret => 'new-secret'), 204, 'signed by a later line');
    is_refused($other, $token, 'is signed by the first for others');
    $node->stop_soundly;
};

$one->stop_soundly;
$other->stop_soundly(killed => 1);
stop_redis();

subtest 'a password' => sub {
    ok(start_redis('--requirepass', 's3cret'), 'Redis wants one');
    my $file = secret_file(":s3cret\n");
    my ($one, $other) = map { node($_, stream => "redis://127.0.0.1:$redis_port credentials=$file key=mine") } 0, 1;
    my ($user, $token) = known();
    wait_for { reason($other, $token) eq 'ok' } 8;
    is(deliver($one, event('user.disabled', $user)), 204, 'a webhook');
    is_refused($other, $token, 'is shared');
    $_->stop_soundly for $one, $other;
    unlike($_->log_text, qr/s3cret/, 'no log holds it') for $one, $other;
};

subtest 'with state_path a restart without Redis forgets nothing of the stream' => sub {
    stop_redis();
    ok(start_redis(), 'Redis is up');
    my ($folder, $journal) = (folder(), 'revocations.jsonl');
    my ($one, $other) = (node(0), node(1, state => $folder));
    my ($user, $token) = known();
    wait_for { reason($_, $token) eq 'ok' } 8 for $one, $other;
    is(deliver($one, event('user.disabled', $user)), 204, 'a webhook of the other node');
    soon { -e "$folder/$journal" && content("$folder/$journal") =~ /\Q"$user"\E/ } 'what the stream tells is saved';
    stop_redis();
    ok(start_redis(), 'Redis comes back');
    soon { redis('ZCARD', '{authgear}:kept') =~ /^:[1-9]/ } 'and is told it again';
    my ($second) = known();
    is(deliver($one, event('user.disabled', $second)), 204, 'another webhook');
    soon { content("$folder/$journal") =~ /\Q"$second"\E/ } 'is saved';
    is(scalar(() = content("$folder/$journal") =~ /\Q"$user"\E/g), 1, 'what was known is not saved again');
    stop_redis();
    $other->stop_soundly;
    my $again = node(1, state => $folder);
    is_refused($again, $token, 'the user is out after a restart');
    $_->stop_soundly for $one, $again;
};

subtest 'with state_path a restart without Redis keeps nothing from other nodes' => sub {
    ok(start_redis(), 'Redis is up');
    my $folder = folder();
    my $file = "$folder/untold.jsonl";
    my ($one, $other) = (node(0, state => $folder), node(1));
    my @users = map { [known()] } 1 .. 5;
    wait_for { reason($_, $users[0][1]) eq 'ok' } 8 for $one, $other;
    stop_redis();
    for my $user (@users) {
        is(deliver($one, event('user.disabled', $user->[0], payload => { more => 'x' x 300_000 })), 503, 'Redis is down: 503');
    }
    $one->stop_soundly;
    is(scalar(() = content($file) =~ /\n/g), 5, 'each webhook is saved once, those too for which the zone has no room');
    open my $out, '>>', $file or die "cannot write $file: $!\n";
    print {$out} "{\n";
    close $out;
    my $again = node(0, state => $folder);
    is_refused($again, $users[0][1], 'after a restart the node knows them');
    is(reason($other, $users[0][1]), 'ok', 'the other does not');
    ok(start_redis('--maxmemory', 1), 'Redis is back, and takes nothing, for it is full');
    soon { $again->log_text =~ /connected again/ } 'the node is connected';
    sleep 0.5;
    ok(-s $file, 'and keeps what it has to tell');
    redis('CONFIG', 'SET', 'maxmemory', 0);
    is_refused($other, $_->[1], 'when Redis has room the other is told') for @users;
    soon { -z $file } 'and the file holds nothing any more';
    like($again->log_text, qr/\[warn\] .*authgear: revocation stream: ignored 1 broken lines in "\Q$folder\E" of what other nodes have yet to be told/, 'a broken line is logged');
    my ($user, $token) = known();
    is(deliver($again, event('user.disabled', $user)), 204, 'another webhook');
    is_refused($other, $token, 'is shared');
    ok(-z $file, 'without the file');
    $_->stop_soundly for $again, $other;
    stop_redis();
};

subtest 'TLS' => sub {
    my $of = sub {
        my ($name) = @_;
        my $said = qx(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=$name \\
            -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout $directory/$name.key -out $directory/$name.crt 2>&1);
        die "openssl: $said\n" if $?;
        return "$directory/$name.crt";
    };
    my ($right, $wrong) = map { $of->($_) } qw(right wrong);
    ok(start_redis('--port', 0, '--tls-port', $redis_port, '--tls-cert-file', $right, '--tls-key-file', "$directory/right.key",
        '--tls-auth-clients', 'no'), 'Redis wants TLS');
    my $stream = "rediss://127.0.0.1:$redis_port ca=";
    my ($one, $other) = (node(0, stream => $stream . $right), node(1, stream => $stream . $right));
    my $stranger = node(2, stream => $stream . $wrong);
    my ($user, $token) = known();
    wait_for { reason($_, $token) eq 'ok' } 8 for $one, $other, $stranger;
    is(deliver($one, event('user.disabled', $user)), 204, 'a webhook');
    is_refused($other, $token, 'is shared');
    soon { $stranger->log_text =~ /\[error\] .*authgear: revocation stream: .*certificate/i } 'a certificate of another CA is refused';
    is(deliver($stranger, event('user.disabled', (known())[0])), 503, 'so that a webhook there is not shared');
    $_->stop_soundly for $one, $other, $stranger;
    stop_redis();
};

subtest 'a Redis that cannot be reached at the start' => sub {
    my $node = node(0);
    my (undef, $token) = known();
    is($node->ask(token => $token)->{status}, 503, 'JWTs wait');
    soon { reason($node, $token) eq 'ok' } 'but not for much longer than five seconds', 8;
    $node->stop_soundly;
};

done_testing();
