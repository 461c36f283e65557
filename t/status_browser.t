# The status page in Chromium, on a desk and on a telephone, healthy and sick. With
# SCREENSHOTS=FOLDER in the environment the four pages are saved there.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Browser;
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Server;

my %screen = (wide => { width => 1280, height => 900 }, narrow => { width => 360, height => 740, dark => 1 });
my %browser = map { $_ => Test::Nginx::Authgear::Browser->start(%{ $screen{$_} }) } keys %screen;

my $server = <<'END';
include $TEST_NGINX_RESOLVER;
location = /status { authgear_status; }
location = /observe { authgear_verify myapp observe; empty_gif; }
END
my $project = 'resolve_request /_authgear/resolve; jwks_refresh 1s; jwks_min_interval 1s;';
my $nginx = Test::Nginx::Authgear::Server->start(workers => 2, server => $server, project => $project);
my $url = "http://127.0.0.1:$nginx->{port}/status";

# --- healthy

my $token = token();
$nginx->ask(token => $token) for 1 .. 3;
$nginx->ask(path => '/observe') for 1 .. 2;
$nginx->ask(headers => cookie(session => session(user => 'ann')));
for my $screen (sort keys %browser) {
    my $text = look($screen, 'healthy');
    like($text, qr/\AAuthgear in nginx\n/, "$screen, healthy: what it is");
    like($text, qr/^No problems\.$/m, "$screen, healthy: no problems");
    like($text, qr/^Project myapp$/m, "$screen, healthy: the project");
    like($text, qr/^observe\s+none\s+no_credential\s+2$/m, "$screen, healthy: requests by reason");
    like($text, qr/^required\s+resolver\s+ok\s+1$/m, "$screen, healthy: and source");
    like($text, qr/^State\s+in use$/m, "$screen, healthy: keys in use");
    like($text, qr/\s+RS256$/m, "$screen, healthy: and their algorithm");
    like($text, qr/^Resolver questions\s+1 yes$/m, "$screen, healthy: the resolver");
    like($text, qr/^Shared zone authgear\s+\d+ [KM]iB of \d+ [KM]iB used$/m, "$screen, healthy: the zone");
    like($text, qr/^Build\s+\d+\.\d+\.\d+.*, nginx 1\.\d+\.\d+$/m, "$screen, healthy: the build");
}

# --- sick: the keys are stale, and the resolver fails

fault(jwks => 'status', status => 500);
fault(discovery => 'status', status => 500);
fault(resolver => 'status', status => 500);
$nginx->ask(headers => cookie(session => 'another'));
my $sick = sub {
    $nginx->ask(token => $token);
    my $body = $nginx->ask(path => '/status')->{body};
    return $body =~ /been stale for/ && $body =~ /has not answered/;
};
soon { $sick->() } 'keys are stale', 20;
for my $screen (sort keys %browser) {
    my $text = look($screen, 'sick');
    my $urgent = qr/Project myapp: the resolver has not answered for \d+ s\./;
    my $old = qr/Project myapp: its keys have been stale for \d+ s; the last fetch failed: status\./;
    like($text, qr/^$urgent\s+$old\s+Project myapp$/m, "$screen, sick: problems come first, the most urgent on top");
    unlike($text, qr/No problems/, "$screen, sick: not well");
    like($text, qr/^State\s+stale$/m, "$screen, sick: the keys");
    like($text, qr/^Last failed fetch\s+status, \d+ s ago$/m, "$screen, sick: and why");
    like($text, qr/^Resolver questions\s+1 yes, 1 error$/m, "$screen, sick: the resolver");
    like($browser{$screen}->run('return document.title'), qr/^\(2\) /, "$screen, sick: the title says how many");
    my $colour = $browser{$screen}->run(q{return getComputedStyle(document.querySelector('.problems li')).color});
    isnt($colour, $browser{$screen}->run('return getComputedStyle(document.body).color'), "$screen, sick: they stand out");
}
isnt(map({ $_->run('return getComputedStyle(document.body).color') } @browser{qw(wide narrow)}), 'light and dark differ');

# --- it loads itself again

{
    my $browser = $browser{wide};
    heal();
    soon { !$sick->() && $nginx->ask(headers => cookie(session => session(user => 'bob')))->{status} == 200 } 'healthy again';
    soon { $nginx->ask(token => $token); $browser->text =~ /No problems/ } 'the page shows it without anybody loading it', 30;
}

$_->stop for values %browser;
$nginx->stop_soundly;

done_testing();

# Opens the page; returns what somebody sees. Asserts that it fits the screen.
sub look {
    my ($screen, $state) = @_;
    my $browser = $browser{$screen};
    $browser->open($url);
    my $text = $browser->text;
    $browser->screenshot("$ENV{SCREENSHOTS}/$state-$screen.png") if $ENV{SCREENSHOTS};
    my $over = $browser->run('return document.documentElement.scrollWidth - window.innerWidth');
    cmp_ok($over, '<=', 0, "$screen, $state: nothing is wider than the screen");
    is($browser->run('return window.innerWidth'), $screen{$screen}{width}, "$screen, $state: which is as wide as meant");
    is($browser->run('return performance.getEntriesByType("resource").length'), 0, "$screen, $state: nothing else is loaded");
    return $text;
}
