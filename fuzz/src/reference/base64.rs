//! base64url without padding (RFC 4648, section 5).

/// The bytes; `None` for another alphabet, padding, a length that no encoder makes, or trailing bits that are
/// not zero.
pub fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bits = Vec::with_capacity(text.len() * 6);
    for symbol in text {
        let value = ALPHABET.iter().position(|own| own == symbol)?;
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    let whole = bits.len() / 8 * 8;
    if bits.len() - whole == 6 || bits[whole..].contains(&1) {
        return None;
    }
    let byte = |eight: &[usize]| eight.iter().fold(0, |byte, bit| byte << 1 | *bit as u8);
    Some(bits[..whole].chunks(8).map(byte).collect())
}
