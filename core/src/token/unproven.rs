//! A JWT whose signature cannot be checked here, since keys are missing.

use super::claims::Claimed;
use super::jose::UnverifiedToken;
use crate::policy::{judge_claims, Rules};
use crate::reason::Reason;
use crate::span::Texts;

/// The claims of a token that nobody has vouched for. Good only to decide whether it is worth while
/// to ask the resolver about it, which checks the signature itself.
#[derive(Debug)]
pub struct UnprovenToken {
    texts: Texts,
    claims: Claimed,
    typ: Option<String>,
}

impl UnprovenToken {
    /// Reads the claims as [`verify`](super::verify) does after the signature was checked.
    ///
    /// # Errors
    ///
    /// Those of [`verify`](super::verify) that concern the payload.
    pub fn read(token: UnverifiedToken<'_>) -> Result<UnprovenToken, Reason> {
        let typ = token.header.typ().map(String::from);
        let payload = String::from_utf8(token.payload).map_err(|_| Reason::Malformed)?;
        let mut texts = Texts::new(&payload);
        let claims = Claimed::parse(&mut texts)?;
        let more = texts.into_more();
        Ok(UnprovenToken {
            texts: Texts::with(payload.into_boxed_str(), more),
            claims,
            typ,
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
        let claims = self.claims.read(&self.texts);
        judge_claims(self.typ.as_deref(), claims, rules, issuer, audience, now)
    }

    /// Whether `aud` holds that text.
    pub fn is_meant_for(&self, audience: &str) -> bool {
        self.claims.read(&self.texts).aud().contains(audience)
    }

    /// `exp`, in Unix seconds.
    pub fn expiry(&self) -> f64 {
        self.claims.read(&self.texts).exp()
    }
}
