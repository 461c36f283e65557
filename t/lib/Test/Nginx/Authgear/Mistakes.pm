package Test::Nginx::Authgear::Mistakes;

# Mistakes in the configuration stop `nginx -t`, each with a message that names
# the directive, what is wrong, what to write instead, and the line. A file's
# check_cases(\*DATA) reads its cases:
#
#   === name
#   the http block's text, whose first line is nginx.conf:1
#   --- emerg       the message that stops nginx
#   --- warn        a message that does not
#   --- fine        nothing is said

use strict;
use warnings;

use Exporter qw(import);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use POSIX qw(mkfifo);
use Test::More;
use Test::Nginx::Authgear standin => 0;

our @EXPORT = qw(check_cases);

$ENV{AUTHGEAR_TEST_DIR} ||= tempdir(CLEANUP => 1);
my $directory = "$ENV{AUTHGEAR_TEST_DIR}/config";

# Files that the cases name, in the folder of nginx.conf. The key is that of RFC 7517,
# appendix A.1, with another use.
my $key = '{"kty":"RSA","e":"AQAB","n":"'
    . '0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_B'
    . 'JECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_F'
    . 'DW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4'
    . 'vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","use":"sig","kid":"KID"}';
my $hmac = '{"kty":"oct","k":"AAAA","kid":"secret"}';
my %files = (
    'jwks.json' => qq({"keys":[$key]}),
    'mixed.json' => qq({"keys":[$key,$hmac]}),
    'empty.json' => '{"keys":[]}',
    'list.json' => "[$key]",
    'text.json' => "keys:\n",
    'hmac.json' => qq({"keys":[$hmac]}),
    'many.json' => '{"keys":[' . join(',', map { $key =~ s/KID/$_/r } 1 .. 65) . ']}',
    'big.json' => qq({"keys":[$key]}) . ' ' x (256 * 1024),
    'key.pem' => "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    'junk.pem' => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    'project.conf' => "\nauthgear_project a {\n    endpoint;\n}\n",
    'endpoint.conf' => "endpoint https://a.example;\n",
    'leeway.conf' => "endpoint https://a.example;\nleeway 5sec;\n",
    'secret.txt' => "J_Lp9ExsOUayqK0VcBWalL1fQMGmBP6c\n",
    'credentials.txt' => "node:s3cret\n",
    'blank.txt' => "\n",
    'unprintable.txt' => "secret\nsecond\t\n",
    'long.txt' => 'x' x 1025,
    'server.conf' => "\nserver {\n    authgear_verify nosuch;\n}\n",
);

my %folders = ('sticky-folder' => 01777, 'group-folder' => 0770, 'private-folder' => 0700, 'shown-folder' => 0755);

sub check_cases {
    my ($data) = @_;
    write_files();
    my @cases = split /^=== /m, do { local $/; <$data> };
    shift @cases;
    for my $case (@cases) {
        my ($name, $text, $kind, $rest) = $case =~ /\A(\N+)\n(.*?)^--- (emerg|warn|fine)\n(.*)\z/ms
            or die "not a case: $case\n";
        $rest =~ s/\s+\z//;

        $text =~ s/\\xff/\xff/g;
        my ($said, $status) = config_output($text);
        my @messages = $said =~ /^nginx: \[(?:emerg|warn|crit|alert|error)\] .*$/mg;
        my @wanted = $kind eq 'fine' ? () : ("nginx: [$kind] $rest");

        is_deeply([@messages, $status], [@wanted, $kind eq 'emerg' ? 1 : 0], $name)
            or diag($said);
    }
    done_testing();
    return;
}

# A client certificate, and two keys of which the first is its.
sub make_certificate {
    for my $name (qw(client other)) {
        my $said = qx(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$name \\
            -keyout $directory/$name.key -out $directory/$name.pem 2>&1);
        die "openssl: $said\n" if $?;
    }
    return;
}

sub write_files {
    make_path($directory);
    make_certificate();
    while (my ($name, $content) = each %files) {
        open my $out, '>', "$directory/$name" or die "cannot write $directory/$name: $!\n";
        print {$out} $content;
        close $out;
    }
    mkfifo("$directory/fifo", 0600) or die "cannot make $directory/fifo: $!\n" if !-p "$directory/fifo";
    while (my ($name, $mode) = each %folders) {
        make_path("$directory/$name");
        chmod $mode, "$directory/$name" or die "cannot change $directory/$name: $!\n";
    }
    return;
}

1;
