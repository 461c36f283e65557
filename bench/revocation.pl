# Measures how long a user who was disabled stays in, at two nodes with four workers each that share revocations
# through a real Redis, under load; README.md says how.
use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX ();
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(time);

my $rounds = $ENV{ROUNDS} || 100;
my $directory = tempdir(CLEANUP => 1);
my $redis_port = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)->sockport;
my @children;
my $main = $$;
$| = 1;

END {
    if ($$ == $main) {
        kill KILL => @children;
        waitpid $_, 0 for @children;
    }
}

sub run {
    my @command = @_;
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        open STDOUT, '>', "$directory/output.log";
        exec @command or POSIX::_exit(1);
    }
    push @children, $pid;
    return;
}

run('redis-server', '--port', $redis_port, '--bind', '127.0.0.1', '--save', '', '--dir', $directory);
wait_for { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $redis_port) } 10 or die "no Redis\n";
my @nodes = map {
    Test::Nginx::Authgear::Server->start(
        workers => 4, beside => $_, server => webhook_location(), project => 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;',
        http => "authgear_revocation_stream redis://127.0.0.1:$redis_port;",
    )
} 0, 1;
control('PUT', '/-/webhooks', { urls => ["http://127.0.0.1:$nodes[0]{port}/webhook/myapp"], secret => webhook_secret() });
for my $node (@nodes) {
    run('wrk', '-t1', '-c16', '-d', 2 * $rounds + 60, '-H', 'Authorization: Bearer ' . token(user => 'load'),
        "http://127.0.0.1:$node->{port}/");
}

my @seconds;
for my $round (1 .. $rounds) {
    my $user = "user-$round";
    control('POST', '/-/users', { id => $user });
    my $then = int(time) - 100;
    my $token = token(user => $user, claims => { iat => $then, auth_time => $then });
    my @pending = map { { node => $_, on => $_->connection } } @nodes;
    for my $one (@pending) {
        wait_for { let_in($one, $token) } 10 or die "the user never was in\n";
    }
    my $began = time;
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        control('POST', "/-/users/$user/disable");
        POSIX::_exit(0);
    }
    my $last = $began;
    while (@pending) {
        @pending = grep { let_in($_, $token) } @pending;
        $last = time if @pending;
        die "lost: the user is in after a minute\n" if time - $began > 60;
    }
    waitpid $pid, 0;
    push @seconds, $last - $began;
}
@seconds = sort { $a <=> $b } @seconds;
printf "%d users, 2 nodes with 4 workers: median %.0f ms, worst %.0f ms, none lost\n", $rounds,
    1000 * $seconds[$#seconds / 2], 1000 * $seconds[-1];

sub let_in {
    my ($one, $token) = @_;
    return $one->{node}->ask(token => $token, on => $one->{on})->{status} == 200;
}
