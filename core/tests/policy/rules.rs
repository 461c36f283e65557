//! The rules of a project, and the order in which they are judged.

use authgear_core::policy::{judge, judge_session, Rules, TokenKind};
use authgear_core::token::VerifiedToken;
use authgear_core::Reason;

use crate::{token, user, with, ISSUER, NOW};

fn verdict(token: &VerifiedToken, rules: &Rules) -> Result<(), Reason> {
    judge(token, rules, &[ISSUER], &[ISSUER], NOW)
}

#[test]
fn authgears_own_token_passes_authgears_own_rules() {
    assert_eq!(verdict(&user(""), &Rules::default()), Ok(()));
}

#[test]
fn typ() {
    let claims = format!(r#"{{"iss":"{ISSUER}","aud":"{ISSUER}","exp":1700000100,"sub":"user"}}"#);
    let rules = |typ: Option<&[&str]>| Rules {
        typ: typ.map(|typ| typ.iter().map(|&typ| typ.into()).collect()),
        ..Rules::default()
    };
    let at = Some(&["at+jwt"][..]);
    for (sent, wanted, fits) in [
        (Some("at+jwt"), at, true),
        (Some("AT+JWT"), at, true),
        (Some("application/at+jwt"), at, true),
        (Some("Application/At+Jwt"), at, true),
        (Some("at+jwt"), Some(&["APPLICATION/AT+JWT"][..]), true),
        (Some("JWT"), at, false),
        (Some("jwt"), at, false),
        (Some("at+jwt "), at, false),
        (Some("multipart-x/at+jwt"), at, false),
        (Some("applicatiom/at+jwt"), at, false),
        (Some("at"), at, false),
        (Some(""), at, false),
        (Some("application/"), at, false),
        (Some("text/at+jwt"), at, false),
        (Some("application/application/at+jwt"), at, false),
        (None, at, false),
        (Some("jwt"), Some(&["at+jwt", "JWT"][..]), true),
        (Some("at+jwt"), Some(&[][..]), false),
        (Some("anything"), None, true),
        (None, None, true),
        // A character that takes two bytes stands across the end of the prefix.
        (Some("application\u{e9}at+jwt"), at, false),
    ] {
        let wanted_verdict = if fits { Ok(()) } else { Err(Reason::BadType) };
        assert_eq!(
            verdict(&token(sent, &claims), &rules(wanted)),
            wanted_verdict,
            "{sent:?} {wanted:?}"
        );
    }
}

#[test]
fn times() {
    let judged = |times: &str, leeway: f64, now: f64| {
        let token = with(&format!(
            r#"{{"iss":"{ISSUER}","aud":"{ISSUER}","sub":"user",{times}}}"#
        ));
        let rules = Rules {
            leeway,
            ..Rules::default()
        };
        judge(&token, &rules, &[ISSUER], &[ISSUER], now)
    };
    for (times, leeway, now, wanted) in [
        (r#""exp":100"#, 0.0, 99.999, Ok(())),
        (r#""exp":100"#, 0.0, 100.0, Err(Reason::Expired)),
        (r#""exp":100.5"#, 0.0, 100.4, Ok(())),
        (r#""exp":100.5"#, 0.0, 100.5, Err(Reason::Expired)),
        (r#""exp":100"#, 10.0, 109.9, Ok(())),
        (r#""exp":100"#, 10.0, 110.0, Err(Reason::Expired)),
        (r#""exp":0"#, 0.0, 0.0, Err(Reason::Expired)),
        (r#""exp":9007199254740992"#, 0.0, NOW, Ok(())),
        (r#""exp":1e3,"nbf":100"#, 0.0, 100.0, Ok(())),
        (
            r#""exp":1e3,"nbf":100"#,
            0.0,
            99.999,
            Err(Reason::NotYetValid),
        ),
        (r#""exp":1e3,"nbf":100"#, 10.0, 90.0, Ok(())),
        (
            r#""exp":1e3,"nbf":100"#,
            10.0,
            89.999,
            Err(Reason::NotYetValid),
        ),
        // `iat` is not compared.
        (r#""exp":1e3,"iat":999999"#, 0.0, 100.0, Ok(())),
        (r#""exp":100,"nbf":200"#, 0.0, 150.0, Err(Reason::Expired)),
        // A clock that says nothing lets nobody in.
        (r#""exp":100"#, 0.0, f64::NAN, Err(Reason::Expired)),
        (r#""exp":100"#, f64::NAN, 1.0, Err(Reason::Expired)),
    ] {
        assert_eq!(
            judged(times, leeway, now),
            wanted,
            "{times} leeway {leeway} at {now}"
        );
    }
}

#[test]
fn issuer() {
    let rules = Rules::default();
    for (iss, wanted) in [
        (r#""iss":"https://myapp.authgear.cloud","#, Ok(())),
        (
            r#""iss":"https://myapp.authgear.cloud/","#,
            Err(Reason::BadIssuer),
        ),
        (
            r#""iss":"https://MYAPP.authgear.cloud","#,
            Err(Reason::BadIssuer),
        ),
        (
            r#""iss":"https://myapp.authgear.clou","#,
            Err(Reason::BadIssuer),
        ),
        (r#""iss":"","#, Err(Reason::BadIssuer)),
        ("", Err(Reason::BadIssuer)),
    ] {
        let token = with(&format!(
            r#"{{{iss}"aud":"{ISSUER}","exp":1800000000,"sub":"user"}}"#
        ));
        assert_eq!(verdict(&token, &rules), wanted, "{iss}");
    }
}

#[test]
fn audience() {
    let rules = Rules::default();
    for (aud, wanted, fits) in [
        (r#""aud":"a","#, &["a"][..], true),
        (r#""aud":["a"],"#, &["a"], true),
        (r#""aud":["x","a"],"#, &["b", "a"], true),
        (r#""aud":["a","b"],"#, &["c"], false),
        (r#""aud":"a b","#, &["a"], false),
        (r#""aud":"A","#, &["a"], false),
        (r#""aud":[],"#, &["a"], false),
        ("", &["a"], false),
        (r#""aud":"a","#, &[], false),
        (r#""aud":"","#, &["a"], false),
    ] {
        let token = with(&format!(
            r#"{{"iss":"{ISSUER}",{aud}"exp":1800000000,"sub":"user"}}"#
        ));
        let wanted_verdict = if fits {
            Ok(())
        } else {
            Err(Reason::BadAudience)
        };
        assert_eq!(
            judge(&token, &rules, &[ISSUER], wanted, NOW),
            wanted_verdict,
            "{aud} {wanted:?}"
        );
    }
}

#[test]
fn client_id() {
    let rules = |ids: &[&str]| Rules {
        client_ids: ids.iter().map(|&id| id.into()).collect(),
        ..Rules::default()
    };
    for (claim, ids, fits) in [
        (r#","client_id":"a""#, &["a"][..], true),
        (r#","client_id":"a""#, &["b", "a"], true),
        (r#","client_id":"a""#, &["b"], false),
        (r#","client_id":"A""#, &["a"], false),
        (r#","client_id":"""#, &["a"], false),
        ("", &["a"], false),
        ("", &[], true),
        (r#","client_id":"a""#, &[], true),
    ] {
        let wanted = if fits { Ok(()) } else { Err(Reason::BadClient) };
        assert_eq!(
            verdict(&user(claim), &rules(ids)),
            wanted,
            "{claim} {ids:?}"
        );
    }
}

#[test]
fn users_and_clients() {
    let client = with(&format!(
        r#"{{"iss":"{ISSUER}","aud":"{ISSUER}","exp":1800000000,"sub":"client_id_app","client_id":"app"}}"#
    ));
    let rules = |token_type| Rules {
        token_type,
        ..Rules::default()
    };
    for (token, token_type, wanted) in [
        (&user(""), TokenKind::User, Ok(())),
        (&user(""), TokenKind::Any, Ok(())),
        (&user(""), TokenKind::Client, Err(Reason::BadType)),
        (&client, TokenKind::User, Err(Reason::BadType)),
        (&client, TokenKind::Any, Ok(())),
        (&client, TokenKind::Client, Ok(())),
    ] {
        assert_eq!(verdict(token, &rules(token_type)), wanted, "{token_type:?}");
    }
}

#[test]
fn the_first_broken_rule_counts() {
    // Each step mends the first rule that is broken.
    let rules = Rules {
        client_ids: vec!["app".into()],
        ..Rules::default()
    };
    let steps = [
        (
            Some("JWT"),
            r#""exp":1,"nbf":1800000000,"sub":"client_id_x""#,
            Reason::BadType,
        ),
        (
            Some("at+jwt"),
            r#""exp":1,"nbf":1800000000,"sub":"client_id_x""#,
            Reason::Expired,
        ),
        (
            Some("at+jwt"),
            r#""exp":1900000000,"nbf":1800000000,"sub":"client_id_x""#,
            Reason::NotYetValid,
        ),
        (
            Some("at+jwt"),
            r#""exp":1900000000,"sub":"client_id_x""#,
            Reason::BadIssuer,
        ),
        (
            Some("at+jwt"),
            r#""exp":1900000000,"sub":"client_id_x","iss":"https://myapp.authgear.cloud""#,
            Reason::BadAudience,
        ),
        (
            Some("at+jwt"),
            r#""exp":1900000000,"sub":"client_id_x","iss":"https://myapp.authgear.cloud",
               "aud":"https://myapp.authgear.cloud""#,
            Reason::BadClient,
        ),
        (
            Some("at+jwt"),
            r#""exp":1900000000,"sub":"client_id_x","iss":"https://myapp.authgear.cloud",
               "aud":"https://myapp.authgear.cloud","client_id":"app""#,
            Reason::BadType,
        ),
    ];
    for (typ, claims, reason) in steps {
        assert_eq!(
            verdict(&token(typ, &format!("{{{claims}}}")), &rules),
            Err(reason),
            "{claims}"
        );
    }
}

#[test]
fn a_session_of_the_resolver_is_for_the_project_itself_and_for_no_client_in_particular() {
    let any = Rules::default();
    let of_app = Rules {
        client_ids: vec!["app".into()],
        ..Rules::default()
    };
    let (api, inside) = ("https://api.example.com", "https://inside.example.com");
    for (wanted, verdict) in [
        (&[ISSUER][..], Ok(())),
        (&[inside], Ok(())),
        (&[api, ISSUER], Ok(())),
        (&[api], Err(Reason::BadAudience)),
        (&[], Err(Reason::BadAudience)),
    ] {
        assert_eq!(judge_session(&any, [inside, ISSUER], wanted), verdict);
    }
    assert_eq!(
        judge_session(&of_app, [ISSUER, ISSUER], &[ISSUER]),
        Err(Reason::BadClient)
    );
}
