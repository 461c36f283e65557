//! Requirements on callers: roles, scopes and the age of a login.

use authgear_core::policy::{Requirement, Requirements};
use authgear_core::session::{Fields, Session};

use crate::{user, with, ISSUER, NOW};

fn resolved(more: &[(&str, &str)]) -> Session<'static> {
    let own = [
        ("X-Authgear-Session-Valid", "true"),
        ("X-Authgear-User-Id", "u"),
    ];
    let headers = own.iter().chain(more);
    let headers = headers.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let fields = Fields::from_resolver(headers, Box::leak(Box::default()));
    Session::resolved(fields.unwrap().unwrap())
}

fn names(names: &[&str]) -> Vec<Box<str>> {
    names.iter().map(|&name| name.into()).collect()
}

#[test]
fn any_role_is_enough() {
    let roles = r#","https://authgear.com/claims/user/roles":["reader","editor"]"#;
    let token = user(roles);
    let session = resolved(&[("X-Authgear-User-Roles", "reader,editor")]);
    for (wanted, meets) in [
        (&["editor"][..], true),
        (&["admin", "reader"], true),
        (&["admin"], false),
        (&["edit"], false),
        (&["Editor"], false),
        (&["reader,editor"], false),
    ] {
        let roles = names(wanted);
        let requirements = Requirements {
            roles: &roles,
            ..Requirements::default()
        };
        let expected = if meets {
            Ok(())
        } else {
            Err(Requirement::Role)
        };
        assert_eq!(requirements.check(&token.session(), NOW), expected);
        assert_eq!(requirements.check(&session, NOW), expected);
        assert_eq!(
            requirements.check(&user("").session(), NOW),
            Err(Requirement::Role)
        );
        assert_eq!(
            requirements.check(&resolved(&[]), NOW),
            Err(Requirement::Role)
        );
    }
}

#[test]
fn a_role_of_a_token_that_holds_a_comma_is_one_role() {
    let token = user(r#","https://authgear.com/claims/user/roles":["x,admin","\u0061,b","c"]"#);
    // The resolver joins roles by commas, so its header says no more.
    let session = resolved(&[("X-Authgear-User-Roles", "x,admin,a,b,c")]);
    for (wanted, of_token, of_session) in [
        ("admin", false, true),
        ("x", false, true),
        ("b", false, true),
        ("x,admin", true, false),
        ("a,b", true, false),
        ("c", true, true),
        ("x,admin,a,b,c", false, false),
        ("", false, false),
    ] {
        let roles = names(&[wanted]);
        let requirements = Requirements {
            roles: &roles,
            ..Requirements::default()
        };
        let meets = |session: &Session| requirements.check(session, NOW).is_ok();
        assert_eq!(meets(&token.session()), of_token, "{wanted}");
        assert_eq!(meets(&session), of_session, "{wanted}");
    }
}

#[test]
fn a_client_has_no_role_whatever_its_token_claims() {
    let client = with(&format!(
        r#"{{"iss":"{ISSUER}","aud":["{ISSUER}"],"exp":1700000100,"sub":"client_id_x",
            "https://authgear.com/claims/user/roles":["admin"]}}"#
    ));
    let roles = names(&["admin"]);
    let requirements = Requirements {
        roles: &roles,
        ..Requirements::default()
    };
    assert_eq!(
        requirements.check(&client.session(), NOW),
        Err(Requirement::Role)
    );
}

#[test]
fn every_scope_is_needed() {
    let token = user(r#","scope":"openid write:all  read""#);
    for (wanted, meets) in [
        (&["read"][..], true),
        (&["read", "write:all"], true),
        (&["read", "delete"], false),
        (&["write"], false),
        (&["READ"], false),
    ] {
        let scopes = names(wanted);
        let requirements = Requirements {
            scopes: &scopes,
            ..Requirements::default()
        };
        let expected = if meets {
            Ok(())
        } else {
            Err(Requirement::Scope)
        };
        assert_eq!(requirements.check(&token.session(), NOW), expected);
        // A session from the resolver has no scope.
        assert_eq!(
            requirements.check(&resolved(&[]), NOW),
            Err(Requirement::Scope)
        );
    }
}

#[test]
fn a_log_in_may_be_so_old() {
    let requirements = Requirements {
        auth_age: Some(300),
        ..Requirements::default()
    };
    for (login, meets) in [
        ("1700000000", true),
        ("1699999700", true),
        ("1699999699", false),
        ("1700000099", true),
        ("0", false),
    ] {
        let expected = if meets {
            Ok(())
        } else {
            Err(Requirement::AuthAge)
        };
        let token = user(&format!(r#","auth_time":{login}"#));
        let session = resolved(&[("X-Authgear-Session-Authenticated-At", login)]);
        assert_eq!(requirements.check(&token.session(), NOW), expected);
        assert_eq!(requirements.check(&session, NOW), expected);
    }
    for unknown in [user("").session(), resolved(&[])] {
        assert_eq!(requirements.check(&unknown, NOW), Err(Requirement::AuthAge));
    }
    let absurd = resolved(&[(
        "X-Authgear-Session-Authenticated-At",
        "18446744073709551615",
    )]);
    assert_eq!(requirements.check(&absurd, NOW), Ok(()));
    let nonsense = resolved(&[("X-Authgear-Session-Authenticated-At", "yesterday")]);
    assert_eq!(
        requirements.check(&nonsense, NOW),
        Err(Requirement::AuthAge)
    );
}

#[test]
fn requirements_are_checked_in_order_and_none_asks_nothing() {
    let (roles, scopes) = (names(&["admin"]), names(&["write"]));
    let all = Requirements {
        roles: &roles,
        scopes: &scopes,
        auth_age: Some(300),
    };
    let admin = user(r#","https://authgear.com/claims/user/roles":["admin"]"#);
    let writer = user(r#","https://authgear.com/claims/user/roles":["admin"],"scope":"write""#);
    assert_eq!(all.check(&user("").session(), NOW), Err(Requirement::Role));
    assert_eq!(all.check(&admin.session(), NOW), Err(Requirement::Scope));
    assert_eq!(all.check(&writer.session(), NOW), Err(Requirement::AuthAge));
    assert!(!all.is_empty());
    assert!(Requirements::default().is_empty());
    let client = with(&format!(
        r#"{{"iss":"{ISSUER}","aud":["{ISSUER}"],"exp":1700000100,"sub":"client_id_x"}}"#
    ));
    assert_eq!(
        Requirements::default().check(&client.session(), NOW),
        Ok(())
    );
}
