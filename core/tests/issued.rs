//! Tokens that a running Authgear issued (`t/fixtures/authgear-2026-08.json`), judged at the time of issue, since
//! its client's token does not live long.

use std::rc::Rc;

use authgear_core::keys::KeySet;
use authgear_core::policy::{judge, Rules, TokenKind};
use authgear_core::session::Field;
use authgear_core::token::{verify, UnverifiedToken, VerifiedToken};
use authgear_core::{Algorithm, AlgorithmSet, Reason};
use serde_json::Value;

const ISSUED: &str = include_str!("../../t/fixtures/authgear-2026-08.json");
/// All of the access tokens are some seconds old.
const NOW: f64 = 1_795_880_070.0;
const API: &str = "https://api.example.com/orders";

struct Issued {
    all: Value,
    keys: KeySet,
}

impl Issued {
    fn read() -> Issued {
        let all: Value = serde_json::from_str(ISSUED).unwrap();
        let (keys, skipped) = KeySet::parse(all["jwks"].to_string().as_bytes()).unwrap();
        assert!(skipped.is_empty());
        Issued { all, keys }
    }

    fn token(&self, name: &str) -> Result<Rc<VerifiedToken>, Reason> {
        let text = self.all["tokens"][name]["credential"].as_str().unwrap();
        let token = UnverifiedToken::parse(text.as_bytes())?;
        let allowed: AlgorithmSet = [Algorithm::Rs256].into_iter().collect();
        verify(token, &self.keys, allowed)
    }

    fn judge(&self, name: &str, rules: &Rules, audience: &str, now: f64) -> Result<(), Reason> {
        let endpoint = self.all["endpoint"].as_str().unwrap();
        judge(&*self.token(name)?, rules, &[endpoint], &[audience], now)
    }
}

#[test]
fn every_users_token_says_what_the_resolver_says() {
    let issued = Issued::read();
    let endpoint = issued.all["endpoint"].as_str().unwrap();
    let mut users = 0;
    for (name, token) in issued.all["tokens"].as_object().unwrap() {
        let headers = token["resolver"].as_array().unwrap();
        if headers.is_empty() || name == "opaque" {
            continue;
        }
        users += 1;
        assert_eq!(issued.judge(name, &Rules::default(), endpoint, NOW), Ok(()));
        let verified = issued.token(name).unwrap();
        let session = verified.session();
        // The server says no amr, whatever the login was.
        for field in Field::ALL
            .into_iter()
            .filter(|field| *field != Field::SessionAmr)
        {
            let said = headers.iter().find(|header| header[0] == field.header());
            let said = said.and_then(|header| header[1].as_str());
            assert_eq!(session.get(field), said, "{name}: {field}");
        }
    }
    assert_eq!(users, 6);
    let by_login = issued.token("by_login").unwrap();
    let amr = by_login.session().get(Field::SessionAmr);
    assert_eq!(amr, Some("pwd x_primary_password"));
}

#[test]
fn the_clients_token_is_good_where_a_clients_is_wanted_until_it_expires() {
    let issued = Issued::read();
    let clients = Rules {
        token_type: TokenKind::Client,
        ..Rules::default()
    };
    let any = Rules {
        token_type: TokenKind::Any,
        ..Rules::default()
    };
    for (rules, audience, now, verdict) in [
        (&clients, API, NOW, Ok(())),
        (&any, API, NOW, Ok(())),
        (&clients, API, 1_798_299_263.0, Ok(())),
        (&clients, API, 1_798_299_264.0, Err(Reason::Expired)),
        (&Rules::default(), API, NOW, Err(Reason::BadType)),
        (
            &clients,
            "http://localhost:3100",
            NOW,
            Err(Reason::BadAudience),
        ),
    ] {
        assert_eq!(issued.judge("client", rules, audience, now), verdict);
    }
    let token = issued.token("client").unwrap();
    let session = token.session();
    assert_eq!(session.token_type(), Some("client"));
    assert_eq!(session.client_id(), Some("m2mc"));
    assert_eq!(session.scope(), Some("read:orders"));
    assert_eq!(session.get(Field::SessionValid), Some("true"));
    let of_users = Field::ALL.into_iter().skip(1);
    assert!(of_users
        .into_iter()
        .all(|field| session.get(field).is_none()));
}

#[test]
fn what_is_no_access_token_is_refused() {
    let issued = Issued::read();
    // Also while it has not expired.
    for now in [NOW, 1_795_880_300.0] {
        let verdict = issued.judge("id_token", &Rules::default(), "long", now);
        assert_eq!(verdict, Err(Reason::BadType));
    }
    assert_eq!(issued.token("opaque").unwrap_err(), Reason::Malformed);
}
