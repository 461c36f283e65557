package Test::Nginx::Authgear::Faults;

# How a hostile host answers a fetch: for the stand-in's PUT /-/fault/jwks. The
# benchmarks use it too, so it loads nothing of the suite.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(hostile_answers);

# Each fault by its name; `slow` delays by so many milliseconds.
sub hostile_answers {
    my ($delay_ms) = @_;
    return (
        'slow' => { mode => 'slow', delay_ms => $delay_ms },
        'drip' => { mode => 'drip' },
        'huge' => { mode => 'oversize' },
        'garbage' => { mode => 'garbage' },
        'empty' => { mode => 'empty' },
        'closed' => { mode => 'close' },
        'silent' => { mode => 'hang' },
        'an error' => { mode => 'status', status => 500 },
        'elsewhere' => { mode => 'redirect', location => 'https://a.example/' },
        'no text' => { mode => 'body', body => "\0\1\2" },
    );
}

1;
