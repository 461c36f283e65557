# Everything that can happen to what workers share, at random and at the same time:
# tokens of all kinds, rotations, faults, reloads, killed workers, clients that
# leave; and what stress/Users.pm adds. Counts the verdicts and fails if one of them
# is wrong; see stress.sh.
#
# Random choices follow SEED, their times do not: a run is alike, not the same.
use strict;
use warnings;

use IO::Select;
use JSON::PP;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Redis;
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Server::Requests qw($slow);
use Time::HiRes qw(sleep time);
use Users;

my $minutes = $ENV{MINUTES} || 3;
my $seed = $ENV{SEED} || time % 1_000_000;
$seed = int $seed;
srand $seed;
$| = 1;
print "stress: $minutes minutes, SEED=$seed\n";

# After so many seconds without a fault, every worker has the set that is
# published: a fetch that hangs ends, the next one starts after its pause.
my $settling = 6 * $slow;
# Longer than any request may wait.
my $patience = 15 * $slow;
my $connections = 24;
my $tenants = 12;
# Requests a second.
my $pace = 600;

my $project = 'algorithms RS256 ES256 EdDSA; leeway 0s; jwks_refresh 2s; jwks_stale 4s; jwks_min_interval 1s; fetch_timeout '
    . 2 * $slow . 's;';
my $state = "$ENV{AUTHGEAR_TEST_DIR}/state";
start_redis() or die "Redis does not start\n";
my @node = (
    # Too small for all tenants, tokens and sessions.
    http => "authgear_shared_zone zone=authgear:512k; authgear_project tenants { $project"
        . ' endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR; }' . Users::http($project),
    server => 'location /tenant { authgear_verify tenants; empty_gif; }' . Users::server(),
);
$project .= Users::project();
my $nginx = Test::Nginx::Authgear::Server->start(@node, workers => 4, project => "$project state_path $state;");
my $other = Test::Nginx::Authgear::Server->start(@node, workers => 2, project => $project, beside => 1);

# --- what is true

my $began = time;
my $ends = $began + 60 * $minutes;
# Since when fetches work; undef while they do not.
my $healthy = $began;
# When a worker was killed, and until when a reload may close connections.
my $disrupted = 0;
my (%key, @tokens, %count, @wrong, @history);
my %did;

# A key by kid: alg; settled, once every worker must accept it; dropped, when it
# left the set; refused, once every worker must refuse it.
sub add_key {
    my ($kid, $alg) = @_;
    $key{$kid} = { kid => $kid, alg => $alg, since => time };
    my @by = (alg => $alg, key => $kid);
    mint($_, $kid, @by) for 'valid', 'valid';
    mint('expired', $kid, @by, expires_in => -1);
    mint('audience', $kid, @by, audience => ['https://other.example.com']);
}

# kind, kid, then fields for the stand-in.
sub mint {
    my ($kind, $kid, @fields) = @_;
    my $token = { kind => $kind, kid => $kid, path => '/', text => token(@fields) };
    push @tokens, $token;
    return $token;
}

sub published { return grep { !$_->{dropped} } values %key }

sub settle {
    my $now = time;
    return if !$healthy;
    for my $key (values %key) {
        my $since = $key->{dropped} || $key->{since};
        $since = $healthy if $since < $healthy;
        next if $now - $since < $settling;
        $key->{ $key->{dropped} ? 'refused' : 'settled' } = 1;
    }
}

sub note_event {
    my ($what) = @_;
    push @history, sprintf '%.2f %s', time - $began, $what;
    shift @history if @history > 12;
}

my $users = Users->new(
    nginx => $nginx, other => $other, slow => $slow, settling => $settling,
    key => sub { (map { $_->{kid} } grep { $_->{settled} && $_->{alg} eq 'RS256' } published())[0] },
    stands => sub { my $key = $key{ $_[0] }; $key && !$key->{dropped} },
    wrong => sub { note_wrong(sprintf '%.2f %s; %s', time - $began, $_[0], join ', ', @history) },
);

sub note_wrong {
    push @wrong, @_;
    print "wrong: @_\n" if @wrong <= 20;
}

# --- what happens

my ($fault_ends, $gone_ends, $reloaded) = (0, 0, 0);

sub break_until {
    my ($seconds) = @_;
    $healthy = undef;
    return time + $seconds;
}

sub mend {
    my ($now) = @_;
    if ($fault_ends && $now >= $fault_ends) {
        heal();
        $fault_ends = 0;
        note_event('healed');
    }
    if ($gone_ends && $now >= $gone_ends) {
        control('POST', '/-/back');
        $users->endpoint_is_gone(0);
        $gone_ends = 0;
        note_event('back');
    }
    $healthy //= time if !$fault_ends && !$gone_ends;
}

my @faults = (
    [status => status => 500], [status => status => 404], ['garbage'], ['empty'], ['hang'], ['drip'],
    ['close'], ['oversize'], [redirect => location => 'http://127.0.0.1:1/'],
    [slow => delay_ms => 700], [slow => delay_ms => 3000], [body => body => '{"keys":[{}]}'],
);

my %action = (
    rotate => sub {
        my $kid;
        my ($kty, $crv, $alg) = @{ (['EC', 'P-256', 'ES256'], ['OKP', 'Ed25519', 'EdDSA'])[rand 2] };
        if (rand() < 0.3) {
            ($kid, $alg) = (control('POST', '/-/keys/rotate'), 'RS256');
        }
        else {
            $kid = control('POST', '/-/keys/add', { kty => $kty, crv => $crv });
        }
        $kid = $kid->{kid} if ref $kid;
        $kid =~ s/\s+\z//;
        add_key($kid, $alg);
        $did{drop}++, drop_key() if published() > 5;
        return $kid;
    },
    drop => sub {
        return if published() < 3;
        return drop_key();
    },
    fault => sub {
        return if $fault_ends;
        my $what = rand() < 0.5 ? 'jwks' : 'discovery';
        my @fault = @{ $faults[rand @faults] };
        # Before the endpoint fails, not after.
        $fault_ends = break_until((0.5, 2, 4, 9)[rand 4] + rand);
        fault($what => @fault);
        return "$what @fault";
    },
    gone => sub {
        return if $gone_ends;
        $gone_ends = break_until((0.3, 2, 8)[rand 3] + rand);
        $users->endpoint_is_gone(1);
        control('POST', '/-/gone');
        return 'endpoint';
    },
    reload => sub {
        return if time - $reloaded < 3 * $slow;
        $reloaded = $nginx->{reloaded} = time;
        $disrupted = time + 4 * $slow;
        my $workers = 2 + int rand 4;
        $nginx->configure(workers => $workers);
        $nginx->signal('HUP');
        return $workers;
    },
    kill => sub {
        my @workers = $nginx->all_workers or return;
        my $worker = $workers[rand @workers];
        $disrupted = time if $disrupted < time;
        $nginx->{killed} = time;
        kill KILL => $worker;
        return $worker;
    },
    leave => sub {
        my @sent = map { $nginx->send(path => $_->{path}, token => $_->{text}) }
            map { $tokens[rand @tokens] } 1 .. 1 + int rand 30;
        sleep 0.01 if rand() < 0.5;
        $nginx->leave(@sent);
        $count{left}{'-'} += @sent;
        return scalar @sent;
    },
    # A token that will expire while it is in use.
    short => sub {
        my ($key) = grep { $_->{settled} } published() or return;
        my $seconds = 2 + int rand 5;
        my $token = mint('short', $key->{kid}, alg => $key->{alg}, key => $key->{kid},
            expires_in => $seconds);
        $token->{expires} = time + $seconds;
        return $seconds;
    },
    # Changes the order in which keys are asked for, and so fetched.
    mood => \&set_mood,
    $users->actions,
);
my %weight = (rotate => 4, drop => 2, fault => 4, gone => 2, reload => 2, kill => 2, leave => 5, short => 3, mood => 3,
    join => 6, revoke => 5, redis => 2, resolver => 3, flood => 1, expiring => 2, login => 2, node => 6, 'other node' => 1);
my @weighted = map { ($_) x $weight{$_} } sort keys %action;

sub drop_key {
    my @all = sort { $a->{since} <=> $b->{since} } published();
    # The stand-in always has an RSA key, which it signs with by default.
    my @rsa = grep { $_->{alg} eq 'RS256' } @all;
    my ($key) = grep { @rsa > 1 || $_ != $rsa[0] } @all;
    # The clock says when it began to leave.
    $key->{dropped} = time;
    control('POST', '/-/keys/drop', { kid => $key->{kid} });
    return $key->{kid};
}

sub act {
    my $name = $weighted[rand @weighted];
    my $did = $action{$name}->() // return;
    $did{$name}++;
    note_event("$name $did");
}

# --- requests

my %mood;

sub set_mood {
    %mood = map { $_ => rand } qw(stranger unknown opaque tenant foreign);
    # Sometimes nobody asks for what is not there.
    $mood{unknown} = 0 if rand() < 0.5;
    return join ' ', map { sprintf '%s %.1f', $_, $mood{$_} } sort keys %mood;
}

sub pick {
    if (rand() < 0.35) {
        my $request = $users->pick;
        return $request if $request;
    }
    # Those of keys that left long ago come seldom.
    for (1 .. 20) {
        my $token = $tokens[rand @tokens];
        next if exists $mood{ $token->{kind} } && rand() > $mood{ $token->{kind} };
        return $token;
    }
    return $tokens[0];
}

# Tokens that no key's coming and going changes.
sub mint_others {
    my $document = key_set();
    my ($kid) = map { $_->{kid} } values %key;
    mint('stranger', undef, key => 'stranger') for 1 .. 2;
    mint('unknown', undef, header => { kid => "made-up-$_" }) for 1 .. 40;
    mint('opaque', undef, kind => 'opaque') for 1 .. 2;
    for my $n (1 .. $tenants) {
        my $origin = "https://tenant-$n.example.com";
        control('PUT', "/-/keys/raw?project=$origin", $document . ' ' x 40_000);
        # They outlive the longest run.
        my %claims = (claims => { iss => $origin, aud => [$origin] }, key => $kid, expires_in => 40_000);
        mint('tenant', undef, %claims)->{path} = "/tenant?t=tenant-$n";
        mint('foreign', undef, %claims)->{path} = '/tenant?t=tenant-' . (1 + $n % $tenants);
        # More of them than the zone holds.
        push @{ $users->{crowd} }, map { +{ kind => 'tenant', path => "/tenant?t=tenant-$n", text => token(%claims) } } 1 .. 20;
    }
}

# Old tokens of dropped keys go, but not at once.
sub forget_tokens {
    my @dropped = sort { $a->{dropped} <=> $b->{dropped} } grep { $_->{refused} } values %key;
    delete $key{ (shift @dropped)->{kid} } while @dropped > 4;
    @tokens = grep {
        (!defined $_->{kid} || $key{ $_->{kid} }) && (!$_->{expires} || time < $_->{expires} + 20)
    } @tokens;
}

my @idle;
my %busy;
my $select = IO::Select->new;

sub send_one {
    my $connection = shift @idle || { socket => $nginx->connection, since => time };
    my $token = pick();
    my $key = defined $token->{kid} ? $key{ $token->{kid} } : undef;
    my $sent = $nginx->send(path => $token->{path}, token => $token->{text} // $token->{token},
        headers => $token->{headers}, on => $connection->{socket});
    @$sent{qw(token key connection)} = ($token, $key, $connection);
    $sent->{settled} = $key && $key->{settled};
    $sent->{refused} = $key && $key->{refused};
    return take($sent) if $sent->{error};
    $busy{ fileno $connection->{socket} } = $sent;
    $select->add($connection->{socket});
}

sub receive_some {
    my ($wait) = @_;
    for my $socket ($select->can_read($wait)) {
        my $sent = $busy{ fileno $socket };
        my $got = sysread $socket, $sent->{text}, 65536, length $sent->{text};
        my $complete = Test::Nginx::Authgear::Server::Requests::is_complete($sent->{text});
        next if $got && !$complete;
        $sent->{error} = 'closed' if !$complete;
        finish($sent);
    }
    finish($_) for grep { time - $_->{at} > $patience && ($_->{error} = 'no answer') } values %busy;
}

sub finish {
    my ($sent) = @_;
    my $socket = $sent->{socket};
    $select->remove($socket);
    delete $busy{ fileno $socket };
    take($sent);
}

sub take {
    my ($sent) = @_;
    my $answer = Test::Nginx::Authgear::Server::Requests::answer($sent);
    my $verdict = $answer->{error} // join ' ', grep { defined } @$answer{qw(status reason)};
    my $kind = kind($sent);
    $count{$kind}{$verdict}++;
    my $fault = fault_of($sent, $kind, $answer);
    if ($fault) {
        my $key = $sent->{key};
        note_wrong(sprintf '%.2f %s: %s, %s; sent %.2f s before; fetches work since %s; %s; %s',
            time - $began, $kind, $verdict, $fault, time - $sent->{at},
            $healthy ? sprintf('%.2f', $healthy - $began) : 'never',
            $key ? join(' ', map { "$_ " . ($key->{$_} // '-') } qw(kid settled refused)) : 'no key',
            join ', ', @history);
    }
    my $connection = $sent->{connection};
    if ($answer->{error}) {
        close $connection->{socket};
        return;
    }
    $connection->{since} = time;
    if (($answer->{headers} // '') =~ /^Connection: close/mi || rand() < 0.02) {
        close $connection->{socket};
        return;
    }
    push @idle, $connection;
}

# The kind of a request whose answer is here.
sub kind {
    my ($sent) = @_;
    my ($token, $key) = @$sent{qw(token key)};
    my $kind = $token->{kind};
    if ($kind eq 'short') {
        return 'expired' if $sent->{at} > $token->{expires} + 1;
        return 'expiring' if time > $token->{expires} - 1;
        $kind = 'valid';
    }
    return $kind if $kind ne 'valid';
    return 'dropped' if $sent->{refused};
    return 'leaving' if $key->{dropped};
    return $sent->{settled} ? 'valid' : 'new';
}

# Verdicts for each kind, beside 503 while keys cannot be had.
my %right = (
    valid => qr/^200 ok$/,
    new => qr/^(?:200 ok|401 unknown_key)$/,
    leaving => qr/^(?:200 ok|401 unknown_key)$/,
    dropped => qr/^401 unknown_key$/,
    expiring => qr/^(?:200 ok|401 (?:expired|unknown_key))$/,
    expired => qr/^401 (?:expired|unknown_key)$/,
    audience => qr/^401 (?:bad_audience|unknown_key)$/,
    stranger => qr/^401 (?:bad_signature|unknown_key)$/,
    unknown => qr/^401 unknown_key$/,
    opaque => qr/^401 /,
    tenant => qr/^200 ok$/,
    foreign => qr/^401 bad_issuer$/,
);

# The fault of an answer, if it has one.
sub fault_of {
    my ($sent, $kind, $answer) = @_;
    if (my $error = $answer->{error}) {
        return 'nobody answers' if $error eq 'no answer';
        # A killed worker's connections are lost, and idle ones at a reload.
        return $disrupted >= $sent->{connection}{since} - 0.5 ? undef : 'nothing happened to it';
    }
    my $verdict = join ' ', grep { defined } @$answer{qw(status reason)};
    return $sent->{token}{check}->($verdict, $sent->{at}) if $sent->{token}{check};
    return if $verdict =~ $right{$kind};
    if ($verdict eq '503 keys_unavailable') {
        return if !$healthy || $sent->{at} - $healthy < $settling;
        return 'keys can be had';
    }
    return 'a wrong verdict';
}

# --- the run

for my $kid (@{ control('GET', '/-/keys')->{kids} }) {
    add_key($kid, 'RS256');
}
mint_others();
set_mood();

my ($sent, $next_action, $next_line) = (0, time + 1, time + 30);
while (time < $ends && @wrong < 100) {
    my $now = time;
    mend($now);
    settle();
    $users->look;
    if ($now >= $next_action) {
        act();
        forget_tokens();
        $next_action = $now + rand 1.2;
        # Calm enough, at times, for all workers to have the newest keys.
        $next_action += 10 * $slow if rand() < 0.03;
    }
    my $due = ($now - $began) * $pace - $sent;
    # Requests that were due during a long action are not made up for.
    $sent += $due - 2 * $connections, $due = 2 * $connections if $due > 2 * $connections;
    for (1 .. $due) {
        last if keys(%busy) >= $connections;
        send_one();
        $sent++;
    }
    receive_some(0.005);
    if ($now >= $next_line) {
        my $requests = 0;
        $requests += $_ for map { values %$_ } values %count;
        printf "%3d s: %d requests, %d wrong\n", $now - $began, $requests, scalar @wrong;
        $next_line += 30;
    }
}

# All's well in the end: every worker has the newest set.
$fault_ends &&= 1;
$gone_ends &&= 1;
mend(time);
while (%busy) { receive_some(0.05) }
my $calm = time + $settling;
while (time < $calm) {
    settle();
    send_one() if keys %busy < $connections;
    receive_some(0.01);
}
while (%busy) { receive_some(0.05) }
settle();
my %to = $nginx->connection_to_each;
my @last;
for my $worker (sort keys %to) {
    for my $token (grep { $_->{kind} eq 'valid' } @tokens) {
        my $key = $key{ $token->{kid} };
        my $answer = $nginx->ask(token => $token->{text}, on => $to{$worker});
        my $verdict = $answer->{error} // "$answer->{status} $answer->{reason}";
        my $expected = $key->{dropped} ? '401 unknown_key' : '200 ok';
        $count{'at the end'}{$verdict}++;
        push @wrong, "at the end: $verdict instead of $expected by worker $worker"
            if $verdict ne $expected;
    }
}
push @wrong, 'at the end: not all workers could be reached' if keys %to < $nginx->workers;
close $_->{socket} for @idle;
close $_ for values %to;
$users->end;
push @wrong, 'nginx does not end' if !$nginx->stop;
stop_redis();

# --- the log

my $bad = qr/\[(?:alert|emerg|crit)\]|panicked|exited on signal|exited with code [^0]/;
$_->{mark} = $_->{start} for $nginx, $other;
my @lines = grep { /$bad/ && !/exited on signal 9\b/ } map { split /\n/, $_->log_text } $nginx, $other;

print "\n";
$count{$_} = $users->{count}{$_} for keys %{ $users->{count} };
for my $kind (sort keys %count) {
    printf "%-15s %s\n", $kind,
        join ', ', map { "$count{$kind}{$_} $_" } sort keys %{ $count{$kind} };
}
printf "%-15s %s\n", 'events', join ', ', map { "$did{$_} $_" } sort keys %did;
printf "%-15s %s\n", 'evictions', $users->{evictions} // '-';
print "log: $_\n" for @lines[0 .. ($#lines > 19 ? 19 : $#lines)];
print "wrong: $_\n" for grep { /^(?:at the end|nginx)/ } @wrong;
printf "%d wrong verdicts, %d bad log lines (SEED=%d)\n", scalar @wrong, scalar @lines, $seed;
exit(@wrong || @lines ? 1 : 0);
