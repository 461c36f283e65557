# Rule 6: nobody waits for a resolver that gives no response, one question a second
# probes it, and no client can have it suspended for others.

use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Socket::INET;
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

# The resolver's location, with some of its text replaced.
sub located {
    my ($name, @replace) = @_;
    my $file = "$directory/$name.conf";
    open my $out, '>', $file or die "cannot write $file: $!\n";
    print {$out} shipped('authgear_resolver.conf', '/etc/ssl/certs/ca-certificates.crt' =>
            Test::Nginx::Authgear::Resolver::certificates(), @replace);
    close $out;
    $ENV{TEST_NGINX_RESOLVER} = $file;
    return;
}

sub located_quick {
    located(quick => 'https://authgear_resolver' => resolver_origin(), 'proxy_read_timeout 5s' => 'proxy_read_timeout 300ms');
    return;
}

sub stranger { return cookie(session => 'made-up-' . ++$made_up) }

sub outcome { return told($nginx->ask(@_)) }

sub metric {
    my ($project) = (@_, 'myapp');
    my $body = $nginx->ask(path => '/status')->{body};
    return $body =~ /^authgear_resolver_suspended\{project="$project"\} (\d)$/m ? $1 : '-';
}

# The questions in a list of requests that are no probes.
sub of_clients { return grep { ($_->{headers}{cookie}[0] // '') !~ /^session=probe\./ } @_ }

# Three questions without a response.
sub suspend {
    my @answers = map { outcome(headers => stranger()) } 1 .. 3;
    is_deeply(\@answers, [($unavailable) x 3], 'three requests wait in vain');
    is(metric(), 1, 'the resolver is suspended');
    return;
}

located_quick();

subtest 'after three questions without a response nobody waits, and one probe a second is sent' => sub {
    $nginx = start_resolving('', server => $status, workers => 2);
    my $user = session(user => 'alice');
    is(metric(), 0, 'at first it is not suspended');
    fault(resolver => 'hang');
    suspend();
    soon { of_clients(asked_requests()) == 3 } 'all three have come';
    reset_counts();
    my ($began, @seconds) = time;
    while (time - $began < 2.2) {
        my @answers = $nginx->receive(map { $nginx->send(headers => stranger()) } 1 .. 20);
        is_deeply($nginx->tally(@answers), { '503 resolver_unavailable' => 20 }, 'all get 503');
        push @seconds, map { $_->{seconds} } @answers;
        sleep 0.1;
    }
    is(scalar(grep { $_ > 5 } @seconds), 0, 'at once');
    my ($asked, $passed) = (asked(), time - $began);
    ok($asked >= 2 && $asked <= $passed + 2, "one question a second: $asked in $passed s");
    is_deeply([of_clients(asked_requests())], [], 'none is about a client');
    heal();
    my $healed = time;
    soon { outcome(headers => cookie(session => $user)) =~ /^200/ } 'it is asked again';
    diag('recovered after ' . (time - $healed) . ' s') if $ENV{VERBOSE};
    is(outcome(headers => cookie(session => $user)), '200 ok alice resolver', 'and answers');
    is(metric(), 0, 'which ends the suspension');
    like($nginx->log_text, qr/\[error\].*authgear: project "myapp": the resolver is suspended, nobody waits/, 'logged');
    like($nginx->log_text, qr/\[notice\].*authgear: project "myapp": the resolver responds again/, 'with its end');
    my @lines = grep { /the resolver is suspended/ } split /\n/, $nginx->log_text;
    is(scalar @lines, 1, 'once');
    ok($nginx->reload, 'a reload');
    fault(resolver => 'hang');
    suspend();
    ok($nginx->reload, 'another');
    is(metric(), 1, 'does not end it');
    heal();
    soon { outcome(headers => stranger()) =~ /^401/ } 'a response does';
    stop_resolving($nginx);
};

subtest 'a probe has nothing of a client' => sub {
    my $log = "$directory/access.log";
    $nginx = start_resolving('', server => "$status log_subrequest off; access_log $log;");
    fault(resolver => 'close');
    my @odd = (
        'User-Agent: odd/1.0', 'X-Odd: header', 'Authorization: Bearer opaque-and-odd', 'Referer: http://odd.example/',
        'X-Forwarded-Host: odd.example', 'Content-Length: 3', stranger(),
    );
    my $odd = join "\r\n", @odd;
    my @answers = map { told($nginx->ask(path => '/?odd', headers => $odd)) } 1 .. 3;
    is_deeply(\@answers, [($unavailable) x 3], 'three are cut off');
    soon { grep { ($_->{headers}{cookie}[0] // '') =~ /^session=probe\./ } asked_requests() } 'a probe follows at once';
    my ($probe) = grep { ($_->{headers}{cookie}[0] // '') =~ /^session=probe\./ } asked_requests();
    is_deeply([@$probe{qw(method uri)}], ['HEAD', '/_resolver/resolve'], 'its method and URI');
    my %headers = %{ $probe->{headers} };
    is_deeply([sort keys %headers], [qw(cookie host user-agent x-forwarded-for x-forwarded-proto)], 'its headers');
    like($headers{'user-agent'}[0], qr{^ngx_http_authgear_module/[\d.]+$}, 'its own name');
    is($headers{'x-forwarded-for'}[0], '127.0.0.1', 'no address of a client');
    unlike(join(' ', map { @$_ } values %headers), qr/odd/, 'nothing of the request');
    heal();
    soon { outcome(headers => stranger()) =~ /^401/ } 'it recovers';
    stop_resolving($nginx);
    open my $in, '<', $log or die "cannot read $log: $!\n";
    my @lines = <$in>;
    is(scalar(grep { !/ HTTP\/1\.1" / } @lines), 0, 'a probe is in no access log');
};

subtest 'a resolver that refuses connections is suspended, by the questions of recheck too' => sub {
    $nginx = start_resolving('recheck 1h;', server => $status);
    soon { outcome(token => token()) =~ /^200/ } 'the keys are there';
    control('POST', '/-/gone');
    like(outcome(token => token()), qr/^200/, 'a new token stands') for 1 .. 3;
    soon { metric() eq '1' } 'the resolver is suspended';
    like(outcome(token => token()), qr/^200/, 'another stands');
    is(outcome(headers => stranger()), $unavailable, 'a session gets 503');
    control('POST', '/-/back');
    soon { outcome(headers => stranger()) =~ /^401/ } 'it recovers';
    is(metric(), 0, 'and is not suspended');
    stop_resolving($nginx);
};

subtest 'while it is suspended a JWT under recheck stands, and a yes is used on' => sub {
    $nginx = start_resolving('resolve_cache 1s; resolve_stale 1h; recheck 1h strict;', server => $status);
    my @known = (cookie(session => session(user => 'alice')), cookie(session => session(user => 'bob')));
    is(outcome(headers => $known[0]), '200 ok alice resolver', 'a yes');
    is(outcome(headers => $known[1]), '200 ok bob resolver', 'another');
    my $refused = token(user => 'carol');
    control('POST', '/-/users/carol/disable');
    is(outcome(token => $refused), '401 session_invalid - none', 'a no to a token');
    sleep 1.1;
    fault(resolver => 'hang');
    suspend();
    for (1 .. 3) {
        is(outcome(headers => $known[0]), '200 ok alice resolver_stale', 'the stale yes');
        like(outcome(token => token(user => 'dave')), qr/^200 ok dave jwt/, 'a new JWT stands');
        is(outcome(token => $refused), '401 session_invalid - none', 'not after a no');
    }
    control('POST', '/-/users/bob/disable');
    heal();
    soon { outcome(headers => $known[1]) =~ /^401/ } 'then a no counts';
    fault(resolver => 'hang');
    suspend();
    sleep 1.1;
    is(outcome(headers => $known[1]), $unavailable, 'not one stale yes after a no');
    stop_resolving($nginx);
};

subtest 'who waits for the answer to another request waits no more' => sub {
    located(slow => 'https://authgear_resolver' => resolver_origin(), 'proxy_read_timeout 5s' => 'proxy_read_timeout 60s');
    $nginx = start_resolving('resolve_cache 1s;', server => $status);
    fault(resolver => 'hang', times => 1);
    my $cookie = stranger();
    my $first = $nginx->send(headers => $cookie);
    soon { asked() == 1 } 'one asks';
    my @others = map { $nginx->send(headers => $cookie) } 1 .. 5;
    fault(resolver => 'close');
    suspend();
    is_deeply($nginx->tally($nginx->receive(@others)), { '503 resolver_unavailable' => 5 }, 'the others are answered');
    $nginx->leave($first);
    heal();
    stop_resolving($nginx);
    located_quick();
};

subtest 'no client suspends it by an error, by an answer that is too large, or by leaving' => sub {
    $nginx = start_resolving('', server => $status);
    my %fault = (
        'a 500' => ['status', status => 500],
        'a 429' => ['status', status => 429],
        'a 403' => ['status', status => 403],
        'too large an answer' => ['status', status => 200, headers => { 'X-Large' => 'x' x 200_000 }],
    );
    for my $name (sort keys %fault) {
        fault(resolver => @{ $fault{$name} });
        is_deeply([map { outcome(headers => stranger()) } 1 .. 6], [($unavailable) x 6], $name);
        is(metric(), 0, 'does not suspend it');
    }
    fault(resolver => 'hang');
    reset_counts();
    for my $number (1 .. 6) {
        my $one = $nginx->send(headers => stranger());
        soon { asked() == $number } 'a client asks';
        $nginx->leave($one);
    }
    is(metric(), 0, 'and leaves');
    heal();
    is(outcome(headers => stranger()), '401 session_invalid - none', 'others are answered');
    stop_resolving($nginx);
};

# A server in front of the resolver that drops requests with a word in their cookies.
sub filter {
    my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 64) or die "no port: $@\n";
    my $pid = fork // die "cannot fork: $!\n";
    return ($server->sockport, sub { kill 'KILL', $pid; waitpid $pid, 0 }) if $pid;
    while (my $client = $server->accept) {
        my $head = '';
        while ($head !~ /\r\n\r\n/) { sysread($client, $head, 4096, length $head) or last }
        next if $head =~ /drop-me/;
        syswrite $client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n"
            . "X-Authgear-Session-Valid: true\r\nX-Authgear-User-Id: alice\r\n\r\n";
    }
    POSIX::_exit(0);
}

subtest 'no client suspends it by requests that a filter before Authgear drops' => sub {
    my ($port, $stop) = filter();
    located(filtered => 'https://authgear_resolver' => "http://127.0.0.1:$port");
    $nginx = start_resolving('', server => $status, workers => 2);
    my $drop = sub { $nginx->receive(map { $nginx->send(headers => cookie(session => "drop-me-$_")) } 1 .. $_[0]) };
    $drop->(3);
    soon { metric() eq '0' } 'the probe is answered';
    for (1 .. 10) {
        is_deeply($nginx->tally($drop->(9)), { '503 resolver_unavailable' => 9 }, 'nine are dropped');
        is(outcome(headers => stranger()), '200 ok alice resolver', 'which another does not notice');
    }
    $stop->();
    soon { outcome(headers => stranger()); metric() eq '1' } 'when it gives no response at all, it is suspended';
    stop_resolving($nginx);
    located_quick();
};

subtest 'where no probe reaches it nothing is suspended' => sub {
    $nginx = start_resolving('', server => "$status if (\$host != localhost) { return 301 http://localhost\$request_uri; }");
    fault(resolver => 'close');
    is(outcome(headers => stranger()), $unavailable, 'no response') for 1 .. 4;
    soon { $nginx->log_text =~ /\[error\].*authgear: project "myapp": the resolver is not suspended, since no probe reaches it: / }
        'which is logged';
    is(metric(), 0, 'it is not suspended');
    heal();
    like(outcome(headers => stranger()), qr/^401/, 'and is asked as soon as it is back');
    stop_resolving($nginx);
};

subtest 'limits for clients do not limit probes' => sub {
    $nginx = start_resolving('',
        http => 'limit_req_zone $server_addr zone=few:1m rate=1r/m; limit_req_zone $request_id zone=many:1m rate=1000r/s;',
        server => "$status limit_req zone=few;", location => 'limit_req zone=many burst=1000 nodelay;');
    fault(resolver => 'close');
    is(outcome(headers => stranger()), $unavailable, 'no response') for 1 .. 3;
    soon { outcome(headers => stranger()); asked() >= 5 } 'a second probe is sent';
    heal();
    soon { outcome(headers => stranger()) =~ /^401/ } 'it recovers';
    unlike($nginx->log_text, qr/no probe reaches it|limiting requests/, 'by a probe');
    stop_resolving($nginx);
};

subtest 'a tenant of many is suspended alone' => sub {
    my $tenants = 'endpoint http://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR; issuer x; audience x;';
    $nginx = start_resolving($tenants =~ s/http:/https:/r, server => $status);
    my $ask = sub { outcome(path => "/?t=$_[0]", headers => stranger()) };
    control('PUT', '/-/fault/resolver?project=https://one.example.com', { mode => 'close' });
    is($ask->('one'), $unavailable, 'one has no response') for 1 .. 3;
    is(metric(), 1, 'and is suspended');
    is($ask->('two'), '401 session_invalid - none', 'another is not') for 1 .. 3;
    control('DELETE', '/-/fault?project=https://one.example.com');
    soon { $ask->('one') =~ /^401/ } 'it recovers';
    is(metric(), 0, 'none is suspended');
    stop_resolving($nginx);
};

done_testing();
