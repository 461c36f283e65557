//! The record of a verified token: all that a request needs, in few bytes, and no harm in any other bytes.

mod support;

use std::rc::Rc;

use authgear_core::keys::KeySet;
use authgear_core::policy::{judge, Rules};
use authgear_core::session::Field;
use authgear_core::token::{read_again, SignedBy, UnverifiedToken, VerifiedToken};
use authgear_core::{Algorithm, Reason};
use support::{all_algorithms, verified, Signer};

const ORIGIN: &str = "https://myapp-staging.authgear.cloud";
const KID: &str = "0f2c9b1e-53d4-4c57-8a16-7a1c2f0c9d11";
const USER: &str = "7e37c8a2-0b7e-4d0f-9d42-1a1f5c3a1b11";
const AUDIENCES: [&str; 5] = ["", ORIGIN, "https://a.example", "https://b.example", "x"];
const ROLES: [&str; 5] = ["store_manager", "a,b", "a", "", "é"];
const NOW: f64 = 1_900_000_000.0;

/// The payload of a user's token as Authgear issues it, with more or other claims behind.
fn payload(more: &str) -> String {
    format!(
        r#"{{"iss":"{ORIGIN}","aud":["{ORIGIN}"],"iat":1900000000,"exp":1900001800,"sub":"{USER}","client_id":"0123456789abcdef","scope":"openid offline_access https://authgear.com/scopes/full-userinfo","jti":"{:0>64}","auth_time":1899999000,"amr":["pwd"],"https://authgear.com/claims/user/is_anonymous":false,"https://authgear.com/claims/user/is_verified":true,"https://authgear.com/claims/user/can_reauthenticate":true,"https://authgear.com/claims/user/roles":["store_manager"]{more}}}"#,
        7
    )
}

/// Tokens that differ in all that a record may or may not hold.
fn payloads() -> Vec<String> {
    vec![
        payload(""),
        payload(r#","nbf":1899999999.5"#),
        payload("").replace(r#"["store_manager"]"#, r#"["a,b","","é"]"#),
        payload("").replace(r#"["store_manager"]"#, r#"[""]"#),
        payload("").replace(
            &format!(r#""aud":["{ORIGIN}"]"#),
            &format!(r#""aud":["https://a.example","{ORIGIN}","","https://b.example"]"#),
        ),
        payload("").replace(USER, "client_id_0123456789abcdef"),
        payload("").replace("full-userinfo", &"x".repeat(9000)),
        r#"{"exp":1e9,"sub":"u"}"#.into(),
        r#"{"exp":0.5,"sub":"client_id_","aud":"","client_id":"","scope":"","jti":"","iss":""}"#
            .into(),
    ]
}

struct Issuer {
    signer: Signer,
    keys: KeySet,
}

impl Issuer {
    fn new(algorithm: Algorithm) -> Issuer {
        let signer = Signer::new(algorithm);
        let keys = support::key_set(&[signer.jwk(KID)]);
        Issuer { signer, keys }
    }

    fn token(&self, payload: &str) -> (String, Rc<VerifiedToken>) {
        let text = self.signer.token(KID, payload);
        let token = verified(&text, &self.keys).unwrap();
        (text, token)
    }
}

/// All that can be asked of a token, its text left aside.
fn all_of(token: &VerifiedToken) -> String {
    let session = token.session();
    let texts = Field::ALL.map(|field| session.get(field));
    let own = [
        session.client_id(),
        session.scope(),
        session.token_id(),
        session.kid(),
        session.token_exp(),
        session.token_type(),
        token.typ(),
        Some(token.sub()),
    ];
    let aud = AUDIENCES.map(|audience| token.is_meant_for(audience));
    let roles = ROLES.map(|role| session.has_role(role));
    let verdicts = ["", ORIGIN].map(|issuer| {
        [NOW - 1.0, NOW, 0.0].map(|now| judge(token, &Rules::default(), &[issuer], &AUDIENCES, now))
    });
    let by = token.signed_by();
    let (exp, is_client) = (token.exp(), token.is_client());
    format!("{texts:?} {own:?} {aud:?} {roles:?} {verdicts:?} {by:?} {exp} {is_client}")
}

#[test]
fn a_record_says_all_that_the_token_says() {
    for algorithm in [Algorithm::EdDsa, Algorithm::Rs256] {
        let issuer = Issuer::new(algorithm);
        for payload in payloads() {
            let (text, token) = issuer.token(&payload);
            let again = VerifiedToken::from_record(token.record()).unwrap();
            assert_eq!(all_of(&again), all_of(&token), "{payload}");
            assert_eq!(again.record(), token.record(), "{payload}");
            let by = SignedBy::from_record(&token.record()[..SignedBy::SIZE]).unwrap();
            assert_eq!(by, *token.signed_by());
            assert!(by.is_backed_by(&issuer.keys, all_algorithms()));
            // Claims that no record holds come from the token's text.
            let sent = text.as_bytes();
            assert_eq!(again.claims_json(sent).as_ref(), Some(&payload));
            assert_eq!(
                again.claim_text(sent, "iat"),
                token.claim_text(sent, "iat"),
                "{payload}"
            );
        }
    }
}

#[test]
fn texts_stand_apart() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let all = payloads();
    let of = |index: usize| {
        let (_, token) = issuer.token(&all[index]);
        VerifiedToken::from_record(token.record()).unwrap()
    };
    let user = of(0);
    assert_eq!(user.sub(), USER);
    assert_eq!(user.session().get(Field::UserId), Some(USER));
    assert_eq!(user.session().kid(), Some(KID));
    assert!(user.is_meant_for(ORIGIN) && !user.is_meant_for("") && !user.is_client());
    let roles = of(2);
    let roles = roles.session();
    assert_eq!(roles.get(Field::UserRoles), Some("a,b,,é"));
    for (role, has) in [
        ("a,b", true),
        ("", true),
        ("é", true),
        ("a", false),
        ("b", false),
    ] {
        assert_eq!(roles.has_role(role), has, "{role}");
    }
    let many = of(4);
    for audience in ["https://a.example", ORIGIN, "", "https://b.example"] {
        assert!(many.is_meant_for(audience), "{audience}");
    }
    assert!(!many.is_meant_for("https://a.examplehttps://b.example"));
    let client = of(5);
    assert_eq!(client.sub(), "client_id_0123456789abcdef");
    assert_eq!(client.session().get(Field::UserId), None);
    assert!(client.is_client() && !client.session().has_role("store_manager"));
    let long = of(6);
    assert!(long.session().scope().unwrap().ends_with(&"x".repeat(9000)));
    assert_eq!(
        long.session().get(Field::SessionAuthenticatedAt),
        Some("1899999000")
    );
    let early = of(1);
    let verdict = |now| judge(&early, &Rules::default(), &[ORIGIN], &[ORIGIN], now);
    assert_eq!(verdict(NOW - 1.0), Err(Reason::NotYetValid));
    assert_eq!(verdict(NOW), Ok(()));
}

#[test]
fn a_record_of_authgears_token_is_small() {
    let issuer = Issuer::new(Algorithm::Rs256);
    let (_, token) = issuer.token(&payload(""));
    let length = token.record().len();
    assert!(length <= 430, "{length}");
}

#[test]
fn a_token_of_many_elements_fits() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let empty = |number: usize| vec![r#""""#; number].join(",");
    let many = payload("")
        .replace(&format!(r#"["{ORIGIN}"]"#), &format!("[{}]", empty(1800)))
        .replace(r#"["store_manager"]"#, &format!("[{}]", empty(1800)));
    let (text, token) = issuer.token(&many);
    assert!(text.len() > 15_000 && token.record().len() < text.len());
    let again = VerifiedToken::from_record(token.record()).unwrap();
    assert!(again.is_meant_for("") && again.session().has_role(""));
    let commas = ",".repeat(1799);
    assert_eq!(again.session().get(Field::UserRoles), Some(&*commas));
    assert_eq!(again.session().scope(), token.session().scope());
}

#[test]
fn a_token_is_read_again_without_its_signature() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let (text, token) = issuer.token(&payload(""));
    let by = *token.signed_by();
    let read = |text: &str| read_again(UnverifiedToken::parse(text.as_bytes())?, by);
    assert_eq!(read(&text).unwrap().record(), token.record());
    for (payload, reason) in [
        (r#"{"exp":"1","sub":"u"}"#, Reason::BadClaim),
        (r#"{"exp":1,"sub":"u","cnf":1}"#, Reason::Unsupported),
        ("[]", Reason::Malformed),
    ] {
        let refused = read(&issuer.signer.token(KID, payload));
        assert_eq!(refused.map(drop), Err(reason));
    }
}

#[test]
fn a_record_that_is_cut_off_is_none_or_says_less() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    for payload in payloads() {
        let (_, token) = issuer.token(&payload);
        let record = token.record();
        for length in 0..record.len() {
            let by = SignedBy::from_record(&record[..length]);
            assert_eq!(by.is_some(), length >= SignedBy::SIZE);
            if let Some(cut) = VerifiedToken::from_record(&record[..length]) {
                all_of(&cut);
                let (own, whole) = (cut.session(), token.session());
                assert!(AUDIENCES
                    .iter()
                    .all(|aud| !cut.is_meant_for(aud) || token.is_meant_for(aud)));
                assert!(ROLES
                    .iter()
                    .all(|role| !own.has_role(role) || whole.has_role(role)));
                assert_eq!(own.fields(), whole.fields());
            }
        }
    }
}

#[test]
fn any_bytes_do_no_harm() {
    let issuer = Issuer::new(Algorithm::EdDsa);
    let mut random = 1u64;
    let mut next = || {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (random >> 33) as usize
    };
    let mut read = 0;
    for payload in payloads() {
        let (text, token) = issuer.token(&payload);
        for _ in 0..3_000 {
            let mut record = token.record().to_vec();
            for _ in 0..=next() % 4 {
                // Mostly in what stands before the texts.
                let within = if next() % 4 == 0 { record.len() } else { 80 };
                record[next() % within] = next() as u8;
            }
            if let Some(token) = VerifiedToken::from_record(&record) {
                read += 1;
                all_of(&token);
                token.claims_json(&text.as_bytes()[..next() % text.len()]);
            }
        }
    }
    assert!(read > 5_000, "{read}");
    for length in 0..300 {
        let bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        SignedBy::from_record(&bytes);
        assert!(VerifiedToken::from_record(&bytes).is_none_or(|token| !all_of(&token).is_empty()));
    }
}

#[test]
fn a_record_of_another_layout_or_algorithm_is_none() {
    let (_, token) = Issuer::new(Algorithm::EdDsa).token(&payload(""));
    for (place, value) in [(32, 10), (32, 255), (33, 0), (33, 1), (33, 255)] {
        let mut record = token.record().to_vec();
        record[place] = value;
        assert_eq!(SignedBy::from_record(&record), None, "{place}: {value}");
        assert!(VerifiedToken::from_record(&record).is_none());
    }
}
