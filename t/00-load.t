# The module loads, and the way from a token to the backend is open.

use Test::Nginx::Socket 'no_plan';
use Test::Nginx::Authgear;

run_tests();

__DATA__

=== TEST 1: without the module's directives nothing changes
--- config
location = /plain {
    return 200 "plain\n";
}
--- request
GET /plain
--- response_body
plain

=== TEST 2: no token
--- error_code: 401
--- response_headers
WWW-Authenticate: Bearer realm="myapp"
X-Reason: no_credential

=== TEST 3: a valid token
--- token: {"user": "alice"}
--- response_headers
X-Reason: ok
--- response_body_like
(?m)^X-Authgear-Session-Valid: true$
