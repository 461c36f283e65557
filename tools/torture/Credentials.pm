package Credentials;

# Credentials of all kinds for torture.pl, minted once, and random mixes of them in a
# request. Each good one names the one user that it makes; whoever a bad one names is
# called ghost-something and may never appear.

use strict;
use warnings;

use Exporter qw(import);
use MIME::Base64 qw(encode_base64url);
use Test::Nginx::Authgear standin => 0;
use Test::Nginx::Authgear::Server qw(key_set);
use Conf qw(chance one);

our @EXPORT_OK = qw(make mix %since $secret_parts);

# When each user logged in, by which a session is told, too.
our %since;
# A pattern of what no log may hold.
our $secret_parts;

my (@good, @bad, @tenants);

sub make {
    my ($minutes) = @_;
    my %long = (expires_in => 60 * $minutes + 3600);
    control('POST', '/-/keys/add', { kty => 'EC', crv => 'P-256' });
    my $began = int time;
    for my $user (qw(alice bob carol)) {
        $since{$user} = $began - 1000 - 100 * keys %since;
        user(id => $user, roles => ["role-$user"]);
        my %who = (user => $user, auth_time => $since{$user}, %long, claims => { torture => $user, deep => { 'er.st' => $user },
            email => "$user\r\nX-Authgear-User-Id: ghost-header" });
        push @good, map { { user => $user, text => token(%who, %$_), bearer => 1 } } (
            {}, {}, { alg => 'ES256' }, { audience => [standin()->{origin}, 'https://api.example.com'] }, { amr => [] },
                { client_id => 'robot' },
            { claims => { torture => $user, big => 'x' x 5000 } }, { kind => 'opaque' },
        );
        push @good, { user => $user, text => session(user => $user, auth_time => $since{$user}), cookie => 'session' },
            { user => $user, text => session(user => $user, auth_time => $since{$user}, kind => 'app'),
                cookie => 'app_session' };
    }
    push @good, map { { user => '', text => token(kind => 'm2m', client_id => $_, %long, audience => [standin()->{origin},
        'https://api.example.com'], claims => { torture => '' }), bearer => 1 } } qw(robot toy);

    my @broken = (
        expired => { expires_in => -100 }, future => { claims => { nbf => $began + 100_000 } }, forged => { key => 'stranger' },
            none => { alg => 'none' },
        hmac => { alg => 'HS256' }, audience => { audience => ['https://other.example.com'] },
            issuer => { claims => { iss => 'https://other.example.com' } },
        id => { kind => 'id' }, 'no-exp' => { remove => ['exp'] }, cnf => { claims => { cnf => { jkt => 'x' } } },
            crit => { header => { crit => ['x'] } },
        text => { claims => { exp => 'soon' } }, kid => { header => { kid => 'made-up' } },
            line => { header => { kid => "a\r\nb" } },
        nul => { claims => { sub => "ghost-nul\0alice" } },
            role => { claims => { 'https://authgear.com/claims/user/roles' => [1] } },
    );
    while (my ($name, $fields) = splice @broken, 0, 2) {
        push @bad, { text => token(user => "ghost-$name", %$fields), bearer => 1 };
    }
    push @bad, { text => token(user => 'ghost-disabled', kind => 'opaque'), bearer => 1 };
    push @bad, { text => session(user => 'ghost-disabled'), cookie => 'session' };
    control('POST', '/-/users/ghost-disabled/disable');
    for my $tenant (qw(one two)) {
        my $origin = "https://tenant-$tenant.example.com";
        control('PUT', "/-/keys/raw?project=$origin", key_set());
        my $token = token(user => "user-of-$tenant", %long, claims => { iss => $origin, aud => [$origin],
            torture => "user-of-$tenant" });
        push @tenants, { user => "user-of-$tenant", text => $token, bearer => 1, tenant => "tenant-$tenant" };
        $since{"user-of-$tenant"} = undef;
    }
    my @parts = map { length > 40 ? substr $_, -40 : $_ } map { $_->{text} } @good, @bad, @tenants;
    $secret_parts = join '|', map { quotemeta } grep { length > 15 } @parts;
    $secret_parts = qr/$secret_parts/;
    return;
}

# A token of alice that every project accepts.
sub plain_token { return $good[3]{text} }

# A text that was never issued.
sub made_up {
    my $text = one(@good, @tenants)->{text};
    my $at = int rand length $text;
    return one(
        substr($text, 0, $at) . (substr($text, $at, 1) eq 'A' ? 'B' : 'A') . substr($text, $at + 1),
        'made-up-' . int rand 1e6, 'eyJ' . 'A' x int rand 200, '..', 'a.b.c', "$text.$text", 'x' x (1 + rand 3000), '', '%00',
            "\x80\xff", "$text\x01",
        encode_base64url('{"alg":"RS256","kid":' . '[' x 70 . ']' x 70 . '}') . '.e30.AA', '"', "a b", '=', '~' x 40,
    );
}

# Header lines, a query, and the users whose good credentials are in them.
sub mix {
    my ($prefix) = @_;
    my (@headers, @cookies, @query, %users);
    my $times = one(0, 1, 1, 1, 1, 2, 2, 3, 6);
    $times = 40 if chance(0.02);
    for (1 .. $times) {
        my $one = chance(0.55) ? one(@good) : chance(0.5) ? one(@bad) : chance(0.3) ? one(@tenants) : { text => made_up(),
            bearer => chance(0.5) };
        if ($one->{tenant}) {
            push @query, 't=' . (chance(0.7) ? $one->{tenant} : one(@tenants)->{tenant});
            $users{ $one->{user} } = $one->{tenant};
        }
        elsif (defined $one->{user}) { $users{ $one->{user} } = 1 }
        if ($one->{bearer} && chance(0.75)) {
            if (chance(0.1)) { push @query, "access_token=$one->{text}"; next }
            if (chance(0.08)) { push @headers, "X-Token: $one->{text}"; next }
            if (chance(0.05)) { push @headers, "Sec-WebSocket-Protocol: chat, authgear.$one->{text}"; next }
            my $scheme = one('Bearer', 'Bearer', 'Bearer', 'Bearer', 'bearer', 'BEARER', 'Bearer ', "Bearer\t", 'Basic', '',
                'DPoP');
            my $line = "Authorization: $scheme $one->{text}";
            $line .= one(' ', "\t", '  ') if chance(0.1);
            # Two make a 400.
            push @headers, $line if !(grep { /^authorization/i } @headers) || chance(0.15);
            next;
        }
        my $name = $one->{cookie} // one(qw(app_access_token app_access_token app_session session token));
        $name = one(qw(session app_session app_access_token)) if chance(0.1);
        my $value = chance(0.15) ? "\"$one->{text}\"" : $one->{text};
        push @cookies, (chance(0.8) ? $prefix : '') . "$name=$value";
    }
    push @cookies, map { "c$_=" . 'v' x rand 60 } 1 .. one(0, 3, 30, 150) if chance(0.15);
    push @cookies, one('session', '=x', 'session=', 'session = x', 'authgear_login_x=1', 'authgear_logins=2', "a=\x80", ';;;',
        'session="', '$Version=1') if chance(0.15);
    if (@cookies) {
        @cookies = sort { rand() <=> 0.5 } @cookies;
        if (chance(0.15)) { push @headers, map { "Cookie: $_" } @cookies }
        else { push @headers, 'Cookie: ' . join one('; ', '; ', ';', ' ;  '), @cookies }
    }
    return (\@headers, \@query, \%users);
}

1;
