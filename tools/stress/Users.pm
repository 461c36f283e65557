package Users;

# The part of stress.pl that is about users: webhooks and the stream of a Redis that
# dies, at two nodes; sessions and a resolver that fails; authgear_early, the login,
# and connections that authgear_close_expired ends.
#
#   my $users = Users->new(nginx => …, slow => …, settling => …, wrong => sub {…},
#       key => sub { kid of a key that every worker must accept, or undef },
#       stands => sub { true if the key of that kid is still in the set });
#
# stress.pl calls `actions`, `pick` for a request, `look` in each turn of its loop,
# and `end`.

use strict;
use warnings;

use Exporter qw(import);
use IO::Select;
use Test::Nginx::Authgear standin => 0;
use Test::Nginx::Authgear::Redis;
use Test::Nginx::Authgear::Resolver qw(cookie);
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(project http server);

# A backend whose body never ends.
my $dripping = start_standin();
control('PUT', '/-/fault/jwks', { mode => 'drip' }, $dripping);

# --- the configuration, which both nodes have

my $webhooks = 'webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET; revocation_keep 2h;';

sub project { return $webhooks }

sub http {
    my ($keys) = @_;
    return <<"END";
authgear_revocation_stream redis://127.0.0.1:$redis_port;
limit_req_zone \$authgear_user_id zone=users:1m rate=10000r/s;
authgear_project sessions {
    endpoint \$TEST_NGINX_AUTHGEAR; $keys $webhooks
    resolve_request /_authgear/resolve; resolve_cache 2s; resolve_stale 3s; recheck 2s;
    login client_id=site callback=http://localhost/_authgear/callback;
}
END
}

sub server {
    return webhook_location() . <<"END";
include \$TEST_NGINX_RESOLVER;
location /session { authgear_verify sessions; empty_gif; }
location /early { authgear_verify sessions; authgear_early on; limit_req zone=users burst=10000 nodelay; empty_gif; }
location /page { authgear_verify sessions; authgear_login on; empty_gif; }
location = /_authgear/callback { authgear_login_callback sessions; }
location /stream {
    authgear_verify sessions; authgear_close_expired on; proxy_buffering off;
    proxy_pass $dripping->{http}/oauth2/jwks;
}
location = /metrics { authgear_status prometheus; allow 127.0.0.1; deny all; }
END
}

# --- what is true

sub new {
    my ($class, %self) = @_;
    my $self = bless {
        %self, made => 0, members => [], revoked => [], streams => [], count => {}, resolver_ends => 0, redis_back => 0,
    }, $class;
    $self->{sessions} = [map { session(user => "guest-$_") } 1 .. 60];
    $self->{resolver_since} = $self->{redis_since} = time;
    return $self;
}

# Requests after this time must not meet the resolver's last fault any more. One
# that is suspended is probed once a second; a question of a killed worker is asked
# again when its lease has run out.
sub resolver_works {
    my ($self, $at) = @_;
    my $since = $self->{resolver_since} // return 0;
    my $killed = $self->{nginx}{killed} // 0;
    return $at > $since + $self->{settling} + 5 && $at > $killed + 15 * $self->{slow};
}

sub mend {
    my ($self) = @_;
    my $now = time;
    if ($self->{resolver_ends} && $now >= $self->{resolver_ends}) {
        control('DELETE', '/-/fault');
        $self->{resolver_ends} = 0;
        $self->{resolver_since} = $now if !$self->{gone};
    }
    if ($self->{redis_back} && $now >= $self->{redis_back}) {
        $self->{redis_stopped} ? signal_redis('CONT') : start_redis() || die "Redis does not start again\n";
        $self->{redis_back} = 0;
        $self->{redis_since} = time;
    }
    return;
}

# The endpoint, whose resolver goes with it, goes or comes back.
sub endpoint_is_gone {
    my ($self, $gone) = @_;
    $self->{gone} = $gone;
    $self->{resolver_since} = $gone || $self->{resolver_ends} ? undef : time;
    return;
}

# A user with a token and a session from a while ago, who will be revoked.
sub member {
    my ($self) = @_;
    my $kid = $self->{key}->() // return;
    my $user = 'member-' . ++$self->{made};
    my $then = int(time) - 100;
    return {
        name => $user,
        kid => $kid,
        token => token(user => $user, key => $kid, claims => { iat => $then, auth_time => $then }),
        session => session(user => $user, auth_time => $then),
    };
}

# --- what happens

sub actions {
    my ($self) = @_;
    return (
        join => sub {
            return if @{ $self->{members} } > 8;
            my $member = $self->member // return;
            push @{ $self->{members} }, $member;
            $self->open_stream($member, "Authorization: Bearer $member->{token}") if rand() < 0.6;
            $self->open_stream($member, cookie(session => $member->{session})) if rand() < 0.6;
            return $member->{name};
        },
        revoke => sub { $self->revoke },
        redis => sub {
            return if $self->{redis_back};
            $self->{redis_since} = undef;
            $self->{redis_stopped} = rand() < 0.3;
            $self->{redis_stopped} ? signal_redis('STOP') : stop_redis();
            $self->{redis_back} = time + (0.3, 2, 6)[rand 3] + rand;
            return $self->{redis_stopped} ? 'stops' : 'is killed';
        },
        resolver => sub {
            return if $self->{resolver_ends};
            my @faults = ([status => status => 500], ['hang'], ['close'], [slow => delay_ms => 1500]);
            my @fault = @{ $faults[rand @faults] };
            $self->{resolver_since} = undef;
            $self->{resolver_ends} = time + (0.5, 3, 8)[rand 3] + rand;
            fault(resolver => @fault);
            return "@fault";
        },
        # More users than the table holds; the oldest instants give way.
        flood => sub {
            return if !$self->{redis_since};
            my $told = 0;
            for (1 .. 40) {
                my $body = event('user.disabled', 'stranger-' . ++$self->{made}, at => time - 3600 - rand 3000);
                last if (deliver($self->{nginx}, $body) // 0) != 204;
                $told++;
            }
            return $told;
        },
        # An access token that ends while its connection is open.
        expiring => sub {
            my $kid = $self->{key}->() // return;
            my $seconds = 2 + int rand 5;
            my $one = { name => 'expiring', expires => time + $seconds };
            $self->open_stream($one, 'Authorization: Bearer ' . token(key => $kid, expires_in => $seconds));
            return $seconds;
        },
        login => sub { $self->log_in },
        node => sub { $self->ask_other_node },
        'other node' => sub {
            return if !$self->{other};
            my @workers = $self->{other}->all_workers;
            rand() < 0.5 ? $self->{other}->signal('HUP') : kill KILL => $workers[rand @workers];
            return 'changes';
        },
    );
}

sub revoke {
    my ($self) = @_;
    my $member = shift @{ $self->{members} } // return;
    $member->{since} = time;
    my $may_fail = $self->webhook_may_fail;
    # Authgear ends the sessions, then it tells.
    control('POST', "/-/users/$member->{name}/disable");
    my $status;
    for (1 .. 3) {
        $status = deliver($self->{nginx}, event('user.disabled', $member->{name}));
        # A worker may be killed with it.
        last if defined $status;
    }
    $self->{count}{webhook}{ $status // 'no answer' }++;
    return 'without an answer' if !defined $status;
    $self->{wrong}->("webhook: $status while Redis is there") if $status != 204 && !($status == 503 && $may_fail);
    # It counts at this node whatever Redis says.
    $member->{at} = time;
    $member->{shared} = time if $status == 204;
    push @{ $self->{revoked} }, $member;
    shift @{ $self->{revoked} } if @{ $self->{revoked} } > 20;
    return "$member->{name} $status";
}

# True while Redis, or the worker that writes to it, is away or was a moment ago.
sub webhook_may_fail {
    my ($self) = @_;
    my ($recently, $nginx) = (time - $self->{settling}, $self->{nginx});
    return 1 if !$self->{redis_since};
    return grep { ($_ // 0) > $recently } $self->{redis_since}, $nginx->{killed}, $nginx->{reloaded};
}

sub log_in {
    my ($self) = @_;
    my $nginx = $self->{nginx};
    my $page = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document";
    my $answer = $nginx->ask(path => '/page?a=1', headers => $page);
    return 'lost' if $answer->{error};
    my ($state) = $answer->{headers} =~ /^Location: \S+[?&]state=([\w-]+)\r?$/m;
    my ($kept) = $answer->{headers} =~ /^Set-Cookie: (authgear_login_[^;]+)/m;
    if ($answer->{status} != 302 || !$state || !$kept) {
        $self->{wrong}->("login: $answer->{status} instead of a redirect");
        return 'wrong';
    }
    my $back = $nginx->ask(path => "/_authgear/callback?state=$state", headers => "Cookie: $kept");
    return 'lost' if $back->{error};
    $self->{wrong}->("login: $back->{status} from the callback")
        if $back->{status} != 302 || $back->{headers} !~ m{^Location: http://localhost/page\?a=1\r?$}m;
    $self->{count}{login}{ $back->{status} }++;
    return 'done';
}

# Those whose webhook Redis took are out at the other node before long.
sub ask_other_node {
    my ($self) = @_;
    my $other = $self->{other} // return;
    my @known = @{ $self->{revoked} } or return;
    my $member = $known[rand @known];
    my $must = $self->is_shared($member);
    my $answer = $other->ask(token => $member->{token});
    my $verdict = $answer->{error} // "$answer->{status} " . ($answer->{reason} // '');
    $self->{count}{'other node'}{$verdict}++;
    $self->{wrong}->("other node: $verdict for $member->{name}, revoked " . (time - $member->{at}) . ' s ago')
        if $must && $verdict eq '200 ok';
    return $member->{name};
}

sub is_shared {
    my ($self, $member) = @_;
    my $settled = time - $self->{settling} - 5;
    return $member->{shared} && $member->{shared} < $settled && ($self->{redis_since} // time) < $settled;
}

# --- connections that stay open

sub open_stream {
    my ($self, $owner, $headers) = @_;
    return if @{ $self->{streams} } > 24;
    my $socket = $self->{nginx}->connection;
    print {$socket} "GET /stream HTTP/1.1\r\nHost: localhost\r\n$headers\r\n\r\n";
    push @{ $self->{streams} }, { socket => $socket, owner => $owner, at => time, text => '' };
    return;
}

sub look {
    my ($self) = @_;
    $self->mend;
    my $now = time;
    my $by = IO::Select->new(map { $_->{socket} } @{ $self->{streams} });
    my %ready = map { fileno $_ => 1 } $by->can_read(0);
    my @open;
    for my $one (@{ $self->{streams} }) {
        my $is_open = 1;
        if ($ready{ fileno $one->{socket} }) {
            my $got = sysread $one->{socket}, my $bytes, 65536;
            $is_open = $got;
            $one->{text} .= $bytes if $got && length $one->{text} < 500;
        }
        if ($self->is_over($one, $is_open, $now)) { close $one->{socket} }
        else { push @open, $one }
    }
    $self->{streams} = \@open;
    return;
}

# True of a connection that has ended, or should have.
sub is_over {
    my ($self, $one, $is_open, $now) = @_;
    my $owner = $one->{owner};
    my ($status) = $one->{text} =~ m{^HTTP/1\.1 (\d+)};
    # Not let in: keys or the resolver failed, or it expired before.
    return 1 if $status && $status != 200;
    my ($end) = sort { $a <=> $b } grep { defined } $owner->{expires}, $owner->{since};
    if (!$is_open) {
        my $kind = !$status ? 'unanswered' : $end && $now >= $end - 1 ? 'in time' : 'early';
        $self->{count}{stream}{$kind}++;
        $self->{wrong}->("stream of $owner->{name}: closed while its token stands")
            if $kind eq 'early' && ($self->{nginx}{killed} // 0) < $one->{at} - 0.5;
        return 1;
    }
    my $latest = $owner->{at} // $owner->{expires};
    if ($status && $latest && $now > $latest + 8 * $self->{slow}) {
        $self->{wrong}->("stream of $owner->{name}: still open " . ($now - $latest) . ' s after its end');
        return 1;
    }
    # Nobody waits for ever.
    return $now > $one->{at} + 60;
}

# --- requests

# A request: kind, path, token or headers, and a check of its verdict.
sub pick {
    my ($self) = @_;
    my $n = rand;
    return $self->{crowd}[rand @{ $self->{crowd} }] if $n < 0.1;
    if ($n < 0.4) {
        my $path = ('/session', '/early', '/page')[rand 3];
        my $known = $self->{sessions}[rand @{ $self->{sessions} }];
        return { kind => 'session', path => $path, headers => cookie(session => $known),
            check => sub { $self->of_resolver('200 ok', @_) } };
    }
    if ($n < 0.5) {
        my $path = ('/session', '/early')[rand 2];
        return {
            kind => 'made up', path => $path, headers => cookie(session => 'made-up-' . int rand 1e9),
            check => sub { $self->of_resolver('401 session_invalid', @_) },
        };
    }
    my @revoked = @{ $self->{revoked} };
    if (@revoked && $n < 0.75) {
        my $member = $revoked[rand @revoked];
        return { kind => 'revoked', path => '/', token => $member->{token}, check => sub { $self->of_revoked(@_) } }
            if rand() < 0.6;
        return {
            kind => 'revoked session', path => '/session', headers => cookie(session => $member->{session}),
            check => sub { $self->of_revoked(@_) },
        };
    }
    my $member = $self->{members}[rand @{ $self->{members} } || 0] // return;
    return {
        kind => 'member', path => ('/', '/session')[rand 2], token => $member->{token},
        check => sub { !$member->{since} && $self->{stands}->($member->{kid}) && $_[0] =~ /^401 (?:revoked|session_invalid)/
            && 'nobody revoked it' },
    };
}

sub of_resolver {
    my ($self, $right, $verdict, $at) = @_;
    return if $verdict eq $right;
    return if $verdict eq '503 resolver_unavailable' && !$self->resolver_works($at);
    return 'a wrong verdict';
}

sub of_revoked {
    my ($self, $verdict) = @_;
    return if $verdict =~ /^(?:401|503) /;
    return 'revoked before';
}

# --- the end

sub end {
    my ($self) = @_;
    $self->{redis_back} &&= 1;
    $self->{resolver_ends} &&= 1;
    $self->mend;
    my $nginx = $self->{nginx};
    for my $member (grep { $_->{shared} } @{ $self->{revoked} }) {
        my $known = wait_for { ($self->{other}->ask(token => $member->{token})->{status} // 0) == 401 } 30 * $self->{slow};
        $self->{wrong}->("at the end: the other node lets $member->{name} in") if !$known;
    }
    close $_->{socket} for @{ $self->{streams} };
    my $calm = wait_for {
        # Without requests nothing probes a resolver that is suspended.
        $nginx->ask(path => '/session', headers => cookie(session => 'made-up-' . rand));
        my $metrics = $nginx->ask(path => '/metrics')->{body} // '';
        $metrics =~ /^authgear_waiting_requests 0$/m && $metrics =~ /^authgear_stream_connected 1$/m
            && $metrics =~ /^authgear_resolver_suspended\{project="sessions"\} 0$/m;
    } 30 * $self->{slow};
    if (!$calm) {
        my $metrics = $nginx->ask(path => '/metrics')->{body} // '';
        my @lines = $metrics =~ /^(authgear_(?:waiting|stream|resolver_suspended)\S* \S+)$/mg;
        $self->{wrong}->("at the end: no rest: @lines");
    }
    my ($metrics) = $nginx->ask(path => '/metrics')->{body} // '';
    my @evictions = $metrics =~ /^authgear_table_live_evictions_total\{table="(\w+)"\} (\d+)$/mg;
    $self->{evictions} = join ' ', @evictions;
    $self->{wrong}->('at the end: the other node does not end') if !$self->{other}->stop;
    return;
}

1;
