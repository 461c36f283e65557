//! A JWT whose signature cannot be checked here, since keys are missing.

use super::jose::UnverifiedToken;
use super::verify::claims_of;
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
    /// Those of [`verify`](super::verify) that concern the payload.
    pub fn read(token: UnverifiedToken<'_>) -> Result<UnprovenToken, Reason> {
        let claims = claims_of(&token, None)?;
        Ok(UnprovenToken { claims })
    }

    /// Applies the rules that need no key; see [`policy::judge`](crate::policy::judge).
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn judge(
        &self,
        rules: &Rules,
        issuers: &[impl AsRef<str>],
        audience: &[impl AsRef<str>],
        now: f64,
    ) -> Result<(), Reason> {
        judge_claims(&self.claims, rules, issuers, audience, now)
    }

    /// Tells whether `aud` holds that text.
    pub fn is_meant_for(&self, audience: &str) -> bool {
        self.claims.is_meant_for(audience)
    }

    /// `exp`, in Unix seconds.
    pub fn expiry(&self) -> f64 {
        self.claims.exp()
    }
}
