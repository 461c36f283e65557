//! The least that an RS256 token costs: aws-lc's verification with the parsed key kept.
//!
//!     rs256_floor JWKS TOKENS
//!
//! Takes the first key of the key set and a file of tokens, one a line, all signed by it. For each
//! line on standard input it verifies every token once and answers with a line. Whoever asks reads
//! this process's CPU time before and after.

use std::error::Error;
use std::io::{self, Write as _};

use aws_lc_rs::signature::{ParsedPublicKey, RsaPublicKeyComponents, RSA_PKCS1_2048_8192_SHA256};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine as _;
use serde_json::Value;

/// What was signed, and the signature.
type Signed = (String, Vec<u8>);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(jwks), Some(tokens)) = (arguments.next(), arguments.next()) else {
        return Err("usage: rs256_floor JWKS TOKENS".into());
    };
    let key = key(&std::fs::read_to_string(jwks)?)?;
    let tokens = std::fs::read_to_string(tokens)?;
    let tokens = tokens
        .lines()
        .map(take_apart)
        .collect::<Result<Vec<_>, _>>()?;

    for line in io::stdin().lines() {
        line?;
        for (signed, signature) in &tokens {
            key.verify_sig(signed.as_bytes(), signature)?;
        }
        let mut out = io::stdout();
        writeln!(out, "{}", tokens.len())?;
        out.flush()?;
    }
    Ok(())
}

fn key(jwks: &str) -> Result<ParsedPublicKey, Box<dyn Error>> {
    let jwks: Value = serde_json::from_str(jwks)?;
    let part = |name: &str| {
        let text = jwks["keys"][0][name].as_str().unwrap_or_default();
        URL_SAFE_NO_PAD.decode(text)
    };
    let (n, e) = (part("n")?, part("e")?);
    let components = RsaPublicKeyComponents { n, e };
    Ok(components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)?)
}

fn take_apart(token: &str) -> Result<Signed, Box<dyn Error>> {
    let (signed, signature) = token.rsplit_once('.').ok_or("not a token")?;
    Ok((signed.to_owned(), URL_SAFE_NO_PAD.decode(signature)?))
}
