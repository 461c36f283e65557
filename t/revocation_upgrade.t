# Revocations outlive a reload with another zone, and an upgrade on the fly (USR2), during which the old nginx and the
# new one both receive webhooks.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::State;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep);

my $secret = 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;';

sub old_token {
    my ($user) = @_;
    return token(user => $user, claims => { iat => time - 100, auth_time => time - 100 });
}

for my $size (qw(64m 8m)) {
    my $nginx = Test::Nginx::Authgear::Server->start(workers => 2, project => $secret, server => webhook_location());
    my %token = map { $_ => old_token($_) } qw(alice bob);
    is(deliver($nginx, event('user.disabled', 'alice')), 204, 'alice is disabled');
    ok($nginx->reload(http => "authgear_shared_zone zone=other:$size;"), "a reload with a zone of $size");
    is($nginx->ask(token => $token{alice})->{reason}, 'revoked', 'alice stays out');
    is($nginx->ask(token => $token{bob})->{reason}, 'ok', 'bob is in');
    is(deliver($nginx, event('user.disabled', 'bob')), 204, 'and is disabled');
    is($nginx->ask(token => $token{bob})->{reason}, 'revoked', 'which counts at once');
    $nginx->stop_soundly;
}

# The first secret makes the table in the zone that is there.
{
    my $nginx = Test::Nginx::Authgear::Server->start(workers => 2);
    ok($nginx->reload(project => $secret, server => webhook_location()), 'a reload with the first secret');
    is(deliver($nginx, event('user.disabled', 'alice')), 204, 'alice is disabled');
    is($nginx->ask(token => old_token('alice'))->{reason}, 'revoked', 'and is out');
    $nginx->stop_soundly;
}

# A table that is too small for what the old one holds.
{
    my $nginx = Test::Nginx::Authgear::Server->start(workers => 2, project => $secret, server => webhook_location(),
        http => 'authgear_shared_zone zone=old:64m;');
    for my $seq (1 .. 600) {
        my $status = deliver($nginx, event('user.disabled', "user-$seq"));
        is($status, 204, "user-$seq") if $status != 204;
    }
    ok($nginx->reload(http => 'authgear_shared_zone zone=new:512k;'), 'a reload with a zone for fewer users');
    like($nginx->log_text, qr/\[error\] .*authgear: the new shared zone is too small for all revocations/, 'which the log says');
    $nginx->stop_soundly;
}

# The new nginx reads what others save for two seconds after its start, and after that because of the old one alone.
{
    my $folder = folder();
    my $nginx = Test::Nginx::Authgear::Server->start(
        # The new binary gets no other environment, and sanitizers want theirs.
        main => 'env ASAN_OPTIONS; env LSAN_OPTIONS;', workers => 2, daemon => 'on', project => "$secret state_path $folder;", server => webhook_location(),
    );
    my @users = map {"user-$_"} 1 .. 30;
    my %token = map { $_ => old_token($_) } 'before', @users;
    is(deliver($nginx, event('user.disabled', 'before')), 204, 'a user is disabled');
    my $old = $nginx->upgrade;
    sleep 4;
    is(deliver($nginx, event('user.disabled', $_)), 204, "$_ is disabled while both nginx serve") for @users;
    kill QUIT => $old;
    ok(wait_for(sub { !kill 0 => $old }, 20), 'the old nginx ends');
    soon { 31 == grep { $nginx->ask(token => $token{$_})->{reason} eq 'revoked' } keys %token } 'the new one refuses all';
    $nginx->stop_soundly;
}

done_testing();
