use super::*;
use crate::json::Object;
use crate::token::{Claims, Header};

fn of(payload: &str) -> TokenSession {
    with_header(r#"{"alg":"RS256"}"#, payload)
}

fn with_header(header: &str, payload: &str) -> TokenSession {
    let header = Header::parse(header.as_bytes()).unwrap();
    let payload = Object::parse_strict(payload.as_bytes()).unwrap();
    TokenSession::new(&Claims::read(&payload).unwrap(), &header, None)
}

fn texts<'a>(session: &Session<'a>) -> [Option<&'a str>; 8] {
    Field::ALL.map(|field| session.get(field))
}

#[test]
fn fields_are_in_order_and_named_as_the_resolver_names_them() {
    for (index, field) in Field::ALL.into_iter().enumerate() {
        assert_eq!(field.index(), index);
        assert!(stripped_header(field.header().as_bytes()));
    }
    let names: Vec<&str> = Field::ALL.iter().map(|field| field.header()).collect();
    assert_eq!(
        names,
        [
            "X-Authgear-Session-Valid",
            "X-Authgear-User-Id",
            "X-Authgear-User-Anonymous",
            "X-Authgear-User-Verified",
            "X-Authgear-User-Can-Reauthenticate",
            "X-Authgear-User-Roles",
            "X-Authgear-Session-Amr",
            "X-Authgear-Session-Authenticated-At",
        ]
    );
}

#[test]
fn a_users_token_reads_as_the_resolver_would_say() {
    let token = of(
        r#"{"exp":1700001800.75,"sub":"user-1","client_id":"app","scope":"openid email","jti":"00ff",
            "auth_time":1699999999.9,"amr":["pwd","otp","mfa"],
            "https://authgear.com/claims/user/is_anonymous":false,
            "https://authgear.com/claims/user/is_verified":true,
            "https://authgear.com/claims/user/can_reauthenticate":true,
            "https://authgear.com/claims/user/roles":["admin","staff"]}"#,
    );
    let session = Session::of_token(&token);
    assert_eq!(
        texts(&session),
        [
            Some("true"),
            Some("user-1"),
            Some("false"),
            Some("true"),
            Some("true"),
            Some("admin,staff"),
            Some("pwd otp mfa"),
            Some("1699999999"),
        ]
    );
    assert_eq!(session.client_id(), Some("app"));
    assert_eq!(session.scope(), Some("openid email"));
    assert_eq!(session.token_id(), Some("00ff"));
    assert_eq!(session.token_exp(), Some("1700001800"));
    assert_eq!(session.token_type(), Some("user"));
}

#[test]
fn what_a_token_does_not_say_is_unknown() {
    let token = of(
        r#"{"exp":0,"sub":"user-1","client_id":"","scope":"","jti":"","amr":[],
            "https://authgear.com/claims/user/roles":[""]}"#,
    );
    let session = Session::of_token(&token);
    assert_eq!(texts(&session)[..2], [Some("true"), Some("user-1")]);
    assert_eq!(texts(&session)[2..], [None; 6]);
    assert_eq!(session.client_id(), None);
    assert_eq!(session.scope(), None);
    assert_eq!(session.token_id(), None);
    assert_eq!(session.token_exp(), Some("0"));
    let token = of(r#"{"exp":1,"sub":"u"}"#);
    assert_eq!(Session::of_token(&token).token_id(), None);
}

#[test]
fn a_client_is_nobodys_user() {
    let token = of(
        r#"{"exp":1,"sub":"client_id_app","client_id":"app","scope":"read","auth_time":1,"amr":["pwd"],
            "https://authgear.com/claims/user/is_anonymous":true,
            "https://authgear.com/claims/user/is_verified":true,
            "https://authgear.com/claims/user/can_reauthenticate":true,
            "https://authgear.com/claims/user/roles":["admin"]}"#,
    );
    let session = Session::of_token(&token);
    assert_eq!(session.get(Field::SessionValid), Some("true"));
    assert_eq!(texts(&session)[1..], [None; 7]);
    assert_eq!(session.token_type(), Some("client"));
    assert_eq!(session.client_id(), Some("app"));
    assert_eq!(session.scope(), Some("read"));
}

#[test]
fn times_are_whole_seconds() {
    for (time, text) in [
        ("0", "0"),
        ("-0", "0"),
        ("0.999", "0"),
        ("1e9", "1000000000"),
        ("9007199254740992", "9007199254740992"),
    ] {
        let token = of(&format!(r#"{{"sub":"u","exp":{time},"auth_time":{time}}}"#));
        let session = Session::of_token(&token);
        assert_eq!(session.token_exp(), Some(text));
        assert_eq!(session.get(Field::SessionAuthenticatedAt), Some(text));
    }
}

#[test]
fn the_key_id_is_the_headers() {
    for (header, kid) in [
        (
            r#"{"alg":"RS256","kid":"k 1,\u00e9","typ":"t"}"#,
            Some("k 1,\u{e9}"),
        ),
        (r#"{"alg":"RS256","kid":""}"#, None),
        (r#"{"alg":"RS256"}"#, None),
    ] {
        let token = with_header(header, r#"{"exp":1,"sub":"u","kid":"other"}"#);
        assert_eq!(Session::of_token(&token).kid(), kid, "{header}");
    }
}

type Headers<'a> = &'a [(&'a str, &'a str)];

fn resolved(headers: Headers) -> Result<Option<Session<'static>>, ResolverError> {
    let headers = headers.iter();
    read(headers.map(|(name, value)| (name.as_bytes(), value.as_bytes())))
        .map(|fields| fields.map(Session::resolved))
}

fn read<'h>(
    headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
) -> Result<Option<Fields<'static>>, ResolverError> {
    Fields::from_resolver(headers, Box::leak(Box::default()))
}

const VALID: (&str, &str) = ("X-Authgear-Session-Valid", "true");
const USER: (&str, &str) = ("X-Authgear-User-Id", "user-1");

#[test]
fn the_resolvers_yes() {
    let session = resolved(&[
        ("Content-Type", "text/plain"),
        ("x-authgear-session-valid", "true"),
        ("X-AUTHGEAR-USER-ID", " user-1\t"),
        ("X-Authgear-User-Anonymous", "false"),
        ("X-Authgear-User-Verified", "true"),
        ("X-Authgear-User-Can-Reauthenticate", "true"),
        ("X-Authgear-User-Roles", "admin,staff"),
        ("X-Authgear-Session-Amr", "pwd otp"),
        ("X-Authgear-Session-Authenticated-At", "1699999999"),
        ("X-Authgear-Session-Acr", "anything"),
    ])
    .unwrap()
    .unwrap();
    assert_eq!(
        texts(&session),
        [
            Some("true"),
            Some("user-1"),
            Some("false"),
            Some("true"),
            Some("true"),
            Some("admin,staff"),
            Some("pwd otp"),
            Some("1699999999"),
        ]
    );
    assert_eq!(session.client_id(), None);
    assert_eq!(session.scope(), None);
    assert_eq!(session.token_id(), None);
    assert_eq!(session.token_exp(), None);
    assert_eq!((session.token_type(), session.kid()), (None, None));

    let least = resolved(&[USER, VALID, ("X-Authgear-User-Roles", "")])
        .unwrap()
        .unwrap();
    assert_eq!(texts(&least)[2..], [None; 6]);
}

#[test]
fn every_name_is_known_in_any_case_and_no_other_of_its_length() {
    for field in Field::ALL {
        for name in [
            field.header().to_string(),
            field.header().to_ascii_lowercase(),
            field.header().to_ascii_uppercase(),
        ] {
            assert_eq!(Field::of_header(name.as_bytes()), Some(field), "{name}");
            for place in 0..name.len() {
                let mut other = name.clone().into_bytes();
                other[place] = b'*';
                assert_eq!(Field::of_header(&other), None, "{name}, {place}");
            }
        }
    }
}

#[test]
fn what_the_room_held_before_does_not_matter() {
    let mut room = Vec::new();
    for roles in ["r".repeat(600), "admin".to_string(), "r".repeat(600)] {
        let headers = [VALID, USER, ("X-Authgear-User-Roles", &roles)];
        let headers = headers.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let fields = Fields::from_resolver(headers, &mut room).unwrap().unwrap();
        assert_eq!(fields.text(), ["trueuser-1", &*roles].concat().as_bytes());
        assert_eq!(fields.get(Field::UserRoles), Some(&*roles));
    }
}

#[test]
fn the_resolver_may_say_any_text() {
    let roles = "r\u{f4}le,\u{7ba1}\u{7406}\u{54e1}";
    let session = resolved(&[VALID, USER, ("X-Authgear-User-Roles", roles)]);
    let session = session.unwrap().unwrap();
    assert_eq!(session.get(Field::UserRoles), Some(roles));
    assert_eq!(session.get(Field::UserId), Some("user-1"));
}

#[test]
fn the_resolvers_no() {
    let no = ("X-Authgear-Session-Valid", "false");
    for headers in [&[] as Headers, &[no], &[no, USER], &[USER]] {
        assert_eq!(resolved(headers), Ok(None), "{headers:?}");
    }
}

#[test]
fn neither_yes_nor_no() {
    use ResolverError::*;
    for value in [
        "",
        "True",
        "TRUE",
        "1",
        "yes",
        "true,true",
        "truefalse",
        "maybe",
    ] {
        let verdict = resolved(&[("X-Authgear-Session-Valid", value), USER]);
        assert_eq!(verdict, Err(NeitherYesNorNo), "{value:?}");
    }
    for headers in [
        &[VALID] as Headers,
        &[VALID, ("X-Authgear-User-Id", "")],
        &[VALID, ("X-Authgear-User-Id", " \t")],
        &[VALID, ("X-Authgear-User_Id", "user-1")],
    ] {
        assert_eq!(resolved(headers), Err(NoUserId), "{headers:?}");
    }
    assert_eq!(resolved(&[VALID, USER, USER]), Err(Repeated(Field::UserId)));
    assert_eq!(
        resolved(&[VALID, USER, ("X-Authgear-Session-Valid", "false")]),
        Err(Repeated(Field::SessionValid))
    );
    for bad in ["a\nb", "a\rb", "a\0", "a\tb", "a\x7f"] {
        let verdict = resolved(&[VALID, ("X-Authgear-User-Id", bad)]);
        assert_eq!(verdict, Err(NotText(Field::UserId)), "{bad:?}");
        let verdict = resolved(&[VALID, USER, ("X-Authgear-User-Roles", bad)]);
        assert_eq!(verdict, Err(NotText(Field::UserRoles)), "{bad:?}");
    }
    let latin = [
        (&b"X-Authgear-Session-Valid"[..], &b"true"[..]),
        (b"X-Authgear-User-Id", b"\xe9"),
    ];
    assert_eq!(read(latin), Err(NotText(Field::UserId)));
    // "é" in two halves.
    let halves = [
        (&b"X-Authgear-Session-Valid"[..], &b"true"[..]),
        (b"X-Authgear-User-Id", b"user-1"),
        (b"X-Authgear-User-Roles", b"\xc3"),
        (b"X-Authgear-Session-Amr", b"\xa9"),
    ];
    assert_eq!(read(halves), Err(NotText(Field::UserRoles)));
}

#[test]
fn long_values_are_read_as_short_ones() {
    for length in [0, 1, 190, 200, 490, 501, 502, 503, 512, 4000] {
        let roles = "r".repeat(length);
        let amr = ("X-Authgear-Session-Amr", "pwd");
        let headers = [VALID, USER, ("X-Authgear-User-Roles", &roles), amr];
        let session = resolved(&headers).unwrap().unwrap();
        let role = (length > 0).then_some(&*roles);
        assert_eq!(session.get(Field::UserRoles), role, "{length}");
        assert_eq!(session.get(Field::SessionAmr), Some("pwd"), "{length}");
        let bad = [VALID, USER, ("X-Authgear-User-Roles", &(roles + "\n"))];
        let error = Err(ResolverError::NotText(Field::UserRoles));
        assert_eq!(resolved(&bad), error, "{length}");
    }
}

#[test]
fn names_in_lower_case_are_the_same_names() {
    for field in Field::ALL {
        assert_eq!(field.lowcase_header(), field.header().to_ascii_lowercase());
    }
}

#[test]
fn headers_that_never_reach_the_backend() {
    for name in [
        "X-Authgear-User-Id",
        "x-authgear-user-id",
        "X_Authgear_User_Id",
        "X.AUTHGEAR.USER.ID",
        "x_authgear.user-id",
        "X-Authgear-Session-Acr",
        "X-Authgear-Whatever",
        "X-Authgear-",
        "x_authgear_",
        "X Authgear-User-Id",
        "X!Authgear[User~Id",
        "X-Authgear-Body-Signature-Too",
        "X-Authgear-Body_Signature",
        "X-Authgear-User[Id",
        "X[Authgear-User-Id",
    ] {
        assert!(stripped_header(name.as_bytes()), "{name}");
    }
    for name in [
        "",
        "X",
        "X-Authgear",
        "X-Authgears-User-Id",
        "XAuthgear-User-Id",
        "X--Authgear-User-Id",
        "Authgear-User-Id",
        "X-X-Authgear-User-Id",
        "X-Authgear-Body-Signature",
        "x-authgear-body-signature",
        "Authorization",
        "Cookie",
    ] {
        assert!(!stripped_header(name.as_bytes()), "{name}");
    }
}

#[test]
fn fields_read_back_from_their_record_are_the_same() {
    let headers = [
        (&b"X-Authgear-Session-Valid"[..], &b"true"[..]),
        (b"X-Authgear-User-Id", b"user"),
        (b"X-Authgear-User-Roles", b"admin editor"),
    ];
    let mut text = Vec::new();
    let fields = Fields::from_resolver(headers, &mut text).unwrap().unwrap();
    let record = fields.record().unwrap();
    let again = Fields::from_record(&record).unwrap();
    for field in Field::ALL {
        assert_eq!(again.get(field), fields.get(field), "{field:?}");
    }
    assert_eq!(again.get(Field::UserRoles), Some("admin editor"));
    assert!(Fields::from_record(&record[..16]).is_none(), "no user id");
}

#[test]
fn the_time_of_issue_is_kept_as_it_was_sent() {
    let iat = |more: &str| of(&format!(r#"{{"exp":1900000000,"sub":"user"{more}}}"#)).iat();
    assert_eq!(iat(r#","iat":1700000000.5"#), Some(1_700_000_000.5));
    assert_eq!(iat(""), None);
}
