# A variable has one value while nginx reads it: nginx asks for the length first
# and for the bytes later, and meanwhile another worker may get to know the caller.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(start_resolving stop_resolving);
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep);

# Regular expressions keep a worker busy between the two, for a tenth of a second or more. Each stays below the
# number of steps at which PCRE gives up.
my $busy = 'a' x 21 . 'b';
my @slow = map {"slow_$_"} 1 .. 3;

my $read = '$authgear_user_id|' . join('', map {"\${$_}"} @slow) . "none|\$authgear_reason|\$authgear_claim_sub";
# The variables before the caller is known, and afterwards.
my $unknown = '|none||';

my $http = <<"END";
@{[map {"map \$arg_s \$$_ { default ''; '~^(a+)+\$' x; }\n"} @slow]}
log_format stable "$read";
END

my $server = <<"END";
location = /set {
    authgear_verify myapp;
    set \$read "$read";
    add_header X-Read \$read always;
    add_header X-Later "\$authgear_user_id" always;
    empty_gif;
}
location = /set-return {
    authgear_verify myapp;
    set \$read "$read";
    return 200 \$read;
}
location = /if {
    authgear_verify myapp;
    if (\$arg_expected = "$read") {
        return 200 same;
    }
    return 200 other;
}
location = /rewrite {
    authgear_verify myapp;
    rewrite ^ "/rewritten/?read=$read" redirect;
}
location = /rewrite-uri {
    authgear_verify myapp;
    rewrite ^ "/rewritten/$read" redirect;
}
location = /return {
    authgear_verify myapp;
    return 200 "$read";
}
location = /redirect {
    authgear_verify myapp;
    return 302 "/to?read=$read";
}
location = /header {
    authgear_verify myapp;
    add_header X-Read "$read" always;
    return 403;
}
location = /logged {
    authgear_verify myapp;
    access_log logs/stable.log stable;
    return 403;
}
END

my $nginx;

# The text that a location shows: in its own header, in Location, or in the body.
sub read_from {
    my ($answer) = @_;
    return $answer->{error} if $answer->{error};
    return $1 if $answer->{headers} =~ /^X-Read: (.*?)\r?$/m;
    return $1 if $answer->{headers} =~ m{^Location: \S*?(?:read=|/rewritten/(?!\?))(\S*?)\r?$}m;
    return $answer->{body};
}

sub logged {
    my ($nginx) = @_;
    open my $in, '<', "$nginx->{root}/logs/stable.log" or return;
    chomp(my @lines = <$in>);
    return @lines;
}

# One worker reads; while it is busy another one gets to know the caller. The
# answers of both, once the second came first.
sub raced {
    my ($nginx, $path, $caller) = @_;
    for my $try (1 .. 8) {
        my %to = $nginx->connection_to_each;
        my ($reading, $knowing) = @to{ sort keys %to };
        my $headers = $caller->();
        my $lines = () = logged($nginx);
        my $sent = $nginx->send(path => $path, headers => $headers, on => $reading);
        sleep 0.03;
        my $known = $nginx->ask(headers => $headers, on => $knowing);
        # A log line is read after the answer is gone.
        my $is_late = $path =~ /logged/ ? logged($nginx) > $lines : $nginx->answered($sent);
        my ($answer) = $nginx->receive($sent);
        next if $is_late;
        is("$known->{status} $known->{reason}", '200 ok', "$path: another worker knows the caller meanwhile");
        return ($answer, $lines);
    }
    fail("$path: another worker knows the caller meanwhile");
    return;
}

# The same for whoever is unknown in the first place, at every place of a configuration.
sub stays_the_same {
    my ($what, $caller) = @_;
    my $query = "s=$busy";
    for my $path (qw(/set /return /redirect /header /rewrite /rewrite-uri)) {
        my ($answer) = raced($nginx, "$path?$query", $caller) or next;
        my $read = read_from($answer) =~ s/%7C/|/gr;
        # In a URI that is rewritten nginx keeps the arguments behind it.
        $read =~ s/[?&]\Q$query\E\z//;
        is($read, $unknown, "$what, $path: one value for both passes");
        like($answer->{headers} // '', qr/^X-Later: person-\d+/m, "$what, $path: and another when it is known")
            if $path eq '/set';
    }
    my ($answer) = raced($nginx, "/if?$query&expected=$unknown", $caller);
    is(read_from($answer), 'same', "$what, if: one value for both passes") if $answer;

    ($answer, my $lines) = raced($nginx, "/logged?$query", $caller) or return;
    is($answer->{status}, 403, "$what, the log of a refused request: it is refused");
    soon { logged($nginx) > $lines } "$what, the log of a refused request: it is logged", 3;
    is((logged($nginx))[-1], $unknown, "$what, the log of a refused request: one value for both passes");
    return;
}

my $people = 0;

# Long enough that a write behind the end does harm.
sub person { return 'person-' . ++$people . '-' . 'x' x 300 }

subtest 'an answer of the resolver that comes meanwhile' => sub {
    $nginx = start_resolving('resolve_cache 30s;', workers => 2, http => $http, server => $server);
    stays_the_same('a cookie', sub { 'Cookie: session=' . session(user => person()) });
    stays_the_same('an opaque token', sub { 'Authorization: Bearer ' . token(user => person(), kind => 'opaque') });
    stop_resolving($nginx);
};

# Reads, again and again, while another worker waits for keys; the text that was read
# when they came in the middle of it.
sub read_while_keys_come {
    my ($path) = @_;
    my $token = token(user => person());
    my %to = $nginx->connection_to_each;
    my ($reading, $knowing) = @to{ sort keys %to };
    my $waiting = $nginx->send(token => $token, on => $knowing);
    my ($text, $done);
    while (!$done) {
        my $lines = () = logged($nginx);
        my $sent = $nginx->send(path => "$path?s=$busy", token => $token, on => $reading);
        my $is_read = sub { $path eq '/logged' ? logged($nginx) > $lines : $nginx->answered($sent) };
        sleep 0.03;
        last if $nginx->answered($waiting);
        wait_for { $done = $nginx->answered($waiting) or $is_read->() };
        $done &&= !$is_read->();
        my ($answer) = $nginx->receive($sent);
        wait_for { $is_read->() } 3 if $path eq '/logged';
        $text = $path eq '/logged' ? (logged($nginx))[$lines] : read_from($answer);
    }
    my ($known) = $nginx->receive($waiting);
    is($known->{reason}, 'ok', "$path: another worker gets keys");
    return $done ? $text // 'nothing' : undef;
}

subtest 'keys that come meanwhile' => sub {
    for my $path (qw(/set-return /return /header /logged)) {
        my $text;
        for my $try (1 .. 40) {
            fault(jwks => 'slow', delay_ms => 900);
            $nginx = Test::Nginx::Authgear::Server->start(http => $http, server => $server);
            $text = read_while_keys_come($path);
            $nginx->stop_soundly;
            last if defined $text;
        }
        heal();
        is($text, $unknown, "$path: one value for both passes");
    }
};

# One reading says nothing, however often it is repeated in a phase; the next phase says all.
subtest 'a worker alone' => sub {
    $nginx = start_resolving('resolve_cache 30s;', workers => 1, http => $http, server => <<"END");
        location = /twice {
            authgear_verify myapp;
            set \$first "\$authgear_user_id/\$authgear_reason/\$authgear_session_valid";
            set \$second "\$authgear_user_id/\$authgear_reason/\$authgear_session_valid";
            add_header X-Read "\$first \$second" always;
            add_header X-Later "\$authgear_user_id/\$authgear_reason/\$authgear_session_valid" always;
            empty_gif;
        }
END
    my $cookie = 'Cookie: session=' . session(user => 'alice');
    for my $row (['not asked about yet', '// //'], ['known', 'alice/ok/true alice/ok/true']) {
        my ($name, $early) = @$row;
        my $answer = $nginx->ask(path => '/twice', headers => $cookie);
        is(read_from($answer), $early, "a session that is $name: what is read early");
        my ($later) = $answer->{headers} =~ /^X-Later: (.*?)\r?$/m;
        is($later, 'alice/ok/true', "a session that is $name: what is read later");
    }
    stop_resolving($nginx);
};

done_testing;
