# $authgear_* in a log: escaped as the format says, as every other variable is, so
# that no claim forges a field and no line of escape=json is invalid JSON.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Client;
use Test::Nginx::Authgear::Resolver;

use strict;
use warnings;
use utf8;

use Encode qw(decode_utf8 encode_utf8);
use JSON::PP;
use Test::Nginx::Authgear::Variables qw(claims);

# A name that a user may have chosen.
my $name = qq{x" user="root" "\\ \x{e9}};
my $json = JSON::PP->new->utf8->allow_nonref;

# As nginx's default format writes it.
sub escaped {
    my ($text) = @_;
    return encode_utf8($text) =~ s/(["\\\x00-\x1f\x7f-\xff])/sprintf '\\x%02X', ord $1/gesr;
}

# Each request is logged in every format, and by all of them in turn: what one format
# notes of a value must not concern the next.
my $logged = 0;

sub lines_of {
    my ($path, @headers) = @_;
    my $answer = ask("GET $path", @headers);
    $logged++;
    my %line = map { $_ => (log_lines("$_.log", $logged))[$logged - 1] } qw(usual json none again);
    return ($answer, \%line);
}

sub of_a_claim {
    my $id = qq{"ann" \\};
    my $token = token(user => $id, claims => { name => $name, list => [$name, 'b'], deep => { of => $name } });
    my $raw = claims($token);
    is($raw->{name}, $name, 'the token says what it should');
    for my $path (qw(/verified /early /refused)) {
        my ($answer, $line) = lines_of($path, "Authorization: Bearer $token");
        is($answer->{status}, $path eq '/refused' ? 403 : 200, "$path: answered");

        is($line->{usual}, sprintf('user="%s" name="%s" list="%s" set="%s" reason="ok"', escaped($id),
            escaped($name), escaped("$name,b"), escaped($name)), "$path, the default format: escaped");
        is($line->{again}, $line->{usual}, "$path, the default format behind another: the same");

        my $fields = eval { $json->decode($line->{json}) };
        ok($fields, "$path, escape=json: a line is JSON") or diag($line->{json});
        is($fields->{name}, $name, "$path, escape=json: a claim's text");
        is($fields->{list}, "$name,b", "$path, escape=json: a claim's list");
        is($fields->{user}, $id, "$path, escape=json: the user");
        my $claims = eval { $json->decode(encode_utf8($fields->{claims} // '')) };
        is_deeply($claims, $raw, "$path, escape=json: all claims are a text that is JSON itself");
        is(decode_utf8($line->{none}), "user=[$id] name=[$name] set=[$name]", "$path, escape=none: as it is");
    }
}

sub of_a_session {
    my $id = qq{"ann" \\ \x{e9}};
    my $cookie = cookie(session => session(user => { id => $id }));
    my ($answer, $line) = lines_of('/verified', $cookie);
    is($answer->{status}, 200, 'a session: answered');
    is($line->{usual}, sprintf('user="%s" name="" list="" set="" reason="ok"', escaped($id)),
        'a session, the default format: escaped, and empty what is not known');
    is($line->{again}, $line->{usual}, 'a session, the default format behind another: the same');
    my $fields = eval { $json->decode($line->{json}) };
    is($fields->{user}, $id, 'a session, escape=json: the user');
    is_deeply([@{ $fields // {} }{qw(name list claims)}], ['', '', ''], 'a session, escape=json: what is empty');
}

sub of_nobody {
    my ($answer, $line) = lines_of('/verified');
    is($answer->{status}, 401, 'nobody: refused');
    is($line->{usual}, 'user="" name="" list="" set="" reason="no_credential"', 'nobody, the default format');
    is_deeply(eval { $json->decode($line->{json}) }, { map { $_ => '' } qw(user name list claims) },
        'nobody, escape=json');
    is($line->{none}, 'user=[] name=[] set=[]', 'nobody, escape=none');
}

# A subrequest that is logged reads the same values before the page goes on.
sub of_a_page_in_parts {
    my $token = token(user => 'ann', claims => { name => $name });
    my $answer = ask('GET /page.shtml', "Authorization: Bearer $token");
    is(decode_utf8($answer->{body}), "<$name> part\n <$name>\n", 'a part that is logged: the page shows the claim');
    my @lines = log_lines('parts.log', 2);
    is(scalar @lines, 2, 'a line of the part, and one of the page');
    is($_, sprintf('name="%s"', escaped($name)), 'both escaped') for @lines;
}

run_tests();

__DATA__

=== TEST 1: variables in the log
--- check
of_a_claim
of_a_session
of_nobody
of_a_page_in_parts
--- user_files
>>> page.shtml
<<!--# echo var="authgear_claim_name" encoding="none" -->> <!--# include virtual="/part.shtml" --> <<!--# echo var="authgear_claim_name" encoding="none" -->>
>>> part.shtml
part
--- http_config
authgear_project myapp {
    endpoint $TEST_NGINX_AUTHGEAR;
    resolve_request /_authgear/resolve;
}
authgear_claim_set $of_name name;
log_format usual 'user="$authgear_user_id" name="$authgear_claim_name" list="$authgear_claim_list" set="$of_name" reason="$authgear_reason"';
log_format json escape=json '{"user":"$authgear_user_id","name":"$authgear_claim_name","list":"$authgear_claim_list","claims":"$authgear_claims"}';
log_format none escape=none 'user=[$authgear_user_id] name=[$authgear_claim_name] set=[$of_name]';
log_format parts 'name="$authgear_claim_name"';
--- config
include $TEST_NGINX_RESOLVER;
access_log logs/usual.log usual;
access_log logs/json.log json;
access_log logs/none.log none;
access_log logs/again.log usual;
location = /verified {
    authgear_verify myapp;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /early {
    authgear_verify myapp;
    set $early $authgear_claim_name;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /refused {
    authgear_verify myapp;
    return 403;
}
location = /page.shtml {
    access_log logs/parts.log parts;
    authgear_verify myapp;
    ssi on;
    ssi_types *;
}
location = /part.shtml {
    access_log logs/parts.log parts;
    log_subrequest on;
}
