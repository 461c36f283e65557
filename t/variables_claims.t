# $authgear_claim_NAME and $authgear_claims: a token's claims of every form.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Variables;

use strict;
use warnings;

use JSON::PP;

# Claims as a token writes them, and as $authgear_claim_NAME shows them.
my @claims = (
    ['a string', q{"ops"}, 'ops'],
    ['an empty string', q{""}, ''],
    ['a string with commas, quotes and a backslash', q{"a,\"b\",\\\\c"}, 'a,"b",\c'],
    ['a string that is not ASCII', "\"zo\xc3\xab\"", "zo\xc3\xab"],
    ['a string with escapes that are not ASCII', q{"zo\u00eb \ud83d\ude00"}, "zo\xc3\xab \xf0\x9f\x98\x80"],
    ['control characters', q{"a\r\nb\tc\u0000d\u001fe\u007ff"}, 'a%0D%0Ab%09c%00d%1Fe%7Ff'],
    ['a percent sign', q{"100% %41 %0a"}, '100% %41 %0a'],
    ['a C1 control character, which is none of ASCII', q{"a\u0085b"}, "a\xc2\x85b"],
    ['a bracket and a dollar', q{"a]$b"}, 'a]$b'],
    ['zero', '0', '0'],
    ['minus zero', '-0', '-0'],
    ['1.0', '1.0', '1.0'],
    ['1e3', '1e3', '1e3'],
    ['1E+2', '1E+2', '1E+2'],
    ['a number of 20 digits', '12345678901234567890', '12345678901234567890'],
    ['a number of 40 digits', '1' x 40, '1' x 40],
    ['a small number', '-0.00000000000000000001', '-0.00000000000000000001'],
    ['a number beyond a double', '1e999', '1e999'],
    ['true', 'true', 'true'],
    ['false', 'false', 'false'],
    ['null', 'null', ''],
    ['an empty array', '[]', ''],
    ['an empty array with a blank', '[ ]', ''],
    ['an array of one string', q{["a"]}, 'a'],
    ['an array of strings', q{["a","b c","d,e"]}, 'a,b c,d,e'],
    ['an array of empty strings', q{["",""]}, ','],
    ['an array of strings with control characters', q{["a\n","\u007f"]}, 'a%0A,%7F'],
    ['an array of numbers', '[1,2.50]', '[1,2.50]'],
    ['a mixed array', q{["a",1]}, q{["a",1]}],
    ['an array of null', '[null]', '[null]'],
    ['an array of arrays', q{[["a"]]}, q{[["a"]]}],
    ['an empty object', '{}', '{}'],
    ['an object', q{{"a":{"b":[1.0,true,null]}}}, q{{"a":{"b":[1.0,true,null]}}}],
    ['an object with white space', q{{ "a" : [ 1.0 , "b c" ] }}, q{{"a":[1.0,"b c"]}}],
    ['an object with control characters', q{{"a\n":"b\r\nc\u0000"}}, q{{"a\n":"b\r\nc\u0000"}}],
    ['an object with 0x7f', "{\"a\":\"b\x7fc\"}", q{{"a":"b\u007fc"}}],
    ['an object that is not ASCII', "{\"a\":\"\xc3\xab\"}", "{\"a\":\"\xc3\xab\"}"],
);
$ENV{TEST_NGINX_CLAIMS} = join "\n",
    map {"add_header C-$_ \"[\$authgear_claim_c$_]\" always;"} 0 .. $#claims;

# A token that says these claims byte for byte.
sub verbatim {
    my %claims = @_;
    my $members = join ',', map {"\"$_\":$claims{$_}"} sort keys %claims;
    my $text = control('POST', '/-/token', "{\"user\":\"alice\",\"claims\":{$members}}");
    return $text =~ s/\s+\z//r;
}

# --- checks

sub claims_by_name {
    my $token = verbatim(map { ("c$_" => $claims[$_][1]) } 0 .. $#claims);
    my $client = connection();
    for my $round ('first', 'second') {
        $client->request('GET /claims', "Authorization: Bearer $token");
        my $answer = $client->answer;
        is($answer->{status}, 200, "claims, $round request: 200");
        for my $index (0 .. $#claims) {
            my ($name, $value, $expected) = @{ $claims[$index] };
            is(header($answer, "C-$index"), "[$expected]", "\$authgear_claim_NAME, $round request: $name");
        }
    }

    my $claims = claims($token);
    my $answer = ask('GET /known', "Authorization: Bearer $token");
    is(header($answer, 'K-iss'), "[$claims->{iss}]", '$authgear_claim_iss');
    is(header($answer, 'K-aud'), "[$claims->{iss}]", '$authgear_claim_aud, an array of one');
    is(header($answer, 'K-exp'), "[$claims->{exp}]", '$authgear_claim_exp');
    is(header($answer, 'K-twice'), '[alice] [alice]', 'the same variable twice');
    is(header($answer, 'K-absent'), '[]', 'a claim that is not there');
    is(header(ask('GET /known'), 'K-iss'), '[]', '$authgear_claim_iss of nobody');

    $token = verbatim(displayName => '"Ann"', UPPER => '"x"', 'a_b' => '1', 'x9' => '2');
    $answer = ask('GET /known', "Authorization: Bearer $token");
    is(header($answer, 'K-names'), '[1] [2]', 'names with an underscore and a digit');
    is(header($answer, 'K-case'), '[Ann] [x]', 'names with capital letters');
}

sub claims_as_json {
    my $parser = JSON::PP->new->utf8->allow_nonref;
    my @members = map { ("c$_" => $claims[$_][1]) } 0 .. $#claims;
    my $answer = ask('GET /required', 'Authorization: Bearer ' . verbatim(@members));
    my $json = header($answer, 'V-claims');
    unlike($json, qr/[\x00-\x1f\x7f]/, '$authgear_claims holds no control character');
    like($json, qr/\A\[\{"[^\n]*\}\]\z/, '$authgear_claims is one object');
    for my $index (0 .. $#claims) {
        my ($name, $value) = @{ $claims[$index] };
        my $compact = $value =~ s/\x7f/\\u007f/gr;
        $compact = { '[ ]' => '[]', '{ "a" : [ 1.0 , "b c" ] }' => '{"a":[1.0,"b c"]}' }->{$value}
            // $compact;
        like($json, qr/"c$index":\Q$compact\E[,}]/, "\$authgear_claims, as it was written: $name");
    }

    my $payload = sprintf q({ "sub" : "alice" ,%s"iss":"%s", "aud":"%s",%s"exp":%d, "o":{ "a b" : [ 1 ] } } ),
        "\n\t", standin()->{http}, standin()->{http}, "\r\n", time + 600;
    my $token = token(raw_payload => $payload);
    my $compact = $payload =~ s/ (?!b")|[\n\t\r]//gr;
    $answer = ask('GET /required', "Authorization: Bearer $token");
    is(header($answer, 'V-claims'), "[$compact]", '$authgear_claims is compact, however the token is not');
}

run_tests();

__DATA__

=== TEST 1: claims of every form
--- check
claims_by_name
claims_as_json
--- http_config
large_client_header_buffers 8 16k;
proxy_buffer_size 32k;
proxy_buffers 8 32k;
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
}
--- config
location = /required {
    $TEST_NGINX_SHOW
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /claims {
    authgear_verify myapp;
    $TEST_NGINX_CLAIMS
    proxy_pass $TEST_NGINX_ECHO;
}
location = /known {
    authgear_verify myapp optional;
    add_header K-iss "[$authgear_claim_iss]";
    add_header K-aud "[$authgear_claim_aud]";
    add_header K-exp "[$authgear_claim_exp]";
    add_header K-twice "[$authgear_claim_sub] [$authgear_claim_sub]";
    add_header K-absent "[$authgear_claim_no_such_claim]";
    add_header K-names "[$authgear_claim_a_b] [$authgear_claim_x9]";
    add_header K-case "[$authgear_claim_displayName] [$authgear_claim_UPPER]";
    proxy_pass $TEST_NGINX_ECHO;
}
