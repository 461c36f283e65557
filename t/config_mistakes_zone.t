# Messages of `nginx -t` about the shared zone and the tokens that are kept in it.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

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
authgear: "authgear_shared_zone" has no size in "zone=authgear"; write "authgear_shared_zone zone=authgear:32m;" in nginx.conf:1

=== authgear_shared_zone: an empty size
authgear_shared_zone zone=authgear:;
--- emerg
authgear: "authgear_shared_zone" has an invalid size ""; write "authgear_shared_zone zone=authgear:32m;" in nginx.conf:1

=== authgear_shared_zone: no size
authgear_shared_zone zone=authgear:large;
--- emerg
authgear: "authgear_shared_zone" has an invalid size "large"; write "authgear_shared_zone zone=authgear:32m;" in nginx.conf:1

=== authgear_shared_zone: without a name
authgear_shared_zone zone=:1m;
--- emerg
authgear: "authgear_shared_zone" has no name in "zone=:1m"; write "authgear_shared_zone zone=authgear:32m;" in nginx.conf:1

=== authgear_shared_zone: without zone=
authgear_shared_zone authgear:1m;
--- emerg
authgear: "authgear_shared_zone" has an invalid parameter "authgear:1m"; write "authgear_shared_zone zone=authgear:32m;" in nginx.conf:1

=== authgear_shared_zone: too small
authgear_shared_zone zone=authgear:511k;
--- emerg
authgear: "authgear_shared_zone" zone "authgear" is too small with 511k; the least is 512k, which holds 183 tokens and sessions; 32m, the default, holds 41958 in nginx.conf:1

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

=== authgear_shared_zone: made by default where there is a project
limit_req_zone $host zone=authgear:1m rate=1r/s;
--- fine

=== authgear_shared_zone: made by default for keys from a file too
authgear_project a {
    issuer https://a.example;
    audience https://a.example;
    jwks_file jwks.json;
}
limit_req_zone $host zone=authgear:1m rate=1r/s;
--- emerg
authgear: the zone "authgear" is another module's; name one with "authgear_shared_zone zone=authgear_other:32m;"

=== authgear_shared_zone: made by default, unless its name is taken
limit_req_zone $host zone=authgear:1m rate=1r/s;
authgear_project a {
    endpoint https://a.example;
}
--- emerg
authgear: the zone "authgear" is another module's; name one with "authgear_shared_zone zone=authgear_other:32m;"

=== authgear_shared_zone: another name leaves the default's free
limit_req_zone $host zone=authgear:1m rate=1r/s;
authgear_project a {
    endpoint https://a.example;
}
authgear_shared_zone zone=authgear_keys:1m;
--- fine
