package Test::Nginx::Authgear::Browser;

# Chromium, driven through chromedriver (W3C WebDriver).
#
#   my $browser = Test::Nginx::Authgear::Browser->start(width => 360, height => 740);
#   $browser->open('http://127.0.0.1:1984/');
#   $browser->run('return document.body.innerText');

use strict;
use warnings;

use File::Temp qw(tempdir);
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use MIME::Base64 qw(decode_base64);
use POSIX ();
use Test::Nginx::Authgear standin => 0;

my $json = JSON::PP->new->utf8->allow_nonref;

# A new certificate for these hosts: the files of it and of its key, and the option by which Chromium trusts it, and
# it alone.
sub certificate {
    my ($class, @hosts) = @_;
    my $directory = tempdir(CLEANUP => 1);
    chmod 0755, $directory;
    my ($file, $key) = map {"$directory/$_.pem"} qw(cert key);
    my $names = join ',', map {"DNS:$_"} @hosts;
    my $said = qx(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=$hosts[0] \\
        -addext subjectAltName=$names -keyout $key -out $file 2>&1);
    die "openssl: $said\n" if $?;
    my $spki = qx(openssl x509 -in $file -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64);
    chomp $spki;
    return ($file, $key, "--ignore-certificate-errors-spki-list=$spki");
}

# width, height: those of the screen of a telephone, in CSS pixels; dark => 1 for a
# dark colour scheme; args => [...], prefs => { ... }: more of Chromium's options and
# preferences.
sub start {
    my ($class, %option) = @_;
    my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die "no port: $@\n";
    my $port = $socket->sockport;
    close $socket;
    my $directory = tempdir(CLEANUP => 1);
    my $pid = fork // die "cannot fork: $!\n";
    if (!$pid) {
        open STDOUT, '>', "$directory/log";
        open STDERR, '>&', \*STDOUT;
        exec 'chromedriver', "--port=$port" or POSIX::_exit(1);
    }
    my $self = bless {
        pid => $pid, owner => $$, http => HTTP::Tiny->new(timeout => 60, keep_alive => 0), url => "http://127.0.0.1:$port",
    }, $class;
    wait_for { $self->{http}->get("$self->{url}/status")->{success} } 30 or die "chromedriver does not start\n";
    my @dark = $option{dark} ? '--force-dark-mode' : ();
    my %chrome = (
        args => ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-background-networking',
            '--disable-dev-shm-usage', "--user-data-dir=$directory/profile", @dark, @{ $option{args} || [] }],
        prefs => $option{prefs} || {},
        mobileEmulation => {
            deviceMetrics => { width => $option{width}, height => $option{height}, pixelRatio => 1, mobile => $option{width} < 600 ? \1 : \0, touch => \0 },
        },
    );
    my $session = $self->ask(POST => '/session',
        { capabilities => { alwaysMatch => { browserName => 'chrome', 'goog:chromeOptions' => \%chrome } } });
    $self->{url} .= "/session/$session->{sessionId}";
    return $self;
}

sub ask {
    my ($self, $method, $path, $body) = @_;
    my %content = $body ? (content => $json->encode($body), headers => { 'Content-Type' => 'application/json' }) : ();
    my $answer = $self->{http}->request($method, "$self->{url}$path", \%content);
    $answer->{success} or die "chromedriver: $method $path: $answer->{status} $answer->{content}\n";
    return $json->decode($answer->{content})->{value};
}

sub open {
    my ($self, $url) = @_;
    return $self->ask(POST => '/url', { url => $url });
}

# The address of the page.
sub url { return $_[0]->ask(GET => '/url') }

# The status of the response that made the page.
sub status { return $_[0]->run('return performance.getEntriesByType("navigation")[0].responseStatus') }

# Opens a tab and goes to it; returns what `go_to` takes.
sub new_tab {
    my ($self) = @_;
    my $tab = $self->ask(POST => '/window/new', { type => 'tab' })->{handle};
    $self->go_to($tab);
    return $tab;
}

sub go_to {
    my ($self, $tab) = @_;
    return $self->ask(POST => '/window', { handle => $tab });
}

# Clicks what a selector of CSS finds, and waits for the page to which that leads.
sub click {
    my ($self, $selector) = @_;
    my $link = $self->find($selector);
    # chromedriver may return before the browser leaves this page.
    $self->run('window.isLeft = false');
    $self->ask(POST => "$link/click", {});
    wait_for { eval { $self->run('return window.isLeft === undefined && document.readyState === "complete"') } } 30
        or die "no other page after a click on $selector\n";
    return;
}

# Types into a field that a selector of CSS finds.
sub type {
    my ($self, $selector, $text) = @_;
    return $self->ask(POST => $self->find($selector) . '/value', { text => $text });
}

sub find {
    my ($self, $selector) = @_;
    my ($id) = values %{ $self->ask(POST => '/element', { using => 'css selector', value => $selector }) };
    return "/element/$id";
}

# Runs a script in the page, and returns what that returns.
sub run {
    my ($self, $script) = @_;
    return $self->ask(POST => '/execute/sync', { script => $script, args => [] });
}

# The text that somebody sees.
sub text {
    my ($self) = @_;
    return $self->run('return document.body.innerText');
}

# Saves what the screen shows, the whole page, as PNG.
sub screenshot {
    my ($self, $file) = @_;
    my $shot = $self->ask(POST => '/goog/cdp/execute',
        { cmd => 'Page.captureScreenshot', params => { captureBeyondViewport => \1 } });
    CORE::open my $out, '>:raw', $file or die "cannot write $file: $!\n";
    print {$out} decode_base64($shot->{data});
    close $out;
    return;
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    eval { $self->ask(DELETE => '') };
    kill TERM => $pid;
    waitpid $pid, 0;
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $@);
    $self->stop if ($self->{owner} // 0) == $$;
    return;
}

1;
