# Measures many tenants of one project, of which some cannot be reached and some are
# hostile; README.md says how.
use strict;
use warnings;

use Bench::Processes qw($directory private_bytes start_nginx start_standin);
use File::Path qw(make_path remove_tree);
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use JSON::PP;
use List::Util qw(max shuffle);
use Test::Nginx::Authgear::Faults;
use Time::HiRes qw(sleep time);

my $number = $ENV{TENANTS} || 10_000;
my $seconds = $ENV{DURATION} || 30;
my ($unreachable, $at_a_time) = (100, 64);
$| = 1;

my %fault = hostile_answers(3000);

remove_tree($directory);
make_path($directory, 'build/bench/state');
my $standin = start_standin('--listen', '0.0.0.0:0', '--tenants', '--state-dir', 'build/bench/state');
my ($port) = $standin->{http} =~ /:(\d+)$/ or die "no port\n";
my $http = HTTP::Tiny->new(timeout => 10, keep_alive => 0);
# It accepts connections, and says nothing.
my $silent = IO::Socket::INET->new(LocalAddr => '0.0.0.0', Listen => 4096) or die "no port: $@\n";

printf "making %d tenants\n", $number;
my $key_set = control('GET', '/oauth2/jwks', undef, "http://0.0.0.0:$port");
my @good = map { tenant(sprintf('127.%d.%d.%d', 16 + $_ / 62_500, $_ / 250 % 250, 1 + $_ % 250)) } 0 .. $number - 1;
my ($count, @bad) = 0;
for my $name (sort keys %fault) {
    my $tenant = tenant('127.2.0.' . ++$count);
    control('PUT', "/-/fault/jwks?project=http://$tenant->{host}", encode_json($fault{$name}));
    push @bad, $tenant;
}
push @bad, map { { host => "127.3.0.$_:" . $silent->sockport, token => $good[0]{token} } } 1 .. $unreachable;

my $nginx = start_nginx('tenants', workers => 2, cores => 2, values => { BACKEND => '127.0.0.1:1', RESOLVER => '127.0.0.1:1' });
my $before = metrics();
my $threads = 0;
show('at the start');

# Each tenant's first request, with those of the others at the same time and again once a second.
my $began = time;
my @queue = shuffle(@good);
my $first = drive(sub { shift @queue });
printf "first requests: %d in %.1f s, %s\n", scalar @good, time - $began, told($first);
show('then');

# At random, for some time.
my $until = time + $seconds;
my $later = drive(sub { time < $until ? $good[rand @good] : undef });
printf "%d s more: %d requests, %s\n", $seconds, scalar @{ $later->{seconds} }, told($later);
show('then');
my @failed = grep { $_ ne '200' } keys %{ $first->{status} }, keys %{ $later->{status} };
die "tenants that can be reached were refused\n" if @failed;

# Sends requests of the tenants that `next` gives, so many at a time, and those of the bad ones once a second.
sub drive {
    my ($next) = @_;
    my (%open, %status, @seconds);
    my $select = IO::Select->new;
    my ($good, $bad_at, $is_over) = (0, 0, 0);
    my $send = sub {
        my ($tenant, $is_good) = @_;
        my $socket = IO::Socket::INET->new(PeerAddr => $nginx->{listen}) or die "cannot connect: $@\n";
        syswrite $socket, "GET /?t=$tenant->{host} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
            . "Authorization: Bearer $tenant->{token}\r\n\r\n";
        $open{ fileno $socket } = [time, $is_good];
        $select->add($socket);
        $good += $is_good;
    };
    while (1) {
        if (!$is_over && time - $bad_at >= 1) {
            $bad_at = time;
            $send->($_, 0) for @bad;
            $threads = max($threads, map { threads($_) } @{ $nginx->{workers} });
        }
        while (!$is_over && $good < $at_a_time) {
            my $tenant = $next->();
            $is_over = !$tenant;
            $send->($tenant, 1) if $tenant;
        }
        last if $is_over && !$good;
        for my $socket ($select->can_read(0.1)) {
            my ($at, $is_good) = @{ delete $open{ fileno $socket } };
            sysread $socket, my $text, 65536;
            $select->remove($socket);
            close $socket;
            next if !$is_good;
            $good--;
            $status{ ($text // '') =~ m{^HTTP\S+ (\d+)} ? $1 : 'closed' }++;
            push @seconds, time - $at;
        }
    }
    return { status => \%status, seconds => [sort { $a <=> $b } @seconds] };
}

sub told {
    my ($driven) = @_;
    my @all = @{ $driven->{seconds} };
    my %status = %{ $driven->{status} };
    return sprintf '%s; median %.1f ms, 99 %% within %.1f ms, all within %.1f ms',
        join(', ', map { "$status{$_} times $_" } sort keys %status), map { 1000 * $_ } @all[@all / 2, @all * 0.99, -1];
}

sub threads { return scalar(() = glob "/proc/$_[0]/task/*") }

# Memory of the workers and the zone, and the times for which the mutex was held since the last time.
sub show {
    my ($when) = @_;
    my $now = metrics();
    my @held = map { [$_, ($now->{lock}{$_} // 0) - ($before->{lock}{$_} // 0)] } sort { number($a) <=> number($b) } keys %{ $now->{lock} };
    my $all = @held ? $held[-1][1] : 0;
    my ($bound) = map { $_->[0] } grep { $_->[1] >= 0.99 * $all } @held;
    my ($most) = map { $_->[0] } grep { $_->[1] >= $all } @held;
    printf "  %s: a worker %s MiB, %d threads at most; the zone %.1f MiB, %d tenants, %d fetches; the mutex %d times, 99 %% within %s s, all within %s s\n",
        $when, join(' and ', map { sprintf '%.1f', private_bytes($_) / 2**20 } @{ $nginx->{workers} }), $threads,
        $now->{zone} / 2**20, $now->{tenants}, $now->{fetches} - $before->{fetches}, $all, $bound // '-', $most // '-';
    $before = $now;
    return;
}

sub number { return $_[0] eq '+Inf' ? 9**9**9 : $_[0] }

sub metrics {
    my $page = $http->get("http://$nginx->{listen}/status")->{content};
    my %lock = $page =~ /^authgear_zone_lock_seconds_bucket\{le="(\S+)"\} (\d+)/mg;
    my ($zone) = $page =~ /^authgear_zone_bytes\{state="used"\} (\d+)/m;
    my ($tenants) = $page =~ /^authgear_tenants\{\S+ (\d+)/m;
    my $fetches = 0;
    $fetches += $_ for $page =~ /^authgear_fetches_total\{\S+ (\d+)/mg;
    return { lock => \%lock, zone => $zone // 0, tenants => $tenants // 0, fetches => $fetches };
}

# A tenant there, with the default project's keys.
sub tenant {
    my ($address) = @_;
    my $origin = "http://$address:$port";
    control('PUT', "/-/keys/raw?project=$origin", $key_set);
    my $token = control('POST', '/-/token', encode_json({ expires_in => 86_400, claims => { iss => $origin, aud => [$origin] } }));
    return { host => "$address:$port", token => $token };
}

sub control {
    my ($method, $path, $body, $server) = @_;
    my $answer = $http->request($method, ($server // "http://$standin->{control}") . $path,
        { defined $body ? (content => $body) : () });
    die "$method $path: $answer->{status} $answer->{content}\n" if !$answer->{success};
    return $answer->{content};
}
