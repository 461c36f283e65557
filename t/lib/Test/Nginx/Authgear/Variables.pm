package Test::Nginx::Authgear::Variables;

# All variables at once. In a configuration $TEST_NGINX_SHOW shows each as a
# response header V-NAME, $TEST_NGINX_LINE is a log line of them, and
# $TEST_NGINX_EARLY is a location /early, whose V-early says what a `set` saw of
# four before the access phase.

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP;
use MIME::Base64 qw(decode_base64url);
use Test::Nginx::Authgear ();
use Test::Nginx::Authgear::Client qw(header_lines);

our @EXPORT = qw(claims expected logged shown);

my @names = qw(session_valid user_id user_anonymous user_verified user_can_reauthenticate user_roles
    session_amr session_authenticated_at client_id scope token_id token_exp token_type kid claims source
    reason claim_sub claim_department);

$ENV{TEST_NGINX_SHOW} = join "\n", map {"add_header V-$_ \"[\$authgear_$_]\" always;"} @names;
$ENV{TEST_NGINX_LINE} = join ' ', map {"$_=[\$authgear_$_]"} @names;
$ENV{TEST_NGINX_EARLY} = <<"END";
location = /early {
    authgear_verify myapp observe;
    set \$early "[\$authgear_user_id] [\$authgear_session_valid] [\$authgear_user_roles] [\$authgear_claim_sub]";
    $ENV{TEST_NGINX_SHOW}
    add_header V-early \$early always;
    proxy_pass @{[Test::Nginx::Authgear::echo_origin()]};
}
END

# The variables that an answer shows and that are not empty, by name.
sub shown {
    my ($answer) = @_;
    return {
        map { /^V-([a-z_]+): \[(.+)\]\z/s ? ($1 => $2) : () }
            header_lines($answer, qr/^V-/)
    };
}

# The same of a log line.
sub logged {
    my ($line) = @_;
    my %shown = $line =~ /\b([a-z_]+)=\[(.*?)\](?= [a-z_]+=\[|\z)/g;
    return { map { length $shown{$_} ? ($_ => $shown{$_}) : () } keys %shown };
}

sub segment { return JSON::PP->new->utf8->decode(decode_base64url((split /\./, $_[0])[$_[1]])) }

sub claims { return segment($_[0], 1) }

# All that a token of these fields fills, from what the token itself says.
sub expected {
    my ($token, %more) = @_;
    my $claims = claims($token);
    return {
        session_valid => 'true', client_id => $claims->{client_id}, scope => $claims->{scope},
        token_id => $claims->{jti}, token_exp => $claims->{exp}, token_type => 'user',
        kid => segment($token, 0)->{kid},
        claims => decode_base64url((split /\./, $token)[1]), source => 'jwt', reason => 'ok',
        claim_sub => $claims->{sub}, %more,
    };
}

1;
