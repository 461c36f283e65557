# The same user is the same to the backend and in the variables, by whichever
# credential.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear args => ['--amr'];
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

my @identity = qw(session_valid user_id user_anonymous user_verified user_can_reauthenticate user_roles
    session_amr session_authenticated_at);
my @of_a_token = qw(client_id scope token_id token_exp token_type kid claims claim_sub claim_exp claim_of);

# Variables as the add_header, the backend and the log see them.
sub variables {
    my ($answer, @names) = @_;
    my %value = map { split /=/, $_, 2 } split /\x{1f}/, header($answer, 'X-Variables') // '';
    return { map { $_ => $value{$_} } @names };
}

# Everything that a backend is told, in its order.
sub told { return [header_lines(echoed($_[0]), qr/^x-authgear/i)] }

# --- checks

sub same {
    for my $case (people()) {
        my ($name, $user, $login) = @$case;
        my %same = (user => $user, %$login);
        my $jwt = token(%same, scope => 'openid extra', claims => { of => $user->{id} });
        my %by = (
            'app_access_token JWT' => [cookie(app_access_token => $jwt), 'jwt_cache'],
            'session' => [cookie(session => session(%same)), 'resolver'],
            'app_session' => [cookie(app_session => session(%same, kind => 'app')), 'resolver'],
            'opaque token' => ['Authorization: Bearer ' . token(%same, kind => 'opaque'), 'resolver'],
            'opaque app_access_token' => [cookie(app_access_token => token(%same, kind => 'opaque')), 'resolver'],
            'expired JWT beside a session' =>
                [bearer(user => 'other', expires_in => -1), cookie(session => session(%same)), 'resolver'],
        );
        for my $where (qw(required optional observe)) {
            my $first = ask("GET /$where", "Authorization: Bearer $jwt");
            is($first->{status}, 200, "$name, $where: a JWT");
            is(header($first, 'X-Source'), $where eq 'required' ? 'jwt' : 'jwt_cache', "$name, $where: verified here");
            my $identity = variables($first, @identity);
            is($identity->{user_id}, $user->{id}, "$name, $where: the user");
            cmp_ok(scalar @{ told($first) }, '>=', 6, "$name, $where: the backend is told");
            for my $how (sort keys %by) {
                my @headers = @{ $by{$how} };
                my $source = pop @headers;
                my $answer = ask("GET /$where", @headers);
                is(header($answer, 'X-Source'), $source, "$name, $where: $how: the source is $source");
                is_deeply(told($answer), told($first), "$name, $where: $how: the same headers in the same order");
                is_deeply(variables($answer, @identity), $identity, "$name, $where: $how: the same variables");
                my %expected = map { $_ => '' } @of_a_token;
                %expected = %{ variables($first, @of_a_token) } if $source eq 'jwt_cache';
                is_deeply(variables($answer, @of_a_token), \%expected,
                    "$name, $where: $how: variables of a token " . ($source eq 'jwt_cache' ? 'the same' : 'empty'));
            }
            is(variables($first, 'scope')->{scope}, 'openid extra', 'which they are not of a JWT');
        }
    }
}

# A cached answer is the same as a fresh one.
sub kept {
    for my $case (people()) {
        my ($name, $user, $login) = @$case;
        my %same = (user => $user, %$login);
        my $session = cookie(session => session(%same));
        my @answers = map { ask('GET /cached', $session) } 1 .. 2;
        is_deeply([map { header($_, 'X-Source') } @answers], [qw(resolver resolver_cache)], "$name: asked, then kept");
        my $jwt = ask('GET /cached', bearer(%same));
        for my $answer (@answers) {
            is_deeply(told($answer), told($jwt), "$name: the same headers");
            is_deeply(variables($answer, @identity), variables($jwt, @identity), "$name: the same variables");
        }
    }
    my $user = { id => 'long', roles => [map {"role-with-a-long-name-$_"} 1 .. 40] };
    my $session = cookie(session => session(user => $user));
    my $jwt = ask('GET /cached', bearer(user => $user));
    for my $i (1 .. 2) {
        my $answer = ask('GET /cached', $session);
        is(variables($answer, 'user_roles')->{user_roles}, variables($jwt, 'user_roles')->{user_roles},
            "a user with many roles, request $i");
    }
}

# A variable in the log is the same, too.
sub logged {
    my %same = (user => { id => 'logged', roles => [qw(a b)] }, amr => ['pwd'], auth_time => 5);
    ask('GET /required', bearer(%same));
    ask('GET /required', cookie(session => session(%same)));
    my @lines = log_lines('identity.log', 2);
    is($lines[0], 'true logged false true true a,b pwd 5', 'the log of a JWT');
    is($lines[1], $lines[0], 'that of a session');
}

my $variables = join "\x{1f}", map {"$_=\$authgear_$_"} @identity, @of_a_token;
$ENV{TEST_NGINX_LOCATIONS} = join "\n", map {
    my ($path, $verify) = @$_;
    <<"END";
location = $path {
    authgear_verify $verify;
    add_header X-Source \$authgear_source always;
    add_header X-Variables "$variables" always;
    proxy_pass @{[echo_origin()]};
}
END
} ['/required', 'myapp'], ['/optional', 'myapp optional'], ['/observe', 'myapp observe'], ['/cached', 'cached'];
my $project = 'endpoint ' . standin()->{origin} . '; resolve_request /_authgear/resolve;';
$ENV{TEST_NGINX_PROJECTS} = "authgear_project myapp { $project }
    authgear_project cached { $project resolve_cache 60s; }
    log_format identity '" . join(' ', map {"\$authgear_$_"} @identity) . "';";
$ENV{TEST_NGINX_SERVER} = "include $ENV{TEST_NGINX_RESOLVER};\n$ENV{TEST_NGINX_LOCATIONS}";

run_tests();

__DATA__

=== TEST 1: the same user
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: same kept

=== TEST 2: in the log
--- http_config: $TEST_NGINX_PROJECTS
--- config eval: "access_log logs/identity.log identity;\n$ENV{TEST_NGINX_SERVER}"
--- check: logged
