# Webhooks as Authgear sends them, by the stand-in: every event, lost, repeated, late and out of order, to two
# nginx. Both refuse the same tokens in the end.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep time);

my $project = 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;';
my $node = Test::Nginx::Authgear::Server->start(
    workers => 4, project => $project,
    server => webhook_location(),
);
my @urls = map {"http://127.0.0.1:$_->{port}/webhook/myapp"} $node;
my $users = 0;

sub webhooks { return control('PUT', '/-/webhooks', { urls => \@urls, secret => webhook_secret(), @_ }) }

sub sent { return @{ control('GET', '/-/webhooks')->{sent} } }

sub change { return control('POST', "/-/users/$_[0]/$_[1]", $_[2] // {}) }

# A new user, with a token of some time ago.
sub known {
    my $user = 'user-' . ++$users;
    my $then = int(time) - 100;
    return ($user, token(user => $user, claims => { iat => $then, auth_time => $then }));
}

sub reason { return $node->ask(token => $_[0])->{reason} }

sub comes_to { my ($token, $reason) = @_; return wait_for { reason($token) eq $reason } 3 }

subtest 'every event' => sub {
    webhooks();
    for my $case (
        ['disable', 'revoked'], ['schedule_deletion', 'revoked'], ['schedule_anonymization', 'revoked'],
        ['anonymize', 'revoked'], ['delete', 'revoked'],
        ['enable', 'ok'], ['unschedule_deletion', 'ok'], ['unschedule_anonymization', 'ok'],
    ) {
        my ($change, $reason) = @$case;
        my ($user, $token) = known();
        is(reason($token), 'ok', "$change: before");
        my $before = sent();
        change($user, $change);
        ok(wait_for(sub { sent() > $before }, 3), "$change is told");
        ok(comes_to($token, $reason), "$change: then $reason");
    }
    is_deeply([grep { $_->{status} != 204 } sent()], [], 'all were accepted');
};

subtest 'a plan, and what becomes of it' => sub {
    webhooks();
    my $from = int(time) + 3;
    my %token;
    for my $name (qw(in_time called_off put_off)) {
        my ($user, $token) = known();
        $token{$name} = $token;
        change($user, 'disable', { from => $from, until => $from + 100 });
        sleep 0.2;
        change($user, 'unschedule_anonymization') if $name eq 'called_off';
        change($user, 'disable', { from => $from + 1000 }) if $name eq 'put_off';
    }
    is(reason($token{$_}), 'ok', "$_: before its time") for sort keys %token;
    sleep $from - time + 0.1 if $from > time;
    ok(comes_to($token{in_time}, 'revoked'), 'in time');
    is(reason($token{$_}), 'ok', $_) for qw(called_off put_off);
};

subtest 'repeated, late, and in reverse' => sub {
    for my $case (['repeated', repeat => 4], ['late', delay_ms => 500], ['in reverse', hold => \1]) {
        my ($name, @settings) = @$case;
        webhooks(@settings);
        my ($user, $token) = known();
        my $before = sent();
        change($user, 'disable');
        change($user, 'enable');
        change($user, 'schedule_deletion');
        change($user, 'unschedule_deletion');
        control('POST', '/-/webhooks/release', { reverse => \1 }) if $name eq 'in reverse';
        my $count = $name eq 'repeated' ? 20 : 4;
        ok(wait_for(sub { sent() >= $before + $count }, 5), "$name: all are told");
        ok(comes_to($token, 'revoked'), "$name: the token is refused");
        my $later = int(time) + 1;
        is(reason(token(user => $user, claims => { iat => $later, auth_time => $later })), 'ok', "$name: a new login is not");
    }
};

subtest 'one that is lost' => sub {
    webhooks(lose => 1);
    my ($user, $token) = known();
    change($user, 'disable');
    sleep 0.3;
    is(reason($token), 'ok', 'is not heard of');
    change($user, 'schedule_deletion');
    ok(comes_to($token, 'revoked'), 'until the next event about that user');
};

subtest 'two nodes by two URLs' => sub {
    my $second = Test::Nginx::Authgear::Server->start(
        workers => 4, project => $project, server => webhook_location(), beside => 1,
    );
    push @urls, "http://127.0.0.1:$second->{port}/webhook/myapp";
    webhooks(delay_ms => 50);
    my @tokens;
    for (1 .. 10) {
        my ($user, $token) = known();
        push @tokens, $token;
        change($user, 'disable');
    }
    my $refused = sub {
        my ($nginx) = @_;
        return wait_for { !grep { $nginx->ask(token => $_)->{reason} ne 'revoked' } @tokens } 10;
    };
    ok($refused->($_), 'a node refuses all') for $node, $second;
    $second->stop_soundly;
};
$node->stop_soundly;

done_testing();
