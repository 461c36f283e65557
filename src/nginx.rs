//! nginx's structures, behind types that borrow. Decides nothing, and imports nothing of this crate:
//! it is what the crate `ngx` does not wrap.

/// New variables.
mod add_variable;
/// The client's address.
mod address;
/// The clock that all processes share.
mod clock;
/// Parameters with variables.
mod complex_value;
/// The configuration while it is read: words, files, zones.
mod conf;
/// Content handlers, and the bodies of requests.
mod content;
/// Bit fields, timers, and the checked layout of nginx's structures.
pub mod fields;
/// Functions before and after all other header filters.
mod filter;
/// Panics and failures at the border to C.
mod guard;
/// Lists of headers, of a request, a response and an upstream.
mod headers;
/// The addresses on which servers listen.
mod listeners;
/// A location whose configuration is merged, and what other modules do there.
mod location;
/// Messages of `nginx -t`, with file and line.
mod messages;
/// Requests without a client.
mod own_request;
/// Handlers in nginx's request phases.
mod phases;
/// Memory pools.
mod pool;
/// A request.
mod request;
/// The end of a request before its response is.
mod reset;
/// Whole responses.
mod respond;
/// Requests below a client request: run, ended, given headers of their own.
mod subrequest;
/// `ngx_str_t` and byte slices.
mod text;
/// Threads beside the event loop.
mod thread;
/// A timer of the event loop.
mod timer;
/// The slots of a request's variables.
mod variables;

pub use add_variable::Getter;
pub use clock::{now, unix_time};
pub use complex_value::ComplexValue;
pub use conf::Conf;
pub use content::update_time;
pub use filter::{set_first_header_filter, set_last_header_filter};
pub use guard::{guard, Failed};
pub use headers::RequestHeader;
pub use listeners::ServerAt;
pub use location::{LocationAt, LocationConfs};
pub use messages::{Place, CONF_ERROR};
pub use own_request::OwnRequest;
pub use phases::PhaseHandler;
pub use pool::Pool;
pub use request::Request;
pub use respond::Method;
pub use text::{borrowed_str, bytes};
pub use thread::{is_process_alive, serves_requests, spawn};
pub use timer::{PoolTimer, Timer};
pub use variables::variables_of_headers;
