# Rule 6: the questions that a project, a tenant and all projects may have under
# way in a worker, and what becomes of others.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Resolver qw(:DEFAULT start_resolving stop_resolving told);
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep);

my $unavailable = '503 resolver_unavailable - -';
my ($nginx, $made_up) = (undef, 0);

# With 256 connections a project has 32 questions, and all have 64.
sub start {
    $nginx = start_resolving($_[0], connections => 256, server => 'location = /other { authgear_verify other; empty_gif; }
        location = /third { authgear_verify third; empty_gif; }', http => '
        authgear_project other { endpoint $TEST_NGINX_AUTHGEAR; resolve_request /_authgear/resolve; }
        authgear_project third { endpoint $TEST_NGINX_AUTHGEAR; resolve_request /_authgear/resolve; }');
    return;
}

sub stranger { return cookie(session => 'made-up-' . ++$made_up) }

# Has so many requests wait for the resolver, and says how many more get 503.
sub fill {
    my ($number, $headers, $path) = @_;
    my $project = $path =~ /t=(\w+)/ ? "?project=https://$1.example.com" : '';
    my $asked = sub { control('GET', "/-/counts$project")->{resolver} };
    my $before = $asked->();
    my @sent = map { $nginx->send(path => $path, headers => $headers->($_)) } 1 .. 40;
    soon { $asked->() - $before == $number } "$number are asked about";
    soon { $nginx->answered(@sent) == 40 - $number } 'the others are answered';
    my %ready = map { $_ => 1 } $nginx->answered(@sent);
    is_deeply($nginx->tally($nginx->receive(grep { $ready{$_} } @sent)),
        { '503 resolver_unavailable' => 40 - $number }, 'with 503');
    return grep { !$ready{$_} } @sent;
}

subtest 'half of a bound is kept for credentials that had a yes, and a place that is free is used' => sub {
    start('');
    my @known = map { cookie(session => session(user => "user-$_")) } 1 .. 40;
    is(told($nginx->ask(headers => $_)) =~ /^200/, 1, 'a yes') for @known;
    fault(resolver => 'slow', delay_ms => 600_000);
    my @waiting = fill(16, sub { stranger() }, '/');
    push @waiting, fill(16, sub { $known[$_[0] - 1] }, '/');
    is(told($nginx->ask(headers => stranger())), $unavailable, 'no more of either');
    push @waiting, fill(16, sub { stranger() }, '/other');
    my @third = $nginx->receive(map { $nginx->send(path => '/third', headers => stranger()) } 1 .. 3);
    is_deeply($nginx->tally(@third), { '503 resolver_unavailable' => 3 }, 'all projects together have a quarter');
    $nginx->leave(@waiting);
    heal();
    soon { told($nginx->ask(path => '/third', headers => stranger())) =~ /^401/ } 'who leaves makes room';
    like($nginx->log_text, qr/\[error\].*authgear: project "myapp": too many questions to the resolver/, 'logged');
    stop_resolving($nginx);
};

subtest 'a stale yes and a JWT need no place' => sub {
    start('resolve_cache 1s; resolve_stale 1h; recheck 1s strict;');
    my $stale = cookie(session => session(user => 'alice'));
    is(told($nginx->ask(headers => $stale)), '200 ok alice resolver', 'a yes');
    my $confirmed = token(user => 'bob');
    like(told($nginx->ask(token => $confirmed)), qr/^200 ok bob jwt/, 'a token is confirmed');
    sleep 1.1;
    my @known = map { cookie(session => session(user => "user-$_")) } 1 .. 40;
    is(told($nginx->ask(headers => $_)) =~ /^200/, 1, 'a yes') for @known[0 .. 17];
    sleep 1.1;
    fault(resolver => 'slow', delay_ms => 600_000);
    my @waiting = fill(16, sub { stranger() }, '/');
    push @waiting, map { $nginx->send(headers => $_) } @known[0 .. 15];
    soon { asked() >= 32 } 'there is no place left';
    is(told($nginx->ask(headers => $stale)), '200 ok alice resolver_stale', 'the stale yes');
    is(told($nginx->ask(token => token(user => 'carol'))), $unavailable,
        'a new token under strict gets 503');
    $nginx->leave(@waiting);
    heal();
    stop_resolving($nginx);
};

subtest 'a JWT under recheck stands where there is no place' => sub {
    start('recheck 1h;');
    fault(resolver => 'slow', delay_ms => 600_000);
    my @waiting = fill(16, sub { stranger() }, '/');
    like(told($nginx->ask(token => token(user => 'carol'))), qr/^200 ok carol jwt/, 'a new one');
    $nginx->leave(@waiting);
    heal();
    stop_resolving($nginx);
};

subtest 'a tenant has a quarter of its project' => sub {
    start('endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR;');
    fault(resolver => 'slow', delay_ms => 600_000);
    my @waiting = fill(4, sub { stranger() }, '/?t=one');
    push @waiting, fill(4, sub { stranger() }, '/?t=two');
    $nginx->leave(@waiting);
    heal();
    stop_resolving($nginx);
};

done_testing();
