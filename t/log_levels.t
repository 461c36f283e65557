# Events that a client can cause do not fill an operator's log, however often
# they happen.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(cookie start_resolving stop_resolving);
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(time);

my $times = 60;
my $nginx;

# Lines of the log that an operator sees, about this, since the last mark.
sub loud {
    my ($word) = @_;
    return grep { /\[(?:warn|error|crit|alert|emerg)\]/ && /authgear: .*\b$word\b/ } split /\n/, $nginx->log_text;
}

# Many such requests, of which `path` makes the next path: how many there are of each answer, and how many lines may at
# most tell of them: none, or one a second.
sub many {
    my ($name, $word, $expected, %request) = @_;
    my $path = delete $request{path} // sub {'/'};
    $nginx->mark_log;
    my $start = time;
    my %count;
    # So many at the same time are no more than a project may have under way.
    for my $round (1 .. $times / 20) {
        my $tally = $nginx->tally($nginx->receive(map { $nginx->send(%request, path => $path->()) } 1 .. 20));
        $count{$_} += $tally->{$_} for keys %$tally;
    }
    my $seconds = int(time - $start) + 1;
    is_deeply(\%count, { $expected => $times }, "$name: $times times $expected");
    my @lines = loud($word);
    cmp_ok(scalar @lines, '<=', $seconds + 1, "$name: no more than a line a second")
        or diag("the first of them: $lines[0]");
    return;
}

my %roles = ('https://authgear.com/claims/user/roles' => ['a']);

subtest 'credentials that are refused' => sub {
    $nginx = start_resolving('');
    my $good = token(user => 'alice');
    is($nginx->ask(token => $good)->{status}, 200, 'nginx has keys');
    my @tokens = (
        ['a token of another key', bad_signature => token(user => 'eve', key => 'stranger')],
        ['no token at all', malformed => 'eyJhbGciOiJSUzI1NiJ9.b.c'],
        ['an expired token', expired => token(user => 'eve', expires_in => -1)],
        ['one that is not valid yet', not_yet_valid => token(user => 'eve', claims => { nbf => 4_000_000_000 })],
        ['an issuer that is not ours', bad_issuer => token(user => 'eve', claims => { iss => 'https://other.example.com' })],
        ['another audience', bad_audience => token(user => 'eve', audience => ['https://other.example.com'])],
        ['an ID token', bad_type => token(user => 'eve', kind => 'id')],
        ['a claim of the wrong type', bad_claim => token(user => 'eve', claims => { amr => 'pwd' })],
        ['another algorithm', unsupported_algorithm => token(user => 'eve', alg => 'HS256')],
    );
    many($_->[0], $_->[1], "401 $_->[1]", token => $_->[2]) for @tokens;
    stop_resolving($nginx);

    # An unknown kid causes a fetch, after which it is a 401.
    $nginx = start_resolving('jwks_min_interval 1h;');
    $nginx->ask(token => token(user => 'eve', header => { kid => 'first' }));
    many('a kid that nobody knows', 'unknown_key', '401 unknown_key', token => token(user => 'eve', header => { kid => 'x' }));
    stop_resolving($nginx);
};

subtest 'sessions that are over' => sub {
    for my $project ('', 'resolve_cache 1m;') {
        $nginx = start_resolving($project);
        my $name = $project || 'no cache';
        many("a dead cookie, $name", 'session_invalid', '401 session_invalid', headers => cookie(session => 'dead'));
        many("a dead opaque token, $name", 'session_invalid', '401 session_invalid', token => 'dead');
        stop_resolving($nginx);
    }
    $nginx = start_resolving('recheck 1h strict;');
    my $token = token(user => 'disabled');
    control('POST', '/-/users/disabled/disable');
    many('a disabled user', 'session_invalid', '401 session_invalid', token => $token);
    stop_resolving($nginx);
};

subtest 'callers that lack something' => sub {
    $nginx = start_resolving('', location => 'authgear_require_role admin;');
    many('a role that is missing', 'policy', '403 policy', token => token(user => 'alice'));
    stop_resolving($nginx);
};

subtest 'what is only observed' => sub {
    $nginx = start_resolving('', server => 'location = /observed { authgear_verify myapp observe; empty_gif; }');
    many('observed, a dead cookie', 'session_invalid', '200 session_invalid', path => sub {'/observed'},
        headers => cookie(session => 'dead'));
    stop_resolving($nginx);
};

# Behind a variable, a client may choose what is looked up.
subtest 'projects and endpoints that a client makes up' => sub {
    $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        http => 'authgear_project many { endpoint https://$arg_t.example.com; internal_endpoint http://127.0.0.1:1; }',
        server => 'location = /project { authgear_verify $arg_p; empty_gif; } location = /many { authgear_verify many; empty_gif; }',
    );
    my $token = token(user => 'eve');
    many('a project', 'evaluates', '500', path => sub {'/project?p=none'}, token => $token);
    many('an endpoint', 'endpoint', '503 keys_unavailable', path => sub {'/many?t=a/b'}, token => $token);
    my $number = 0;
    many('tenants without keys', 'keys of', '503 keys_unavailable', path => sub { '/many?t=' . $number++ }, token => $token);
    $nginx->stop_soundly;
};

# The log states the reason, and never the token.
subtest 'the log still tells why' => sub {
    $nginx = start_resolving('', main => 'error_log logs/info.log info;');
    my $token = token(user => 'eve', key => 'stranger');
    $nginx->ask(token => $token);
    $nginx->ask(headers => cookie(session => 'dead-session-value'));
    my $text = '';
    soon {
        open my $in, '<', "$nginx->{root}/logs/info.log" or return 0;
        local $/;
        $text = <$in> // '';
        $text =~ /session_invalid/;
    } 'at the level info';
    like($text, qr/authgear: bad_signature, project "myapp"/, 'the reason and the project are told');
    unlike($text, qr/\Q$token\E/, 'the token is not');
    unlike($text, qr/authgear: [^\n]*dead-session-value[^\n]*, client/, 'nor is the cookie, by the module');
    stop_resolving($nginx);
};

done_testing;
