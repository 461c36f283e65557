# Messages of `nginx -t` about endpoint and internal_endpoint.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

=== endpoint: plain http off loopback
authgear_project a {
    endpoint http://a.example;
    leeway 5s;
}
--- emerg
authgear: "endpoint" has an invalid value "http://a.example": plain http is allowed for loopback only (localhost, 127.0.0.0/8, [::1]), write https:// in nginx.conf:2

=== endpoint: a $ without a name at the end
authgear_project a {
    endpoint https://$arg_a$;
}
--- emerg
invalid variable name in nginx.conf:2

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
authgear: "endpoint" has an invalid value "https://zürich.example": has a character that is not allowed in a URL; write an international name in its xn-- form in nginx.conf:2

=== endpoint: an international name with a variable
authgear_project a {
    endpoint https://$host.bücher.example;
}
--- emerg
authgear: "endpoint" has an invalid value "https://$host.bücher.example": has a character that is not allowed in a URL; write an international name in its xn-- form in nginx.conf:2

=== endpoint, internal_endpoint, issuer, audience and jwks_uri: an international name in its xn-- form
authgear_project a {
    endpoint https://xn--bcher-kva.example;
    internal_endpoint https://xn--bcher-kva.internal.:8443;
    issuer https://xn--bcher-kva.example;
    audience https://xn--bcher-kva.example;
}
authgear_project b {
    endpoint https://xn--bcher-kva.example;
    jwks_uri https://xn--bcher-kva.example:8443/oauth2/jwks;
}
--- fine

=== internal_endpoint: an international name
authgear_project a {
    endpoint https://a.example;
    internal_endpoint http://bücher.example;
}
--- emerg
authgear: "internal_endpoint" has an invalid value "http://bücher.example": has a character that is not allowed in a URL; write an international name in its xn-- form in nginx.conf:3

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

=== endpoint: a port that cannot be, behind a variable
authgear_project a {
    endpoint https://$host:99999;
}
--- emerg
authgear: "endpoint" has an invalid value "https://$host:99999": has a port that is not a number from 1 to 65535 in nginx.conf:2

=== endpoint: a variable for the port
authgear_project a {
    endpoint https://$host:$server_port;
}
--- fine

=== internal_endpoint: without the public one
authgear_project a {
    internal_endpoint http://authgear:3000;
    issuer https://a.example;
    audience https://a.example;
    jwks_uri https://a.example/oauth2/jwks;
}
--- emerg
authgear: "authgear_project" "a" has an "internal_endpoint" but no "endpoint"; add the public "endpoint", which is sent as Host in nginx.conf:6

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
