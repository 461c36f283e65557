package Test::Nginx::Authgear::Callers;

# Callers of every kind, for rules about who may do what, and what they are told.
# For the http block $TEST_NGINX_CALLED has a backend that notes whom it saw, which
# is $TEST_NGINX_BACKEND, and $told for `add_header X-Told $told always;`.

use strict;
use warnings;

use Exporter qw(import);
use Test::More;
use Test::Nginx::Authgear standin => 0;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

our @EXPORT = qw(%caller $bearer %challenge $long_ago numbered outcome the_backend_saw_no_other told user_of);

my $origin = standin()->{origin};
my $plan = 'https://example.com/claims';
our $long_ago = time - 7200;

user(id => 'ann', roles => ['editor', 'admin']);
user(id => 'bob', roles => ['reader']);
my %ann = (user => 'ann', scope => 'openid read:reports', claims => { $plan => { plan => 'gold' } });
my %bob = (user => 'bob', scope => 'openid', claims => { $plan => { plan => '0' } }, auth_time => $long_ago);
my %reports = (audience => [$origin, 'https://reports.example.com']);

our %caller = (
    nobody => [],
    # Ann meets what is asked, Bob does not.
    ann => [bearer(%ann)],
    bob => [bearer(%bob)],
    'ann in a cookie' => [cookie(app_access_token => token(%ann))],
    'bob in a cookie' => [cookie(app_access_token => token(%bob))],
    # Clients are granted what no resolver tells.
    robot => [bearer(kind => 'm2m', client_id => 'robot', audience => [$origin], scope => 'read:reports',
        claims => { $plan => { plan => 'gold' } })],
    toy => [bearer(kind => 'm2m', client_id => 'toy', audience => [$origin], scope => 'read:items')],
    # The resolver's sessions, in each form.
    "ann's session" => [cookie(session => session(user => 'ann'))],
    "bob's session" => [cookie(session => session(user => 'bob', amr => ['pwd', 'mfa'], auth_time => $long_ago))],
    "ann's app session" => [cookie(app_session => session(user => 'ann', kind => 'app'))],
    "ann's opaque token" => ['Authorization: Bearer ' . token(kind => 'opaque', user => 'ann', scope => 'read:reports')],
    "bob's opaque token" => ['Authorization: Bearer '
        . token(kind => 'opaque', user => 'bob', auth_time => $long_ago)],
    "ann's opaque cookie" => [cookie(app_access_token => token(kind => 'opaque', user => 'ann'))],
    # Bad ones.
    expired => [bearer(%ann, expires_in => -1)],
    forged => [bearer(%ann, key => 'stranger')],
    'a dead session' => [cookie(session => 'made-up')],
    # Others that the audience and client rules tell apart.
    'ann for reports' => [bearer(%ann, audience => ['https://reports.example.com'])],
    'bob for reports' => [bearer(%bob, %reports)],
    'bob with a plan for reports' => [bearer(%bob, %reports, claims => { $plan => { plan => 'gold' } })],
    'robot for reports' => [bearer(kind => 'm2m', client_id => 'robot', scope => 'read:reports',
        audience => ['https://reports.example.com'])],
    'ann by web' => [bearer(%ann, client_id => 'web')],
    'ann by app' => [bearer(%ann, client_id => 'app')],
    'ann who logged in unknown when' => [bearer(%ann, auth_time => undef)],
    "ann's session of unknown age" => [cookie(session => session(user => 'ann', auth_time => undef))],
);

# --- what they are told

our $bearer = 'Bearer realm="myapp"';
our %challenge = (
    no_credential => $bearer,
    scope => "$bearer, error=\"insufficient_scope\", "
        . 'error_description="the access token lacks a scope that is needed", scope="openid read:reports"',
    age => "$bearer, error=\"insufficient_user_authentication\", "
        . 'error_description="a more recent log-in is required", max_age="900"',
    value401 => "$bearer, error=\"invalid_token\", error_description=\"the caller does not meet the requirements\"",
    map { ($_->[0] => "$bearer, error=\"invalid_token\", error_description=\"$_->[1]\"") }
        ['expired', 'the access token expired'],
        ['bad_signature', 'the signature of the access token is invalid'],
        ['session_invalid', 'the session is invalid'],
        ['bad_audience', 'the access token is meant for another audience'],
        ['bad_client', 'the access token was issued to another client'],
);

$ENV{TEST_NGINX_BACKEND} = 'http://127.0.0.1:' . port(1);
$ENV{TEST_NGINX_CALLED} = <<"END";
map "\$authgear_reason \$authgear_session_valid \$authgear_user_id" \$told {
    "~^(\\S+) (\\S+) (\\S+)\$" "\$1 \$2 \$3";
    "~^(\\S+) (\\S+) \$" "\$1 \$2 -";
    "~^(\\S+)  \$" "\$1 - -";
    default "?";
}
log_format number \$arg_n;
server {
    listen 127.0.0.1:@{[port(1)]};
    location / {
        access_log logs/backend.log number;
        proxy_pass @{[echo_origin()]};
    }
}
END

# --- asking

my $asked = 0;
my @let_in;

# One request. Each has a number, and the backend notes which it saw.
sub numbered {
    my ($method, $path, @headers) = @_;
    $asked++;
    my $answer = ask("$method $path" . ($path =~ /\?/ ? '&' : '?') . "n=$asked", @headers);
    push @let_in, $asked if $answer->{status} == 200;
    return $answer;
}

# One caller's answer: itself, and its status with "reason session_valid user".
sub outcome {
    my ($path, $who) = @_;
    my $headers = $caller{$who} or die "nobody is called $who\n";
    my $answer = numbered(GET => $path, @$headers);
    return ($answer, join ' ', $answer->{status}, header($answer, 'X-Told') // '');
}

# Rows: who, status, "reason session_valid user", challenge.
sub told {
    my ($path, @rows) = @_;
    for my $row (@rows) {
        my ($who, $status, $told, $challenge) = @$row;
        my ($answer, $outcome) = outcome($path, $who);
        is($outcome, "$status $told", "$path, $who: $status $told");
        is(header($answer, 'WWW-Authenticate'), $challenge, "$path, $who: the challenge");
        is(header($answer, 'Retry-After'), undef, "$path, $who: no Retry-After");
    }
}

sub user_of {
    my ($who) = @_;
    return $who =~ /^(ann|bob)/ ? $1 : '-';
}

# Nothing that was refused has reached the backend, and nothing else is missing.
sub the_backend_saw_no_other {
    my @lines = grep {length} log_lines('backend.log', scalar @let_in);
    is_deeply([sort { $a <=> $b } @lines], [sort { $a <=> $b } @let_in],
        scalar(@let_in) . " of $asked requests reached the backend: those that were let in");
}

1;
