# authgear_login in Chromium, over TLS, with the site and Authgear's login at two hosts of one domain. With
# SCREENSHOTS=FOLDER in the environment the pages that explain are saved there.

use strict;
use warnings;

use File::Temp qw(tempdir);
use Test::More;
use Test::Nginx::Authgear args => [qw(--origin https://auth.site.test)];
use Test::Nginx::Authgear::Browser;
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Server;

my $folder = tempdir(CLEANUP => 1);
chmod 0755, $folder;
my $port = Test::Nginx::Authgear::Server::other_port(1);
my $www = 'https://www.site.test';
my $bye = "$www/bye";

my ($certificate, $key, $trust) = Test::Nginx::Authgear::Browser->certificate(qw(www.site.test auth.site.test));

mkdir "$folder/html";
page('form', '<form method=post action=/submit><input id=text name=text><button id=send>Send</button></form>');
page('bye', '<h1>Good bye</h1>');

my $nginx = Test::Nginx::Authgear::Server->start(
    workers => 1,
    project => "endpoint https://auth.site.test; internal_endpoint \$TEST_NGINX_AUTHGEAR; resolve_request /_authgear/resolve;
        login client_id=site callback=$www/_authgear/callback;",
    http => <<"END",
ssl_certificate $certificate;
ssl_certificate_key $key;
server {
    listen 127.0.0.1:$port ssl;
    server_name auth.site.test;
    location / {
        proxy_pass \$TEST_NGINX_AUTHGEAR;
        proxy_set_header Host \$host;
        proxy_set_header X-Forwarded-Proto https;
    }
}
server {
    listen 127.0.0.1:$port ssl;
    server_name www.site.test;
    include \$TEST_NGINX_RESOLVER;
    authgear_verify myapp;
    authgear_login on;
    root $folder/html;
    default_type text/html;
    location / { proxy_pass \$TEST_NGINX_ECHO; }
    location = /recent { authgear_require_auth_age 1h; proxy_pass \$TEST_NGINX_ECHO; }
    location = /form { }
    location = /bye { authgear_verify off; }
    location = /_authgear/callback { authgear_login_callback myapp; }
    location = /logout {
        return 302 https://auth.site.test/oauth2/end_session?post_logout_redirect_uri=https%3A%2F%2Fwww.site.test%2Fbye;
    }
}
END
);
client(cookie_domain => 'site.test');

my %network = (width => 1280, height => 900, args => [
    "--host-resolver-rules=MAP www.site.test:443 127.0.0.1:$port,MAP auth.site.test:443 127.0.0.1:$port",
    $trust,
]);
my $browser = Test::Nginx::Authgear::Browser->start(%network);

# --- in, and back to the page

$browser->open("$www/reports?year=2026&q=%C3%A9");
like($browser->url, qr{^https://auth\.site\.test/oauth2/authorize\?}, 'nobody: to the login');
log_in('alice');
is($browser->url, "$www/reports?year=2026&q=%C3%A9", 'and back to the page that was asked for');
like($browser->text, qr/^X-Authgear-User-Id: alice$/m, 'for its user');
is(fetched('/reports'), 200, 'fetch() gets it as well');
unlike(cookies(), qr/authgear_login/, 'no cookie of the login is left');

# --- a session that ended while a form was open

$browser->open("$www/form");
control('POST', '/-/users/alice/disable');
control('POST', '/-/users/alice/enable');
$browser->type('#text', 'a long text');
$browser->click('#send');
is($browser->status, 401, 'a form after the session ended: 401');
is($browser->url, "$www/submit", 'and no login that would lose it');
is(fetched('/reports'), 401, 'fetch(): 401');
$browser->run('history.back()');
soon { eval { $browser->url eq "$www/form" && $browser->run('return document.querySelector("#text").value') eq 'a long text' } }
    'what was written is still there';

# --- three tabs at once

my @tabs = map { $browser->new_tab } 1 .. 3;
for my $number (1 .. 3) {
    $browser->go_to($tabs[$number - 1]);
    $browser->open("$www/tab/$number");
    like($browser->url, qr{^https://auth\.site\.test/}, "tab $number: to the login");
}
for my $number (2, 3, 1) {
    $browser->go_to($tabs[$number - 1]);
    log_in('bob');
    is($browser->url, "$www/tab/$number", "tab $number: back to its own page");
    like($browser->text, qr/^X-Authgear-User-Id: bob$/m, "tab $number: for its user");
}
unlike(cookies(), qr/authgear_login/, 'no cookie of a login is left');

# --- a login that is too old

my $old = session(user => 'carol', auth_time => time - 7200);
$browser->ask(POST => '/cookie', { cookie => { name => 'session', value => $old, domain => '.site.test', path => '/', secure => \1, httpOnly => \1 } });
$browser->open("$www/");
like($browser->text, qr/^X-Authgear-User-Id: carol$/m, 'an old login is good for most pages');
$browser->open("$www/recent");
like($browser->url, qr/[?&]prompt=login&/, 'one that asks for a recent one has it repeated');
log_in('carol');
is($browser->url, "$www/recent", 'and is there');

# --- out

$browser->open("$www/logout");
is($browser->url, $bye, 'the logout comes back');
$browser->open("$www/reports");
like($browser->url, qr{^https://auth\.site\.test/oauth2/authorize\?}, 'and the session has ended');

# --- the user says no

$browser->click('#cancel');
is($browser->status, 403, 'a login that the user cancels: 403');
explains('cancelled', 'You are not logged in');
$browser->click('a');
like($browser->url, qr{^https://auth\.site\.test/oauth2/authorize\?}, 'its link tries again');

# --- Authgear keeps its cookie to itself (http.cookie_domain)

client();
$browser->open("$www/reports?a=b&c=d");
log_in('dave');
like($browser->text, qr/^Choose an account/, 'its cookie does not reach the site: it asks for the account');
$browser->click('#go');
is($browser->url, "$www/reports?a=b&c=d", 'and after the second login there is no third');
is($browser->status, 401, 'but a 401');
explains('not-seen', 'Your login does not reach this site');
client(cookie_domain => 'site.test');
$browser->click('a');
like($browser->text, qr/^Choose an account/, 'its link tries again');

# --- a state that is used a second time

$browser->open("$www/_authgear/callback?state=AAAAAAAAAAAAAAAAAAAAAA");
is($browser->status, 400, 'a callback of no login: 400');
explains('unknown', 'This login cannot be completed');
$browser->stop;

# --- a browser that blocks cookies, on a telephone

$browser = Test::Nginx::Authgear::Browser->start(%network, width => 360, height => 740, dark => 1,
    prefs => { 'profile.default_content_setting_values.cookies' => 2 });
$browser->open("$www/reports");
log_in('erin');
is($browser->status, 400, 'cookies are blocked: 400, and no loop');
explains('blocked', 'This login cannot be completed');
my $over = $browser->run('return document.documentElement.scrollWidth - window.innerWidth');
cmp_ok($over, '<=', 0, 'and nothing is wider than the screen');
$browser->stop;

$nginx->stop_soundly;

done_testing();

# Registers the site at the stand-in.
sub client {
    my (%more) = @_;
    return control('PUT', '/-/login', {
        client_id => 'site', redirect_uris => ["$www/_authgear/callback"], post_logout_redirect_uris => [$bye], %more,
    });
}

sub page {
    my ($name, $body) = @_;
    open my $out, '>', "$folder/html/$name" or die "cannot write: $!\n";
    print {$out} "<!DOCTYPE html><title>$name</title>$body\n";
    close $out;
    return;
}

sub log_in {
    my ($user) = @_;
    $browser->type('[name=user]', $user);
    return $browser->click('#go');
}

sub fetched { return $browser->run("return fetch('$_[0]').then(response => response.status)") }

# The names of all cookies of the page, HttpOnly ones included.
sub cookies { return join ' ', map { $_->{name} } @{ $browser->ask(GET => '/cookie') } }

# The page explains that; nothing else is loaded.
sub explains {
    my ($name, $title) = @_;
    like($browser->text, qr/\A\Q$title\E\n/, "$name: $title");
    is($browser->run('return performance.getEntriesByType("resource").filter(entry => !entry.name.endsWith("favicon.ico")).length'), 0,
        "$name: nothing else is loaded");
    like($browser->run('return getComputedStyle(document.body).maxWidth'), qr/^576px$/, "$name: its style is in force");
    $browser->screenshot("$ENV{SCREENSHOTS}/login-$name.png") if $ENV{SCREENSHOTS};
    return;
}
