package Test::Nginx::Authgear::State;

# `state_path`: folders, the files that the module saves in them, and an nginx that
# uses one.

use strict;
use warnings;

use Exporter qw(import);
use File::Temp qw(tempdir);
use Test::More;
use Test::Nginx::Authgear standin => 0;
use Test::Nginx::Authgear::Server;

our @EXPORT = qw($by_tenant $group $is_root $nobody $parent age all_in content files_in finish folder
    lines_of_saved replace saved start token_of);

our $is_root = $> == 0;
our ($nobody, $group) = (getpwnam 'nobody')[2, 3];
our $by_tenant = 'endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR;';
my $main = $is_root ? 'user nobody ' . getgrgid($group) . ';' : '';

# Outside of a checkout that the workers may not be able to enter.
our $parent = tempdir('ngx-authgear-state-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $parent;
my $folders = 0;

# The name of a folder that does not exist yet.
sub folder { return "$parent/state-" . ++$folders }

sub all_in {
    my ($folder) = @_;
    opendir my $in, $folder or return;
    return map { "$folder/$_" } sort grep { !/^\.\.?$/ } readdir $in;
}

# Without drafts, which are there for a moment while a set is saved.
sub files_in { return grep { !/\.tmp$/ } all_in(@_) }

sub content {
    my ($file) = @_;
    open my $in, '<', $file or return '';
    local $/;
    return scalar <$in>;
}

sub replace {
    my ($file, $content) = @_;
    open my $out, '>', $file or die "cannot write $file: $!\n";
    print {$out} $content;
    close $out;
}

# Makes the file as old as if it had been saved so many seconds ago.
sub age {
    my ($file, $seconds) = @_;
    my $then = time - $seconds;
    utime $then, $then, $file or die "cannot set the time of $file: $!\n";
}

sub of_tenant {
    my ($name, $method, $path, $body) = @_;
    return control($method, "$path?project=https://$name.example.com", $body);
}

sub token_of { return of_tenant($_[0], 'POST', '/-/token', { user => $_[0] }) }

# Starts nginx with the folder, and more of the project's lines.
sub start {
    my ($folder, $project, %option) = @_;
    return Test::Nginx::Authgear::Server->start(
        main => $main,
        project => "state_path $folder; " . ($project // ''),
        %option,
    );
}

# A fetch that hangs would hold a graceful stop back.
sub finish {
    my ($nginx, $signal) = @_;
    $nginx->signal($signal || 'QUIT');
    ok($nginx->ends, 'nginx ends');
    $nginx->was_sound;
}

# A folder that holds the default project's keys, for the default endpoint.
sub saved {
    my $folder = folder();
    my $nginx = start($folder);
    $nginx->ask(token => token());
    wait_for { my ($file) = files_in($folder); defined $file && $file =~ /json$/ };
    $nginx->stop;
    return ($folder, files_in($folder));
}

# Lines about saved keys, without their time.
sub lines_of_saved {
    my ($nginx) = @_;
    my @lines = grep { /authgear: .*(?:saved|save) / } split /\n/, $nginx->log_text;
    s/^\S+ \S+ (\[\w+\]) .*?(authgear: .*)/$1 $2/ for @lines;
    return @lines;
}

1;
