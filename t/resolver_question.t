# The question to the resolver holds what is left to judge and nothing else of the
# client's, and its answer is kept for exactly that.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver qw(:DEFAULT outcome);

use strict;
use warnings;

my ($host) = standin()->{origin} =~ m{//(.*)};
# Another Authgear, whose project has a cookie prefix.
my $prefixed = start_standin('--cookie-prefix', 'my_');
my ($prefixed_host) = $prefixed->{origin} =~ m{//(.*)};

my %session = map { $_ => session(user => $_) } qw(alice bob);
my $app = session(user => 'app', kind => 'app');
my %opaque = map { $_ => token(user => $_, kind => 'opaque') } qw(carol dave);
my %jwt = (good => token(user => 'jay'), expired => token(user => 'old', expires_in => -1));

# The Authorization and the Cookie of each question.
sub questions {
    return [map { said($_) } asked_requests()];
}

sub said {
    my ($question, $prefix) = @_;
    return join ' | ', map { join ' & ', @{ $question->{headers}{ ($prefix // '') . $_ } // [] } } qw(authorization cookie);
}

# One request: its status, user and source, and what was asked.
sub meets {
    my ($name, $path, $headers, $expected, @questions) = @_;
    reset_counts();
    my $answer = ask("GET $path", @$headers);
    my $told = join ' ', $answer->{status}, map { header($answer, "X-$_") // '-' } qw(User Source);
    # The worker may remember a JWT.
    is($told =~ s/jwt_cache\z/jwt/r, $expected, $name);
    is_deeply(questions(), \@questions, "$name: the question");
}

# --- checks

sub what_is_left_to_judge {
    my ($alice, $bob) = @session{qw(alice bob)};
    my $by = '200 alice resolver';
    for my $path (qw(/shipped /written)) {
        for my $row (
            ['a session among the cookies of others', ["Cookie: theme=dark; session=$alice; _ga=GA1.2"], $by,
                " | session=$alice"],
            ['a header for each cookie', ['Cookie: a=b', "Cookie: session=$alice", 'Cookie: c=d'], $by, " | session=$alice"],
            ['two of them in two headers', ["Cookie: session=$alice; a=b", "Cookie: c=d; app_session=$app"],
                '200 app resolver', " | session=$alice; app_session=$app"],
            ['two of a name', ["Cookie: session=$alice; a=b; session=$bob"], $by, " | session=$alice; session=$bob"],
            ['a value in quotes', [qq{Cookie: a="b"; session="$alice"}], $by, qq{ | session="$alice"}],
            ['names that look alike', ["Cookie: my_session=x; Session=y; sessions=z; session=$alice; session2=1"], $by,
                " | session=$alice"],
            ['an opaque token', ["Authorization: Bearer $opaque{carol}", 'Cookie: a=b'], '200 carol resolver',
                "Bearer $opaque{carol} | "],
            ['its scheme in other letters', ["Authorization: bEARER $opaque{carol}"], '200 carol resolver',
                "Bearer $opaque{carol} | "],
            ['an opaque token beside a session', ["Authorization: Bearer $opaque{carol}", "Cookie: session=$alice"],
                '200 carol resolver', "Bearer $opaque{carol} | session=$alice"],
            ['a dead token beside a session', ['Authorization: Bearer dead', "Cookie: a=b; session=$alice"], $by,
                "Bearer dead | session=$alice"],
            ['a JWT beside a session', ["Authorization: Bearer $jwt{good}", "Cookie: session=$alice"], '200 jay jwt'],
            ['an expired JWT beside a session', ["Authorization: Bearer $jwt{expired}", "Cookie: a=b; session=$alice"], $by,
                " | session=$alice"],
            ['another scheme beside a session', ['Authorization: Basic dTpw', "Cookie: session=$alice"], $by,
                " | session=$alice"],
            ['what no token may be beside a session', ['Authorization: Bearer a b', "Cookie: session=$alice"], $by,
                " | session=$alice"],
            ['cookies of others alone', ['Cookie: my_session=x; theme=dark'], '401 - none'],
        ) {
            my ($name, $headers, $expected, @questions) = @$row;
            meets("$path: $name", $path, $headers, $expected, @questions);
        }
    }
}

my @browser = ('User-Agent: browser/1', 'Accept: text/html', 'Accept-Language: de', 'Referer: https://a.example/',
    'Origin: https://a.example', 'X-Forwarded-Host: evil.example', 'X-Forwarded-For: 10.1.2.3', 'X-Forwarded-Proto: gopher',
    'Forwarded: host=evil.example', 'X-Original-URL: /', 'X-Real-IP: 10.1.2.3', 'Via: 1.1 a', 'Range: bytes=0-0',
    'If-None-Match: *', 'If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT', 'If-Match: "x"', 'TE: trailers',
    'Proxy-Authorization: Basic eA==', 'X-Authgear-User-Id: root', 'X-Token: t', 'Content-Type: text/plain',
    'Upgrade: websocket', 'Keep-Alive: 1');

# The question has the client's User-Agent, whatever else the location hands on.
sub user_agent_alone {
    my %more = (
        '/shipped' => { 'x-forwarded-for' => ['127.0.0.1'], 'x-forwarded-proto' => ['http'] },
        '/written' => {}, '/careless' => {}, '/curious' => {},
    );
    for my $path (sort keys %more) {
        for my $form ('none', 'a length', 'chunks') {
            my $text = $form eq 'chunks' ? "5\r\nhello\r\n0\r\n\r\n" : 'hello';
            my @body = $form eq 'none' ? () : (($form eq 'chunks' ? 'Transfer-Encoding: chunked' : ()), \$text);
            reset_counts();
            my $answer = ask("POST $path?a=b", "Cookie: theme=dark; session=$session{alice}", @browser, @body);
            is("$answer->{status} " . (header($answer, 'X-User') // '-'), '200 alice', "$path, body: $form");
            my ($seen, @others) = asked_requests();
            is(@others, 0, "$path, body: $form: one question");
            my %got = %{ $seen->{headers} };
            # This one is nginx's own.
            delete $got{connection} if exists $got{connection} && $got{connection}[0] =~ /^close\z/i;
            is_deeply(\%got, {
                host => [$host], cookie => ["session=$session{alice}"], 'user-agent' => ['browser/1'], %{ $more{$path} },
            }, "$path, body: $form: the question has User-Agent and no other header of the client's");
            is(echoed($answer)->{body}, $form eq 'none' ? '' : 'hello', "$path, body: $form: the backend gets it");
        }
    }
}

# A cookie whose name lacks the project's prefix is not in the question, and so
# nothing depends on it.
sub prefixes {
    my %value = map { $_ => control('POST', '/-/session', { user => $_ }, $prefixed) =~ s/\s+\z//r } qw(alice bob);
    my $constant = 'Authorization: Bearer constant';
    my $asked = sub { return [map { said($_) } @{ control('GET', '/-/counts', undef, $prefixed)->{resolver_requests} }] };
    for my $path (qw(/missing-prefix /wrong-prefix)) {
        control('POST', '/-/counts/reset', undef, $prefixed);
        for my $user (qw(alice bob alice)) {
            my $answer = ask("GET $path", $constant, "Cookie: my_session=$value{$user}");
            is(join(' ', $answer->{status}, header($answer, 'X-Reason'), header($answer, 'X-User') // '-'),
                '401 session_invalid -', "$path: a constant bearer token beside ${user}'s session with another prefix");
        }
        is_deeply([grep { $_ ne 'Bearer constant | ' } @{ $asked->() }], [], "$path: the question is about the token");
    }
    control('POST', '/-/counts/reset', undef, $prefixed);
    for my $source (qw(resolver resolver_cache)) {
        for my $user (qw(alice bob)) {
            my $answer = ask('GET /right-prefix', $constant, "Cookie: session=x; my_session=$value{$user}; a=$source");
            is(join(' ', $answer->{status}, map { header($answer, "X-$_") // '-' } qw(User Source)), "200 $user $source",
                "the right prefix: each user's session is its own, $source");
        }
    }
    is_deeply($asked->(), [map {"Bearer constant | my_session=$value{$_}"} qw(alice bob)],
        'the right prefix: the question holds the cookies that have it');
}

# Headers that the question lacks make no new question.
sub the_same_question {
    my $cookie = "session=$session{alice}";
    is(outcome('GET /cached', "Cookie: $cookie"), '200 ok alice resolver asked 1', 'a session is asked about');
    for my $row (
        ['other cookies', "Cookie: _ga=1; $cookie; theme=dark"],
        ['others again', "Cookie: $cookie", 'Cookie: page=7'],
        ['another browser', "Cookie: $cookie", 'User-Agent: browser/2'],
        ['another scheme', "Cookie: $cookie", 'Authorization: Basic dTpw'],
        ['an expired JWT', "Cookie: $cookie", "Authorization: Bearer $jwt{expired}"],
        ['an expired JWT in a cookie', "Cookie: $cookie; app_access_token=$jwt{expired}"],
        ['what no token may be', "Cookie: $cookie", 'Authorization: Bearer a b'],
    ) {
        my ($name, @headers) = @$row;
        is(outcome('GET /cached', @headers), '200 ok alice resolver_cache asked 0', "$name beside it makes no difference");
    }
    is(outcome('GET /cached', "Authorization: Bearer $opaque{carol}"), '200 ok carol resolver asked 1', 'an opaque token');
    is(outcome('GET /cached', "Authorization: bearer $opaque{carol}", 'Cookie: a=b'),
        '200 ok carol resolver_cache asked 0', 'is the same whatever the letters of its scheme');
    is(outcome('GET /cached', "Cookie: session=$session{bob}; x=$cookie"), '200 ok bob resolver asked 1',
        "another's session is another question");
}

# The variables, in the resolver's location and elsewhere.
sub variables {
    my $none = '[|]';
    for my $row (
        ['a session', ["Cookie: a=b; session=$session{alice}"], '200 alice', " | session=$session{alice}"],
        ['an opaque token', ["Authorization: bearer $opaque{carol}", 'Cookie: a=b'], '200 carol', "Bearer $opaque{carol} | "],
        ['both', ["Authorization: Bearer $opaque{dave}", "Cookie: session=$session{bob}"], '200 dave',
            "Bearer $opaque{dave} | session=$session{bob}"],
        ['another scheme beside a session', ['Authorization: Basic dTpw', "Cookie: session=$session{alice}"], '200 alice',
            " | session=$session{alice}"],
        ['an expired JWT beside a session', ["Authorization: Bearer $jwt{expired}", "Cookie: session=$session{alice}"],
            '200 alice', " | session=$session{alice}"],
    ) {
        my ($name, $headers, $expected, $question) = @$row;
        reset_counts();
        my $answer = ask('GET /named', @$headers);
        is("$answer->{status} " . (header($answer, 'X-User') // '-'), $expected, $name);
        my ($seen) = asked_requests();
        is(said($seen), $question, "$name: \$authgear_resolver_authorization and \$authgear_resolver_cookie");
        is(said($seen, 'x-http-'), $question, "$name: \$http_authorization and \$http_cookie say the same");
        is(header($answer, 'X-Early'), $none, "$name: before the access phase both are empty");
        is(header($answer, 'X-Late'), $none, "$name: and so they are after it");
    }
    is(header(ask('GET /open', "Cookie: session=$session{alice}"), 'X-Late'), $none, 'they are empty where nothing verifies');
}

# --- configuration

my $resolver = resolver_origin() . '/_resolver/resolve';
my $prefixed_resolver = ($prefixed->{resolver} // $prefixed->{http}) . '/_resolver/resolve';
@ENV{qw(TEST_NGINX_RESOLVER_URL TEST_NGINX_RESOLVER_HOST)} = ($resolver, $host);
my $endpoint = 'endpoint ' . standin()->{http} . ';';
my %written = (
    # With what the client sent, as nginx hands it on.
    written => "proxy_method HEAD; proxy_pass_request_body off; proxy_pass_request_headers off; proxy_set_header Host $host;"
        . ' proxy_set_header Authorization $http_authorization; proxy_set_header Cookie $http_cookie;'
        . ' proxy_set_header Content-Length ""; proxy_set_header User-Agent $http_user_agent;',
    careless => "proxy_set_header Host $host;",
    curious => "proxy_set_header Host $host; proxy_set_header X-Theme \$cookie_theme; proxy_set_header X-Length \$content_length;"
        . ' proxy_set_header X-Type $content_type; proxy_set_header X-From $http_referer; proxy_set_header X-Argument $arg_a;',
);
$ENV{TEST_NGINX_PROJECTS} = join "\n",
    "authgear_project shipped { $endpoint resolve_request /_authgear/resolve; }",
    "authgear_project cached { $endpoint resolve_request /_authgear/resolve; resolve_cache 10m; }",
    map({"authgear_project $_ { $endpoint resolve_request /_$_/resolve; }"} sort keys %written),
    map {
    my ($name, $prefix) = @$_;
    "authgear_project $name-prefix { endpoint $prefixed->{http}; $prefix resolve_request /_prefixed/resolve; resolve_cache 10m; }"
    } [missing => ''], [wrong => 'cookie_prefix your_;'], [right => 'cookie_prefix my_;'];
$ENV{TEST_NGINX_SERVER} = join "\n", "include $ENV{TEST_NGINX_RESOLVER};",
    # Read before the question is: it is no part of what the question says.
    'set $read_before "$http_cookie $http_authorization $cookie_theme $content_length $content_type $http_referer";',
    map({"location = /_$_/resolve { internal; proxy_pass $resolver; $written{$_} }"} sort keys %written),
    "location = /_prefixed/resolve { internal; proxy_method HEAD; proxy_pass_request_body off; proxy_pass $prefixed_resolver;"
        . " proxy_set_header Content-Length ''; proxy_set_header Host $prefixed_host; }",
    'add_header X-Reason $authgear_reason always; add_header X-User $authgear_user_id always;',
    'add_header X-Source $authgear_source always;',
    map {"location = /$_ { authgear_verify $_; proxy_pass @{[echo_origin()]}; }"}
    qw(shipped cached missing-prefix wrong-prefix right-prefix), sort keys %written;

run_tests();

__DATA__

=== TEST 1: the question's headers
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: what_is_left_to_judge user_agent_alone

=== TEST 2: requests that share its answer
--- http_config: $TEST_NGINX_PROJECTS
--- config: $TEST_NGINX_SERVER
--- check: prefixes the_same_question

=== TEST 3: its variables
--- http_config
authgear_project named {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_named/resolve;
}
--- config
set $early "[$authgear_resolver_authorization|$authgear_resolver_cookie]";
add_header X-User $authgear_user_id always;
add_header X-Early $early always;
add_header X-Late "[$authgear_resolver_authorization|$authgear_resolver_cookie]" always;
location = /named {
    authgear_verify named;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /open {
    proxy_pass $TEST_NGINX_ECHO;
}
location = /_named/resolve {
    internal;
    proxy_pass $TEST_NGINX_RESOLVER_URL;
    proxy_method HEAD;
    proxy_pass_request_headers off;
    proxy_set_header Host $TEST_NGINX_RESOLVER_HOST;
    proxy_set_header Authorization $authgear_resolver_authorization;
    proxy_set_header Cookie $authgear_resolver_cookie;
    proxy_set_header X-Http-Authorization $http_authorization;
    proxy_set_header X-Http-Cookie $http_cookie;
}
--- check: variables
