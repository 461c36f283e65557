# Messages of `nginx -t` about authgear_webhook and its project's directives.

use strict;
use warnings;

use Test::Nginx::Authgear::Mistakes;

check_cases(\*DATA);

__DATA__

=== authgear_webhook: beside a server that verifies
authgear_project a {
    endpoint https://a.example;
    webhook_secret_file secret.txt;
    revocation_keep 2h;
}
server {
    authgear_verify a;
    authgear_require_role admin;
    location / { empty_gif; }
    location = /webhook { authgear_webhook a; }
    location = /limited { authgear_webhook a; limit_except POST { deny all; } if ($arg_x) { return 404; } }
}
--- fine

=== authgear_webhook: an unknown project
authgear_project a { endpoint https://a.example; }
server {
    location = /webhook { authgear_webhook b; }
}
--- emerg
authgear: "authgear_webhook" names no project "b"; add "authgear_project b { endpoint https://...; }" to the http block in nginx.conf:3

=== authgear_webhook: a project without a secret
authgear_project a { endpoint https://a.example; }
server {
    location = /webhook { authgear_webhook a; }
}
--- emerg
authgear: "authgear_webhook" names the project "a", which has no "webhook_secret_file"; add it, with the secret that the portal shows in nginx.conf:3

=== authgear_webhook: twice
authgear_project a { endpoint https://a.example; webhook_secret_file secret.txt; }
server {
    location = /webhook {
        authgear_webhook a;
        authgear_webhook a;
    }
}
--- emerg
authgear: "authgear_webhook" is duplicate in nginx.conf:5

=== authgear_webhook: before another content handler
authgear_project a { endpoint https://a.example; webhook_secret_file secret.txt; }
server {
    location = /webhook {
        authgear_webhook a;
        proxy_pass http://127.0.0.1:1;
    }
}
--- emerg
authgear: "authgear_webhook" stands beside another directive that answers requests, such as "proxy_pass"; give it a location of its own in nginx.conf:4

=== authgear_webhook: another content handler in an "if"
authgear_project a { endpoint https://a.example; webhook_secret_file secret.txt; }
server {
    location = /webhook {
        authgear_webhook a;
        if ($arg_x) {
            proxy_pass http://127.0.0.1:1;
        }
    }
}
--- emerg
authgear: "authgear_webhook" stands beside another directive that answers requests, such as "proxy_pass"; give it a location of its own in nginx.conf:4

=== authgear_webhook: behind another content handler
authgear_project a { endpoint https://a.example; webhook_secret_file secret.txt; }
server {
    location = /webhook {
        empty_gif;
        authgear_webhook a;
    }
}
--- emerg
authgear: "authgear_webhook" stands beside another directive that answers requests, such as "proxy_pass"; give it a location of its own in nginx.conf:5

=== authgear_webhook: in a location that verifies
authgear_project a { endpoint https://a.example; webhook_secret_file secret.txt; }
server {
    location = /webhook {
        authgear_webhook a;
        authgear_verify a;
    }
}
--- emerg
authgear: "authgear_verify" stands beside "authgear_webhook", but Authgear sends no token; remove it in nginx.conf:5

=== authgear_webhook: with a requirement
authgear_project a { endpoint https://a.example; webhook_secret_file secret.txt; }
server {
    location = /webhook {
        authgear_webhook a;
        authgear_require_role admin;
    }
}
--- emerg
authgear: "authgear_require_role" has no effect, since "authgear_verify" is not in force here; add "authgear_verify myapp;" in nginx.conf:5

=== webhook_secret_file: no such file
authgear_project a {
    endpoint https://a.example;
    webhook_secret_file nowhere.txt;
}
--- emerg
authgear: "webhook_secret_file" cannot read "nowhere.txt": No such file or directory (os error 2) in nginx.conf:3

=== webhook_secret_file: empty
authgear_project a {
    endpoint https://a.example;
    webhook_secret_file blank.txt;
}
--- emerg
authgear: "webhook_secret_file" "blank.txt": it is empty; write the webhook secret that the portal shows into it in nginx.conf:3

=== webhook_secret_file: unprintable
authgear_project a {
    endpoint https://a.example;
    webhook_secret_file unprintable.txt;
}
--- emerg
authgear: "webhook_secret_file" "unprintable.txt": line 2 holds a blank or an unprintable character; write the webhook secret as the portal shows it in nginx.conf:3

=== webhook_secret_file: too long
authgear_project a {
    endpoint https://a.example;
    webhook_secret_file long.txt;
}
--- emerg
authgear: "webhook_secret_file" "long.txt": it is longer than 1 KiB; write the webhook secret alone, one a line in nginx.conf:3

=== webhook_secret_file: beside a variable endpoint
authgear_project a {
    endpoint https://$host;
    webhook_secret_file secret.txt;
}
--- emerg
authgear: "authgear_project" "a" has "webhook_secret_file" and an "endpoint" with variables, but a secret is one project's alone; add an "authgear_project" for each that sends webhooks in nginx.conf:4

=== revocation_keep: 0
authgear_project a {
    endpoint https://a.example;
    revocation_keep 0;
}
--- emerg
authgear: "revocation_keep" must be more than 0 in nginx.conf:3

=== revocation_keep: not a time
authgear_project a {
    endpoint https://a.example;
    revocation_keep long;
}
--- emerg
authgear: "revocation_keep" has an invalid time "long"; write it as "30s", "5m" or "1h" in nginx.conf:3

=== authgear_revocation_stream: all of it
authgear_project a { endpoint https://a.example; webhook_secret_file secret.txt; }
authgear_revocation_stream rediss://redis.example:6380/2 key=mine credentials=credentials.txt;
--- fine

=== authgear_revocation_stream: without a webhook
authgear_project a { endpoint https://a.example; }
authgear_revocation_stream redis://127.0.0.1:6379;
--- emerg
authgear: "authgear_revocation_stream" shares what webhooks tell, but no project has a "webhook_secret_file"; add it, or remove the stream in nginx.conf:2

=== authgear_revocation_stream: twice
authgear_revocation_stream off;
authgear_revocation_stream off;
--- emerg
authgear: "authgear_revocation_stream" is duplicate; one stream serves all projects in nginx.conf:2

=== authgear_revocation_stream: another scheme
authgear_revocation_stream http://127.0.0.1:6379;
--- emerg
authgear: "authgear_revocation_stream" must begin with redis:// or rediss://, as redis://127.0.0.1:6379 in nginx.conf:1

=== authgear_revocation_stream: a query
authgear_revocation_stream redis://127.0.0.1:6379?db=3;
--- emerg
authgear: "authgear_revocation_stream" is no address of Redis; write redis://host:port, or redis://host:port/database in nginx.conf:1

=== authgear_revocation_stream: a fragment
authgear_revocation_stream rediss://127.0.0.1:6379#insecure;
--- emerg
authgear: "authgear_revocation_stream" is no address of Redis; write redis://host:port, or redis://host:port/database in nginx.conf:1

=== authgear_revocation_stream: a negative database
authgear_revocation_stream redis://127.0.0.1:6379/-1;
--- emerg
authgear: "authgear_revocation_stream" is no address of Redis; write redis://host:port, or redis://host:port/database in nginx.conf:1

=== authgear_revocation_stream: a database that is no number
authgear_revocation_stream redis://127.0.0.1:6379/x;
--- emerg
authgear: "authgear_revocation_stream" is no address of Redis; write redis://host:port, or redis://host:port/database in nginx.conf:1

=== authgear_revocation_stream: port 0
authgear_revocation_stream redis://127.0.0.1:0;
--- emerg
authgear: "authgear_revocation_stream" is no address of Redis; write redis://host:port, or redis://host:port/database in nginx.conf:1

=== authgear_revocation_stream: no host
authgear_revocation_stream redis://;
--- emerg
authgear: "authgear_revocation_stream" is no address of Redis; write redis://host:port, or redis://host:port/database in nginx.conf:1

=== authgear_revocation_stream: a password in the URL
authgear_revocation_stream redis://:s3cret@127.0.0.1:6379;
--- emerg
authgear: "authgear_revocation_stream" holds a user or password; write "credentials=path" with a file of user:password in nginx.conf:1

=== authgear_revocation_stream: credentials in a FIFO
authgear_revocation_stream redis://127.0.0.1:6379 credentials=fifo;
--- emerg
authgear: "authgear_revocation_stream" cannot read "fifo": it is no regular file in nginx.conf:1

=== authgear_revocation_stream: credentials without a colon
authgear_revocation_stream redis://127.0.0.1:6379 credentials=secret.txt;
--- emerg
authgear: "authgear_revocation_stream" "credentials" must name a file that holds user:password in one line in nginx.conf:1

=== authgear_revocation_stream: an unknown parameter
authgear_revocation_stream redis://127.0.0.1:6379 user=x;
--- emerg
authgear: "authgear_revocation_stream" has an unknown parameter "user=x"; it takes "key=", "credentials=" and "ca=" in nginx.conf:1

=== authgear_revocation_stream: ca without TLS
authgear_revocation_stream redis://127.0.0.1:6379 ca=junk.pem;
--- emerg
authgear: "authgear_revocation_stream" has "ca" and plain redis://; write rediss:// in nginx.conf:1

=== authgear_revocation_stream: ca without a certificate
authgear_revocation_stream rediss://127.0.0.1:6379 ca=junk.pem;
--- emerg
authgear: "authgear_revocation_stream" "ca" must name a file of certificates in PEM in nginx.conf:1
