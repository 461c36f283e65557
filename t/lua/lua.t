# What docs/combinations.md says of Lua, phase by phase: with ngx_lua of Debian's package, loaded before
# this module and after it, or an nginx (OpenResty) that has ngx_lua built in.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Test::More;
use Test::Nginx::Authgear;
use Test::Nginx::Authgear::Resolver qw(asked cookie start_resolving stop_resolving);
use Test::Nginx::Authgear::Server;

my $module = $ENV{TEST_NGINX_LOAD_MODULES};
my ($ndk, $lua) = map {"/usr/lib/nginx/modules/$_.so"} qw(ndk_http_module ngx_http_lua_module);
my %order = `$ENV{TEST_NGINX_BINARY} -V 2>&1` =~ /lua/
    ? ('built in' => $module)
    : ('loaded after it' => "$ndk $module $lua", 'loaded before it' => "$ndk $lua $module");

($ENV{TEST_NGINX_ECHO_PEER}) = $ENV{TEST_NGINX_ECHO} =~ m{//(.*)};
my ($host, $port) = split /:/, $ENV{TEST_NGINX_ECHO_PEER};

my $http = <<"END";
lua_shared_dict notes 1m;
upstream by_user {
    server 192.0.2.1;
    balancer_by_lua_block {
        local known = ngx.var.authgear_user_id == "alice"
        assert(require("ngx.balancer").set_current_peer("$host", known and $port or 1))
    }
}
END

my $server = <<'END';
location = /access {
    authgear_verify myapp;
    access_by_lua_block {
        ngx.sleep(0.01)
        if ngx.var.authgear_user_id == "bob" then
            return ngx.exit(ngx.HTTP_FORBIDDEN)
        end
        ngx.req.set_header("X-Lua", ngx.var.authgear_user_id .. " " .. ngx.var.authgear_reason)
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /any {
    satisfy any;
    authgear_verify myapp;
    access_by_lua_block {
        if ngx.var.arg_door == "open" then
            return ngx.exit(ngx.OK)
        end
        if ngx.var.arg_door == "ajar" then
            return
        end
        if ngx.var.arg_door == "shut" then
            return ngx.exit(ngx.HTTP_FORBIDDEN)
        end
        return ngx.exit(ngx.DECLINED)
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /rewrite {
    authgear_verify myapp;
    rewrite_by_lua_block {
        local headers = ngx.req.get_headers()
        ngx.req.set_header("X-Lua", "[" .. (ngx.var.authgear_user_id or "nil") .. "][" .. tostring(headers["X-Authgear-User-Id"]) .. "]")
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /set {
    authgear_verify myapp;
    set_by_lua_block $lua {
        return "[" .. (ngx.var.authgear_user_id or "nil") .. "]"
    }
    proxy_set_header X-Lua $lua;
    proxy_pass $TEST_NGINX_ECHO;
}
location = /token-by-lua {
    authgear_verify myapp;
    rewrite_by_lua_block {
        ngx.req.set_header("Authorization", "Bearer " .. (ngx.var.arg_token or ""))
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /token-after {
    authgear_verify myapp;
    rewrite_by_lua_block {
        ngx.req.set_header("X-Lua", ngx.var.authgear_session_valid)
        ngx.req.set_header("Authorization", "Bearer " .. (ngx.var.arg_token or ""))
    }
    proxy_pass $TEST_NGINX_ECHO;
}
location = /content {
    authgear_verify myapp optional;
    header_filter_by_lua_block {
        ngx.header["X-Filter"] = "[" .. (ngx.var.authgear_user_id or "nil") .. "]"
    }
    log_by_lua_block {
        ngx.shared.notes:set("logged", ngx.var.authgear_user_id .. " " .. ngx.var.authgear_source)
    }
    content_by_lua_block {
        ngx.say("content ", ngx.var.authgear_user_id, " ", ngx.var.authgear_user_roles, ".")
    }
}
location = /logged {
    content_by_lua_block {
        ngx.say("content ", ngx.shared.notes:get("logged"), ".")
    }
}
location = /capture {
    content_by_lua_block {
        local answer = ngx.location.capture("/access")
        ngx.status = answer.status
        ngx.print(answer.body)
    }
}
location = /capture-both {
    authgear_verify myapp;
    content_by_lua_block {
        local one, other = ngx.location.capture_multi({ { "/access" }, { "/rewrite" } })
        ngx.say("content ", one.status, " ", other.status, " ", ngx.var.authgear_user_id, ".")
    }
}
location = /exec {
    content_by_lua_block {
        ngx.exec("/access")
    }
}
location = /balancer {
    authgear_verify myapp;
    proxy_pass http://by_user;
}
location = /assign {
    authgear_verify myapp;
    access_by_lua_block {
        ngx.var.authgear_user_id = "root"
    }
    proxy_pass $TEST_NGINX_ECHO;
}
END

for my $order (sort keys %order) {
    $ENV{TEST_NGINX_LOAD_MODULES} = $order{$order};
    my $nginx = start_resolving('', http => $http, server => $server);
    # The status, and what Lua said: as a header to the backend, or in the answer.
    my $told = sub {
        my ($path, @caller) = @_;
        my $answer = $nginx->ask(path => $path, @caller);
        my ($lua) = ($answer->{body} // '') =~ /^(?:X-Lua: |content )(.*?)\r?$/m;
        my ($user) = ($answer->{body} // '') =~ /^X-Authgear-User-Id: (.*?)\r?$/m;
        return join ' ', $answer->{status} // $answer->{error}, map { $_ // '-' } $lua, $user;
    };
    my $is = sub {
        my ($path, $caller, $expected, $name) = @_;
        is($told->($path, @$caller), $expected, "ngx_lua $order: $name");
    };
    my %jwt = map { $_ => [token => token(user => $_)] } qw(alice bob carol);
    my %session = map { $_ => [headers => cookie(session => session(user => $_))] } qw(alice bob);
    my $forged = [headers => 'X-Authgear-User-Id: root'];

    $is->('/access', [], '401 - -', 'access_by_lua does not let anybody in');
    $is->('/access', $forged, '401 - -', 'a made-up identity');
    $is->('/access', $jwt{alice}, '200 alice ok alice', 'access_by_lua knows the caller');
    $is->('/access', $session{alice}, '200 alice ok alice', 'access_by_lua knows the user of a cookie');
    $is->('/access', $jwt{bob}, '403 - -', 'access_by_lua refuses whom the module lets in');

    $is->('/any', [], '401 - -', 'satisfy any, without a token');
    $is->('/any?door=shut', [], '401 - -', 'satisfy any, neither');
    $is->('/any?door=open', [], '200 - -', 'satisfy any, Lua lets in');
    $is->('/any?door=ajar', [], '200 - -', 'satisfy any, Lua that just returns lets in');
    $is->('/any?door=shut', $jwt{alice}, '200 - alice', 'satisfy any, a token');

    $is->('/rewrite', $jwt{alice}, '200 [alice][nil] alice', 'rewrite_by_lua knows who sends a JWT');
    $is->('/rewrite', $session{alice}, '200 [][nil] alice', 'rewrite_by_lua does not know the user of a cookie');
    $is->('/rewrite', [@{ $jwt{alice} }, @$forged], '200 [alice][nil] alice', 'Lua never sees what a client made up');
    $is->('/set', $jwt{alice}, '200 [alice] alice', 'set_by_lua knows who sends a JWT');
    $is->('/set', $session{alice}, '200 [] alice', 'set_by_lua does not know the user of a cookie');
    $is->("/token-by-lua?token=$jwt{alice}[1]", [], '200 - alice', 'a token that Lua took from elsewhere');
    $is->('/token-by-lua', $jwt{alice}, '401 - -', 'a token that Lua took away');

    $is->("/token-after?token=$jwt{alice}[1]", [], '200 - alice', 'a token that Lua took from elsewhere, after it read a variable');
    $is->("/token-after?token=$jwt{alice}[1]", $jwt{bob}, '200 true alice', 'a token that Lua replaced, after it read a variable');

    my $carol = [token => token(user => { id => 'carol', roles => [qw(a b)] })];
    $is->('/content', $carol, '200 carol a,b. -', 'content_by_lua');
    $is->('/logged', [], '200 carol jwt. -', 'log_by_lua');
    like($nginx->ask(path => '/content', @$carol)->{headers}, qr/^X-Filter: \[carol\]\r?$/m, "ngx_lua $order: header_filter_by_lua");
    $is->('/content', [], '200  . -', 'content_by_lua, nobody');

    $is->('/capture', [], '401 - -', 'ngx.location.capture of a location that verifies');
    $is->('/capture', $jwt{alice}, '200 - alice', 'ngx.location.capture with a token');
    $is->('/capture', $session{alice}, '200 - alice', 'ngx.location.capture with a cookie');
    $is->('/capture', $jwt{bob}, '200 - bob', 'nginx runs no access_by_lua in a subrequest');
    my $before = asked();
    $is->('/capture-both', $session{bob}, '200 200 200 bob. -', 'ngx.location.capture_multi');
    is(asked() - $before, 1, "ngx_lua $order: one question for all of them");
    $is->('/exec', [], '401 - -', 'ngx.exec of a location that verifies');
    $is->('/exec', $jwt{alice}, '200 alice ok alice', 'ngx.exec with a token');

    $is->('/balancer', $jwt{alice}, '200 - alice', 'balancer_by_lua');
    $is->('/balancer', $jwt{bob}, '502 - -', 'balancer_by_lua, another user');
    $is->('/balancer', [], '401 - -', 'balancer_by_lua, nobody');

    $is->('/assign', $jwt{alice}, '500 - -', 'Lua cannot assign an identity');
    stop_resolving($nginx);
}

done_testing();
