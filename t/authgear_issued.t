# Tokens and answers of a running Authgear (t/fixtures/authgear-2026-08.json): its users' tokens are verified
# by its own key set, and name the same identity as its resolver.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Variables;

use strict;
use warnings;
use utf8;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use JSON::PP;

my $json = JSON::PP->new->utf8->canonical;
my $issued = do {
    open my $in, '<', abs_path(dirname(__FILE__)) . '/fixtures/authgear-2026-08.json' or die "no fixture: $!\n";
    local $/;
    $json->decode(<$in>);
};
my %token = %{ $issued->{tokens} };

my $directory = tempdir(CLEANUP => 1);
$ENV{TEST_NGINX_KEYS_FILE} = "$directory/jwks.json";
open my $out, '>', $ENV{TEST_NGINX_KEYS_FILE} or die "cannot write: $!\n";
print {$out} $json->encode($issued->{jwks});
close $out;

# A resolver that knows what that server was asked.
sub answer {
    my ($variable, $value, $headers) = @_;
    my $lines = join ' ', map {qq(add_header $_->[0] "$_->[1]";)} @$headers;
    return qq(if (\$$variable = "$value") { $lines return 200; }\n);
}
$ENV{TEST_NGINX_ANSWERS} = join '',
    answer('http_authorization', "Bearer $token{opaque}{credential}", $token{opaque}{resolver}),
    map { answer('http_cookie', "session=$_->{value}", $_->{resolver}) } values %{ $issued->{cookies} };
$ENV{TEST_NGINX_HERE} = 'http://127.0.0.1:' . port(1);
$ENV{TEST_NGINX_HERE_PORT} = port(1);

# The identity in that server's resolver's answer, as sorted lines. A header without a value counts as none.
sub said {
    my ($headers) = @_;
    return [sort map {"$_->[0]: $_->[1]"} grep { $_->[0] =~ /^X-Authgear-/ && length $_->[1] } @$headers];
}

# It says no amr, which the token of the same login does.
sub without_amr { return [grep { !/^X-Authgear-Session-Amr:/ } @{ $_[0] }] }

sub told { return [sort @{ echoed_authgear($_[0]) }] }

sub bearer_of { return "Authorization: Bearer $token{ $_[0] }{credential}" }

# The variables' names for the headers.
sub as_variables {
    my ($lines) = @_;
    return { map { /^X-Authgear-(.*?): (.*)/s ? (lc $1 =~ tr/-/_/r => $2) : () } @$lines };
}

# --- checks

sub users_tokens {
    my @users = grep { $_ ne 'opaque' && @{ $token{$_}{resolver} } } sort keys %token;
    is(scalar @users, 6, 'JWTs of users');
    for my $name (@users) {
        my $resolver = said($token{$name}{resolver});
        my $amr = join ' ', @{ claims($token{$name}{credential})->{amr} || [] };
        for my $path ('/jwt', '/resolved') {
            my $answer = ask("GET $path", bearer_of($name));
            is($answer->{status}, 200, "$name: $token{$name}{note}");
            is_deeply(without_amr(told($answer)), $resolver, "the backend is told what the resolver says, at $path");
            is(header(echoed($answer), 'X-Authgear-Session-Amr') // '', $amr, 'and the amr of the token');

            my $shown = shown($answer);
            my $variables = as_variables($resolver);
            is_deeply({ map { exists $shown->{$_} ? ($_ => $shown->{$_}) : () } keys %$variables }, $variables,
                'and so are the variables');
            is($shown->{session_amr} // '', $amr, 'that of amr as well');
            is("$shown->{source} $shown->{reason} $shown->{token_type}",
                ($path eq '/jwt' ? 'jwt' : $shown->{source}) . ' ok user', 'by the token itself');
        }
    }
    is(asked_here(), 0, 'nobody was asked');
}

sub custom_claims {
    my $answer = ask('GET /claims', bearer_of('custom_claims'));
    my %value = map { lc $_->[0] => $_->[1] } @{ $answer->{headers} };
    utf8::decode($_) for values %value;
    is($value{'x-plan'}, 'gold', 'a claim whose name is a URL');
    is($value{'x-dots'}, 'v', 'one with dots and a slash in its name');
    is($value{'x-org-name'}, 'Zoë & "Söhne" \\ GmbH', 'text beyond ASCII, inside another');
    is($value{'x-org-tags'}, 'a,b,c,', 'an array');
    is($value{'x-deep'}, '[1,2.5,true,null]', 'an array of anything');
    is($value{'x-line'}, 'a%0Ab%09c', 'control characters');
    is($value{'x-big'}, $1, 'a large number, digit for digit')
        if decoded('custom_claims') =~ /"big":([0-9.eE+-]+)/;
    is($value{'x-nothing'} // '', '', 'null');
}

sub decoded { return MIME::Base64::decode_base64url((split /\./, $token{ $_[0] }{credential})[1]) }

sub opaque_and_cookies {
    is(outcome_of('/jwt', bearer_of('opaque')), '401 unsupported', 'an opaque token without a resolver');
    is(asked_here(), 0, 'nobody was asked');
    my %row = (
        'an opaque token' => [bearer_of('opaque'), $token{opaque}],
        'a session' => ["Cookie: session=$issued->{cookies}{session}{value}", $issued->{cookies}{session}],
    );
    for my $name (sort keys %row) {
        my ($header, $of) = @{ $row{$name} };
        my $answer = ask('GET /resolved', $header);
        is($answer->{status}, 200, "$name with a resolver");
        is_deeply(told($answer), said($of->{resolver}), 'the backend is told what it says');
    }
    my $bad = $issued->{cookies}{session_bad};
    my $answer = ask('GET /resolved', "Cookie: session=$bad->{value}");
    is("$answer->{status} " . header($answer, 'X-Reason'), '401 session_invalid', 'a bad session');
    my ($clears) = map { $_->[1] } grep { $_->[0] eq 'Set-Cookie' } @{ $bad->{resolver} };
    is(header($answer, 'Set-Cookie'), $clears, 'its cookie is cleared');
    is(asked_here(), 3, 'each was asked about');
}

sub id_token {
    is(outcome_of($_, bearer_of('id_token')), '401 bad_type', "the ID token, at $_") for '/jwt', '/resolved';
}

# --- what these share

sub outcome_of {
    my $answer = ask("GET $_[0]", @_[1 .. $#_]);
    return "$answer->{status} " . header($answer, 'X-Reason');
}

# The number of requests to the resolver.
sub asked_here {
    open my $in, '<', servroot() . '/logs/resolver.log' or return 0;
    return scalar(() = <$in>);
}

run_tests();

__DATA__

=== TEST 1: tokens and answers of Authgear
--- http_config
log_format asked $request_method;
authgear_project keys {
    endpoint http://localhost:3100;
    jwks_file $TEST_NGINX_KEYS_FILE;
}
authgear_project resolved {
    endpoint http://localhost:3100;
    jwks_file $TEST_NGINX_KEYS_FILE;
    resolve_request /_authgear/resolve;
}
server {
    listen 127.0.0.1:$TEST_NGINX_HERE_PORT;
    location = /_resolver/resolve {
        access_log logs/resolver.log asked;
        if ($http_host != "localhost:3100") { return 404; }
$TEST_NGINX_ANSWERS
        return 200;
    }
}
--- config
location = /_authgear/resolve {
    internal;
    proxy_pass $TEST_NGINX_HERE/_resolver/resolve;
    proxy_set_header Host localhost:3100;
    proxy_set_header Content-Length "";
    proxy_pass_request_body off;
    proxy_method HEAD;
}
add_header X-Reason $authgear_reason always;
location = /jwt {
    authgear_verify keys;
    add_header X-Reason $authgear_reason always;
$TEST_NGINX_SHOW
    proxy_pass $TEST_NGINX_ECHO;
}
location = /resolved {
    authgear_verify resolved;
    add_header X-Reason $authgear_reason always;
$TEST_NGINX_SHOW
    proxy_pass $TEST_NGINX_ECHO;
}
location = /claims {
    authgear_verify keys;
    authgear_claim_set $plan https://shop.example.com/plan;
    authgear_claim_set $dots dots.and/slashes;
    authgear_claim_set $org_name org name;
    authgear_claim_set $org_tags org tags;
    authgear_claim_set $deep org deep x;
    add_header X-Plan $plan;
    add_header X-Dots $dots;
    add_header X-Org-Name $org_name;
    add_header X-Org-Tags $org_tags;
    add_header X-Deep $deep;
    add_header X-Line $authgear_claim_line;
    add_header X-Big $authgear_claim_big;
    add_header X-Nothing $authgear_claim_nothing;
    proxy_pass $TEST_NGINX_ECHO;
}
--- check
users_tokens
custom_claims
opaque_and_cookies
id_token
