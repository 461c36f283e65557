package Test::Nginx::Authgear::Documented;

# Authgear's documented set-up, auth_request to the resolver, as locations; and
# what a backend is told of a user.

use strict;
use warnings;

use Exporter qw(import);
use Test::Nginx::Authgear standin => 0;
use Test::Nginx::Authgear::Client qw(echoed_authgear);

our @EXPORT = qw(asks documented identity opaque told without_roles);

# All that the backend can read as X-Authgear-*: `name: value` without the prefix,
# in the order of the names.
sub told {
    my ($answer) = @_;
    return $answer->{status} if $answer->{status} != 200;
    return [sort map {s/^x.authgear.//r} map { s/^([^:]*)/\L$1/r } @{ echoed_authgear($answer) }];
}

# A user as the backend should be told.
sub identity {
    my ($user, $login) = @_;
    my $flag = sub { exists $user->{ $_[0] } ? (${ $user->{ $_[0] } } ? 'true' : 'false') : $_[1] };
    my %header = (
        'session-valid' => 'true',
        'session-amr' => join(' ', @{ $login->{amr} }),
        'session-authenticated-at' => $login->{auth_time},
        'user-id' => $user->{id},
        'user-anonymous' => $flag->(anonymous => 'false'),
        'user-verified' => $flag->(verified => 'true'),
        'user-can-reauthenticate' => $flag->(can_reauthenticate => 'true'),
        'user-roles' => join(',', @{ $user->{roles} || [] }),
    );
    return [sort map {"$_: $header{$_}"} grep { length($header{$_} // '') } keys %header];
}

# The same, but for the roles, which the documented set-up does not know.
sub without_roles { return [grep { !/^user-roles/ } @{ $_[0] }] }

# A header with an opaque token.
sub opaque { return 'Authorization: Bearer ' . token(@_, kind => 'opaque') }

# --- locations

# The documented set-up, by its eight headers.
my @eight = qw(session_valid user_id user_anonymous user_verified session_acr session_amr session_authenticated_at
    user_can_reauthenticate);
my $copied = join "\n",
    (map {"auth_request_set \$x_authgear_$_ \$upstream_http_x_authgear_$_;"} @eight),
    map { 'proxy_set_header x-authgear-' . tr/_/-/r . " \$x_authgear_$_;" } @eight;
my $to_echo = 'proxy_pass ' . echo_origin() . ';';

# A location that asks another before it proxies to the echo.
sub documented {
    my ($path, $auth, $more) = @_;
    $more //= '';
    return "location $path { auth_request $auth;\n$copied\n$more $to_echo }\n";
}

# A location that asks the resolver of a stand-in, the file's own or what start_standin returned.
sub asks {
    my ($path, $server, $more) = @_;
    $server //= standin();
    my ($name) = $server->{origin} =~ m{//(.*)};
    $more //= '';
    return "location = $path { internal; proxy_pass $server->{resolver}/_resolver/resolve; proxy_set_header Host $name;
        proxy_pass_request_body off; proxy_set_header Content-Length ''; $more }\n";
}

1;
