# Projects and tenants whose keys come from the same source share one key set and one fetch.

use strict;
use warnings;

use File::Temp qw(tempdir);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Server;

my $uri = "$ENV{TEST_NGINX_AUTHGEAR}/oauth2/jwks";

sub of_issuer { my ($issuer) = @_; return token(claims => { iss => $issuer, aud => [$issuer] }) }

{
    my ($http, $server) = ('', '');
    for my $number (1 .. 60) {
        $http .= "authgear_project p$number { endpoint https://p$number.example.com; jwks_uri $uri; }\n";
        $server .= "location = /p$number { authgear_verify p$number; empty_gif; }\n";
    }
    $http .= "authgear_project many { endpoint https://\$arg_t.example.com; jwks_uri $uri; }\n";
    $server .= "location = /many { authgear_verify many; empty_gif; }\n";
    my $file = keys_file();
    reset_counts();
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 3, http => $http, server => $server, project => "jwks_file $file;",
    );
    my @sent = map { $nginx->send(path => "/p$_", token => of_issuer("https://p$_.example.com")) } 1 .. 60;
    push @sent, map { $nginx->send(path => "/many?t=t$_", token => of_issuer("https://t$_.example.com")) } 1 .. 20;
    is_deeply($nginx->tally($nginx->receive(@sent)), { '200 ok' => 80 },
        '60 projects and 20 tenants of another, with one jwks_uri');
    is(counts()->{jwks}, 1, 'make one fetch');
    is($nginx->ask(path => '/p1', token => of_issuer('https://p2.example.com'))->{reason}, 'bad_issuer',
        'and share nothing else');
    $nginx->stop_soundly;
}

{
    my @folder = map { "$_/keys" } tempdir(CLEANUP => 1), tempdir(CLEANUP => 1);
    chmod 0755, map { s{/keys\z}{}r } @folder;
    reset_counts();
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        project => "state_path $folder[0]; jwks_refresh 1h;",
        http => "authgear_project other { endpoint \$TEST_NGINX_AUTHGEAR; state_path $folder[1];"
            . ' jwks_refresh 1s; jwks_min_interval 1s; }',
    );
    is($nginx->ask(token => token())->{status}, 200, 'two projects with one endpoint');
    soon { 2 == grep { my @saved = glob "$_/*"; @saved } @folder } 'the set is saved in the state_path of each';
    is(counts()->{discovery}, 1, 'after one fetch');
    soon { $nginx->ask(token => token()); counts()->{jwks} > 1 } 'the shorter jwks_refresh counts for both';
    $nginx->stop_soundly;
}

{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        project => 'jwks_refresh 1h; jwks_min_interval 1h;',
        http => 'authgear_project other { endpoint $TEST_NGINX_AUTHGEAR; jwks_refresh 1h; jwks_min_interval 1s; }',
    );
    is($nginx->ask(token => token())->{status}, 200, 'two projects with one endpoint');
    control('POST', '/-/keys/rotate');
    my $token = token();
    soon { $nginx->ask(token => $token)->{status} == 200 } 'the shorter jwks_min_interval counts for both';
    $nginx->stop_soundly;
}

{
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        project => 'jwks_refresh 1s; jwks_stale 24h; fetch_timeout 60s;',
        http => 'authgear_project other { endpoint $TEST_NGINX_AUTHGEAR; jwks_refresh 1s; jwks_stale 1s; fetch_timeout 1s; }',
    );
    my $token = token();
    is($nginx->ask(token => $token)->{status}, 200, 'two projects with one endpoint');
    control('PUT', '/-/fault/jwks', { mode => 'hang' });
    soon { $nginx->ask(token => $token)->{reason} eq 'keys_unavailable' } 'the shorter fetch_timeout and jwks_stale count for both';
    control('DELETE', '/-/fault');
    soon { $nginx->ask(token => $token)->{status} == 200 } 'until the keys are had again';
    $nginx->stop_soundly;
}

sub keys_file {
    my $directory = tempdir(CLEANUP => 1);
    open my $out, '>', "$directory/keys.json" or die "cannot write: $!\n";
    print {$out} key_set();
    close $out;
    return "$directory/keys.json";
}

done_testing();
