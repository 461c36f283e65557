//! RSA's verification primitive, RSAVP1 (RFC 8017, section 5.2.2), by aws-lc's Montgomery
//! multiplication.
//!
//! aws-lc's own verification takes about an eighth longer: for each signature it looks at the key
//! again, and leaves Montgomery's form in a step of its own. Here the key is looked at once, and the
//! last multiplication leaves the form. What the result must look like is the caller's matter. All
//! numbers are public, so nothing need take the same time for each.
//!
//! It is a crate of its own so that the one that decides, `authgear-core`, forbids `unsafe`.

use std::fmt;
use std::ptr::{self, NonNull};

use aws_lc_sys::{
    BN_CTX_free, BN_CTX_new, BN_MONT_CTX_free, BN_MONT_CTX_new_for_modulus, BN_bin2bn,
    BN_bn2bin_padded, BN_free, BN_mod_mul_montgomery, BN_new, BN_to_montgomery,
    CRYPTO_library_init, BIGNUM, BN_CTX, BN_MONT_CTX,
};

/// An RSA public key, ready for signatures to be raised to its exponent.
pub struct PublicKey {
    /// Big-endian.
    modulus: Box<[u8]>,
    exponent: u32,
    montgomery: Montgomery,
}

impl PublicKey {
    /// The key of a modulus and an exponent, both big-endian.
    ///
    /// None when the modulus begins with a zero byte or is even, when the exponent is even, under 3
    /// or longer than 32 bits, or when memory is short. What is long enough is the caller's matter.
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Option<PublicKey> {
        if modulus.first().is_none_or(|&first| first == 0) || exponent.len() > 4 {
            return None;
        }
        let exponent = exponent
            .iter()
            .fold(0, |number, &byte| number << 8 | u32::from(byte));
        if exponent < 3 || exponent % 2 == 0 {
            return None;
        }
        Some(PublicKey {
            modulus: modulus.into(),
            exponent,
            montgomery: Montgomery::of_modulus(modulus)?,
        })
    }

    /// The length of the modulus in bytes; a signature is as long.
    pub fn size(&self) -> usize {
        self.modulus.len()
    }

    /// Puts in the place of a signature what was signed: the number, big-endian, to the power of
    /// the exponent modulo the modulus.
    ///
    /// False when the number is not as long as the modulus or not less than it, or when memory is
    /// short; the number is then as it was.
    #[must_use]
    pub fn raise(&self, number: &mut [u8]) -> bool {
        let is_in_range = number.len() == self.modulus.len() && *number < *self.modulus;
        is_in_range
            && self
                .power(number)
                .is_some_and(|power| power.write_to(number))
    }

    /// Of a number less than the modulus.
    fn power(&self, base: &[u8]) -> Option<Number> {
        let base = Number::of_bytes(base)?;
        let mut power = Power::of(&base, &self.montgomery)?;
        for bit in (0..self.exponent.ilog2()).rev() {
            power.square()?;
            if self.exponent >> bit & 1 == 1 {
                // The base is not in Montgomery's form, so the product is not either. That is what
                // the last bit is for, which is always set.
                power.multiply(&base)?;
                if bit > 0 {
                    power.enter()?;
                }
            }
        }
        Some(power.value)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("modulus", &self.modulus)
            .field("exponent", &self.exponent)
            .finish_non_exhaustive()
    }
}

/// A number less than a modulus on its way to a power, in Montgomery's form unless said otherwise.
struct Power<'key> {
    value: Number,
    montgomery: &'key Montgomery,
    scratch: Scratch,
}

impl Power<'_> {
    /// The first power of a number less than the modulus.
    fn of<'key>(base: &Number, montgomery: &'key Montgomery) -> Option<Power<'key>> {
        let mut power = Power {
            value: Number::new()?,
            montgomery,
            scratch: Scratch::new()?,
        };
        power.set_montgomery_form_of(base.0)?;
        Some(power)
    }

    fn square(&mut self) -> Option<()> {
        self.multiply_by(self.value.0)
    }

    /// By a number less than the modulus; if that is not in Montgomery's form, neither is the
    /// product.
    fn multiply(&mut self, factor: &Number) -> Option<()> {
        self.multiply_by(factor.0)
    }

    /// Back into Montgomery's form.
    fn enter(&mut self) -> Option<()> {
        self.set_montgomery_form_of(self.value.0)
    }

    fn multiply_by(&mut self, factor: NonNull<BIGNUM>) -> Option<()> {
        let value = self.value.0.as_ptr();
        // SAFETY: all of them are alive, as `self` and the caller's number own them, and `self` is
        // borrowed for change. Both factors are less than the modulus. The product may stand where
        // a factor does: aws-lc's own exponentiation calls it so.
        let done = unsafe {
            BN_mod_mul_montgomery(
                value,
                value,
                factor.as_ptr(),
                self.montgomery.0.as_ptr(),
                self.scratch.0.as_ptr(),
            )
        };
        (done == 1).then_some(())
    }

    fn set_montgomery_form_of(&mut self, number: NonNull<BIGNUM>) -> Option<()> {
        // SAFETY: as in `multiply_by`, by which aws-lc does this.
        let done = unsafe {
            BN_to_montgomery(
                self.value.0.as_ptr(),
                number.as_ptr(),
                self.montgomery.0.as_ptr(),
                self.scratch.0.as_ptr(),
            )
        };
        (done == 1).then_some(())
    }
}

/// A number that is not negative.
struct Number(NonNull<BIGNUM>);

impl Number {
    /// Zero.
    fn new() -> Option<Number> {
        // SAFETY: asks for nothing.
        NonNull::new(unsafe { BN_new() }).map(Number)
    }

    /// Of big-endian bytes.
    fn of_bytes(bytes: &[u8]) -> Option<Number> {
        // SAFETY: reads so many bytes; without a number to write to, it makes one.
        let number = unsafe { BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) };
        NonNull::new(number).map(Number)
    }

    /// As big-endian bytes with zeros before them; false when there is not enough room.
    fn write_to(&self, bytes: &mut [u8]) -> bool {
        // SAFETY: writes exactly so many bytes, or none.
        unsafe { BN_bn2bin_padded(bytes.as_mut_ptr(), bytes.len(), self.0.as_ptr()) == 1 }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: made by aws-lc, owned by this alone.
        unsafe { BN_free(self.0.as_ptr()) }
    }
}

/// What Montgomery's multiplication needs of a modulus.
struct Montgomery(NonNull<BN_MONT_CTX>);

// SAFETY: it lies on the heap and belongs to no thread.
unsafe impl Send for Montgomery {}
// SAFETY: once made it is only read; aws-lc takes it as `const` and changes nothing behind that.
unsafe impl Sync for Montgomery {}

impl Montgomery {
    /// None when the modulus is even.
    fn of_modulus(modulus: &[u8]) -> Option<Montgomery> {
        // SAFETY: asks for nothing, and may be called again.
        unsafe { CRYPTO_library_init() };
        let (modulus, scratch) = (Number::of_bytes(modulus)?, Scratch::new()?);
        // SAFETY: both are alive; the modulus is copied.
        let montgomery =
            unsafe { BN_MONT_CTX_new_for_modulus(modulus.0.as_ptr(), scratch.0.as_ptr()) };
        NonNull::new(montgomery).map(Montgomery)
    }
}

impl Drop for Montgomery {
    fn drop(&mut self) {
        // SAFETY: made by aws-lc, owned by this alone.
        unsafe { BN_MONT_CTX_free(self.0.as_ptr()) }
    }
}

/// Where aws-lc keeps what lies between.
struct Scratch(NonNull<BN_CTX>);

impl Scratch {
    fn new() -> Option<Scratch> {
        // SAFETY: asks for nothing.
        NonNull::new(unsafe { BN_CTX_new() }).map(Scratch)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: made by aws-lc, owned by this alone.
        unsafe { BN_CTX_free(self.0.as_ptr()) }
    }
}
