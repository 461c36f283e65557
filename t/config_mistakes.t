# Mistakes in the configuration stop `nginx -t`, each with a message that names
# the directive, what is wrong, what to write instead, and the line.
#
#   === name
#   the http block's text, whose first line is nginx.conf:1
#   --- emerg       the message that stops nginx
#   --- warn        a message that does not
#   --- fine        nothing is said

use strict;
use warnings;

use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Test::More;
use Test::Nginx::Authgear standin => 0;

$ENV{AUTHGEAR_TEST_DIR} ||= tempdir(CLEANUP => 1);
my $directory = "$ENV{AUTHGEAR_TEST_DIR}/config";

# What the cases name, in the folder of nginx.conf. The key is that of RFC 7517,
# appendix A.1, with another use.
my $key = '{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",'
    . '"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"KID"}';
my $hmac = '{"kty":"oct","k":"AAAA","kid":"secret"}';
my %files = (
    'jwks.json' => qq({"keys":[$key]}),
    'mixed.json' => qq({"keys":[$key,$hmac]}),
    'empty.json' => '{"keys":[]}',
    'list.json' => "[$key]",
    'text.json' => "keys:\n",
    'hmac.json' => qq({"keys":[$hmac]}),
    'many.json' => '{"keys":[' . join(',', map { $key =~ s/KID/$_/r } 1 .. 65) . ']}',
    'big.json' => qq({"keys":[$key]}) . ' ' x (256 * 1024),
    'key.pem' => "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    'junk.pem' => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    'project.conf' => "\nauthgear_project a {\n    endpoint;\n}\n",
    'endpoint.conf' => "endpoint https://a.example;\n",
    'leeway.conf' => "endpoint https://a.example;\nleeway 5sec;\n",
    'server.conf' => "\nserver {\n    authgear_verify nosuch;\n}\n",
);
make_path($directory);
while (my ($name, $content) = each %files) {
    open my $out, '>', "$directory/$name" or die "cannot write $directory/$name: $!\n";
    print {$out} $content;
    close $out;
}

my @cases = split /^=== /m, do { local $/; <DATA> };
shift @cases;
for my $case (@cases) {
    my ($name, $text, $kind, $rest) = $case =~ /\A(\N+)\n(.*?)^--- (emerg|warn|fine)\n(.*)\z/ms
        or die "not a case: $case\n";
    $rest =~ s/\s+\z//;

    $text =~ s/\\xff/\xff/g;
    my ($said, $status) = config_output($text);
    my @messages = $said =~ /^nginx: \[(?:emerg|warn|crit|alert|error)\] .*$/mg;
    my @wanted = $kind eq 'fine' ? () : ("nginx: [$kind] $rest");

    is_deeply([@messages, $status], [@wanted, $kind eq 'emerg' ? 1 : 0], $name)
        or diag($said);
}
done_testing();

__DATA__

=== endpoint: plain http off loopback
authgear_project a {
    endpoint http://a.example;
    leeway 5s;
}
--- emerg
authgear: "endpoint" has an invalid value "http://a.example": plain http is allowed for loopback only (localhost, 127.0.0.0/8, [::1]), write https:// in nginx.conf:2

=== endpoint: a path
authgear_project a {
    endpoint https://a.example/app;
}
--- emerg
authgear: "endpoint" has an invalid value "https://a.example/app": has a path, write only scheme, host and port in nginx.conf:2

=== endpoint: a query
authgear_project a {
    endpoint https://a.example?x=1;
}
--- emerg
authgear: "endpoint" has an invalid value "https://a.example?x=1": has a query, write only scheme, host and port in nginx.conf:2

=== endpoint: a fragment
authgear_project a {
    endpoint "https://a.example#x";
}
--- emerg
authgear: "endpoint" has an invalid value "https://a.example#x": has a fragment, leave out # and what follows in nginx.conf:2

=== endpoint: a user name
authgear_project a {
    endpoint https://me@a.example;
}
--- emerg
authgear: "endpoint" has an invalid value "https://me@a.example": has a user name before the host, leave it out in nginx.conf:2

=== endpoint: no scheme
authgear_project a {
    endpoint a.example;
}
--- emerg
authgear: "endpoint" has an invalid value "a.example": begins with neither https:// nor http://, write https:// before the host in nginx.conf:2

=== endpoint: another scheme
authgear_project a {
    endpoint ftp://a.example;
}
--- emerg
authgear: "endpoint" has an invalid value "ftp://a.example": begins with neither https:// nor http://, write https:// before the host in nginx.conf:2

=== endpoint: no host
authgear_project a {
    endpoint https://;
}
--- emerg
authgear: "endpoint" has an invalid value "https://": has no host, write one after :// in nginx.conf:2

=== endpoint: a port that cannot be
authgear_project a {
    endpoint https://a.example:99999;
}
--- emerg
authgear: "endpoint" has an invalid value "https://a.example:99999": has a port that is not a number from 1 to 65535 in nginx.conf:2

=== endpoint: a host that cannot be
authgear_project a {
    endpoint https://127.1;
}
--- emerg
authgear: "endpoint" has an invalid value "https://127.1": has a host that is neither a domain name, nor an IPv4 address, nor an IPv6 address in brackets in nginx.conf:2

=== endpoint: an international name
authgear_project a {
    endpoint https://zürich.example;
}
--- emerg
authgear: "endpoint" has an invalid value "https://zürich.example": has a character that may not stand there; write an international name in its xn-- form in nginx.conf:2

=== endpoint: twice
authgear_project a {
    endpoint https://a.example;
    endpoint https://b.example;
}
--- emerg
authgear: "endpoint" is duplicate in nginx.conf:3

=== endpoint: without a value
authgear_project a {
    endpoint;
}
--- emerg
authgear: "endpoint" has no value in nginx.conf:2

=== endpoint: two values
authgear_project a {
    endpoint https://a.example https://b.example;
}
--- emerg
authgear: "endpoint" takes one value, not 2 in nginx.conf:2

=== endpoint: an unfinished variable
authgear_project a {
    endpoint "https://${tenant";
}
--- emerg
the closing bracket in "tenant" variable is missing in nginx.conf:2

=== endpoint: an unknown variable
authgear_project a {
    endpoint https://$tenant.example;
}
--- emerg
unknown "tenant" variable

=== endpoint: a variable for all of it, and http for what may be loopback
authgear_project a {
    endpoint $arg_endpoint;
}
authgear_project b {
    endpoint http://$host;
}
--- fine

=== endpoint: missing
authgear_project a {
    leeway 5s;
}
--- emerg
authgear: "authgear_project" "a" has no "endpoint"; add "endpoint https://myapp.authgear.cloud;", or "issuer", "audience" and "jwks_uri" or "jwks_file" in nginx.conf:3

=== endpoint: missing, and no audience
authgear_project a {
    issuer https://a.example;
    jwks_uri https://a.example/oauth2/jwks;
}
--- emerg
authgear: "authgear_project" "a" has no "endpoint"; add "endpoint https://myapp.authgear.cloud;", or "issuer", "audience" and "jwks_uri" or "jwks_file" in nginx.conf:4

=== endpoint: not needed beside keys, issuer and audience
authgear_project a {
    issuer https://a.example;
    audience https://api.example;
    jwks_uri https://a.example/oauth2/jwks;
}
--- fine

=== endpoint: http on loopback
authgear_project a { endpoint http://localhost:4000; }
authgear_project b { endpoint http://127.0.0.9; }
authgear_project c { endpoint http://[::1]:4000/; }
--- fine

=== internal_endpoint: without the public one
authgear_project a {
    internal_endpoint http://authgear:3000;
    issuer https://a.example;
    audience https://a.example;
    jwks_uri https://a.example/oauth2/jwks;
}
--- emerg
authgear: "authgear_project" "a" has an "internal_endpoint" but no "endpoint"; add the public one, whose name requests must carry in nginx.conf:6

=== internal_endpoint: a path
authgear_project a {
    endpoint https://a.example;
    internal_endpoint http://authgear:3000/resolve;
}
--- emerg
authgear: "internal_endpoint" has an invalid value "http://authgear:3000/resolve": has a path, write only scheme, host and port in nginx.conf:3

=== internal_endpoint: no scheme
authgear_project a {
    endpoint https://a.example;
    internal_endpoint authgear:3000;
}
--- emerg
authgear: "internal_endpoint" has an invalid value "authgear:3000": begins with neither https:// nor http://, write https:// before the host in nginx.conf:3

=== internal_endpoint: a variable
authgear_project a {
    endpoint https://a.example;
    internal_endpoint http://$host;
}
--- emerg
authgear: "internal_endpoint" cannot hold variables, as "http://$host" does in nginx.conf:3

=== internal_endpoint: http, and a name as container networks have them
authgear_project a {
    endpoint https://a.example;
    internal_endpoint http://auth_gear:3000;
}
--- fine

=== issuer: empty
authgear_project a {
    endpoint https://a.example;
    issuer "";
}
--- emerg
authgear: "issuer" has an empty parameter, which no token can match in nginx.conf:3

=== issuer: a variable
authgear_project a {
    endpoint https://$host;
    issuer https://$host;
}
--- emerg
authgear: "issuer" cannot hold variables, as "https://$host" does in nginx.conf:3

=== audience: empty
authgear_project a {
    endpoint https://a.example;
    audience https://api.example "";
}
--- emerg
authgear: "audience" has an empty parameter, which no token can match in nginx.conf:3

=== audience: without a value
authgear_project a {
    endpoint https://a.example;
    audience;
}
--- emerg
authgear: "audience" has no value in nginx.conf:3

=== client_id: a variable
authgear_project a {
    endpoint https://a.example;
    client_id $client;
}
--- emerg
authgear: "client_id" cannot hold variables, as "$client" does in nginx.conf:3

=== token_type: unknown
authgear_project a {
    endpoint https://a.example;
    token_type m2m;
}
--- emerg
authgear: "token_type" must be "user", "client" or "any", not "m2m" in nginx.conf:3

=== token_type: two of them
authgear_project a {
    endpoint https://a.example;
    token_type user client;
}
--- emerg
authgear: "token_type" takes one value, not 2 in nginx.conf:3

=== algorithms: HMAC
authgear_project a {
    endpoint https://a.example;
    algorithms RS256 HS256;
}
--- emerg
authgear: "algorithms" cannot be "HS256"; it may be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA in nginx.conf:3

=== algorithms: none
authgear_project a {
    endpoint https://a.example;
    algorithms none;
}
--- emerg
authgear: "algorithms" cannot be "none"; it may be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA in nginx.conf:3

=== algorithms: in lower case
authgear_project a {
    endpoint https://a.example;
    algorithms rs256;
}
--- emerg
authgear: "algorithms" cannot be "rs256"; it may be RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA in nginx.conf:3

=== algorithms: all that there are
authgear_project a {
    endpoint https://a.example;
    algorithms RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA;
}
--- fine

=== typ: off with another
authgear_project a {
    endpoint https://a.example;
    typ at+jwt off;
}
--- emerg
authgear: "typ" is "off" and something else; write "typ off;" or a list in nginx.conf:3

=== typ: empty
authgear_project a {
    endpoint https://a.example;
    typ "";
}
--- emerg
authgear: "typ" has an empty parameter, which no token can match in nginx.conf:3

=== jwks_uri: no URL
authgear_project a {
    endpoint https://a.example;
    jwks_uri /oauth2/jwks;
}
--- emerg
authgear: "jwks_uri" has an invalid value "/oauth2/jwks": begins with neither https:// nor http://, write https:// before the host in nginx.conf:3

=== jwks_uri: a fragment
authgear_project a {
    endpoint https://a.example;
    jwks_uri https://a.example/oauth2/jwks#1;
}
--- emerg
authgear: "jwks_uri" has an invalid value "https://a.example/oauth2/jwks#1": has a fragment, leave out # and what follows in nginx.conf:3

=== jwks_uri: a variable
authgear_project a {
    endpoint https://$host;
    jwks_uri https://a.example/$host/jwks;
}
--- emerg
authgear: "jwks_uri" cannot hold variables, as "https://a.example/$host/jwks" does in nginx.conf:3

=== jwks_uri: plain http off loopback is a warning
authgear_project a {
    endpoint https://a.example;
    jwks_uri http://a.example/oauth2/jwks;
}
--- warn
authgear: "jwks_uri" "http://a.example/oauth2/jwks" is plain http: whoever is on the way can replace the keys; use https in nginx.conf:3

=== jwks_uri: plain http on loopback is none
authgear_project a {
    endpoint https://a.example;
    jwks_uri http://127.0.0.1:4000/oauth2/jwks;
}
--- fine

=== jwks_file: not there
authgear_project a {
    endpoint https://a.example;
    jwks_file nosuch.json;
}
--- emerg
authgear: "jwks_file" cannot read "nosuch.json": No such file or directory (os error 2) in nginx.conf:3

=== jwks_file: not JSON
authgear_project a {
    endpoint https://a.example;
    jwks_file text.json;
}
--- emerg
authgear: "jwks_file" "text.json": not JSON at line 1, column 1 in nginx.conf:3

=== jwks_file: JSON, but no key set
authgear_project a {
    endpoint https://a.example;
    jwks_file list.json;
}
--- emerg
authgear: "jwks_file" "list.json": no key set: a JSON object with an array "keys" is needed in nginx.conf:3

=== jwks_file: no key
authgear_project a {
    endpoint https://a.example;
    jwks_file empty.json;
}
--- emerg
authgear: "jwks_file" "empty.json": no usable key in the key set in nginx.conf:3

=== jwks_file: no usable key
authgear_project a {
    endpoint https://a.example;
    jwks_file hmac.json;
}
--- emerg
authgear: "jwks_file" "hmac.json": no usable key in the key set: key "secret" skipped: unknown key type "oct" in nginx.conf:3

=== jwks_file: too many keys
authgear_project a {
    endpoint https://a.example;
    jwks_file many.json;
}
--- emerg
authgear: "jwks_file" "many.json": key set of 65 keys, at most 64 are allowed in nginx.conf:3

=== jwks_file: too large
authgear_project a {
    endpoint https://a.example;
    jwks_file big.json;
}
--- emerg
authgear: "jwks_file" "big.json": key set of more than 256 KiB in nginx.conf:3

=== jwks_file: a key that is skipped is a warning
authgear_project a {
    endpoint https://a.example;
    jwks_file mixed.json;
}
--- warn
authgear: "jwks_file" "mixed.json": key "secret" skipped: unknown key type "oct" in nginx.conf:3

=== jwks_file: beside jwks_uri
authgear_project a {
    endpoint https://a.example;
    jwks_file jwks.json;
    jwks_uri https://a.example/oauth2/jwks;
}
--- emerg
authgear: "authgear_project" "a" has both "jwks_file" and "jwks_uri", but keys from a file are never fetched; remove one in nginx.conf:5

=== jwks_file: beside what is about fetching
authgear_project a {
    endpoint https://a.example;
    fetch_timeout 5s;
    jwks_file jwks.json;
}
--- emerg
authgear: "authgear_project" "a" has both "jwks_file" and "fetch_timeout", but keys from a file are never fetched; remove one in nginx.conf:5

=== jwks_file: beside internal_endpoint
authgear_project a {
    endpoint https://a.example;
    internal_endpoint http://authgear:3000;
    jwks_file jwks.json;
}
--- emerg
authgear: "authgear_project" "a" has both "jwks_file" and "internal_endpoint", but keys from a file are never fetched; remove one in nginx.conf:5

=== jwks_file: usable, and no endpoint
authgear_project a {
    issuer https://a.example;
    audience https://api.example;
    jwks_file jwks.json;
}
--- fine

=== jwks_refresh: 0
authgear_project a {
    endpoint https://a.example;
    jwks_refresh 0;
}
--- emerg
authgear: "jwks_refresh" must be more than 0 in nginx.conf:3

=== jwks_stale: no time
authgear_project a {
    endpoint https://a.example;
    jwks_stale forever;
}
--- emerg
authgear: "jwks_stale" has an invalid time "forever"; write it as "500ms", "5s" or "10m" in nginx.conf:3

=== jwks_stale: 0 means never
authgear_project a {
    endpoint https://a.example;
    jwks_stale 0;
}
--- fine

=== jwks_min_interval: under a second
authgear_project a {
    endpoint https://a.example;
    jwks_min_interval 999ms;
}
--- emerg
authgear: "jwks_min_interval" must be at least 1s, not "999ms" in nginx.conf:3

=== jwks_min_interval: 0
authgear_project a {
    endpoint https://a.example;
    jwks_min_interval 0;
}
--- emerg
authgear: "jwks_min_interval" must be at least 1s, not "0" in nginx.conf:3

=== fetch_timeout: 0
authgear_project a {
    endpoint https://a.example;
    fetch_timeout 0s;
}
--- emerg
authgear: "fetch_timeout" must be more than 0 in nginx.conf:3

=== fetch_timeout: an unknown unit
authgear_project a {
    endpoint https://a.example;
    fetch_timeout 5sec;
}
--- emerg
authgear: "fetch_timeout" has an invalid time "5sec"; write it as "500ms", "5s" or "10m" in nginx.conf:3

=== fetch_timeout: twice
authgear_project a {
    endpoint https://a.example;
    fetch_timeout 5s;
    fetch_timeout 6s;
}
--- emerg
authgear: "fetch_timeout" is duplicate in nginx.conf:4

=== leeway: negative
authgear_project a {
    endpoint https://a.example;
    leeway -5s;
}
--- emerg
authgear: "leeway" has an invalid time "-5s"; write it as "500ms", "5s" or "10m" in nginx.conf:3

=== leeway: empty
authgear_project a {
    endpoint https://a.example;
    leeway "";
}
--- emerg
authgear: "leeway" has an invalid time ""; write it as "500ms", "5s" or "10m" in nginx.conf:3

=== cookie_prefix: what no cookie name may hold
authgear_project a {
    endpoint https://a.example;
    cookie_prefix "my app_";
}
--- emerg
authgear: "cookie_prefix" has an invalid value "my app_": a cookie name may hold letters, digits and !#$%&'*+-.^_`|~ only in nginx.conf:3

=== ssl_trusted_certificate: not there
authgear_project a {
    endpoint https://a.example;
    ssl_trusted_certificate nosuch.pem;
}
--- emerg
authgear: "ssl_trusted_certificate" cannot read "nosuch.pem": No such file or directory (os error 2) in nginx.conf:3

=== ssl_trusted_certificate: a key
authgear_project a {
    endpoint https://a.example;
    ssl_trusted_certificate key.pem;
}
--- emerg
authgear: "ssl_trusted_certificate" "key.pem": no CA certificate in PEM form in nginx.conf:3

=== ssl_trusted_certificate: no certificate in a certificate's place
authgear_project a {
    endpoint https://a.example;
    ssl_trusted_certificate junk.pem;
}
--- emerg
authgear: "ssl_trusted_certificate" "junk.pem": CA certificate number 1 is not an X.509 certificate in nginx.conf:3

=== state_path: twice
authgear_project a {
    endpoint https://a.example;
    state_path off;
    state_path off;
}
--- emerg
authgear: "state_path" is duplicate in nginx.conf:4

=== state_path: empty
authgear_project a {
    endpoint https://a.example;
    state_path "";
}
--- emerg
authgear: "state_path" has an empty parameter; name a folder, or write "state_path off;" in nginx.conf:3

=== state_path: a variable
authgear_project a {
    endpoint https://$host;
    state_path keys/$host;
}
--- emerg
authgear: "state_path" cannot hold variables, as "keys/$host" does in nginx.conf:3

=== authgear_project: named off
authgear_project off {
    endpoint https://a.example;
}
--- emerg
authgear: "authgear_project" cannot be named "off"; use letters, digits, "_", "-" and ".", not "off" in nginx.conf:1

=== authgear_project: a blank in the name
authgear_project "my app" {
    endpoint https://a.example;
}
--- emerg
authgear: "authgear_project" cannot be named "my app"; use letters, digits, "_", "-" and ".", not "off" in nginx.conf:1

=== authgear_project: a variable for a name
authgear_project $host {
    endpoint https://a.example;
}
--- emerg
authgear: "authgear_project" cannot be named "$host"; use letters, digits, "_", "-" and ".", not "off" in nginx.conf:1

=== authgear_project: without a name
authgear_project {
    endpoint https://a.example;
}
--- emerg
invalid number of arguments in "authgear_project" directive in nginx.conf:1

=== authgear_project: two names
authgear_project a b {
    endpoint https://a.example;
}
--- emerg
invalid number of arguments in "authgear_project" directive in nginx.conf:1

=== authgear_project: without a block
authgear_project a;
--- emerg
directive "authgear_project" has no opening "{" in nginx.conf:1

=== authgear_project: twice
authgear_project a {
    endpoint https://a.example;
}
authgear_project a {
    endpoint https://b.example;
}
--- emerg
authgear: "authgear_project" "a" is duplicate in nginx.conf:4

=== authgear_project: in a server
server {
    authgear_project a {
        endpoint https://a.example;
    }
}
--- emerg
"authgear_project" directive is not allowed here in nginx.conf:2

=== authgear_project: an unknown directive in it
authgear_project a {
    endpoint https://a.example;
    authgear_verify a;
}
--- emerg
authgear: "authgear_verify" is unknown in "authgear_project", which takes endpoint, internal_endpoint, issuer, audience, client_id, token_type, algorithms, typ, jwks_uri, jwks_file, jwks_refresh, jwks_stale, jwks_min_interval, fetch_timeout, leeway, cookie_prefix, resolve_request, resolve_cache, recheck, ssl_trusted_certificate, state_path in nginx.conf:3

=== authgear_project: a block in it
authgear_project a {
    endpoint https://a.example;
    keys {
    }
}
--- emerg
unexpected "{" in nginx.conf:3

=== authgear_project: a semicolon forgotten
authgear_project a {
    endpoint https://a.example
}
--- emerg
unexpected "}" in nginx.conf:3

=== authgear_project: an included file is named
include project.conf;
--- emerg
authgear: "endpoint" has no value in project.conf:3

=== authgear_token_cache: 0
authgear_token_cache 0;
--- emerg
authgear: "authgear_token_cache" cannot be 0; write "authgear_token_cache off;" in nginx.conf:1

=== authgear_token_cache: a negative number
authgear_token_cache -1;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "-1" in nginx.conf:1

=== authgear_token_cache: a number with a sign
authgear_token_cache +1;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "+1" in nginx.conf:1

=== authgear_token_cache: no number
authgear_token_cache on;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "on" in nginx.conf:1

=== authgear_token_cache: a size
authgear_token_cache 4k;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "4k" in nginx.conf:1

=== authgear_token_cache: too large a number
authgear_token_cache 1048577;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "1048577" in nginx.conf:1

=== authgear_token_cache: a number beyond all numbers
authgear_token_cache 99999999999999999999;
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "99999999999999999999" in nginx.conf:1

=== authgear_token_cache: empty
authgear_token_cache "";
--- emerg
authgear: "authgear_token_cache" must be a number of tokens from 1 to 1048576, or "off", not "" in nginx.conf:1

=== authgear_token_cache: twice
authgear_token_cache 16;
authgear_token_cache off;
--- emerg
authgear: "authgear_token_cache" is duplicate; one number serves all projects in nginx.conf:2

=== authgear_token_cache: two numbers
authgear_token_cache 16 16;
--- emerg
invalid number of arguments in "authgear_token_cache" directive in nginx.conf:1

=== authgear_token_cache: the most
authgear_token_cache 1048576;
--- fine

=== authgear_shared_zone: without a size
authgear_shared_zone zone=authgear;
--- emerg
authgear: "authgear_shared_zone" has no size in "zone=authgear"; write "authgear_shared_zone zone=authgear:1m;" in nginx.conf:1

=== authgear_shared_zone: an empty size
authgear_shared_zone zone=authgear:;
--- emerg
authgear: "authgear_shared_zone" has an invalid size ""; write "authgear_shared_zone zone=authgear:1m;" in nginx.conf:1

=== authgear_shared_zone: no size
authgear_shared_zone zone=authgear:large;
--- emerg
authgear: "authgear_shared_zone" has an invalid size "large"; write "authgear_shared_zone zone=authgear:1m;" in nginx.conf:1

=== authgear_shared_zone: without a name
authgear_shared_zone zone=:1m;
--- emerg
authgear: "authgear_shared_zone" has no name in "zone=:1m"; write "authgear_shared_zone zone=authgear:1m;" in nginx.conf:1

=== authgear_shared_zone: without zone=
authgear_shared_zone authgear:1m;
--- emerg
authgear: "authgear_shared_zone" has an invalid parameter "authgear:1m"; write "authgear_shared_zone zone=authgear:1m;" in nginx.conf:1

=== authgear_shared_zone: too small
authgear_shared_zone zone=authgear:511k;
--- emerg
authgear: "authgear_shared_zone" zone "authgear" is too small with 511k; the least is 512k in nginx.conf:1

=== authgear_shared_zone: the least
authgear_shared_zone zone=authgear:512k;
--- fine

=== authgear_shared_zone: twice
authgear_shared_zone zone=one:1m;
authgear_shared_zone zone=two:1m;
--- emerg
authgear: "authgear_shared_zone" is duplicate; one zone serves all projects in nginx.conf:2

=== authgear_shared_zone: the name of another module's zone
limit_req_zone $host zone=taken:1m rate=1r/s;
authgear_shared_zone zone=taken:1m;
--- emerg
the shared memory zone "taken" is already declared for a different use in nginx.conf:2

=== authgear_shared_zone: in a server
server {
    authgear_shared_zone zone=authgear:1m;
}
--- emerg
"authgear_shared_zone" directive is not allowed here in nginx.conf:2

=== authgear_shared_zone: made by default where keys are fetched
authgear_project a {
    issuer https://a.example;
    audience https://a.example;
    jwks_file jwks.json;
}
limit_req_zone $host zone=authgear:1m rate=1r/s;
--- fine

=== authgear_shared_zone: made by default, unless its name is taken
limit_req_zone $host zone=authgear:1m rate=1r/s;
authgear_project a {
    endpoint https://a.example;
}
--- emerg
authgear: the zone "authgear" is another module's; name one with "authgear_shared_zone zone=authgear_keys:1m;"

=== authgear_shared_zone: another name leaves the default's free
limit_req_zone $host zone=authgear:1m rate=1r/s;
authgear_project a {
    endpoint https://a.example;
}
authgear_shared_zone zone=authgear_keys:1m;
--- fine

=== authgear_verify: unknown project
server {
    location / {
        authgear_verify nosuch;
    }
}
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in nginx.conf:3

=== authgear_verify: unknown project, and others that stand behind
server {
    authgear_verify nosuch optional;
    location / {
        authgear_verify a;
    }
}
authgear_project a {
    endpoint https://a.example;
}
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in nginx.conf:2

=== authgear_verify: unknown project at the http level
authgear_verify nosuch;
server {
    location / {
    }
}
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in nginx.conf:1

=== authgear_verify: unknown project that no server inherits
authgear_verify nosuch;
server {
    authgear_verify off;
}
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in nginx.conf:1

=== authgear_verify: unknown project in an if
server {
    location / {
        if ($arg_x) {
            authgear_verify nosuch;
        }
    }
}
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in nginx.conf:4

=== authgear_verify: unknown project in an included file
include server.conf;
--- emerg
authgear: "authgear_verify" names no project "nosuch"; add "authgear_project nosuch { endpoint https://...; }" to the http block in server.conf:3

=== authgear_verify: case matters
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify A;
}
--- emerg
authgear: "authgear_verify" names no project "A"; add "authgear_project A { endpoint https://...; }" to the http block in nginx.conf:5

=== authgear_verify: a mode where the project belongs
server {
    authgear_verify optional;
}
--- emerg
authgear: "authgear_verify" has a mode but no project; write "authgear_verify myapp optional;" in nginx.conf:2

=== authgear_verify: empty
server {
    authgear_verify "";
}
--- emerg
authgear: "authgear_verify" names no project; write "authgear_verify myapp;" or "authgear_verify off;" in nginx.conf:2

=== authgear_verify: unknown mode
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a strict;
}
--- emerg
authgear: "authgear_verify" has an unknown mode "strict"; it must be "required", "optional" or "observe" in nginx.conf:5

=== authgear_verify: unknown mode beside a variable
server {
    authgear_verify $host off;
}
--- emerg
authgear: "authgear_verify" has an unknown mode "off"; it must be "required", "optional" or "observe" in nginx.conf:2

=== authgear_verify: off with a mode
server {
    authgear_verify off observe;
}
--- emerg
authgear: "authgear_verify" is "off" and cannot be "observe" too; write "authgear_verify off;" in nginx.conf:2

=== authgear_verify: two modes
server {
    authgear_verify a optional observe;
}
--- emerg
authgear: "authgear_verify" takes a project and at most one mode in nginx.conf:2

=== authgear_verify: without a project
server {
    authgear_verify;
}
--- emerg
invalid number of arguments in "authgear_verify" directive in nginx.conf:2

=== authgear_verify: an unknown variable
server {
    authgear_verify $authgear_project;
}
--- emerg
unknown "authgear_project" variable

=== authgear_verify: twice in http
authgear_verify off;
authgear_verify off;
--- emerg
authgear: "authgear_verify" is duplicate in nginx.conf:2

=== authgear_verify: twice in a server
server {
    authgear_verify off;
    authgear_verify off;
}
--- emerg
authgear: "authgear_verify" is duplicate in nginx.conf:3

=== authgear_verify: twice in a location
server {
    location / {
        authgear_verify off;
        authgear_verify off;
    }
}
--- emerg
authgear: "authgear_verify" is duplicate in nginx.conf:4

=== authgear_verify: twice in an if
server {
    location / {
        if ($arg_x) {
            authgear_verify off;
            authgear_verify off;
        }
    }
}
--- emerg
authgear: "authgear_verify" is duplicate in nginx.conf:5

=== authgear_verify: twice in a limit_except
server {
    location / {
        limit_except GET {
            authgear_verify off;
            authgear_verify off;
        }
    }
}
--- emerg
authgear: "authgear_verify" is duplicate in nginx.conf:5

=== authgear_verify: in an if of a server
server {
    if ($arg_x) {
        authgear_verify off;
    }
}
--- emerg
"authgear_verify" directive is not allowed here in nginx.conf:3

=== authgear_verify: at every level, in every form
map $host $project {
    default a;
}
authgear_project a {
    endpoint https://a.example;
}
authgear_verify a;
server {
    authgear_verify $project;
    location / {
        authgear_verify a optional;
        if ($arg_x) {
            authgear_verify $project observe;
        }
        limit_except GET {
            authgear_verify a required;
        }
    }
    location /public/ {
        authgear_verify off;
    }
}
--- fine

=== authgear_verify: the project may stand behind the server
server {
    location / {
        authgear_verify a;
    }
}
authgear_project a {
    endpoint https://a.example;
}
--- fine

=== authgear_verify: many projects
authgear_project a { endpoint https://a.example; }
authgear_project A { endpoint https://a.example; }
authgear_project b.example-2_x { endpoint https://b.example:8443; }
authgear_project 3 { endpoint https://$host; }
server {
    location /a { authgear_verify a; }
    location /A { authgear_verify A; }
    location /b { authgear_verify b.example-2_x; }
    location /3 { authgear_verify 3; }
}
--- fine

=== authgear_pass_headers: neither on nor off
server {
    authgear_pass_headers yes;
}
--- emerg
authgear: "authgear_pass_headers" must be "on" or "off", not "yes" in nginx.conf:2

=== authgear_pass_headers: a variable
server {
    authgear_pass_headers $host;
}
--- emerg
authgear: "authgear_pass_headers" must be "on" or "off", not "$host" in nginx.conf:2

=== authgear_pass_headers: two values
server {
    authgear_pass_headers on off;
}
--- emerg
authgear: "authgear_pass_headers" takes one parameter, "on" or "off" in nginx.conf:2

=== authgear_pass_headers: without a value
server {
    authgear_pass_headers;
}
--- emerg
invalid number of arguments in "authgear_pass_headers" directive in nginx.conf:2

=== authgear_pass_headers: twice
server {
    location / {
        authgear_pass_headers on;
        authgear_pass_headers on;
    }
}
--- emerg
authgear: "authgear_pass_headers" is duplicate in nginx.conf:4

=== a parameter that is not UTF-8
authgear_project a {
    endpoint https://a.example;
    issuer "\xff";
}
--- emerg
authgear: "issuer" has a parameter that is not UTF-8 in nginx.conf:3

=== resolve_request: no URI
authgear_project a {
    endpoint https://a.example;
    resolve_request https://a.example/_resolver/resolve;
}
--- emerg
authgear: "resolve_request" must be the URI of an internal location such as "/_authgear/resolve", or "off", not "https://a.example/_resolver/resolve" in nginx.conf:3

=== resolve_request: beside token_type client
authgear_project a {
    endpoint https://a.example;
    token_type client;
    resolve_request /_authgear/resolve;
}
--- emerg
authgear: "authgear_project" "a" has "resolve_request" and "token_type client", but the resolver knows users only; remove one in nginx.conf:5

=== resolve_cache: nobody to ask
authgear_project a {
    endpoint https://a.example;
    resolve_cache 10s;
}
--- emerg
authgear: "authgear_project" "a" has "resolve_cache" but nobody to ask; add "resolve_request /_authgear/resolve;" and that location in nginx.conf:4

=== resolve_cache: 0
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    resolve_cache 0;
}
--- emerg
authgear: "resolve_cache" must be more than 0 in nginx.conf:4

=== recheck: nobody to ask
authgear_project a {
    endpoint https://a.example;
    recheck 30s;
    resolve_request off;
}
--- emerg
authgear: "authgear_project" "a" has "recheck" but nobody to ask; add "resolve_request /_authgear/resolve;" and that location in nginx.conf:5

=== recheck: an unknown word
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    recheck 30s always;
}
--- emerg
authgear: "recheck" must be a time, a time and "strict", or "off"; write it as "recheck 30s;" or "recheck 30s strict;" in nginx.conf:4

=== recheck: off and strict
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    recheck off strict;
}
--- emerg
authgear: "recheck" must be a time, a time and "strict", or "off"; write it as "recheck 30s;" or "recheck 30s strict;" in nginx.conf:4

=== resolve_request, resolve_cache and recheck
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    resolve_cache 10s;
    recheck 30s strict;
}
--- fine

=== endpoint: a path behind a variable
authgear_project a {
    endpoint https://$host/app;
}
--- emerg
authgear: "endpoint" has an invalid value "https://$host/app": has a path, write only scheme, host and port in nginx.conf:2

=== endpoint: another scheme before a variable
authgear_project a {
    endpoint ftp://$host;
}
--- emerg
authgear: "endpoint" has an invalid value "ftp://$host": begins with neither https:// nor http://, write https:// before the host in nginx.conf:2

=== endpoint: a variable for all of it, and http for what may be loopback
authgear_project a {
    endpoint $arg_endpoint;
}
authgear_project b {
    endpoint http://$host;
}
--- fine

=== cookie_prefix: a variable
authgear_project a {
    endpoint https://a.example;
    cookie_prefix $host;
}
--- emerg
authgear: "cookie_prefix" cannot hold variables, as "$host" does in nginx.conf:3

=== authgear_project: includes a file, as nginx's own blocks do
authgear_project a {
    include endpoint.conf;
}
--- fine

=== authgear_project: a mistake in a file that it includes
authgear_project a {
    include leeway.conf;
}
--- emerg
authgear: "leeway" has an invalid time "5sec"; write it as "500ms", "5s" or "10m" in leeway.conf:2

=== recheck: too many values
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
    recheck 30s strict 30s;
}
--- emerg
authgear: "recheck" must be a time, a time and "strict", or "off"; write it as "recheck 30s;" or "recheck 30s strict;" in nginx.conf:4

=== authgear_require: text in place of a variable
server {
    authgear_require admin;
}
--- emerg
authgear: "authgear_require" must hold variables, such as "$authgear_claim_department", and "admin" is none in nginx.conf:2

=== authgear_require: empty
server {
    authgear_require "";
}
--- emerg
authgear: "authgear_require" must hold variables, such as "$authgear_claim_department", and "" is none in nginx.conf:2

=== authgear_require: another status
server {
    authgear_require $arg_a error=400;
}
--- emerg
authgear: "authgear_require" must have "error=401" or "error=403", not "error=400" in nginx.conf:2

=== authgear_require: a status and no value
server {
    authgear_require error=401;
}
--- emerg
authgear: "authgear_require" has no value; write "authgear_require $value error=401;" in nginx.conf:2

=== authgear_require: the status before the value
server {
    authgear_require error=401 $arg_a;
}
--- emerg
authgear: "authgear_require" must have "error=401" or "error=403" once, behind its values in nginx.conf:2

=== authgear_require: two statuses
server {
    authgear_require $arg_a error=401 error=403;
}
--- emerg
authgear: "authgear_require" must have "error=401" or "error=403" once, behind its values in nginx.conf:2

=== authgear_require: off behind a value
server {
    authgear_require $arg_a;
    authgear_require off;
}
--- emerg
authgear: "authgear_require" is "off" and something else; remove one in nginx.conf:3

=== authgear_require: a value behind off
server {
    authgear_require off;
    authgear_require $arg_a;
}
--- emerg
authgear: "authgear_require" is "off" and something else; remove one in nginx.conf:3

=== authgear_require: off among values
server {
    authgear_require $arg_a off;
}
--- emerg
authgear: "authgear_require" is "off" and something else; remove one in nginx.conf:2

=== authgear_require: off twice
server {
    authgear_require off;
    authgear_require off;
}
--- emerg
authgear: "authgear_require" is duplicate in nginx.conf:3

=== authgear_require: an unknown variable
server {
    authgear_require $nosuch;
}
--- emerg
unknown "nosuch" variable

=== authgear_require: without a value
server {
    authgear_require;
}
--- emerg
invalid number of arguments in "authgear_require" directive in nginx.conf:2

=== authgear_require: in an if of a server
server {
    if ($arg_x) {
        authgear_require $arg_a;
    }
}
--- emerg
"authgear_require" directive is not allowed here in nginx.conf:3

=== authgear_require: where nobody is verified
server {
    location / {
        authgear_require $arg_a;
    }
}
--- emerg
authgear: "authgear_require" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_role: a comma
server {
    authgear_require_role admin,owner;
}
--- emerg
authgear: "authgear_require_role" has a role with a comma, "admin,owner"; separate roles by spaces, and any of them is enough in nginx.conf:2

=== authgear_require_role: a control character
server {
    authgear_require_role "ad	min";
}
--- emerg
authgear: "authgear_require_role" has a role with a control character, "ad\tmin", which no token can hold in nginx.conf:2

=== authgear_require_role: empty
server {
    authgear_require_role admin "";
}
--- emerg
authgear: "authgear_require_role" has an empty parameter, which no token can match in nginx.conf:2

=== authgear_require_role: a variable
server {
    authgear_require_role $arg_role;
}
--- emerg
authgear: "authgear_require_role" cannot hold variables, as "$arg_role" does in nginx.conf:2

=== authgear_require_role: off and another
server {
    authgear_require_role admin off;
}
--- emerg
authgear: "authgear_require_role" is "off" and something else; remove one in nginx.conf:2

=== authgear_require_role: twice
server {
    authgear_require_role admin;
    authgear_require_role owner;
}
--- emerg
authgear: "authgear_require_role" is duplicate in nginx.conf:3

=== authgear_require_role: without a role
server {
    authgear_require_role;
}
--- emerg
invalid number of arguments in "authgear_require_role" directive in nginx.conf:2

=== authgear_require_role: where nobody is verified
server {
    location / {
        authgear_require_role admin;
    }
}
--- emerg
authgear: "authgear_require_role" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_role: where authgear_verify is off
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a;
    location / {
        authgear_verify off;
        authgear_require_role admin;
    }
}
--- emerg
authgear: "authgear_require_role" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:8

=== authgear_require_role: where nobody is verified, in an if
server {
    location / {
        if ($arg_x) {
            authgear_require_role admin;
        }
    }
}
--- emerg
authgear: "authgear_require_role" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:4

=== authgear_require_role: where nobody is verified, in a limit_except
server {
    location / {
        limit_except GET {
            authgear_require_role admin;
        }
    }
}
--- emerg
authgear: "authgear_require_role" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:4

=== authgear_require_role: where nobody is verified, in a named location
server {
    location @a {
        authgear_require_role admin;
    }
}
--- emerg
authgear: "authgear_require_role" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_role: of a server, and a location where nobody is verified
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_require_role admin;
    location / {
    }
    location /a {
        authgear_verify a;
    }
}
--- warn
authgear: "authgear_require_role" is not asked in location "/", since nobody is verified there; add "authgear_verify myapp;", or "authgear_verify off;" if that is meant in nginx.conf:5

=== authgear_require_role: of a location that verifies nobody itself
authgear_project a {
    endpoint https://a.example;
}
server {
    location / {
        authgear_require_role admin;
        location /a {
            authgear_verify a;
        }
    }
}
--- warn
authgear: "authgear_require_role" is not asked in location "/", since nobody is verified there; add "authgear_verify myapp;", or "authgear_verify off;" if that is meant in nginx.conf:6

=== authgear_require_role: of a server, and all that is open says so
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_require_role admin;
    location / {
        authgear_verify a;
    }
    location /public {
        authgear_verify off;
    }
    location /free {
        authgear_require_role off;
    }
    location /internal {
        internal;
    }
    location @named {
    }
}
--- fine

=== authgear_require_role: of clients
authgear_project a {
    endpoint https://a.example;
    token_type client;
}
server {
    authgear_require_role admin;
    location / {
        authgear_verify a;
    }
}
--- emerg
authgear: "authgear_verify" names the project "a" of "token_type client", but "authgear_require_role" asks for what only users have; remove one in nginx.conf:8

=== authgear_require_role: of clients, taken back
authgear_project a {
    endpoint https://a.example;
    token_type client;
}
server {
    authgear_require_role admin;
    location / {
        authgear_verify a;
        authgear_require_role off;
    }
}
--- fine

=== authgear_require_scope: a blank
server {
    authgear_require_scope "read write";
}
--- emerg
authgear: "authgear_require_scope" has a scope that no token can hold, "read write"; separate scopes by spaces, and all of them are needed in nginx.conf:2

=== authgear_require_scope: a quote
server {
    authgear_require_scope 'read"all';
}
--- emerg
authgear: "authgear_require_scope" has a scope that no token can hold, "read"all"; separate scopes by spaces, and all of them are needed in nginx.conf:2

=== authgear_require_scope: a backslash
server {
    authgear_require_scope 'read\\all';
}
--- emerg
authgear: "authgear_require_scope" has a scope that no token can hold, "read\all"; separate scopes by spaces, and all of them are needed in nginx.conf:2

=== authgear_require_scope: not ASCII
server {
    authgear_require_scope lesen:ü;
}
--- emerg
authgear: "authgear_require_scope" has a scope that no token can hold, "lesen:ü"; separate scopes by spaces, and all of them are needed in nginx.conf:2

=== authgear_require_scope: empty
server {
    authgear_require_scope "";
}
--- emerg
authgear: "authgear_require_scope" has an empty parameter, which no token can match in nginx.conf:2

=== authgear_require_scope: a variable
server {
    authgear_require_scope $arg_scope;
}
--- emerg
authgear: "authgear_require_scope" cannot hold variables, as "$arg_scope" does in nginx.conf:2

=== authgear_require_scope: off and another
server {
    authgear_require_scope off read;
}
--- emerg
authgear: "authgear_require_scope" is "off" and something else; remove one in nginx.conf:2

=== authgear_require_scope: twice
server {
    authgear_require_scope read;
    authgear_require_scope write;
}
--- emerg
authgear: "authgear_require_scope" is duplicate in nginx.conf:3

=== authgear_require_scope: where nobody is verified
server {
    location / {
        authgear_require_scope read;
    }
}
--- emerg
authgear: "authgear_require_scope" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_scope: every character that a scope may hold
server {
    authgear_require_scope "!#&'()*+,-./09:;<=>?@AZ[]^_`az{|}~";
}
--- fine

=== authgear_require_auth_age: no time
server {
    authgear_require_auth_age soon;
}
--- emerg
authgear: "authgear_require_auth_age" has an invalid time "soon"; write it as "30s", "5m" or "1h" in nginx.conf:2

=== authgear_require_auth_age: parts of a second
server {
    authgear_require_auth_age 500ms;
}
--- emerg
authgear: "authgear_require_auth_age" has an invalid time "500ms"; write it as "30s", "5m" or "1h" in nginx.conf:2

=== authgear_require_auth_age: 0
server {
    authgear_require_auth_age 0;
}
--- emerg
authgear: "authgear_require_auth_age" must be more than 0 in nginx.conf:2

=== authgear_require_auth_age: negative
server {
    authgear_require_auth_age -5m;
}
--- emerg
authgear: "authgear_require_auth_age" has an invalid time "-5m"; write it as "30s", "5m" or "1h" in nginx.conf:2

=== authgear_require_auth_age: a variable
server {
    authgear_require_auth_age $arg_age;
}
--- emerg
authgear: "authgear_require_auth_age" has an invalid time "$arg_age"; write it as "30s", "5m" or "1h" in nginx.conf:2

=== authgear_require_auth_age: more than there is
server {
    authgear_require_auth_age 99999999999999999999s;
}
--- emerg
authgear: "authgear_require_auth_age" has an invalid time "99999999999999999999s"; write it as "30s", "5m" or "1h" in nginx.conf:2

=== authgear_require_auth_age: two times
server {
    authgear_require_auth_age 5m 10m;
}
--- emerg
authgear: "authgear_require_auth_age" takes one time, not 2 parameters in nginx.conf:2

=== authgear_require_auth_age: twice
server {
    authgear_require_auth_age 5m;
    authgear_require_auth_age off;
}
--- emerg
authgear: "authgear_require_auth_age" is duplicate in nginx.conf:3

=== authgear_require_auth_age: where nobody is verified
server {
    location / {
        authgear_require_auth_age 5m;
    }
}
--- emerg
authgear: "authgear_require_auth_age" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_require_auth_age: of clients
authgear_project a {
    endpoint https://a.example;
    token_type client;
}
server {
    location / {
        authgear_verify a;
        authgear_require_auth_age 5m;
    }
}
--- emerg
authgear: "authgear_verify" names the project "a" of "token_type client", but "authgear_require_auth_age" asks for what only users have; remove one in nginx.conf:7

=== authgear_audience: empty
server {
    authgear_audience "";
}
--- emerg
authgear: "authgear_audience" has an empty parameter, which no token can match in nginx.conf:2

=== authgear_audience: a variable
server {
    authgear_audience https://$host;
}
--- emerg
authgear: "authgear_audience" cannot hold variables, as "https://$host" does in nginx.conf:2

=== authgear_audience: off and another
server {
    authgear_audience off https://api.example;
}
--- emerg
authgear: "authgear_audience" is "off" and something else; remove one in nginx.conf:2

=== authgear_audience: twice
server {
    authgear_audience https://one.example;
    authgear_audience https://two.example;
}
--- emerg
authgear: "authgear_audience" is duplicate in nginx.conf:3

=== authgear_audience: where nobody is verified
server {
    location / {
        authgear_audience https://api.example;
    }
}
--- emerg
authgear: "authgear_audience" is never asked, since nobody is verified here; add "authgear_verify myapp;" in nginx.conf:3

=== authgear_claim_set: without a variable
server {
    authgear_claim_set plan;
}
--- emerg
authgear: "authgear_claim_set" must begin with a variable, not "plan"; write "authgear_claim_set $plan https://example.com/claims plan;" in nginx.conf:2

=== authgear_claim_set: without a claim
server {
    authgear_claim_set $plan;
}
--- emerg
authgear: "authgear_claim_set" has no claim for "$plan"; write "authgear_claim_set $plan https://example.com/claims plan;" in nginx.conf:2

=== authgear_claim_set: what no variable is called
server {
    authgear_claim_set $my-plan plan;
}
--- emerg
authgear: "authgear_claim_set" must begin with a variable, not "$my-plan"; write "authgear_claim_set $plan https://example.com/claims plan;" in nginx.conf:2

=== authgear_claim_set: a part of a regular expression
server {
    authgear_claim_set $1 plan;
}
--- emerg
authgear: "authgear_claim_set" must begin with a variable, not "$1"; write "authgear_claim_set $plan https://example.com/claims plan;" in nginx.conf:2

=== authgear_claim_set: an empty step
server {
    authgear_claim_set $plan claims "";
}
--- emerg
authgear: "authgear_claim_set" has an empty parameter, which no token can match in nginx.conf:2

=== authgear_claim_set: a variable for a step
server {
    authgear_claim_set $plan $arg_claim;
}
--- emerg
authgear: "authgear_claim_set" cannot hold variables, as "$arg_claim" does in nginx.conf:2

=== authgear_claim_set: a variable twice
server {
    authgear_claim_set $plan a;
    authgear_claim_set $Plan b;
}
--- emerg
authgear: "authgear_claim_set" sets "$Plan" twice; remove one in nginx.conf:3

=== authgear_claim_set: off
server {
    authgear_claim_set off;
}
--- emerg
authgear: "authgear_claim_set" must begin with a variable, not "off"; write "authgear_claim_set $plan https://example.com/claims plan;" in nginx.conf:2

=== authgear_claim_set: a variable of this module
server {
    authgear_claim_set $authgear_user_id sub;
}
--- emerg
authgear: "authgear_claim_set" cannot set "$authgear_user_id": names that begin with "authgear_" are this module's own; rename it in nginx.conf:2

=== authgear_claim_set: a variable of this module's for claims
server {
    authgear_claim_set $authgear_claim_plan plan;
}
--- emerg
authgear: "authgear_claim_set" cannot set "$authgear_claim_plan": names that begin with "authgear_" are this module's own; rename it in nginx.conf:2

=== authgear_claim_set: a variable of nginx
server {
    authgear_claim_set $host plan;
}
--- emerg
the duplicate "host" variable in nginx.conf:2

=== authgear_claim_set: a variable of nginx that can be set
server {
    authgear_claim_set $limit_rate plan;
}
--- emerg
authgear: "authgear_claim_set" cannot set "$limit_rate", which another directive sets; rename it in nginx.conf:2

=== authgear_claim_set: a variable that map sets above
map $host $plan {
    default free;
}
server {
    authgear_claim_set $plan plan;
}
--- emerg
authgear: "authgear_claim_set" cannot set "$plan", which another directive sets; rename it in nginx.conf:5

=== authgear_claim_set: a variable that set sets above
server {
    set $plan free;
    authgear_claim_set $plan plan;
}
--- emerg
authgear: "authgear_claim_set" cannot set "$plan", which another directive sets; rename it in nginx.conf:3

=== authgear_claim_set: a variable that a regular expression sets
server {
    location ~ ^/(?<plan>.*)$ {
        authgear_claim_set $plan plan;
    }
}
--- emerg
authgear: "authgear_claim_set" cannot set "$plan", which another directive sets; rename it in nginx.conf:3

=== authgear_claim_set: a variable that map sets below
server {
    authgear_claim_set $plan plan;
}
map $host $plan {
    default free;
}
--- emerg
the duplicate "plan" variable in nginx.conf:4

=== authgear_claim_set: a variable that set sets below
server {
    authgear_claim_set $Plan plan;
    location / {
        set $plan free;
    }
}
--- emerg
the duplicate "plan" variable in nginx.conf:4

=== authgear_claim_set: one variable, set to one claim here and to another there
server {
    location /a {
        authgear_claim_set $plan plan;
    }
    location /b {
        authgear_claim_set $plan https://example.com/claims plan;
    }
}
--- fine

=== authgear_token: text in place of a variable
server {
    authgear_token arg_access_token;
}
--- emerg
authgear: "authgear_token" must hold variables, such as "$arg_access_token", and "arg_access_token" is none in nginx.conf:2

=== authgear_token: empty
server {
    authgear_token $arg_access_token "";
}
--- emerg
authgear: "authgear_token" must hold variables, such as "$arg_access_token", and "" is none in nginx.conf:2

=== authgear_token: an unknown variable
server {
    authgear_token $nosuch;
}
--- emerg
unknown "nosuch" variable

=== authgear_token: off and another
server {
    authgear_token off $arg_access_token;
}
--- emerg
authgear: "authgear_token" is "off" and something else; remove one in nginx.conf:2

=== authgear_token: twice
server {
    authgear_token $arg_access_token;
    authgear_token $cookie_token;
}
--- emerg
authgear: "authgear_token" is duplicate in nginx.conf:3

=== authgear_realm: empty
server {
    authgear_realm "";
}
--- emerg
authgear: "authgear_realm" is empty; name the realm, or leave the directive out in nginx.conf:2

=== authgear_realm: a variable
server {
    authgear_realm $host;
}
--- emerg
authgear: "authgear_realm" cannot hold variables, as "$host" does in nginx.conf:2

=== authgear_realm: a line feed
server {
    authgear_realm "my
app";
}
--- emerg
authgear: "authgear_realm" holds a control character, which no header can in nginx.conf:3

=== authgear_realm: quotes forgotten
server {
    authgear_realm my app;
}
--- emerg
authgear: "authgear_realm" takes one string, in quotes if it has blanks, not 2 parameters in nginx.conf:2

=== authgear_realm: twice
server {
    authgear_realm one;
    authgear_realm two;
}
--- emerg
authgear: "authgear_realm" is duplicate in nginx.conf:3

=== authgear_realm: not UTF-8
server {
    authgear_realm "\xff";
}
--- emerg
authgear: "authgear_realm" has a parameter that is not UTF-8 in nginx.conf:2

=== authgear_resource_metadata: plain http
server {
    authgear_resource_metadata http://api.example/.well-known/oauth-protected-resource;
}
--- emerg
authgear: "authgear_resource_metadata" is plain http, "http://api.example/.well-known/oauth-protected-resource"; write https://, as RFC 9728 asks in nginx.conf:2

=== authgear_resource_metadata: no URL
server {
    authgear_resource_metadata /.well-known/oauth-protected-resource;
}
--- emerg
authgear: "authgear_resource_metadata" has an invalid value "/.well-known/oauth-protected-resource": begins with neither https:// nor http://, write https:// before the host in nginx.conf:2

=== authgear_resource_metadata: a fragment
server {
    authgear_resource_metadata https://api.example/metadata#1;
}
--- emerg
authgear: "authgear_resource_metadata" has an invalid value "https://api.example/metadata#1": has a fragment, leave out # and what follows in nginx.conf:2

=== authgear_resource_metadata: a variable
server {
    authgear_resource_metadata https://$host/metadata;
}
--- emerg
authgear: "authgear_resource_metadata" cannot hold variables, as "https://$host/metadata" does in nginx.conf:2

=== authgear_resource_metadata: two URLs
server {
    authgear_resource_metadata https://one.example/m https://two.example/m;
}
--- emerg
authgear: "authgear_resource_metadata" takes one URL, not 2 parameters in nginx.conf:2

=== authgear_resource_metadata: twice
server {
    authgear_resource_metadata https://one.example/m;
    authgear_resource_metadata https://two.example/m;
}
--- emerg
authgear: "authgear_resource_metadata" is duplicate in nginx.conf:3

=== authgear_resource_metadata: plain http on loopback
server {
    authgear_resource_metadata http://127.0.0.1:8080/m;
}
--- fine

=== authgear_bypass_preflight: neither on nor off
server {
    authgear_bypass_preflight yes;
}
--- emerg
authgear: "authgear_bypass_preflight" must be "on" or "off", not "yes" in nginx.conf:2

=== authgear_bypass_preflight: twice
server {
    authgear_bypass_preflight on;
    authgear_bypass_preflight off;
}
--- emerg
authgear: "authgear_bypass_preflight" is duplicate in nginx.conf:3

=== a directive that there is not
server {
    authgear_require_roles admin;
}
--- emerg
unknown directive "authgear_require_roles" in nginx.conf:2

=== return in a protected location
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        return 200 "for anybody";
    }
}
--- warn
authgear: "return" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== return in a location that inherits its protection
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a;
    location /a {
        return 204;
    }
}
--- warn
authgear: "return" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:5

=== return behind an if
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        if ($arg_x) {
            set $x 1;
        }
        return 204;
    }
}
--- warn
authgear: "return" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== return in an observed location
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a observe;
        return 204;
    }
}
--- warn
authgear: "return" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== return beside a variable
server {
    location /a {
        authgear_verify $arg_project;
        return 204;
    }
}
--- warn
authgear: "return" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:3

=== return in a named location that protects itself
authgear_project a {
    endpoint https://a.example;
}
server {
    location @a {
        authgear_verify a;
        return 204;
    }
}
--- warn
authgear: "return" in location "@a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== return in an if is meant
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        if ($request_method = TRACE) {
            return 405;
        }
    }
}
--- fine

=== return where authgear_verify is off is meant
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a;
    location /a {
        authgear_verify off;
        return 204;
    }
}
--- fine

=== return in what clients cannot ask is meant
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a;
    error_page 401 @login;
    error_page 403 /forbidden;
    location @login {
        return 302 https://login.example;
    }
    location /forbidden {
        internal;
        return 403;
    }
}
--- fine

=== return in a server that protects nothing else
authgear_project a {
    endpoint https://a.example;
}
authgear_verify a;
server {
    return 301 https://$host$request_uri;
}
--- fine

=== rewrite ... redirect in a protected location
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        rewrite ^ /b redirect;
    }
}
--- warn
authgear: "rewrite" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== rewrite ... permanent in a protected location
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        rewrite ^/a(.*)$ /b$1 permanent;
    }
}
--- warn
authgear: "rewrite" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== rewrite to another host in a protected location
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        rewrite ^ https://b.example/;
    }
}
--- warn
authgear: "rewrite" in location "/a" answers before "authgear_verify" is reached, so nobody is verified there; write "authgear_verify off;" in it if that is meant in nginx.conf:6

=== rewrite ... redirect in an if is meant
authgear_project a {
    endpoint https://a.example;
}
server {
    location /a {
        authgear_verify a;
        if ($arg_x) {
            rewrite ^ /b redirect;
        }
    }
}
--- fine

=== rewrite that answers nothing
authgear_project a {
    endpoint https://a.example;
}
server {
    authgear_verify a;
    location /a {
        rewrite ^/a(.*)$ /b$1 last;
    }
    location /b {
        rewrite ^/b(.*)$ /c$1 break;
    }
    location /c {
        set $x "return";
        rewrite ^/c(.*)$ /d$1;
        rewrite_log on;
    }
}
--- fine

=== resolve_request: a location that clients can ask
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
}
server {
    location = /_authgear/resolve {
        proxy_pass https://127.0.0.1/_resolver/resolve;
    }
}
--- warn
authgear: location "/_authgear/resolve" is the "resolve_request" of the project "a" and open to clients; add "internal;"

=== resolve_request: an internal location
authgear_project a {
    endpoint https://a.example;
    resolve_request /_authgear/resolve;
}
server {
    location = /_authgear/resolve {
        internal;
        proxy_pass https://127.0.0.1/_resolver/resolve;
    }
}
--- fine

=== every directive at every level
authgear_project a {
    endpoint https://a.example;
    token_type any;
}
authgear_verify a;
authgear_token $arg_access_token $cookie_token "Bearer $http_x_token";
authgear_audience https://a.example https://api.example;
authgear_require $plan;
authgear_require "$arg_a$arg_b" $http_x error=401;
authgear_require_role admin "two words";
authgear_require_scope read:all write:all;
authgear_require_auth_age 1h30m;
authgear_claim_set $plan https://example.com/claims plan "a b" 0;
authgear_realm 'my "app" \\ here';
authgear_resource_metadata https://api.example/m?x=1;
authgear_bypass_preflight on;
server {
    authgear_token off;
    authgear_audience off;
    authgear_require off;
    authgear_require_role off;
    authgear_require_scope off;
    authgear_require_auth_age off;
    authgear_claim_set $plan plan;
    authgear_realm off;
    authgear_resource_metadata off;
    authgear_bypass_preflight off;
    location / {
        authgear_require $plan error=403;
        if ($arg_x) {
            authgear_require_role admin;
            authgear_token $arg_token;
        }
        limit_except GET {
            authgear_require_scope write:all;
            authgear_audience https://write.example;
        }
    }
}
--- fine
