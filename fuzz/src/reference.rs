//! Second implementations, written from the RFCs and from Go's `net/http`, that share no code with the crates
//! under test.

mod base64;
mod claims;
mod cookies;
mod json;
mod token;

pub use base64::decode_url;
pub use claims::{expect_claims, is_time, Expected};
pub use cookies::{go_cookies, Cookie};
pub use json::{parse, Fault, Json};
pub use token::{expect_header, expect_token, HeaderOf};
