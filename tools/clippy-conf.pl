# Prints a clippy.toml that refuses what the build does not compare with the C
# compiler: bindgen's accessors of bit fields, with what nginx-sys and ngx make of
# them, and members that the list of src/nginx/layout.txt lacks.
#
#   perl tools/clippy-conf.pl BINDINGS
use strict;
use warnings;

my $bit_fields = 'bindgen may misplace bit fields; use src/nginx/fields.rs';
my $members = 'its place is not compared with the C compiler; add it to src/nginx/layout.txt';

# nginx-sys's own functions that use such accessors, and the types of ngx whose
# methods do.
my @functions = qw(nginx_sys::ngx_add_timer nginx_sys::ngx_del_timer nginx_sys::ngx_post_event
    nginx_sys::ngx_delete_posted_event nginx_sys::ngx_variable_value_t::as_bytes
    ngx::core::Pool::create_buffer_from_str ngx::core::Pool::create_buffer_from_static_str);
my @types = qw(ngx::http::Request ngx::core::TemporaryBuffer ngx::core::MemoryBuffer);

my %listed;
open my $list, '<', 'src/nginx/layout.txt' or die "cannot read the list of fields: $!\n";
while (<$list>) {
    my ($structure, $fields) = /^(\w+): (.*)/ or next;
    $listed{$structure} = { map { s/(?:>=|<).*//r => 1 } split ' ', $fields };
}

my (%members, %names, $structure, $implemented);
while (<>) {
    if (/^pub struct (ngx_\w+) \{/) { $structure = $1 }
    elsif (/^impl (ngx_\w+) \{/) { $implemented = $1 }
    elsif (/^\}/) { undef $structure; undef $implemented }
    elsif ($structure && /^    pub (?!_bitfield_)(\w+):/) { push @{ $members{$structure} }, $1 }
    elsif ($implemented && /^    pub (?:const )?(?:unsafe )?fn (\w+)/) {
        push @functions, "nginx_sys::${implemented}::$1";
    }
    # The same structure under another name.
    elsif (/^pub type (ngx_\w+) = (ngx_\w+);/) { push @{ $names{$2} }, $1 }
}
die "no structures in the bindings\n" if !%members;

my @unlisted;
for my $structure (sort keys %members) {
    my %known = map { %{ $listed{$_} || {} } } $structure, @{ $names{$structure} || [] };
    push @unlisted, map {"nginx_sys::${structure}::$_"} grep { !$known{s/_\z//r} } @{ $members{$structure} };
}

sub table {
    my ($name, $why, @paths) = @_;
    print "$name = [\n", (map {qq(    { path = "$_", reason = "$why" },\n)} @paths), "]\n";
}

table('disallowed-methods', $bit_fields, @functions);
table('disallowed-types', $bit_fields, @types);
table('disallowed-fields', $members, @unlisted);
