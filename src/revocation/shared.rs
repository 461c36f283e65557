//! Webhooks of which other nodes are told, kept in the zone until they are.

use std::sync::Arc;

use authgear_core::revocation::stream::{Address, Message};

use crate::nginx::now;
use crate::worker;

/// The time in which a worker tells other nodes of a webhook, or fails to, in milliseconds; after it another does.
const TELLING: u64 = 6_000;

/// A webhook of which other nodes are told.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The stream.
    pub address: Arc<Address>,
    /// The webhook.
    pub message: Message,
    /// Its number in the zone, if that had room to keep it. Without one it dies with this worker.
    number: Option<u64>,
}

impl Shared {
    /// A webhook that the zone keeps until other nodes know it, whatever becomes of this worker.
    pub fn new(address: &Arc<Address>, message: Message) -> Shared {
        Shared {
            address: Arc::clone(address),
            number: worker::keep_outgoing(&message.to_bytes(), now() + TELLING),
            message,
        }
    }

    /// The webhooks in the zone that no worker is about to tell.
    pub fn take_kept(address: &Arc<Address>) -> impl Iterator<Item = Shared> + '_ {
        let kept = worker::take_outgoing(now() + TELLING).into_iter();
        kept.filter_map(|(number, bytes)| {
            Some(Shared {
                address: Arc::clone(address),
                message: Message::from_bytes(&bytes)?,
                number: Some(number),
            })
        })
    }

    /// Forgets it: other nodes know it, or are not to.
    pub fn forget(&self) {
        if let Some(number) = self.number {
            worker::forget_outgoing(number);
        }
    }

    /// Lets any worker tell it, after this one could not. Returns it where this one alone has it.
    pub fn give_back(self) -> Option<Shared> {
        let Some(number) = self.number else {
            return Some(self);
        };
        worker::outgoing_is_due(number);
        None
    }
}
