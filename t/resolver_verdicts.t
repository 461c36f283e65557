# Meanings of the resolver's answers: a yes, a no, or no verdict.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver qw(:DEFAULT outcome);
use Time::HiRes qw(time);

use strict;
use warnings;

my ($no, $unavailable) = ('401 session_invalid - none', '503 resolver_unavailable - -');

sub yes {
    my $session = session(user => 'alice');
    my %answers = (
        'true with a user' => ['true', 'u', '200 ok u resolver'],
        'true without a user' => ['true', undef, $unavailable],
        'true with an empty user' => ['true', '', $unavailable],
        'true with a blank user' => ['true', ' ', $unavailable],
        'false' => ['false', undef, $no],
        'false with a user' => ['false', 'u', $no],
        'nothing' => [undef, undef, $no],
        'a user alone' => [undef, 'u', $no],
        'TRUE' => ['TRUE', 'u', $unavailable],
        '1' => ['1', 'u', $unavailable],
        'true, true' => ['true, true', 'u', $unavailable],
        'nothing in the header' => ['', 'u', $unavailable],
    );
    for my $name (sort keys %answers) {
        my ($valid, $id, $expected) = @{ $answers{$name} };
        my %headers;
        $headers{'X-Authgear-Session-Valid'} = $valid if defined $valid;
        $headers{'X-Authgear-User-Id'} = $id if defined $id;
        fault(resolver => 'body', headers => \%headers);
        is(outcome("GET /$_", cookie(session => $session)), "$expected asked 1", "$_: the resolver says $name")
            for qw(required optional);
    }
    fault(resolver => 'garbage');
    is(outcome('GET /required', cookie(session => $session)), "$unavailable asked 1", 'garbage');
    fault(resolver => 'empty');
    is(outcome('GET /required', cookie(session => $session)), "$no asked 1", 'empty');
    fault(resolver => 'body', body => 'hello');
    is(outcome('GET /required', cookie(session => $session)), "$no asked 1", 'a page without the headers');
    heal();
}

my %says_yes = (headers => { 'X-Authgear-Session-Valid' => 'true', 'X-Authgear-User-Id' => 'u' });
my @failures = (
    [500 => 'status', status => 500],
    [502 => 'status', status => 502],
    ['500 that says true' => 'status', status => 500, %says_yes],
    ['500 that says false' => 'status', status => 500, headers => { 'X-Authgear-Session-Valid' => 'false' }],
    [401 => 'status', status => 401],
    [403 => 'status', status => 403],
    ['403 that says true' => 'status', status => 403, %says_yes],
    [404 => 'status', status => 404],
    ['204 that says true' => 'status', status => 204, %says_yes],
    ['206 that says true' => 'status', status => 206, %says_yes],
    ['304 that says true' => 'status', status => 304, %says_yes],
    ['a redirect' => 'redirect'],
    ['a 307 to itself' => 'redirect', status => 307, location => resolver_origin() . '/_resolver/resolve'],
    ['a closed connection' => 'close'],
    ['garbage' => 'garbage'],
);

sub failures {
    my $session = session(user => 'alice');
    for my $case (@failures) {
        my ($name, @fault) = @$case;
        fault(resolver => @fault);
        for my $header (cookie(session => $session), cookie(app_session => 'x'), 'Authorization: Bearer opaque') {
            my ($kind) = $header =~ /: (\w+)/;
            for my $mode (qw(required optional)) {
                my $answer = ask("GET /$mode", $header);
                is(join(' ', $answer->{status}, map { header($answer, "X-$_") // '-' } qw(Reason User Source Valid)),
                    "$unavailable -", "$name, $mode, $kind");
                like(header($answer, 'Retry-After'), qr/^[1-9][0-9]?$/, "$name, $mode, $kind: Retry-After");
                is(header($answer, 'WWW-Authenticate'), undef, "$name, $mode, $kind: no challenge");
            }
        }
        my $answer = ask('GET /observe', cookie(session => $session), 'X-Authgear-User-Id: mallory');
        is($answer->{status}, 200, "$name: observe passes");
        is(header($answer, 'X-Reason'), 'resolver_unavailable', "$name: and says so");
        is_deeply(echoed_authgear($answer), [], "$name: as anonymous");
        heal();
        # After three closed connections it is suspended, until a probe finds it back.
        ok((wait_for { ask('GET /required', cookie(session => $session))->{status} == 200 }), "$name: over");
    }
}

sub hang {
    my $session = session(user => 'alice');
    fault(resolver => 'hang');
    my $begun = time;
    is(outcome('GET /quick', cookie(session => $session)), "$unavailable asked 1", 'no answer within the time-out');
    cmp_ok(time - $begun, '<', 4.5, 'before the 5 s of the other location');
    fault(resolver => 'slow', delay_ms => 200);
    is(outcome('GET /quick', cookie(session => $session)), '200 ok alice resolver asked 1', 'a slow answer is one');
    heal();
}

sub gone {
    my $session = session(user => 'alice');
    control('POST', '/-/gone');
    for my $mode (qw(required optional)) {
        my $answer = ask("GET /$mode", cookie(session => $session));
        is($answer->{status}, 503, "$mode: nobody listens");
        is(header($answer, 'X-Reason'), 'resolver_unavailable', "$mode: and that is said");
        like(header($answer, 'Retry-After'), qr/^[1-9]/, "$mode: with Retry-After");
    }
    is(ask('GET /observe', cookie(session => $session))->{status}, 200, 'observe passes');
    is(ask('GET /required')->{status}, 401, 'who has nothing is told so');
    control('POST', '/-/back');
    ok((wait_for { ask('GET /required', cookie(session => $session))->{status} == 200 }), 'it is back');
}

sub set_cookie {
    my $clear = qr/^session=; Path=\/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly;(?: Secure;)? SameSite=Lax$/;
    for my $case ([required => 401], [optional => 401], [observe => 200]) {
        my ($mode, $status) = @$case;
        my $answer = ask("GET /$mode", cookie(session => 'dead'));
        is($answer->{status}, $status, "$mode: a dead session");
        like(header($answer, 'Set-Cookie'), $clear, "$mode: its cookie is cleared");
    }
    my $answer = ask('GET /required', bearer(expires_in => -1), cookie(session => 'dead'));
    like(header($answer, 'Set-Cookie'), $clear, 'after a fall-through from a JWT, too');
    $answer = ask('GET /required', cookie(session => session(user => 'alice')));
    is(header($answer, 'Set-Cookie'), undef, "a live session's cookie is left alone");

    fault(resolver => 'slow', delay_ms => 1, headers => { 'Set-Cookie' => 'seen=1; Path=/' });
    my $live = session(user => 'alice');
    $answer = ask('GET /required', bearer(expires_in => -1), cookie(session => $live));
    is($answer->{status}, 200, 'a fall-through to a live session');
    is(header($answer, 'Set-Cookie'), 'seen=1; Path=/', 'what the resolver sets with a yes arrives');
    is_deeply([header_lines($answer, qr/^x-authgear/i)], [], "the resolver's other headers do not");
    heal();
}

# The same location, less patient.
open my $in, '<', $ENV{TEST_NGINX_RESOLVER} or die "cannot read: $!\n";
my $quick = join '', grep { !/^#/ } <$in>;
$quick =~ s{/_authgear/resolve}{/_quick/resolve};
$quick =~ s{proxy_read_timeout 5s}{proxy_read_timeout 500ms} or die 'no proxy_read_timeout';

my $endpoint = 'endpoint ' . standin()->{origin} . ';';
$ENV{TEST_NGINX_PROJECTS} = "authgear_project myapp { $endpoint resolve_request /_authgear/resolve; }
    authgear_project quick { $endpoint resolve_request /_quick/resolve; }";
$ENV{TEST_NGINX_SERVER} = <<"END";
include $ENV{TEST_NGINX_RESOLVER};
$quick
add_header X-Reason \$authgear_reason always;
add_header X-User \$authgear_user_id always;
add_header X-Valid \$authgear_session_valid always;
add_header X-Source \$authgear_source always;
$ENV{TEST_NGINX_MODES}
location = /quick { authgear_verify quick; proxy_pass $ENV{TEST_NGINX_ECHO}; }
END

run_tests();

__DATA__

=== TEST 1: answers that count as a yes
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: yes failures gone

=== TEST 2: a resolver that does not answer
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: hang

=== TEST 3: Set-Cookie
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: set_cookie
