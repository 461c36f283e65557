# A webhook of Authgear revokes a user's tokens at once, in every worker, and nothing undoes it.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use JSON::PP ();
use POSIX qw(strftime);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep);

my $secret = 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;';
my $users = 0;

sub start {
    my (%more) = @_;
    my $project = "$secret " . ($more{project} // '');
    return Test::Nginx::Authgear::Server->start(
        workers => 4, %more, project => $project,
        server => 'authgear_verify myapp; ' . webhook_location('myapp', 'error_page 400 401 405 413 =200 /free;') . ($more{server} // ''),
    );
}

# A token of a new user, issued so many seconds ago.
sub issued {
    my ($ago, %claims) = @_;
    my $user = 'user-' . ++$users;
    my $iat = time - $ago;
    my $token = token(user => $user, claims => { iat => $iat, auth_time => $iat, %claims });
    return ($user, $token);
}

# The answers to a token in every worker: each different one.
sub answers {
    my ($nginx, $token) = @_;
    my %to = $nginx->connection_to_each;
    my @answers = $nginx->receive(map { $nginx->send(token => $token, on => $_) } values %to);
    my %seen = map { ($_->{status} // $_->{error} // 'nothing') . ' ' . ($_->{reason} // '') => 1 } @answers;
    return join ', ', sort keys %seen;
}

sub rfc3339 { return strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $_[0]) }

# A planned disabling.
sub planned {
    my ($user, $from, %more) = @_;
    return event('user.disabled', $user, %more, user => { is_disabled => JSON::PP::false },
        payload => { temporarily_disabled_from => rfc3339($from) });
}

my $nginx = start();

subtest 'five events revoke, in every worker, and three do not' => sub {
    my @ends = map {"user.$_"} qw(disabled deleted deletion_scheduled anonymized anonymization_scheduled);
    for my $type (@ends) {
        my ($user, $token) = issued(10);
        is(answers($nginx, $token), '200 ok', "$type: before");
        is(deliver($nginx, event($type, $user)), 204, "$type is accepted");
        is(answers($nginx, $token), '401 revoked', "$type: after");
        my $headers = $nginx->ask(token => $token)->{headers};
        like($headers, qr/^WWW-Authenticate: Bearer realm="myapp", error="invalid_token", error_description="the access token was revoked"\r?$/m,
            "$type: the challenge") if $type eq $ends[0];
    }
    for my $type (map {"user.$_"} qw(reenabled deletion_unscheduled anonymization_unscheduled created profile.updated)) {
        my ($user, $token) = issued(10);
        is(deliver($nginx, event($type, $user)), 204, "$type is accepted");
        is(answers($nginx, $token), '200 ok', "$type revokes nothing");
    }
};

subtest 'a new login counts, and nothing from before the end does' => sub {
    my ($user, $token) = issued(100);
    my $at = time - 50;
    is(deliver($nginx, event('user.disabled', $user, at => $at)), 204, 'disabled');
    is(deliver($nginx, event('user.reenabled', $user, at => $at + 5)), 204, 'enabled again');
    is(answers($nginx, $token), '401 revoked', 'the old token stays refused');
    my $with = sub { answers($nginx, token(user => $user, claims => {@_})) };
    is($with->(iat => $at, auth_time => $at), '401 revoked', 'in the same second');
    is($with->(iat => $at + 1, auth_time => $at + 1), '200 ok', 'a login of the next second');
    is($with->(iat => $at + 9, auth_time => $at), '401 revoked', 'a later token to an old login');
    is($with->(iat => JSON::PP::null, auth_time => $at + 9), '401 bad_claim', 'an iat that is no time');
    is(answers($nginx, token(user => 'nobody', claims => { iat => $at })), '200 ok', 'another user');
};

subtest 'order, repetition and delay do not matter' => sub {
    my ($user, $token) = issued(100);
    my $now = time;
    my @events = (
        event('user.disabled', $user, at => $now - 90),
        event('user.reenabled', $user, at => $now - 80),
        event('user.deletion_scheduled', $user, at => $now - 70),
        event('user.deletion_unscheduled', $user, at => $now - 60),
    );
    for my $order ([3, 2, 1, 0], [0, 1, 2, 3], [2, 2, 0, 3, 1, 2]) {
        is(deliver($nginx, $events[$_]), 204, "event $_") for @$order;
        is(answers($nginx, $token), '401 revoked', 'the token');
        is(answers($nginx, token(user => $user, claims => { iat => $now - 70, auth_time => $now - 70 })),
            '401 revoked', 'a token of the last end');
        is(answers($nginx, token(user => $user, claims => { iat => $now - 69, auth_time => $now - 69 })),
            '200 ok', 'a token of the second after');
    }
};

subtest 'a planned disabling counts from its time on' => sub {
    my ($user, $token) = issued(10);
    my ($other, $kept) = issued(10);
    my $from = time + 3;
    is(deliver($nginx, planned($user, $from)), 204, 'a plan');
    is(deliver($nginx, planned($other, $from)), 204, 'one for another user');
    is(deliver($nginx, event('user.anonymization_unscheduled', $other)), 204, 'which is called off');
    is(answers($nginx, $token), '200 ok', 'before its time') if time < $from - 1;
    ok($nginx->reload, 'a reload');
    soon { answers($nginx, $token) eq '401 revoked' } 'from its time on';
    cmp_ok(time, '>=', $from, 'not before');
    is(answers($nginx, $kept), '200 ok', 'the one that was called off');
    is(deliver($nginx, event('user.disabled', $other, user => { is_disabled => JSON::PP::false },
        payload => { temporarily_disabled_from => rfc3339(time - 9) })), 204, 'a period that is over');
    is(answers($nginx, $kept), '200 ok', 'ends nothing');
};

subtest 'a forged, malformed or unfit delivery changes nothing' => sub {
    my ($user, $token) = issued(10);
    my $body = event('user.disabled', $user);
    my $signature = hmac_sha256_hex($body, webhook_secret());
    my $header = 'X-Authgear-Body-Signature';
    for my $case (
        ['no signature', 401, headers => ''],
        ['an empty one', 401, headers => "$header:"],
        ['another secret', 401, secret => 'another'],
        ['upper case', 401, headers => "$header: \U$signature"],
        ['one digit less', 401, headers => "$header: " . substr($signature, 1)],
        ['two signatures', 401, headers => "$header: $signature\r\n$header: $signature"],
    ) {
        my ($name, $status, %more) = @$case;
        is(deliver($nginx, $body, %more), $status, $name);
    }
    is(deliver($nginx, "$body ", headers => "$header: $signature"), 401, 'another body');
    is(deliver($nginx, $_->[1]), 400, $_->[0]) for
        ['no JSON', 'user.disabled'],
        ['a list', '[]'],
        ['no user', $body =~ s/"id":"\Q$user\E"/"id":""/r],
        ['no time', $body =~ s/"timestamp":\d+/"timestamp":null/r],
        ['no seq', $body =~ s/"seq":\d+/"seq":"x"/r],
        ['six minutes ahead', event('user.disabled', $user, at => time + 360)];
    is(deliver($nginx, event('user.disabled', $user, at => time - 86_410)), 204, 'older than revocation_keep');
    for my $method (qw(GET PUT HEAD DELETE)) {
        my $connection = $nginx->connection;
        print {$connection} "$method /webhook/myapp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        local $/;
        my $answer = <$connection>;
        like($answer, qr{^HTTP/1.1 405 }, $method);
        like($answer, qr/^Allow: POST\r$/m, "$method: only POST is allowed (RFC 9110, section 15.5.6)");
    }
    is(answers($nginx, $token), '200 ok', 'the user is not revoked');
    my @lines = $nginx->log_text =~ /authgear: (webhook of .*?)(?:, client|$)/mg;
    ok((grep {/^webhook of project "myapp": refused, since its signature is missing or wrong; compare "webhook_secret_file"/} @lines), 'a line tells of signatures');
    ok((grep {/^webhook of project "myapp": the body is no event of Authgear: /} @lines), 'and of malformed bodies');
    unlike($nginx->log_text, qr/\Q$user\E|$signature/, 'no line tells the user or the signature');
};

subtest 'white space around a signature is no part of it' => sub {
    for my $around ("%s\t", "\t%s", " \t %s \t ") {
        my ($user, $token) = issued(10);
        my $body = event('user.disabled', $user);
        my $signature = sprintf $around, hmac_sha256_hex($body, webhook_secret());
        my $name = $around =~ s/\t/<tab>/gr;
        is(deliver($nginx, $body, headers => "X-Authgear-Body-Signature: $signature"), 204, "'$name' verifies");
        is(answers($nginx, $token), '401 revoked', "'$name': the user is revoked");
    }
};

subtest 'a body of up to client_max_body_size, in memory or in a file' => sub {
    for my $size (100, 8_000, 20_000, 300_000, 1_000_000) {
        my ($user, $token) = issued(10);
        my $body = event('user.disabled', $user, payload => { more => 'x' x $size });
        is(deliver($nginx, $body), 204, "$size bytes");
        is(answers($nginx, $token), '401 revoked', "$size bytes: revoked");
    }
    is(deliver($nginx, 'x' x (1 << 20 | 1)), 413, 'one byte more than 1 MiB');
    like($nginx->log_text, qr/\[error\] .*client intended to send too large body/, 'is an error line');
};

# Else whoever reaches the location could fill a worker's memory.
subtest 'no body over 16 MiB is read, whatever client_max_body_size says' => sub {
    my ($user, $token) = issued(10);
    my $empty = length event('user.disabled', $user, seq => 1, payload => { more => '' });
    my $fill = sub { event('user.disabled', $user, seq => 1, payload => { more => 'x' x ((16 << 20) - $empty + $_[0]) }) };
    is(length $fill->(0), 16 << 20, 'a body of 16 MiB');
    my $server = $nginx->{option}{server};
    for my $case ('client_body_in_single_buffer on; client_body_buffer_size 17m;', '') {
        my $location = webhook_location('myapp', "client_max_body_size 0; $case");
        ok($nginx->reload(server => "authgear_verify myapp; $location"), "a reload, $case");
        is(deliver($nginx, $fill->(1), project => 'myapp'), 413, 'one byte more is refused');
        is(answers($nginx, $token), '200 ok', 'and counts nothing') if $case;
        is(deliver($nginx, $fill->(0), project => 'myapp'), 204, '16 MiB are read');
        is(answers($nginx, $token), '401 revoked', 'and count');
    }
    like($nginx->log_text, qr/\[error\] .*authgear: webhook of project "myapp": refused, since its body is longer than 16777216 bytes/, 'is an error line');
    ok($nginx->reload(server => $server), 'a reload');
};

subtest 'a killed worker and a reload forget nothing' => sub {
    my ($user, $token) = issued(10);
    is(deliver($nginx, event('user.deleted', $user)), 204, 'deleted');
    my @workers = $nginx->workers;
    kill KILL => @workers;
    wait_for { my @now = $nginx->workers; @now == 4 && !grep { my $one = $_; grep { $_ == $one } @workers } @now } 10;
    is(answers($nginx, $token), '401 revoked', 'after all workers were killed');
    ok($nginx->reload, 'a reload');
    is(answers($nginx, $token), '401 revoked', 'after a reload');
};
$nginx->stop_soundly(killed => 1);

subtest 'every line of the secret file verifies' => sub {
    my $file = secret_file("first\r\n" . webhook_secret() . "\nthird");
    local $ENV{TEST_NGINX_WEBHOOK_SECRET} = $file;
    my $nginx = start();
    for my $line ('first', webhook_secret(), 'third') {
        my ($user, $token) = issued(10);
        is(deliver($nginx, event('user.disabled', $user), secret => $line), 204, $line);
        is(answers($nginx, $token), '401 revoked', "$line: revoked");
    }
    is(deliver($nginx, event('user.disabled', 'x'), secret => "first\r"), 401, 'the line end is no part of it');
    $nginx->stop_soundly;
};

subtest 'projects that share an endpoint or an issuer share revocations' => sub {
    my $origin = standin()->{origin};
    my $nginx = start(
        http => "authgear_project same { endpoint $origin; cookie_prefix x_; }"
            . " authgear_project other { issuer $origin; audience $origin; jwks_uri $origin/oauth2/jwks; }"
            . " authgear_project foreign { endpoint $origin; issuer https://foreign.example; webhook_secret_file \$TEST_NGINX_WEBHOOK_SECRET; }"
            . " authgear_project issuer { issuer https://foreign.example; audience $origin; jwks_uri $origin/oauth2/jwks; $secret }",
        server => join(' ', map {"location = /$_ { authgear_verify $_; empty_gif; }"} qw(same other foreign issuer))
            . webhook_location('foreign') . webhook_location('issuer'),
    );
    my $tell = sub { join ' ', map { $nginx->ask(path => $_, token => $_[0])->{status} } qw(/ /same /other) };
    my ($user, $token) = issued(10);
    is($tell->($token), '200 200 200', 'before');
    is(deliver($nginx, event('user.disabled', $user)), 204, 'a webhook of one');
    is($tell->($token), '401 401 401', 'counts for all three');
    ($user, $token) = issued(10);
    is(deliver($nginx, event('user.disabled', $user), project => 'foreign'), 204, 'one of the endpoint under another issuer');
    is($tell->($token), '401 401 401', 'counts for those of the endpoint');
    for my $project (qw(foreign issuer)) {
        ($user, $token) = issued(10, iss => 'https://foreign.example');
        my $of_issuer = sub { join ' ', map { $nginx->ask(path => $_, token => $token)->{status} } qw(/foreign /issuer) };
        is($of_issuer->(), '200 200', "a token of the issuer, before a webhook of $project");
        is(deliver($nginx, event('user.disabled', $user), project => $project), 204, "a webhook of $project");
        is($of_issuer->(), '401 401', 'counts for both');
    }
    $nginx->stop_soundly;
};

subtest "a client's token has no user" => sub {
    my $nginx = start(project => 'token_type any;');
    my $m2m = token(kind => 'm2m', client_id => 'robot', audience => [standin()->{origin}]);
    is(answers($nginx, $m2m), '200 ok', 'before');
    is(deliver($nginx, event('user.disabled', 'client_id_robot')), 204, 'a webhook about a user of that name');
    is(answers($nginx, $m2m), '200 ok', 'after');
    $nginx->stop_soundly;
};

subtest 'of projects that share users the longest revocation_keep counts' => sub {
    my $nginx = start(
        project => 'revocation_keep 2s;',
        http => 'authgear_project same { endpoint ' . standin()->{origin} . '; cookie_prefix x_; }',
        server => 'location = /same { authgear_verify same; empty_gif; }',
    );
    my ($user, $token) = issued(10);
    is(deliver($nginx, event('user.disabled', $user)), 204, 'a webhook');
    sleep 4;
    is($nginx->ask(path => $_, token => $token)->{status}, 401, "after two seconds, $_") for '/', '/same';
    $nginx->stop_soundly;
};

subtest 'a full table keeps the newest, and says so of what it does not keep' => sub {
    # Room for some 480 users.
    my $nginx = start(http => 'authgear_shared_zone zone=authgear:512k;');
    my $at = time - 50;
    my %status;
    $status{ deliver($nginx, event('user.disabled', "many-$_", at => $at)) }++ for 1 .. 1500;
    is_deeply(\%status, { 204 => 1500 }, 'of many users in one second each is kept');
    my ($user, $token) = issued(1000);
    is(deliver($nginx, event('user.disabled', $user, at => $at - 1)), 503, 'an older one is not');
    is(answers($nginx, $token), '200 ok', 'and does not count');
    my @said = $nginx->log_text =~ /revocations: (.*? is dropped)/g;
    is_deeply([@said[0, -1]], ['an older one is dropped', 'this one is dropped'], 'the log says both');
    is(deliver($nginx, event('user.disabled', $user)), 204, 'a newer one is kept');
    is(answers($nginx, $token), '401 revoked', 'and counts');
    $nginx->stop_soundly;
};

subtest 'variables, optional and observe' => sub {
    my $nginx = start(
        server => 'location = /optional { authgear_verify myapp optional; empty_gif; }'
            . ' location = /observe { authgear_verify myapp observe; empty_gif; }',
    );
    my ($user, $token) = issued(10);
    is(deliver($nginx, event('user.disabled', $user)), 204, 'disabled');
    my $tell = sub { my $answer = $nginx->ask(path => $_[0], token => $token); "$answer->{status} $answer->{reason} " . ($answer->{user} // '-') };
    is($tell->('/'), '401 revoked -', 'required');
    is($tell->('/optional'), '401 revoked -', 'optional');
    is($tell->('/observe'), '200 revoked -', 'observe');
    $nginx->stop_soundly;
};

subtest 'a webhook location with an "if" and a "limit_except" in it receives all the same' => sub {
    my $inside = 'if ($request_method = POST) { set $kind post; } limit_except POST { allow all; }';
    my $nginx = Test::Nginx::Authgear::Server->start(
        project => $secret, server => 'authgear_verify myapp; ' . webhook_location('myapp', $inside),
    );
    my ($user, $token) = issued(10);
    is(deliver($nginx, event('user.disabled', $user)), 204, 'POST, by the "if"');
    is($nginx->ask(path => '/webhook/myapp')->{status}, 405, 'GET, by the "limit_except"');
    is($nginx->ask(token => $token)->{reason}, 'revoked', 'the user is out');
    $nginx->stop_soundly;
};

subtest 'a token that outlives its revocation is told of once' => sub {
    my $nginx = start(project => 'revocation_keep 10m;');
    $nginx->ask(token => token(user => "long-$_")) for 1 .. 20;
    my @lines = $nginx->log_text =~ /\[warn\] .*authgear: (project "myapp": a token lives longer than "revocation_keep")/g;
    is(scalar @lines, 1, 'one line');
    $nginx->stop_soundly;
};

subtest 'the status page counts webhooks, and users who are revoked' => sub {
    my $nginx = start(server => 'location = /metrics { authgear_verify off; authgear_status prometheus; }'
        . ' error_page 403 413 =200 /free; location = /large { authgear_webhook myapp; client_max_body_size 0; }'
        . ' location = /small { authgear_webhook myapp; if ($arg_x) { set $x 1; } } location = /denied { authgear_webhook myapp; deny all; }');
    my $metrics = sub {
        my $body = $nginx->ask(path => '/metrics')->{body};
        return { map {/^authgear_(webhooks_total|revocations)\{project="myapp"(?:,result="(\w+)")?\} (\d+)$/m ? ($2 // 'users' => $3) : ()} split /\n/, $body };
    };
    my %before = (map({ $_ => 0 } qw(accepted ignored bad_signature malformed bad_method too_large unavailable)), users => 0);
    is_deeply($metrics->(), \%before, 'nothing at first');
    my ($user) = issued(10);
    deliver($nginx, event('user.disabled', $user)) for 1 .. 3;
    deliver($nginx, event('user.disabled', (issued(10))[0]));
    deliver($nginx, event('user.reenabled', 'nobody'));
    deliver($nginx, event('user.profile.updated', $user));
    deliver($nginx, 'no event');
    my $body = event('user.disabled', $user);
    post($nginx, '/webhook/myapp', $body, 'X-Authgear-Body-Signature: ' . '0' x 64) for 1, 2;
    deliver($nginx, event('user.disabled', $user, payload => { more => 'x' x 2_000_000 }));
    is(post($nginx, '/small?x=1', 'x' x 2_000_000)->{status}, 413, 'too large, beside an inherited error_page');
    is(post($nginx, '/large', 'x' x (16 << 20 | 1))->{status}, 413, 'so is one that nginx does not refuse');
    is(post($nginx, '/denied', '{}')->{status}, 403, 'and another refusal by nginx');
    $nginx->ask(path => '/webhook/myapp') for 1 .. 3;
    my %after = (%before, accepted => 5, ignored => 1, malformed => 1, bad_signature => 2, bad_method => 3, too_large => 3, users => 2);
    # What nginx refuses is counted when it is logged, after the client's last bytes.
    wait_for { $metrics->()->{too_large} == 3 } 10;
    is_deeply($metrics->(), \%after, 'each by its answer') or diag explain $metrics->();
    $nginx->stop_soundly;
};

done_testing();
