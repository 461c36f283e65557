//! Arbitrary bytes as a reply of Redis, whose entries may be anything.
//!
//! Nothing panics, and all of a message is taken from the reply. A message reads the same after it was kept, unless it
//! cannot have come from a node: no signature and no endpoint holds a line end. None counts without a good signature.

use authgear_core::fuzzing::{kept_message, read_reply};
use authgear_core::revocation::Secrets;

/// One input.
pub fn run(data: &[u8]) {
    let secrets = Secrets::parse(b"secret").expect("a secret");
    for message in read_reply(data).into_iter().flatten().flatten() {
        let size = message.endpoint.len() + message.body.len() + message.signature.len();
        assert!(size <= data.len());
        if !message.endpoint.contains('\n') && !message.signature.contains('\n') {
            assert_eq!(kept_message(&message).as_ref(), Some(&message));
        }
        let is_signed = secrets
            .verify(&message.body, message.signature.as_bytes())
            .is_some();
        assert_eq!(is_signed, message.signature == secrets.sign(&message.body));
    }
}
