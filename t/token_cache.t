# Verified tokens, which all workers share: what is not verified again, and what is
# judged all the same.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep time);

my $source = 'add_header X-Source $authgear_source always;';

sub start {
    my (%option) = @_;
    my $server = join "\n", $source, delete $option{server} // '';
    return Test::Nginx::Authgear::Server->start(workers => 1, %option, server => $server);
}

# "status reason source" of a request.
sub said {
    my ($answer) = @_;
    return "error $answer->{error}" if $answer->{error};
    my ($from) = $answer->{headers} =~ /^X-Source: (\S+)/mi;
    return join ' ', $answer->{status}, $answer->{reason}, $from // '-';
}

sub ask {
    my ($nginx, $token, %request) = @_;
    return said($nginx->ask(token => $token, %request));
}

my ($new, $known) = ('200 ok jwt', '200 ok jwt_cache');

# --- what is remembered

{
    my $nginx = start(
        workers => 2,
        server => <<'END',
location /early { set $early $authgear_user_id; authgear_verify myapp; empty_gif; }
location /again { authgear_verify myapp; try_files /none @target; }
location @target { authgear_verify myapp; empty_gif; }
location /any { satisfy any; deny all; authgear_verify myapp; empty_gif; }
END
    );
    my %to = $nginx->connection_to_each;
    my ($one, $other) = values %to;
    my $token = token(user => 'alice');
    is(ask($nginx, $token, on => $one), $new, 'a token that nobody has seen is verified');
    is(ask($nginx, $token, on => $one), $known, 'and not verified again');
    is(ask($nginx, $token, on => $other), $known, 'nor by another worker');
    is(ask($nginx, $token, on => $one, path => '/any'), $known, 'satisfy any');

    my $answer = $nginx->ask(headers => "Cookie: app_access_token=$token", on => $one);
    is(said($answer), $known, 'the same token in a cookie');
    is($answer->{user}, 'alice', 'names the same user');

    for my $path ('/early', '/again') {
        my $next = token();
        is(ask($nginx, $next, on => $one, path => $path), $new, "$path: what this request verified is no memory");
        is(ask($nginx, $next, on => $one, path => $path), $known, "$path: the next one finds it");
    }

    # Anything but the very same bytes.
    my ($header, $payload, $signature) = split /\./, $token;
    my $mangle = sub { my ($text) = @_; return $text =~ s/^(.{5})(.)/$1 . ($2 eq 'A' ? 'B' : 'A')/er };
    is(ask($nginx, join('.', $header, $payload, $mangle->($signature)), on => $one), '401 bad_signature none',
        'a token with another signature is not that token');
    is(ask($nginx, join('.', $header, $mangle->($payload), $signature), on => $one), '401 bad_signature none',
        'nor is one with another payload');
    my $last = substr $signature, -1;
    my $loose = $last =~ tr/AQgw/BRhx/r;
    is(ask($nginx, join('.', $header, $payload, substr($signature, 0, -1) . $loose), on => $one),
        '401 malformed none', 'nor one whose base64 is sloppy');
    is(ask($nginx, "$token=", on => $one), '401 malformed none', 'nor one with padding');
    is(ask($nginx, $token, on => $one), $known, 'which itself is still known');

    ok($nginx->reload, 'a reload');
    %to = $nginx->connection_to_each;
    ($one) = values %to;
    is(ask($nginx, $token, on => $one), $known, 'is no reason to verify it again');
    $nginx->stop_soundly;
}

# --- what is judged on every request

{
    my $endpoint = 'endpoint $TEST_NGINX_AUTHGEAR;';
    my $nginx = start(
        project => "$endpoint leeway 1s;",
        http => <<"END",
authgear_project same { $endpoint }
authgear_project strict { $endpoint audience https://other.example; }
authgear_project ps { $endpoint algorithms PS256; }
authgear_project clients { $endpoint token_type client; }
END
        server => join("\n",
            (map { "location /$_ { authgear_verify $_; empty_gif; }" } qw(same strict ps clients)),
            'location /staff { authgear_verify myapp; authgear_require_role staff; empty_gif; }',
            'location /shop { authgear_verify myapp; authgear_audience https://shop.example; empty_gif; }',
        ),
    );
    my $token = token();
    is(ask($nginx, $token), $new, 'a token');
    is(ask($nginx, $token), $known, 'that is known');
    is(ask($nginx, $token, path => '/same'), $new, 'another project shares nothing, not even of the same endpoint');
    for (1 .. 2) {
        is(ask($nginx, $token, path => '/strict'), '401 bad_audience none', 'its audience counts');
        is(ask($nginx, $token, path => '/ps'), '401 unsupported_algorithm none', 'its algorithms count');
        is(ask($nginx, $token, path => '/clients'), '401 bad_type none', 'its token type counts');
        is(ask($nginx, $token, path => '/staff'), '403 policy jwt_cache', 'the roles of another location count');
        is(ask($nginx, $token, path => '/shop'), '401 bad_audience none', 'and so does its audience');
    }
    is(ask($nginx, $token), $known, 'the token is known all the while');

    my $short = token(expires_in => 2);
    is(ask($nginx, $short), $new, 'a token that is about to expire');
    is(ask($nginx, $short), $known, 'is known');
    soon { ask($nginx, $short) eq '401 expired none' } 'and expires all the same';
    is(ask($nginx, $short), '401 expired none', 'for good');
    is(ask($nginx, $token), $known, 'unlike others');
    $nginx->stop_soundly;
}

# --- rules that a reload changes

{
    my $other = 'https://other.example';
    my $lax = "typ off; token_type any; leeway 1h; issuer \$TEST_NGINX_AUTHGEAR $other; audience \$TEST_NGINX_AUTHGEAR $other;";
    my $nginx = start(project => $lax);
    my %token = (
        plain => token(),
        'an ID token' => token(header => { typ => 'JWT' }),
        'of a client' => token(claims => { sub => 'client_id_app' }),
        'of another issuer' => token(claims => { iss => $other }),
        'for another audience' => token(audience => [$other]),
        'from an hour ago' => token(expires_in => -60),
    );
    is(ask($nginx, $token{$_}), $new, "before a reload: $_") for sort keys %token;
    my %refused = (
        'an ID token' => '401 bad_type none', 'of a client' => '401 bad_type none',
        'of another issuer' => '401 bad_issuer none', 'for another audience' => '401 bad_audience none',
        'from an hour ago' => '401 expired none',
    );
    my $only = sub { my %wrong = map { $_ => $_[0] } keys %token; return %wrong };
    for (
        # Other issuers make another project of it.
        ['the defaults', '', plain => $new, %refused],
        ['lax rules again', $lax, $only->($known)],
        ['another algorithm', "$lax algorithms PS256;", $only->('401 unsupported_algorithm none')],
        ['a client_id', "$lax client_id nobody;", $only->('401 bad_client none')],
    ) {
        my ($name, $project, %expected) = @$_;
        my $fetches = counts()->{jwks};
        ok($nginx->reload(project => $project), "a reload: $name");
        is(ask($nginx, $token{$_}), $expected{$_}, "$name count for a token that is known: $_") for sort keys %token;
        is(counts()->{jwks}, $fetches, "$name: nothing is fetched");
    }
    $nginx->stop_soundly;
}

# --- keys that leave

{
    my $nginx = start(workers => 3, project => 'jwks_min_interval 1s; jwks_refresh 1s;');
    my %to = $nginx->connection_to_each;
    my $on_each = sub {
        my ($token) = @_;
        my %count;
        $count{ ask($nginx, $token, on => $_) }++ for values %to;
        return \%count;
    };
    my $old = token();
    is_deeply($on_each->($old), { $new => 1, $known => 2 }, 'a token, in three workers: verified once');
    is_deeply($on_each->($old), { $known => 3 }, 'known in each');

    control('POST', '/-/keys/rotate', {});
    my $newer = token();
    soon { ask($nginx, $newer) =~ /^200/ } 'a key comes';
    is_deeply($on_each->($old), { $known => 3 }, 'tokens of the old one are known');

    my $kept = token();
    $on_each->($kept);
    control('POST', '/-/keys/rotate', { keep_old => JSON::PP::false() });
    my $newest = token();
    soon { ask($nginx, $newest) =~ /^200/ } 'the old keys leave';
    for my $token ($old, $newer, $kept) {
        is_deeply($on_each->($token), { '401 unknown_key none' => 3 },
            'a key that left takes its tokens along, in every worker at once');
    }
    $on_each->($newest);
    is_deeply($on_each->($newest), { $known => 3 }, 'those of the new key are known');

    # Without a kid a token is good as long as one key fits.
    my $bare = token(header_remove => ['kid']);
    is_deeply($on_each->($bare), { $new => 1, $known => 2 }, 'a token without kid');
    is_deeply($on_each->($bare), { $known => 3 }, 'is known');
    control('POST', '/-/keys/rotate', {});
    my $second = token();
    soon { ask($nginx, $second) =~ /^200/ } 'until there is a second key';
    is_deeply($on_each->($bare), { '401 unknown_key none' => 3 }, 'that it could be of');
    $nginx->stop_soundly;
}

# --- which tokens, and how many

# Sends other tokens until a zone of the least size has none of those before.
sub crowd_out {
    my ($nginx) = @_;
    my @others = map { { token => token(user => "other-$_") } } 1 .. 400;
    my %count;
    while (my @piece = splice @others, 0, 50) {
        my $tally = $nginx->tally($nginx->receive(map { $nginx->send(%$_) } @piece));
        $count{$_} += $tally->{$_} for keys %$tally;
    }
    is_deeply(\%count, { '200 ok' => 400 }, '400 other tokens are let in');
}

my $least = 'authgear_shared_zone zone=authgear:512k;';

{
    my $nginx = start(http => "$least authgear_token_cache off;");
    my ($token, $used) = (token(user => 'alice'), token(user => 'bob'));
    ask($nginx, $_) for $token, $used;
    is(ask($nginx, $_), $known, 'off: tokens are known to all workers') for $token, $used;

    my $refused = 0;
    my ($header, undef, $signature) = split /\./, $token;
    for my $number (1 .. 60) {
        my (undef, $payload) = split /\./, token(user => "forged-$number");
        $refused += ask($nginx, "$header.$payload.$signature") eq '401 bad_signature none';
        $refused += ask($nginx, token(key => 'stranger')) eq '401 bad_signature none';
        $refused += ask($nginx, token(expires_in => -1)) eq '401 expired none';
        $refused += ask($nginx, "$header.$number.x") =~ /^401 malformed/;
    }
    is($refused, 240, 'forged, foreign, expired and broken tokens');
    is(ask($nginx, $_), $known, 'push nothing out') for $token, $used;
    unlike($nginx->log_text, qr/too small/, 'and are no reason to enlarge the zone');

    crowd_out($nginx);
    is(ask($nginx, $token), $new, 'others do, where there is no room for all');
    my @warnings = $nginx->log_text =~ /\[warn\].*the shared zone is too small/g;
    is(@warnings, 1, 'which is said once');
    $nginx->stop_soundly;
}

{
    my $nginx = start(http => "$least authgear_token_cache 1000;");
    my $token = token(user => 'alice');
    ask($nginx, $token);
    crowd_out($nginx);
    is(ask($nginx, $token), $known, 'authgear_token_cache: a worker keeps tokens of its own beside the zone');
    $nginx->stop_soundly;
}

{
    my $nginx = start(http => "$least authgear_token_cache 3;");
    my $token = token(user => 'alice');
    ask($nginx, $token);
    crowd_out($nginx);
    is(ask($nginx, $token), $new, 'as many as it says');
    $nginx->stop_soundly;
}

# --- large tokens

{
    my $nginx = start(
        http => 'authgear_token_cache off; large_client_header_buffers 4 32k;',
        server => 'add_header X-Claim $authgear_claim_note always; add_header X-Scope $authgear_scope always;',
        workers => 2,
    );
    my %to = $nginx->connection_to_each;
    my ($one, $other) = values %to;
    for my $size (300, 2000, 9000) {
        my $token = token(user => 'alice', claims => { scope => "a b$size " . 'x' x $size, note => "n$size" });
        is(ask($nginx, $token, on => $one), $new, "a token with $size bytes of scope is verified");
        for my $to ($one, $other) {
            my $answer = $nginx->ask(token => $token, on => $to);
            is(said($answer), $known, 'once for all workers');
            is($answer->{user}, 'alice', 'with its user');
            like($answer->{headers}, qr/^X-Scope: a b$size x{$size}\r?$/m, 'its scope');
            like($answer->{headers}, qr/^X-Claim: n$size\r?$/m, 'and its other claims');
        }
        my ($header, $payload, $signature) = split /\./, $token;
        (my $forged = $signature) =~ s/^(.{5})(.)/$1 . ($2 eq 'A' ? 'B' : 'A')/e;
        is(ask($nginx, "$header.$payload.$forged", on => $other), '401 bad_signature none',
            'another signature is none');
    }
    $nginx->stop_soundly;
}

# --- a worker that dies

{
    my $nginx = start(http => 'authgear_token_cache off;', workers => 2);
    my %to = $nginx->connection_to_each;
    my ($killed, $other) = sort keys %to;
    my $token = token(user => 'alice');
    is(ask($nginx, $token, on => $to{$killed}), $new, 'a token that one worker verified');
    kill KILL => $killed;
    is(ask($nginx, $token, on => $to{$other}), $known, 'is known when that worker is dead');
    $nginx->stop_soundly(killed => 1);
}

# --- tenants

{
    my $nginx = start(
        project => 'endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR;',
    );
    my ($red, $blue) = map {
        control('POST', "/-/token?project=https://$_.example.com", { user => $_ })
    } qw(red blue);
    for my $source ('jwt', 'jwt_cache') {
        is(ask($nginx, $red, path => '/?t=red'), "200 ok $source", "red's token at red: $source");
        is(ask($nginx, $blue, path => '/?t=blue'), "200 ok $source", "blue's token at blue: $source");
    }
    is(ask($nginx, $red, path => '/?t=blue'), '401 unknown_key none', 'a tenant knows nothing of another');
    is(ask($nginx, $blue, path => '/?t=red'), '401 unknown_key none', 'nor the other way round');

    # Tenants with the same keys are still two.
    control('PUT', "/-/keys/raw?project=https://$_.example.com", key_set()) for qw(green yellow);
    my $token = token(claims => { iss => 'https://green.example.com', aud => ['https://green.example.com'] });
    is(ask($nginx, $token, path => '/?t=green'), $new, 'a tenant with keys of another');
    is(ask($nginx, $token, path => '/?t=green'), $known, 'knows its token');
    is(ask($nginx, $token, path => '/?t=yellow'), '401 bad_issuer none', 'which is good there alone');
    $nginx->stop_soundly;
}

# --- tokens that the resolver confirms

{
    my $nginx = start(
        project => 'resolve_request /_authgear/resolve; recheck 1s strict;',
        server => 'include $TEST_NGINX_RESOLVER;',
    );
    my $token = token(user => 'bob');
    is(ask($nginx, $token), $new, 'recheck: a token is verified and confirmed');
    is(ask($nginx, $token), $known, 'then known');
    my $asked = counts()->{resolver};
    soon { ask($nginx, $token); counts()->{resolver} > $asked } 'and confirmed again in its time';
    is(ask($nginx, $token), $known, 'while it is known');
    control('POST', '/-/users/bob/disable');
    soon { ask($nginx, $token) eq '401 session_invalid none' } 'a disabled user is out all the same';
    is(ask($nginx, $token), '401 session_invalid none', 'for good');
    $nginx->stop_soundly;
}

done_testing();
