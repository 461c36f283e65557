# authgear_early with nginx-conf/limits.conf: made-up sessions cost the resolver at most ten questions a second and client
# address before the limits, plus one for each request that the limits admit, in all workers together.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(asked cookie shipped start_resolving stop_resolving);
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep time);

# The limits that nginx-conf/limits.conf ships; but no rate comes back while the test runs, so that what is
# admitted is the burst and one more.
my $text = shipped('limits.conf', 'rate=20r/s' => 'rate=1r/m', 'rate=5r/s' => 'rate=1r/m');
my ($maps) = $text =~ /^(    map .*?limit_req_status 429;\n)/ms or die "limits.conf has no limits\n";
my ($limits) = $text =~ /^( *authgear_early on;\n(?: *limit_req .*\n)+)/m or die "limits.conf limits nothing\n";
my $realip = 'set_real_ip_from 127.0.0.1; real_ip_header X-Real-IP;';

my $nginx = start_resolving('resolve_cache 1m;',
    workers => 4,
    http => "$maps limit_req_zone all zone=one:1m rate=1r/m;",
    location => $limits,
    server => <<"END");
location = /late { authgear_verify myapp; limit_req zone=strangers burst=20 nodelay; empty_gif; }
location = /realip { authgear_verify myapp; authgear_early on; $realip limit_req zone=one; empty_gif; }
END

# The answers to made-up sessions, all sent at once, by status; how often the resolver was asked, and the most
# that the address may have caused before the limits.
sub flood {
    my ($times, $path, @more) = @_;
    my ($asked, $began) = (asked(), time);
    my @answers;
    for (1 .. int(($times + 249) / 250)) {
        push @answers, $nginx->receive(map {
            $nginx->send(path => $path, headers => join "\r\n", cookie(session => 'made-up-' . rand), map { ref $_ ? $_->() : $_ } @more)
        } 1 .. ($times < 250 ? $times : 250));
    }
    my %status;
    $status{ $_->{status} // $_->{error} }++ for @answers;
    return (\%status, asked() - $asked, 10 * (1 + int(time - $began)));
}

my $known = cookie(session => session(user => 'known'));
is($nginx->ask(headers => $known)->{user}, 'known', 'a user whose session is known');

for my $slow (0, 300) {
    if ($slow) {
        # The questions before count for a second.
        sleep 1.1;
        fault(resolver => 'slow', delay_ms => $slow);
    }
    my ($status, $asked, $early) = flood(1000, '/');
    my $admitted = $status->{401} // 0;
    is_deeply([sort keys %$status], $slow ? [429] : [401, 429], 'a thousand made-up sessions: 401 for some, 429 for the others');
    is($admitted, $slow ? 0 : 21, 'the limit of the address admits its burst');
    cmp_ok($asked, '<=', $early + $admitted, "the resolver is asked $asked times, of at most $early before the limits");
    cmp_ok($asked, '>=', 10, 'and ten times at least');
}
heal();
is($nginx->ask(headers => $known)->{status}, 200, 'the known user behind the same address is served');

# More than ten are no bound for sessions that are good.
sleep 1.1;
my @good = map { cookie(session => session(user => "good-$_")) } 1 .. 30;
is_deeply([map { my $answer = $nginx->ask(headers => $_); "$answer->{status} $answer->{user}" } @good],
    [map {"200 good-$_"} 1 .. 30], 'thirty new sessions from that address, one after the other');

# Where nobody is identified early, the limit of the address comes first: it admits no one any more.
{
    my ($status, $asked) = flood(250, '/late');
    is_deeply([$status, $asked], [{ 429 => 250 }, 0], 'without authgear_early the limit comes first');
}

# The address is the one that realip found, in the location too; of an IPv6 address the /64.
my $next = 0;
for my $case (
    # name, addresses, more than ten questions
    ['one IPv4 address', sub {'192.0.2.1'}, 0],
    ['many addresses of one /64', sub { sprintf '2001:db8::%x', ++$next }, 0],
    ['many IPv4 addresses', sub { '198.51.100.' . ++$next }, 1],
    ['many /64', sub { sprintf '2001:db8:0:%x::1', ++$next }, 1],
) {
    my ($name, $address, $is_more) = @$case;
    my ($status, $asked, $early) = flood(100, '/realip', sub { 'X-Real-IP: ' . $address->() });
    my $admitted = $status->{401} // 0;
    if ($is_more) {
        cmp_ok($asked, '>', 50, "$name: each has questions of its own");
    }
    else {
        cmp_ok($asked, '<=', $early + $admitted, "$name: ten questions");
    }
}

stop_resolving($nginx);

# Keys that come late: requests wait for them before the limits.
fault(jwks => 'slow', delay_ms => 1000);
$nginx = Test::Nginx::Authgear::Server->start(workers => 1, http => $maps,
    location => 'authgear_early on; limit_req zone=callers;');
my @tokens = map { token(user => "early-$_") } 1, 2;
my @answers = $nginx->receive(map { $nginx->send(token => $_) } @tokens[0, 0, 1]);
is_deeply([sort map { $_->{status} } @answers], [200, 200, 429], 'requests that waited for keys: one of each user');
heal();
$nginx->stop_soundly;

done_testing();
