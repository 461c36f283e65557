/*
 * For bindgen, where the headers are Angie's (tools/build-module.sh): the names
 * and signatures of nginx, which nginx-sys and ngx know.
 */

#define angie_sign  spare1

/* Angie's takes the name of a source file, too; see angie.c. */
#define ngx_log_error_core  angie_log_error_core
#include <ngx_config.h>
#include <ngx_core.h>
#undef ngx_log_error_core

void ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...) __asm__("authgear_log_error_core");
