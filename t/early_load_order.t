# authgear_early beside another dynamic module of the preaccess phase, loaded before this module and after it:
# nginx's own limits, which are static, see the caller in both orders. Of dynamic modules the one that is loaded last
# comes first.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(cookie start_resolving stop_resolving);
use Test::Nginx::Authgear::Server;

my $directory = $ENV{AUTHGEAR_TEST_DIR} || tempdir(CLEANUP => 1);
my $neighbour = "$directory/neighbour.so";
my ($source, $build) = @ENV{qw(NGINX_SOURCE_DIR NGINX_BUILD_DIR)};
my @include = map {"-I$_"} $build, map {"$source/src/$_"} qw(core event event/modules event/quic os/unix http http/modules http/v2 http/v3);
my @compile = ('cc', '-shared', '-fPIC', '-Wall', @include, '-o', $neighbour, abs_path(dirname(__FILE__)) . '/fixtures/neighbour.c');
is(system(@compile), 0, 'the neighbour is compiled') or BAIL_OUT('no neighbour');

my $module = $ENV{TEST_NGINX_LOAD_MODULES};
for my $order (['before', "$neighbour $module", 1], ['after', "$module $neighbour", 0]) {
    my ($name, $modules, $sees) = @$order;
    $ENV{TEST_NGINX_LOAD_MODULES} = $modules;
    my $nginx = start_resolving('',
        http => 'limit_req_zone $authgear_user_id zone=users:1m rate=1r/m; limit_conn_zone $authgear_user_id zone=connections:1m;',
        location => 'authgear_early on; limit_req zone=users; limit_conn connections 1;',
        server => 'location = /late { authgear_verify myapp; limit_req zone=users; empty_gif; }',
    );
    is($nginx->ask(token => token(user => "first-$name"))->{status}, 200, "loaded $name: the keys are there");
    my $told = sub {
        my ($answer) = @_;
        my ($saw) = $answer->{headers} =~ /^X-Neighbour: (.*?)\r?$/m;
        return "$answer->{status} " . ($saw // '-');
    };
    for my $kind (['a cookie', sub { headers => cookie(session => session(user => $_[0])) }], ['a JWT', sub { token => token(user => $_[0]) }]) {
        my ($what, $of) = @$kind;
        my ($one, $other) = map { join '-', $_, $name, $what =~ s/\W//gr } qw(one other);
        my @one = $of->($one);
        # A JWT is verified there and then, as its key is at hand.
        my $saw = $sees || $what eq 'a JWT';
        is($told->($nginx->ask(@one)), '200 ' . ($saw ? $one : 'nobody'), "loaded $name: $what of a user");
        is($told->($nginx->ask(@one)) =~ s/ .*//r, 503, "loaded $name: $what again, at the limit");
        is($told->($nginx->ask($of->($other))), '200 ' . ($saw ? $other : 'nobody'), "loaded $name: $what of another");
    }
    my @late = (path => '/late', headers => cookie(session => session(user => "late-$name")));
    is(join(' ', map { $told->($nginx->ask(@late)) } 1, 2), '200 nobody 200 nobody', "loaded $name: without authgear_early no limit knows the cookie's user");
    stop_resolving($nginx);
}

done_testing();
