# authgear_claim_set: claims in variables, by their path, wherever nginx asks for
# one.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Verdict qw(payload);

use strict;
use warnings;

$ENV{TEST_NGINX_PORT_1} = port(1);

# The payload's text, with claims that hooks may add.
my $claims = <<'END';
"https://example.com/claims": {"plan": "gold", "a.b": "dots", "a/b": "slashes", "a b": "blanks", "": "nameless",
  "$x": "dollar", "seats": 12345678901234567890, "rate": 1.50, "exact": 1E+2, "zero": -0,
  "yes": true, "no": false, "null": null, "list": ["a","b c"], "none": [], "numbers": [1, 2.50],
  "mixed": ["a", 1], "object": { "b" : [ 1.0 , null ] }, "empty": {}, "text": "",
  "evil": "a\r\nX-Evil: 1\u0000\u007f", "evils": ["\n", "%0a"], "ünï": "zoë", "\u0065scaped": "by name",
  "deep": {"deep": {"deep": {"er": "found"}}}, "twice": 1, "twice": 2},
"a.b": {"c": "not by dots"}, "a": {"b": {"c": "by steps"}}, "plan": "top", "array": [{"plan": "in an array"}],
"words": "just text"
END
$claims =~ s/\n/ /g;
my $url = 'https://example.com/claims';
my @paths = (
    # name, the words of authgear_claim_set, what the variable shows
    ['a name that is a URL', "$url plan", 'gold'],
    ['dots in a name', "$url a.b", 'dots'],
    ['slashes in a name', "$url a/b", 'slashes'],
    ['blanks in a name', "$url 'a b'", 'blanks'],
    ['a name that is not ASCII', "$url ünï", 'zoë'],
    ['a name that the token writes with an escape', "$url escaped", 'by name'],
    ['steps are not dots', 'a b c', 'by steps'],
    ['dots are no steps', 'a.b c', 'not by dots'],
    ['a claim at the top', 'plan', 'top'],
    ['four steps down', "$url deep deep deep er", 'found'],
    ['a name that is there twice, below the top', "$url twice", '2'],
    ['a whole number, digit for digit', "$url seats", '12345678901234567890'],
    ['a fraction, digit for digit', "$url rate", '1.50'],
    ['an exponent, as it is written', "$url exact", '1E+2'],
    ['minus zero', "$url zero", '-0'],
    ['true', "$url yes", 'true'],
    ['false', "$url no", 'false'],
    ['null', "$url null", ''],
    ['an empty string', "$url text", ''],
    ['an array of strings', "$url list", 'a,b c'],
    ['an empty array', "$url none", ''],
    ['an array of numbers', "$url numbers", '[1,2.50]'],
    ['a mixed array', "$url mixed", '["a",1]'],
    ['an object', "$url object", '{"b":[1.0,null]}'],
    ['an empty object', "$url empty", '{}'],
    ['control characters', "$url evil", 'a%0D%0AX-Evil: 1%00%7F'],
    ['control characters in an array, and a percent sign', "$url evils", '%0A,%0a'],
    ['a claim that is not there', 'nosuch', ''],
    ['a step that is not there', "$url nosuch", ''],
    ['a step below a step that is not there', "$url nosuch plan", ''],
    ['a step into a string', 'words plan', ''],
    ['a step into null', "$url null plan", ''],
    ['a step into an array', 'array plan', ''],
    ['a step that counts', 'array 0', ''],
    ['another case', "$url Plan", ''],
    ['the name and no more', 'https://example.com/claims plan extra', ''],
);
$ENV{TEST_NGINX_PATHS} = join "\n",
    map {"authgear_claim_set \$path_$_ $paths[$_][1]; add_header P-$_ \"[\$path_$_]\" always;"} 0 .. $#paths;

# From a location where $plan is one claim to one where it is another.
my %require = (
    one => 'authgear_claim_set $plan https://example.com/claims plan; authgear_require $plan;',
    two => 'authgear_claim_set $plan plan; authgear_require $plan;',
    neither => '',
);
$ENV{TEST_NGINX_BETWEEN} = join "\n", map {
    my ($from, $to) = @$_;
    "location = /$from-to-$to { authgear_verify myapp; $require{$from} proxy_pass http://127.0.0.1:@{[port(1)]}/?to=/$to; }"
} [one => 'two'], [two => 'one'], [one => 'neither'], [neither => 'one'], [one => 'strict'];

# A token whose payload holds these claims as they are written.
sub verbatim {
    my ($text) = @_;
    utf8::decode($text);
    return 'Authorization: Bearer ' . token(raw_payload => payload($text));
}

sub by_path {
    my $answer = ask('GET /paths', verbatim($claims));
    is($answer->{status}, 200, 'claims by their path: 200');
    is(header($answer, "P-$_"), "[$paths[$_][2]]", "authgear_claim_set: $paths[$_][0]") for 0 .. $#paths;
    is(header($answer, 'X-Evil'), undef, 'no claim makes a header');

    # Without verified claims, all are empty.
    my %nobody = (
        'nobody' => [],
        'an expired token' => [bearer(claims => { plan => 'x' }, expires_in => -1)],
        'a forged token' => [bearer(claims => { plan => 'x' }, key => 'stranger')],
        "the resolver's session" => [cookie(session => session(user => 'ann'))],
    );
    for my $who (sort keys %nobody) {
        $answer = ask('GET /paths', @{ $nobody{$who} });
        my @shown = grep { header($answer, "P-$_") ne '[]' } 0 .. $#paths;
        is_deeply(\@shown, [], "authgear_claim_set: empty for $who");
    }
}

# --- where variables are asked

sub with_plan { return bearer(user => $_[0], claims => { $url => { plan => $_[1] }, plan => "top-$_[1]" }) }

sub same_variable_elsewhere {
    my $token = with_plan(ann => 'gold');
    for my $row (
        ['/one', 'gold'], ['/two', 'top-gold'], ['/neither', ''],
        ['/one-to-two', 'top-gold'], ['/two-to-one', 'gold'], ['/one-to-neither', ''], ['/neither-to-one', 'gold'],
        ['/named-two', 'top-gold'], ['/one-missing', 'top-gold'],
    ) {
        my ($path, $expected) = @$row;
        my $client = connection();
        for my $round (1, 2) {
            $client->request("GET $path", $token);
            is(header($client->answer, 'X-Plan'), "[$expected]",
                "\$plan, $path, round $round: " . ($expected || 'empty'));
        }
    }
    # A claim that is gone along with the verdict.
    is(header(ask('GET /one-to-strict', $token), 'X-Plan'), '[]', '$plan where the token is refused: empty');
}

sub in_map_header_and_log {
    for my $row (
        [gold => '9', 'yes'], [silver => '5', 'no'], ['gold-plated' => '0', 'no'], ['' => '0', 'no'],
    ) {
        my ($plan, $weight, $is_gold) = @$row;
        my $answer = ask('GET /mapped', with_plan(ann => $plan));
        is(header($answer, 'X-Weight'), $weight, "map over \$plan: '$plan'");
        is(header(echoed($answer), 'X-Gold'), $is_gold, "map over \$authgear_claim_plan: '$plan'");
        is(header(echoed($answer), 'X-Set'), "[$plan] [top-$plan]", "proxy_set_header: '$plan'");
    }
    is(header(ask('GET /mapped'), 'X-Weight'), '0', 'map over $plan: nobody');
    is(header(ask('GET /mapped', bearer(claims => { $url => { plan => 'gold' } }, key => 'stranger')), 'X-Weight'), '0',
        'map over $plan: a forged token');
    ask('GET /mapped', with_plan(last => 'platinum'));
    my @lines = grep {/platinum/} log_lines('plans.log', 7);
    is_deeply(\@lines, ['[platinum] [top-platinum] last 200'], 'access_log');
    is_deeply([grep {/gold/ && / 401$/} log_lines('plans.log', 7)], [], 'access_log: nothing unverified');
}

sub in_the_cache_key {
    for my $case (
        [ann => gold => 'MISS'], [ann => gold => 'HIT'], [bob => gold => 'HIT'], [bob => silver => 'MISS'],
        [ann => gold => 'HIT'], [ann => silver => 'HIT'],
    ) {
        my ($user, $plan, $status) = @$case;
        my $answer = ask('GET /cached', with_plan($user, $plan));
        is(header($answer, 'X-Cache'), $status, "proxy_cache_key with \$plan: $user, $plan: $status");
        is(header(echoed($answer), 'X-Plan'), $plan, "and the answer is that of $plan");
    }
    is(ask('GET /cached', bearer(claims => { $url => { plan => 'gold' } }, key => 'stranger'))->{status}, 401,
        'a forged token of a cached plan: 401');
    is(ask('GET /cached', bearer(user => 'x', expires_in => -1))->{status}, 401, 'an expired one: 401');
}

# limit_req asks for its key before the access phase.
sub in_limit_req_zone {
    for my $round (1 .. 3) {
        is(ask('GET /limited', bearer(claims => { $url => { plan => 'iron' } }, key => 'stranger'))->{status}, 401,
            "limit_req_zone by \$plan: a forged token does not count ($round)");
        is(ask('GET /limited', bearer(claims => { $url => { plan => 'iron' } }, audience => ['https://other.example']))->{status},
            401, "limit_req_zone by \$plan: nor does one for somebody else ($round)");
        is(ask('GET /limited', with_plan(ann => ''))->{status}, 200,
            "limit_req_zone by \$plan: an empty one is not limited ($round)");
    }
    for my $plan (qw(iron copper)) {
        is(ask('GET /limited', with_plan(ann => $plan))->{status}, 200, "limit_req_zone by \$plan: the first of $plan");
        is(ask('GET /limited', with_plan(bob => $plan))->{status}, 429, "limit_req_zone by \$plan: the second of $plan, of another user");
    }
    is(ask('GET /limited-named', with_plan(ann => 'iron'))->{status}, 200, 'limit_req_zone by $authgear_claim_plan: the first');
    is(ask('GET /limited-named', with_plan(ann => 'iron'))->{status}, 429, 'limit_req_zone by $authgear_claim_plan: the second');

    # So early nothing is required yet: the reason is about the credential alone.
    user(id => 'root', roles => ['admin']);
    for my $row (
        ['a role', bearer(user => 'root'), '[ok root]', 200], ['no role', with_plan(ann => 'x'), '[ok ann]', 403],
        ['a forged token', bearer(user => 'root', key => 'stranger'), '[ ]', 401], ['nobody', undef, '[ ]', 401],
    ) {
        my ($name, $credential, $early, $status) = @$row;
        my $answer = ask('GET /early', $credential // ());
        is("$answer->{status} " . header($answer, 'X-Early'), "$status $early", "before the access phase, $name: $early");
    }
}

run_tests();

__DATA__

=== TEST 1: claims in variables
--- check
by_path
same_variable_elsewhere
in_map_header_and_log
in_the_cache_key
in_limit_req_zone
--- http_config
large_client_header_buffers 8 16k;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_project strict {
    endpoint $TEST_NGINX_AUTHGEAR;
    audience https://strict.example.com;
}
map $plan $weight {
    default 0;
    gold 9;
    silver 5;
}
map $authgear_claim_plan $is_gold {
    default no;
    top-gold yes;
}
limit_req_zone $plan zone=plans:1m rate=1r/m;
limit_req_zone $authgear_claim_plan zone=claims:1m rate=1r/m;
limit_req_status 429;
proxy_cache_path cache keys_zone=answers:1m;
log_format plans "[$plan] [$authgear_claim_plan] $authgear_user_id $status";
server {
    listen 127.0.0.1:$TEST_NGINX_PORT_1;
    location / {
        add_header X-Accel-Redirect $arg_to;
        return 200;
    }
}
--- config
add_header X-Plan "[$plan]" always;
include $TEST_NGINX_RESOLVER;
location = /paths {
    authgear_verify myapp observe;
    $TEST_NGINX_PATHS
    proxy_pass $TEST_NGINX_ECHO;
}
location = /one {
    authgear_verify myapp;
    authgear_claim_set $plan https://example.com/claims plan;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /two {
    authgear_verify myapp;
    authgear_claim_set $plan plan;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /neither {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /strict {
    authgear_verify strict;
    authgear_claim_set $plan plan;
    proxy_pass $TEST_NGINX_ECHO;
}
$TEST_NGINX_BETWEEN
location = /named-two {
    authgear_verify myapp;
    authgear_claim_set $plan https://example.com/claims plan;
    authgear_require $plan;
    try_files /no-such-file @two;
}
location @two {
    authgear_verify myapp;
    authgear_claim_set $plan plan;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /one-missing {
    authgear_verify myapp;
    authgear_claim_set $plan https://example.com/claims plan;
    authgear_require $plan;
    error_page 404 =200 /two;
    try_files /no-such-file =404;
}

location = /mapped {
    authgear_verify myapp optional;
    authgear_claim_set $plan https://example.com/claims plan;
    add_header X-Weight $weight always;
    access_log logs/plans.log plans;
    proxy_set_header X-Gold $is_gold;
    proxy_set_header X-Set "[$plan] [$authgear_claim_plan]";
    proxy_pass $TEST_NGINX_ECHO;
}
location = /cached {
    authgear_verify myapp;
    authgear_claim_set $plan https://example.com/claims plan;
    authgear_pass_headers off;
    proxy_set_header X-Plan $plan;
    proxy_set_header Authorization "";
    proxy_cache answers;
    proxy_cache_key $plan$uri;
    proxy_cache_valid 200 1m;
    add_header X-Cache $upstream_cache_status;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limited {
    authgear_verify myapp;
    authgear_claim_set $plan https://example.com/claims plan;
    limit_req zone=plans;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /limited-named {
    authgear_verify myapp;
    limit_req zone=claims;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /early {
    authgear_verify myapp;
    authgear_require_role admin;
    set $early "[$authgear_reason $authgear_user_id]";
    add_header X-Early $early always;
    proxy_pass $TEST_NGINX_ECHO;
}
