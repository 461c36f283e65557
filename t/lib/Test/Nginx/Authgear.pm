package Test::Nginx::Authgear;

# A stand-in Authgear and an echo backend for test files, and short forms of
# what most of them ask. t/lib/README.md shows how they are used.

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter ();
use File::Basename qw(dirname);
use File::Path qw(make_path);
use File::Temp qw(tempdir);
use HTTP::Tiny;
use IO::Socket::INET;
use IPC::Open2 qw(open2);
use JSON::PP;
use Test::More ();
use Time::HiRes qw(sleep time);

our @ISA = ('Exporter');
our @EXPORT = qw(
    token bearer session user fault heal counts reset_counts control
    standin echo_origin start_standin
    config_error config_output wait_for
);

my $root = abs_path(dirname(__FILE__) . '/../../../..');
my $json = JSON::PP->new->utf8->canonical->allow_nonref;
# On a connection kept alive the second of its two writes would wait for a delayed
# acknowledgement: 40 ms and more for each token.
my $http = HTTP::Tiny->new(timeout => 60, keep_alive => 0);

my $binary = $ENV{TEST_NGINX_BINARY} ||= '/usr/sbin/nginx';
# 1.22.1 is 1_022_001. Test::Nginx has it too, but of Angie its own version.
$ENV{TEST_NGINX_VERSION_NUM} = `$binary -V 2>&1` =~ m{^nginx version: \w+/(\d+)\.(\d+)\.(\d+)}m ? $1 * 1_000_000 + $2 * 1_000 + $3 : 0;
$ENV{TEST_NGINX_LOAD_MODULES} ||= "$root/build/debian/ngx_http_authgear_module.so";
my $program = $ENV{AUTHGEAR_STANDIN} ||= do {
    my $target = $ENV{CARGO_TARGET_DIR} || "$root/build/target";
    "$target/debug/authgear-standin";
};

my @children;
my ($standin, $echo, $prepared);

# use Test::Nginx::Authgear;                       the stand-in serves http
# use Test::Nginx::Authgear tls => 1;              and https
# use Test::Nginx::Authgear args => ['--tenants']; with more of its options
# use Test::Nginx::Authgear standin => 0;          only what needs no servers
sub import {
    my ($class, %option) = @_;
    $class->export_to_level(1, $class);

    if ($option{standin} // 1) {
        my @tls = $option{tls} ? ('--tls-listen', '127.0.0.1:0') : ();
        $standin = start_standin(@tls, @{ $option{args} || [] });
        $echo = start('echo', '--listen', '127.0.0.1:0');

        $ENV{TEST_NGINX_AUTHGEAR} = $standin->{http};
        $ENV{TEST_NGINX_RESOLVER_ORIGIN} = $standin->{resolver};
        ($ENV{TEST_NGINX_AUTHGEAR_HOST}) = $standin->{origin} =~ m{//(.*)};
        $ENV{TEST_NGINX_AUTHGEAR_HTTPS} = $standin->{https} if $standin->{https};
        $ENV{TEST_NGINX_AUTHGEAR_CA} = $standin->{ca} if $standin->{ca};
        $ENV{TEST_NGINX_AUTHGEAR_OTHER_CA} = $standin->{other_ca} if $standin->{other_ca};
        $ENV{TEST_NGINX_ECHO} = $echo->{http};
        $ENV{TEST_NGINX_MODES} = join '',
            map {"location = /$_ { authgear_verify myapp $_; proxy_pass $echo->{http}; }\n"}
            qw(required optional observe);
    }
    prepare_blocks() if $INC{'Test/Nginx/Socket.pm'} && !$prepared++;
}

# --- servers

# Starts one of the stand-in's servers and returns the JSON line it prints. It
# ends when our end of its standard input is closed: when this process is gone.
sub start {
    my @command = @_;
    my $pid = open2(my $out, my $in, $program, @command, '--exit-with-stdin');
    my $line = <$out>;
    defined $line or die "$program @command printed nothing\n";
    push @children, { pid => $pid, in => $in, out => $out };
    return $json->decode($line);
}

# Another stand-in beside the one of this file: a hash with http, control, …
sub start_standin {
    my @listen = (grep { $_ eq '--listen' } @_) ? () : ('--listen', '127.0.0.1:0');
    return start('serve', @listen, '--control', '127.0.0.1:0', @_);
}

# The addresses that the stand-in printed at start: http, https, ca, control.
sub standin { return $standin }

sub echo_origin { return $echo->{http} }

END {
    my $status = $?;
    no warnings 'once';
    if (!$Test::Nginx::Util::InSubprocess) {
        for my $child (@children) {
            close $child->{in};
            kill TERM => $child->{pid};
            waitpid $child->{pid}, 0;
        }
    }
    $? = $status;
}

# --- the stand-in's control interface

# control('POST', '/-/users', { … }) returns the answer: decoded if it is a
# JSON object or list, as text otherwise. A last argument names another
# stand-in than the file's own.
sub control {
    my ($method, $path, $body, $server) = @_;
    $path = "/-$path" if $path !~ m{^/-/};
    my %request;
    if (defined $body) {
        $request{content} = ref $body ? $json->encode($body) : $body;
        $request{headers} = { 'Content-Type' => 'application/json' };
    }
    my $answer = $http->request($method, ($server || $standin)->{control} . $path, \%request);
    $answer->{success}
        or die "stand-in: $method $path: $answer->{status} $answer->{content}\n";
    my $content = $answer->{content} // '';
    return $content =~ /^\s*[\[{]/ ? $json->decode($content) : $content;
}

# A token, as text. The arguments are the fields of POST /-/token.
sub token {
    my %fields = @_;
    my $text = control('POST', '/-/token', \%fields);
    $text = $text->{token} if ref $text;
    $text =~ s/\s+\z//;
    return $text;
}

sub bearer { return 'Authorization: Bearer ' . token(@_) }

sub user { return control('POST', '/-/users', {@_}) }

sub session { return control('POST', '/-/session', {@_}) }

# fault(jwks => 'slow', …): discovery, jwks or resolver misbehaves from now on.
sub fault {
    my ($what, $mode, %more) = @_;
    return control('PUT', "/-/fault/$what", { mode => $mode, %more });
}

sub heal { return control('DELETE', '/-/fault') }

sub counts { return control('GET', '/-/counts') }

sub reset_counts { return control('POST', '/-/counts/reset') }

# wait_for { … } 5: true as soon as the block is, false after that many seconds.
sub wait_for (&;$) {
    my ($condition, $seconds) = @_;
    my $until = time + ($seconds || 5) * ($ENV{TEST_NGINX_USE_VALGRIND} ? 10 : 1);
    while (1) {
        return 1 if $condition->();
        return 0 if time > $until;
        sleep 0.02;
    }
}

# --- nginx -t

# The output of `nginx -t` for a configuration whose http block holds the text, and
# its exit code. The text's first line is line 1 of the file nginx.conf.
sub config_output {
    my ($text, %option) = @_;
    my $directory = $ENV{AUTHGEAR_TEST_DIR} || tempdir(CLEANUP => 1);
    $directory .= '/config';
    make_path($directory);
    my $file = "$directory/nginx.conf";

    $text =~ s/\$(TEST_NGINX_[_A-Z0-9]+)/$ENV{$1} \/\/ die "no environment $1\n"/eg;
    my $temporary = join ' ',
        map { "${_}_temp_path $directory/$_;" } qw(client_body proxy fastcgi scgi uwsgi);
    my $modules = join ' ', map { "load_module $_;" } split ' ', $ENV{TEST_NGINX_LOAD_MODULES};

    open my $out, '>', $file or die "cannot write $file: $!\n";
    print {$out} "$modules pid $directory/nginx.pid; events { } ", $option{main} // '',
        " http { access_log off; $temporary $text\n}\n";
    close $out;

    # An nginx that only tests its configuration frees nothing before it exits.
    local $ENV{ASAN_OPTIONS} = "$ENV{ASAN_OPTIONS}:detect_leaks=0" if $ENV{ASAN_OPTIONS};
    my $said = `$binary -t -e stderr -p $directory -c $file 2>&1`;
    my $status = $? >> 8;
    $said =~ s{\Q$directory/\E}{}g;
    # Angie begins a line with its own name.
    $said =~ s/^(?:\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d \[(\w+)\] \d+#\d+: |angie: \[(\w+)\] )/'nginx: [' . ($1 \/\/ $2) . '] '/emg;
    return wantarray ? ($said, $status) : $said;
}

# The [emerg] message that stops `nginx -t`, as in
# `"endpoint" directive is missing in nginx.conf:3`; '' where it is content.
sub config_error {
    my ($text, %option) = @_;
    my ($said, $status) = config_output($text, %option);
    return '' if $status == 0;
    return $said =~ /^nginx: \[emerg\] (.*)$/m ? $1 : "exit code $status: $said";
}

# --- sections of Test::Nginx's blocks

# Every block starts with a healthy stand-in and counters at zero, then:
#
#   --- control     lines `METHOD /path JSON` for the stand-in
#   --- token       JSON for POST /-/token; sent as a Bearer token
#   --- project     lines for the block authgear_project, whose endpoint is set
#   --- location    lines for the location /, protected and proxied to the echo
#
# and what is left out is filled in. $TEST_NGINX_… is replaced in all of them.
sub prepare_blocks {
    # One file gives up, the others still run.
    no warnings 'redefine';
    *Test::More::BAIL_OUT = sub {
        Test::More::fail("@_");
        exit 255;
    };
    Test::Nginx::Util::no_long_string();
    Test::Nginx::Util::add_block_preprocessor(\&prepare_block);
    Test::Nginx::Util::add_test_cleanup_handler(\&look_for_crash);
}

# Messages of libc, nginx or a sanitizer that memory was damaged or a process
# died; the file's own checks may well have passed before.
my $crash = qr/^(?:double free|free\(\): |malloc\(\): |realloc\(\): |corrupted |munmap_chunk)
    |AddressSanitizer|\bexited on signal\b|\bexited with code [1-9]|\bpanicked\b/mx;

sub look_for_crash {
    my ($block) = @_;
    open my $log, '<', "$Test::Nginx::Util::LogDir/error.log" or return;
    my @lines = grep { /$crash/ } <$log>;
    return if !@lines;
    Test::More::fail($block->name . ' - nginx stays sound');
    Test::More::diag(@lines);
}

sub prepare_block {
    my ($block) = @_;
    return if defined $block->SKIP;

    if ($standin) {
        heal();
        control('POST', '/-/back');
        control('DELETE', '/-/keys/raw');
        control('DELETE', '/-/resolver');
        reset_counts();
        for my $line (lines($block->control)) {
            my ($method, $path, $body) = split ' ', $line, 3;
            control($method, $path, $body);
        }
    }

    if (defined $block->token) {
        my $fields = $block->token;
        $fields = $json->decode(expand($fields) || '{}') if !ref $fields;
        my $more = $block->more_headers // '';
        $more .= "\n" if length $more and $more !~ /\n\z/;
        $block->set_value(more_headers => $more . bearer(%$fields) . "\n");
    }

    my $project = $block->project // '';
    my $location = $block->location // '';
    my $needs_project = !defined $block->config || defined $block->project
        || expand($block->config) =~ /\bauthgear_verify\b/;
    if ($needs_project && !defined $block->http_config) {
        my $endpoint = $project =~ /^\s*endpoint\s/m ? '' : 'endpoint $TEST_NGINX_AUTHGEAR;';
        $block->set_value(http_config => "authgear_project myapp {\n$endpoint\n$project\n}\n");
    }
    if (!defined $block->config) {
        my $verify = $location =~ /^\s*authgear_verify\s/m ? '' : 'authgear_verify myapp;';
        my $content = $location =~ /^\s*(?:return|proxy_pass|root|alias)\s/m
            ? '' : 'proxy_pass $TEST_NGINX_ECHO;';
        $block->set_value(config => "location / {\n$verify\n"
            . "add_header X-Reason \$authgear_reason always;\n$location\n$content\n}\n");
    }
    # Test::Nginx adds a location / of its own; two would be a mistake.
    no warnings 'once';
    $Test::Nginx::Util::NoRootLocation = $block->config =~ m{location\s+/\s*\{} ? 1 : 0;
    $block->set_value(request => "GET /\n")
        if !grep { defined $block->$_ } qw(request raw_request pipelined_requests);
    $block->set_value(no_error_log => "[alert]\n[emerg]\n")
        if !defined $block->no_error_log;

    await_start($block) if $ENV{TEST_NGINX_USE_VALGRIND};
}

# Under valgrind Test::Nginx sends the first request when nginx may not listen
# yet.
sub await_start {
    my ($block) = @_;
    my $init = $block->init // '';
    $block->set_value(init => 'Test::Nginx::Authgear::listening();' . $init);
}

sub listening {
    my $port = Test::Nginx::Util::server_port();
    wait_for {
        IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp');
    } or Test::More::diag("nothing listens on port $port");
}

sub expand {
    my ($text) = @_;
    return Test::Nginx::Util::expand_env_in_text($text, 'section', {});
}

sub lines { return grep { /\S/ && !/^\s*#/ } split /\n/, expand($_[0] // '') }

1;
