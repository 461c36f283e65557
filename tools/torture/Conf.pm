package Conf;

# A random configuration of all directives for torture.pl: the texts that
# Test::Nginx::Authgear::Server takes, and what torture.pl must know of them.
#
#   my $conf = Conf::random(wild => 0.1, h2 => $listen, h3 => $listen, backend => $origin);
#
# `wild` is the chance of each value to be a mistake. The result:
#
#   project, http, server, location, main   texts
#   paths       where to send requests
#   simple      hash of those whose status follows from the mode and the reason
#   modes       hash: required, optional, observe

use strict;
use warnings;

use Exporter qw(import);
use Test::Nginx::Authgear standin => 0;
use Test::Nginx::Authgear::Redis;

our @EXPORT_OK = qw(chance one some whole_http);

sub chance { return rand() < $_[0] }
sub one { return $_[rand @_] }
sub some { my $times = shift; return map { one(@_) } 1 .. $times }

my ($wild, $number);

# A value from the first list, or, where mistakes are wanted, from any list.
sub value {
    my ($right, $wrong) = @_;
    return one(@$wrong, 'off', '', '$nothing', '""', '$', 'a$', 'x y z', '999999999999999999', "\xff", '{') if !@$right || chance($wild);
    return one(@$right);
}

my @times = qw(500ms 1s 3s 10s 30s 1m 10m 1h 30d);
my @bad_times = qw(-1 1x 1.5s s 99999999999999y);
my @bad_urls = ('http://example.com', 'ftp://x', 'https://', 'https://u:p@h', 'https://h/path?q#f', 'https://h:99999', '//h',
    "https://b\xc3\xbccher.example",
    'https://[::1', 'https://a..b', 'https://$a$b$c', 'https://x y');

# --- authgear_project: name => [right, wrong]

my %project = (
    issuer => [['$TEST_NGINX_ORIGIN', '$TEST_NGINX_ORIGIN https://old.example.com'], ['http//']],
    audience => [['$TEST_NGINX_ORIGIN', '$TEST_NGINX_ORIGIN https://api.example.com', 'https://api.example.com'], []],
    client_id => [['standin-client robot', 'standin-client'], []],
    token_type => [[qw(user any)], [qw(robot client)]],
    algorithms => [['RS256', 'RS256 ES256', 'RS256 PS256 ES256 EdDSA', 'ES256 RS256'], ['HS256', 'none', 'RS1', 'RS256 RS256']],
    typ => [['at+jwt', 'at+jwt JWT', 'off', 'application/at+jwt'], []],
    jwks_refresh => [\@times, \@bad_times],
    jwks_stale => [\@times, \@bad_times],
    jwks_min_interval => [[qw(1s 2s 30s)], [@bad_times, '10ms']],
    fetch_timeout => [[qw(300ms 1s 5s)], [@bad_times, '0']],
    leeway => [[qw(0 1s 3s)], [@bad_times, '9d']],
    cookie_prefix => [['pre_', '"__Host-"', 'a'], ['"a b"', '"a;"', '"a="']],
    resolve_cache => [[qw(1s 10s off 1m)], \@bad_times],
    resolve_stale => [[qw(1s 10s off 1m)], \@bad_times],
    recheck => [['1s', '10s strict', '300ms strict', 'off', '1s strict'], ['strict', '1s lax', @bad_times]],
    ssl_trusted_certificate => [['/etc/ssl/certs/ca-certificates.crt'], ['/dev/null', '/nonexistent', '/etc/passwd']],
    ssl_name => [['auth.example.com'], ['"a b"', '-', 'a..b']],
    fetch_proxy => [['off'], ['http://', 'https://h:1', 'http://h:1 credentials=/nonexistent', 'socks5://h']],
    webhook_secret_file => [['$TEST_NGINX_WEBHOOK_SECRET'], ['/nonexistent', '/dev/null', '/etc/shadow-', '/']],
    revocation_keep => [[qw(30m 24h 2h)], \@bad_times],
    login => [['client_id=site callback=http://localhost/_authgear/callback',
        'client_id=site callback=https://www.example.com/_authgear/callback'],
        ['client_id=', 'callback=http://example.com/x', 'client_id=a callback=http://localhost/x#f',
            'client_id=a callback=/x other=y']],
    state_path => [['$TEST_NGINX_TORTURE_STATE', 'off'], ['/nonexistent/a/b', '/etc/passwd', 'a/../b']],
    internal_endpoint => [['$TEST_NGINX_AUTHGEAR'], \@bad_urls],
    jwks_uri => [['$TEST_NGINX_AUTHGEAR/oauth2/jwks'], \@bad_urls],
    jwks_file => [[], ['$TEST_NGINX_TORTURE_KEYS', '/dev/null', '/nonexistent', '/etc/passwd']],
    ssl_certificate => [[], ['/nonexistent', '/etc/passwd', '/dev/null']],
    ssl_certificate_key => [[], ['/nonexistent', '/etc/passwd', '/dev/null']],
    endpoint => [[], \@bad_urls],
    resolve_request => [['/_authgear/resolve'], ['/elsewhere', 'x', '@named', '/_authgear/resolve?x=1']],
);
my %often = (resolve_request => 0.75, resolve_cache => 0.5, webhook_secret_file => 0.6, login => 0.5, jwks_min_interval => 0.6,
    fetch_timeout => 0.6,
    token_type => 0.4, ssl_trusted_certificate => 0.05, ssl_name => 0.05, algorithms => 0.3, client_id => 0.1, typ => 0.15,
        cookie_prefix => 0.15,
    audience => 0.3, jwks_stale => 0.2, internal_endpoint => 0.1, jwks_uri => 0.1);
my %needs = (resolve_cache => 'resolve_request', resolve_stale => 'resolve_cache', recheck => 'resolve_request',
    login => 'resolve_request');

sub project_lines {
    my (%not) = map { $_ => 1 } @_;
    my %line;
    for my $name (sort keys %project) {
        next if $not{$name} || !chance($often{$name} // (@{ $project{$name}[0] } ? 0.25 : $wild));
        next if $needs{$name} && !chance($wild) && !chance(0.02) && $not{ $needs{$name} };
        $line{$name} = "$name " . value(@{ $project{$name} }) . ';';
    }
    for (1 .. 2) {
        for my $name (keys %needs) {
            delete $line{$name} if $line{$name} && !$line{ $needs{$name} } && !chance($wild / 4);
            delete $line{$name} if $line{$name} && $name eq 'resolve_stale' && ($line{resolve_cache} // '') =~ /off/
                && !chance($wild);
        }
    }
    my @lines = map { $line{$_} } sort { rand() <=> 0.5 } sort keys %line;
    push @lines, one(@lines) if @lines && chance($wild / 4);
    push @lines, value(['', ''], ['authgear_verify myapp;', 'endpoint;', 'unknown on;', 'login;',
        'endpoint https://a.example.com;', 'jwks_file /dev/null;', '}']);
    return join "\n", @lines;
}

# --- http to limit_except: name => [right, wrong]

my @projects = qw(myapp second clients file tenants);
my %level = (
    authgear_token => [['$arg_access_token', '$http_x_token $cookie_token', '$http_authorization $arg_access_token', 'off',
        '$websocket_token $http_authorization'], ['token', '$']],
    authgear_audience => [['https://api.example.com $TEST_NGINX_ORIGIN', '$TEST_NGINX_ORIGIN', 'off'], []],
    authgear_require => [['$authgear_user_verified', '$arg_x error=401', '$authgear_user_id', '$claim_a error=403', 'off',
        '$authgear_claim_torture'], ['$arg_x error=500', 'error=401', '1']],
    authgear_require_role => [['role-alice', 'role-alice role-bob role-carol', 'off'], []],
    authgear_require_scope => [['openid', 'openid read:items', 'off'], ['"a\\"b"', '"a b"']],
    authgear_require_auth_age => [[qw(30d 1h 1s off)], \@bad_times],
    authgear_claim_set => [['$claim_a torture', '$claim_b deep er.st', '$claim_b https://authgear.com/claims/user/roles'],
        ['claim', '$1 a', '$authgear_user_id x', '$host x', '$claim_a']],
    authgear_realm => [['some', '"with \\"quotes\\""', 'off'], ["\"a\x01b\""]],
    authgear_resource_metadata => [['https://www.example.com/.well-known/x', 'off'], ['x', '"https://a b"']],
    map({ ($_ => [[qw(on on off)],
        [qw(yes 1 maybe)]]) } qw(authgear_bypass_preflight authgear_pass_headers authgear_early authgear_close_expired)),
);

sub verify {
    my ($mode) = @_;
    my $project = value([@projects, 'myapp', 'myapp', 'myapp', '$project_of'], ['nobody', '$', '${x', 'myapp$x']);
    my $text = "authgear_verify $project" . ($mode ? " $mode" : '') . ';';
    $text = 'authgear_verify off' . (chance($wild) ? ' optional' : '') . ';' if $project eq 'off';
    return ($text, $project);
}

sub level_lines {
    my ($chance) = @_;
    my @lines = map { "$_ " . value(@{ $level{$_} }) . ';' } grep { chance($chance) } sort keys %level;
    push @lines, 'authgear_require $authgear_user_id;' if chance($chance / 4);
    return join ' ', @lines;
}

# Lines of nginx's own that meet the module in a phase.
sub neighbours {
    return join ' ', grep { chance(0.12) } (
        'limit_req zone=users burst=50;', 'limit_req zone=late burst=100 nodelay;', 'limit_conn open 50;',
            'access_log $TEST_NGINX_TORTURE_LOGS/variables.log variables;',
        'add_after_body /after;', 'ssi on;', 'ssi_types *;', 'mirror /mirror;', 'client_max_body_size 4k;',
            'client_body_buffer_size 128;', 'client_body_in_file_only clean;',
        'proxy_request_buffering off;', 'proxy_buffering off;', 'slice 1k;', 'sub_filter a b;', 'set_real_ip_from 127.0.0.1;',
            'real_ip_header X-Real-IP;',
        'add_header X-Claims $authgear_claims;', 'log_subrequest on;', 'recursive_error_pages on;',
            'proxy_intercept_errors on;', 'chunked_transfer_encoding off;',
    );
}

# Told in literals where the location is: variables are shared with subrequests.
my $told = q{|$authgear_reason|$authgear_session_valid|$authgear_user_id|$http_x_torture|$arg_n" always;};

# Directives where they may not stand.
my @misplaced = ('authgear_project p { endpoint https://a.example.com; }', 'authgear_status;', 'authgear_webhook myapp;',
    'authgear_login_callback second;', 'authgear_shared_zone zone=authgear:1m;',
    'endpoint https://a.example.com;', 'authgear_verify myapp optional required;', 'authgear_webhook nobody;',
        'authgear_status json html;', 'authgear_claim_set $claim_a;', 'authgear_token_cache 1;',
    'authgear_revocation_stream off;', 'if ($arg_a) { authgear_verify myapp; authgear_early on; }',
        'location /inside { authgear_webhook second; authgear_verify myapp; }',
    'limit_except GET { authgear_status; }', 'authgear_verify off observe;', 'types { authgear_verify myapp; }',
        'location = /t { authgear_webhook tenants; }');

sub misplaced { return chance($wild / 3) ? one(@misplaced) : '' }

# A location.
sub location {
    my ($self, $n) = @_;
    my $path = "/l$n";
    my $mode = one('', qw(required required optional observe));
    my ($verify, $project) = verify($mode);
    my ($verifies, $is_simple) = (chance(0.85), 1);
    my @lines = ($verifies ? $verify : '', level_lines(0.12), neighbours(), misplaced());
    push @lines, "add_header X-Told \"l$n$told" if chance(0.8);
    my $has_login = $self->{"login of $project"};
    push @lines, 'authgear_login ' . value(['on', 'on', 'off'], ['yes']) . ';' if $verifies
        && ($has_login ? chance(0.5) : chance($wild));

    if (chance(0.2)) {
        $is_simple = 0;
        push @lines, one('error_page 401 403 /paged;', 'error_page 401 = @named;', 'error_page 503 401 =200 /l1;',
            'error_page 403 =401 /l2;', 'error_page 400 401 403 503 = /after;');
    }
    if (chance(0.15)) {
        $is_simple = 0;
        push @lines, 'satisfy ' . one(qw(any all)) . ';', one('allow 127.0.0.1; deny all;', 'deny all;',
            'auth_basic x; auth_basic_user_file $TEST_NGINX_TORTURE_USERS;');
    }
    if (chance(0.1)) { $is_simple = 0; push @lines, 'auth_request /l' . int(1 + rand 6) . ';' }
    if (chance(0.1)) {
        $is_simple = 0;
        push @lines, 'limit_except GET HEAD { ' . (verify(one('', qw(required optional observe))))[0] . ' '
            . level_lines(0.1) =~ s/authgear_(?:early|claim_set)[^;]*;//gr . ' }';
    }
    if (chance(0.15)) {
        $is_simple = 0;
        push @lines, 'if ($arg_deep) { ' . one('authgear_require $arg_x;', 'authgear_require $authgear_user_id error=401;',
            'set $inside 1;', 'return 204;', 'rewrite ^ /l1 last;', 'rewrite ^ /l2 break;') . ' }';
    }
    my $handler = one(('proxy') x 8, qw(gif return try named rewrite nested static dav cache websocket accel));
    $is_simple = 0 if $handler =~ /return|try|named|rewrite|nested|accel|dav/;
    my $to = "proxy_pass $self->{backend}/";
    push @lines, {
        proxy => $to . one('ok', 'ok', 'ok', 'chunked', 'slow', 'big', '404', '401', 'cookie', 'close') . ';',
        gif => 'empty_gif;', return => 'return 200 "for $authgear_user_id\n";',
        try => 'try_files /nothing @named;', named => 'error_page 418 = @named; return 418;',
        rewrite => 'rewrite ^ /l' . int(1 + rand 8) . ' last;',
        nested => "location ${path}/in { " . (chance(0.5) ? (verify(one('', qw(required optional observe))))[0] : '') . " $to"
            . 'ok; } ' . $to . 'ok;',
        static => 'root $TEST_NGINX_TORTURE_STATIC; try_files /file.html =404;',
        dav => 'root $TEST_NGINX_TORTURE_STATIC/dav; dav_methods PUT DELETE; create_full_put_path on;',
        cache => 'proxy_cache cached; proxy_cache_valid any 2s; proxy_cache_key "' . one('$authgear_user_id $uri',
            '$authgear_user_id $authgear_claims', '$authgear_token_id$authgear_user_id')
            . '"; proxy_ignore_headers Set-Cookie; proxy_cache_bypass $no_user; proxy_no_cache $no_user; ' . $to . 'ok;',
        websocket => 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; ' . $to . 'ws;',
        accel => $to . 'accel;',
    }->{$handler};
    $is_simple = 0 if $lines[-1] =~ m{/(?:401|close|cookie)\b};
    if (chance(0.4) && $handler =~ /proxy|nested|accel|cache/) {
        push @lines, 'proxy_set_header X-Var-User $authgear_user_id; proxy_set_header X-Var-Claim $authgear_claim_torture; proxy_set_header X-Var-Set $claim_a;'
            . ' proxy_set_header X-Var-Roles $authgear_user_roles; proxy_set_header X-Torture $http_x_torture;';
        push @lines, 'proxy_set_header X-Clean 1; proxy_set_header Authorization $authgear_backend_authorization; proxy_set_header Cookie $authgear_backend_cookie;' if chance(0.5);
    }
    $self->{modes}{"l$n"} = !$verifies ? 'inherited' : $mode || 'required';
    $self->{simple}{"l$n"} = $is_simple && $verifies && $verify !~ /off/;
    push @{ $self->{paths} }, $path, $handler eq 'nested' ? "$path/in" : ();
    my $type = one('', '', '= ', '^~ ');
    $type = '' if $handler eq 'nested' || $type eq '= ' && $handler eq 'dav';
    return "location $type$path {\n" . join("\n", @lines) . "\n}\n";
}

sub random {
    my %self = (modes => {}, simple => {}, @_);
    my $self = bless \%self, __PACKAGE__;
    $wild = $self->{wild};
    $self->{paths} = ['/', '/free', '/sane', '/webhook', '/_authgear/callback', '/status', '/metrics', '/_authgear/resolve',
        '/after', '/nowhere', '/paged'];

    my $tenant = project_lines(qw(webhook_secret_file login issuer audience internal_endpoint state_path));
    my $second = project_lines(qw(internal_endpoint));
    my $clients = project_lines(qw(token_type audience client_id login));
    $self->{project} = project_lines('internal_endpoint');
    $self->{"login of $_->[0]"} = $_->[1] =~ /^login /m for ['myapp', $self->{project}], ['second', $second];
    my $has_secret = join(' ', $self->{project}, $second, $clients) =~ /webhook_secret_file \$/;
    my @http = (
        chance(0.7) ? 'authgear_shared_zone zone=authgear:' . value([qw(512k 512k 1m 4m)], [qw(8k 1 1g zone= :1m -1)])
            . ';' : '',
        chance(0.5) ? 'authgear_token_cache ' . value([qw(off 1 10 1000)], [qw(-1 x 99999999999)]) . ';' : '',
        chance(0.3) && ($has_secret || chance($wild)) ? "authgear_revocation_stream " . value(["redis://127.0.0.1:$redis_port",
            'off', "redis://127.0.0.1:$redis_port key=torture", 'redis://127.0.0.1:1'],
            ['redis://', 'http://x', "redis://127.0.0.1:$redis_port ca=/nonexistent", 'redis://u:p@h:1',
                'redis://127.0.0.1:1 key=']) . ';' : '',
        "authgear_project second { endpoint \$TEST_NGINX_AUTHGEAR;\n$second }",
        "authgear_project clients { endpoint \$TEST_NGINX_AUTHGEAR; token_type any; audience \$TEST_NGINX_ORIGIN https://api.example.com;\n$clients }",
        'authgear_project file { issuer $TEST_NGINX_ORIGIN; audience $TEST_NGINX_ORIGIN; jwks_file $TEST_NGINX_TORTURE_KEYS; }',
        "authgear_project tenants { endpoint https://\$arg_t.example.com; internal_endpoint \$TEST_NGINX_AUTHGEAR;\n$tenant }",
        'map $arg_p $project_of { a myapp; b second; c clients; d file; off off; x nobody; default myapp; }',
        'map $authgear_user_id $no_user { "" 1; default ""; }',
            'map $http_upgrade $connection_upgrade { "" ""; default upgrade; }',
        'map $http_sec_websocket_protocol $websocket_token { "~authgear\.(?<offered>[\w.~+-]+)" $offered; }',
        'limit_req_zone $authgear_user_id zone=users:1m rate=500r/s; limit_req_zone $authgear_claim_torture zone=late:1m rate=500r/s; limit_conn_zone $authgear_client_id zone=open:1m;',
        'limit_req_status 429; limit_conn_status 429;',
        'proxy_cache_path $TEST_NGINX_TORTURE_CACHE keys_zone=cached:1m;',
        'log_format variables "$authgear_user_id $authgear_claims $authgear_kid $authgear_token_exp $authgear_scope $authgear_source $authgear_reason $authgear_session_amr $authgear_token_type";',
        'client_header_timeout 2s; client_body_timeout 2s; send_timeout 5s; keepalive_timeout 5s; proxy_connect_timeout 3s; proxy_read_timeout 4s;',
        chance(0.4) ? 'underscores_in_headers on;' : '', chance(0.4) ? 'ignore_invalid_headers off;' : '',
            chance(0.3) ? 'large_client_header_buffers 4 32k;' : '',
        chance(0.2) ? 'access_log $TEST_NGINX_TORTURE_LOGS/variables.log variables;' : '',
            chance(0.2) ? 'merge_slashes off;' : '',
        chance(0.3) ? (verify(one('', qw(optional observe))))[0] : '', level_lines(0.03),
        'authgear_claim_set $claim_a torture; authgear_claim_set $claim_b deep er.st;',
    );
    push @http, misplaced();
    my $server = join "\n", misplaced(), map { $self->location($_) } 1 .. 8 + rand 8;
    $server = join "\n", level_lines(0.04), chance(0.3) ? (verify(one('', qw(required optional))))[0] : '',
        'location /sane { authgear_verify myapp; authgear_token off; authgear_audience off; authgear_require off; authgear_require_role off; authgear_require_scope off;'
        . ' authgear_require_auth_age off; authgear_login off; authgear_early off; empty_gif; }',
        chance(0.85) ? 'include $TEST_NGINX_RESOLVER;' : 'location = /_authgear/resolve { internal; proxy_pass $TEST_NGINX_RESOLVER_ORIGIN/resolve; proxy_set_header Host $authgear_endpoint_host; }',
        ($self->{project} =~ /webhook_secret_file \$/ ? 'location /webhook { authgear_webhook myapp; }' : ''),
        ($self->{project} =~ /login c.*callback=http/ ? 'location = /_authgear/callback { authgear_login_callback myapp; }' : ''),
        'location = /status { authgear_status ' . value(['', 'html', 'json'], ['xml']) . '; allow 127.0.0.1; deny all; }',
        'location = /metrics { authgear_verify off; authgear_status prometheus; allow 127.0.0.1; deny all; }',
        'location = /after { authgear_verify off; return 200 "<!--# echo var=\"authgear_user_id\" -->after"; }',
        "location = /mirror { internal; authgear_verify myapp optional; proxy_pass $self->{backend}/ok; }",
        "location \@named { " . (chance(0.6) ? (verify(one('', qw(required optional observe))))[0] : '')
            . " proxy_pass $self->{backend}; }",
        "location = /paged { internal; proxy_pass $self->{backend}/ok; }",
        $server;
    # HTTP/2 and HTTP/3 by servers of their own, which have the same locations.
    for my $listen (grep { defined } @$self{qw(h2 h3)}) {
        push @http, "server { $listen add_header X-Reason \$authgear_reason always; add_header X-User \$authgear_user_id always; $server\nlocation / { authgear_verify myapp; empty_gif; } location = /free { empty_gif; } }";
    }
    $self->{http} = join "\n", @http;
    $self->{server} = $server;
    $self->{location} = level_lines(0.05);
    return $self;
}

# As one text, for `nginx -t`.
sub whole_http {
    my ($self) = @_;
    return "$self->{http}\nauthgear_project myapp { endpoint \$TEST_NGINX_AUTHGEAR;\n$self->{project} }\nserver { listen 127.0.0.1:1999;\n$self->{server}\nlocation / { authgear_verify myapp; $self->{location} empty_gif; }\n}\n";
}

1;
