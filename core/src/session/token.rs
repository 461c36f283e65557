//! The claims of a token that are needed after it was verified, and the resolver's values made of them, as one record
//! of bytes that can be stored and read again anywhere on the same machine: the signer ([`SignedBy::SIZE`] bytes) and
//!
//! - `exp`, an `f64`;
//! - the marks, a `u16`: [`IS_CLIENT`], one of [`TIMES`] for each time that is there, and a bit for each [`Text`]
//!   from `typ` to `jti` that is there, though it may be empty;
//! - the end of each text, a `u16` counted from the beginning of the first;
//! - the texts: the resolver's eight values, then those of [`Text`];
//! - `nbf`, `iat` and `auth_time`, each an `f64` if it is there;
//! - the number of roles, and the length of each role in the user's roles, as `u16`;
//! - the length of each element of `aud`, as `u16`, or [`SAME_AS_ISS`].
//!
//! Numbers are little-endian and not aligned.

use smallvec::SmallVec;

use super::fields::{Field, Fields};
use crate::credential::MAX_TOKEN;
use crate::token::{Claims, Header, SignedBy};

/// The texts behind the resolver's eight.
#[derive(Clone, Copy)]
enum Text {
    Typ = 8,
    Kid,
    Iss,
    ClientId,
    Scope,
    TokenId,
    /// `exp` in whole seconds.
    Exp,
    /// `sub` of a client; a user's is the resolver's.
    Sub,
    /// The elements of `aud` one behind the other.
    Aud,
}

const COUNT: usize = Text::Aud as usize + 1;

const EXP: usize = SignedBy::SIZE;
const MARKS: usize = EXP + size_of::<f64>();
const ENDS: usize = MARKS + size_of::<u16>();
const TEXTS: usize = ENDS + COUNT * size_of::<u16>();

const IS_CLIENT: u16 = 1;
const HAS_NBF: u16 = 2;
const HAS_IAT: u16 = 4;
const HAS_AUTH_TIME: u16 = 8;
const TIMES: u16 = HAS_NBF | HAS_IAT | HAS_AUTH_TIME;

/// Stands for an element of `aud` that is the same as `iss`.
const SAME_AS_ISS: u16 = u16::MAX;

/// Every end and length fits a `u16`: a record holds each text of a token once, and a text takes no more
/// there than in the token's JSON, its length included. The times take some bytes more.
const _: () = assert!(2 * MAX_TOKEN < SAME_AS_ISS as usize);

/// A token's claims, with the resolver's eight values rendered from them.
///
/// The record is a part of it unless it is long, so that a token is one block of memory.
#[derive(Debug, PartialEq)]
pub(crate) struct TokenSession(SmallVec<[u8; 512]>);

impl TokenSession {
    /// Renders a token's claims as the resolver would. A client has no user and no login, so its
    /// token fills none of those fields, whatever else it claims. Without a signer the record is no
    /// verified token's.
    pub(crate) fn new(claims: &Claims<'_>, header: &Header, signed_by: Option<SignedBy>) -> Self {
        let is_client = claims.is_client();
        let of_user = |text| if is_client { "" } else { text };
        let flag = |flag: Option<bool>| match flag {
            Some(true) => of_user("true"),
            Some(false) => of_user("false"),
            None => "",
        };
        let (roles, amr) = match is_client {
            true => (&[][..], &[][..]),
            false => (&*claims.roles, &*claims.amr),
        };
        let auth_time = claims.auth_time.map(whole_seconds).unwrap_or_default();
        let mut writer = Writer::new();
        writer.push("true");
        writer.push(of_user(&claims.sub));
        writer.push(flag(claims.is_anonymous));
        writer.push(flag(claims.is_verified));
        writer.push(flag(claims.can_reauthenticate));
        writer.join(roles, b",");
        writer.join(amr, b" ");
        writer.push(of_user(&auth_time));
        writer.push_optional(header.typ.as_deref());
        writer.push_optional(header.kid.as_deref());
        writer.push_optional(claims.iss.as_deref());
        writer.push_optional(claims.client_id.as_deref());
        writer.push_optional(claims.scope.as_deref());
        writer.push_optional(claims.jti.as_deref());
        writer.push(&whole_seconds(claims.exp));
        writer.push(if is_client { &claims.sub } else { "" });
        let is_iss = |text: &&str| Some(*text) == claims.iss.as_deref();
        let aud = claims.aud.iter().map(|text| &**text);
        let others = aud.clone().filter(|text| !is_iss(text));
        others.for_each(|text| writer.extend(text.as_bytes()));
        writer.end();

        for (time, mark) in [
            (claims.nbf, HAS_NBF),
            (claims.iat, HAS_IAT),
            (claims.auth_time, HAS_AUTH_TIME),
        ] {
            if let Some(time) = time {
                writer.marks |= mark;
                writer.extend(&time.to_le_bytes());
            }
        }
        if is_client {
            writer.marks |= IS_CLIENT;
        }
        writer.extend_number(roles.len() as u16);
        for role in roles {
            writer.extend_number(role.len() as u16);
        }
        for text in aud {
            let length = text.len() as u16;
            writer.extend_number(if is_iss(&text) { SAME_AS_ISS } else { length });
        }
        writer.finish(claims.exp, signed_by)
    }

    /// Copies a record; `None` when it is none. What it says is not checked.
    pub(crate) fn from_record(record: &[u8]) -> Option<TokenSession> {
        let (ends, _) = record.get(ENDS..TEXTS)?.as_chunks();
        let ends = || ends.iter().map(|end| u16::from_le_bytes(*end));
        let last = ends().next_back().map_or(0, usize::from);
        let is_whole = ends().is_sorted() && record.len() >= TEXTS + last;
        is_whole.then(|| TokenSession(SmallVec::from_slice(record)))
    }

    pub(crate) fn record(&self) -> &[u8] {
        &self.0
    }

    /// The resolver's eight values.
    pub(super) fn fields(&self) -> Fields<'_> {
        let ends = Field::ALL.map(|field| self.end(field.index()));
        let text = self.texts().get(..ends[ends.len() - 1]);
        Fields::new(text.unwrap_or_default(), ends.map(|end| end as u32))
    }

    /// `exp`, in Unix seconds; at 0 a token has expired.
    pub(crate) fn exp(&self) -> f64 {
        self.array(EXP).map_or(0.0, f64::from_le_bytes)
    }

    /// `nbf`, in Unix seconds.
    pub(crate) fn nbf(&self) -> Option<f64> {
        self.time(HAS_NBF)
    }

    /// `iat`, in Unix seconds.
    pub(crate) fn iat(&self) -> Option<f64> {
        self.time(HAS_IAT).filter(|time| time.is_finite())
    }

    /// `auth_time`, in Unix seconds.
    pub(crate) fn auth_time(&self) -> Option<f64> {
        self.time(HAS_AUTH_TIME)
    }

    /// A time that is there; one that is cut off never comes.
    fn time(&self, mark: u16) -> Option<f64> {
        let marks = self.marks();
        (marks & mark != 0).then(|| {
            let before = size_of_times(marks & (mark - 1));
            self.array(self.behind_texts() + before)
                .map_or(f64::INFINITY, f64::from_le_bytes)
        })
    }

    /// Tells whether the token is a client's (machine-to-machine).
    pub(crate) fn is_client(&self) -> bool {
        self.marks() & IS_CLIENT != 0
    }

    /// The header's `typ`.
    pub(crate) fn typ(&self) -> Option<&str> {
        self.optional(Text::Typ)
    }

    /// The header's `kid`.
    pub(super) fn kid(&self) -> Option<&str> {
        self.optional(Text::Kid)
    }

    /// Tells whether `iss` is that text. Bytes are compared: that is cheaper than to make a text of them.
    pub(crate) fn is_issued_by(&self, issuer: &str) -> bool {
        self.has(Text::Iss) && self.bytes(Text::Iss) == issuer.as_bytes()
    }

    /// Tells whether `aud` holds that text.
    pub(crate) fn is_meant_for(&self, audience: &str) -> bool {
        let (mut texts, wanted) = (self.bytes(Text::Aud), audience.as_bytes());
        let (_, lengths) = self.lists();
        lengths
            .iter()
            .any(|length| match u16::from_le_bytes(*length) {
                SAME_AS_ISS => self.is_issued_by(audience),
                length => take(&mut texts, length) == Some(wanted),
            })
    }

    /// `sub`
    pub(crate) fn sub(&self) -> &str {
        match self.is_client() {
            true => self.text(Text::Sub),
            false => self.fields().get(Field::UserId).unwrap_or_default(),
        }
    }

    /// `client_id`
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.optional(Text::ClientId)
    }

    /// `scope`
    pub(super) fn scope(&self) -> Option<&str> {
        self.optional(Text::Scope)
    }

    /// `jti`
    pub(super) fn token_id(&self) -> Option<&str> {
        self.optional(Text::TokenId)
    }

    /// `exp` in whole seconds.
    pub(super) fn token_exp(&self) -> &str {
        self.text(Text::Exp)
    }

    /// Tells whether the user has that role. A client has none.
    pub(super) fn has_role(&self, role: &str) -> bool {
        let mut texts = self.slice(Field::UserRoles.index());
        let (lengths, _) = self.lists();
        lengths.iter().any(|length| {
            let own = take(&mut texts, u16::from_le_bytes(*length));
            // The comma.
            take(&mut texts, 1);
            own == Some(role.as_bytes())
        })
    }

    /// Bytes on the heap.
    pub(crate) fn heap_size(&self) -> usize {
        if self.0.spilled() {
            self.0.capacity()
        } else {
            0
        }
    }

    fn has(&self, text: Text) -> bool {
        self.marks() & 1 << text as u16 != 0
    }

    fn optional(&self, text: Text) -> Option<&str> {
        self.has(text).then(|| self.text(text))
    }

    fn text(&self, text: Text) -> &str {
        str::from_utf8(self.bytes(text)).unwrap_or_default()
    }

    fn bytes(&self, text: Text) -> &[u8] {
        self.slice(text as usize)
    }

    /// The text of that number, from 1.
    fn slice(&self, index: usize) -> &[u8] {
        let place = self.end(index - 1)..self.end(index);
        self.texts().get(place).unwrap_or_default()
    }

    fn marks(&self) -> u16 {
        self.array(MARKS).map_or(0, u16::from_le_bytes)
    }

    fn end(&self, index: usize) -> usize {
        let end = self.array(ENDS + index * size_of::<u16>());
        end.map_or(0, u16::from_le_bytes).into()
    }

    /// The texts and all that follows.
    fn texts(&self) -> &[u8] {
        self.0.get(TEXTS..).unwrap_or_default()
    }

    fn behind_texts(&self) -> usize {
        TEXTS + self.end(COUNT - 1)
    }

    /// The lengths of the roles and of the elements of `aud`.
    fn lists(&self) -> (&[[u8; 2]], &[[u8; 2]]) {
        let start = self.behind_texts() + size_of_times(self.marks());
        let rest = self.0.get(start..).unwrap_or_default();
        let (numbers, _) = rest.as_chunks();
        let Some((count, lengths)) = numbers.split_first() else {
            return (&[], &[]);
        };
        lengths
            .split_at_checked(u16::from_le_bytes(*count).into())
            .unwrap_or_default()
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk().copied()
    }
}

/// Bytes of the times that are there.
fn size_of_times(marks: u16) -> usize {
    (marks & TIMES).count_ones() as usize * size_of::<f64>()
}

/// Cuts off the first bytes; `None` when there are fewer.
fn take<'a>(bytes: &mut &'a [u8], length: u16) -> Option<&'a [u8]> {
    bytes.split_off(..length.into())
}

/// Writes a record.
struct Writer {
    record: SmallVec<[u8; 512]>,
    marks: u16,
    ends: SmallVec<[u16; COUNT]>,
}

impl Writer {
    fn new() -> Writer {
        Writer {
            record: SmallVec::from_elem(0, TEXTS),
            marks: 0,
            ends: SmallVec::new(),
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.record.extend_from_slice(bytes);
    }

    fn extend_number(&mut self, number: u16) {
        self.extend(&number.to_le_bytes());
    }

    /// Ends a text.
    fn end(&mut self) {
        self.ends.push((self.record.len() - TEXTS) as u16);
    }

    fn push(&mut self, text: &str) {
        self.extend(text.as_bytes());
        self.end();
    }

    fn push_optional(&mut self, text: Option<&str>) {
        if text.is_some() {
            self.marks |= 1 << self.ends.len();
        }
        self.push(text.unwrap_or_default());
    }

    fn join(&mut self, texts: &[impl AsRef<str>], separator: &[u8]) {
        for (index, text) in texts.iter().enumerate() {
            if index > 0 {
                self.extend(separator);
            }
            self.extend(text.as_ref().as_bytes());
        }
        self.end();
    }

    /// Fills in what stands before the texts.
    fn finish(mut self, exp: f64, signed_by: Option<SignedBy>) -> TokenSession {
        let mut put = |at: usize, bytes: &[u8]| {
            self.record[at..at + bytes.len()].copy_from_slice(bytes);
        };
        if let Some(signed_by) = signed_by {
            put(0, &signed_by.to_record());
        }
        put(EXP, &exp.to_le_bytes());
        put(MARKS, &self.marks.to_le_bytes());
        for (index, end) in self.ends.iter().enumerate() {
            put(ENDS + index * size_of::<u16>(), &end.to_le_bytes());
        }
        self.record.shrink_to_fit();
        TokenSession(self.record)
    }
}

/// The text of a time as Go's `time.Time.Unix` has it: the fraction cut off. Claims hold times from 0 to
/// 2^53, so the conversion is exact.
fn whole_seconds(time: f64) -> String {
    (time as u64).to_string()
}
