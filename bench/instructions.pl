# Counts the instructions that nginx executes per request, by row, with callgrind:
# no noise, but neither the kernel's work nor what an instruction takes. Leaves a
# profile of each row in build/bench/run/, for callgrind_annotate. See run.sh.
use strict;
use warnings;
use utf8;

use Bench::Load qw(check_user mint send_requests sessions settle);
use Bench::Processes qw($directory start_nginx start_standin);
use Bench::Report qw(print_text);
use Bench::Rows qw(rows);
use Cwd qw(getcwd);
use File::Path qw(make_path remove_tree);

my $requests = $ENV{REQUESTS} || 1000;

binmode STDOUT, ':utf8';
remove_tree($directory);
make_path($directory, 'build/bench/state');
my $standin = start_standin('--origin', 'https://auth.example.com', '--state-dir', 'build/bench/state');
my @tokens = map { "Authorization: Bearer $_" } mint($standin, 3 * $requests);
my $backend = start_nginx('backend', bare => 1);
my $profile = getcwd() . "/$directory/profile";
my $nginx = start_nginx('rows', values => { AUTHGEAR => $standin->{http}, RESOLVER => $standin->{resolver}, BACKEND => $backend->{listen} },
    under => ['valgrind', '-q', '--tool=callgrind', '--instr-atstart=no', "--callgrind-out-file=$profile"]);
my %lines = (
    seen => [@tokens[0 .. $requests - 1]],
    one => [$tokens[0]],
    sessions => [map { "Cookie: session=$_" } sessions($standin, 100)],
);

my $dumps = 0;
my %bare;
my @table = ['', 'instructions', 'over the bare server', 'profile'];
for my $row (rows($ENV{ROWS})) {
    next if $row->{server};
    for my $send ($row->{send} // ('seen', 'sessions')) {
        # For the two rows of unseen tokens.
        $lines{unseen} = [splice @tokens, -$requests] if $send eq 'unseen';
        my $url = "http://$nginx->{listen}$row->{path}";
        send_requests($url, $lines{$send}, requests => $requests) if $send ne 'unseen';
        settle($standin);
        callgrind('-i', 'on');
        my ($count) = send_requests($url, $lines{$send}, requests => $requests);
        settle($standin);
        callgrind('-i', 'off');
        callgrind("-d=$row->{name}");
        $dumps++;
        my $each = total("$profile.$dumps") / $count;
        check_user($url, $lines{$send}[0]) if $row->{auth};
        my $base = $bare{ $send eq 'sessions' ? 'sessions' : 'tokens' } //= $each;
        push @table, [$row->{send} ? $row->{name} : "$row->{name}, $send", sprintf('%.0f', $each),
            sprintf('%+.0f', $each - $base), "$directory/profile.$dumps"];
    }
}
print_text(@table);

sub callgrind {
    my @arguments = @_;
    system(qq(callgrind_control "$arguments[0]" @arguments[1 .. $#arguments] $nginx->{worker} >$directory/control 2>&1)) == 0
        or die "callgrind_control @arguments failed\n";
}

sub total {
    my ($file) = @_;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    my ($total) = map { /^totals: (\d+)/ } <$in>;
    return $total;
}
