package Test::Nginx::Authgear::Neighbours;

# The module among nginx's own: locations guarded by the project myapp, for files
# that ask them with credentials of one kind or another, and what they have in
# common. $TEST_NGINX_OTHER is a server of the http block, the rest is for the
# server: $TEST_NGINX_SATISFY (and $TEST_NGINX_USERS, the file of auth_basic),
# $TEST_NGINX_ERROR_PAGES (with a project down as well),
# $TEST_NGINX_STREAMS and, with static.txt and dir/static.txt as user files,
# $TEST_NGINX_REDIRECTS.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Exporter qw(import);
use File::Temp qw(tempdir);
use MIME::Base64 qw(encode_base64);
use Test::More ();
use Test::Nginx::Authgear ();
use Test::Nginx::Authgear::Client qw(echoed port);

our @EXPORT = qw(basic mebibyte whole there_and_back @upgrade);

my $directory = tempdir(CLEANUP => 1);
chmod 0755, $directory;
$ENV{TEST_NGINX_USERS} = "$directory/users";
open my $users, '>', $ENV{TEST_NGINX_USERS} or die "cannot write: $!\n";
print {$users} "eve:{PLAIN}secret\n";
close $users;

my ($echo, $other) = (Test::Nginx::Authgear::echo_origin(), 'http://127.0.0.1:' . port(2));

# auth_basic lets in eve, by the password "secret".
sub basic { return 'Authorization: Basic ' . encode_base64("eve:$_[0]", '') }

# Bytes that no compression or text handling leaves alone by chance.
sub mebibyte {
    return join '', map { pack 'N', $_ * 2654435761 & 0xffffffff } 1 .. 262_144;
}

# That the echo got a body, of which it repeats only a short one.
sub whole {
    my ($answer, $body, $name) = @_;
    my $size = length $body;
    my $expected = $size < 1024 ? $body : "$size bytes, sha256 " . sha256_hex($body) . "\n";
    Test::More::is(echoed($answer)->{body}, $expected, "$name: the body arrives whole");
}

our @upgrade = ('Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==');

# That the echo repeats all it is sent after an upgrade.
sub there_and_back {
    my ($client, $name) = @_;
    for my $bytes ("\x81\x05hello", "\x00" x 1000, mebibyte()) {
        my $back = '';
        # Piece by piece, lest both sides wait for each other.
        for (my $at = 0; $at < length $bytes; $at += 8192) {
            my $piece = substr $bytes, $at, 8192;
            $client->send($piece);
            $back .= $client->read_bytes(length $piece);
        }
        Test::More::ok($back eq $bytes, "$name: " . length($bytes) . ' bytes go there and back');
    }
}

my %grants = (
    allow => 'allow all;',
    deny => 'deny all;',
    basic => 'auth_basic eve;',
    request => 'auth_request /yes;',
    'request-no' => 'auth_request /no;',
);
my @satisfy = map {
    my $which = $_;
    map { [$which, $_, $grants{$_}, ''] } keys %grants;
} qw(all any);
push @satisfy, map { ['any', "deny-$_", $grants{deny}, $_] } qw(optional observe);
$ENV{TEST_NGINX_SATISFY} = join "\n", "auth_basic_user_file $ENV{TEST_NGINX_USERS};",
    (map {"location = /$_->[0]-$_->[1] { satisfy $_->[0]; $_->[2] authgear_verify myapp $_->[3]; proxy_pass $echo; }"}
        @satisfy),
    map {
    qq(location = /$_ { internal; proxy_pass $other; proxy_pass_request_body off; proxy_set_header Content-Length ""; })
    } qw(yes no);

# The targets of X-Accel-Redirect and auth_request.
$ENV{TEST_NGINX_OTHER} = <<"END";
server {
    listen 127.0.0.1:@{[port(2)]};
    location / {
        add_header X-Accel-Redirect \$arg_to;
        return 200;
    }
    location = /no {
        return 403;
    }
}
END

my %login = (
    named => '401 =200 @login',
    kept => '401 /no-entry.txt',
    redirect => '401 =302 https://login.example.com/?reason=$authgear_reason',
    return => '401 = @login-site',
    proxied => '401 =200 @open',
);
# The project down has no verdicts to give.
my %down = (named => '503 @down', open => '503 =200 @open');
$ENV{TEST_NGINX_ERROR_PAGES} = join "\n",
    (map {"location = /login-$_ { authgear_verify myapp; error_page $login{$_}; proxy_pass $echo; }"} keys %login),
    (map {"location = /down-$_ { authgear_verify down; error_page $down{$_}; proxy_pass $echo; }"} keys %down), <<"END";
location \@login {
    return 200 "please log in: \$authgear_reason\\n";
}
location = /no-entry.txt {
    internal;
    return 401 "no entry\\n";
}
location \@login-site {
    return 303 https://login.example.com/;
}
location \@down {
    return 503 "back soon: \$authgear_reason\\n";
}
location \@open {
    proxy_pass $echo;
}
END

# Bodies as they come, and what is no longer HTTP.
$ENV{TEST_NGINX_STREAMS} = <<"END";
location = /unbuffered {
    authgear_verify myapp;
    proxy_request_buffering off;
    proxy_http_version 1.1;
    proxy_pass $echo;
}
location = /socket {
    authgear_verify myapp;
    proxy_http_version 1.1;
    proxy_set_header Upgrade \$http_upgrade;
    proxy_set_header Connection upgrade;
    proxy_pass $echo;
}
END

$ENV{TEST_NGINX_REDIRECTS} = <<"END";
location = /static.txt {
    authgear_verify myapp;
}
location = /no-such-file.txt {
    authgear_verify myapp;
}
location = /plain.txt {
    internal;
    alias html/static.txt;
}
location = /guarded.txt {
    internal;
    authgear_verify myapp;
    alias html/static.txt;
}
location \@guarded {
    authgear_verify myapp;
    rewrite ^ /static.txt break;
}
location = /try {
    authgear_verify myapp;
    try_files /no-such-file /plain.txt;
}
location = /try-to-guarded {
    try_files /no-such-file /guarded.txt;
}
location = /try-both {
    authgear_verify myapp;
    try_files /no-such-file /guarded.txt;
}
location = /try-named {
    try_files /no-such-file \@guarded;
}
location = /rewrite {
    rewrite ^ /guarded.txt last;
}
location = /not-found {
    authgear_verify myapp;
    error_page 404 =200 /plain.txt;
    try_files /no-such-file =404;
}
location = /accel {
    authgear_verify myapp;
    proxy_pass $other/?to=/plain.txt;
}
location = /accel-to-guarded {
    proxy_pass $other/?to=/guarded.txt;
}
location /dir/ {
    authgear_verify myapp;
    index static.txt;
}
location = /slash {
    authgear_verify myapp;
    error_page 401 /guarded.txt;
}
END

1;
