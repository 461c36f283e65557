package Test::Nginx::Authgear::Verify;

# For test files about authgear_verify: credentials, and tables of who is let in where
# with which. $TEST_NGINX_OTHER is the endpoint of a second project with keys of its own.

use strict;
use warnings;

use Exporter qw(import);
use Test::More;
use Test::Nginx::Authgear standin => 0;
use Test::Nginx::Authgear::Client;

our @EXPORT = qw(%credential $good $theirs verdicts);

my $other = start_standin();
$ENV{TEST_NGINX_OTHER} = $other->{http};

sub of_other {
    my $text = control('POST', '/-/token', {@_}, $other);
    return 'Authorization: Bearer ' . $text =~ s/\s+\z//r;
}

our $good = bearer(user => 'alice');
our $theirs = of_other(user => 'alice');
our %credential = (
    none => [],
    good => [$good],
    bad => [bearer(user => 'alice', expires_in => -1)],
    both => [$good, $good],
    basic => ['Authorization: Basic dTpw'],
    theirs => [$theirs],
);

# The status, and who the backend thinks it is.
sub verdict {
    my ($answer) = @_;
    return $answer->{status} if $answer->{status} != 200;
    my $echoed = echoed($answer);
    my $valid = header($echoed, 'X-Authgear-Session-Valid') // '';
    return '200 ' . (header($echoed, 'X-Authgear-User-Id') // ($valid eq 'false' ? 'refused' : 'nobody'));
}

# Rows of a table: the request's path, the credential, the verdict.
sub verdicts {
    my ($rule, @rows) = @_;
    for my $row (@rows) {
        my ($path, $which, $expected, $more) = @$row;
        my %more = %{ $more || {} };
        my ($method) = delete $more{method} // 'GET';
        my $answer = ask("$method $path", \%more, @{ $credential{$which} });
        my $where = $more{port} ? ' on another server' : '';
        is(verdict($answer), $expected, "$rule: $method $path$where, $which credential");
    }
}

1;
