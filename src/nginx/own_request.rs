//! Requests without a client, for a subrequest that no client may influence or end.

use core::mem;
use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_connection_local_sockaddr, ngx_connection_t, ngx_create_pool, ngx_destroy_pool,
    ngx_event_t, ngx_http_conf_ctx_t, ngx_http_connection_t, ngx_http_create_request,
    ngx_http_free_request, ngx_http_log_ctx_t, ngx_http_request_t, ngx_http_run_posted_requests,
    ngx_inet_set_port, ngx_int_t, ngx_log_t, ngx_pcalloc, ngx_posted_events, ngx_sock_ntop, NGX_OK,
};
use ngx::http::{HttpModuleServerConf, NgxHttpCoreModule};

use super::fields::{self, event, request};
use super::guard::{guard, Failed};
use super::headers;
use super::request::Request;
use super::text::borrowed_str;

/// Bytes of the pool of a connection.
const POOL: usize = 2048;
/// References to a request of this kind without a subrequest: one more than to a client's, so that nginx never
/// takes the end of the subrequest for that of the request.
const REFERENCES: usize = 2;
/// The status of a request that has passed limits (`NGX_HTTP_LIMIT_REQ_PASSED`, `NGX_HTTP_LIMIT_CONN_PASSED`).
const PASSED: usize = 1;
/// Milliseconds until another try to free a request that a thread still works for.
const BUSY_PAUSE: usize = 1_000;

/// A request without a client, in a server of the configuration, with a time limit. It is freed after
/// [`OwnRequest::end`], or when its time is over.
#[derive(Debug, Clone, Copy)]
pub struct OwnRequest(NonNull<Block>);

/// The connection of such a request, and what belongs to it. It has no socket, and nginx's event loop does not
/// know it.
#[repr(C)]
struct Block {
    /// It comes first: the pointer to it that is the events' `data` is one to the block.
    connection: ngx_connection_t,
    read: ngx_event_t,
    write: ngx_event_t,
    /// Begins and ends the request.
    own: ngx_event_t,
    has_begun: bool,
    request: *mut ngx_http_request_t,
    http: ngx_http_connection_t,
    log: ngx_log_t,
    log_context: ngx_http_log_ctx_t,
    /// This server's.
    address: Address,
    /// The same without a port.
    remote: Address,
    text: [u8; MOST_TEXT],
}

/// An address of any family.
type Address = libc::sockaddr_storage;
/// The length of its text, that of a Unix socket included.
const MOST_TEXT: usize = 128;

impl OwnRequest {
    /// A request in the server of `like`, of which nothing else is taken over, for so many milliseconds.
    /// Subrequests that are made before the event loop goes on run then.
    pub fn start(
        like: &Request,
        user_agent: &'static str,
        milliseconds: usize,
    ) -> Result<Self, Failed> {
        let server = NgxHttpCoreModule::server_conf(like.get()).ok_or(Failed)?;
        // SAFETY: the cycle is live. All-zero is how nginx makes these structures, which stay where they are
        // until `free`. The request's connection is live.
        unsafe {
            let pool = ngx_create_pool(POOL, (*nginx_sys::ngx_cycle).log);
            if pool.is_null() {
                return Err(Failed);
            }
            let block = ngx_pcalloc(pool, mem::size_of::<Block>()).cast::<Block>();
            let Some(own) = NonNull::new(block).map(Self) else {
                ngx_destroy_pool(pool);
                return Err(Failed);
            };
            (*block).connection.pool = pool;
            own.connect(like, server.ctx);
            let made = own.make(user_agent);
            if made.is_err() {
                own.free();
            }
            made?;
            own.post();
            fields::add_timer(&raw mut (*block).own, milliseconds);
            Ok(own)
        }
    }

    /// Fills the connection in.
    ///
    /// # Safety
    ///
    /// The block must be zeroed but for its pool, and `like` live.
    unsafe fn connect(self, like: &Request, server: *mut ngx_http_conf_ctx_t) {
        let block = self.0.as_ptr();
        // SAFETY: the caller vouches for both. What is taken from the other connection belongs to the
        // configuration.
        unsafe {
            // Of a subrequest nginx does not fill all of it in.
            let main = like.main().raw();
            let other = (*main).connection;
            let size = self.take_address(other);
            let address = (&raw mut (*block).address).cast();
            let remote = (&raw mut (*block).remote).cast();
            ngx_inet_set_port(remote, 0);
            let text = (&raw mut (*block).text).cast();
            let length = ngx_sock_ntop(remote, size, text, MOST_TEXT, 0);
            (*block).http.conf_ctx = server;
            (*block).http.addr_conf = (*(*main).http_connection).addr_conf;
            (*block).log = *(*nginx_sys::ngx_cycle).log;
            // Lines are told as those of clients' requests are.
            (*block).log.handler = (*(*other).log).handler;
            (*block).log.data = (&raw mut (*block).log_context).cast();
            (*block).log_context.connection = &raw mut (*block).connection;
            let connection = &raw mut (*block).connection;
            (*connection).fd = -1;
            (*connection).data = (&raw mut (*block).http).cast();
            (*connection).log = &raw mut (*block).log;
            (*connection).listening = (*other).listening;
            (*connection).sockaddr = remote;
            (*connection).socklen = size;
            (*connection).local_sockaddr = address;
            (*connection).local_socklen = size;
            (*connection).addr_text.data = text;
            (*connection).addr_text.len = length;
            (*connection).read = &raw mut (*block).read;
            (*connection).write = &raw mut (*block).write;
            let [read, write, own] = [
                &raw mut (*block).read,
                &raw mut (*block).write,
                &raw mut (*block).own,
            ];
            for one in [read, write, own] {
                (*one).data = connection.cast();
                (*one).log = &raw mut (*block).log;
                (*one).handler = Some(ignore);
            }
            (*own).handler = Some(on_event);
            // As if the event loop knew them already: it is never asked to.
            event::set_active(&mut *read, true);
            event::set_active(&mut *write, true);
        }
    }

    /// Copies the server's address of another connection, at which a client reaches it: what is sent from that, as
    /// with `proxy_bind $server_addr`, goes the way of the clients' questions. Returns its length.
    ///
    /// # Safety
    ///
    /// The block must be zeroed, and `other` live.
    unsafe fn take_address(self, other: *mut ngx_connection_t) -> libc::socklen_t {
        let block = self.0.as_ptr();
        // SAFETY: the caller vouches for both. nginx fills the address in, of that length, where the listening
        // socket's has none. It is copied to memory that is as large as any address.
        unsafe {
            let known = ngx_connection_local_sockaddr(other, ptr::null_mut(), 0);
            let size = (*other).local_socklen as usize;
            if known == NGX_OK as ngx_int_t && (1..=mem::size_of::<Address>()).contains(&size) {
                let from = (*other).local_sockaddr.cast::<u8>();
                ptr::copy_nonoverlapping(from, (&raw mut (*block).address).cast(), size);
                ptr::copy_nonoverlapping(from, (&raw mut (*block).remote).cast(), size);
                return size as libc::socklen_t;
            }
            let loopback = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_addr: libc::in_addr {
                    s_addr: u32::from_be_bytes([127, 0, 0, 1]).to_be(),
                },
                ..mem::zeroed()
            };
            (&raw mut (*block).address)
                .cast::<libc::sockaddr_in>()
                .write(loopback);
            (&raw mut (*block).remote)
                .cast::<libc::sockaddr_in>()
                .write(loopback);
            mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
    }

    /// Has nginx make the request.
    ///
    /// # Safety
    ///
    /// The connection must be filled in.
    unsafe fn make(self, user_agent: &'static str) -> Result<(), Failed> {
        let block = self.0.as_ptr();
        // SAFETY: the caller vouches for the connection, whose `data` is what nginx expects; afterwards it
        // is the request, as nginx has it.
        unsafe {
            let made = ngx_http_create_request(&raw mut (*block).connection);
            if made.is_null() {
                return Err(Failed);
            }
            (*block).request = made;
            (*block).connection.data = made.cast();
            // No client's: it is in no access log.
            request::set_logged(&mut *made, true);
            // Limits are for clients.
            request::set_limit_conn_status(&mut *made, PASSED);
            request::set_limit_req_status(&mut *made, PASSED);
            request::set_count(&mut *made, REFERENCES);
            let own = Request::from_raw(made);
            headers::init(&raw mut (*made).headers_in.headers, own.pool(), 1)?;
            let agent = headers::push(&raw mut (*made).headers_in.headers, own.pool())?;
            USER_AGENT.write(agent, borrowed_str(user_agent.as_bytes()));
            (*made).headers_in.user_agent = agent;
            Ok(())
        }
    }

    /// The request.
    ///
    /// # Safety
    ///
    /// It must not be freed yet.
    pub unsafe fn request(self) -> Request {
        // SAFETY: the caller vouches for it.
        unsafe { Request::from_raw((*self.0.as_ptr()).request) }
    }

    /// Frees the request before the event loop sleeps again.
    ///
    /// # Safety
    ///
    /// It must not be freed yet.
    pub unsafe fn end(self) {
        // SAFETY: the caller vouches for it.
        unsafe { self.post() };
    }

    /// # Safety
    ///
    /// It must not be freed yet.
    unsafe fn post(self) {
        // SAFETY: the caller vouches for the event, which is this module's own.
        unsafe {
            let own = &raw mut (*self.0.as_ptr()).own;
            fields::post_event(own, ptr::addr_of_mut!(ngx_posted_events));
        }
    }

    /// Begins the request, or ends it.
    ///
    /// # Safety
    ///
    /// It must not be freed yet, and nginx be in the event loop.
    unsafe fn go_on(self) {
        let block = self.0.as_ptr();
        // SAFETY: the caller vouches for the block; nginx runs the requests that were posted.
        unsafe {
            let own = &raw mut (*block).own;
            if !mem::replace(&mut (*block).has_begun, true) {
                ngx_http_run_posted_requests(&raw mut (*block).connection);
                return;
            }
            let r = (*block).request;
            let is_late = event::timedout(&*own);
            if request::count(&*r) > REFERENCES && !is_late {
                // The subrequest has not ended after all: the time limit does it.
                return;
            }
            if request::blocked(&*r) > 0 {
                fields::add_timer(own, BUSY_PAUSE);
                return;
            }
            self.free();
        }
    }

    /// Frees the request, a subrequest that is under way, and the connection.
    ///
    /// # Safety
    ///
    /// It must not be freed yet.
    unsafe fn free(self) {
        let block = self.0.as_ptr();
        // SAFETY: the caller vouches for the block. No event refers to it any more when its pool goes.
        unsafe {
            if !(*block).request.is_null() {
                ngx_http_free_request((*block).request, 0);
            }
            for one in [
                &raw mut (*block).read,
                &raw mut (*block).write,
                &raw mut (*block).own,
            ] {
                fields::cancel_event(one);
            }
            ngx_destroy_pool((*block).connection.pool);
        }
    }
}

static USER_AGENT: headers::RequestHeader = headers::RequestHeader::new("User-Agent", "user-agent");

unsafe extern "C" fn ignore(_: *mut ngx_event_t) {}

unsafe extern "C" fn on_event(event: *mut ngx_event_t) {
    // SAFETY: nginx hands over the event of a block, which `free` takes back when it frees the block.
    guard((), || unsafe {
        OwnRequest(NonNull::new_unchecked((*event).data.cast::<Block>())).go_on();
    });
}
