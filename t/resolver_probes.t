# The probes of suspended resolvers (rule 6): of many tenants, from the address at
# which clients come, and after the death of a worker.

use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Resolver qw(:DEFAULT start_resolving stop_resolving told);
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep time);

my $unavailable = '503 resolver_unavailable - -';
my $status = 'location = /status { authgear_status prometheus; }';
my $directory = tempdir(CLEANUP => 1);
my ($nginx, $made_up) = (undef, 0);

sub stranger { return cookie(session => 'made-up-' . ++$made_up) }

sub outcome { return told($nginx->ask(@_)) }

sub metric {
    my ($value) = $nginx->ask(path => '/status')->{body} =~ /^authgear_resolver_suspended\{project="myapp"\} (\d)$/m;
    return $value // '-';
}

sub of_clients { return grep { ($_->{headers}{cookie}[0] // '') !~ /^session=probe\./ } @_ }

# The resolver's location, with some of its text replaced.
sub located {
    my (@replace) = @_;
    my $text = shipped('authgear_resolver.conf', '/etc/ssl/certs/ca-certificates.crt' =>
            Test::Nginx::Authgear::Resolver::certificates(), @replace);
    open my $out, '>', "$directory/resolver.conf" or die "cannot write: $!\n";
    print {$out} $text;
    close $out;
    $ENV{TEST_NGINX_RESOLVER} = "$directory/resolver.conf";
    return;
}

my $by_tenant = 'endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR;';
my @tenants = map { "t$_" } 1 .. 200;

sub asked_of { return control('GET', "/-/counts?project=https://$_[0].example.com") }

# Once all that was asked has been counted.
sub reset_all {
    my $asked = sub { my $sum = 0; $sum += asked_of($_)->{resolver} for @tenants; return $sum };
    wait_for { my $before = $asked->(); sleep 0.2; $asked->() == $before } 10;
    control('POST', "/-/counts/reset?project=https://$_.example.com") for @tenants;
    return;
}

# A question about a made-up session of each.
sub of_each { return $nginx->receive(map { $nginx->send(path => "/?t=$_", headers => stranger()) } @_) }

subtest 'two hundred suspended tenants: nobody waits for any, and each is probed once a second at most' => sub {
    located('https://authgear_resolver' => resolver_origin());
    $nginx = start_resolving($by_tenant, server => $status, workers => 2);
    fault(resolver => 'close');
    is_deeply($nginx->tally(of_each(@tenants)), { '503 resolver_unavailable' => 200 }, 'no response') for 1 .. 3;
    is(metric(), 1, 'they are suspended');
    reset_all();
    my $began = time;
    while (time - $began < 2.5) {
        is_deeply($nginx->tally(of_each(@tenants)), { '503 resolver_unavailable' => 200 }, 'all get 503');
    }
    my $passed = time - $began;
    my %counts = map { $_ => asked_of($_) } @tenants;
    is_deeply([grep { of_clients(@{ $counts{$_}{resolver_requests} }) } @tenants], [], 'nobody asks any of them');
    is_deeply([grep { $counts{$_}{resolver} > $passed + 2 } @tenants], [], 'none is probed more than once a second');
    is_deeply([grep { !$counts{$_}{resolver} } @tenants], [], 'each is probed');
    heal();
    soon { my $tally = $nginx->tally(of_each(@tenants)); ($tally->{'401 session_invalid'} // 0) == 200 } 'all recover', 30;
    is(metric(), 0, 'none is suspended');
    stop_resolving($nginx);
};

subtest 'probes that hang leave room for the questions of other tenants' => sub {
    located('https://authgear_resolver' => resolver_origin(), 'proxy_read_timeout 5s' => 'proxy_read_timeout 60s');
    # A project has 64 questions, of which 16 may be probes.
    $nginx = start_resolving($by_tenant, server => $status, connections => 512);
    control('PUT', "/-/fault/resolver?project=https://$_.example.com", { mode => 'close' }) for @tenants;
    for (1 .. 3) {
        is_deeply($nginx->tally(map { of_each($_) } @tenants), { '503 resolver_unavailable' => 200 }, 'no response');
    }
    is(metric(), 1, 'they are suspended');
    control('PUT', "/-/fault/resolver?project=https://$_.example.com", { mode => 'hang' }) for @tenants;
    reset_all();
    my ($began, %got) = time;
    while (time - $began < 3) {
        is_deeply($nginx->tally(map { of_each($_) } @tenants), { '503 resolver_unavailable' => 200 }, 'they get 503');
        my $tally = $nginx->tally(map { of_each("other$_") } 1 .. 10);
        $got{$_} += $tally->{$_} for keys %$tally;
    }
    is_deeply([keys %got], ['401 session_invalid'], 'others are asked all the time');
    my $asked = 0;
    $asked += asked_of($_)->{resolver} for @tenants;
    cmp_ok($asked, '>', 0, 'there are probes');
    cmp_ok($asked, '<=', time - $began < 9 ? 16 : 32, 'as many as the bound says');
    control('DELETE', "/-/fault?project=https://$_.example.com") for @tenants;
    soon { my $tally = $nginx->tally(map { of_each($_) } @tenants); ($tally->{'401 session_invalid'} // 0) == 200 }
        'all recover', 60;
    stop_resolving($nginx);
};

subtest 'a worker that dies with a probe does not stop the next one' => sub {
    located('https://authgear_resolver' => resolver_origin(), 'proxy_read_timeout 5s' => 'proxy_read_timeout 60s');
    $nginx = start_resolving('', server => $status);
    fault(resolver => 'close');
    is(outcome(headers => stranger()), $unavailable, 'no response') for 1 .. 3;
    is(metric(), 1, 'the resolver is suspended');
    fault(resolver => 'hang');
    my $before = asked();
    soon { outcome(headers => stranger()); asked() > $before } 'a probe hangs';
    my ($worker) = $nginx->workers;
    kill KILL => $worker;
    soon { my ($new) = $nginx->workers; $new && $new != $worker } 'its worker dies, and there is another';
    is(metric(), 1, 'the resolver is still suspended');
    $before = asked();
    soon { outcome(headers => stranger()); asked() > $before } 'the next probe';
    is_deeply([of_clients((asked_requests())[-1])], [], 'is one');
    heal();
    soon { outcome(headers => stranger()) =~ /^401/ } 'it recovers';
    $nginx->stop;
};

# --- the address of a probe

# A resolver that drops whoever comes from another address than that, and all while the file is there. It notes
# what X-Probe said.
sub picky {
    my ($from) = @_;
    my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64) or die "no port: $@\n";
    my $pid = fork // die "cannot fork: $!\n";
    return ($server->sockport, sub { kill 'KILL', $pid; waitpid $pid, 0 }) if $pid;
    while (my $client = $server->accept) {
        my $head = '';
        while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
        if ($head =~ /session=probe\./) {
            open my $out, '>>', "$directory/seen" or die "cannot write: $!\n";
            print {$out} $head =~ /^X-Variables: (.*?)\r$/m, "\n";
            close $out;
        }
        next if -e "$directory/down" || $client->peerhost ne $from;
        syswrite $client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n"
            . "X-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: alice\r\n\r\n";
    }
    POSIX::_exit(0);
}

sub down {
    open my $out, '>', "$directory/down" or die "cannot write: $!\n";
    close $out;
    return;
}

# Asks at another address than 127.0.0.1.
sub outcome_on {
    my ($connect) = @_;
    return told($nginx->receive($nginx->send(on => $connect->(), headers => stranger())));
}

for my $case (
    ['a wildcard', '*:%d', '127.0.0.2', sub { IO::Socket::INET->new(PeerAddr => '127.0.0.2', PeerPort => $_[0]) }, '$server_addr'],
    ['an address', '127.0.0.2:%d', '127.0.0.2', sub { IO::Socket::INET->new(PeerAddr => '127.0.0.2', PeerPort => $_[0]) }, '$remote_addr'],
    ['a Unix socket', "unix:$directory/socket", '127.0.0.1', sub { IO::Socket::UNIX->new(Peer => "$directory/socket") }, '127.0.0.1'],
) {
    my ($name, $listen, $from, $connect, $bind) = @$case;
    subtest "a probe goes the way of the clients of $name, by proxy_bind $bind" => sub {
        unlink "$directory/seen", "$directory/down";
        my $own = Test::Nginx::Authgear::Server::other_port(6);
        # A client's own address is not the server's, so only a fixed one serves both there.
        my $source = $bind eq '$remote_addr' ? '$source' : $bind;
        my ($port, $stop) = picky($from);
        my $location = "location = /_authgear/resolve { internal; proxy_pass http://127.0.0.1:$port; proxy_bind $source;"
            . ' proxy_set_header Cookie $authgear_resolver_cookie;'
            . ' proxy_set_header X-Variables "$server_addr $server_port $remote_addr $remote_port $host $scheme $connection"; }';
        $nginx = start_resolving('', server => $status, http => 'map $http_user_agent $source { ~^ngx_http_authgear_module $remote_addr; default 127.0.0.2; }'
            . ' server { listen ' . $listen =~ s/%d/$own/r . " ; server_name own.test; $location"
            . ' location / { authgear_verify myapp; add_header X-Reason $authgear_reason always;'
            . ' add_header X-User $authgear_user_id always; add_header X-Source $authgear_source always; empty_gif; } }');
        my $ask = sub { outcome_on(sub { $connect->($own) // die "cannot connect: $@\n" }) };
        is($ask->(), '200 ok alice resolver', 'a client');
        down();
        is($ask->(), $unavailable, 'no response') for 1 .. 3;
        is(metric(), 1, 'the resolver is suspended');
        soon { -s "$directory/seen" } 'a probe comes';
        unlink "$directory/down";
        soon { $ask->() eq '200 ok alice resolver' } 'and ends that';
        is(metric(), 0, 'it is not suspended');
        open my $in, '<', "$directory/seen" or die "cannot read: $!\n";
        my ($seen) = <$in> =~ /(.*)/;
        my $is_unix = $name =~ /Unix/;
        my $expected = $is_unix ? "unix:$directory/socket  unix:$directory/socket  own.test http 0" : "$from $own $from  own.test http 0";
        is($seen, $expected, 'its variables');
        $stop->();
        stop_resolving($nginx);
    };
}

# --- without any live server

subtest 'nginx that takes no server for alive has no response, and the resolver is suspended' => sub {
    located('https://authgear_resolver' => 'http://authgear_resolver');
    my ($address) = resolver_origin() =~ m{^http://(.*)};
    $nginx = start_resolving('', server => $status,
        http => "upstream authgear_resolver { server $address fail_timeout=1s; server 127.0.0.1:1 fail_timeout=1s; }");
    soon { outcome(headers => stranger()) =~ /^401/ } 'it answers';
    control('POST', '/-/gone');
    soon { outcome(headers => stranger()); metric() eq '1' } 'both are down';
    like($nginx->log_text, qr/no live upstreams while connecting to upstream/, 'nginx asked nobody');
    like($nginx->log_text, qr/authgear: project "myapp": the resolver is suspended, .*: the resolver gave no response \(status 502\)/,
        'which suspends the resolver');
    control('POST', '/-/back');
    soon { outcome(headers => stranger()) =~ /^401/ } 'it recovers';
    is(metric(), 0, 'and is not suspended');
    stop_resolving($nginx);
};

subtest 'a 502 of the resolver itself is a response' => sub {
    located('https://authgear_resolver' => resolver_origin());
    $nginx = start_resolving('', server => $status);
    fault(resolver => 'status', status => 502);
    is(outcome(headers => stranger()), $unavailable, 'a 502') for 1 .. 6;
    is(metric(), 0, 'does not suspend it');
    is(asked(), 6, 'each is asked');
    stop_resolving($nginx);
};

done_testing();
