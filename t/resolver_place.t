# The resolver's answer counts only if it comes from the internal location that
# resolve_request names; a question that ends elsewhere reaches nobody.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;

use File::Temp qw(tempdir);

my $directory = tempdir(CLEANUP => 1);
chmod 0755, $directory;
my ($host) = standin()->{origin} =~ m{//(.*)};
my $ask = 'proxy_pass ' . resolver_origin() . "/_resolver/resolve; proxy_set_header Host $host;"
    . ' proxy_method HEAD; proxy_pass_request_body off; proxy_set_header Content-Length "";';
# In a location whose name is not the whole URI.
my $ask_there = $ask =~ s{/_resolver/resolve;}{/_resolver/resolve\$is_args;}r;
# A backend that says yes to all, and a resolver that answers oddly.
my ($backend, $odd) = map { 'http://127.0.0.1:' . port($_) } 1, 2;

my %credential = (
    session => [cookie(session => session(user => 'alice'))],
    'opaque token' => ['Authorization: Bearer ' . token(user => 'alice', kind => 'opaque')],
    'expired JWT beside a session' => [bearer(expires_in => -1), cookie(session => session(user => 'alice'))],
    dead => [cookie(session => 'dead')],
);

# Locations of resolve_request /_NAME/resolve from which no answer counts.
my %wrong = (
    missing => '',
    # A location that holds more than it.
    swallowed => 'location /_swallowed/ { proxy_pass ' . $backend . '; }',
    open => "location = /_open/resolve { $ask }",
    rewritten => 'location = /_rewritten/resolve { internal; rewrite ^ /elsewhere last; }',
    'rewritten-to-a-resolver' => 'location = /_rewritten-to-a-resolver/resolve { internal; rewrite ^ /_right/resolve last; }',
    tried => 'location = /_tried/resolve { internal; root html; try_files /no-such-file /elsewhere; }',
    'tried-named' => 'location = /_tried-named/resolve { internal; root html; try_files /no-such-file @elsewhere; }',
    paged => "location = /_paged/resolve { internal; proxy_pass $odd/403; proxy_intercept_errors on; error_page 403 = /elsewhere; }",
    'paged-named' => 'location = /_paged-named/resolve { internal; proxy_pass http://127.0.0.1:1; error_page 502 = @elsewhere; }',
    accelerated => "location = /_accelerated/resolve { internal; proxy_pass $odd/accel; }",
    'returned-200' => 'location = /_returned-200/resolve { internal; return 200; }',
    'returned-200-true' => 'location = /_returned-200-true/resolve { internal; add_header X-Authgear-Session-Valid true;'
        . ' add_header X-Authgear-User-Id impostor; return 200 "yes"; }',
    'returned-204' => 'location = /_returned-204/resolve { internal; return 204; }',
    'returned-403' => 'location = /_returned-403/resolve { internal; return 403; }',
    'returned-301' => 'location = /_returned-301/resolve { internal; return 301 /elsewhere; }',
    file => 'location = /_file/resolve { internal; alias html/static.txt; }',
);
my %right = (
    right => "location = /_right/resolve { internal; $ask }",
    prefix => "location /_prefix/ { internal; $ask_there }",
    regex => "location ~ ^/_regex/ { internal; $ask_there }",
    nested => "location /_nested/ { internal; location = /_nested/resolve { internal; $ask } }",
);

sub outcome {
    my ($path, @headers) = @_;
    my $answer = ask("GET $path", @headers);
    return join ' ', $answer->{status}, map { header($answer, "X-$_") // '-' } qw(Reason User);
}

# The requests to the backend; its server logs one before it answers the next.
sub backend_lines {
    ask('GET /marker', { port => port(1) });
    my @lines;
    wait_for { @lines = log_lines('backend.log', 1); $lines[-1] =~ /marker/ };
    return [grep { !/marker/ } @lines];
}

# The module's log lines about a location while it serves, without nginx's additions.
sub log_about {
    my ($uri) = @_;
    return grep { /\Q"$uri"\E/ } map { /\[(?:error|crit)\] .*?authgear: (.*?), client: / ? $1 : () } log_lines('error.log', 1);
}

# --- checks

my $unavailable = '503 resolver_unavailable -';

sub wrong_places {
    for my $name (sort keys %wrong) {
        for my $which (sort keys %credential) {
            is(outcome("/$name", @{ $credential{$which} }), $unavailable, "$name: $which: 503");
        }
        like(header(ask("GET /$name", @{ $credential{session} }), 'Retry-After') // '', qr/^[1-9]/, "$name: Retry-After");
        # No error page replaces the answer, so this one is what it is: nobody listens, and the token stands.
        my $waits = $name eq 'paged-named' ? '404 ok jay' : $unavailable;
        is(outcome("/$name-strict", bearer(user => 'jay')), $waits, "$name: a token that waits for a recheck: $waits");
        is(outcome("/$name"), '401 no_credential -', "$name: nobody");
        is(outcome("/$name", bearer(user => 'jay')), '404 ok jay', "$name: a JWT needs no resolver");
        ok(scalar log_about("/_$name/resolve"), "$name: the log names the location")
            or diag(grep {/authgear/} log_lines('error.log', 1));
    }
    is_deeply(backend_lines(), [], 'no question reaches a backend');
    is_deeply([grep {/200, not 200/} log_lines('error.log', 1)], [], 'the log does not say that 200 is not 200');
}

sub right_places {
    for my $name (sort keys %right) {
        is(outcome("/$name", @{ $credential{session} }), '404 ok alice', "$name: a session passes");
        is(outcome("/$name", @{ $credential{dead} }), '401 session_invalid -', "$name: a dead one does not");
        is(outcome("/$name-strict", bearer(user => 'jay')), '404 ok jay', "$name: a token is confirmed");
    }
}

# A rewrite of the server that catches the question, too.
sub under_a_rewrite {
    for my $which (sort keys %credential) {
        is(outcome('/page', @{ $credential{$which} }), $unavailable, "a rewrite of the server: $which: 503");
    }
    is_deeply(backend_lines(), [], 'a rewrite of the server: the backend is not reached');
    is(outcome('/page', bearer(user => 'jay')), '200 ok jay', 'a rewrite of the server: a JWT passes');
    is_deeply(backend_lines(), ['GET /app/page jay'], 'a rewrite of the server: and reaches the backend');
    ok(scalar log_about('/_authgear/resolve'), 'a rewrite of the server: the log names the location')
        or diag(grep {/authgear/} log_lines('error.log', 1));
}

sub under_another_rewrite {
    is(outcome('/old/page', @{ $credential{session} }), '200 ok alice', 'a rewrite that leaves the question alone: a session passes');
    is(outcome('/old/page', @{ $credential{dead} }), '401 session_invalid -', 'and a dead one does not');
}

# --- proxy_cache

my $project = 'authgear_project a { endpoint https://a.example; resolve_request /_authgear/resolve; }';
my $cache = "proxy_cache_path $directory/config keys_zone=pages:1m;";

# The http block: a cache in it, in the server, in the location, in another location.
sub http_with {
    my ($http, $server, $location, $other) = @_;
    return "$project $cache $http server { $server"
        . " location = /_authgear/resolve { internal; proxy_pass https://127.0.0.1/_resolver/resolve; $location }"
        . " location /pages/ { proxy_pass http://127.0.0.1:9; $other } }";
}

sub cached_in_the_configuration {
    my $on = 'proxy_cache pages;';
    for my $row (
        ['from http', [$on, '', '', ''], 1],
        ['from the server', ['', $on, '', ''], 1],
        ['of its own', ['', '', $on, ''], 1],
        ['of a name that a variable holds', ['', '', 'proxy_cache $host;', ''], 1],
        ['that the location switches off', [$on, $on, 'proxy_cache off;', ''], 0],
        ['of another location', ['', '', '', $on], 0],
        ['none', ['', '', '', ''], 0],
    ) {
        my ($name, $text, $is_mistake) = @$row;
        my $error = config_error(http_with(@$text));
        if ($is_mistake) {
            like($error, qr/"proxy_cache"/, "proxy_cache at the resolver's location, $name: refused");
            like($error, qr{/_authgear/resolve}, "proxy_cache at the resolver's location, $name: which location");
        }
        else {
            is($error, '', "proxy_cache at the resolver's location, $name: fine");
        }
    }
    is(config_error("$project $cache $on server { include \$TEST_NGINX_RESOLVER; }"), '', 'the shipped location switches it off');
}

# A location that nginx -t may not take for the resolver's.
my $cached_location = "location ~ ^/_cached/res { internal; $ask_there proxy_cache answers; proxy_cache_valid any 10m; }";
my $cached_project = 'authgear_project cached { endpoint ' . standin()->{http} . '; resolve_request /_cached/resolve; }';
my $answers = "proxy_cache_path $directory/answers keys_zone=answers:1m;";
my $is_refused = config_error("$cached_project $answers server { $cached_location }") =~ /"proxy_cache"/;

# nginx's default key is the same for everybody.
sub cached_at_run_time {
    return pass('nginx -t refuses this location, too') if $is_refused;
    is(outcome('/cached', @{ $credential{session} }), '404 ok alice', 'the first answer is the resolver\'s');
    for my $headers ([cookie(session => session(user => 'bob'))], $credential{dead}, ['Authorization: Bearer made-up'],
        $credential{session})
    {
        is(outcome('/cached', @$headers), $unavailable, "the next comes from nginx's cache, and is none");
    }
    is(outcome('/cached'), '401 no_credential -', 'nobody');
}

# --- configuration

my $endpoint = 'endpoint ' . standin()->{http} . ';';
my $server = 'add_header X-Reason $authgear_reason always; add_header X-User $authgear_user_id always;';
my $back = "log_format backend '\$request_method \$uri \$http_x_authgear_user_id';"
    . " server { listen 127.0.0.1:@{[port(1)]}; access_log logs/backend.log backend;"
    . ' location / { add_header X-Authgear-Session-Valid true; add_header X-Authgear-User-Id impostor; return 200 "back\n"; } }';
my $elsewhere = "location = /elsewhere { internal; proxy_pass $backend; } location \@elsewhere { proxy_pass $backend; }";
$ENV{TEST_NGINX_BACKEND} = $backend;
my @names = (sort keys %wrong, sort keys %right);
$ENV{TEST_NGINX_PLACES} = join "\n", $back,
    "server { listen 127.0.0.1:@{[port(2)]}; location = /403 { return 403; }"
    . ' location = /accel { add_header X-Accel-Redirect /elsewhere; return 200; } }',
    map {
    my $resolve = "resolve_request /_$_/resolve;";
    "authgear_project $_ { $endpoint $resolve } authgear_project $_-strict { $endpoint $resolve recheck 1h strict; }"
    } @names;
# No file answers a request that is let in.
$ENV{TEST_NGINX_PLACED} = join "\n", $server, $elsewhere, values %wrong, values %right,
    map { ("location = /$_ { authgear_verify $_; }", "location = /$_-strict { authgear_verify $_-strict; }") } @names;

$ENV{TEST_NGINX_ONE} = "$back authgear_project myapp { $endpoint resolve_request /_authgear/resolve; }";
my $app = "$server include $ENV{TEST_NGINX_RESOLVER}; location /app/ { authgear_verify myapp; proxy_pass $backend; }";
$ENV{TEST_NGINX_REWRITTEN} = "rewrite ^/(?!app/)(.*)\$ /app/\$1; $app";
$ENV{TEST_NGINX_SPARED} = "rewrite ^/old/(.*)\$ /app/\$1; $app";
$ENV{TEST_NGINX_CACHED} = "$cached_project $answers";
$ENV{TEST_NGINX_CACHED_SERVER} = $is_refused ? '' : "$server $cached_location location = /cached { authgear_verify cached; }";

run_tests();

__DATA__

=== TEST 1: locations
--- http_config: $TEST_NGINX_PLACES
--- config
$TEST_NGINX_PLACED
location / {
    proxy_pass $TEST_NGINX_BACKEND;
}
--- user_files
>>> static.txt
a file
--- check: wrong_places right_places

=== TEST 2: a rewrite of the server
--- http_config: $TEST_NGINX_ONE
--- config: $TEST_NGINX_REWRITTEN
--- check: under_a_rewrite

=== TEST 3: a rewrite that leaves the question alone
--- http_config: $TEST_NGINX_ONE
--- config: $TEST_NGINX_SPARED
--- check: under_another_rewrite

=== TEST 4: nginx -t looks for proxy_cache
--- http_config: $TEST_NGINX_ONE
--- config: $TEST_NGINX_SPARED
--- check: cached_in_the_configuration

=== TEST 5: answers in nginx's cache
--- http_config: $TEST_NGINX_CACHED
--- config: $TEST_NGINX_CACHED_SERVER
--- check: cached_at_run_time
