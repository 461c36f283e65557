package Test::Nginx::Authgear::Resolver;

# The resolver's location for test files: nginx-conf/authgear_resolver.conf as it
# is shipped, but for where the resolver is: on a port of its own, as a self-hosted
# server's. `include $TEST_NGINX_RESOLVER;` in a config section makes it, and the
# project says `resolve_request /_authgear/resolve;`.
# $TEST_NGINX_FAILING_PROJECTS (in http) and $TEST_NGINX_FAILING_RESOLVERS (in server)
# have questions that fail: the projects hasty, whose resolver must answer in 300 ms, and
# refused; and /recheck and /recheck-refused, which ask in the background.

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter qw(import);
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use Test::Nginx::Authgear ();

our @EXPORT = qw(asked asked_requests cookie people shipped resolver_origin);
our @EXPORT_OK = qw(@kinds credentials headers_of outcome source start_resolving stop_resolving told);

my $root = abs_path(dirname(__FILE__) . '/../../../../..');
my $directory = $ENV{AUTHGEAR_TEST_DIR} || tempdir(CLEANUP => 1);

if (Test::Nginx::Authgear::standin()) {
    $ENV{TEST_NGINX_RESOLVER} = "$directory/resolver.conf";
    open my $out, '>', $ENV{TEST_NGINX_RESOLVER} or die "cannot write: $!\n";
    my $text = shipped('authgear_resolver.conf',
        'https://authgear_resolver' => resolver_origin(),
        '/etc/ssl/certs/ca-certificates.crt' => certificates());
    print {$out} $text;
    close $out;

    # Projects whose questions fail, and projects that ask in the background of a request.
    my ($endpoint, $host, $echo) = @ENV{qw(TEST_NGINX_AUTHGEAR TEST_NGINX_AUTHGEAR_HOST TEST_NGINX_ECHO)};
    my %project = (
        hasty => '/_hasty/resolve;',
        refused => '/_refused/resolve;',
        recheck => '/_authgear/resolve; recheck 1h;',
        recheck_refused => '/_refused/resolve; recheck 1h;',
    );
    $ENV{TEST_NGINX_FAILING_PROJECTS} = join '',
        map {"authgear_project $_ { endpoint $endpoint; resolve_request $project{$_} }\n"} sort keys %project;
    $ENV{TEST_NGINX_FAILING_RESOLVERS} = <<"END";
location = /_hasty/resolve {
    internal;
    proxy_read_timeout 300ms;
    proxy_set_header Host $host;
    proxy_pass @{[resolver_origin()]}/_resolver/resolve;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
}
location = /_refused/resolve {
    internal;
    proxy_pass http://127.0.0.1:1;
    proxy_pass_request_body off;
    proxy_set_header Content-Length "";
}
location = /recheck { authgear_verify recheck; proxy_pass $echo; }
location = /recheck-refused { authgear_verify recheck_refused; proxy_pass $echo; }
END
}

# The resolver's own address, which is not the endpoint's.
sub resolver_origin { return Test::Nginx::Authgear::standin()->{resolver} }

# A file that nginx can take for CA certificates.
sub certificates {
    my ($file) = grep { defined && -e }
        Test::Nginx::Authgear::standin()->{ca}, '/etc/ssl/certs/ca-certificates.crt';
    return $file // die "no CA certificates\n";
}

# A file of nginx-conf/, with some of its text replaced.
sub shipped {
    my ($name, @replace) = @_;
    open my $in, '<', "$root/nginx-conf/$name" or die "cannot read $name: $!\n";
    my $text = do { local $/; <$in> };
    while (my ($old, $new) = splice @replace, 0, 2) {
        $text =~ s/\Q$old\E/$new/g or die "$name does not hold $old\n";
    }
    return $text;
}

# The number of questions to the resolver, and the latest requests.
sub asked { return Test::Nginx::Authgear::counts()->{resolver} }

sub asked_requests { return @{ Test::Nginx::Authgear::counts()->{resolver_requests} } }

# A header line: cookie(session => 'value', …).
sub cookie {
    my @pairs;
    while (my ($name, $value) = splice @_, 0, 2) {
        push @pairs, "$name=$value";
    }
    return 'Cookie: ' . join('; ', @pairs);
}

# The kinds of credentials that the resolver judges.
our @kinds = qw(bearer app_session app_access_token session);
my $users = 0;

# A value of each, all of different users, whose name it begins with.
sub credentials {
    my $n = ++$users;
    return (
        bearer => Test::Nginx::Authgear::token(user => "bearer-$n", kind => 'opaque'),
        app_session => Test::Nginx::Authgear::session(user => "app-session-$n", kind => 'app'),
        app_access_token => Test::Nginx::Authgear::token(user => "app-access-token-$n", kind => 'opaque'),
        session => Test::Nginx::Authgear::session(user => "session-$n"),
        n => $n,
    );
}

# The headers that carry some of them, as text.
sub headers_of {
    my (%of) = @_;
    my @cookies = map {"$_=$of{$_}"} grep { defined $of{$_} } @kinds[1 .. 3];
    return join "\r\n", defined $of{bearer} ? "Authorization: Bearer $of{bearer}" : (),
        @cookies ? 'Cookie: ' . join('; ', @cookies) : ();
}

# Users of every kind, each with a log-in: [name, user, { amr, auth_time }].
sub people {
    my @people = (
        ['a plain user', { id => 'plain' }],
        ['one role', { id => 'one', roles => ['admin'] }],
        ['roles in an order of their own', { id => 'many', roles => [qw(b:writer a_reader c.admin)] }],
        ['an anonymous user', { id => 'anon', anonymous => \1, verified => \0, can_reauthenticate => \0 }, amr => []],
        ['an unverified user', { id => 'unverified', verified => \0 }, amr => ['otp']],
        ['one who cannot reauthenticate', { id => 'stuck', can_reauthenticate => \0 }],
        ['several amr', { id => 'mfa' }, amr => [qw(pwd mfa x_primary)], auth_time => 1_000_000_000],
        ['no amr', { id => 'no-amr' }, amr => [], auth_time => 1],
        ['a UUID', { id => '1d3bd5f6-7c1e-4e3a-9d53-0d8f4ce0b7b1', roles => ['x'] }],
        ['punctuation in the id', { id => q{a, "b" c=d} }],
    );
    return map {
        my ($name, $user, %login) = @$_;
        [$name, $user, { amr => ['pwd'], auth_time => 1_700_000_000, %login }]
    } @people;
}

# --- with Test::Nginx::Authgear::Client

# A request's status, and what locations show as X-Reason, X-User and X-Source; and
# how often the resolver was asked.
sub outcome {
    my ($line, @rest) = @_;
    my $before = asked();
    my $answer = Test::Nginx::Authgear::Client::ask($line, @rest);
    my @shown = map { Test::Nginx::Authgear::Client::header($answer, "X-$_") // '-' } qw(Reason User Source);
    return join ' ', $answer->{status}, @shown, 'asked', asked() - $before;
}

# --- with Test::Nginx::Authgear::Server

# An nginx, of one worker unless told, whose project asks the resolver.
sub start_resolving {
    my ($project, %option) = @_;
    my $more = delete $option{server} // '';
    Test::Nginx::Authgear::heal();
    my $nginx = Test::Nginx::Authgear::Server->start(
        workers => 1,
        project => "resolve_request /_authgear/resolve; $project",
        server => "include \$TEST_NGINX_RESOLVER; add_header X-Source \$authgear_source always; $more",
        %option,
    );
    Test::Nginx::Authgear::reset_counts();
    return $nginx;
}

# Heals the resolver before it stops that nginx, with two assertions.
sub stop_resolving {
    my ($nginx, %option) = @_;
    Test::Nginx::Authgear::heal();
    return $nginx->stop_soundly(%option);
}

# $authgear_source of an answer of that nginx.
sub source { return $_[0]{headers} && $_[0]{headers} =~ /^X-Source: (.*?)\r?$/m ? $1 : '-' }

# Its status, reason, user and source, or what became of the connection.
sub told {
    my ($answer) = @_;
    return $answer->{error} // join ' ', map { defined && length ? $_ : '-' } @$answer{qw(status reason user)},
        source($answer);
}

1;
