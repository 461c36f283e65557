//! RSA's verification primitive, RSAVP1 (RFC 8017, section 5.2.2), by aws-lc's Montgomery
//! multiplication.
//!
//! aws-lc's own verification takes about an eighth longer: for each signature it looks at the key
//! again, makes room for numbers, and leaves Montgomery's form in a step of its own. Here the first
//! two are done once for a key, and the last multiplication leaves the form. What the result must
//! look like is the caller's matter. All numbers are public, so nothing need take the same time for
//! each.
//!
//! It is a crate of its own so that the one that decides, `authgear-core`, forbids `unsafe`.

use std::fmt;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

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
    /// Threads that share a key take turns; a worker of nginx is alone with it.
    arithmetic: Mutex<Arithmetic>,
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
            arithmetic: Mutex::new(Arithmetic::of_modulus(modulus)?),
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
        if number.len() != self.modulus.len() || *number >= *self.modulus {
            return false;
        }
        // Whatever a panic left there is written over.
        let mut arithmetic = self
            .arithmetic
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        arithmetic.raise(number, self.exponent).is_some()
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

/// What a modulus needs, and room for the numbers of one signature.
struct Arithmetic {
    montgomery: Montgomery,
    scratch: Scratch,
    base: Number,
    power: Number,
}

// SAFETY: what aws-lc makes lies on the heap and belongs to no thread.
unsafe impl Send for Arithmetic {}

/// One of the two numbers.
#[derive(Clone, Copy)]
enum Operand {
    Base,
    Power,
}

impl Arithmetic {
    /// None when the modulus is even.
    fn of_modulus(modulus: &[u8]) -> Option<Arithmetic> {
        // SAFETY: asks for nothing, and may be called again.
        unsafe { CRYPTO_library_init() };
        let (mut base, scratch) = (Number::new()?, Scratch::new()?);
        base.read(modulus)?;
        Some(Arithmetic {
            montgomery: Montgomery::of_modulus(&base, &scratch)?,
            scratch,
            base,
            power: Number::new()?,
        })
    }

    /// For a number less than the modulus and an odd exponent.
    fn raise(&mut self, number: &mut [u8], exponent: u32) -> Option<()> {
        self.base.read(number)?;
        self.enter(Operand::Base)?;
        for bit in (0..exponent.ilog2()).rev() {
            self.multiply_by(Operand::Power)?;
            if exponent >> bit & 1 == 1 {
                // The base is not in Montgomery's form, so the product is not either. That is what
                // the last bit is for, which is always set.
                self.multiply_by(Operand::Base)?;
                if bit > 0 {
                    self.enter(Operand::Power)?;
                }
            }
        }
        self.power.write(number)
    }

    /// Multiplies the power. If one of the factors is not in Montgomery's form, neither is the
    /// product.
    fn multiply_by(&mut self, factor: Operand) -> Option<()> {
        let power = self.power.0.as_ptr();
        // SAFETY: `self`, which is borrowed for change, owns them all. Both factors are less than
        // the modulus. The product may stand where a factor does: aws-lc's own exponentiation calls
        // it so.
        let done = unsafe {
            BN_mod_mul_montgomery(
                power,
                power,
                self.pointer(factor),
                self.montgomery.0.as_ptr(),
                self.scratch.0.as_ptr(),
            )
        };
        (done == 1).then_some(())
    }

    /// Makes the power Montgomery's form of a number.
    fn enter(&mut self, number: Operand) -> Option<()> {
        // SAFETY: as in `multiply_by`: aws-lc multiplies by a number of its own.
        let done = unsafe {
            BN_to_montgomery(
                self.power.0.as_ptr(),
                self.pointer(number),
                self.montgomery.0.as_ptr(),
                self.scratch.0.as_ptr(),
            )
        };
        (done == 1).then_some(())
    }

    fn pointer(&self, operand: Operand) -> *const BIGNUM {
        match operand {
            Operand::Base => self.base.0.as_ptr(),
            Operand::Power => self.power.0.as_ptr(),
        }
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

    /// Takes big-endian bytes.
    fn read(&mut self, bytes: &[u8]) -> Option<()> {
        // SAFETY: reads so many bytes, and writes to a number of ours.
        let number = unsafe { BN_bin2bn(bytes.as_ptr(), bytes.len(), self.0.as_ptr()) };
        (!number.is_null()).then_some(())
    }

    /// Gives big-endian bytes with zeros before them. None when there is not enough room.
    fn write(&self, bytes: &mut [u8]) -> Option<()> {
        // SAFETY: writes exactly so many bytes, or none.
        let done = unsafe { BN_bn2bin_padded(bytes.as_mut_ptr(), bytes.len(), self.0.as_ptr()) };
        (done == 1).then_some(())
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

impl Montgomery {
    /// None when the modulus is even.
    fn of_modulus(modulus: &Number, scratch: &Scratch) -> Option<Montgomery> {
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
