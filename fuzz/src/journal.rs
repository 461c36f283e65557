//! An arbitrary file of revocations in `state_path`.
//!
//! The revocations that count are written as a file, from which the same ones are read, without an ignored line and
//! without any that is over. Two copies of a file, one behind the other, say the same as one.

use authgear_core::fuzzing::{read_journal, write_journal};
use authgear_core::keys::KeySet;

use crate::reference::{parse, Json};

const NOW: u64 = 1_800_000_000;
const KEEP: u64 = 86_400;

/// One input.
pub fn run(data: &[u8]) {
    // The other file there.
    let _ = KeySet::parse(data);
    let loaded = read_journal(data, NOW, KEEP);
    assert!(loaded.ignored + loaded.records.len() <= data.split(|&byte| byte == b'\n').count());
    for record in &loaded.records {
        assert!(NOW <= record.state.last_time().saturating_add(KEEP));
        assert_eq!(record.state.merge(&record.state), record.state);
    }
    let again = read_journal(write_journal(&loaded).as_bytes(), NOW, KEEP);
    assert_eq!((again.ignored, &again.records), (0, &loaded.records));
    if shares_seq(data) {
        return;
    }
    let twice = read_journal(&[data, b"\n", data].concat(), NOW, KEEP);
    assert_eq!(twice.records, loaded.records);
}

/// True if two marks of the file have one `seq` and differ.
fn shares_seq(data: &[u8]) -> bool {
    let mut marks = Vec::new();
    for line in data.split(|&byte| byte == b'\n') {
        let Ok(line) = parse(line) else { continue };
        let of_line = match &line {
            // serde reads a struct from an array too, in the order of its fields.
            Json::Array(fields) => fields.get(3),
            line => line.get("marks"),
        };
        if let Some(Json::Array(of_line)) = of_line {
            marks.extend(of_line.iter().map(|mark| format!("{mark:?}")));
        }
    }
    marks.sort_unstable();
    marks.dedup();
    let seq = |mark: &String| mark.split(',').next().map(str::to_string);
    marks.windows(2).any(|two| seq(&two[0]) == seq(&two[1]))
}
