# Three hundred tenants of one project, of which a hundred cannot be reached and ten
# answer as no Authgear does: none of the others waits for them.

use strict;
use warnings;

use IO::Socket::INET;
use List::Util qw(max min);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Faults;
use Test::Nginx::Authgear::Server;

# At every loopback address: each is a tenant's host.
my $standin = start_standin('--tenants', '--listen', '0.0.0.0:0');
my ($port) = $standin->{http} =~ /:(\d+)$/ or die "no port\n";
# It accepts connections, and says nothing.
my $silent = IO::Socket::INET->new(LocalAddr => '0.0.0.0', Listen => 512) or die "no port: $@\n";
my $key_set = key_set();

my %fault = hostile_answers(1000);
my @good = map { tenant("127.1.0.$_") } 1 .. 190;
my %hostile;
my $number = 0;
for my $name (sort keys %fault) {
    $hostile{$name} = tenant('127.2.0.' . ++$number);
    of($hostile{$name}, 'PUT', '/-/fault/jwks', $fault{$name});
}
my $token = token();
my @unreachable = map { { host => "127.3.0.$_:" . $silent->sockport, token => $token } } 1 .. 100;

# A tenant there, with the default project's keys.
sub tenant {
    my ($address) = @_;
    my $tenant = { host => "$address:$port" };
    of($tenant, 'PUT', '/-/keys/raw', $key_set);
    my $origin = "http://$tenant->{host}";
    $tenant->{token} = token(claims => { iss => $origin, aud => [$origin] });
    return $tenant;
}

sub of {
    my ($tenant, $method, $path, $body) = @_;
    return control($method, "$path?project=http://$tenant->{host}", $body, $standin);
}

sub fetches { return of($_[0], 'GET', '/-/counts')->{jwks} }

my $nginx = Test::Nginx::Authgear::Server->start(
    workers => 1,
    project => 'endpoint http://$arg_t; fetch_timeout 10s;',
);

sub sent { return map { $nginx->send(path => "/?t=$_->{host}", token => $_->{token}) } @_ }

my @names = sort keys %hostile;
my @hostile_sent = sent(@hostile{@names});
my @unreachable_sent = sent(@unreachable);
my @good_sent = sent(@good);
my @all = $nginx->receive(@good_sent, @hostile_sent, @unreachable_sent, 60);
my @answers = splice @all, 0, @good;
my @of_hostile = splice @all, 0, @names;
is_deeply($nginx->tally(@answers), { '200 ok' => 190 }, 'the first request of each tenant that can be reached');
is_deeply($nginx->tally(@all), { '503 keys_unavailable' => 100 }, 'those that cannot be reached');
my %status = map { $names[$_] => "$of_hostile[$_]{status} $of_hostile[$_]{reason}" } 0 .. $#names;
is_deeply(\%status, { (map { $_ => '503 keys_unavailable' } @names), slow => '200 ok' }, 'those that answer in their own way');
cmp_ok(max(map { $_->{seconds} } @answers), '<', min(map { $_->{seconds} } @all), 'nobody waited for any that cannot be reached');
is_deeply([grep { fetches($_) != 1 } @good], [], 'one fetch for each');

# Their fetches fail, and are tried again.
for (1 .. 3) {
    my @more = sent(@unreachable, @hostile{ grep { $_ ne 'slow' } @names });
    is_deeply($nginx->tally($nginx->receive(sent(@good), 60)), { '200 ok' => 190 }, 'they are served on');
    $nginx->leave(@more);
}
is_deeply([grep { fetches($_) != 1 } @good], [], 'without another fetch');
my @new = map { tenant("127.1.1.$_") } 1 .. 40;
my @again = sent(@unreachable, @hostile{@names});
is_deeply($nginx->tally($nginx->receive(sent(@new), 60)), { '200 ok' => 40 }, 'new tenants beside those that failed');
$nginx->leave(@again);

of($_, 'DELETE', '/-/fault') for values %hostile;
for my $name (@names) {
    soon { $nginx->ask(path => "/?t=$hostile{$name}{host}", token => $hostile{$name}{token})->{status} == 200 }
        "$name: when it is Authgear again it is served", 60;
}
$nginx->stop_soundly;

done_testing();
