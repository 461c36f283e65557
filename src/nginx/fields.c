/*
 * The bit fields of nginx's structures, read and written by the C compiler.
 *
 * bindgen places a group of bit fields wrongly where it follows a member
 * smaller than its storage unit, as in ngx_http_request_t since nginx 1.29.3.
 * So Rust never computes where a bit is: fields.rs calls these functions, and
 * `make lint` refuses bindgen's own accessors. The same holds for nginx's
 * inline functions that use such bits.
 *
 * A new field is one row here and one in fields.rs.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#define FIELD(kind, type, field)                                              \
    kind authgear_##type##_##field(const type *at);                           \
    kind authgear_##type##_##field(const type *at)                            \
    {                                                                         \
        return at->field;                                                     \
    }                                                                         \
    void authgear_##type##_set_##field(type *at, kind value);                 \
    void authgear_##type##_set_##field(type *at, kind value)                  \
    {                                                                         \
        at->field = value;                                                    \
    }

FIELD(_Bool, ngx_http_request_t, background)
FIELD(ngx_uint_t, ngx_http_request_t, blocked)
FIELD(_Bool, ngx_http_request_t, cached)
FIELD(ngx_uint_t, ngx_http_request_t, count)
FIELD(_Bool, ngx_http_request_t, done)
FIELD(_Bool, ngx_http_request_t, error_page)
FIELD(_Bool, ngx_http_request_t, filter_finalize)
FIELD(_Bool, ngx_http_request_t, header_only)
FIELD(_Bool, ngx_http_request_t, header_sent)
FIELD(_Bool, ngx_http_request_t, internal)
FIELD(_Bool, ngx_http_request_t, invalid_header)
FIELD(_Bool, ngx_http_request_t, keepalive)
FIELD(ngx_uint_t, ngx_http_request_t, limit_conn_status)
FIELD(ngx_uint_t, ngx_http_request_t, limit_req_status)
FIELD(_Bool, ngx_http_request_t, logged)
FIELD(_Bool, ngx_http_request_t, post_action)
FIELD(_Bool, ngx_http_request_t, subrequest_in_memory)
FIELD(_Bool, ngx_http_request_t, uri_changed)

FIELD(_Bool, ngx_http_upstream_t, header_sent)
FIELD(_Bool, ngx_http_upstream_t, request_body_sent)
FIELD(_Bool, ngx_http_upstream_t, request_sent)
FIELD(_Bool, ngx_http_upstream_t, upgrade)

FIELD(_Bool, ngx_http_core_loc_conf_t, exact_match)
FIELD(_Bool, ngx_http_core_loc_conf_t, named)
FIELD(_Bool, ngx_http_core_loc_conf_t, noname)

FIELD(ngx_uint_t, ngx_variable_value_t, len)
FIELD(_Bool, ngx_variable_value_t, escape)
FIELD(_Bool, ngx_variable_value_t, no_cacheable)
FIELD(_Bool, ngx_variable_value_t, not_found)
FIELD(_Bool, ngx_variable_value_t, valid)

FIELD(_Bool, ngx_buf_t, last_buf)
FIELD(_Bool, ngx_buf_t, last_in_chain)

FIELD(_Bool, ngx_event_t, active)
FIELD(_Bool, ngx_event_t, cancelable)
FIELD(_Bool, ngx_event_t, posted)
FIELD(_Bool, ngx_event_t, timedout)
FIELD(_Bool, ngx_event_t, timer_set)

FIELD(_Bool, ngx_connection_t, close)
FIELD(_Bool, ngx_connection_t, destroyed)
FIELD(_Bool, ngx_connection_t, error)

FIELD(_Bool, ngx_slab_pool_t, log_nomem)

void authgear_add_timer(ngx_event_t *event, ngx_msec_t milliseconds);
void authgear_add_timer(ngx_event_t *event, ngx_msec_t milliseconds)
{
    ngx_add_timer(event, milliseconds);
}

void authgear_del_timer(ngx_event_t *event);
void authgear_del_timer(ngx_event_t *event)
{
    ngx_del_timer(event);
}

void authgear_post_event(ngx_event_t *event, ngx_queue_t *queue);
void authgear_post_event(ngx_event_t *event, ngx_queue_t *queue)
{
    ngx_post_event(event, queue);
}

void authgear_cancel_event(ngx_event_t *event);
void authgear_cancel_event(ngx_event_t *event)
{
    if (event->timer_set) {
        ngx_del_timer(event);
    }

    if (event->posted) {
        ngx_delete_posted_event(event);
    }
}
