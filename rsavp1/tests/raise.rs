//! Signatures raised to the exponent, beside another library's arithmetic.

use std::thread;

use authgear_rsavp1::PublicKey;
use num_bigint::BigUint;

/// Of Fermat's form, with bits between the first and the last, and the least and the greatest.
const EXPONENTS: [u32; 9] = [3, 5, 7, 17, 35, 257, 65_537, 0x1234_5679, u32::MAX];

/// In bits: a whole number of words, of bytes, and neither.
const SIZES: [usize; 9] = [64, 136, 520, 1031, 2048, 2049, 3072, 4096, 8192];

/// Bytes that look random and are the same each time (xorshift64).
struct Bytes(u64);

impl Bytes {
    fn take(&mut self, length: usize) -> Vec<u8> {
        let mut next = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 32) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// An odd number of exactly so many bits.
    fn modulus(&mut self, bits: usize) -> BigUint {
        let mut number = BigUint::from_bytes_be(&self.take(bits.div_ceil(8) + 1)) % (one() << bits);
        number.set_bit(bits as u64 - 1, true);
        number.set_bit(0, true);
        number
    }
}

fn one() -> BigUint {
    BigUint::from(1u8)
}

/// As long as the modulus.
fn padded(number: &BigUint, modulus: &BigUint) -> Vec<u8> {
    let (bytes, size) = (number.to_bytes_be(), modulus.to_bytes_be().len());
    [vec![0; size - bytes.len()], bytes].concat()
}

fn key(modulus: &BigUint, exponent: u32) -> PublicKey {
    PublicKey::new(&modulus.to_bytes_be(), &exponent.to_be_bytes()).unwrap()
}

#[test]
fn a_number_becomes_its_power_modulo_the_modulus() {
    let mut bytes = Bytes(0x9e37_79b9_7f4a_7c15);
    for bits in SIZES {
        let modulus = bytes.modulus(bits);
        let random = BigUint::from_bytes_be(&bytes.take(bits.div_ceil(8) + 8)) % &modulus;
        let numbers = [
            BigUint::from(0u8),
            one(),
            BigUint::from(2u8),
            &random >> (bits / 2),
            random,
            &modulus >> 1,
            &modulus - one(),
        ];
        for exponent in EXPONENTS {
            let key = key(&modulus, exponent);
            for number in &numbers {
                let mut power = padded(number, &modulus);
                assert!(key.raise(&mut power), "{number} of {bits} bits");
                let expected = number.modpow(&exponent.into(), &modulus);
                assert_eq!(
                    power,
                    padded(&expected, &modulus),
                    "{number} to the power of {exponent} modulo {modulus}"
                );
            }
        }
    }
}

#[test]
fn a_number_that_is_not_less_than_the_modulus_is_refused() {
    let modulus = Bytes(1).modulus(2047);
    let key = key(&modulus, 65_537);
    let beyond = [
        modulus.clone(),
        &modulus + one(),
        (one() << 2048) - one(),
        // The same as 1 to whoever does not look.
        &modulus + one() + one(),
    ];
    for number in beyond {
        let bytes = padded(&number, &modulus);
        let mut raised = bytes.clone();
        assert!(!key.raise(&mut raised), "{number}");
        assert_eq!(raised, bytes);
    }
}

#[test]
fn a_number_that_is_shorter_or_longer_than_the_modulus_is_refused() {
    let key = key(&Bytes(2).modulus(2048), 65_537);
    assert_eq!(key.size(), 256);
    for length in [0, 1, 255, 257, 512] {
        assert!(!key.raise(&mut vec![1; length]), "{length}");
        let mut with_zeros = vec![0; length];
        assert!(!key.raise(&mut with_zeros), "{length}");
    }
}

#[test]
fn threads_may_share_a_key() {
    let modulus = Bytes(4).modulus(2048);
    let key = key(&modulus, 65_537);
    thread::scope(|scope| {
        for number in 2u8..6 {
            let (key, modulus) = (&key, &modulus);
            scope.spawn(move || {
                let number = BigUint::from(number);
                let expected = padded(&number.modpow(&65_537u32.into(), modulus), modulus);
                for _ in 0..200 {
                    let mut power = padded(&number, modulus);
                    assert!(key.raise(&mut power));
                    assert_eq!(power, expected);
                }
            });
        }
    });
}

#[test]
fn what_is_no_key_is_refused() {
    let modulus = Bytes(3).modulus(2048).to_bytes_be();
    let even = [&modulus[..255], &[modulus[255] & 0xfe]].concat();
    let with_a_zero = [&[0], &modulus[..]].concat();
    for modulus in [&even[..], &with_a_zero, &[], &[0]] {
        assert!(PublicKey::new(modulus, &[1, 0, 1]).is_none(), "{modulus:?}");
    }
    let exponents: [&[u8]; 6] = [&[], &[0], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]];
    for exponent in exponents {
        assert!(PublicKey::new(&modulus, exponent).is_none(), "{exponent:?}");
    }
    assert!(PublicKey::new(&modulus, &[0, 1, 0, 1]).is_some());
}

#[test]
fn it_shows_what_is_public() {
    let shown = format!("{:?}", key(&BigUint::from(0x0101u16), 3));
    assert_eq!(shown, "PublicKey { modulus: [1, 1], exponent: 3, .. }");
}
