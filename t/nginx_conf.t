# Every file in nginx-conf/, and every configuration in the README and in docs/,
# passes `nginx -t` as it stands.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(basename dirname);
use File::Find qw(find);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use Test::More;
use Test::Nginx::Authgear standin => 0;

my $root = abs_path(dirname(__FILE__) . '/..');

# A folder as nginx's own: the files that the examples name are in it.
my $prefix = tempdir(CLEANUP => 1);
make_path("$prefix/modules", "$prefix/authgear");
my ($module) = split ' ', $ENV{TEST_NGINX_LOAD_MODULES};
symlink abs_path($module), "$prefix/modules/" . basename($module) or die "symlink: $!\n";
write_file("$prefix/authgear/myapp.jwks.json", <<'END');
{"keys": [{"kty": "RSA", "use": "sig", "kid": "1", "e": "AQAB", "n":
  "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}]}
END

# Parts that whole examples include. They stand beside nginx.conf.
my %included = map { $_ => 1 } qw(authgear_resolver.conf);
write_file("$prefix/$_", read_file("$root/nginx-conf/$_")) for keys %included;

my @files;
find({ wanted => sub { push @files, $_ if -f }, no_chdir => 1 }, "$root/nginx-conf");
ok(scalar @files, 'nginx-conf/ holds examples');
for my $file (sort @files) {
    my $name = substr $file, length("$root/");
    my $text = read_file($file);
    if ($text =~ /^http \{/m) {
        passes($name, whole($text));
    }
    elsif ($included{basename($file)}) {
        ok((grep { read_file($_) =~ /^\s*include \Q@{[basename($file)]}\E;/m } @files), "$name is included by an example");
    }
    else {
        fail("$name is no whole configuration: say here how it is tested");
    }
}

my %shown;
for my $page ('README.md', map { substr $_, length("$root/") } sort glob "$root/docs/*.md") {
    for my $text (read_file("$root/$page") =~ /^ *```nginx\n(.*?)^ *```$/msg) {
        my $name = "$page, configuration " . ++$shown{$page};
        if ($text =~ /^http \{/m) {
            passes($name, whole($text));
            next;
        }
        # A file that an administrator writes.
        $text =~ s{/etc/nginx/authgear-[\w-]+}{write_file("$prefix/secret", "node:s3cret\n"); "$prefix/secret"}ge;
        # A part: of a server if it begins with a location, of http otherwise.
        $text = "server {\n$text\n}\n" if $text =~ /\A\s*(?:#.*\n\s*)*location /;
        $text .= "authgear_project myapp { endpoint https://myapp.authgear.cloud; }\n"
            if $text !~ /^\s*authgear_project myapp /m;
        $text =~ s/include (authgear_resolver\.conf);/read_file("$prefix\/$1")/e;
        $text .= "upstream $_->[0] { server 127.0.0.1:$_->[1]; }\n"
            for [backend => 9000], [resolver => 3001], ['authgear_resolver' => 443];
        passes($name, config_output($text));
    }
}
ok($shown{$_}, "$_ shows configurations") for qw(README.md docs/directives.md docs/migration.md);
done_testing();

sub passes {
    my ($name, $said, $status) = @_;
    my @complaints = $said =~ /^nginx: \[\w+\] .*$/mg;
    is_deeply([@complaints, $status], [0], $name) or diag($said);
}

# The output of `nginx -t` for a whole configuration. The places that an nginx of the
# system writes to are put into the folder; all else stays as it is.
sub whole {
    my ($text) = @_;
    $text =~ s{/var/(?:lib|log)/nginx/}{$prefix/}g;
    # nginx looks an upstream's address up when it reads its configuration.
    $text =~ s{server auth\.example\.com:443 max_fails=0;}{server 127.0.0.1:443 max_fails=0;}g;
    my $temporary = join ' ',
        map { "${_}_temp_path $prefix/$_;" } qw(client_body proxy fastcgi scgi uwsgi);
    $text =~ s/^http \{/http { access_log off; $temporary/m;
    write_file("$prefix/nginx.conf", $text);

    # An nginx that only tests its configuration frees nothing before it exits.
    local $ENV{ASAN_OPTIONS} = "$ENV{ASAN_OPTIONS}:detect_leaks=0" if $ENV{ASAN_OPTIONS};
    my $said = `$ENV{TEST_NGINX_BINARY} -t -e stderr -p $prefix -c $prefix/nginx.conf -g "pid $prefix/nginx.pid;" 2>&1`;
    my $status = $? >> 8;
    $said =~ s/^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d \[(\w+)\] \d+#\d+: /nginx: [$1] /mg;
    return ($said, $status);
}

sub read_file {
    my ($file) = @_;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    local $/;
    return <$in>;
}

sub write_file {
    my ($file, $content) = @_;
    open my $out, '>', $file or die "cannot write $file: $!\n";
    print {$out} $content;
    close $out;
}
