# observe: nothing is refused; variables, log and counters say what would have
# happened. The counts are those of all workers, and survive a reload.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Server;

my $http = <<'END';
error_log logs/error.log info;
authgear_project tokens {
    endpoint $TEST_NGINX_AUTHGEAR;
    client_id web standin-client;
}
authgear_project down {
    endpoint $TEST_NGINX_AUTHGEAR;
    jwks_uri http://127.0.0.1:1/jwks;
}
END
my $server = <<'END';
include $TEST_NGINX_RESOLVER;
location = /role { authgear_verify myapp observe; authgear_require_role admin; empty_gif; }
location = /scope { authgear_verify myapp observe; authgear_require_scope write; empty_gif; }
location = /age { authgear_verify myapp observe; authgear_require_auth_age 5m; empty_gif; }
location = /value { authgear_verify myapp observe; authgear_require $arg_none; empty_gif; }
location = /value401 { authgear_verify myapp observe; authgear_require $arg_none error=401; empty_gif; }
location = /plain { authgear_verify myapp observe; empty_gif; }
location = /tokens { authgear_verify tokens observe; empty_gif; }
location = /down { authgear_verify down observe; empty_gif; }
location = /variable { authgear_verify $arg_project observe; empty_gif; }
location = /required { authgear_verify myapp; authgear_require_role admin; empty_gif; }
location = /optional { authgear_verify myapp optional; authgear_require_role admin; empty_gif; }
END
my $project = 'token_type any; resolve_request /_authgear/resolve;';

my $nginx = Test::Nginx::Authgear::Server->start(
    workers => 2, project => $project, http => $http, server => $server);
my %worker = $nginx->connection_to_each;
is(scalar keys %worker, 2, 'two workers');

my $origin = standin()->{origin};
my $ann = token(user => 'ann', auth_time => time - 3600);
my $session = session(user => 'ann', auth_time => time - 3600);

# Refusals that observe counts: the path, the request, the level, the reason, the
# status of mode required, and the log's text between project and status.
my @refusals = (
    ['no credential', '/plain', {}, info => 'no_credential', 401],
    ['malformed', '/plain', { token => 'a.b!.c' }, error => 'malformed', 401],
    ['expired', '/plain', { token => token(expires_in => -1) }, info => 'expired', 401],
    ['not valid yet', '/plain', { token => token(claims => { nbf => time + 1000 }) }, error => 'not_yet_valid', 401],
    ['a forged signature', '/plain', { token => token(key => 'stranger') }, error => 'bad_signature', 401],
    ['another algorithm', '/plain', { token => token(alg => 'HS256') }, error => 'unsupported_algorithm', 401],
    ['an unknown key', '/plain', { token => token(header => { kid => 'x' }) }, error => 'unknown_key', 401],
    ['another issuer', '/plain', { token => token(claims => { iss => 'https://other.example' }) },
        error => 'bad_issuer', 401],
    ['another audience', '/plain', { token => token(audience => ['https://other.example']) },
        error => 'bad_audience', 401],
    ['a bad claim', '/plain', { token => token(claims => { amr => 'pwd' }) }, error => 'bad_claim', 401],
    ['a dead session', '/plain', { headers => cookie(session => 'made-up') }, error => 'session_invalid', 401],
    ['a role', '/role', { token => $ann }, error => 'policy', 403, ', needs a role of "admin"'],
    ['a scope', '/scope', { token => $ann }, error => 'policy', 403, ', needs the scope "write"'],
    ['a log-in', '/age', { token => $ann }, error => 'policy', 401, ', needs a log-in within 300 s'],
    ['a value', '/value', { token => $ann }, error => 'policy', 403, ', "authgear_require" is not met'],
    ['a value, error=401', '/value401', { token => $ann }, error => 'policy', 401, ', "authgear_require" is not met'],
    ["a session's scope", '/scope', { headers => cookie(session => $session) }, error => 'policy', 403,
        ', needs the scope "write", and a session from the resolver has no scope'],
    ["a session's role", '/role', { headers => cookie(session => $session) }, error => 'policy', 403,
        ', needs a role of "admin"'],
    ['an opaque token and nobody to ask', '/tokens', { token => 'opaque' }, error => 'unsupported', 401, '', 'tokens'],
    ['another client', '/tokens', { token => token(client_id => 'app') }, error => 'bad_client', 401, '', 'tokens'],
    ["a client's token", '/tokens', { token => token(kind => 'm2m', audience => [$origin]) },
        error => 'bad_type', 401, '', 'tokens'],
    ['no credential for another project', '/tokens', {}, info => 'no_credential', 401, '', 'tokens'],
    ['no keys', '/down', { token => $ann }, error => 'keys_unavailable', 503, '', 'down'],
    ['no credential, by a variable', '/variable?project=myapp', {}, info => 'no_credential', 401],
    ['no credential, by a variable for another', '/variable?project=tokens', {}, info => 'no_credential', 401, '', 'tokens'],
);

# The number of each project's refusals by reason, as the log must count them.
my %count;

# One observed request, on the connection given: its answer, and its line.
sub observed {
    my ($case, $connection) = @_;
    my ($name, $path, $request, $level, $reason, $status, $why, $project) = @$case;
    $why //= '';
    $project //= 'myapp';
    $nginx->mark_log;
    my $answer = $nginx->ask(%$request, path => $path, $connection ? (on => $connection) : ());
    is("$answer->{status} $answer->{reason}", "200 $reason", "$name: 200, and the reason");
    unlike($answer->{headers}, qr/^(?:WWW-Authenticate|Retry-After):/mi, "$name: no challenge");

    my @lines;
    soon { @lines = grep {/authgear: (?!keys of|the resolver )/} split /\n/, $nginx->log_text } "$name: a line is logged";
    my $count = ++$count{$project}{$reason};
    is(scalar @lines, 1, "$name: one line");
    like($lines[0], qr/ \[(?:$level|info)\] \d+#\d+: \*\d+ authgear: $reason, project "$project"\Q$why\E, would be $status, $count of these so far(?:, and \d+ like it before, logged at level info)?(?: while sending to client)?, client: "?127\.0\.0\.1"?, /,
        "$name: would be $status, number $count");
    return $answer;
}

# Each reason, from one worker and then from the other.
for my $case (@refusals) {
    my @answers = map { observed($case, $worker{$_}) } sort keys %worker;
    isnt($answers[0]{worker}, $answers[1]{worker}, "$case->[0]: by two workers");
    # The identity of a known caller stays; nobody else has one.
    my $user = $case->[4] eq 'policy' ? 'ann' : undef;
    is($_->{user}, $user, "$case->[0]: " . ($user ? 'who it is' : 'nobody')) for @answers;
}

# The resolver fails.
fault(resolver => 'status', status => 500);
observed(["the resolver fails", '/plain', { headers => cookie(session => $session) },
    error => 'resolver_unavailable', 503], $worker{$_}) for sort keys %worker;
heal();

# Neither requests that required would let in are counted, nor refusals in other modes.
{
    user(id => 'root', roles => ['admin']);
    my $root = token(user => 'root', scope => 'write');
    for my $path (qw(/plain /role /scope /age /tokens)) {
        $nginx->mark_log;
        my $answer = $nginx->ask(path => $path, token => $root);
        is("$answer->{status} $answer->{reason} $answer->{user}", '200 ok root', "$path: whoever meets it is let in");
        is_deeply([grep {/authgear: /} split /\n/, $nginx->log_text], [], "$path: and not logged");
    }
    $nginx->mark_log;
    is($nginx->ask(path => $_, token => $ann)->{status}, 403, "$_: is refused") for qw(/required /optional);
    my @lines;
    soon { (@lines = grep {/authgear: /} split /\n/, $nginx->log_text) == 2 } 'refusals are logged';
    is_deeply([grep {/would be|so far/} @lines], [], 'without a count');
    observed($refusals[11]);
}

# Many at once: no number is missing, none is there twice.
{
    $nginx->mark_log;
    my $before = $count{myapp}{policy};
    my $many = 200;
    my @answers = $nginx->receive(map { $nginx->send(path => '/role', token => $ann) } 1 .. $many);
    is_deeply($nginx->tally(@answers), { '200 policy' => $many }, 'many at once: none is refused');
    my %workers = map { $_->{worker} => 1 } @answers;
    is(scalar keys %workers, 2, 'many at once: of both workers');
    my @numbers;
    soon { (@numbers = $nginx->log_text =~ /policy, project "myapp", .* would be 403, (\d+) of these so far/g) == $many }
        'many at once: a line for each';
    is_deeply([sort { $a <=> $b } @numbers], [$before + 1 .. $before + $many], 'many at once: each number once');
    $count{myapp}{policy} += $many;
}

# A reload keeps the counts, whatever else it changes.
for my $change (
    ['a reload', {}],
    ['a reload that puts another project in front', { http => "authgear_project first { endpoint \$TEST_NGINX_AUTHGEAR; }\n$http" }],
    ['a reload with more workers', { workers => 3 }],
) {
    my ($name, $change) = @$change;
    ok($nginx->reload(%$change), $name);
    observed([$name . ": $_->[0]", @$_[1 .. $#$_]]) for @refusals[0, 2, 11, 18, 22];
}
ok($nginx->reload(server => $server =~ s/ observe//gr), 'a reload without observe');
is($nginx->ask(path => '/role', token => $ann)->{status}, 403, 'refuses');
ok($nginx->reload(server => $server), 'and one with it again');
observed($refusals[11]);

# Projects that have one reason each are counted apart.
{
    my @names = map {"p$_"} 1 .. 5;
    my $five = join '', map {"authgear_project $_ { endpoint \$TEST_NGINX_AUTHGEAR; }\n"} @names;
    ok($nginx->reload(http => $http . $five), 'a reload with five more projects');
    for my $round (1, 2) {
        observed(["$_, round $round", "/variable?project=$_", {}, info => 'no_credential', 401, '', $_]) for @names;
    }
    observed($refusals[23]);
}

$nginx->stop_soundly;

done_testing();
