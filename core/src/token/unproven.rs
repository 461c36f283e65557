//! A JWT whose signature cannot be checked here, since keys are missing.

use super::claims::Claims;
use super::jose::UnverifiedToken;
use crate::json::Object;
use crate::policy::{judge_claims, Rules};
use crate::reason::Reason;
use crate::session::TokenSession;

/// The claims of a token whose signature was not checked. They only help to decide whether the resolver,
/// which checks the signature itself, is worth asking.
#[derive(Debug)]
pub struct UnprovenToken {
    claims: TokenSession,
}

impl UnprovenToken {
    /// Reads the claims as [`verify`](super::verify) does after the signature was checked.
    ///
    /// # Errors
    ///
    /// Those of [`verify`](super::verify) that concern the `kid` and the payload.
    pub fn read(token: UnverifiedToken<'_>) -> Result<UnprovenToken, Reason> {
        token.header.check_texts()?;
        let payload = Object::parse_strict(&token.payload)?;
        Ok(UnprovenToken {
            claims: TokenSession::new(&Claims::read(&payload)?, &token.header),
        })
    }

    /// Applies the rules that need no key; see [`policy::judge`](crate::policy::judge).
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn judge(
        &self,
        rules: &Rules,
        issuer: &str,
        audience: &[impl AsRef<str>],
        now: f64,
    ) -> Result<(), Reason> {
        judge_claims(&self.claims, rules, issuer, audience, now)
    }

    /// Tells whether `aud` holds that text.
    pub fn is_meant_for(&self, audience: &str) -> bool {
        self.claims.is_meant_for(audience)
    }

    /// `exp`, in Unix seconds.
    pub fn expiry(&self) -> f64 {
        self.claims.exp
    }
}
