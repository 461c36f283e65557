# Tenants whose keys take long or never come: others still have theirs fetched.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use List::Util qw(min);
use POSIX ();
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep time);

my ($known) = standin()->{origin} =~ m{^http://(.*)};
my $slow_server;
my $slow_port = slow_server();
END { kill KILL => $slow_server if $slow_server }
my $made_up = 0;

# A server that answers every connection with an error after a second.
sub slow_server {
    my $listening = IO::Socket::INET->new(LocalAddr => '0.0.0.0', Listen => 512) or die "no port: $@\n";
    my $parent = $$;
    $slow_server = fork // die "cannot fork: $!\n";
    return $listening->sockport if $slow_server;
    open STDOUT, '>', '/dev/null';
    open STDERR, '>', '/dev/null';
    my $select = IO::Select->new($listening);
    my @waiting;
    while (kill 0 => $parent) {
        push @waiting, [time + 1, scalar $listening->accept] if $select->can_read(0.02);
        while (@waiting && $waiting[0][0] <= time) {
            my $socket = (shift @waiting)->[1] or next;
            local $SIG{PIPE} = 'IGNORE';
            print {$socket} "HTTP/1.1 500 Late\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            close $socket;
        }
    }
    POSIX::_exit(0);
}

# So many requests of tenants that nobody has met.
sub send_made_up {
    my ($nginx, $count, $token) = @_;
    return map {
        my $host = sprintf '127.%d.%d.1:%d', 1 + ++$made_up / 200, $made_up % 200, $slow_port;
        $nginx->send(path => "/?t=$host", token => $token)
    } 1 .. $count;
}

subtest 'a new tenant and a new key beside forty made-up tenants' => sub {
    my $other = start_standin();
    my ($new) = $other->{origin} =~ m{^http://(.*)};
    my $its = control('POST', '/-/token', { user => 'other' }, $other);
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        project => 'endpoint http://$arg_t; jwks_min_interval 1s; fetch_timeout 5s;',
    );
    my $token = token();
    is($nginx->ask(path => "/?t=$known", token => $token)->{status}, 200, 'a tenant with keys');
    sleep 1.1;
    control('POST', '/-/keys/rotate', { keep_old => JSON::PP::true() });
    my $young = token();

    my @sent = send_made_up($nginx, 40, $token);
    my @good = (
        $nginx->send(path => "/?t=$known", token => $young),
        $nginx->send(path => "/?t=$new", token => $its),
    );
    my ($key, $tenant, @others) = $nginx->receive(@good, @sent);
    is("$key->{status} $key->{reason}", '200 ok', 'a new key of the known tenant');
    cmp_ok($key->{seconds}, '<', min(map { $_->{seconds} } @others), 'before any of those has failed');
    is("$tenant->{status} $tenant->{reason}", '200 ok', q{a new tenant's first request});
    cmp_ok($tenant->{seconds}, '<', 4, 'after those before it');
    is_deeply($nginx->tally(@others), { '503 keys_unavailable' => 40 }, 'the others have no keys');
    $nginx->stop_soundly;
};

subtest 'a known tenant whose keys run out beside made-up ones' => sub {
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        project => 'endpoint http://$arg_t; jwks_refresh 1s; jwks_stale 1s; jwks_min_interval 1s; fetch_timeout 5s;',
    );
    my $token = token();
    is($nginx->ask(path => "/?t=$known", token => $token)->{status}, 200, 'a tenant with keys');
    my ($until, @sent, @answers) = time + 4.5;
    while (time < $until) {
        push @sent, send_made_up($nginx, 80, $token) if @sent < 800;
        my $next = time + 0.45;
        while (time < $next) {
            push @answers, $nginx->ask(path => "/?t=$known", token => $token);
            sleep 0.03;
        }
    }
    is_deeply($nginx->tally(@answers), { '200 ok' => scalar @answers }, 'it is served all the time');
    my ($worker) = $nginx->workers;
    cmp_ok(Test::Nginx::Authgear::Server::threads($worker), '<', 170, 'by no more threads than slots');
    is_deeply($nginx->tally($nginx->receive(@sent)), { '503 keys_unavailable' => scalar @sent },
        'the made-up ones are told in the end');
    $nginx->stop_soundly;
};

subtest 'who waits for a slot waits no longer than a fetch may take' => sub {
    my $silent = IO::Socket::INET->new(LocalAddr => '0.0.0.0', Listen => 512);
    my $port = $silent->sockport;
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        project => 'endpoint http://$arg_t; fetch_timeout 1s;',
    );
    my $token = token();
    my @answers = $nginx->receive(
        map { $nginx->send(path => "/?t=127.0.2.$_:$port", token => $token) } 1 .. 100
    );
    is_deeply($nginx->tally(@answers), { '503 keys_unavailable' => 100 }, 'a hundred fetches that hang');
    is_deeply([grep { $_->{seconds} > 4 } @answers], [], 'nobody waits for all of them');
    is($nginx->ask(path => "/?t=$known", token => $token)->{status}, 200, 'then others are served');
    $nginx->stop_soundly;
};

done_testing();
