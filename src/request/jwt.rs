//! The signature of a JWT: checked before, for this client request or another, or checked now.

use std::rc::Rc;

use authgear_core::digest::Digest;
use authgear_core::keys::freshness::Need;
use authgear_core::keys::KeySet;
use authgear_core::status::Count;
use authgear_core::token::{
    read_again, verify, SignedBy, TokenCache, UnprovenToken, UnverifiedToken, VerifiedToken,
};
use authgear_core::Reason;
use authgear_tables::judgements::{Key, Text, Token};

use crate::keys::{KeySource, KeyStatus, Keys};
use crate::nginx::now;
use crate::request::attempt::{Judge, Reach};
use crate::request::outcome::{Provenance, Verified};
use crate::request::question::expiry;
use crate::shm::Id;
use crate::worker;

/// The result of a signature check.
pub enum Checked {
    /// The signature is good.
    Token(Verified, Provenance),
    /// It is bad, or the token is malformed.
    Refused(Reason),
    /// Keys of that source are being fetched.
    WaitForKeys(Id),
    /// No keys can be had for so many seconds.
    Unavailable(u64),
}

/// A token that was verified before, with keys that still count.
pub type Remembered = (Verified, Provenance);

/// A token's judgement, if there is one already.
pub enum LookedUp {
    /// It was judged for this client request, or verified for another.
    Judged(Result<Remembered, Reason>),
    /// Nothing. The place under which it may be kept, if it can be a token.
    New(Option<Entry>),
}

impl LookedUp {
    /// True for a token that was verified.
    pub fn is_verified(&self) -> bool {
        matches!(self, Self::Judged(Ok(_)))
    }
}

/// Checks a token's signature, at most once for each client request.
pub fn check(judge: &Judge<'_, '_>, token: &[u8], known: LookedUp) -> Checked {
    let entry = match known {
        LookedUp::Judged(verdict) => return checked(verdict),
        LookedUp::New(entry) => entry,
    };
    let verified = match verify_now(judge, token) {
        Ok(verified) => verified,
        Err(otherwise) => return otherwise,
    };
    if let (Ok(verified), Some(entry)) = (&verified, &entry) {
        keep(judge, entry, verified);
    }
    let key = entry.map(|entry| entry.key);
    let verdict = verified.map(|verified| {
        let verified = Verified::new(judge.r, verified, key, token);
        (verified, Provenance::Request)
    });
    judge
        .client
        .add_token(judge.tenant.id, token, verdict.clone());
    checked(verdict)
}

fn checked(verdict: Result<Remembered, Reason>) -> Checked {
    match verdict {
        Ok((token, provenance)) => Checked::Token(token, provenance),
        Err(reason) => Checked::Refused(reason),
    }
}

/// A token's place among those that were verified.
pub struct Entry {
    key: Key,
    /// The digest of all of the token.
    digest: Digest,
}

/// Looks a token up among those that were judged for this client request, and among those that were
/// verified for others.
pub fn look_up(judge: &Judge<'_, '_>, token: &[u8]) -> LookedUp {
    let tenant = judge.tenant.id;
    if let Some(verdict) = judge.client.token(&tenant, token) {
        return LookedUp::Judged(verdict);
    }
    let Some(digests) = worker::token_digests(&tenant, token) else {
        return LookedUp::New(None);
    };
    let entry = Entry {
        key: Key {
            tenant,
            digest: digests.signed,
        },
        digest: digests.whole,
    };
    let Some(found) = own(judge, &entry).or_else(|| shared(judge, &entry, token)) else {
        return LookedUp::New(Some(entry));
    };
    let verified = Verified::new(judge.r, found, Some(entry.key), token);
    let known = Ok((verified, Provenance::Cache));
    judge.client.add_token(tenant, token, known.clone());
    LookedUp::Judged(known)
}

/// Finds a token among those that this worker keeps.
fn own(judge: &Judge<'_, '_>, entry: &Entry) -> Option<Rc<VerifiedToken>> {
    let find = |cache: &mut TokenCache| cache.get(&entry.key.tenant, &entry.digest);
    let found = worker::with_tokens(find).flatten()?;
    if is_backed(judge, found.signed_by()) {
        return Some(found);
    }
    worker::with_tokens(|cache| cache.forget(&entry.key.tenant, &entry.digest));
    None
}

/// Finds a token in the table that all workers share. A large one is read again, but for its signature.
fn shared(judge: &Judge<'_, '_>, entry: &Entry, token: &[u8]) -> Option<Rc<VerifiedToken>> {
    let mut record = Text::new();
    let known = worker::judgement(&entry.key, Some(&mut record)).token;
    let known = known.filter(|known| known.digest == entry.digest)?;
    let signed_by = SignedBy::from_record(record.bytes())?;
    if !is_backed(judge, &signed_by) {
        return None;
    }
    let found = if known.is_whole {
        Rc::new(VerifiedToken::from_record(record.bytes())?)
    } else {
        read_again(UnverifiedToken::parse(token).ok()?, signed_by).ok()?
    };
    worker::with_tokens(|cache| {
        let (tenant, digest) = (entry.key.tenant, entry.digest);
        cache.put(tenant, digest, Rc::clone(&found), judge.r.now());
    });
    Some(found)
}

/// Keeps a token for this worker and for all, until it has expired.
fn keep(judge: &Judge<'_, '_>, entry: &Entry, verified: &Rc<VerifiedToken>) {
    let leeway = judge.project.rules.leeway;
    // Written so that NaN keeps nothing.
    let is_alive = judge.r.now() < verified.exp() + leeway;
    if !is_alive {
        return;
    }
    let token = Token {
        digest: entry.digest,
        record: verified.record(),
        prefix: SignedBy::SIZE,
        expires_at: expiry(judge.r, verified.exp(), leeway),
    };
    worker::change_judgements(|writer, now| writer.store_token(&entry.key, &token, now));
    worker::with_tokens(|cache| {
        let (tenant, digest) = (entry.key.tenant, entry.digest);
        cache.put(tenant, digest, Rc::clone(verified), judge.r.now());
    });
}

/// Tells whether the key that signed a token is still in the set, and its algorithm allowed.
fn is_backed(judge: &Judge<'_, '_>, by: &SignedBy) -> bool {
    let allowed = judge.project.algorithms;
    match &judge.tenant.keys {
        Keys::File(keys) => by.is_backed_by(keys, allowed),
        Keys::Remote(remote) => worker::is_backed(remote, by, allowed).unwrap_or(false),
    }
}

/// Verifies a token with the tenant's keys; `Err` is a result that may change when keys come.
fn verify_now(
    judge: &Judge<'_, '_>,
    token: &[u8],
) -> Result<Result<Rc<VerifiedToken>, Reason>, Checked> {
    let allowed = judge.project.algorithms;
    let token = match UnverifiedToken::parse(token) {
        Ok(token) => token,
        Err(reason) => return Ok(Err(reason)),
    };
    if !allowed.contains(token.algorithm()) {
        return Ok(Err(Reason::UnsupportedAlgorithm));
    }
    let verify = |token, keys: &KeySet| {
        judge.r.debug("authgear: signature check");
        let verified = verify(token, keys, allowed);
        if !matches!(verified, Err(Reason::UnknownKey)) {
            worker::count(judge.project, Count::SignatureCheck);
        }
        verified
    };
    let remote = match &judge.tenant.keys {
        Keys::File(keys) => return Ok(verify(token, keys)),
        Keys::Remote(remote) => remote,
    };
    let keys = match worker::ask(remote, Need::Keys) {
        KeyStatus::Keys(keys) => keys,
        KeyStatus::Wait => return Err(Checked::WaitForKeys(remote.id)),
        KeyStatus::Queue => return Err(queue(judge, remote)),
        KeyStatus::Unavailable(seconds) => return Err(Checked::Unavailable(seconds)),
        KeyStatus::Unknown => return Err(Checked::Refused(Reason::UnknownKey)),
    };
    let has_kid = token.kid().is_some();
    match verify(token, &keys) {
        Err(Reason::UnknownKey) if has_kid && judge.reach != Reach::AtHand => {
            // Authgear may have rotated its keys since the last fetch.
            Err(match worker::ask(remote, Need::NewKey) {
                KeyStatus::Wait => Checked::WaitForKeys(remote.id),
                KeyStatus::Queue => queue(judge, remote),
                KeyStatus::Unavailable(seconds) => Checked::Unavailable(seconds),
                KeyStatus::Keys(_) | KeyStatus::Unknown => Checked::Refused(Reason::UnknownKey),
            })
        }
        Err(Reason::UnknownKey) => Err(Checked::Refused(Reason::UnknownKey)),
        verified => Ok(verified),
    }
}

/// The keys are to be fetched, but so are those of many others: the request waits for its turn, for as
/// long as the fetch may take, counted from when it first had to wait.
fn queue(judge: &Judge<'_, '_>, source: &KeySource) -> Checked {
    if judge.reach == Reach::AtHand {
        return Checked::Unavailable(1);
    }
    let (now, queued_until) = (now(), &judge.context.queued_until);
    let timeout = source.from.timeout.as_millis() as u64;
    let until = queued_until
        .get()
        .unwrap_or_else(|| now.saturating_add(timeout));
    queued_until.set(Some(until));
    if now < until {
        Checked::WaitForKeys(source.id)
    } else {
        Checked::Unavailable(1)
    }
}

/// The claims of a token whose keys are missing.
pub fn unproven(token: &[u8]) -> Result<UnprovenToken, Reason> {
    UnprovenToken::read(UnverifiedToken::parse(token)?)
}
