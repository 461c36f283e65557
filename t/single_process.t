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
is_deeply(outcomes(), [$new, $known, $known], 'and once more after it');

reload('a reload with another zone', 'authgear_shared_zone zone=other:2m;');
is_deeply(outcomes(), [$new, $known, $known], 'with keys that are fetched again');

reload('a reload without a cache of tokens', "$zone authgear_token_cache off;");
is_deeply(outcomes(), [$new, $new, $new], 'each time');

reload('a reload with a cache', $zone);
is_deeply(outcomes(), [$new, $known, $known], 'and once again');

$nginx->stop_soundly;

done_testing;
