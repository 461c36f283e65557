# Without a master process (`master_process off`, for developers) nginx accepts no
# connection after a reload, but serves those that it has. The same process then
# has another configuration, and a zone that may lie elsewhere: what it kept for
# the old one does not count any more.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(told);
use Test::Nginx::Authgear::Server;

my $zone = 'authgear_shared_zone zone=one:1m;';
my $nginx = Test::Nginx::Authgear::Server->start(
    workers => 0,
    http => $zone,
    server => 'add_header X-Source $authgear_source always;',
);
my $connection = $nginx->connection;
my $token = token(user => 'alice');

sub outcomes { return [map { told($nginx->ask(token => $token, on => $connection)) } 1 .. 3] }

sub reload {
    my ($name, $http) = @_;
    $nginx->mark_log;
    $nginx->reload(http => $http);
    return soon { $nginx->log_text =~ /reconfiguring/ } $name;
}

my ($new, $known) = map {"200 ok alice $_"} qw(jwt jwt_cache);

is_deeply(outcomes(), [$new, $known, $known], 'a token is verified once');

reload('a reload', $zone);
is_deeply(outcomes(), [$known, $known, $known], 'and not again after it');

reload('a reload with another zone', 'authgear_shared_zone zone=other:2m;');
is_deeply(outcomes(), [$new, $known, $known], 'with keys that are fetched again');

reload('a reload with tokens of its own', 'authgear_shared_zone zone=other:2m; authgear_token_cache 10;');
is_deeply(outcomes(), [$known, $known, $known], 'keeps those of the zone');

reload('a reload with the first zone', $zone);
is_deeply(outcomes(), [$new, $known, $known], 'which is a new one');

$nginx->stop_soundly;

# A reload may take the zone away in which a waiting request would find its keys, or the whole module.
for my $case (
    ['without a project', qr/^\s*authgear_[^\n]*/m],
    ['without the module', qr/^[^\n]*authgear_[^\n]*/m],
) {
    my ($name, $removed) = @$case;
    fault(jwks => 'hang');
    reset_counts();
    $nginx = Test::Nginx::Authgear::Server->start(workers => 0, project => 'fetch_timeout 30s;',
        server => "location = /metrics {\nauthgear_status prometheus;\nallow 127.0.0.1;\ndeny all;\n}\n");
    my $waiting = $nginx->send(token => $token);
    soon { $nginx->ask(path => '/metrics')->{body} =~ /^authgear_waiting_requests 1$/m } 'a request waits for its keys';
    remove_from_configuration($removed);
    $nginx->mark_log;
    $nginx->signal('HUP');
    soon { $nginx->log_text =~ /reconfiguring/ } "a reload $name";
    my ($answer) = $nginx->receive($waiting);
    is($answer->{status}, 503, "$name: the request that waited is answered");
    heal();
    $nginx->stop_soundly;
}

sub remove_from_configuration {
    my ($removed) = @_;
    my $path = "$nginx->{root}/conf/nginx.conf";
    open my $in, '<', $path or die "$path: $!\n";
    my $text = do { local $/; <$in> };
    $text =~ s/authgear_project.*?\}//s;
    $text =~ s/$removed//g;
    open my $out, '>', $path or die "$path: $!\n";
    print {$out} $text;
    close $out or die "$path: $!\n";
    return;
}

done_testing;
