package Test::Nginx::Authgear::Recheck;

# For test files about recheck: one nginx at a time, $nginx, whose project asks the
# resolver, and users of their own.
#
#   start('recheck 1s;', workers => 2);
#   my ($user, $token) = someone();
#   is(outcome(token => $token), "200 ok $user jwt", 'let in');
#   stop();

use strict;
use warnings;

use Exporter qw(import);
use Test::Nginx::Authgear standin => 0;
use Test::Nginx::Authgear::Resolver qw(start_resolving stop_resolving);
use Test::Nginx::Authgear::Server;

our @EXPORT = qw($nginx $no start stop told outcome someone disable suspend enable);

our $nginx;
our $no = '401 session_invalid - none';
my $users = 0;

sub start {
    $nginx = start_resolving(@_);
    # The keys are there.
    soon { $nginx->ask(token => token(kind => 'user', expires_in => -1))->{status} == 401 } 'nginx has keys';
    reset_counts();
}

sub stop { stop_resolving($nginx, @_) }

# A request's status, reason, user and source. A token that the worker remembers is confirmed as any other.
sub told { return Test::Nginx::Authgear::Resolver::told(@_) =~ s/ jwt_cache\z/ jwt/r }

sub outcome { return told($nginx->ask(@_)) }

# A user of its own, and a token.
sub someone {
    my $name = 'user-' . ++$users;
    return ($name, token(user => $name, @_));
}

# Ends the user's sessions for good.
sub disable { return control('POST', "/-/users/$_[0]/disable") }

# As at the end of a time in which the account is valid: the resolver says no while the sessions are still there.
sub suspend { return control('POST', "/-/users/$_[0]/disable", { keep_sessions => \1 }) }

sub enable { return control('POST', "/-/users/$_[0]/enable") }

1;
