# recheck: valid tokens are confirmed with the resolver, so that a disabled user
# is out before the token expires.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Http2;
use Test::Nginx::Authgear::Recheck;
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep time);

# So many log lines hold the text.
sub logged {
    my ($text) = @_;
    return scalar grep { /\Q$text\E/ } split /\n/, $nginx->log_text;
}

# A request that waits for an answer that is neither a yes nor a no, though the resolver is not down.
my $no_verdict = '503 resolver_unavailable - -';

subtest 'it is off unless it is asked for' => sub {
    for my $project ('', 'recheck off;', 'resolve_cache 10m;') {
        start($project);
        my ($user, $token) = someone();
        disable($user);
        is(outcome(token => $token), "200 ok $user jwt", "a token stands until it expires, '$project'") for 1 .. 3;
        is(asked(), 0, 'and nobody is asked');
        stop();
    }
};

subtest 'the first request with a token does not wait' => sub {
    start('recheck 1h;');
    my ($user, $token) = someone();
    fault(resolver => 'hang');
    my $sent = $nginx->send(token => $token);
    soon { asked() == 1 } 'the resolver is asked';
    is(told(($nginx->receive($sent, 60))[0]), "200 ok $user jwt", 'it never answers, and the request is let in');
    is(outcome(token => $token), "200 ok $user jwt", 'so is the next') for 1 .. 3;
    $nginx->signal('TERM');
    ok($nginx->ends, 'nginx ends');
    $nginx->was_sound;
};

# nginx holds an HTTP/1.1 connection until the question has its answer.
subtest 'while the resolver fails, neither does the next request on its connection' => sub {
    my $port = Test::Nginx::Authgear::Server::other_port();
    start('recheck 1h;', http => "server { listen 127.0.0.1:$port http2; include \$TEST_NGINX_RESOLVER;"
        . ' location / { authgear_verify myapp; empty_gif; } }');
    my $get = sub {
        my ($connection, $user, $token, $then, $name) = @_;
        my $answer = $nginx->ask(token => $token, on => $connection);
        is(told($answer), "200 ok $user jwt", "$name: let in");
        like($answer->{headers}, qr/^Connection: \Q$then\E\r?$/m, "$name: the connection");
    };

    my $connection = $nginx->connection;
    for (1 .. 2) {
        my @someone = someone();
        $get->($connection, @someone, 'keep-alive', 'it answers') for 1 .. 2;
    }
    soon { asked() == 2 } 'two tokens, two questions, one connection';

    fault(resolver => 'status', status => 500);
    $get->($connection, someone(), 'keep-alive', 'it begins to fail');
    soon { logged('recheck fails') } 'the log says so';

    fault(resolver => 'hang');
    my @someone = someone();
    $get->($connection, @someone, 'close', 'it fails');
    $connection = $nginx->connection;
    $get->($connection, @someone, 'keep-alive', 'it is being asked') for 1 .. 3;
    soon { asked() == 4 } 'one question';

    my ($user, $token) = someone();
    my $h2 = http2($port);
    my $again = sub { return $h2->request('GET /', "Authorization: Bearer $token") };
    is($h2->answer($again->())->{status}, 200, 'HTTP/2: let in');
    soon { asked() == 5 } 'another question';
    is($h2->answer($again->())->{status}, 200, 'HTTP/2: the same connection serves on') for 1 .. 3;
    undef $h2;
    $nginx->signal('TERM');
    ok($nginx->ends, 'nginx ends');
    $nginx->was_sound;
};

subtest 'one question for each interval and token, whichever worker is met' => sub {
    start('recheck 1h;', workers => 4);
    my %to = $nginx->connection_to_each;
    my @tokens = map { [someone()] } 1 .. 3;
    is(outcome(token => $_->[1]), "200 ok $_->[0] jwt", 'let in') for @tokens;
    soon { asked() == 3 } 'three tokens, three questions';
    for my $worker ((sort keys %to) x 3) {
        is(outcome(token => $_->[1], on => $to{$worker}), "200 ok $_->[0] jwt", 'let in by each worker') for @tokens;
    }
    is(asked(), 3, 'without another question');
    my ($user, $token) = someone();
    fault(resolver => 'slow', delay_ms => 1000);
    my @answers = $nginx->receive(map { $nginx->send(token => $token) } 1 .. 200);
    is_deeply($nginx->tally(@answers), { '200 ok' => 200 }, 'two hundred at the same time');
    heal();
    is(outcome(token => $token, on => $to{$_}), "200 ok $user jwt", 'and later') for sort keys %to;
    is(asked(), 4, 'are one question more');
    is(outcome(token => token(user => $user)), "200 ok $user jwt", 'another token of that user');
    soon { asked() == 5 } 'is another question';
    stop();
};

subtest 'the resolver is asked again after each interval, and not before' => sub {
    start('recheck 1s;', workers => 4);
    my ($user, $token) = someone();
    my $begun = time;
    my $ended = $nginx->load(token => $token);
    soon { asked() >= 4 } 'again and again', 30;
    my $tally = $ended->();
    my $asked = asked();
    # One at the start, one for each second, and one because clocks are read now and then.
    my $most = int(time - $begun) + 2;
    is_deeply([keys %$tally], ['200 ok'], 'all are let in');
    cmp_ok($asked, '<=', $most, "at most $most times in that time");
    stop();
};

subtest 'a suspended user is out, and in again with the same token; a disabled one is out for good' => sub {
    start('recheck 1s;', workers => 2);
    my %to = $nginx->connection_to_each;
    my ($user, $token) = someone();
    is(outcome(token => $token), "200 ok $user jwt", 'let in');
    suspend($user);
    soon { outcome(token => $token) eq $no } 'out, though the token is valid';
    is(outcome(token => $token, on => $to{$_}), $no, 'in each worker') for sort keys %to;
    my $answer = $nginx->ask(token => $token);
    like($answer->{headers}, qr/^WWW-Authenticate: Bearer realm="myapp", error="invalid_token"/m, 'with a challenge');
    enable($user);
    soon { outcome(token => $token) eq "200 ok $user jwt" } 'in again';
    disable($user);
    soon { outcome(token => $token) eq $no } 'out again';
    enable($user);
    my $new = token(user => $user);
    is(outcome(token => $new), "200 ok $user jwt", 'in with a token of a new login');
    my $before = asked();
    soon { outcome(token => $token); asked() >= $before + 2 } 'the old one is asked about again';
    is(outcome(token => $token), $no, 'and has ended for good');
    control('POST', "/-/users/$user/delete");
    soon { outcome(token => $new) eq $no } 'a deleted user is out';
    stop();
};

subtest 'a revoked token is out' => sub {
    start('recheck 1s;');
    my ($user, $token) = someone();
    is(outcome(token => $token), "200 ok $user jwt", 'let in');
    control('POST', '/-/token/revoke', $token);
    soon { outcome(token => $token) eq $no } 'out';
    is(outcome(token => token(user => $user)), "200 ok $user jwt", 'another token of the user stands');
    stop();
};

subtest 'a no stays a no until the resolver says otherwise' => sub {
    start('recheck 1s;', workers => 2,
        server => 'location /early { set $early "$authgear_user_id"; authgear_verify myapp;
            add_header X-Early "<$early>" always; empty_gif; }');
    my ($user, $token) = someone();
    my $early = sub { return $nginx->ask(path => '/early', token => $token)->{headers} =~ /^X-Early: <(.*)>/m ? $1 : '?' };
    is($early->(), $user, 'before the access phase the user is known');
    suspend($user);
    soon { outcome(token => $token) eq $no } 'refused';
    is($early->(), '', 'a refused user is not');
    for my $fault (['status', status => 500], ['close'], ['garbage']) {
        fault(resolver => @$fault);
        sleep 1.1;
        my $before = asked();
        my %told;
        my $until = time + 1;
        do { $told{ outcome(token => $token) }++ } while time < $until;
        delete $told{$no_verdict} if $fault->[0] eq 'garbage';
        is_deeply([grep { $_ ne $no } keys %told], [], "while the resolver fails ($fault->[0]) it stays refused");
        is($early->(), '', 'before the access phase, too');
        cmp_ok(asked() - $before, '>=', 1, 'though the resolver is asked');
    }
    heal();
    enable($user);
    soon { outcome(token => $token) eq "200 ok $user jwt" } 'the resolver says yes';
    stop();
};

subtest 'without strict, after a pause one request passes' => sub {
    start('recheck 1s;');
    my ($user, $token) = someone();
    is(outcome(token => $token), "200 ok $user jwt", 'confirmed');
    soon { asked() == 1 } 'once';
    disable($user);
    sleep 2.2;
    is(outcome(token => $token), "200 ok $user jwt", 'the first request after the pause');
    soon { outcome(token => $token) eq $no } 'then it is out';
    stop();
};

subtest 'while the resolver fails tokens stand, and the log says so once' => sub {
    my $fails = 'authgear: recheck fails, tokens are accepted until they expire: ';
    my $works = 'authgear: tokens are confirmed again';
    for my $strict ('', ' strict') {
        start("recheck 1s$strict;", workers => 2);
        $nginx->mark_log;
        my ($user, $token) = someone();
        my @others = map { [someone()] } 1 .. 5;
        for my $case ([5, 'status', status => 500], [1, 'close'], [1, 'status', status => 429]) {
            my ($questions, @fault) = @$case;
            fault(resolver => @fault);
            my $begun = time;
            reset_counts();
            my %told;
            do { $told{ outcome(token => $token) }++ } while asked() < $questions && time < $begun + 30;
            my $most = int(time - $begun) + 2;
            is_deeply([keys %told], ["200 ok $user jwt"], "$fault[0]$strict: the token stands");
            cmp_ok(asked(), '>=', $questions, 'the resolver is tried again');
            cmp_ok(asked(), '<=', $most, "at most $most times in that time");
            is(outcome(token => $_->[1]), "200 ok $_->[0] jwt", 'so do others') for @others;
        }
        soon { logged($fails) } 'the log says so';
        is(logged($fails), 1, 'once');
        is(logged($works), 0, 'it does not work again yet');
        heal();
        soon { outcome(token => $token); logged($works) } 'and when it works again';
        disable($user);
        soon { outcome(token => $token) eq $no } 'tokens are confirmed';
        is(logged($works), 1, 'which was said once');

        control('POST', '/-/gone');
        ($user, $token) = someone();
        is(outcome(token => $token), "200 ok $user jwt", 'nobody listens: a new token stands');
        soon { logged($fails) == 2 } 'the log says so again';
        control('POST', '/-/back');
        is(scalar(grep { $nginx->log_text =~ /\Q$_\E/ } $token, (split /\./, $token)[1, 2]), 0, 'without the token');
        stop();
    }
};

subtest 'a token that stands ends with its exp' => sub {
    for my $strict ('', ' strict') {
        start("recheck 1h$strict;");
        my ($user, $token) = someone(expires_in => 4);
        is(outcome(token => $token), "200 ok $user jwt", "confirmed$strict");
        soon { outcome(token => $token) eq '401 expired - none' } 'a confirmed token expires', 20;
        fault(resolver => 'status');
        ($user, $token) = someone(expires_in => 4);
        is(outcome(token => $token), "200 ok $user jwt", 'not confirmed');
        soon { outcome(token => $token) eq '401 expired - none' } 'expires, too', 20;
        stop();
    }
};

subtest 'a worker that is killed while it asks' => sub {
    for my $strict ('', ' strict') {
        start("recheck 1h$strict;", workers => 2);
        my ($user, $token) = someone();
        my %to = $nginx->connection_to_each;
        my ($killed, $other) = sort keys %to;
        fault(resolver => 'hang', times => 1);
        my $sent = $nginx->send(token => $token, on => $to{$killed});
        soon { asked() == 1 } 'one asks';
        kill KILL => $killed;
        disable($user);
        my ($answer) = $nginx->receive($nginx->send(token => $token, on => $to{$other}), 60);
        is(told($answer), $strict ? $no : "200 ok $user jwt", "others are answered$strict");
        soon { outcome(token => $token) eq $no } 'and have the question asked again', 30;
        is(asked(), 2, 'once') if $strict;
        stop(killed => 1);
    }
};

subtest 'who leaves while the resolver is asked' => sub {
    start('recheck 1h strict;', workers => 2);
    my %to = $nginx->connection_to_each;
    my ($one, $other) = map { $to{$_} } sort keys %to;
    my ($user, $token) = someone();
    fault(resolver => 'hang', times => 1);
    my $asking = $nginx->send(token => $token, on => $one);
    soon { asked() == 1 } 'one asks';
    my @waiting = ($nginx->send(token => $token, on => $other), map { $nginx->send(token => $token) } 1 .. 10);
    is($nginx->ask(path => '/free')->{status}, 200, 'others are served');
    $nginx->leave($asking);
    is_deeply($nginx->tally($nginx->receive(@waiting)), { '200 ok' => 11 }, 'who stays is let in');
    is(asked(), 2, 'after one more question');

    # In the background: the question outlives its client's connection.
    ok($nginx->reload(project => 'resolve_request /_authgear/resolve; recheck 1h;'), 'without strict');
    ($user, $token) = someone();
    disable($user);
    reset_counts();
    fault(resolver => 'slow', delay_ms => 1000);
    my $sent = $nginx->send(token => $token);
    soon { asked() == 1 } 'the resolver is asked';
    $nginx->leave($sent);
    soon { outcome(token => $token) eq $no } 'and heard';
    stop();
};

done_testing();
