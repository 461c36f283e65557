package Test::Nginx::Authgear::Login;

# A plain browser for authgear_login: it keeps cookies by name, and says what a browser
# says when it opens a page.
#
#   my $browser = browser();                    host => 'www.example.com'
#   my $answer = $browser->get('/reports?year=2026');
#   my $state = state_of($answer);
#   $browser->get("/_authgear/callback?state=$state");

use strict;
use warnings;

use Exporter qw(import);
use Test::Nginx::Authgear ();
use Test::Nginx::Authgear::Client qw(ask header);

our @EXPORT = qw(browser state_of set_cookies where $callback @opens_a_page);

our $callback = '/_authgear/callback';
our @opens_a_page = ('Sec-Fetch-Site: none', 'Sec-Fetch-Mode: navigate', 'Sec-Fetch-Dest: document',
    'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8');

# A server of which every page needs a login, but for its location /.
$ENV{TEST_NGINX_LOGIN_SITE} = <<"END";
authgear_verify myapp;
authgear_login on;
add_header X-Reason \$authgear_reason always;

location = $callback {
    authgear_login_callback myapp;
    error_page 400 403 405 503 =200 /free;
}
location = /free { authgear_verify off; return 200 "free\\n"; }
END

sub browser { return bless { host => 'localhost', cookies => {}, @_ }, __PACKAGE__ }

# Opens a page, and takes in the cookies of the answer.
sub get {
    my ($self, $path, @more) = @_;
    my %cookies = %{ $self->{cookies} };
    my @cookie = %cookies ? 'Cookie: ' . join('; ', map {"$_=$cookies{$_}"} sort keys %cookies) : ();
    my $answer = ask("GET $path", "Host: $self->{host}", @opens_a_page, @cookie, @more);
    for my $set (set_cookies($answer)) {
        my ($name, $value) = $set =~ /^([^=]+)=([^;]*)/;
        if ($set =~ /; (?:Max-Age=0|Expires=Thu, 01 Jan 1970)/) {
            delete $self->{cookies}{$name};
        }
        else {
            $self->{cookies}{$name} = $value;
        }
    }
    return $answer;
}

# Logs in at Authgear, whose cookie it then has.
sub has_session {
    my ($self, %session) = @_;
    $self->{cookies}{session} = Test::Nginx::Authgear::session(user => 'alice', %session);
    return $self;
}

# Names of the cookies that are not Authgear's own, without the nonces.
sub kept {
    my ($self) = @_;
    return join ' ', map { s/(login_).*/$1/r } grep { $_ ne 'session' } sort keys %{ $self->{cookies} };
}

# The state of the authorization request that an answer redirects to.
sub state_of {
    my ($answer) = @_;
    my ($state) = (header($answer, 'Location') // '') =~ /[?&]state=([\w-]{22})$/
        or die "no redirect to the login: $answer->{status}\n";
    return $state;
}

sub set_cookies {
    my ($answer) = @_;
    return map { $_->[1] } grep { lc $_->[0] eq 'set-cookie' } @{ $answer->{headers} };
}

# The status, and where a redirect leads: `login` for the authorization endpoint.
sub where {
    my ($answer) = @_;
    my $location = header($answer, 'Location') // '';
    $location = 'login' if $location =~ m{/oauth2/authorize\?};
    return length $location ? "$answer->{status} $location" : $answer->{status};
}

1;
