# Random requests with random credentials against random configurations of all
# directives, while workers are reloaded and killed and Authgear fails: no identity
# that was not sent, no answer that the contract does not know, no crash, no alert, no
# token in a log, no request that waits for ever. See torture.sh, and torture/ for
#
#   Conf.pm         configurations      Credentials.pm   who sends what
#   Sender.pm       the clients, and what no answer may be
#   Backend.pm      what reached the backend
#
# Choices follow SEED, their times do not: a run is alike, not the same.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256_hex);
use File::Path qw(make_path);
use JSON::PP;
use POSIX ();
use Test::Nginx::Authgear args => ['--tenants', '--amr'];
use Test::Nginx::Authgear::Http2 ();
use Test::Nginx::Authgear::Http3 ();
use Test::Nginx::Authgear::Redis;
use Test::Nginx::Authgear::Resolver ();
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Server::Requests qw($slow);
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep time);

use Backend;
use Conf qw(chance one);
use Credentials;
use Sender;

my $minutes = $ENV{MINUTES} || 5;
my $seed = int($ENV{SEED} || time % 1_000_000);
srand $seed;
$| = 1;
print "torture: $minutes minutes, SEED=$seed\n";

my $directory = $ENV{AUTHGEAR_TEST_DIR};
my $json = JSON::PP->new->latin1;
my $ends = time + 60 * $minutes;
my (%count, @wrong, %said);

# --- what configurations name

$ENV{TEST_NGINX_ORIGIN} = standin()->{origin};
for (qw(STATE STATIC CACHE LOGS)) { make_path($ENV{"TEST_NGINX_TORTURE_$_"} = "$directory/" . lc) }
$ENV{TEST_NGINX_TORTURE_STATE} .= '/saved';
chmod 0777, "$directory/static", "$directory/cache", "$directory/state";
make_path("$directory/static/dav");
chmod 0777, "$directory/static/dav";
save("$ENV{TEST_NGINX_TORTURE_STATIC}/file.html", 'a file ' x 500);
save($ENV{TEST_NGINX_TORTURE_USERS} = "$directory/users", "alice:{PLAIN}x\n");
start_redis() or die "Redis does not start\n";
Credentials::make($minutes);
save($ENV{TEST_NGINX_TORTURE_KEYS} = "$directory/keys.json", key_set());
my $backend = Backend::start("$directory/backend.json");
my ($h2, $h3) = map { Test::Nginx::Authgear::Server::free_port() } 1 .. 2;
my $h2_listen = Test::Nginx::Authgear::Http2::http2_listen($h2);
# Each worker has a socket of its own, so that it gets the packets of its connections.
my $h3_listen;
$h3_listen = Test::Nginx::Authgear::Http3::http3_listen($h3) =~ s/quic;/quic reuseport;/r if Test::Nginx::Authgear::Http3::has_http3();

sub save {
    my ($name, $text) = @_;
    open my $out, '>', $name or die "cannot write $name: $!\n";
    print {$out} $text;
    close $out;
    return;
}

sub wrong {
    my ($what, $more) = @_;
    push @wrong, $what;
    # Each kind a few times.
    my $kind = $what =~ s/\d+/N/gr;
    print "wrong: $what", defined $more ? "\n  $more" : '', "\n" if ++$said{$kind} <= 5;
    return;
}

# --- configurations

sub configuration {
    my ($wild) = @_;
    return Conf::random(wild => $wild, h2 => $h2_listen, h3 => $h3_listen, backend => $backend->{origin}, prefix => '');
}

# These stand at no one line, or are about the machine.
my $no_line = qr/"proxy_cache" reaches location|the zone ".*" is another module's|shared zone|no "webhook_secret_file"|"webhook_secret_file"; add it|host not found|no host in|bind\(\)|could not build|zone "\w+" was already|mkdir\(\)|open\(\)|stat\(\)|unknown "\w+" variable|the size \d+ of shared memory zone|zero size shared memory zone|"auth_request"/;

# What `nginx -t` said must be nothing, or a mistake with its file and line.
sub check_said {
    my ($said, $status, $text) = @_;
    $count{'nginx -t'}{ $status ? 'refused' : 'accepted' }++;
    return 1 if $status == 0 && $said !~ /\[emerg\]/;
    my ($message) = $said =~ /\[emerg\] (.*)/;
    my $is_good = $status == 1 && (defined $message ? $message =~ / in \S+:\d+$/
        || $message =~ $no_line : $said =~ /\[alert\] mmap/);
    if (!$is_good) {
        save("$directory/refused.conf", $text);
        wrong("nginx -t: exit code $status: " . substr($said, -500));
    }
    if (defined $message) { $count{refusals}{ $message =~ s/ in \S+:\d+$//r =~ s/"[^"]*"|\d+/…/gr }++ }
    return 0;
}

sub try_wild {
    my $conf = configuration(one(0.02, 0.05, 0.2));
    my $text = Conf::whole_http($conf);
    my ($said, $status) = eval { config_output($text) };
    return wrong("nginx -t: $@") if !defined $status;
    check_said($said, $status, $text);
    return;
}

# A configuration that nginx accepts.
sub next_configuration {
    my ($nginx) = @_;
    for (1 .. 200) {
        my $conf = configuration(0);
        my $said = '';
        my $text = Conf::whole_http($conf);
        ($said, my $status) = config_output($text);
        next if !check_said($said, $status, $text);
        ($conf->{prefix}) = $conf->{project} =~ /^cookie_prefix "?([^";]*)/m;
        $conf->{prefix} //= '';
        return $conf;
    }
    die "no configuration is accepted\n";
}

# --- a round

my ($nginx, $round, $killed) = (undef, 0, 0);
my @files;

sub is_started {
    my ($conf) = @_;
    my %texts = ((map { $_ => $conf->{$_} } qw(project http server location)),
        main => "error_log $directory/servroot/logs/info.log info; worker_shutdown_timeout 5s;", workers => 2 + int rand 3);
    if ($nginx && chance(0.6)) {
        $count{events}{'another configuration by reload'}++;
        return 1 if $nginx->reload(%texts);
        wrong('a reload does not end');
    }
    stop() if $nginx;
    $nginx = eval { Test::Nginx::Authgear::Server->start(%texts) };
    if (!$nginx) {
        wrong("nginx does not start: $@");
        return 0;
    }
    $count{events}{'another configuration by restart'}++;
    return 1;
}

sub stop {
    wrong('nginx does not end') if !$nginx->stop;
    wrong("the master ended by signal $nginx->{signal}") if $nginx->{signal};
    undef $nginx;
    return;
}

my @faults = ([status => status => 500], ['garbage'], ['empty'], ['hang'], ['drip'], ['close'], [slow => delay_ms => 700],
    [body => body => '{"keys":[{}]}'], [status => status => 404]);
my @events = (
    reload => sub { $nginx->reload(workers => 1 + int rand 4) ? 1 : wrong('a reload does not end') },
    kill => sub { my @workers = $nginx->workers or return; $killed = 1; kill KILL => one(@workers) },
    fault => sub { fault(one(qw(jwks discovery resolver resolver)), @{ one(@faults) }) },
    heal => sub { heal() }, heal => sub { heal() },
    gone => sub { control('POST', '/-/gone', { ms => 300 + int rand 2000 }) },
    revoke => sub { deliver_some(one(qw(carol nobody))) },
    redis => sub { stop_redis(); sleep 0.3; start_redis() or die "Redis does not start\n" },
    wild => \&try_wild, wild => \&try_wild, wild => \&try_wild, wild => \&try_wild,
    status => sub { my $answer = $nginx->ask(path => one('/status',
        '/metrics')); ($answer->{status} // 0) =~ /^(?:0|200|401|403|503|302|404|406|400|429)$/ or wrong("the status page: $answer->{status}") },
);

sub deliver_some {
    my ($user) = @_;
    my $body = event(one(qw(user.disabled user.reenabled user.deleted)), $user, at => time - int rand 5000);
    my $answer = post($nginx, '/webhook', $body, 'X-Authgear-Body-Signature: ' . hmac_sha256_hex($body, webhook_secret()));
    $count{webhooks}{ $answer->{status} // 'closed' }++;
    return;
}

sub play {
    my ($conf) = @_;
    my $seconds = 6 + rand 8;
    my @pids;
    for my $number (0 .. 3) {
        my $file = "$directory/sent-$round-$number.json";
        push @files, $file;
        push @pids, Sender::start(number => $number, round => $round, seed => $seed + 1000 * $round + $number,
            seconds => $seconds, slow => $slow, conf => $conf, file => $file,
            port => $nginx->{port}, h2 => $h2, h3 => $h3_listen ? $h3 : undef);
    }
    my $until = time + $seconds;
    while (time < $until) {
        my $at = 2 * int rand @events / 2;
        $count{events}{ $events[$at] }++;
        eval { $events[$at + 1]->(); 1 } or wrong("$events[$at]: $@");
        sleep rand 1.5;
    }
    for my $pid (@pids) {
        my $ended = wait_for { waitpid($pid, POSIX::WNOHANG()) } 60 * $slow;
        next if $ended;
        wrong('a client does not end');
        kill KILL => $pid;
        waitpid $pid, 0;
    }
    return;
}

# All is well again: each worker answers, and nobody waits.
sub rest {
    my ($conf) = @_;
    heal();
    control('POST', '/-/back');
    my $good = Credentials::plain_token();
    my $is_well = wait_for { !grep { !works($_, $good) } 1 .. 4 } 20 * $slow;
    my $sample = $nginx->ask(path => '/sane', token => $good);
    wrong('at rest: ' . ($sample->{error} // "$sample->{status} " . ($sample->{reason} // '')) . ' for a good token')
        if !$is_well && !$conf->{odd_keys};
    my %to = $nginx->connection_to_each;
    wrong('at rest: only ' . keys(%to) . " of $nginx->{option}{workers} workers answer")
        if keys %to < $nginx->{option}{workers};
    close $_ for values %to;
    my $waiting;
    my $is_calm = wait_for {
        ($waiting) = ($nginx->ask(path => '/metrics')->{body} // '') =~ /^authgear_waiting_requests (\d+)$/m;
        defined $waiting && $waiting == 0;
    } 20 * $slow;
    wrong('at rest: ' . ($waiting // 'unknown') . ' requests wait') if !$is_calm;
    return;
}

sub works {
    my (undef, $token) = @_;
    my $answer = $nginx->ask(path => '/sane', token => $token);
    return 0 if ($answer->{status} // 0) != 200 || ($answer->{user} // '') ne 'alice';
    return ($nginx->ask(path => '/sane')->{status} // 0) == 401;
}

# --- the log

my $logged = 0;
my (@odd, $explaining);
# Lines of nginx's own that say why it answered 500, 502 or 504.
my $explains = qr/auth request unexpected status|redirection cycle|upstream prematurely closed|connect\(\) failed|upstream timed out|names? no project|which is no project|invalid URL prefix|no host in upstream/;
my $explained = qr/exited on signal 9\b|could not build optimal|worker_shutdown_timeout|open socket #\d+ left in connection \d+ after/;

sub read_log {
    open my $in, '<', "$directory/servroot/logs/info.log" or return;
    seek $in, $logged, 0;
    while (my $line = <$in>) {
        $logged += length $line;
        if ($line =~ /\[(?:alert|crit|emerg)\]|panicked|Sanitizer|exited with code [^0]/ && $line !~ $explained) { wrong('log: ' . substr $line, 0,
            600) }
        # nginx's own lines hold the request line, and so a token in the query.
        my $own = $line =~ s/, (?:client|server|request|subrequest|upstream|host|referrer): .*//sr;
        wrong('log: a token: ' . substr $own, 0, 300) if $own =~ /authgear: / && $own =~ $Credentials::secret_parts;
        $count{log}{$1}++ if $line =~ /\[(\w+)\]/;
        $explaining++ if $line =~ $explains;
    }
    if (@odd > ($explaining // 0)) {
        wrong(@odd . " answers of $odd[0]{odd}, and " . ($explaining // 0) . ' lines that explain one', $odd[0]{head});
    }
    (@odd, $explaining) = ();
    return;
}

# --- what was seen

my $read = 0;

sub compare {
    my %sent;
    for my $file (splice @files) {
        open my $in, '<', $file or next;
        while (my $line = <$in>) {
            my $one = eval { $json->decode($line) } // next;
            if (defined $one->{wrong}) { wrong("answer: $one->{wrong}", substr $json->encode($one), 0, 1500) }
            elsif ($one->{odd}) {
                $count{'5xx'}{ $one->{odd} }++;
                push @odd, $one;
            }
            elsif ($one->{count}) {
                $count{requests}{all} += $one->{requests};
                my ($of) = $one->{count};
                for my $key (keys %$of) { my ($kind, $what) = split ' ', $key, 2; $count{$kind}{$what} += $of->{$key} }
            }
            elsif ($one->{late}) {
                $count{late}{answers}++;
                wrong('a request without an answer', $json->encode($one)) if !$killed;
            }
            elsif (defined $one->{n}) { $sent{ $one->{n} } = $one->{users} }
        }
        close $in;
        unlink $file;
    }
    open my $in, '<', "$directory/backend.json" or return;
    seek $in, $read, 0;
    while (my $line = <$in>) {
        $read += length $line;
        my $one = eval { $json->decode($line) } // next;
        $count{backend}{requests}++;
        seen($one, $sent{ $one->{n} // '' } // {});
    }
    return;
}

sub seen {
    my ($one, $users) = @_;
    my $seen = $one->{seen};
    my $said = substr $json->canonical->encode({ %$one, users => $users }), 0, 1500;
    my @ids = @{ $seen->{'x-authgear-user-id'} // [] };
    wrong('backend: two user ids', $said) if @ids > 1;
    for my $id (@ids, grep { length } map { @{ $seen->{$_} // [] } } qw(x-var-user x-var-claim x-var-set)) {
        wrong("backend: $id was not sent", $said) if !$users->{$id};
        wrong("backend: $id of another tenant", $said) if ($users->{$id} // 1) ne '1'
            && ($one->{t} // $users->{$id}) ne $users->{$id};
    }
    for my $name (grep { /^x-authgear-/ } keys %$seen) {
        next if $name eq 'x-authgear-body-signature';
        wrong("backend: $name more than once", $said) if @{ $seen->{$name} } > 1;
        wrong("backend: $name of the client's own", $said) if grep { /spoof|ghost/ } @{ $seen->{$name} };
    }
    if (@ids) {
        $count{backend}{users}++;
        my ($id, $at) = ($ids[0], ($seen->{'x-authgear-session-authenticated-at'} // [])->[0]);
        wrong("backend: the time of another login", $said) if defined $at && ($Credentials::since{$id} // $at) != $at;
        wrong("backend: another's roles", $said) if grep { $_ ne "role-$id" } @{ $seen->{'x-authgear-user-roles'} // [] };
        wrong("backend: a user of no valid session", $said) if ($seen->{'x-authgear-session-valid'}[0] // '') ne 'true';
    }
    elsif (($seen->{'x-authgear-session-valid'}[0] // '') eq 'true') {
        wrong('backend: a valid session that was not sent', $said) if !exists $users->{''};
    }
    if ($seen->{'x-clean'}) {
        wrong('backend: a credential', $said)
            if grep { /^Bearer .*$Credentials::secret_parts/i } @{ $seen->{authorization} // [] };
    }
    return;
}

# --- the run

while (time < $ends && @wrong < 200) {
    $round++;
    my $conf = next_configuration();
    is_started($conf) or next;
    save("$directory/round.conf", Conf::whole_http($conf));
    $count{events}{rounds}++;
    my $before = @wrong;
    $killed = 0;
    play($conf);
    rest($conf);
    compare();
    read_log();
    if (@wrong > $before) {
        make_path("$directory/kept");
        rename "$directory/round.conf", "$directory/kept/round-$round.conf";
        print "round $round was wrong; its configuration is kept\n";
    }
    printf "%4d s: round %d, %d requests, %d wrong\n", $minutes * 60 - ($ends - time), $round, $count{requests}{all} // 0,
        scalar @wrong;
}
stop() if $nginx;
read_log();
kill TERM => $backend->{pid};
stop_redis();

print "\n";
for my $kind (sort keys %count) {
    my $of = $count{$kind};
    my @names = sort { $of->{$b} <=> $of->{$a} } keys %$of;
    print "$kind: ", join(', ', map {"$of->{$_} $_"} @names[0 .. ($#names > 40 ? 40 : $#names)]), "\n";
}
printf "%d findings (SEED=%d)\n", scalar @wrong, $seed;
exit(@wrong ? 1 : 0);
