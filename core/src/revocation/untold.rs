//! Webhooks that Redis did not take, as a file, so that a restart does not keep them from other nodes.
//!
//! One message a line, until it is told. One that is told twice changes nothing, so a file that could not be
//! rewritten does no harm. All of it blocks.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use base64_simd::STANDARD;
use serde::{Deserialize, Serialize};

use super::lines::{self, json, Locked};
use super::stream::Message;

const NAME: &str = "untold.jsonl";
/// The size that the file does not exceed, in bytes.
const MOST: usize = 16 << 20;

/// A file's contents.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The messages that still count.
    pub messages: Vec<Message>,
    /// The number of lines that could not be read.
    pub ignored: usize,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// Base64 of the message's bytes.
    message: String,
}

/// Adds messages to the file of a folder, but for those that it has and those that no longer count at `now`, in Unix
/// seconds. Returns when they are on the disk.
///
/// # Errors
///
/// The system's, or the mistake in the folder or file, or that the file is full.
pub fn add(folder: &Path, messages: &[&Message], now: u64) -> io::Result<()> {
    let mut file = Locked::open(folder, NAME)?;
    let all = file.read()?;
    let known: BTreeSet<&[u8]> = lines::split(&all).collect();
    let (mut new, mut is_full) = (BTreeSet::new(), false);
    // A line that was cut off takes another byte.
    let mut size = all.len() + 1;
    for message in messages.iter().filter(|message| message.until >= now) {
        let line = line(message);
        if known.contains(line.trim_end().as_bytes()) || new.contains(&line) {
            continue;
        }
        if size + line.len() > MOST {
            is_full = true;
            continue;
        }
        size += line.len();
        new.insert(line);
    }
    if !new.is_empty() {
        file.append(&String::from_iter(new))?;
    }
    if is_full {
        return Err(io::Error::other(format!(
            "\"{NAME}\" is full: it has {MOST} bytes at most"
        )));
    }
    Ok(())
}

/// Removes messages that were told, and those that no longer count at `now`, in Unix seconds.
///
/// # Errors
///
/// The system's, or the mistake in the folder or file.
pub fn remove(folder: &Path, told: &[&Message], now: u64) -> io::Result<()> {
    // Most often.
    if lines::is_empty(folder, NAME)? {
        return Ok(());
    }
    let mut file = Locked::open(folder, NAME)?;
    let told: BTreeSet<_> = told.iter().map(|message| message.identity()).collect();
    let all = file.read()?;
    let Loaded { messages, ignored } = read(&all, now);
    let left = messages
        .iter()
        .filter(|message| !told.contains(&message.identity()));
    let left: Vec<&Message> = left.collect();
    if ignored == 0 && left.len() == lines::split(&all).count() {
        return Ok(());
    }
    file.replace(&left.into_iter().map(line).collect::<String>())
}

/// Reads the file of a folder, with what still counts at `now`, in Unix seconds. Nothing where there is no file.
///
/// # Errors
///
/// As of [`remove`].
pub fn load(folder: &Path, now: u64) -> io::Result<Loaded> {
    Ok(read(&lines::load(folder, NAME)?, now))
}

fn read(text: &[u8], now: u64) -> Loaded {
    let mut loaded = Loaded::default();
    for line in lines::split(text) {
        match message(line) {
            Some(message) if message.until < now => {}
            Some(message) => loaded.messages.push(message),
            None => loaded.ignored += 1,
        }
    }
    loaded
}

fn line(message: &Message) -> String {
    let message = STANDARD.encode_to_string(message.to_bytes());
    json(&Line { message })
}

fn message(line: &[u8]) -> Option<Message> {
    let line: Line = serde_json::from_slice(line).ok()?;
    Message::from_bytes(&STANDARD.decode_to_vec(line.message).ok()?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;
    use crate::revocation::lines::tests::Temporary;

    const NOW: u64 = 1_800_000_000;

    struct Place(Temporary);

    impl Place {
        fn new(name: &str) -> Place {
            Place(Temporary::new(&format!("untold-{name}")))
        }

        fn file(&self) -> PathBuf {
            self.0.join(NAME)
        }

        fn size(&self) -> u64 {
            fs::metadata(self.file()).unwrap().len()
        }

        fn add(&self, messages: &[&Message]) {
            add(&self.0, messages, NOW).unwrap();
        }

        fn remove(&self, messages: &[&Message]) {
            remove(&self.0, messages, NOW).unwrap();
        }

        fn load(&self) -> Loaded {
            load(&self.0, NOW).unwrap()
        }
    }

    fn message(body: &[u8], until: u64) -> Message {
        Message {
            endpoint: "https://a.example".to_string(),
            body: body.to_vec(),
            signature: "0f".to_string(),
            until,
        }
    }

    #[test]
    fn what_was_added_is_there_once_until_it_is_told() {
        let place = Place::new("added");
        place.remove(&[]);
        assert_eq!(place.load(), Loaded::default());
        assert!(!place.file().exists(), "removing makes no file");
        let (one, other) = (message(b"{\n\"\xff\"}", NOW), message(b"{}", NOW + 1));
        place.add(&[&one, &one]);
        place.add(&[&other, &one]);
        let all = Loaded {
            messages: vec![one.clone(), other.clone()],
            ignored: 0,
        };
        assert_eq!(place.load(), all);
        let mode = fs::metadata(place.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let later = message(&one.body, NOW + 9);
        place.remove(&[&later, &message(b"another", NOW)]);
        let left = std::slice::from_ref(&other);
        assert_eq!(place.load().messages, left, "whatever its time");
        place.remove(&[&other]);
        assert_eq!(place.size(), 0);
    }

    #[test]
    fn what_no_longer_counts_is_left_out() {
        let place = Place::new("old");
        let (old, young) = (message(b"old", NOW - 1), message(b"young", NOW));
        place.add(&[&old, &young]);
        assert_eq!(place.load().messages, std::slice::from_ref(&young));
        assert_eq!(load(&place.0, NOW + 1).unwrap(), Loaded::default());
        remove(&place.0, &[], NOW + 1).unwrap();
        assert_eq!(place.size(), 0);
    }

    #[test]
    fn a_broken_line_costs_no_other() {
        let place = Place::new("broken");
        let (one, other) = (message(b"one", NOW), message(b"other", NOW));
        place.add(&[&one]);
        let text = fs::read(place.file()).unwrap();
        let broken = [
            &text[..],
            b"\xff\0\r\n{\"message\":\"!\"}\n{\"message\":\"\"}\n",
            &text[..20],
        ];
        fs::write(place.file(), broken.concat()).unwrap();
        place.add(&[&other]);
        let loaded = place.load();
        assert_eq!(loaded.messages, [one.clone(), other.clone()]);
        assert_eq!(loaded.ignored, 4);
        place.remove(&[&one]);
        let left = Loaded {
            messages: vec![other],
            ignored: 0,
        };
        assert_eq!(place.load(), left);
    }

    #[test]
    fn a_full_file_takes_what_has_room() {
        let place = Place::new("full");
        let (large, small) = (message(&vec![0; MOST / 2], NOW), message(b"{}", NOW));
        let another = message(&vec![1; MOST / 2], NOW);
        place.add(&[&large]);
        let error = add(&place.0, &[&another, &small], NOW).unwrap_err();
        assert!(error.to_string().contains("is full"), "{error}");
        assert_eq!(place.load().messages, [large.clone(), small.clone()]);
        assert!(place.size() <= MOST as u64);
        place.remove(&[&large]);
        place.add(&[&another]);
        assert_eq!(place.load().messages, [small, another]);
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let place = Place::new("open");
        let one = message(b"one", NOW);
        place.add(&[&one]);
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o622)).unwrap();
        assert!(load(&place.0, NOW).is_err());
        assert!(add(&place.0, &[&one], NOW).is_err());
        assert!(remove(&place.0, &[&one], NOW).is_err());
    }
}
