# Read by nginx's configure after ./config: what `make modules` and `make install`
# do for this module. cargo itself knows what has changed.

cat << END                                                    >> $NGX_MAKEFILE

.PHONY:	ngx_http_authgear_module ngx_http_authgear_module_install

modules:	ngx_http_authgear_module

ngx_http_authgear_module:	\$(CORE_DEPS)
	NGINX_SOURCE_DIR="\`pwd\`" \\
	NGINX_BUILD_DIR="\`cd $NGX_OBJS && pwd\`" \\
	MAKEFLAGS= $ngx_addon_dir/tools/build-module.sh configured

install:	ngx_http_authgear_module_install

ngx_http_authgear_module_install:	ngx_http_authgear_module
	test -d '\$(DESTDIR)$NGX_MODULES_PATH' \\
		|| mkdir -p '\$(DESTDIR)$NGX_MODULES_PATH'
	cp $NGX_OBJS/ngx_http_authgear_module.so \\
		'\$(DESTDIR)$NGX_MODULES_PATH/.ngx_http_authgear_module.so.new'
	mv -f '\$(DESTDIR)$NGX_MODULES_PATH/.ngx_http_authgear_module.so.new' \\
		'\$(DESTDIR)$NGX_MODULES_PATH/ngx_http_authgear_module.so'

END
