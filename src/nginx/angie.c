/* nginx's functions whose signature is another one in Angie: see angie.h. */

#include <ngx_config.h>
#include <ngx_core.h>

void authgear_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...);

void
authgear_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...)
{
    u_char   text[NGX_MAX_ERROR_STR], *last;
    va_list  args;

    va_start(args, fmt);
    last = ngx_vslprintf(text, text + sizeof(text), fmt, args);
    va_end(args);

    ngx_log_error_core(level, log, ngx_src_file(), err, "%*s",
                       (size_t) (last - text), text);
}
