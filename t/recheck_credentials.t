# recheck beside other credentials: which tokens the resolver is asked about, and that
# its answer holds for that token alone.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Recheck;
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep);

subtest 'a token is the same token in a cookie' => sub {
    start('recheck 1h strict;');
    my ($user, $token) = someone();
    is(outcome(headers => cookie(app_access_token => $token)), "200 ok $user jwt", 'in app_access_token');
    is(asked(), 1, 'it is confirmed');
    is(outcome(token => $token), "200 ok $user jwt", 'in the Authorization header');
    is(asked(), 1, 'it is known');
    stop();
};

subtest "a client's token is never sent to the resolver" => sub {
    for my $strict ('', ' strict') {
        start("recheck 1s$strict; token_type any; audience api " . standin()->{origin} . ';');
        # For the endpoint too, as any that the resolver could judge.
        my $m2m = token(kind => 'm2m', client_id => 'robot', audience => ['api', standin()->{origin}]);
        my $session = session(user => 'alice');
        is(outcome(token => $m2m), '200 ok - jwt', "let in$strict");
        sleep 1.1;
        is(outcome(token => $m2m), '200 ok - jwt', 'after the interval, too');
        is(outcome(token => $m2m, headers => cookie(session => $session)), '200 ok - jwt', 'and beside a session');
        is(outcome(headers => cookie(app_access_token => $m2m)), '200 ok - jwt', 'and as a cookie');
        my ($user, $token) = someone();
        is(outcome(token => $token), "200 ok $user jwt", "a user's token");
        soon { asked() } 'is';
        is((grep { $_->{headers}{authorization}[0] ne "Bearer $token" } asked_requests()), 0, 'that alone');
        stop();
    }
};

subtest 'a token that is refused here asks nobody' => sub {
    start('recheck 1h strict;');
    my %bad = (
        expired => token(expires_in => -1),
        bad_signature => token(key => 'stranger'),
        bad_audience => token(audience => ['https://api.example.com']),
        bad_type => token(kind => 'id'),
    );
    is(outcome(token => $bad{$_}), "401 $_ - none", $_) for sort keys %bad;
    is(asked(), 0, 'nobody is asked');
    stop();
};

subtest 'a yes for another user confirms nothing' => sub {
    my %yes = (status => 200, headers => { 'X-Authgear-Session-Valid' => 'true', 'X-Authgear-User-Id' => 'somebody-else' });
    for my $strict ('', ' strict') {
        start("recheck 1h$strict;");
        fault(resolver => 'status', %yes);
        my ($user, $token) = someone();
        is(outcome(token => $token), $strict ? $no : "200 ok $user jwt", "the first request$strict");
        soon { outcome(token => $token) eq $no } 'it is as a no';
        stop();
    }
};

subtest "a token beside another user's cookie" => sub {
    for my $kind (qw(idp app)) {
        my $name = $kind eq 'app' ? 'app_session' : 'session';
        for my $strict ('', ' strict') {
            start("recheck 1s$strict;");
            my ($user, $token) = someone();
            my ($other) = someone();
            my @both = (token => $token, headers => cookie($name => session(user => $other, kind => $kind)));
            is(outcome(@both), "200 ok $user jwt", "the token is who comes in, $name$strict");
            soon { asked() == 1 } 'and is confirmed';
            sleep 1.1;
            is(outcome(@both), "200 ok $user jwt", 'again');
            control('POST', '/-/token/revoke', $token);
            soon { outcome(@both) eq "200 ok $other resolver" } 'when it is revoked the cookie counts';
            is(outcome(token => $token), $no, 'alone the token is refused');
            is(outcome(@both), "200 ok $other resolver", 'the cookie counts on');

            # The question was about the token alone.
            ($user, $token) = someone();
            @both = (token => $token, headers => cookie($name => session(user => $other, kind => $kind)));
            is(outcome(@both), "200 ok $user jwt", 'another user');
            disable($user);
            soon { outcome(@both) eq "200 ok $other resolver" } 'the cookie counts when the user is disabled, too';
            stop();
        }
    }
    start('recheck 1h strict;');
    my ($user, $token) = someone();
    my ($other) = someone();
    control('POST', '/-/token/revoke', $token);
    my $cookie = cookie(session => session(user => $other));
    is(outcome(token => $token, headers => $cookie), "200 ok $other resolver", 'strict: at the first request the cookie counts');
    is(asked(), 2, 'after a question about each');
    stop();
};

subtest 'beside resolve_cache: sessions and tokens do not share verdicts' => sub {
    start('recheck 1h strict; resolve_cache 1h;');
    my ($user, $token) = someone();
    my $opaque = token(user => $user, kind => 'opaque');
    my $cookie = cookie(session => session(user => $user));
    is(outcome(token => $token), "200 ok $user jwt", 'a JWT');
    is(outcome(headers => $cookie), "200 ok $user resolver", 'a session');
    is(outcome(token => $opaque), "200 ok $user resolver", 'an opaque token');
    is(asked(), 3, 'three questions');
    is(outcome(token => $token), "200 ok $user jwt", 'the JWT again');
    is(outcome(headers => $cookie), "200 ok $user resolver_cache", 'the session again');
    is(outcome(token => $opaque), "200 ok $user resolver_cache", 'the opaque token again');
    is(asked(), 3, 'no question more');
    stop();
};

subtest 'two projects do not share a confirmation' => sub {
    start('recheck 1h strict;',
        http => 'authgear_project twin { endpoint $TEST_NGINX_AUTHGEAR; resolve_request /_authgear/resolve;
            recheck 1h strict; }',
        server => 'location /twin { authgear_verify twin; empty_gif; }');
    my ($user, $token) = someone();
    is(outcome(token => $token), "200 ok $user jwt", 'one');
    is(outcome(token => $token, path => '/twin'), "200 ok $user jwt", 'the other');
    is(asked(), 2, 'two questions');
    stop();
};

done_testing();
