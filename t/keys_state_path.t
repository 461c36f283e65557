# The last good key set as a file: the module saves it, and uses it at a start
# while the endpoint is down.

use strict;
use warnings;

use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::State;
use Time::HiRes qw(sleep time);

# --- what is written

{
    my $folder = folder();
    my $nginx = start($folder, 'jwks_min_interval 1s;', workers => 4);
    my $token = token();
    is_deeply($nginx->tally($nginx->receive(map { $nginx->send(token => $token) } 1 .. 40)),
        { '200 ok' => 40 }, 'keys are fetched');
    soon { files_in($folder) == 1 && content(files_in($folder)) eq key_set() } 'and saved';
    my ($file) = files_in($folder);
    my @folder = stat $folder;
    my @file = stat $file;
    is(sprintf('%o', $folder[2] & 07777), '700', 'in a folder for one user alone');
    is(sprintf('%o', $file[2] & 07777), '600', 'as a file for one user alone');
    SKIP: {
        skip 'not root', 1 if !$is_root;
        is_deeply([$folder[4], @file[4, 5]], [$nobody, $nobody, $group], q{that of the workers});
    }

    # All workers see an unknown kid at the same time.
    sleep 1.1;
    control('POST', '/-/keys/rotate', { keep_old => JSON::PP::false });
    my $new = token();
    is_deeply($nginx->tally($nginx->receive(map { $nginx->send(token => $new) } 1 .. 40)),
        { '200 ok' => 40 }, 'a rotation');
    soon { content($file) eq key_set() } 'is saved as well';
    is_deeply([files_in($folder)], [$file], 'in the same file');

    my @before = stat $file;
    ok($nginx->reload, 'a reload');
    is($nginx->ask(token => $new)->{status}, 200, 'needs no file');
    is_deeply([(stat $file)[1, 9]], [@before[1, 9]], 'and writes none');
    is_deeply([lines_of_saved($nginx)], [], 'nothing of all that is logged');
    finish($nginx);
    is_deeply([all_in($folder)], [$file], 'and no draft is left behind');
}

# The file is named by nothing that a reader of the folder could use.
{
    my $folder = folder();
    my $nginx = start($folder, 'issuer $TEST_NGINX_AUTHGEAR;'
        . ' jwks_uri $TEST_NGINX_AUTHGEAR/oauth2/jwks?secret=s3cret;');
    is($nginx->ask(token => token())->{status}, 200, 'keys by a URL with a secret');
    soon { files_in($folder) == 1 } 'are saved';
    my ($name) = map { s{.*/}{}r } files_in($folder);
    like($name, qr/^[0-9a-f]{64}\.json$/, 'by a name that says nothing');
    finish($nginx);
}

# --- a start while the endpoint is down

for my $way (
    ['refuses', sub { control('POST', '/-/gone') }],
    ['fails', sub { fault(discovery => 'status', status => 502) }],
    ['hangs', sub { fault(discovery => 'hang') }],
    ['drips', sub { fault(jwks => 'drip') }],
    ) {
    my ($name, $break) = @$way;
    my ($folder, $file) = saved();
    my $token = token();
    my $stranger = token(key => 'stranger');
    $break->();
    my $nginx = start($folder, 'fetch_timeout 20s;', workers => 4);
    my %to = $nginx->connection_to_each;
    my @answers = $nginx->receive(map { $nginx->send(token => $token, on => $_) } values %to);
    is_deeply($nginx->tally(@answers), { '200 ok' => 4 }, "the endpoint $name: the saved keys serve");
    is_deeply([grep { $_->{seconds} > 3 } @answers], [], 'at once');
    is($nginx->ask(token => $stranger)->{reason}, 'bad_signature', 'and judge as ever');
    is_deeply([lines_of_saved($nginx)], [], 'nothing is wrong with them');
    heal();
    control('POST', '/-/back');
    finish($nginx, 'TERM');
}

# The first request is sent before any fetch has begun.
{
    my $folder = folder();
    my $token = token_of('first');
    my $nginx = start($folder, $by_tenant);
    is($nginx->ask(path => '/?t=first', token => $token)->{status}, 200, 'a tenant');
    soon { files_in($folder) == 1 } 'has a file';
    finish($nginx);
    fault(discovery => 'hang');
    $nginx = start($folder, "$by_tenant fetch_timeout 20s;", workers => 4);
    my @answers = $nginx->receive(map { $nginx->send(path => '/?t=first', token => $token) } 1 .. 40);
    is_deeply($nginx->tally(@answers), { '200 ok' => 40 },
        'its first requests after a start are answered');
    is_deeply([grep { $_->{seconds} > 3 } @answers], [], 'while the fetch hangs');
    heal();
    finish($nginx, 'TERM');
}

# The endpoint comes back, with other keys.
{
    my ($folder, $file) = saved();
    my $old = token();
    control('POST', '/-/gone');
    my $nginx = start($folder, 'fetch_timeout 2s;', workers => 4);
    is($nginx->ask(token => $old)->{status}, 200, 'saved keys serve');
    control('POST', '/-/keys/rotate', { keep_old => JSON::PP::false });
    control('POST', '/-/back');
    my $new = token();
    soon { $nginx->ask(token => $new)->{status} == 200 } 'until the endpoint has new ones';
    my %to = $nginx->connection_to_each;
    is_deeply($nginx->tally(map { $nginx->ask(token => $old, on => $_) } values %to),
        { '401 unknown_key' => 4 }, 'then no longer');
    soon { content($file) eq key_set() } 'and the new ones are saved';
    finish($nginx);
}

# --- age

{
    my ($folder, $file) = saved();
    my $token = token();
    my $times = 'jwks_refresh 1m; jwks_stale 1m; fetch_timeout 1s;';
    control('POST', '/-/gone');

    age($file, 90);
    my $nginx = start($folder, $times);
    is($nginx->ask(token => $token)->{status}, 200, 'a set that is stale serves');
    finish($nginx);

    age($file, 116);
    $nginx = start($folder, $times);
    is($nginx->ask(token => $token)->{status}, 200, 'one that has a moment left');
    soon { $nginx->ask(token => $token)->{status} == 503 } 'serves for that moment';
    my %to = $nginx->connection_to_each;
    is_deeply($nginx->tally(map { $nginx->ask(token => $token, on => $_) } values %to),
        { '503 keys_unavailable' => 2 }, 'in every worker');
    finish($nginx);

    age($file, 125);
    $nginx = start($folder, $times);
    my $answer = $nginx->ask(token => $token);
    is("$answer->{status} $answer->{reason}", '503 keys_unavailable', 'one that is too old does not');
    like($answer->{retry_after} // '', qr/^[12]$/, 'and the client may come again');
    control('POST', '/-/back');
    soon { $nginx->ask(token => $token)->{status} == 200 } 'until keys can be had';
    soon { time - (stat $file)[9] < 60 } 'and the file is new';
    finish($nginx);
}

# A clock that was set back.
{
    my ($folder, $file) = saved();
    age($file, -3600);
    control('POST', '/-/gone');
    my $nginx = start($folder);
    is($nginx->ask(token => token())->{status}, 200, 'a file of the future is new');
    control('POST', '/-/back');
    finish($nginx);
}

# --- several sources in one folder

{
    my $folder = folder();
    my $other = "$by_tenant state_path $folder;" =~ s/\$arg_t/other/r;
    my %option = (
        http => "authgear_project other { $other }",
        server => 'location /other { authgear_verify other; empty_gif; }',
    );
    my %token = ('/' => token(), '/other' => token_of('other'));
    my $verdicts = sub {
        my ($nginx) = @_;
        return join ' ', map {
            my $path = $_;
            map { $nginx->ask(path => $path, token => $token{$_})->{status} } '/', '/other';
        } '/', '/other';
    };
    my $nginx = start($folder, '', %option);
    is($verdicts->($nginx), '200 401 401 200', 'two projects with one folder');
    soon { files_in($folder) == 2 } 'have a file each';
    finish($nginx);
    my $alone = start($folder, 'jwks_min_interval 1s;');
    is($alone->ask(token => $token{'/'})->{status}, 200, 'one of them alone');
    is(scalar files_in($folder), 2, 'leaves the file of the other');
    finish($alone);

    fault($_ => 'hang') for qw(discovery jwks);
    $nginx = start($folder, 'fetch_timeout 1s;', %option);
    like($verdicts->($nginx), qr/^200 (?:401|503) (?:401|503) 200$/,
        'a start without the endpoints: each has its own keys');
    heal();
    finish($nginx);
}

{
    my $folder = folder();
    my @names = map { "tenant-$_" } 1 .. 6;
    my %token = map { $_ => token_of($_) } @names;
    my $nginx = start($folder, $by_tenant);
    my $ask = sub {
        my ($shift) = @_;
        return $nginx->tally($nginx->receive(map {
            $nginx->send(path => "/?t=$names[$_]", token => $token{ $names[($_ + $shift) % @names] })
        } 0 .. $#names));
    };
    is_deeply($ask->(0), { '200 ok' => 6 }, 'six tenants of one project');
    soon { files_in($folder) == 6 } 'have a file each';
    is(scalar(grep { /\/[0-9a-f]{64}\.json$/ } files_in($folder)), 6, 'and nothing else');
    finish($nginx);

    control('POST', '/-/gone');
    $nginx = start($folder, "$by_tenant fetch_timeout 1s;");
    is_deeply($ask->(0), { '200 ok' => 6 }, 'after a start without the endpoint each has its keys');
    my $tally = $ask->(1);
    is_deeply([grep { /^200/ } keys %$tally], [], q{and nobody another's});
    my $fresh = $nginx->ask(path => '/?t=tenant-7', token => $token{'tenant-1'});
    is($fresh->{status}, 503, 'one that was never seen has none');
    control('POST', '/-/back');
    finish($nginx);
}

done_testing();
