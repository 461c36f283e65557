//! The resolver's reply as a subrequest has it.

use authgear_core::session::Fields;
use nginx_sys::{
    ngx_uint_t, NGX_HTTP_BAD_GATEWAY, NGX_HTTP_GATEWAY_TIME_OUT, NGX_HTTP_INTERNAL_SERVER_ERROR,
    NGX_HTTP_OK, NGX_HTTP_TOO_MANY_REQUESTS,
};

use crate::nginx::{bytes, Failed, Request};
use crate::request::outcome::Resolved;
use crate::request::question::{Asked, Failure, FailureKind, Reply};

/// Reads a subrequest's reply; `each` gets the names of its headers.
pub fn read(subrequest: &Request, asked: &Asked, mut each: impl FnMut(&[u8])) -> Reply {
    let not_asked = |why: String| Err(of_kind(FailureKind::NotAsked)(why));
    // SAFETY: the URI is the configuration's, which outlives its requests.
    let uri = String::from_utf8_lossy(unsafe { bytes(&asked.uri) });
    if asked.is_misplaced.get() {
        return not_asked(format!(
            "the subrequest to the resolver did not reach location \"{uri}\"; make it \"internal\" and \
             do not rewrite its URI"
        ));
    }
    let (status, upstream) = subrequest.answered();
    let Some((upstream_status, headers)) = upstream else {
        return not_asked(format!(
            "location \"{uri}\" answered {status} by itself instead of asking the resolver; it needs \
             \"proxy_pass\""
        ));
    };
    if subrequest.is_from_cache() {
        return not_asked(format!(
            "the answer in location \"{uri}\" came from nginx's cache and is ignored; add \
             \"proxy_cache off;\""
        ));
    }
    let ok = NGX_HTTP_OK as ngx_uint_t;
    if status != ok || upstream_status != ok {
        let timed_out = subrequest.timed_out();
        return Err(failure(&uri, (status, timed_out), upstream_status));
    }
    let headers = headers.inspect(|(name, _)| each(name));
    let mut room = Vec::new();
    let fields = Fields::from_resolver(headers, &mut room);
    let fields = fields.map_err(|error| of_kind(FailureKind::Unclear)(error.to_string()))?;
    let session = fields.map(|fields| Resolved::copy_to(subrequest.pool(), &fields));
    session.transpose().map_err(no_memory)
}

/// The failure of a resolver that answered with `upstream_status`, or 0 where it gave no response, to the
/// question in location `uri`; `status` is nginx's own, and `directive` that of a time-out.
fn failure(
    uri: &str,
    (status, directive): (ngx_uint_t, &str),
    upstream_status: ngx_uint_t,
) -> Failure {
    let is_server_error = |status| status >= NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_uint_t;
    let not_200 = |answered| {
        format!("the resolver answered with status {answered}, not 200, in location \"{uri}\"")
    };
    let (silence, outage) = (of_kind(FailureKind::Silence), of_kind(FailureKind::Outage));
    let (unclear, not_asked) = (
        of_kind(FailureKind::Unclear),
        of_kind(FailureKind::NotAsked),
    );
    match upstream_status {
        0 if status == TIME_OUT => silence(format!(
            "the resolver gave no response in time (status {status}) in location \"{uri}\"; if it is slow, \
             raise \"{directive}\" there"
        )),
        0 if status == NGX_HTTP_BAD_GATEWAY as ngx_uint_t => silence(format!(
            "the resolver gave no response (status {status}) in location \"{uri}\""
        )),
        0 => not_asked(format!(
            "the resolver was not asked (status {status}) in location \"{uri}\""
        )),
        answered if is_server_error(answered) || answered == TOO_MANY => {
            outage(not_200(answered))
        }
        answered if answered == status => unclear(not_200(answered)),
        answered => unclear(format!(
            "the resolver's answer, status {answered}, cannot be used (status {status}) in location \
             \"{uri}\"; if its headers are too large, raise \"proxy_buffer_size\" there"
        )),
    }
}

/// Makes a failure of that kind.
fn of_kind(kind: FailureKind) -> impl Fn(String) -> Failure {
    move |why| Failure { kind, why }
}

const TIME_OUT: ngx_uint_t = NGX_HTTP_GATEWAY_TIME_OUT as ngx_uint_t;
const TOO_MANY: ngx_uint_t = NGX_HTTP_TOO_MANY_REQUESTS as ngx_uint_t;

/// The failure of a worker without memory.
pub fn no_memory(_: Failed) -> Failure {
    of_kind(FailureKind::NotAsked)("no memory".to_string())
}

/// Hands what clears a dead session's cookie on to the client, unless the response has begun.
pub fn relay_cookies(main: &Request, subrequest: &Request) -> Result<(), Failed> {
    if main.has_sent_header() {
        return Ok(());
    }
    let headers = subrequest.answered().1.map(|(_, headers)| headers);
    for (name, value) in headers.into_iter().flatten() {
        if name == b"set-cookie" {
            main.add_response_header("Set-Cookie", value)?;
        }
    }
    Ok(())
}
