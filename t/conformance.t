# tools/conformance.py against the stand-in: every fact that this module relies on
# holds there, what cannot be tried is said, and a fact that does not hold is named.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use Test::More;
use Test::Nginx::Authgear;

my $root = abs_path(dirname(__FILE__) . '/..');
my $directory = $ENV{AUTHGEAR_TEST_DIR} || tempdir(CLEANUP => 1);
my $files = 0;

# --- a self-hosted server: the main port, the resolver's and TLS in front; a cookie prefix

my $server = start_standin('--tls-listen', '127.0.0.1:0', '--cookie-prefix', 'my_');
my $hook = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "cannot listen: $!\n";
my $listen = '127.0.0.1:' . $hook->sockport;
close $hook;
control('PUT', '/-/webhooks', { urls => ["http://$listen/"], secret => 'a webhook secret' }, $server);
my $key = control('GET', '/-/admin', undef, $server);
my %description = (
    authgear => {
        endpoint => $server->{https}, internal => $server->{http}, resolver => $server->{resolver},
        ca => $server->{ca}, cookie_prefix => 'my_',
    },
    admin => { app_id => $key->{app_id}, key_id => $key->{key_id}, key => file($key->{key}) },
    jwt => { client_id => 'standin-client' },
    opaque => { client_id => 'standin-opaque' },
    m2m => { client_id => 'standin-m2m', client_secret => 'standin-secret', resource => 'https://api.example.com' },
    user => {
        session => control('POST', '/-/session', { user => 'ann' }, $server),
        app_session => control('POST', '/-/session', { user => 'bob', kind => 'app' }, $server),
    },
    webhook => { listen => $listen, secret => 'a webhook secret' },
);
my ($code, @lines) = run(%description);
is($code, 0, 'all facts hold of a server that has everything');
is_deeply([grep { /^DOES NOT HOLD/ } @lines], [], 'none is named');
is_deeply(
    [sort grep { /^not tried/ } @lines],
    [
        'not tried: a login with cookies: the file has no [login]',
        'not tried: a rotation of keys (no interface of Authgear\'s rotates them)',
        'not tried: the beginning of a planned period (the server acts within five minutes of it)',
        'not tried: the cookie app_session: the file has no [login]',
    ],
    'and what was not tried is said'
);
cmp_ok(scalar(grep { /^holds: / } @lines), '>', 150, 'of more than 150 facts');
my $all = join "\n", @lines;
like($all, qr/^holds: $_$/m, $_) for (
    'discovery\'s issuer is the endpoint\'s origin',
    'its signature verifies with the key of its kid',
    'of an ID token the resolver says nothing',
    'X-Authgear-User-Roles joins the roles by a comma',
    'app_session wins over app_access_token',
    'a bad app_access_token falls through to session',
    'a bad session cookie is cleared by Set-Cookie',
    'and nothing brings them back after setDisabledStatus',
    'user\.deleted: X-Authgear-Body-Signature is the HMAC in lower-case hex',
);
unlike($all, qr/eyJ\w{9}|$description{user}{session}|a webhook secret/, 'no credential is shown');

# --- a cloud project without anything else

my $cloud = start_standin('--tls-listen', '127.0.0.1:0');
my %cloud = (authgear => { endpoint => $cloud->{https}, ca => $cloud->{ca} });
($code, @lines) = run(%cloud);
is($code, 0, 'an endpoint alone can be tried');
is(scalar(grep { /^not tried/ } @lines), 11, 'and what needs more is said')
    or diag(join "\n", grep { /^not tried/ } @lines);

# --- servers that have changed

control('POST', '/-/keys/add', { kty => 'EC' }, $cloud);
($code, @lines) = run(%cloud);
is($code, 1, 'a fact that does not hold is told by the exit code');
is_deeply(
    [grep { /^DOES NOT HOLD/ && /kty/ } @lines],
    [q{DOES NOT HOLD: each key's kty is RSA (got ['EC', 'RSA'], not ['RSA'])}],
    'and named, with what was found'
);
control('PUT', '/-/fault/resolver', { mode => 'status', status => 500 }, $cloud);
($code, @lines) = run(%cloud);
ok(scalar(grep { $_ eq 'DOES NOT HOLD: GET without a credential is answered 200 (got 500, not 200)' } @lines),
    'a resolver that fails is named, too');

# --- mistakes

for my $mistake (
    [{ authgear => {} }, 'conformance: [authgear] needs endpoint'],
    [{ authgear => { endpoint => 'x', reslover => 'y' } }, 'unknown name reslover in [authgear]'],
    [{ %cloud, machine => {} }, 'unknown section [machine]'],
) {
    my ($code, @said) = run(%{ $mistake->[0] });
    is($code, 2, "a mistake: $mistake->[1]");
    like("@said", qr/\Q$mistake->[1]\E/, 'is said');
}

done_testing();

sub run {
    my (%sections) = @_;
    my $text = '';
    for my $section (sort keys %sections) {
        $text .= "[$section]\n" . join '', map { "$_ = $sections{$section}{$_}\n" } sort keys %{ $sections{$section} };
    }
    my $name = file($text);
    my @said = `python3 '$root/tools/conformance.py' '$name' 2>&1`;
    chomp @said;
    return ($? >> 8, @said);
}

sub file {
    my ($text) = @_;
    my $name = "$directory/conformance-" . ++$files;
    open my $out, '>', $name or die "cannot write $name: $!\n";
    print {$out} $text;
    close $out;
    return $name;
}
