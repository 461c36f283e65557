//! The signature of a JWT: checked before, for this client request or another, or checked now.

use std::rc::Rc;

use authgear_core::keys::freshness::Need;
use authgear_core::token::{verify, TokenDigest, UnprovenToken, UnverifiedToken, VerifiedToken};
use authgear_core::Reason;

use crate::keys::{KeySource, KeyStatus, Keys};
use crate::nginx::{now, Request};
use crate::prefetch::prefetch_lines;
use crate::request::attempt::{Judge, Reach};
use crate::request::outcome::{Provenance, Verified};
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

/// Prefetches the memory in which a bearer token is looked up some time later.
pub fn prefetch(r: &Request) {
    if let Some(value) = r.authorization() {
        worker::with_tokens(|cache| cache.prefetch(value, prefetch_lines));
    }
}

/// Finds a token among those that were verified before.
pub fn remembered(judge: &Judge<'_, '_>, token: &[u8]) -> Option<Remembered> {
    match judge.client.token(&judge.tenant.id, token) {
        Some(verdict) => verdict.ok(),
        None => look_up(judge, token).1,
    }
}

/// Checks a token's signature, at most once for each client request.
pub fn check(judge: &Judge<'_, '_>, token: &[u8], known: Option<Remembered>) -> Checked {
    if let Some(known) = known
        .map(Ok)
        .or_else(|| judge.client.token(&judge.tenant.id, token))
    {
        return match known {
            Ok((token, provenance)) => Checked::Token(token, provenance),
            Err(reason) => Checked::Refused(reason),
        };
    }
    let (digest, found) = look_up(judge, token);
    if let Some((token, provenance)) = found {
        return Checked::Token(token, provenance);
    }
    let verified = match verify_now(judge, token) {
        Ok(verified) => verified,
        Err(otherwise) => return otherwise,
    };
    if let (Ok(verified), Some(digest)) = (&verified, digest) {
        worker::with_tokens(|cache| cache.put(digest, Rc::clone(verified), judge.r.now()));
    }
    let verdict = verified.map(|verified| (Verified::new(verified, token), Provenance::Request));
    judge
        .client
        .add_token(judge.tenant.id, token, verdict.clone());
    match verdict {
        Ok((token, provenance)) => Checked::Token(token, provenance),
        Err(reason) => Checked::Refused(reason),
    }
}

/// Looks a token up in the worker's cache, and keeps it for the client request.
fn look_up(judge: &Judge<'_, '_>, token: &[u8]) -> (Option<TokenDigest>, Option<Remembered>) {
    let tenant = judge.tenant;
    let found = worker::with_tokens(|cache| cache.look_up(&tenant.id, token, prefetch_lines));
    let Some((digest, cached)) = found.flatten() else {
        return (None, None);
    };
    let cached = cached.filter(|cached| is_backed(judge, cached));
    let known = cached.map(|cached| (Verified::new(cached, token), Provenance::Cache));
    if let Some(known) = &known {
        judge.client.add_token(tenant.id, token, Ok(known.clone()));
    }
    (Some(digest), known)
}

/// Looks for the key that signed a token: it must still be in the set, and its algorithm allowed.
fn is_backed(judge: &Judge<'_, '_>, token: &Rc<VerifiedToken>) -> bool {
    let allowed = judge.project.algorithms;
    let is_backed = match &judge.tenant.keys {
        Keys::File(keys) => token.signed_by().is_backed_by(keys, allowed),
        Keys::Remote(remote) => match worker::is_backed(remote, token.signed_by(), allowed) {
            Some(is_backed) => is_backed,
            None => return false,
        },
    };
    if !is_backed {
        worker::with_tokens(|cache| cache.forget_key(token.signed_by().key_id()));
    }
    is_backed
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
    judge.r.debug("authgear: signature check");
    let remote = match &judge.tenant.keys {
        Keys::File(keys) => return Ok(verify(token, keys, allowed)),
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
    match verify(token, &keys, allowed) {
        Err(Reason::UnknownKey) if has_kid && judge.reach == Reach::Full => {
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
    if judge.reach != Reach::Full {
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
