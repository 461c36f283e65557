# What authgear_status answers: the format, the headers, methods, and text that
# comes from clients or the configuration.

use strict;
use warnings;

use IO::Socket::INET;
use JSON::PP;
use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Server;

my $server = <<'END';
location = /status { authgear_status; }
location = /html { authgear_status html; if ($arg_if) { set $unused 1; } }
location = /json { authgear_status json; }
location = /prometheus { authgear_status prometheus; }
location = /closed { deny all; authgear_status; }
location = /parts { authgear_status json; limit_except HEAD { allow all; } }
location /tenant { authgear_verify tenants; empty_gif; }
END
my $http = 'authgear_project tenants { endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR; }';
my $nginx = Test::Nginx::Authgear::Server->start(workers => 2, server => $server, http => $http);
my $prometheus = 'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,'
    . 'text/plain;version=0.0.4;q=0.5,*/*;q=0.1';

my %type = (
    html => 'text/html; charset=utf-8',
    json => 'application/json',
    text => 'text/plain; version=0.0.4; charset=utf-8',
    openmetrics => 'application/openmetrics-text; version=1.0.0; charset=utf-8',
);
for my $case (
    ['/status', '', 'html'],
    ['/status', '*/*', 'html'],
    ['/status', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'html'],
    ['/status', 'application/json', 'json'],
    ['/status', 'text/plain', 'text'],
    ['/status', $prometheus, 'openmetrics'],
    ['/html', $prometheus, 'html'],
    ['/json', 'text/html', 'json'],
    ['/parts', '', 'json'],
    ['/prometheus', '', 'text'],
    ['/prometheus', 'text/html', 'text'],
    ['/prometheus', $prometheus, 'openmetrics'],
) {
    my ($path, $accept, $format) = @$case;
    my $answer = $nginx->ask(path => $path, $accept ? (headers => "Accept: $accept") : ());
    is($answer->{status}, 200, "$path, Accept: $accept");
    is(header($answer, 'Content-Type'), $type{$format}, "is $format");
    is(header($answer, 'Cache-Control'), 'no-store', 'and not kept');
    is(header($answer, 'X-Content-Type-Options'), 'nosniff', 'nor guessed');
    my $policy = header($answer, 'Content-Security-Policy');
    $format eq 'html' ? like($policy, qr/^default-src 'none'; style-src 'unsafe-inline'; /, 'nor may it load anything')
        : is($policy, undef, 'and has no policy');
    my $begins = { html => qr/\A<!DOCTYPE html>/, json => qr/\A\{\n/ }->{$format} // qr/\A# HELP authgear_/;
    like($answer->{body}, $begins, 'the body begins as it should');
    is(scalar($answer->{body} =~ /\n# EOF\n\z/), $format eq 'openmetrics' ? 1 : '', 'and ends so');
}

is($nginx->ask(path => '/html?if=1')->{status}, 200, 'an "if" in the location changes nothing');

# --- methods

like(raw("HEAD /status HTTP/1.0\r\n\r\n"), qr{\AHTTP/1\.1 200 .*\r\nContent-Length: [1-9].*\r\n\r\n\z}s, 'HEAD: no body');
for my $method (qw(POST PUT DELETE OPTIONS PATCH)) {
    my $answer = raw("$method /status HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc");
    like($answer, qr{\AHTTP/1\.1 405 }, "$method: 405");
    like($answer, qr/^Allow: GET, HEAD\r$/m, "$method: and what is allowed");
}
is($nginx->ask(path => '/closed')->{status}, 403, 'deny holds');
is($nginx->ask(path => '/status', token => 'x')->{status}, 200, 'a credential is not looked at');

# --- JSON

{
    $nginx->ask(token => token(user => 'ann-the-user'));
    my $answer = $nginx->ask(path => '/json');
    my $state = decode_json($answer->{body});
    is_deeply([map { $_->{name} } @{ $state->{projects} }], ['myapp', 'tenants'], 'JSON: the projects in their order');
    my ($myapp, $tenants) = @{ $state->{projects} };
    is_deeply([@{ $myapp->{keys} }{qw(state origin number tenants)}], ['fresh', 'network', 1, undef], 'JSON: keys');
    like($myapp->{keys}{keys}[0]{kid}, qr/./, 'JSON: a kid');
    is_deeply($myapp->{keys}{keys}[0]{algorithms}, ['RS256'], 'JSON: its algorithms');
    cmp_ok($myapp->{keys}{next_refresh}, '<=', 600, 'JSON: the next fetch');
    is($state->{zone}{name}, 'authgear', 'JSON: the zone');
    cmp_ok($state->{zone}{used}, '<', $state->{zone}{size}, 'JSON: and how full it is');
    cmp_ok(abs(time - $state->{configuration_loaded_at}), '<', 60, 'JSON: when the configuration was loaded');
    is_deeply($state->{problems}, [], 'JSON: no problems');
    like($state->{build}{version}, qr/^\d+\.\d+\.\d+$/, 'JSON: the version');
    like($state->{build}{nginx}, qr/^1\.\d+\.\d+$/, "JSON: nginx's");
    unlike($answer->{body}, qr/ann-the-user/, 'JSON: no user');
}

# --- clients

# Tenants that a client makes up do not count, and no text of its is shown or becomes a label.
{
    my $host = 'real.example.com';
    control('PUT', "/-/keys/raw?project=https://$host", key_set());
    my $token = token(claims => { iss => "https://$host", aud => ["https://$host"] });
    is($nginx->ask(path => '/tenant?t=real', token => $token)->{status}, 200, 'a tenant');
    my $before = keys %{ series() };
    fault(discovery => 'status', status => 404);
    $nginx->receive(map { $nginx->send(path => "/tenant?t=hostile-$_", token => $token) } 1 .. 20);
    $nginx->ask(path => '/tenant?t=%22%3Cb', token => $token);
    $nginx->ask(path => '/', headers => "X-Authgear-User-Id: hostile\r\nUser-Agent: <script>hostile\r\nHost: hostile", token => 'hostile.a.b');
    heal();
    my $after = series();
    is($after->{'authgear_tenants{project="tenants"}'}, 1, 'made-up tenants do not count');
    is($after->{'authgear_keys{project="tenants"}'}, 1, 'and are not the worst');
    is($after->{'authgear_keys_stale{project="tenants"}'}, 0, 'nor stale');
    cmp_ok(keys(%$after) - $before, '<=', 3, 'no series but those of new reasons');
    for my $path (qw(/html /json /prometheus)) {
        unlike($nginx->ask(path => $path)->{body}, qr/hostile/, "$path: nothing of the client's");
    }
}

# --- a kid that would end a tag, an attribute or a line

{
    my $kid = q{"><script>alert(1)</script>&\\};
    my $document = decode_json(key_set());
    $document->{keys} = [{ %{ $document->{keys}[0] }, kid => $kid }];
    control('PUT', '/-/keys/raw', encode_json($document));
    ok($nginx->reload(project => 'jwks_uri $TEST_NGINX_AUTHGEAR/oauth2/jwks?other=1;'), 'keys with such a kid');
    my $body = '';
    soon { $body = $nginx->ask(path => '/html')->{body}; $body =~ /alert/ } 'are shown';
    unlike($body, qr/<script/, 'escaped');
    my ($shown) = map { $_->{keys}{keys}[0]{kid} } grep { $_->{name} eq 'myapp' }
        @{ decode_json($nginx->ask(path => '/json')->{body})->{projects} };
    is($shown, $kid, 'JSON holds it as it is');
    control('DELETE', '/-/keys/raw');
}

$nginx->stop_soundly;

done_testing();

sub header {
    my ($answer, $name) = @_;
    return $answer->{headers} =~ /^\Q$name\E: (.*?)\r?$/m ? $1 : undef;
}

sub series {
    return { map {/^(\S+) (\S+)$/} grep { !/^#/ } split /\n/, $nginx->ask(path => '/prometheus')->{body} };
}

# The answer to a request as it is written.
sub raw {
    my ($request) = @_;
    my $socket = $nginx->connection;
    print {$socket} $request;
    local $/;
    return scalar <$socket>;
}
