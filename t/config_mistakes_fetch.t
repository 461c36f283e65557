# Messages of `nginx -t` about the fetch of keys: its time, certificates and proxy.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

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

=== ssl_name: no name
authgear_project a {
    endpoint https://a.example;
    ssl_name "a b";
}
--- emerg
authgear: "ssl_name" has an invalid value "a b": is neither a domain name nor an address in nginx.conf:3

=== ssl_name: a variable
authgear_project a {
    endpoint https://a.example;
    ssl_name $host;
}
--- emerg
authgear: "ssl_name" cannot hold variables, as "$host" does in nginx.conf:3

=== ssl_certificate: without its key
authgear_project a {
    endpoint https://a.example;
    ssl_certificate junk.pem;
}
--- emerg
authgear: "authgear_project" "a" has one of "ssl_certificate" and "ssl_certificate_key", which need each other; add the other, or remove both in nginx.conf:4

=== ssl_certificate_key: without its certificate
authgear_project a {
    endpoint https://a.example;
    ssl_certificate_key key.pem;
}
--- emerg
authgear: "authgear_project" "a" has one of "ssl_certificate" and "ssl_certificate_key", which need each other; add the other, or remove both in nginx.conf:4

=== ssl_certificate_key: not there
authgear_project a {
    endpoint https://a.example;
    ssl_certificate_key nosuch.pem;
}
--- emerg
authgear: "ssl_certificate_key" cannot read "nosuch.pem": No such file or directory (os error 2) in nginx.conf:3

=== ssl_certificate: a key
authgear_project a {
    endpoint https://a.example;
    ssl_certificate key.pem;
    ssl_certificate_key key.pem;
}
--- emerg
authgear: "authgear_project" "a" has "ssl_certificate" "key.pem" and "ssl_certificate_key" "key.pem": the certificate file holds no certificate in PEM form in nginx.conf:5

=== ssl_certificate_key: a certificate
authgear_project a {
    endpoint https://a.example;
    ssl_certificate client.pem;
    ssl_certificate_key client.pem;
}
--- emerg
authgear: "authgear_project" "a" has "ssl_certificate" "client.pem" and "ssl_certificate_key" "client.pem": the key file holds no private key in PEM form; a key with a passphrase cannot be used in nginx.conf:5

=== ssl_certificate_key: another certificate's
authgear_project a {
    endpoint https://a.example;
    ssl_certificate client.pem;
    ssl_certificate_key other.key;
}
--- emerg
authgear: "authgear_project" "a" has "ssl_certificate" "client.pem" and "ssl_certificate_key" "other.key": the private key does not belong to the certificate; the file's first certificate must be the key's in nginx.conf:5

=== ssl_certificate and its key
authgear_project a {
    endpoint https://a.example;
    ssl_certificate client.pem;
    ssl_certificate_key client.key;
    ssl_name a.internal;
}
--- fine

=== fetch_proxy: no URL
authgear_project a {
    endpoint https://a.example;
    fetch_proxy proxy:3128;
}
--- emerg
authgear: "fetch_proxy" has an invalid value "proxy:3128": is not plain http, write http:// before the proxy's host in nginx.conf:3

=== fetch_proxy: https
authgear_project a {
    endpoint https://a.example;
    fetch_proxy https://proxy:3128;
}
--- emerg
authgear: "fetch_proxy" has an invalid value "https://proxy:3128": is not plain http, write http:// before the proxy's host in nginx.conf:3

=== fetch_proxy: a password in the URL
authgear_project a {
    endpoint https://a.example;
    fetch_proxy http://user:password@proxy:3128;
}
--- emerg
authgear: "fetch_proxy" has a user name or a password; write "credentials=file" with a file that holds user:password in nginx.conf:3

=== fetch_proxy: an unknown parameter
authgear_project a {
    endpoint https://a.example;
    fetch_proxy http://proxy:3128 user=x;
}
--- emerg
authgear: "fetch_proxy" must be the URL of a proxy and perhaps a file that holds user:password, or "off"; write it as "fetch_proxy http://proxy:3128 credentials=proxy.secret;" in nginx.conf:3

=== fetch_proxy: no file of credentials
authgear_project a {
    endpoint https://a.example;
    fetch_proxy http://proxy:3128 credentials=nosuch.txt;
}
--- emerg
authgear: "fetch_proxy" cannot read "nosuch.txt": No such file or directory (os error 2) in nginx.conf:3

=== fetch_proxy: no credentials in the file
authgear_project a {
    endpoint https://a.example;
    fetch_proxy http://proxy:3128 credentials=blank.txt;
}
--- emerg
authgear: "fetch_proxy" has "credentials=" with a file that does not hold user:password in one line of at most 1 KiB in nginx.conf:3

=== fetch_proxy: with credentials, and off
authgear_project a {
    endpoint https://a.example;
    fetch_proxy http://proxy:3128 credentials=credentials.txt;
}
authgear_project b {
    endpoint https://b.example;
    fetch_proxy off;
}
--- fine
