# authgear_close_expired: a response or an upgraded connection that is still open ends when its token expires
# or its user is revoked, and no client takes it for whole.

use strict;
use warnings;

use Errno qw(ECONNRESET);
use IO::Select;
use JSON::PP ();
use POSIX qw(strftime);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Http2;
use Test::Nginx::Authgear::Http3;
use Test::Nginx::Authgear::Resolver qw(cookie);
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;
use Time::HiRes qw(sleep time);

# A backend whose body never ends: a byte each 100 ms.
my $stream = start_standin();
control('PUT', '/-/fault/jwks', { mode => 'drip' }, $stream);
my $echo = echo_origin();

my $locations = <<"END";
proxy_http_version 1.1;
proxy_buffering off;
proxy_set_header Upgrade \$http_upgrade;
proxy_set_header Connection upgrade;
include \$TEST_NGINX_RESOLVER;
authgear_close_expired on;
location /ws { authgear_verify myapp; proxy_pass $echo; }
location /optional { authgear_verify myapp optional; proxy_pass $echo; }
location /observe { authgear_verify myapp observe; proxy_pass $echo; }
location /off { authgear_verify myapp; authgear_close_expired off; proxy_pass $echo; }
location /moved { authgear_verify myapp; try_files /none /off; }
location /stream {
    authgear_verify myapp; proxy_set_header Connection ''; proxy_pass $stream->{http}/oauth2/jwks;
}
location /close {
    authgear_verify myapp; proxy_http_version 1.0; proxy_pass $stream->{http}/oauth2/jwks;
}
location /silent { authgear_verify myapp; proxy_pass http://127.0.0.1:$ENV{TEST_NGINX_SILENT}; }
END

# A backend that never answers.
my $silent;
BEGIN {
    require IO::Socket::INET;
    $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die "cannot listen: $@\n";
    $ENV{TEST_NGINX_SILENT} = $silent->sockport;
}

my ($h2_port, $h3_port) = map { Test::Nginx::Authgear::Server::other_port($_) } 1, 2;
my $stream_location = "location /stream { authgear_verify myapp; proxy_pass $stream->{http}/oauth2/jwks; }";
my $other_servers = join "\n", map { "server { $_ authgear_close_expired on; proxy_buffering off; $stream_location location / { empty_gif; } }" }
    http2_listen($h2_port), has_http3() ? http3_listen($h3_port) : ();

my $nginx = Test::Nginx::Authgear::Server->start(
    workers => 4, http => $other_servers,
    project => 'leeway 3s; token_type any; resolve_request /_authgear/resolve; resolve_cache 10m; webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;',
    server => webhook_location() . $locations,
);
my $users = 0;
# Seconds in which a closing must have come: it takes one, but the machine may be busy.
my $promptly = 5;

# Opens a connection: upgraded, or a body that drips.
sub opened {
    my ($path, %more) = @_;
    my $socket = ($more{nginx} // $nginx)->connection;
    my $upgrade = $path =~ /stream|close|silent/ ? '' : "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    my $version = $path eq '/close' ? '1.0' : '1.1';
    print {$socket} "GET $path HTTP/$version\r\nHost: localhost\r\n$upgrade"
        . (defined $more{token} ? "Authorization: Bearer $more{token}\r\n" : '')
        . ($more{headers} ? "$more{headers}\r\n" : '') . "\r\n";
    return { socket => $socket, text => '' } if $path eq '/silent';
    my $one = { socket => $socket, text => '' };
    my $expected = $upgrade ? 101 : 200;
    wait_for { taken($one); $one->{text} =~ /\r\n\r\n/ } 10;
    like($one->{text}, qr{^HTTP/1\.\d $expected }, "$path is open");
    return $one;
}

# Reads what is there; notes how the connection ended.
sub taken {
    my ($one) = @_;
    return if $one->{ended};
    while (IO::Select->new($one->{socket})->can_read(0)) {
        my $got = sysread $one->{socket}, $one->{text}, 65536, length $one->{text};
        next if $got;
        $one->{ended} = defined $got ? 'end' : $!{ECONNRESET} ? 'reset' : "$!";
        $one->{at} = time;
        last;
    }
    return;
}

# How they ended before so many seconds have passed, and that nobody took the body for whole.
sub ended {
    my ($seconds, @all) = @_;
    wait_for { taken($_) for @all; !grep { !$_->{ended} } @all } $seconds;
    return join ' ', map { $_->{text} =~ /\r\n0\r\n/ ? 'whole' : $_->{ended} // 'open' } @all;
}

sub is_open {
    my ($one, $name) = @_;
    taken($one);
    return ok(!$one->{ended}, $name);
}

# True if an upgraded connection still carries bytes.
sub carries {
    my ($one, $name) = @_;
    my $text = 'message-' . rand;
    print { $one->{socket} } $text;
    my $came = wait_for { taken($one); $one->{text} =~ /\Q$text\E/ } 10;
    return ok($came, $name);
}

sub new_user { return 'user-' . ++$users }

sub token_for {
    my ($user, %more) = @_;
    return token(user => $user, claims => { iat => int(time) - 10, auth_time => int(time) - 10 }, %more);
}

subtest 'when the token expires' => sub {
    my $expires = int(time) + 15;
    # The leeway included.
    my $short = sub { token(user => new_user(), expires_in => $expires - 3 - int(time)) };
    my @short = map { opened($_, token => $short->()) } qw(/ws /stream /close);
    my @long = map { opened($_, token => token(user => new_user())) } qw(/ws /stream);
    my ($off, $observe, $moved) = map { opened($_, token => $short->()) } qw(/off /observe /moved);
    my $anonymous = opened('/optional');
    carries($short[0], 'a WebSocket carries bytes');
    is(ended(30, @short), 'reset reset reset', 'WebSocket, event stream and a body up to the end are reset');
    for my $one (@short) {
        cmp_ok($one->{at}, '>=', $expires - 0.1, 'not before the token expires');
        cmp_ok($one->{at}, '<', $expires + $promptly, 'and soon after it');
    }
    carries($long[0], 'others go on');
    is_open($long[1], 'and so do their streams');
    carries($off, 'where it is off nothing is closed');
    carries($observe, 'nor under observe');
    carries($moved, 'nor what an internal redirect took to where it is off');
    carries($anonymous, 'nor for anonymous callers');
};

subtest 'when the user is revoked, in every worker' => sub {
    my ($user, $other) = (new_user(), new_user());
    my $token = token_for($user);
    my @all = map { opened('/ws', token => $token) } 1 .. 12;
    my $stream = opened('/stream', token => $token);
    my $kept = opened('/ws', token => token_for($other));
    my $off = opened('/off', token => $token);
    my $client = opened('/ws', token => token(kind => 'm2m', client_id => 'robot', audience => [standin()->{origin}]));
    my $late = opened('/ws', token => token(user => $user, claims => { iat => int(time) + 60, auth_time => int(time) + 60 }));
    is(deliver($nginx, event('user.reenabled', $user)), 204, 'an event that ends nothing');
    sleep 0.6;
    is_open($all[0], 'closes nothing');
    is(deliver($nginx, event('user.disabled', $user)), 204, 'disabled');
    my $at = time;
    is(ended(10, @all, $stream), join(' ', ('reset') x 13), 'all are reset');
    my ($last) = sort { $b <=> $a } map { $_->{at} } @all, $stream;
    cmp_ok($last - $at, '<', $promptly, 'soon');
    is(deliver($nginx, event('user.disabled', 'client_id_robot')), 204, 'a user of the name of a client');
    sleep 0.6;
    carries($kept, q{another user's is not});
    carries($client, q{nor a client's});
    carries($off, 'nor one where it is off');
    carries($late, 'nor one of a later login');
};

subtest 'a planned disabling' => sub {
    my ($user, $spared) = (new_user(), new_user());
    my @all = map { opened('/ws', token => token_for($_)) } $user, $spared;
    # Both plans, and what puts one off, are there by then.
    my $from = int(time) + 8;
    my $plan = sub {
        event('user.disabled', $_[0], user => { is_disabled => JSON::PP::false },
            payload => { temporarily_disabled_from => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $_[1]) });
    };
    is(deliver($nginx, $plan->($_, $from)), 204, 'a plan') for $user, $spared;
    is(deliver($nginx, $plan->($spared, $from + 1000)), 204, 'put off');
    is(ended(20, $all[0]), 'reset', 'closes at its time');
    cmp_ok($all[0]{at}, '>=', $from - 0.1, 'not before');
    cmp_ok($all[0]{at}, '<', $from + $promptly, 'soon after it');
    carries($all[1], 'one that was put off does not');
};

subtest 'a session of the resolver' => sub {
    my ($user, $later) = (new_user(), new_user());
    my $session = sub { cookie(session => session(user => $_[0], auth_time => int(time) - $_[1])) };
    my @all = map { opened($_, headers => $session->($user, 100)) } qw(/ws /stream);
    my $kept = opened('/ws', headers => $session->($later, 10));
    is(deliver($nginx, event('user.disabled', $user)), 204, 'disabled');
    my ($same, $at) = (new_user(), int(time) - 50);
    push @all, opened('/ws', headers => cookie(session => session(user => $same, auth_time => $at)));
    is(deliver($nginx, event('user.disabled', $later, at => time - 50)), 204, 'disabled before the login');
    is(deliver($nginx, event('user.disabled', $same, at => $at)), 204, 'disabled in the second of the login');
    is(ended(10, @all), 'reset reset reset', 'is closed');
    carries($kept, 'one that began later is not');
};

subtest 'a JWT that the resolver vouches for, since keys are missing' => sub {
    fault(discovery => 'status', status => 500);
    my $keyless = Test::Nginx::Authgear::Server->start(
        beside => 3, project => 'leeway 3s; resolve_request /_authgear/resolve; resolve_cache 10m;',
        server => 'add_header X-Source $authgear_source always;' . $locations,
    );
    my $expires = int(time) + 15;
    my @short = map { opened($_, nginx => $keyless, token => token(user => new_user(), expires_in => $expires - 3 - int(time))) } qw(/ws /stream);
    my $long = opened('/ws', nginx => $keyless, token => token(user => new_user()));
    like($_->{text}, qr/^X-Source: resolver\r$/m, 'admitted by the resolver') for @short, $long;
    is(ended(30, @short), 'reset reset', 'ends when it expires');
    for my $one (@short) {
        cmp_ok($one->{at}, '>=', $expires - 0.1, 'not before');
        cmp_ok($one->{at}, '<', $expires + $promptly, 'and soon after it');
    }
    carries($long, 'one that lasts longer does not');
    heal();
    $keyless->signal('TERM');
    ok($keyless->ends, 'nginx ends');
};

subtest 'a backend that has not answered yet' => sub {
    my $user = new_user();
    my $waiting = opened('/silent', token => token_for($user));
    my $backend = $silent->accept;
    is(deliver($nginx, event('user.disabled', $user)), 204, 'disabled');
    is(ended(10, $waiting), 'reset', 'is given up');
    my $is_over = wait_for { my $got = sysread $backend, my $text, 65536; defined $got && $got == 0 } 10;
    ok($is_over, 'on the other side too');
};

subtest 'over HTTP/2 and HTTP/3 the stream alone ends' => sub {
    my ($user, $other) = (new_user(), new_user());
    my $h2 = http2($h2_port);
    my ($closed, $kept) = map { $h2->request('GET /stream', 'Authorization: Bearer ' . token_for($_)) } $user, $other;
    my $streams = $h2->{streams};
    $h2->read_frame while !length $streams->{$closed}{body} || !length $streams->{$kept}{body};
    is(deliver($nginx, event('user.disabled', $user)), 204, 'disabled');
    is($h2->answer($closed)->{status}, 'reset', 'the stream of HTTP/2 is reset');
    my $length = length $streams->{$kept}{body};
    $h2->read_frame while length $streams->{$kept}{body} == $length && !$streams->{$kept}{ended};
    ok(!$streams->{$kept}{ended}, 'and the other one of its connection goes on');
    return if !has_http3();
    my $h3 = http3($h3_port);
    my $short = token(user => new_user(), expires_in => 3);
    is($h3->ask('GET /stream', "Authorization: Bearer $short")->{status}, 0, 'the stream of HTTP/3 does not end whole');
    is($h3->ask('GET /')->{status}, 200, 'and its connection goes on');
};

subtest 'a reload, and requests that end by themselves' => sub {
    my ($user, $token) = (new_user());
    $token = token_for($user);
    my @old = map { opened('/ws', token => $token) } 1 .. 4;
    is($nginx->ask(path => '/', token => $token)->{status}, 200, 'a response that is whole');
    close $old[3]{socket};
    ok($nginx->reload, 'a reload');
    is(deliver($nginx, event('user.disabled', $user)), 204, 'disabled at the new workers');
    is(ended(10, @old[0 .. 2]), 'reset reset reset', 'connections of the old ones are closed');
};

$nginx->signal('TERM');
ok($nginx->ends, 'nginx ends');
$nginx->was_sound;

done_testing();
