//! Arbitrary JSON as the header or payload of a token.
//!
//! An accepted text is one object of all different names, at most 64 deep: [`parse`] says the same of it, and so does
//! `serde_json::Value`, but for numbers that no double holds and halves of surrogate pairs.

use authgear_core::fuzzing::{json_compact, json_members, json_shown, json_string, json_strings};

use crate::assert_printable;
use crate::reference::{parse, Fault, Json};

/// One input.
pub fn run(data: &[u8]) {
    let ours = json_members(data);
    let expected = parse(data);
    let is_good = match &expected {
        Ok(value @ Json::Object(_)) => !value.has_repeated_name() && value.depth() <= 64,
        Ok(_) | Err(Fault::Invalid | Fault::Deep) => false,
    };
    assert_eq!(ours.is_some(), is_good);
    let theirs = serde_json::from_slice::<serde_json::Value>(data);
    if let (Ok(theirs), Err(fault)) = (&theirs, &expected) {
        assert_eq!(*fault, Fault::Deep, "{theirs}");
    }
    if let (Err(error), Ok(value)) = (&theirs, &expected) {
        let why = error.to_string();
        let is_known = ["out of range", "surrogate", "unexpected end of hex escape"];
        assert!(
            is_known.into_iter().any(|known| why.contains(known)) || value.depth() > 64,
            "{why}"
        );
    }
    let (Some(ours), Ok(Json::Object(expected))) = (ours, expected) else {
        return;
    };
    assert_eq!(ours.len(), expected.len());
    for ((name, raw), (expected_name, value)) in ours.iter().zip(&expected) {
        assert_eq!(name, expected_name);
        assert_eq!(json_string(raw).as_deref(), value.text());
        let strings = json_strings(raw);
        assert_eq!(
            strings.map(|all| all.into_iter().map(String::from).collect::<Vec<_>>()),
            owned(value.texts())
        );
        let compact = json_compact(raw);
        assert_eq!(parse(compact.as_bytes()).as_ref(), Ok(value));
        assert_printable(&compact);
        if let Some(shown) = json_shown(raw) {
            assert_printable(&shown);
            assert!(!shown.is_empty());
            if let Some(text) = value
                .text()
                .filter(|text| !text.contains(|c: char| c.is_ascii_control()))
            {
                assert_eq!(shown, text);
            }
        }
    }
    if let Ok(theirs) = theirs {
        assert_eq!(
            theirs.as_object().map(serde_json::Map::len),
            Some(ours.len())
        );
    }
}

fn owned(texts: Option<Vec<&str>>) -> Option<Vec<String>> {
    Some(texts?.into_iter().map(String::from).collect())
}
