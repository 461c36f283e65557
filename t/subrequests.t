# A subrequest of another module (auth_request, SSI, mirror) into a location that
# verifies is judged there, and what that location requires holds.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client qw(:DEFAULT verdict challenges);
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

($ENV{TEST_NGINX_RECORDER}, my $take) = recorder();

my %token = (
    alice => token(user => 'alice'),
    bob => token(user => 'bob'),
    root => token(user => { id => 'root', roles => ['admin'] }),
    staff => token(user => 'sam', audience => ['https://staff.example.com']),
    forged => token(user => 'mallory', key => 'stranger'),
);
my %session = (dead => 'dead', map { $_ => session(user => $_) } qw(alice bob));
$session{root} = session(user => { id => 'root', roles => ['admin'] });
my %credential = (
    none => [],
    (map { $_ => ["Authorization: Bearer $token{$_}"] } keys %token),
    (map { ("$_ by cookie" => [cookie(session => $session{$_})]) } keys %session),
);
my $bearer = 'Bearer realm="myapp"';

# --- checks

sub auth_request {
    my @forged = ('X-Authgear-User-Id: forged');
    for my $row (
        # location, credential, status, what auth_request_set was told, how often the resolver is asked
        ['/checked', none => 401], ['/checked', forged => 401], ['/checked', 'dead by cookie' => 401, undef, 1],
        ['/checked', staff => 401],
        ['/checked', alice => 200, 'alice'], ['/checked', 'alice by cookie' => 200, 'alice', 1],
        ['/checked-optional', none => 200, ''], ['/checked-optional', forged => 401],
        ['/checked-optional', alice => 200, 'alice'],
        ['/checked-observe', none => 200, ''], ['/checked-observe', forged => 200, ''],
        ['/checked-observe', alice => 200, 'alice'],
        ['/checked-admin', none => 401], ['/checked-admin', alice => 403], ['/checked-admin', root => 200, 'root'],
        ['/checked-admin', 'alice by cookie' => 403, undef, 1], ['/checked-admin', 'root by cookie' => 200, 'root', 1],
        ['/checked-require', alice => 403], ['/checked-require', bob => 200, 'bob'],
        ['/checked-staff', alice => 401], ['/checked-staff', staff => 200, 'sam'],
        ['/checked-off', none => 200, ''],
        # nginx takes any status but 2xx, 401 and 403 for a mistake.
        ['/checked-down', alice => 500], ['/checked-down', none => 401],
        # One judgement for both, and one where the projects differ.
        ['/verified-checked', none => 401], ['/verified-checked', alice => 200, 'alice'],
        ['/verified-checked', 'alice by cookie' => 200, 'alice', 1], ['/verified-checked', 'dead by cookie' => 401, undef, 1],
        ['/verified-checked-admin', 'alice by cookie' => 403, undef, 1],
        ['/verified-checked-admin', 'root by cookie' => 200, 'root', 1],
        ['/verified-checked-staff', alice => 401], ['/staff-checked', alice => 401],
    ) {
        my ($path, $which, $status, $who, $asked) = @$row;
        reset_counts();
        my $answer = ask("GET $path", @{ $credential{$which} }, @forged);
        my $name = "auth_request, $path, credential $which";
        is($answer->{status}, $status, "$name: $status");
        is(header(echoed($answer), 'X-Who') // '', $who, "$name: auth_request_set is told who it is") if defined $who;
        is(asked(), $asked // 0, "$name: the resolver is asked " . ($asked // 0) . ' times');
        unlike($answer->{body}, qr/forged/, "$name: nothing of the client's under our names");
    }
    is(challenges(ask('GET /checked')), $bearer, 'auth_request: the challenge reaches the client');
    like(challenges(ask('GET /checked', @{ $credential{forged} })), qr/^\Q$bearer\E, error="invalid_token"/,
        'auth_request, a bad token: and says so');

    # The parent's identity is not that of its subrequest.
    my $answer = ask('GET /checked', @{ $credential{alice} });
    is(header(echoed($answer), 'X-Now'), '[]', 'auth_request: behind it the variables are the request\'s own again');
    is(verdict($answer), '200 nobody', 'auth_request: the request itself is told of nobody, since nobody verified it');
    $answer = ask('GET /verified-checked-bob', @{ $credential{alice} }, "X-Token: $token{bob}");
    is(header(echoed($answer), 'X-Who'), 'bob', 'auth_request with another credential: it is judged anew');
    is(header(echoed($answer), 'X-Now'), '[alice]', 'auth_request with another credential: and the request\'s own stays');
    is(verdict($answer), '200 alice', 'auth_request with another credential: as for the backend');
    is(ask('GET /verified-checked-bob', @{ $credential{alice} })->{status}, 401,
        'auth_request with another credential that is not there: 401');
}

sub checked_upstream {
    for my $which ('alice', 'alice by cookie') {
        my $client = connection();
        $client->request('GET /recorded-check', @{ $credential{$which} }, 'X-Authgear-User-Id: forged');
        my ($request) = $take->(1);
        is_deeply([header_lines($request, qr/^x-authgear-user-id/i)], ['X-Authgear-User-Id: alice'],
            "auth_request, $which: the location's backend is told who it is");
        is($client->answer->{status}, 200, "auth_request, $which: and the request goes on");
    }
}

# The texts between the brackets of a page.
sub parts { return [$_[0]{body} =~ /\[(.*?)\]/gs] }

sub pages {
    my $refused = sub { return scalar(grep {/^<html>.*(?:401|403) /s} @{ $_[0] }) };
    for my $row (
        # page, credential, how many of three parts are refused, their texts, questions
        ['/page.shtml', alice => 2, ['for users'], 0], ['/page.shtml', root => 1, ['for users', 'for admins'], 0],
        ['/page.shtml', 'alice by cookie' => 2, ['for users'], 1],
        ['/page.shtml', 'root by cookie' => 1, ['for users', 'for admins'], 1],
        ['/open.shtml', none => 3, [], 0], ['/open.shtml', forged => 3, [], 0],
        ['/open.shtml', alice => 2, ['for users'], 0], ['/open.shtml', staff => 2, ['for staff'], 0],
        ['/open.shtml', root => 1, ['for users', 'for admins'], 0],
        ['/open.shtml', 'root by cookie' => 1, ['for users', 'for admins'], 1],
        ['/open.shtml', 'dead by cookie' => 3, [], 1],
    ) {
        my ($path, $which, $refused_parts, $texts, $asked) = @$row;
        reset_counts();
        my $answer = ask("GET $path", @{ $credential{$which} });
        my $name = "SSI, $path, credential $which";
        is($answer->{status}, 200, "$name: the page itself");
        my $parts = parts($answer);
        is($refused->($parts), $refused_parts, "$name: $refused_parts parts are refused");
        is_deeply([grep {/^for /} map {s/\s+\z//r} @$parts], $texts, "$name: the others are there");
        is(challenges($answer), '', "$name: a page has no challenge");
        is(asked(), $asked, "$name: the resolver is asked $asked times");
    }
    is(ask('GET /page.shtml')->{status}, 401, 'SSI: a page that is verified itself');
}

# A part with a credential of its own, and the page around it.
sub variables_of_a_page {
    my $both = ["Authorization: Bearer $token{alice}", "X-Token: $token{bob}"];
    my $answer = ask('GET /around.shtml', @$both);
    is_deeply(parts($answer), ['alice ok', "bob ok\n", 'alice ok', "alice ok\n", 'alice ok'],
        'SSI: each part sees its own, and the page its own again');
    $answer = ask('GET /around.shtml', $both->[0], "X-Token: $token{forged}");
    my $parts = parts($answer);
    like($parts->[1], qr/401/, 'SSI, a part with a bad credential: it is refused');
    is_deeply([@$parts[0, 2 .. 4]], ['alice ok', 'alice ok', "alice ok\n", 'alice ok'],
        'SSI, a part with a bad credential: the page sees its own');
    my @lines = log_lines('page.log', 2);
    is_deeply(\@lines, [('alice ok /around.shtml') x 2], 'SSI: the log line is the page\'s');
    @lines = log_lines('part.log', 2);
    is_deeply(\@lines, ['bob ok /around.shtml', ' bad_signature /around.shtml'], 'SSI: and that of a part is its own');

    $answer = ask('GET /proxied.shtml', @$both);
    is_deeply([map { /^X-Authgear-User-Id: (.*?)\r?$/m ? $1 : 'nobody' } @{ parts($answer) }], [qw(alice bob alice)],
        'SSI: each part\'s backend is told of its own');
}

sub mirrors {
    # A copy that must not be made comes to nobody: the first that is recorded is the next one's.
    for my $row (
        # location, whose request makes no copy, whose does
        ['/mirror-admin', 'alice', 'root'], ['/mirror-admin', 'alice by cookie', 'root by cookie'],
        ['/mirror-staff', 'alice', undef], ['/open-mirror', 'none', 'bob'], ['/open-mirror', 'forged', 'alice by cookie'],
        ['/open-mirror', 'dead by cookie', 'bob by cookie'], ['/open-mirror-admin', 'bob', 'root'],
        ['/open-mirror', undef, 'bob'],
    ) {
        my ($path, $without, $with) = @$row;
        is(ask("GET $path", @{ $credential{$without} })->{status}, 200, "mirror, $path, $without: the request goes on")
            if $without;
        next if !$with;
        my $client = connection();
        $client->request("GET $path", @{ $credential{$with} });
        my ($request) = $take->(1);
        my ($user) = $with =~ /^(\w+)/;
        is(header($request, 'X-Authgear-User-Id'), $user,
            "mirror, $path, $with: the copy is $user\'s" . ($without ? ", and $without made none" : ''));
        is($client->answer->{status}, 200, "mirror, $path, $with: the request goes on");
    }
}

run_tests();

__DATA__

=== TEST 1: subrequests
--- check
auth_request
checked_upstream
pages
variables_of_a_page
mirrors
--- user_files
>>> page.shtml
[<!--# include virtual="/part/users.txt" -->] [<!--# include virtual="/part/admins.txt" -->] [<!--# include virtual="/part/staff.txt" -->]
>>> open.shtml
[<!--# include virtual="/part/users.txt" -->] [<!--# include virtual="/part/admins.txt" -->] [<!--# include virtual="/part/staff.txt" -->]
>>> part/users.txt
for users
>>> part/admins.txt
for admins
>>> part/staff.txt
for staff
>>> around.shtml
[<!--# echo var="authgear_user_id" --> <!--# echo var="authgear_reason" -->] [<!--# include virtual="/bobs.shtml" wait="yes" -->] [<!--# echo var="authgear_user_id" --> <!--# echo var="authgear_reason" -->] [<!--# include virtual="/alices.shtml" wait="yes" -->] [<!--# echo var="authgear_user_id" --> <!--# echo var="authgear_reason" -->]
>>> bobs.shtml
<!--# echo var="authgear_user_id" default="" --> <!--# echo var="authgear_reason" default="" -->
>>> alices.shtml
<!--# echo var="authgear_user_id" default="" --> <!--# echo var="authgear_reason" default="" -->
>>> proxied.shtml
[<!--# include virtual="/echo-alice" -->][<!--# include virtual="/echo-bob" -->][<!--# include virtual="/echo-alice" -->]
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project staff {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://staff.example.com;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
map $authgear_user_id $is_bob { default 0; bob 1; }
log_format who escape=none "$authgear_user_id $authgear_reason $request_uri";
--- config eval
my $ok = '$TEST_NGINX_ECHO';
my %check = (
    '' => 'authgear_verify myapp;',
    -optional => 'authgear_verify myapp optional;',
    -observe => 'authgear_verify myapp observe;',
    -admin => 'authgear_verify myapp; authgear_require_role admin;',
    -require => 'authgear_verify myapp; authgear_require $is_bob;',
    -staff => 'authgear_verify staff;',
    -off => 'authgear_verify off;',
    -down => 'authgear_verify down;',
    -bob => 'authgear_verify myapp; authgear_token $http_x_token;',
);
my $checked = 'auth_request_set $who $authgear_user_id; proxy_set_header X-Who $who;'
    . ' proxy_set_header X-Now "[$authgear_user_id]"; proxy_pass $TEST_NGINX_ECHO;';
CORE::join "\n", (map {"location = /_check$_ { internal; $check{$_} proxy_pass $ok; }
    location = /checked$_ { auth_request /_check$_; $checked }
    location = /verified-checked$_ { authgear_verify myapp; auth_request /_check$_; $checked }"} sort keys %check), <<'END';
location = /staff-checked {
    authgear_verify staff;
    auth_request /_check;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /recorded-check {
    auth_request /_recorded;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /_recorded {
    internal;
    authgear_verify myapp;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RECORDER;
}

include $TEST_NGINX_RESOLVER;
add_header X-User $authgear_user_id always;
ssi_types *;
location = /page.shtml { authgear_verify myapp; ssi on; }
location = /open.shtml { ssi on; }
location = /part/users.txt { authgear_verify myapp; }
location = /part/admins.txt { authgear_verify myapp; authgear_require_role admin; }
location = /part/staff.txt { authgear_verify staff; }
location = /around.shtml { authgear_verify myapp; ssi on; access_log logs/page.log who; }
location = /bobs.shtml {
    authgear_verify myapp;
    authgear_token $http_x_token;
    ssi on;
    log_subrequest on;
    access_log logs/part.log who;
}
location = /alices.shtml { ssi on; }
location = /proxied.shtml { authgear_verify myapp; ssi on; }
location = /echo-alice { authgear_verify myapp; proxy_pass $TEST_NGINX_ECHO; }
location = /echo-bob { authgear_verify myapp; authgear_token $http_x_token; proxy_pass $TEST_NGINX_ECHO; }

location = /mirror-admin { authgear_verify myapp; mirror /_copy-admin; proxy_pass $TEST_NGINX_ECHO; }
location = /mirror-staff { authgear_verify myapp; mirror /_copy-staff; proxy_pass $TEST_NGINX_ECHO; }
location = /open-mirror { mirror /_copy; proxy_pass $TEST_NGINX_ECHO; }
location = /open-mirror-admin { mirror /_copy-admin; proxy_pass $TEST_NGINX_ECHO; }
location = /_copy { internal; authgear_verify myapp; proxy_pass http://127.0.0.1:$TEST_NGINX_RECORDER; }
location = /_copy-admin {
    internal;
    authgear_verify myapp;
    authgear_require_role admin;
    proxy_pass http://127.0.0.1:$TEST_NGINX_RECORDER;
}
location = /_copy-staff { internal; authgear_verify staff; proxy_pass http://127.0.0.1:$TEST_NGINX_RECORDER; }
END
