# Files and folders of state_path that are refused: damaged ones, those that others
# could have written, and those that cannot be written.

use strict;
use warnings;

use POSIX ();
use Test::More;
use Test::Nginx::Authgear args => ['--tenants'];
use Test::Nginx::Authgear::Server;
use Test::Nginx::Authgear::State;
use Time::HiRes qw(sleep time);

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
    ok($answer->{seconds} < 10, 'and does not hang the request');
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
