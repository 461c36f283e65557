# The metrics as Prometheus sees them: promtool checks the page and the alerts of
# contrib/, and a real Prometheus scrapes the page and answers every expression of
# the dashboard.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use JSON::PP;
use POSIX ();
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver;
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::Webhook;

my $root = abs_path(dirname(__FILE__) . '/..');
my $directory = tempdir(CLEANUP => 1);
my $http = HTTP::Tiny->new(timeout => 10);

# --- the alerts

copy("$root/$_", $directory) or die "$_: $!\n" for qw(contrib/alerts.yml t/fixtures/alerts_test.yml);
is(run("promtool check rules $directory/alerts.yml"), 0, 'contrib/alerts.yml can be read');
is(run("promtool test rules $directory/alerts_test.yml"), 0, 'each alert fires when it should');
my %tested = map { $_ => 1 } read_file("$root/t/fixtures/alerts_test.yml") =~ /alertname: (\w+)\n\s+exp_alerts/g;
my @alerts = read_file("$root/contrib/alerts.yml") =~ /alert: (\w+)/g;
is_deeply([grep { !$tested{$_} } @alerts], [], 'and every one was seen to');
my $operations = read_file("$root/docs/operations.md");
is_deeply([grep { $operations !~ /^\| `$_` \|/m } @alerts], [], 'docs/operations.md says what to do about each');

# --- the page

my $nginx = Test::Nginx::Authgear::Server->start(
    workers => 2,
    project => 'resolve_request /_authgear/resolve; recheck 1h strict; webhook_secret_file $TEST_NGINX_WEBHOOK_SECRET;',
    http => 'authgear_project tenants { endpoint https://$arg_t.example.com; }'
        . ' authgear_project down { endpoint $TEST_NGINX_AUTHGEAR; jwks_uri http://127.0.0.1:1/jwks; }',
    server => 'include $TEST_NGINX_RESOLVER; location = /metrics { authgear_status prometheus; }'
        . ' location = /observe { authgear_verify myapp observe; empty_gif; }'
        . ' location = /role { authgear_verify myapp; authgear_require_role admin; empty_gif; }',
);
my $token = token();
my $traffic = sub {
    $nginx->ask(token => $token);
    $nginx->ask(path => '/observe');
    $nginx->ask(path => '/role', token => $token);
    $nginx->ask(headers => cookie(session => session(user => 'ann')));
};
$traffic->();
my $page = $nginx->ask(path => '/metrics')->{body};
open my $out, '>', "$directory/page" or die "cannot write: $!\n";
print {$out} $page;
close $out;
is(run("promtool check metrics <$directory/page"), 0, 'promtool finds nothing to criticise');

# Every metric is described, and what is described exists.
my ($table) = $operations =~ /^\| metric \|.*?\n((?:\|.*\n)+)/m or die "docs/operations.md has no metrics\n";
my @described = map {/`(authgear_\w+)`/g} map { (split /\|/)[1] } split /\n/, $table;
my @families = $page =~ /^# TYPE (\w+) /mg;
# t/revocation_stream.t sees to those of the stream.
my @of_stream = qw(authgear_stream_connected authgear_stream_lag_seconds);
is_deeply([sort @described], [sort @families, @of_stream], 'docs/operations.md describes each metric');

# --- a real Prometheus

my $port = Test::Nginx::Authgear::Server::other_port();
open $out, '>', "$directory/prometheus.yml" or die "cannot write: $!\n";
print {$out} <<"END";
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: [$directory/alerts.yml]
scrape_configs:
  - job_name: nginx
    static_configs: [{ targets: ['127.0.0.1:$nginx->{port}'] }]
END
close $out;
my $pid = fork // die "cannot fork: $!\n";
if (!$pid) {
    open STDOUT, '>', "$directory/prometheus.log";
    open STDERR, '>&', \*STDOUT;
    exec 'prometheus', "--config.file=$directory/prometheus.yml", "--storage.tsdb.path=$directory/data",
        "--web.listen-address=127.0.0.1:$port" or POSIX::_exit(1);
}
soon { query('up{job="nginx"}')->[0] && query('up{job="nginx"}')->[0]{value}[1] == 1 } 'Prometheus reads the page', 30;
# Two scrapes and more, with something to count in between.
soon { $traffic->(); (query('count_over_time(up{job="nginx"}[1m])')->[0] || { value => [0, 0] })->{value}[1] >= 5 }
    'again and again', 30;
$page = $nginx->ask(path => '/metrics')->{body};
is(query('sum(scrape_samples_scraped{job="nginx"})')->[0]{value}[1], () = $page =~ /^authgear_/mg, 'every sample of it');
my ($targets) = @{ api('targets')->{activeTargets} };
is($targets->{lastError}, '', 'without an error');
is(query('authgear_keys{project="myapp"}')->[0]{value}[1], 1, 'a query is answered');
cmp_ok(query('sum(authgear_requests_total{project="myapp", reason="policy"})')->[0]{value}[1], '>=', 5, 'counters too');
is(api('metadata?metric=authgear_requests')->{authgear_requests}[0]{type}, 'counter', 'it was read as OpenMetrics');

# Every expression of the dashboard finds something.
my $dashboard = decode_json(read_file("$root/contrib/grafana.json"));
my $expressions = 0;
for my $panel (@{ $dashboard->{panels} }) {
    for my $target (@{ $panel->{targets} }) {
        my $expression = $target->{expr} =~ s/\$(?:project|instance)\b/.*/gr =~ s/\$__rate_interval/1m/gr;
        unlike($expression, qr/\$/, "$panel->{title}: every variable is known");
        my $found = query($expression);
        ok($found && @$found, "$panel->{title}: $expression") or diag(explain($found));
        $expressions++;
    }
}
cmp_ok($expressions, '>', 15, 'the dashboard has expressions');
# And it shows each metric.
my $shown = join "\n", map { map { $_->{expr} } @{ $_->{targets} } } @{ $dashboard->{panels} };
is_deeply([grep { $shown !~ /\b$_/ } @described], [], 'the dashboard shows each metric');
is_deeply([grep { $_->{health} ne 'ok' } map { @{ $_->{rules} } } @{ api('rules')->{groups} }], [], 'Prometheus evaluates each alert');

kill TERM => $pid;
waitpid $pid, 0;
$nginx->stop_soundly;

done_testing();

# Runs a command; its exit code, with what it said where that is not 0.
sub run {
    my ($command) = @_;
    my $said = `$command 2>&1`;
    my $code = $? >> 8;
    diag($said) if $code || ($command =~ /check metrics/ && $said);
    return $code;
}

sub api {
    my ($path) = @_;
    my $answer = $http->get("http://127.0.0.1:$port/api/v1/$path");
    return $answer->{success} ? decode_json($answer->{content})->{data} : undef;
}

sub query {
    my ($expression) = @_;
    my $data = api('query?' . $http->www_form_urlencode({ query => $expression })) // return [];
    return $data->{result};
}

sub read_file {
    my ($file) = @_;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    local $/;
    return <$in>;
}
