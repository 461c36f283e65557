# Within one client request nothing that was found out about one credential or project serves another, wherever an
# internal redirect takes it.

use strict;
use warnings;

use File::Temp qw(tempdir);
use MIME::Base64 qw(decode_base64url encode_base64url);
use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Resolver qw(cookie);
use Test::Nginx::Authgear::Server;

my $origin = standin()->{origin};
my $other = 'https://other.example.com';

# What the second location says of who came by the first.
sub outcome {
    my ($nginx, $path, %request) = @_;
    my $answer = $nginx->ask(path => $path, %request);
    return $answer->{error} // join ' ', map { defined && length ? $_ : '-' } @$answer{qw(status reason user)};
}

my $keys = ($ENV{AUTHGEAR_TEST_DIR} // tempdir(CLEANUP => 1)) . '/other-keys.json';
open my $out, '>', $keys or die "cannot write $keys: $!\n";
print {$out} '{"keys":[', other_key(), ']}';
close $out;

# An RSA key of nobody's, under the kid of the stand-in's.
sub other_key {
    my ($kid) = @{ control('GET', '/-/keys')->{kids} };
    my $modulus = `openssl genrsa 2048 2>/dev/null | openssl rsa -noout -modulus 2>/dev/null`;
    my ($hex) = $modulus =~ /Modulus=(\w+)/ or die "openssl made no key\n";
    my $n = encode_base64url(pack 'H*', $hex);
    return qq({"kty":"RSA","kid":"$kid","n":"$n","e":"AQAB"});
}

my $nginx = Test::Nginx::Authgear::Server->start(
    workers => 1,
    project => "audience $origin https://api.example.com; resolve_request /_authgear/resolve; jwks_min_interval 1s;",
    http => <<"END",
authgear_project other {
    endpoint $other;
    internal_endpoint \$TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project keys {
    issuer $origin;
    audience $origin;
    jwks_file $keys;
}
authgear_project tenants {
    endpoint \$tenant;
    internal_endpoint \$TEST_NGINX_AUTHGEAR;
}
END
    server => <<"END",
include \$TEST_NGINX_RESOLVER;
set \$tenant $origin;
location = /to-other { authgear_verify myapp; try_files /none \@other; }
location \@other { authgear_verify other; empty_gif; }
location = /to-keys { authgear_verify myapp; try_files /none \@keys; }
location \@keys { authgear_verify keys; empty_gif; }
location = /to-second { authgear_verify myapp; authgear_token \$arg_a; try_files /none \@second; }
location \@second { authgear_verify myapp; authgear_token \$arg_b; empty_gif; }
location = /to-origin { authgear_verify myapp; try_files /none \@origin; }
location \@origin { authgear_verify myapp; authgear_audience $origin; empty_gif; }
location = /to-tenant { authgear_verify tenants; try_files /none /tenant; }
location = /tenant { set \$tenant $other; authgear_verify tenants; return 200 "[\$authgear_user_id]"; }
location = /to-same-tenant { authgear_verify tenants; try_files /none /same-tenant; }
location = /same-tenant { authgear_verify tenants; return 200 "[\$authgear_user_id]"; }
END
);

subtest "another project's resolver is asked for itself" => sub {
    my $alice = token(user => 'alice', kind => 'opaque');
    is(outcome($nginx, '/', token => $alice), '200 ok alice', 'a token of myapp');
    is(outcome($nginx, '/to-other', token => $alice), '401 session_invalid -', 'is none of another project');
};

subtest "another project's keys decide for themselves" => sub {
    my $alice = token(user => 'alice');
    for my $round (1, 2) {
        is(outcome($nginx, '/', token => $alice), '200 ok alice', "round $round: a token of myapp");
        is(outcome($nginx, '/to-keys', token => $alice), '401 bad_signature -', 'is not signed by the key of another project');
    }
};

subtest 'another token is judged for itself' => sub {
    for my $kind ('opaque', 'jwt') {
        my %of = map { $_ => token(user => $_, $kind eq 'opaque' ? (kind => 'opaque') : ()) } qw(alice bob);
        my $bad = $kind eq 'opaque' ? 'made-up' : token(user => 'eve', key => 'stranger');
        my $refused = $kind eq 'opaque' ? 'session_invalid' : 'bad_signature';
        is(outcome($nginx, "/to-second?a=$of{alice}&b=$of{bob}"), '200 ok bob', "$kind: one user after another");
        is(outcome($nginx, "/to-second?a=$of{alice}&b=$bad"), "401 $refused -", "$kind: a bad token after a good one");
    }
};

subtest 'other cookies are judged for themselves' => sub {
    # The first location takes the JWT, and asks about app_session alone.
    my $jwt = token(user => 'alice', audience => ['https://api.example.com']);
    my $cookies = cookie(app_session => 'dead', app_access_token => $jwt, session => session(user => 'bob'));
    is(outcome($nginx, '/', headers => $cookies), '200 ok alice', 'a JWT after a dead app_session');
    is(outcome($nginx, '/to-origin', headers => $cookies), '200 ok bob', 'a session where the JWT is refused');
};

subtest 'the variables of another tenant show nobody' => sub {
    my $alice = token(user => 'alice');
    is(outcome($nginx, '/to-same-tenant', token => $alice), '200 ok alice', 'the keys are at hand');
    my $same = $nginx->ask(path => '/to-same-tenant', token => $alice);
    is($same->{body}, '[alice]', 'the same tenant');
    is($nginx->ask(path => '/to-tenant', token => $alice)->{body}, '[]', 'another');
};

# The check of a key is kept for a moment, within which this request comes twice.
subtest 'a key that left is gone beside one that stays' => sub {
    my $old = token(user => 'old');
    control('POST', '/-/keys/rotate', {});
    my $new = token(user => 'new');
    soon { outcome($nginx, "/to-second?a=$new&b=$old") eq '200 ok old' } 'both pass';
    my ($header) = split /\./, $old;
    my ($kid) = decode_base64url($header) =~ /"kid":"([^"]*)"/;
    control('POST', '/-/keys/drop', { kid => $kid });
    $nginx->reload(project => $nginx->{option}{project} . ' jwks_refresh 1s;');
    soon { outcome($nginx, "/to-second?a=$new&b=$new"); outcome($nginx, '/', token => $old) eq '401 unknown_key -' } 'one key leaves';
    is(outcome($nginx, "/to-second?a=$new&b=$old"), '401 unknown_key -', 'and is gone after the other, too');
};

$nginx->stop_soundly;

done_testing();
