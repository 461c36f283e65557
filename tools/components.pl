#!/usr/bin/perl
# Lists the crates that are linked into the module, from cargo's own metadata:
# their licences with the texts, or a bill of materials (CycloneDX 1.5, JSON).
#
#   tools/components.pl licences|sbom
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use File::Basename qw(basename dirname);
use JSON::PP;

my $root = dirname(__FILE__) . '/..';
my $what = $ARGV[0] // '';
chdir $root or die "cannot enter $root: $!\n";

sub contents {
    my ($file) = @_;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    local $/;
    return scalar <$in>;
}

open my $cargo, '-|', qw(cargo metadata --locked --format-version 1 --filter-platform), platform()
    or die "cannot run cargo: $!\n";
my $metadata = do { local $/; decode_json(<$cargo>) };
my %package  = map { $_->{id} => $_ } @{ $metadata->{packages} };
my %node     = map { $_->{id} => $_ } @{ $metadata->{resolve}{nodes} };

# The checksums of what was downloaded.
my %checksum;
for my $entry (split /\n\n/, contents('Cargo.lock')) {
    my ($name)    = $entry =~ /^name = "(.*)"/m    or next;
    my ($version) = $entry =~ /^version = "(.*)"/m or next;
    $checksum{"$name $version"} = $1 if $entry =~ /^checksum = "(.*)"/m;
}

# What is linked: neither dependencies of build scripts and tests, nor macros. The
# metadata is of the features of all crates here; the tree is the module's alone.
my ($module) = grep { $_->{name} eq 'ngx_http_authgear_module' } values %package;
my %in_tree = map {/^(\S+) v(\S+)/ ? ("$1 $2" => 1) : ()} split /\n/,
    `cargo tree --locked --package $module->{name} --edges normal,no-proc-macro --prefix none --target @{[platform()]}`;
my @ids    = grep { $in_tree{"$package{$_}{name} $package{$_}{version}"} } keys %package;
my %is_in  = map { $_ => 1 } @ids;
my %linked = map {
    $_ => [map { $_->{pkg} } grep { $is_in{ $_->{pkg} } } @{ $node{$_}{deps} }]
} @ids;
my @crates = sort { $a->{name} cmp $b->{name} || $a->{version} cmp $b->{version} }
    grep { defined $_->{source} } map { $package{$_} } @ids;

if    ($what eq 'licences') { licences() }
elsif ($what eq 'sbom')     { sbom() }
else                        { die "usage: $0 licences|sbom\n" }

sub platform {
    my ($host) = `rustc -vV` =~ /^host: (.*)/m or die "cannot run rustc\n";
    return $ENV{CARGO_BUILD_TARGET} || $host;
}

# Old crates separate alternatives by a slash.
sub expression {
    my ($crate) = @_;
    my $licence = $crate->{license} // die "$crate->{name} states no licence\n";
    return $licence =~ s{\s*/\s*}{ OR }gr;
}

# Each text once, below the crates that it is of.
sub licences {
    print "The module contains Rust's standard library (MIT OR Apache-2.0) and these\n";
    print "crates, each under its own licence:\n\n";
    my (%of, %text);
    for my $crate (@crates) {
        print "  $crate->{name} $crate->{version}: ", expression($crate), "\n";
        my $folder = dirname($crate->{manifest_path});
        my @files  = grep { -f && /licen[cs]e|copying|notice|copyright/i } glob "$folder/*";
        # aws-lc's is its own, beside the crate's.
        push @files, grep { -f } glob "$folder/aws-lc/LICENSE" if $crate->{name} eq 'aws-lc-sys';
        for my $file (@files) {
            my $text = contents($file) =~ s/\r//gr;
            my $id   = sha256_hex($text =~ s/\s+/ /gr);
            $text{$id} //= $text;
            push @{ $of{$id} }, "$crate->{name} $crate->{version}";
        }
    }
    for my $id (sort { $of{$a}[0] cmp $of{$b}[0] || $a cmp $b } keys %of) {
        print "\n", '-' x 78, "\n", join("\n", @{ $of{$id} }), "\n\n$text{$id}";
    }
    return;
}

sub purl {
    my ($crate) = @_;
    return "pkg:cargo/$crate->{name}\@$crate->{version}";
}

sub component {
    my ($crate) = @_;
    my $checksum = $checksum{"$crate->{name} $crate->{version}"};
    return {
        type      => 'library',
        'bom-ref' => purl($crate),
        name      => $crate->{name},
        version   => $crate->{version},
        purl      => purl($crate),
        scope     => 'required',
        licenses  => [{ expression => expression($crate) }],
        $checksum ? (hashes => [{ alg => 'SHA-256', content => $checksum }]) : (),
        $crate->{repository}
        ? (externalReferences => [{ type => 'vcs', url => $crate->{repository} }])
        : (),
    };
}

# Of the workspace's own crates only the module is a component: they are its parts.
sub sbom {
    my %own  = map { $_ => 1 } grep { !defined $package{$_}{source} } keys %linked;
    my %refs = map { purl($package{$_}) => $linked{$_} } grep { !$own{$_} } keys %linked;
    $refs{ purl($module) } = [map { @{ $linked{$_} } } keys %own];
    my @dependencies = map {
        my %needed = map { purl($package{$_}) => 1 } grep { !$own{$_} } @{ $refs{$_} };
        { ref => $_, dependsOn => [sort keys %needed] }
    } sort keys %refs;
    print JSON::PP->new->canonical->pretty->encode({
        '$schema'    => 'http://cyclonedx.org/schema/bom-1.5.schema.json',
        bomFormat    => 'CycloneDX',
        specVersion  => '1.5',
        version      => 1,
        metadata     => { component => component($module) },
        components   => [map { component($_) } @crates],
        dependencies => \@dependencies,
    });
    return;
}
