//! Arbitrary response headers as the resolver's answer.
//!
//! A yes needs `X-Authgear-Session-Valid: true` and a user id, each header once, all of it text without control
//! characters. Values are handed on letter for letter, and read the same from their record. Whatever a backend could
//! take for one of these headers is stripped.
//!
//! Input: one `name: value` a line.

use authgear_core::session::{stripped_header, Field, Fields};

use crate::assert_printable;

/// One input.
pub fn run(data: &[u8]) {
    let headers: Vec<(&[u8], &[u8])> = data
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        })
        .collect();
    for (name, _) in &headers {
        check_stripped(name);
    }
    let mut room = b"old".to_vec();
    let values = |field: Field| -> Vec<&[u8]> {
        let named = headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(field.header().as_bytes()));
        named.map(|(_, value)| trim(value)).collect()
    };
    let is_repeated = Field::ALL.into_iter().any(|field| values(field).len() > 1);
    let valid = values(Field::SessionValid);
    let found = Fields::from_resolver(headers.iter().copied(), &mut room);
    let fields = match found {
        _ if is_repeated => return assert!(found.is_err()),
        Ok(None) => return assert!(valid.is_empty() || valid == [b"false"]),
        Err(error) => {
            assert_printable(&error.to_string());
            let is_text = |value: &[u8]| {
                std::str::from_utf8(value)
                    .is_ok_and(|text| !text.contains(|c: char| c.is_ascii_control()))
            };
            let id = values(Field::UserId);
            let all_are = Field::ALL
                .into_iter()
                .all(|field| values(field).into_iter().all(is_text));
            return assert!(
                !valid.is_empty() && (valid != [b"true"] || id.concat().is_empty() || !all_are)
            );
        }
        Ok(Some(fields)) => fields,
    };
    assert_eq!(valid, [b"true"]);
    assert!(fields.get(Field::UserId).is_some_and(|id| !id.is_empty()));
    for field in Field::ALL {
        let value = values(field).concat();
        let expected = std::str::from_utf8(&value).expect("text");
        assert_eq!(fields.get(field).unwrap_or_default(), expected);
        assert_printable(expected);
    }
    if let Some(record) = fields.record() {
        assert_eq!(Fields::from_record(&record), Some(fields));
    }
}

fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().take_while(|byte| is_blank(byte)).count();
    let value = &value[start..];
    &value[..value.len() - value.iter().rev().take_while(|byte| is_blank(byte)).count()]
}

/// The name as a CGI variable decides.
fn check_stripped(name: &[u8]) {
    let variable: Vec<u8> = name
        .iter()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                byte.to_ascii_uppercase()
            } else {
                b'_'
            }
        })
        .collect();
    let is_ours = variable.starts_with(b"X_AUTHGEAR_");
    let is_signature = name.eq_ignore_ascii_case(b"x-authgear-body-signature");
    assert_eq!(stripped_header(name), is_ours && !is_signature);
}
