package Bench::Rows;

# The rows of the report. The first is the one that all others are compared with.

use strict;
use warnings;
use utf8;

use Exporter qw(import);

our @EXPORT_OK = qw(parts rows);

# A bound in microseconds, as it stands and by the speed of this machine: it was
# set where RS256 takes 18.4.
sub microseconds {
    my ($most) = @_;
    return (["$most µs", sub {$most}], ["$most/18.4 of RS256", sub { ($_[0]{RS256} // return) * $most / 18.4 }]);
}

# name       what the report calls it
# path       its location in the configuration
# server     the nginx that has it, if that is not the one with conf/rows.conf
# send       10,000 `seen` tokens in rotation, `one` of them, `many` (20,000) or `large` ones, or
#            `unseen` ones; 1,000 `sessions` in rotation, or `many_sessions` (20,000)
# asks       questions to the resolver per request
# auth       whether the backend is told the user
# rival      another row, which this one may cost as much as: sent the same, by turns with this one
# floor      whether the crypto alone is measured beside it; what the row may take beyond that,
#            in microseconds
# connections  of wrk, if not the usual number
# every      in how many rounds it is measured once, if not in each
# seconds    how long it is sent requests, if the number of them does not say
# source     what $authgear_source says afterwards
# bound      what the cost may be at most: each a text, and the limit in
#            microseconds by the costs of all rows and of RS256
my @rows = (
    { name => 'bare server', path => '/bare', asks => 0 },
    { name => 'module not loaded', path => '/bare', send => 'seen', asks => 0, server => 'plain' },

    { name => 'eight headers set by nginx', path => '/headers', send => 'seen', asks => 0, auth => 1 },

    { name => 'JWT, always the same', path => '/jwt', send => 'one', asks => 0, auth => 1, source => 'jwt_cache' },
    {
        name => 'JWT, 10,000 in rotation', path => '/jwt', send => 'seen', asks => 0, auth => 1,
        source => 'jwt_cache',
        bound => [
            microseconds(1.5),
            ['1/10 of the proxy_cache hit', sub { ($_[0]{'auth_request, proxy_cache hit'} // return) / 10 }],
        ],
    },
    {
        name => 'JWT, never seen', path => '/jwt', send => 'unseen', asks => 0, auth => 1,
        server => 'defaults', floor => 6,
    },
    {
        name => 'JWT, 10,000 in rotation, defaults', path => '/jwt', send => 'seen', asks => 0, auth => 1,
        server => 'defaults',
        bound => [microseconds(1.5)],
    },
    {
        name => 'JWT, 20,000 in rotation, defaults', path => '/jwt', send => 'many', asks => 0, auth => 1,
        server => 'defaults',
        bound => [microseconds(3)],
    },
    {
        name => 'JWT of 4 KiB, 2,000 in rotation, defaults', path => '/jwt', send => 'large', asks => 0, auth => 1,
        server => 'defaults',
    },
    {
        name => 'JWT, 10,000 in rotation, defaults, 2 workers', path => '/jwt', send => 'seen', asks => 0, auth => 1,
        server => '2 workers', connections => 64,
    },
    {
        name => 'JWT, 10,000 in rotation, defaults, 4 workers', path => '/jwt', send => 'seen', asks => 0, auth => 1,
        server => '4 workers', connections => 64,
    },
    {
        name => 'JWT, recheck 30s, 10,000 in rotation', path => '/recheck', send => 'seen', auth => 1,
        # Longer than the interval: each token is confirmed once.
        every => 4,
        seconds => $ENV{RECHECK_SECONDS} || 31,
        bound => [microseconds(3)],
    },
    {
        name => 'cookie, resolve_cache', path => '/cached', send => 'sessions', asks => 0, auth => 1,
        bound => [microseconds(2)],
    },
    {
        name => 'cookie, resolve_cache, 20,000 in rotation, defaults', path => '/cached', send => 'many_sessions', auth => 1,
        server => 'defaults',
        bound => [microseconds(2)],
    },
    {
        name => 'cookie, subrequest', path => '/cookie', send => 'sessions', asks => 1, auth => 1,
        rival => 'auth_request, keep-alive, cookie',
    },

    { name => 'auth_request', path => '/documented', send => 'seen', asks => 1, auth => 1 },
    { name => 'auth_request, keep-alive', path => '/keepalive', send => 'seen', asks => 1, auth => 1 },
    { name => 'auth_request, keep-alive, cookie', path => '/keepalive', send => 'sessions', asks => 1, auth => 1 },
    { name => 'auth_request, proxy_cache hit', path => '/cache_hit', send => 'seen', asks => 0, auth => 1 },
    { name => 'auth_request, proxy_cache miss', path => '/cache_miss', send => 'unseen', asks => 1, auth => 1 },
);

# Measured beside the rows.
my @parts = ('memory of a worker', 'memory of 4 workers', 'signature checks of 4 workers', '2 workers at full load',
    'latency while keys are fetched');

# The first row, and those whose name matches; none if only a part's name does.
sub rows {
    my ($only) = @_;
    my ($bare, @others) = @rows;
    my %named = map { $_->{name} => $_ } @rows;
    @others = map { $_->{rival} ? { %$_, rival => $named{ $_->{rival} } } : $_ } @others;
    @others = grep { $_->{name} =~ /$only/ } @others if defined $only;
    die "no row matches ROWS\n" if !@others && !parts($only);
    return @others ? ($bare, @others) : ();
}

# The names of the parts that match.
sub parts {
    my ($only) = @_;
    return grep { !defined $only || /$only/ } @parts;
}

1;
