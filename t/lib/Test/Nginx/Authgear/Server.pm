package Test::Nginx::Authgear::Server;

# nginx with a master and several workers, which the test starts, signals and
# reloads by itself.
#
#   my $nginx = Test::Nginx::Authgear::Server->start(workers => 4, project => '…');
#
# Server/Requests.pm sends it requests. Everything is under the location /,
# which verifies with myapp; /free is open.

use strict;
use warnings;

use Exporter qw(import);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX ();
use parent 'Test::Nginx::Authgear::Server::Requests';
use Test::More ();
use Test::Nginx::Authgear standin => 0;
use Test::Nginx::Authgear::Server::Requests qw($slow);

our @EXPORT = qw(soon key_set);

my $directory = $ENV{AUTHGEAR_TEST_DIR} || do {
    my $made = tempdir(CLEANUP => 1);
    chmod 0755, $made;
    $made;
};
my $port = $ENV{TEST_NGINX_SERVER_PORT};
my $main_process = $$;
my @running;

# Options, all text but the first:
#
#   workers   2; 0 for no master process, which then has to be waited for after
#             a reload
#   project   lines for authgear_project myapp { }; the endpoint is the stand-in
#             unless a line sets it
#   http      lines for the http block, $TEST_NGINX_… replaced here as in all
#   server    lines for the server block
#   location  lines for the location /
#   main      lines for the top level
#   beside    a number from 1 to 3, for one that runs beside the default one
#   connections   2048, of each worker
#   daemon    "off"; "on" for one that can be upgraded on the fly
#   listen    parameters of `listen`; "reuseport", which spreads connections
sub start {
    my ($class, %option) = @_;
    $port ||= free_port();
    my $beside = $option{beside} || 0;
    my $root = "$directory/servroot" . ($beside ? "-$beside" : '');
    make_path("$root/logs", "$root/conf");
    my $self = bless {
        root => $root, port => $beside ? other_port($beside) : $port, log => "$root/logs/error.log", mark => 0,
        option => { workers => 2, listen => 'reuseport', daemon => 'off', %option },
    }, $class;
    $self->{mark} = -s $self->{log} || 0;
    $self->{start} = $self->{mark};
    $self->configure;

    my $output = "$root/logs/output.log";
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        open STDOUT, '>>', $output;
        open STDERR, '>&', \*STDOUT;
        exec $ENV{TEST_NGINX_BINARY}, '-p', "$root/", '-c', 'conf/nginx.conf', '-e', $self->{log}
            or POSIX::_exit(1);
    }
    $self->{master} = $pid;
    if ($self->{option}{daemon} eq 'on') {
        waitpid $pid, 0;
        $self->{master} = $self->written_master;
    }
    push @running, $self;
    wait_for { $self->is_up || !$self->is_alive } 10 * $slow;
    if (!$self->is_alive || !$self->is_up) {
        open my $in, '<', $output;
        die 'nginx did not start: ', <$in>, $self->log_text, "\n";
    }
    return $self;
}

# Writes nginx.conf with what `start` was told and the changes given.
sub configure {
    my ($self, %change) = @_;
    my $option = $self->{option} = { %{ $self->{option} }, %change };
    my ($root, $project) = ($self->{root}, $option->{project} // '');
    $project = "endpoint \$TEST_NGINX_AUTHGEAR; $project" if $project !~ /(?:^|;)\s*endpoint\s/m;
    my $temporary = join ' ',
        map { "${_}_temp_path $root/$_;" } qw(client_body proxy fastcgi scgi uwsgi);
    my $modules = join ' ', map { "load_module $_;" } split ' ', $ENV{TEST_NGINX_LOAD_MODULES};
    my %text = map { $_ => $option->{$_} // '' } qw(main http server location);
    my $connections = $option->{connections} // 2048;
    my $processes = $option->{workers} ? "worker_processes $option->{workers}" : 'master_process off';

    my $text = <<"END";
$modules
daemon $option->{daemon};
$processes;
pid $root/nginx.pid;
error_log $self->{log} notice;
$text{main}
events {
    worker_connections $connections;
}
http {
    access_log off;
    $temporary
    keepalive_requests 1000000;
    authgear_project myapp {
        $project
    }
    $text{http}
    server {
        listen 127.0.0.1:$self->{port} $option->{listen};
        add_header X-Worker \$pid always;
        add_header X-Reason \$authgear_reason always;
        add_header X-User \$authgear_user_id always;
        $text{server}
        location / {
            authgear_verify myapp;
            $text{location}
            empty_gif;
        }
        location = /free {
            empty_gif;
        }
    }
}
END
    $text =~ s/\$(TEST_NGINX_[_A-Z0-9]+)/$ENV{$1} \/\/ die "no environment $1\n"/eg;
    open my $out, '>', "$root/conf/nginx.conf" or die "cannot write nginx.conf: $!\n";
    print {$out} $text;
    close $out;
    return;
}

# Another port than that of the default server, for a server of one's own.
sub other_port { return $port ? $port + ($_[0] || 1) : free_port() }

sub free_port {
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "no port: $@\n";
    return $socket->sockport;
}

# soon { … } 'name', 10: an assertion that the block is true before so many
# seconds have passed, 10 unless told.
sub soon (&$;$) {
    my ($condition, $name, $seconds) = @_;
    return Test::More::ok(&wait_for($condition, ($seconds || 10) * $slow), $name);
}

# The document that the stand-in serves as the default project's key set; other
# tenants can be given it, which spares making keys for each.
sub key_set {
    my ($scheme, $host) = standin()->{origin} =~ m{^(https?)://(.*)};
    my $socket = IO::Socket::INET->new(PeerAddr => standin()->{http} =~ m{^http://(.*)})
        or die "cannot connect to the stand-in: $@\n";
    print {$socket} "GET /oauth2/jwks HTTP/1.1\r\nHost: $host\r\nX-Forwarded-Proto: $scheme\r\n",
        "Connection: close\r\n\r\n";
    local $/;
    my ($document) = <$socket> =~ /^HTTP\/1\.1 200 .*?\r\n\r\n(.*)/s
        or die "the stand-in has no key set\n";
    return $document;
}

# --- processes

sub is_alive {
    my ($self) = @_;
    return 0 if $self->{ended};
    return kill 0 => $self->{master} if $self->{option}{daemon} eq 'on';
    return 1 if waitpid($self->{master}, POSIX::WNOHANG()) == 0;
    $self->{ended} = 1;
    $self->{signal} = $? & 127;
    return 0;
}

# The master that wrote its number to the file.
sub written_master {
    my ($self) = @_;
    open my $in, '<', "$self->{root}/nginx.pid" or return 0;
    return <$in> =~ /(\d+)/ ? $1 : 0;
}

# Has the binary started anew, beside the nginx that runs (only with daemon => 'on'); from now on `master` is the new
# one's. Returns the old one's.
sub upgrade {
    my ($self) = @_;
    my $old = $self->{master};
    kill USR2 => $old;
    wait_for { my $new = $self->written_master; $new && $new != $old } 10 * $slow;
    $self->{master} = $self->written_master;
    wait_for { $self->workers >= $self->{option}{workers} } 10 * $slow;
    return $old;
}

sub is_up {
    my ($self) = @_;
    return $self->workers >= $self->{option}{workers}
        && IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port});
}

sub master { return $_[0]{master} }

# Angie has its own name, and says how often the configuration was loaded.
my $title = qr/(?:nginx|angie): worker process/;

# Pids of the workers that take new connections.
sub workers {
    my ($self) = @_;
    return grep { title($_) =~ /^$title(?: #\d+)?$/ } children($self->{master});
}

# Pids of all workers, those that finish their last requests included.
sub all_workers {
    my ($self) = @_;
    return grep { title($_) =~ /^$title/ } children($self->{master});
}

# The worker that has a fetch under way, known by its second thread.
sub fetching_worker {
    my ($self) = @_;
    my $found;
    wait_for { ($found) = grep { threads($_) > 1 } $self->all_workers } 5 * $slow;
    return $found;
}

sub children {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/task/$pid/children" or return split ' ', `pgrep -P $pid`;
    my $line = <$in> // '';
    return split ' ', $line;
}

sub title {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/cmdline" or return '';
    local $/;
    my $title = <$in> // '';
    $title =~ s/[\0 ]+\z//;
    return $title;
}

sub threads {
    my ($pid) = @_;
    return scalar(() = glob "/proc/$pid/task/*");
}

# Open descriptors of a process.
sub descriptors {
    my ($pid) = @_;
    return scalar(() = glob "/proc/$pid/fd/*");
}

# Resident memory of a process, in KiB.
sub memory {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/status" or return 0;
    return (map { /^VmRSS:\s+(\d+)/ } <$in>)[0];
}

# True if workers have accepted every connection and read what was sent on it.
sub has_read_all {
    my ($self) = @_;
    my $port = sprintf '%04X', $self->{port};
    open my $in, '<', '/proc/net/tcp' or die "cannot read /proc/net/tcp: $!";
    my $established = qr/^\s*\d+: [0-9A-F]{8}:$port \S+ 01 /;
    for my $line (grep { /$established/ } <$in>) {
        my ($queues, $inode) = (split ' ', $line)[4, 9];
        return 0 if $queues !~ /:0+\z/ || !$inode;
    }
    return 1;
}

# Reloads, with changes to the configuration, and waits for the new workers; the
# old ones may still have requests to finish.
sub reload {
    my ($self, %change) = @_;
    $self->configure(%change) if %change;
    my %old = map { $_ => 1 } $self->all_workers;
    kill HUP => $self->{master};
    return wait_for {
        my @new = $self->workers;
        @new == $self->{option}{workers} && !grep { $old{$_} } @new;
    } 10 * $slow;
}

sub signal {
    my ($self, $signal) = @_;
    return kill $signal => $self->{master};
}

# True when all its processes are gone before so many seconds have passed.
sub ends {
    my ($self, $seconds) = @_;
    my $gone = wait_for { !$self->is_alive } ($seconds || 10) * $slow;
    @running = grep { $_ != $self } @running if $gone;
    return $gone;
}

# Ends it in good order, which leaves an [alert] if anything still waits.
sub stop {
    my ($self) = @_;
    $self->signal('QUIT');
    return $self->ends(10);
}

END {
    my $status = $?;
    if ($$ == $main_process) {
        $_->signal('TERM') for @running;
        for my $nginx (@running) {
            next if wait_for { !$nginx->is_alive } 5 * $slow;
            kill KILL => $nginx->workers, $nginx->{master};
        }
    }
    $? = $status;
}

# --- the log

# The log since the last mark.
sub log_text {
    my ($self) = @_;
    open my $in, '<', $self->{log} or return '';
    seek $in, $self->{mark}, 0;
    local $/;
    return scalar <$in> // '';
}

sub mark_log {
    my ($self) = @_;
    $self->{mark} = -s $self->{log} || 0;
    return;
}

# Log lines about fetched keys since the last mark, without their time.
sub key_lines {
    my ($self, $pattern) = @_;
    my @lines = grep { /authgear: keys of / } split /\n/, $self->log_text;
    s/^\S+ \S+ (\[\w+\]) .*?(authgear: .*)/$1 $2/ for @lines;
    return grep { !defined $pattern || /$pattern/ } @lines;
}

# One assertion: since the start no process crashed, panicked or lost track of a
# connection. `killed` workers are those that the test itself killed.
sub was_sound {
    my ($self, %option) = @_;
    local $self->{mark} = $self->{start};
    my $bad = qr/\[(?:alert|emerg|crit)\]|panicked|exited on signal|exited with code [^0]/;
    my @lines = grep { /$bad/ } split /\n/, $self->log_text;
    @lines = grep { !/exited on signal 9$/ } @lines if $option{killed};
    # Nobody logs how a master process ended, or nginx without one.
    push @lines, "ended by signal $self->{signal}" if $self->{signal} && $self->{signal} != 9;
    return Test::More::is(join("\n", @lines), '', 'no crash, no panic, nothing left open');
}

# Two assertions: it ends in good order, and was sound; options as of `was_sound`.
sub stop_soundly {
    my ($self, %option) = @_;
    Test::More::ok($self->stop, 'nginx ends');
    return $self->was_sound(%option);
}

1;
