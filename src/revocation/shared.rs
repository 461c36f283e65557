//! Webhooks of which other nodes are told, kept in the zone until they are, and in `state_path` what Redis did not take.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use authgear_core::revocation::stream::{Address, Link, Message};
use authgear_core::revocation::untold;

use crate::conf::{MainConf, Project};
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
    /// The folder of its project.
    folder: Option<Arc<Path>>,
}

impl Shared {
    /// A webhook that the zone keeps until other nodes know it, whatever becomes of this worker.
    pub fn new(address: &Arc<Address>, message: Message) -> Shared {
        Shared {
            address: Arc::clone(address),
            number: worker::keep_outgoing(&message.to_bytes(), now() + TELLING),
            folder: folder_of(&message),
            message,
        }
    }

    /// The webhooks in the zone that no worker is about to tell.
    pub fn take_kept(address: &Arc<Address>) -> impl Iterator<Item = Shared> + '_ {
        let kept = worker::take_outgoing(now() + TELLING).into_iter();
        kept.filter_map(|(number, bytes)| {
            let message = Message::from_bytes(&bytes)?;
            Some(Shared {
                address: Arc::clone(address),
                number: Some(number),
                folder: folder_of(&message),
                message,
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

/// Tells other nodes, or keeps in `state_path` what a restart is not to forget; returns the complaint then. It blocks,
/// and is called on threads. `now` in Unix seconds.
pub fn tell(all: &[&Shared], now: u64) -> Option<String> {
    let messages: Vec<Message> = all.iter().map(|shared| shared.message.clone()).collect();
    let told = Link::open(&all.first()?.address).and_then(|mut link| link.publish(&messages, now));
    let mut folders: BTreeMap<&Path, Vec<&Message>> = BTreeMap::new();
    for shared in all {
        if let Some(folder) = &shared.folder {
            folders.entry(folder).or_default().push(&shared.message);
        }
    }
    let Err(error) = told else {
        for (folder, messages) in folders {
            // What stays in the file is told again, which changes nothing.
            let _ = untold::remove(folder, &messages, now);
        }
        return None;
    };
    let add = |(folder, messages): (_, Vec<_>)| untold::add(folder, &messages, now).err();
    // To each folder, before the first complaint is looked at.
    let unsaved: Vec<_> = folders.into_iter().filter_map(add).collect();
    Some(match unsaved.first() {
        None => format!("cannot be told to other nodes, and is tried again: {error}"),
        Some(unsaved) => format!(
            "cannot be told to other nodes, and is tried again: {error}; a restart forgets that, since it cannot be saved in \"state_path\": {unsaved}"
        ),
    })
}

/// The folders of projects with a webhook.
pub fn folders(main: &MainConf) -> Vec<Arc<Path>> {
    let mut folders: Vec<Arc<Path>> = with_webhook(main)
        .filter_map(|project| project.state.clone())
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

/// The folder of the project that a message is of.
fn folder_of(message: &Message) -> Option<Arc<Path>> {
    let of_endpoint = |project: &&Project| {
        let tenant = project.fixed_tenant();
        tenant.is_some_and(|tenant| *tenant.origin == *message.endpoint)
    };
    let mut projects = with_webhook(worker::main_conf()?).filter(of_endpoint);
    projects.find_map(|project| project.state.clone())
}

fn with_webhook(main: &MainConf) -> impl Iterator<Item = &Project> {
    let projects = main.projects.iter();
    projects.filter(|project| project.webhook_secrets.is_some())
}
