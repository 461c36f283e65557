# A backend is told who calls, and nothing of the client's own, whichever protocol nginx speaks with it: HTTP,
# FastCGI, SCGI, uwsgi or gRPC.

use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(echoed);
use Test::Nginx::Authgear::Http2;
use Test::Nginx::Authgear::Server;

# Each reads a request and returns its parameters, in a hash.
my %read = (
    scgi => sub {
        my ($in) = @_;
        my $length = '';
        $length .= exactly($in, 1) while $length !~ /:\z/;
        return { split /\0/, exactly($in, $length =~ s/:\z//r) =~ s/\0\z//r, -1 };
    },
    uwsgi => sub {
        my ($in) = @_;
        my (undef, $length) = unpack 'Cv', exactly($in, 4);
        return { unpack '(v/a)*', exactly($in, $length) };
    },
    fastcgi => sub {
        my ($in) = @_;
        my ($params, $type) = ('', 0);
        while ($type != 5) {
            (undef, $type, undef, my $length, my $padding) = unpack 'CCnnC', exactly($in, 8);
            my $content = substr exactly($in, $length + $padding), 0, $length;
            $params .= $content if $type == 4;
        }
        my @pairs;
        while (length $params) {
            my @length = map { fastcgi_length(\$params) } 1, 2;
            push @pairs, map { substr $params, 0, $_, '' } @length;
        }
        return {@pairs};
    },
);

sub fastcgi_length {
    my ($text) = @_;
    my $length = unpack 'C', $$text;
    return unpack 'C', substr $$text, 0, 1, '' if $length < 128;
    return 0x7fffffff & unpack 'N', substr $$text, 0, 4, '';
}

sub exactly {
    my ($in, $length) = @_;
    my $text = '';
    while (length $text < $length) {
        read($in, $text, $length - length $text, length $text) or die "a request that ends early\n";
    }
    return $text;
}

# A process that answers with the parameters that begin with HTTP_X_, a line each; its port.
my @servers;

sub serve {
    my ($protocol) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 16) or die "cannot listen: $@\n";
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        while (my $socket = $listener->accept) {
            my $params = $read{$protocol}->($socket);
            my $body = join '', map {"$_=$params->{$_}\n"} sort grep {/^HTTP_X_/} keys %$params;
            my $answer = "Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n$body";
            $answer = pack('CCnnCx', 1, 6, 1, length $answer, 0) . $answer . pack('CCnnCx NCx3', 1, 3, 1, 8, 0, 0, 0)
                if $protocol eq 'fastcgi';
            print {$socket} $answer;
            close $socket;
        }
        POSIX::_exit(0);
    }
    push @servers, $pid;
    return $listener->sockport;
}
END { local $?; kill KILL => @servers; waitpid $_, 0 for @servers }

my %port = map { $_ => serve($_) } sort keys %read;
my $grpc = Test::Nginx::Authgear::Server::other_port(1);
my $seen = join '', map {"\U$_\E=\$$_\\n"} map {"http_x_authgear_$_"}
    sort qw(session_valid user_id user_anonymous user_verified user_can_reauthenticate user_roles session_authenticated_at session_amr);
my $echo = echo_origin();
my $nginx = Test::Nginx::Authgear::Server->start(
    workers => 1,
    http => 'underscores_in_headers on; ignore_invalid_headers off; server { ' . http2_listen($grpc)
        . " underscores_in_headers on; return 200 \"$seen\"; }",
    server => <<"END");
authgear_verify myapp optional;
location = /http { proxy_pass $echo; }
location = /fastcgi { fastcgi_pass 127.0.0.1:$port{fastcgi}; }
location = /scgi { scgi_pass 127.0.0.1:$port{scgi}; }
location = /uwsgi { uwsgi_pass 127.0.0.1:$port{uwsgi}; }
location = /grpc { grpc_pass grpc://127.0.0.1:$grpc; }
location = /unnamed/fastcgi { authgear_pass_headers off; fastcgi_pass 127.0.0.1:$port{fastcgi}; }
location = /unnamed/scgi { authgear_pass_headers off; scgi_pass 127.0.0.1:$port{scgi}; }
location = /unnamed/uwsgi { authgear_pass_headers off; uwsgi_pass 127.0.0.1:$port{uwsgi}; }
location = /unnamed/grpc { authgear_pass_headers off; grpc_pass grpc://127.0.0.1:$grpc; }
END

# The identity that a backend was told: names as CGI spells them.
sub told {
    my ($path, %request) = @_;
    my $answer = $nginx->ask(path => $path, %request);
    return "status $answer->{status}" if $answer->{status} != 200;
    return { grep { defined && length } map {/\A(HTTP_X_AUTHGEAR_\w+)=(.+)\z/} split /\n/, $answer->{body} }
        if $path ne '/http';
    my %told;
    for (@{ echoed($answer)->{headers} }) {
        my ($name, $value) = ('HTTP_' . uc($_->[0]) =~ tr/-/_/r, $_->[1]);
        $told{$name} = $value if $name =~ /^HTTP_X_AUTHGEAR/;
    }
    return \%told;
}

my $token = token(user => 'alice', claims => { amr => ['pwd', 'otp'], auth_time => 1_700_000_000,
    'https://authgear.com/claims/user/roles' => ['admin', 'editor'] });
my $forged = join "\r\n", 'X-Authgear-User-Id: forged', 'X_Authgear_User_Id: forged', 'x-authgear_user-roles: forged',
    'X.Authgear.Session.Valid: forged';
my $told = told('/http', token => $token);
is($told->{HTTP_X_AUTHGEAR_USER_ID}, 'alice', 'HTTP: alice');
is(scalar keys %$told, 8, 'in eight headers') or diag explain $told;

for my $protocol (qw(fastcgi scgi uwsgi grpc)) {
    is_deeply(told("/$protocol", token => $token), $told, "$protocol: the same");
    is_deeply(told("/$protocol", token => $token, headers => $forged), $told, "$protocol: the same beside forged headers");
    is_deeply(told("/$protocol", headers => $forged), {}, "$protocol: nothing of an anonymous caller");
    is_deeply(told("/unnamed/$protocol", token => $token, headers => $forged), {},
        "$protocol: nothing with authgear_pass_headers off");
    is($nginx->ask(path => "/$protocol", token => token(user => 'mallory', key => 'stranger'))->{status}, 401,
        "$protocol: a bad token is refused");
}
$nginx->stop_soundly;

done_testing();
