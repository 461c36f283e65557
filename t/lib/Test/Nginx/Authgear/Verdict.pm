package Test::Nginx::Authgear::Verdict;

# Tables of verdicts: which token gets which answer. A row of verdicts() is
#
#   [ name, token, expected, %request ]
#
# A token is undef (none is sent), text that is sent as it stands, the fields of
# POST /-/token as a hash or, where digits and order matter, as JSON text.
#
# The expectation is the word of $authgear_reason or { reason, … }; the rest of
# the answer follows from it: status, WWW-Authenticate, Retry-After. `mode` is
# that of authgear_verify, `realm` is another than myapp; `status`, `challenge`,
# `session_valid` (the header X-Valid) and `body` (a pattern) say it outright.
#
# %request may hold `uri`, `method`, `body` and `headers` (lines, in place of the
# Authorization that the token makes).

use strict;
use warnings;

use Crypt::PK::RSA;
use Exporter qw(import);
use JSON::PP;
use MIME::Base64 qw(decode_base64url encode_base64url);
use Test::More ();
use Test::Nginx::Authgear ();
use Test::Nginx::Authgear::Client qw(ask header);

our @EXPORT = qw(verdict verdicts minted secrets segment signed payload claims);

# The error_description of each reason.
my %description = (
    malformed => 'the access token is malformed',
    unsupported_algorithm => 'the access token is signed with an algorithm that is not accepted',
    unknown_key => 'the access token is signed with an unknown key',
    bad_signature => 'the signature of the access token is invalid',
    expired => 'the access token expired',
    not_yet_valid => 'the access token is not valid yet',
    bad_issuer => 'the access token comes from another issuer',
    bad_audience => 'the access token is meant for another audience',
    bad_client => 'the access token was issued to another client',
    bad_type => 'this type of token is not accepted',
    bad_claim => 'a claim of the access token is invalid',
    unsupported => 'this kind of access token is not supported',
);

sub verdicts { verdict(@$_) for @_ }

# Sends one request and compares all of its answer; returns it.
sub verdict {
    my ($name, $token, $expected, %request) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $token = minted($token);
    $expected = expectation($expected);

    my @headers = $request{headers} ? @{ $request{headers} }
        : defined $token ? "Authorization: Bearer $token" : ();
    my $method = $request{method} // 'GET';
    my @body = defined $request{body} ? \$request{body} : ();
    my $answer = ask($method . ' ' . ($request{uri} // '/'), @headers, @body);

    my %told = (
        status => $answer->{status},
        challenge => header($answer, 'WWW-Authenticate'),
        reason => header($answer, 'X-Reason'),
        retry_after => header($answer, 'Retry-After'),
        session_valid => header($answer, 'X-Valid'),
    );
    # nginx leaves a header with an empty value out.
    delete $told{session_valid} if !exists $expected->{session_valid};
    $told{retry_after} = 'seconds' if ($told{retry_after} // '') =~ /^(?:[1-9]|[12][0-9]|30)$/;
    my $body = delete $expected->{body};
    Test::More::is_deeply(\%told, $expected, $name) or Test::More::diag("$method answer: $answer->{body}");
    Test::More::like($answer->{body}, $body, "$name: body") if defined $body;

    if ($answer->{status} >= 400) {
        my $text = join "\n", $answer->{body}, map {"$_->[0]: $_->[1]"} @{ $answer->{headers} };
        my @told = grep { index($text, $_) >= 0 } secrets($token // $headers[0] // ''), 'X-Authgear';
        my $page = $method eq 'HEAD' ? qr/\A\z/ : qr/<h1>\Q$answer->{status}\E /;
        push @told, 'a body that is not nginx\'s own' if $answer->{body} !~ $page;
        Test::More::is_deeply(\@told, [], "$name: the answer tells nothing");
    }
    return $answer;
}

sub expectation {
    my %expected = ref $_[0] ? %{ $_[0] } : (reason => $_[0]);
    my $reason = $expected{reason};
    my $mode = delete $expected{mode} // 'required';
    my $realm = delete $expected{realm} // 'myapp';

    my ($status, $challenge, $retry_after) = (401, qq(Bearer realm="$realm"), undef);
    if ($mode eq 'observe' || $reason eq 'ok' || $mode eq 'optional' && $reason eq 'no_credential')
    {
        ($status, $challenge) = (200, undef);
    }
    elsif ($reason eq 'keys_unavailable') {
        ($status, $challenge, $retry_after) = (503, undef, 'seconds');
    }
    elsif ($reason ne 'no_credential') {
        my $description = $description{$reason} or die "no such reason: $reason\n";
        $challenge .= qq(, error="invalid_token", error_description="$description");
    }
    return {
        status => $status, challenge => $challenge, retry_after => $retry_after, %expected
    };
}

# Parts of a credential and values of its claims that no answer may hold.
sub secrets {
    my ($token) = @_;
    $token =~ s/^Authorization:\s*//i;
    $token =~ s/^Bearer\s+//i;
    my @parts = grep { length > 6 } $token, split /\./, $token;
    my $payload = (split /\./, $token)[1] // '';
    my $claims = eval { JSON::PP->new->utf8->decode(decode_base64url($payload)) };
    return @parts if ref $claims ne 'HASH';
    return @parts, grep { defined && !ref && length > 6 } values %$claims;
}

# A token as text, by any of the forms that a row may name it in.
sub minted {
    my ($token) = @_;
    return $token if !defined $token;
    return Test::Nginx::Authgear::token(%$token) if ref $token;
    return $token if $token !~ /^\{/;
    $token = Test::Nginx::Authgear::control('POST', '/-/token', $token);
    $token =~ s/\s+\z//;
    return $token;
}

sub segment { return encode_base64url($_[0]) }

# Signs two segments as they stand, sound or not, RS256 by the stand-in's key.
sub signed {
    my ($header, $payload) = @_;
    our $key //= do {
        my $pem = Test::Nginx::Authgear::control('GET', '/-/keys/pem');
        Crypt::PK::RSA->new(\$pem);
    };
    return join '.', $header, $payload,
        segment($key->sign_message("$header.$payload", 'SHA256', 'v1.5'));
}

# A token whose claims are the usual ones but for these, as JSON text.
sub claims { return qq({"claims": {$_[0]}}) }

# The JSON text of a right payload, with more members behind it as text.
sub payload {
    my ($more) = @_;
    my $origin = Test::Nginx::Authgear::standin()->{origin};
    my $text = sprintf '{"iss":"%s","aud":["%s"],"exp":%d,"sub":"user-of-a-made-token"',
        $origin, $origin, time + 1800;
    return $text . (defined $more ? ",$more" : '') . '}';
}

1;
