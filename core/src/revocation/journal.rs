//! Revocations as a file, so that they survive a restart.
//!
//! One event a line, added to the end, since several workers write. A file that has doubled is
//! rewritten with what still counts. All of it blocks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::lines::{self, json, Locked};
use super::state::{Mark, State, MARKS};

const NAME: &str = "revocations.jsonl";
/// The size up to which a file is not rewritten, in bytes.
const SMALL: u64 = 64 * 1024;

/// A user's revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Fingerprints of the names of its project.
    pub names: Vec<[u8; 32]>,
    /// The user's id.
    pub user: String,
    /// The revocation.
    pub state: State,
}

/// A file's contents.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// One record for each user and list of names.
    pub records: Vec<Record>,
    /// The number of lines that could not be read.
    pub ignored: usize,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    names: Vec<String>,
    user: String,
    ended_at: u64,
    marks: Vec<(u64, u64, u64)>,
}

/// The first line of a file that was rewritten.
#[derive(Serialize, Deserialize)]
struct Rewritten {
    bytes: u64,
}

/// Adds records to the file of a folder, and returns when they are on the disk. `now` in Unix seconds; what is
/// older than `keep` seconds may be left out.
///
/// # Errors
///
/// The system's, or the mistake in the folder or file.
pub fn append(folder: &Path, records: &[Record], now: u64, keep: u64) -> io::Result<()> {
    let mut file = Locked::open(folder, NAME)?;
    let new: String = records.iter().map(line).collect();
    let size = file.append(&new)?;
    if size > SMALL {
        let all = file.read()?;
        if size >= 2 * rewritten_at(&all) {
            file.replace(&rewritten(&read(&all, now, keep)))?;
        }
    }
    Ok(())
}

/// Reads the file of a folder, with what still counts at `now`, in Unix seconds, if a revocation is kept for
/// `keep` seconds. Nothing where there is no file.
///
/// # Errors
///
/// As of [`append`].
pub fn load(folder: &Path, now: u64, keep: u64) -> io::Result<Loaded> {
    Ok(read(&lines::load(folder, NAME)?, now, keep))
}

/// Differs between two states of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    file: u64,
    size: u64,
    changed: (i64, i64),
}

/// The stamp of the file of a folder; `None` where it cannot be had.
#[must_use]
pub fn stamp(folder: &Path) -> Option<Stamp> {
    let file = fs::symlink_metadata(folder.join(NAME)).ok()?;
    Some(Stamp {
        file: file.ino(),
        size: file.len(),
        changed: (file.mtime(), file.mtime_nsec()),
    })
}

/// Reads line by line: what a disk made of one of them costs no other.
pub(crate) fn read(text: &[u8], now: u64, keep: u64) -> Loaded {
    let mut users: BTreeMap<(String, Vec<[u8; 32]>), State> = BTreeMap::new();
    let mut ignored = 0;
    for line in lines::split(text) {
        match serde_json::from_slice::<Line>(line).ok().and_then(record) {
            Some(Record { names, user, state }) => {
                let known = users.entry((user, names)).or_default();
                *known = known.merge(&state);
            }
            None if serde_json::from_slice::<Rewritten>(line).is_ok() => {}
            None => ignored += 1,
        }
    }
    let counts = |(_, state): &(_, State)| now <= state.last_time().saturating_add(keep);
    let records = users.into_iter().filter(counts);
    Loaded {
        records: records
            .map(|((user, names), state)| Record { names, user, state })
            .collect(),
        ignored,
    }
}

fn line(record: &Record) -> String {
    let (ended_at, marks) = record.state.parts();
    let hex = |name: &[u8; 32]| name.iter().map(|byte| format!("{byte:02x}")).collect();
    let marks = marks.iter().filter(|mark| mark.at > 0);
    let line = Line {
        names: record.names.iter().map(hex).collect(),
        user: record.user.clone(),
        ended_at,
        marks: marks.map(|mark| (mark.seq, mark.at, mark.plan)).collect(),
    };
    json(&line)
}

fn record(line: Line) -> Option<Record> {
    let unhex = |name: &String| {
        let mut bytes = [0; 32];
        let digits = name.as_bytes();
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
        }
        Some(bytes)
    };
    if line.marks.len() > MARKS {
        return None;
    }
    let mut marks = [Mark::default(); MARKS];
    for (mark, (seq, at, plan)) in marks.iter_mut().zip(line.marks) {
        *mark = Mark { seq, at, plan };
    }
    Some(Record {
        names: line.names.iter().map(unhex).collect::<Option<_>>()?,
        user: line.user,
        // A file may hold any numbers, so they are merged by the same rules.
        state: State::default().merge(&State::from_parts(line.ended_at, marks)),
    })
}

/// The text of a file that holds these records and no more.
pub(crate) fn rewritten(loaded: &Loaded) -> String {
    let lines: String = loaded.records.iter().map(line).collect();
    let bytes = lines.len() as u64;
    json(&Rewritten { bytes }) + &lines
}

fn rewritten_at(text: &[u8]) -> u64 {
    let first = lines::split(text).next().unwrap_or_default();
    let rewritten = serde_json::from_slice::<Rewritten>(first);
    rewritten.map_or(0, |rewritten| rewritten.bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::{fs, thread};

    use super::*;
    use crate::revocation::lines::tests::Temporary;
    use crate::revocation::{Effect, Event};

    const NOW: u64 = 1_800_000_000;
    const KEEP: u64 = 86_400;

    struct Place(Temporary);

    impl Place {
        fn new(name: &str) -> Place {
            Place(Temporary::new(&format!("journal-{name}")))
        }

        fn file(&self) -> PathBuf {
            self.0.join(NAME)
        }

        fn append(&self, records: &[Record]) {
            append(&self.0, records, NOW, KEEP).unwrap();
        }

        fn load(&self) -> Loaded {
            load(&self.0, NOW, KEEP).unwrap()
        }
    }

    fn record(user: &str, seq: u64, at: u64, effect: Effect) -> Record {
        let event = Event {
            user: user.to_string(),
            seq,
            at,
            effect,
        };
        Record {
            names: vec![[7; 32], [8; 32]],
            user: user.to_string(),
            state: State::of(&event),
        }
    }

    #[test]
    fn what_was_appended_is_loaded_merged() {
        let place = Place::new("merged");
        assert_eq!(place.load(), Loaded::default());
        let (first, second) = (
            record("a \"user\"\n", 1, NOW - 10, Effect::Ends),
            record("a \"user\"\n", 2, NOW - 5, Effect::EndsLater(NOW + 100)),
        );
        let other = record("b", 3, NOW, Effect::Ends);
        place.append(std::slice::from_ref(&first));
        place.append(&[second.clone(), other.clone()]);
        let merged = Record {
            state: first.state.merge(&second.state),
            ..first
        };
        let expected = Loaded {
            records: vec![merged, other],
            ignored: 0,
        };
        assert_eq!(place.load(), expected);
        let mode = fs::metadata(place.file()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn each_change_of_the_file_has_another_stamp() {
        let place = Place::new("stamp");
        let mut stamps = vec![stamp(&place.0)];
        assert_eq!(stamps, [None], "no file");
        for user in ["a", "b"] {
            place.append(&[record(user, 1, NOW, Effect::Ends)]);
            stamps.push(stamp(&place.0));
        }
        assert_eq!(stamp(&place.0), stamps[2], "unchanged");
        stamps.dedup();
        assert_eq!(stamps.len(), 3);
    }

    #[test]
    fn what_no_longer_counts_is_left_out() {
        let place = Place::new("old");
        place.append(&[
            record("old", 1, NOW - KEEP - 1, Effect::Ends),
            record("young", 1, NOW - KEEP, Effect::Ends),
            record("planned", 1, NOW - 10 * KEEP, Effect::EndsLater(NOW + KEEP)),
        ]);
        let users: Vec<_> = place
            .load()
            .records
            .into_iter()
            .map(|record| record.user)
            .collect();
        assert_eq!(users, ["planned", "young"]);
    }

    #[test]
    fn a_line_that_was_cut_off_costs_no_other() {
        let place = Place::new("cut");
        place.append(&[record("a", 1, NOW, Effect::Ends)]);
        let text = fs::read_to_string(place.file()).unwrap();
        fs::write(place.file(), format!("{text}{}", &text[..40])).unwrap();
        place.append(&[record("b", 1, NOW, Effect::Ends)]);
        let loaded = place.load();
        assert_eq!((loaded.records.len(), loaded.ignored), (2, 1));
    }

    #[test]
    fn a_fingerprint_with_a_sign_is_no_line() {
        let place = Place::new("sign");
        place.append(&[record("a", 1, NOW, Effect::Ends)]);
        let text = fs::read_to_string(place.file()).unwrap();
        fs::write(place.file(), text.replacen("\"07", "\"+7", 1)).unwrap();
        assert_eq!((place.load().records.len(), place.load().ignored), (0, 1));
    }

    #[test]
    fn a_line_of_any_bytes_costs_no_other() {
        let place = Place::new("bytes");
        place.append(&[record("a", 1, NOW, Effect::Ends)]);
        let broken = [
            b"\xff\xfe\0\r\n".repeat(2),
            vec![0xff; SMALL as usize],
            b"\n".to_vec(),
        ]
        .concat();
        let text = [fs::read(place.file()).unwrap(), broken].concat();
        fs::write(place.file(), text).unwrap();
        assert_eq!((place.load().records.len(), place.load().ignored), (1, 3));
        place.append(&[record("b", 1, NOW, Effect::Ends)]);
        let loaded = place.load();
        assert_eq!((loaded.records.len(), loaded.ignored), (2, 0), "rewritten");
    }

    #[test]
    fn a_file_that_grows_is_rewritten_with_what_counts() {
        let place = Place::new("grown");
        let size = || fs::metadata(place.file()).unwrap().len();
        for round in 0..2_000 {
            let user = format!("user-{}", round % 50);
            place.append(&[record(&user, round, NOW - 2_000 + round, Effect::Ends)]);
            assert!(size() < 2 * SMALL, "{}", size());
        }
        let loaded = place.load();
        assert_eq!((loaded.records.len(), loaded.ignored), (50, 0));
        let latest = loaded
            .records
            .iter()
            .filter_map(|record| record.state.instant(NOW as f64));
        assert_eq!(latest.min(), Some(NOW - 50));
    }

    #[test]
    fn many_writers_lose_no_line() {
        let place = Place::new("many");
        thread::scope(|scope| {
            for writer in 0..4 {
                let place = &place;
                scope.spawn(move || {
                    for round in 0..200 {
                        let user = format!("user-{writer}-{round}");
                        place.append(&[record(&user, 1, NOW, Effect::Ends)]);
                    }
                });
            }
        });
        let loaded = place.load();
        assert_eq!((loaded.records.len(), loaded.ignored), (800, 0));
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let place = Place::new("open");
        place.append(&[record("a", 1, NOW, Effect::Ends)]);
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o622)).unwrap();
        assert!(load(&place.0, NOW, KEEP).is_err());
        assert!(append(&place.0, &[], NOW, KEEP).is_err());
        fs::remove_file(place.file()).unwrap();
        std::os::unix::fs::symlink("/dev/null", place.file()).unwrap();
        assert!(load(&place.0, NOW, KEEP).is_err());
        fs::set_permissions(&*place.0, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(load(&place.0, NOW, KEEP).is_err());
    }
}
