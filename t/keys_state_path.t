# The last good key set as a file: what is written, and what a start makes of it
# while the endpoint is down.

use strict;
use warnings;

use File::Temp qw(tempdir);
use POSIX ();
use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Server;
use Time::HiRes qw(sleep time);

my $is_root = $> == 0;
my ($nobody, $group) = (getpwnam 'nobody')[2, 3];
my $main = $is_root ? 'user nobody ' . getgrgid($group) . ';' : '';
my $by_tenant = 'endpoint https://$arg_t.example.com; internal_endpoint $TEST_NGINX_AUTHGEAR;';

# Outside of a checkout that the workers may not be able to enter.
my $parent = tempdir('ngx-authgear-state-XXXXXX', TMPDIR => 1, CLEANUP => 1);
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

# --- files that are no good

for my $case (
    ['an empty file', '', 'not JSON'],
    ['half a file', substr(key_set(), 0, 100), 'not JSON'],
    ['an empty set', '{"keys":[]}', 'no usable key'],
    ['something else', '[1, 2]', 'no key set'],
    ['a file that is too large', key_set() . ' ' x 300_000, 'more than 256 KiB'],
    ) {
    my ($name, $content, $cause) = @$case;
    my ($folder, $file) = saved();
    replace($file, $content);
    control('POST', '/-/gone');
    my $nginx = start($folder, 'fetch_timeout 1s;');
    my $token = token();
    my $until = time + 2.5;
    my @answers;
    while (time < $until) {
        push @answers, $nginx->ask(token => $token);
        sleep 0.1;
    }
    is_deeply($nginx->tally(@answers), { '503 keys_unavailable' => scalar @answers },
        "$name is not used");
    my @lines = lines_of_saved($nginx);
    is(scalar @lines, 1, 'one line');
    like($lines[0] // '', qr/^\[error\] authgear: saved keys of \S+: ignored "\Q$file\E": .*$cause/,
        'that says why');
    control('POST', '/-/back');
    soon { $nginx->ask(token => $token)->{status} == 200 } 'nginx goes on, and keys come';
    soon { content($file) eq key_set() } 'the file is good again';
    finish($nginx);
}

# A draft that a crash in the middle of the first fetch left behind.
{
    my ($folder, $file) = saved();
    my $draft = $file =~ s/json$/1.tmp/r;
    replace($draft, '{"keys":[');
    chmod 0600, $draft;
    chown $nobody, $group, $draft if $is_root;
    age($draft, 90);
    replace($file, '{}');
    my $nginx = start($folder);
    is($nginx->ask(token => token())->{status}, 200, 'a draft is left behind');
    ok(&wait_for(sub { content($file) eq key_set() }, 2),
        'and does not keep the next set from being saved');
    ok(&wait_for(sub { !-e $draft }, 2), 'it is gone');
    finish($nginx);
}

# --- what is no plain file of the workers' own

# Neither waits nor reads what somebody else offers.
for my $case (
    ['a FIFO', sub { POSIX::mkfifo($_[0], 0600) or die "mkfifo: $!\n" }, 'it is no regular file'],
    ['a link to good keys', sub {
        my $target = "$parent/linked.json";
        replace($target, key_set());
        symlink $target, $_[0] or die "symlink: $!\n";
    }, 'it is a symbolic link'],
    ['a folder', sub { mkdir $_[0] or die "mkdir: $!\n" }, 'it is no regular file'],
    ['a file that others may write', sub {
        replace($_[0], key_set());
        chmod 0666, $_[0];
    }, 'others than its owner may write to it (mode 0666)'],
    ($is_root ? ["another user's file", sub {
        replace($_[0], key_set());
        chown 1, 1, $_[0];
        chmod 0644, $_[0];
    }, "it belongs to the user 1, not to $nobody"] : ()),
    ) {
    my ($name, $make, $cause) = @$case;
    my ($folder, $file) = saved();
    unlink $file or die "cannot remove $file: $!\n";
    $make->($file);
    chown $nobody, $group, $file if $is_root && $name =~ /FIFO|others|folder/;
    control('POST', '/-/gone');
    my $nginx = start($folder, 'fetch_timeout 1s;');
    my $token = token();
    my $answer = $nginx->ask(token => $token);
    is("$answer->{status} $answer->{reason}", '503 keys_unavailable', "$name is not used");
    ok($answer->{seconds} < 3, 'and does not hang the request');
    my ($line) = lines_of_saved($nginx);
    like($line // '', qr/^\[error\] authgear: saved keys of \S+: cannot read "\Q$file\E": \Q$cause\E/, 'the log says why');
    control('POST', '/-/back');
    soon { $nginx->ask(token => $token)->{status} == 200 } 'keys come';
    if ($name ne 'a folder') {
        soon { -f $file && !-l $file && content($file) eq key_set() } 'and are saved in its place';
    }
    finish($nginx);
}

# Names that drafts have had, with everything that could hold a writer up or lead it elsewhere.
{
    my $folder = folder();
    my ($name) = map { (files_in($_))[0] =~ s{.*/}{}r } (saved())[0];
    my $victim = "$parent/victim";
    replace($victim, 'precious');
    chmod 0666, $victim;
    mkdir $folder, 0700 or die "mkdir: $!\n";
    chown $nobody, $group, $folder if $is_root;
    my @drafts = map { "$folder/" . $name =~ s/json$/$_.tmp/r } 1 .. 20;
    for my $index (0 .. $#drafts) {
        $index % 2 ? symlink($victim, $drafts[$index]) : POSIX::mkfifo($drafts[$index], 0600);
    }
    my $nginx = start($folder, 'jwks_min_interval 1s;');
    is($nginx->ask(token => token())->{status}, 200, 'FIFOs and links in place of drafts: keys come');
    soon { content("$folder/$name") eq key_set() } 'and are saved';
    finish($nginx);
    is(content($victim), 'precious', 'and no link was followed');
}

# --- a folder in which others may write

{
    my $folder = folder();
    my $token = token_of('open');
    my $ask = sub {
        my $answer = $_[0]->ask(path => '/?t=open', token => $token);
        return "$answer->{status} $answer->{reason}";
    };
    my $nginx = start($folder, $by_tenant);
    is($ask->($nginx), '200 ok', 'a tenant');
    soon { files_in($folder) == 1 } 'has a file';
    finish($nginx);
    my ($file) = files_in($folder);
    my $document = content($file);

    chmod 01777, $folder;
    is(config_error("\nauthgear_project myapp {\nendpoint https://a.example;\nstate_path $folder;\n}\n"),
        qq(authgear: "state_path" "$folder" cannot be used: others than its owner may write to it (mode 1777);)
            . ' name a folder in which nobody else may write ("chmod go-w") in nginx.conf:4',
        'a folder that others can write is refused at the start');
    chmod 0700, $folder;

    control('POST', '/-/gone');
    $nginx = start($folder, "$by_tenant jwks_refresh 1s; jwks_min_interval 1s; fetch_timeout 1s;");
    chmod 0777, $folder;
    is($ask->($nginx), '503 keys_unavailable', 'and at each use: nothing is read');
    replace($file, '{}');
    control('POST', '/-/back');
    soon { $ask->($nginx) eq '200 ok' } 'keys come';
    soon { $ask->($nginx); grep { /cannot save/ } lines_of_saved($nginx) } 'and cannot be saved';
    is(content($file), '{}', 'nothing is written');
    my @lines = lines_of_saved($nginx);
    my $cause = quotemeta 'others than its owner may write to it (mode 0777)';
    like($lines[0] // '', qr/cannot read "\Q$folder\E": $cause/, 'the log says so');
    like($lines[1] // '', qr/cannot save them in "state_path": $cause/, 'of both');
    chmod 0700, $folder;
    soon { $ask->($nginx); content($file) eq $document } 'until that is mended';
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

# --- a folder that cannot be written

for my $case (
    ['read-only', sub {
        chmod 0500, $_[0];
        chown 0, 0, $_[0] if $is_root;
    }],
    ['gone', sub { rmdir $_[0] or die "cannot remove $_[0]: $!\n" }],
    ) {
    my ($name, $break) = @$case;
    my $folder = folder();
    control('POST', '/-/gone');
    my $nginx = start($folder, 'jwks_refresh 1s; jwks_min_interval 1s; fetch_timeout 1s;');
    my $token = token();
    $break->($folder);
    control('POST', '/-/back');
    soon { $nginx->ask(token => $token)->{status} == 200 } "a folder is $name, keys come";
    soon { lines_of_saved($nginx) } 'the log says so';
    my $until = time + 4;
    my @answers;
    while (time < $until) {
        push @answers, $nginx->receive(map { $nginx->send(token => $token) } 1 .. 5);
        sleep 0.1;
    }
    is_deeply($nginx->tally(@answers), { '200 ok' => scalar @answers }, 'requests are unaffected');
    # Keys have been fetched several times since.
    my @lines = grep { /cannot save/ } lines_of_saved($nginx);
    is(scalar @lines, 1, 'in one line');
    like($lines[0] // '', qr/^\[error\] authgear: keys of \S+: cannot save them in "state_path": \S/,
        'that says what it was');
    chmod 0700, $folder;
    finish($nginx);
}

# --- mistakes

{
    my $file = "$parent/keys.json";
    replace($file, key_set());
    for my $value (folder(), 'off') {
        my $mistake = config_error("\nauthgear_project myapp {\n"
            . "endpoint https://myapp.example.com;\njwks_file $file;\nstate_path $value;\n}\n");
        is($mistake, 'authgear: "authgear_project" "myapp" has both "jwks_file" and "state_path",'
            . ' but keys from a file are never fetched; remove one in nginx.conf:6',
            "keys from a file are not saved: state_path $value");
    }
}

# A folder that cannot be made stops the start, as it does for a cache.
{
    my $mistake = config_error("authgear_project myapp { endpoint https://myapp.example.com;"
        . " state_path $parent/keys.json/state; }");
    like($mistake, qr/^mkdir\(\) "\Q$parent\E\/keys\.json\/state" failed/, 'a folder below a file');
}

done_testing();
