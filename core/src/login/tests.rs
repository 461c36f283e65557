use super::*;

use proptest::prelude::*;

const WWW: &str = "https://www.example.com";

fn login() -> Login {
    at("https://www.example.com/callback")
}

fn at(callback: &str) -> Login {
    let endpoint = Origin::parse("https://auth.example.com").unwrap();
    Login::new(&endpoint, Client::new("my client&x", callback).unwrap())
}

/// Begins a login of a browser with these cookies.
fn begin(login: &Login, target: &str, cookies: &[&str]) -> Answer {
    let cookies = cookies.iter().map(|line| line.as_bytes());
    login
        .begin(target.as_bytes(), Prompt::Usual, cookies, 1_800_000_000)
        .unwrap()
}

fn end(login: &Login, query: &str, cookies: &[&str]) -> Answer {
    login.end(query.as_bytes(), cookies.iter().map(|line| line.as_bytes()))
}

fn redirect(answer: &Answer) -> &str {
    match &answer.content {
        Content::Redirect(url) => url,
        Content::Page(page) => panic!("{} {page}", answer.status),
    }
}

fn page(answer: &Answer) -> &str {
    match &answer.content {
        Content::Page(page) => page,
        Content::Redirect(url) => panic!("{url}"),
    }
}

/// The nonce of a login, and its cookie as the browser sends it back.
fn begun(answer: &Answer) -> (String, String) {
    let state = redirect(answer)
        .split_once("&state=")
        .unwrap()
        .1
        .to_string();
    let cookie = answer.cookies.last().unwrap().split(';').next().unwrap();
    (state, cookie.to_string())
}

/// The page to which a whole login leads that began at `target`.
fn returns_to(target: &str) -> String {
    let (state, cookie) = begun(&begin(&login(), target, &[]));
    let answer = end(&login(), &format!("state={state}"), &[&cookie]);
    redirect(&answer).strip_prefix(WWW).unwrap().to_string()
}

/// The cookie of a login that a browser would send if it held this value.
fn forged(nonce: &str, value: &[u8]) -> String {
    let value = base64_simd::URL_SAFE_NO_PAD.encode_to_string(value);
    format!("__Host-authgear_login_{nonce}=1800000000.{value}")
}

#[test]
fn the_authorization_request_is_encoded_and_the_state_is_a_nonce_alone() {
    let answer = begin(&login(), "/reports?year=2026", &[]);
    assert_eq!(answer.status, 302);
    let (state, cookie) = begun(&answer);
    assert_eq!(
        redirect(&answer),
        format!(
            "https://auth.example.com/oauth2/authorize?client_id=my+client%26x&response_type=none&\
             scope=openid&redirect_uri=https%3A%2F%2Fwww.example.com%2Fcallback&state={state}"
        )
    );
    assert_eq!(state.len(), 22);
    assert_eq!(
        answer.cookies,
        [format!(
            "{cookie}; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"
        )]
    );
    assert!(cookie.starts_with(&format!("__Host-authgear_login_{state}=1800000000.")));
    assert_ne!(begun(&begin(&login(), "/", &[])).0, state);
}

#[test]
fn a_callback_on_loopback_has_cookies_without_prefix_and_secure() {
    let login = at("http://localhost:8080/callback");
    let answer = begin(&login, "/a", &[]);
    let (state, cookie) = begun(&answer);
    assert!(cookie.starts_with("authgear_login_"));
    assert!(!answer.cookies[0].contains("Secure"));
    let answer = end(&login, &format!("state={state}"), &[&cookie]);
    assert_eq!(redirect(&answer), "http://localhost:8080/a");
    assert_eq!(
        answer.cookies,
        [
            format!("authgear_login_{state}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"),
            "authgear_logins=1; Path=/; Max-Age=600; HttpOnly; SameSite=Lax".to_string(),
        ]
    );
}

#[test]
fn another_time_of_authentication_is_asked_for_by_prompt() {
    let answer = login()
        .begin(b"/", Prompt::Again, [].into_iter(), 0)
        .unwrap();
    assert!(redirect(&answer).contains("&scope=openid&redirect_uri="));
    assert!(redirect(&answer).contains("&prompt=login&state="));
}

#[test]
fn a_login_returns_to_its_page() {
    for page in [
        "/",
        "/reports?year=2026",
        "/a/b;c=d/?x=%2Fy&z=a%20b+c",
        "/%E2%82%AC",
        "/?next=https://evil.example/",
        "/a//b",
    ] {
        assert_eq!(returns_to(page), page);
    }
    assert_eq!(returns_to("/a b\"<\u{20ac}|"), "/a%20b%22%3C%E2%82%AC%7C");
    let long = format!("/{}", "x".repeat(1023));
    assert_eq!(returns_to(&long), long);
}

#[test]
fn a_page_that_is_too_long_or_elsewhere_is_the_start_page() {
    let long = format!("/{}", "x".repeat(1024));
    for page in [
        &*long,
        "",
        "evil",
        "?a",
        "//evil",
        "//evil/%2e%2e",
        "///evil",
        "*",
        "/a#b",
    ] {
        assert_eq!(returns_to(page), "/", "{page}");
    }
    // Browsers read a backslash as a slash, and drop tabs and line ends.
    assert_eq!(returns_to("/\\evil"), "/%5Cevil");
    assert_eq!(returns_to("/\t/evil"), "/%09/evil");
    assert_eq!(
        returns_to("/\r\nSet-Cookie: a=b"),
        "/%0D%0ASet-Cookie:%20a=b"
    );
}

#[test]
fn a_cookie_that_names_no_page_on_this_host_is_not_accepted() {
    let nonce = "AAAAAAAAAAAAAAAAAAAAAA";
    let query = format!("state={nonce}");
    assert_eq!(end(&login(), &query, &[&forged(nonce, b"/a")]).status, 302);
    let long = format!("/{}", "x".repeat(1024));
    let pages: [&[u8]; 13] = [
        b"",
        b"evil",
        b"@evil",
        b".evil",
        b":80/",
        b"//evil",
        b"/\\evil",
        b"\\evil",
        b"https://evil/",
        b"/\r\nSet-Cookie: a=b",
        b"/\t/evil",
        b"/\xff",
        long.as_bytes(),
    ];
    for page in pages {
        let answer = end(&login(), &query, &[&forged(nonce, page)]);
        assert_eq!(answer.status, 400, "{}", page.escape_ascii());
    }
    for value in [
        "",
        "1",
        ".",
        "1.",
        "x.L2E",
        "1.L2E=",
        "1.!",
        "-1.L2E",
        "12345678901.L2E",
    ] {
        let cookie = format!("__Host-authgear_login_{nonce}={value}");
        assert_eq!(end(&login(), &query, &[&cookie]).status, 400, "{value}");
    }
}

#[test]
fn the_callback_accepts_the_nonce_of_this_browser_alone() {
    let (state, cookie) = begun(&begin(&login(), "/a", &[]));
    let (other, _) = begun(&begin(&login(), "/b", &[]));
    let known = format!("state={state}");
    for (query, cookies) in [
        ("", vec![&*cookie]),
        ("state=", vec![&*cookie]),
        (&*format!("state={other}"), vec![&*cookie]),
        (&*format!("{known}&{known}"), vec![&*cookie]),
        (&*format!("{known}&state=x"), vec![&*cookie]),
        (&*format!("State={state}"), vec![&*cookie]),
        (&*known, vec![]),
        (&*known, vec![&*cookie, &*cookie]),
        (&*known, vec![cookie.strip_prefix("__Host-").unwrap()]),
        (&*known, vec![&*cookie.replace("__Host-", "__host-")]),
    ] {
        let answer = end(&login(), query, &cookies);
        assert_eq!(
            (answer.status, answer.cookies.len()),
            (400, 0),
            "{query} {cookies:?}"
        );
        assert!(page(&answer).contains("href=\"/\""));
    }
    let query = format!("x_traceparent=00-1&{known}&code=x&iss=y");
    let more = format!("a=b; {cookie};c");
    assert_eq!(
        redirect(&end(&login(), &query, &[&more])),
        "https://www.example.com/a"
    );
}

#[test]
fn an_error_is_a_page_that_repeats_nothing_of_it() {
    let (state, cookie) = begun(&begin(&login(), "/a?b=\"<&c", &[]));
    for (error, status, failure) in [
        ("access_denied", 403, None),
        ("login_required", 403, None),
        ("", 403, None),
        ("whatever", 403, None),
        ("server_error", 503, Some("server_error")),
        (
            "temporarily_unavailable",
            503,
            Some("temporarily_unavailable"),
        ),
        ("invalid_scope", 503, Some("invalid_scope")),
        ("unauthorized_client", 503, Some("unauthorized_client")),
    ] {
        let query = format!("error={error}&error_description=Call+555&state={state}&error=x");
        let answer = end(&login(), &query, &[&cookie]);
        assert_eq!(
            (answer.status, answer.failure),
            (status, failure),
            "{error}"
        );
        assert!(
            page(&answer).contains("href=\"/a?b=%22%3C&#38;c\""),
            "{}",
            page(&answer)
        );
        assert!(!page(&answer).contains("555"));
        assert_eq!(answer.cookies.len(), 1);
        assert!(answer.cookies[0].starts_with(&format!("__Host-authgear_login_{state}=; ")));
        // Without the nonce there is no such page.
        assert_eq!(end(&login(), &query, &[]).status, 400);
    }
}

#[test]
fn after_two_logins_that_do_not_stick_a_page_explains() {
    let mut held: Vec<String> = Vec::new();
    for round in 1..=2 {
        let lines: Vec<_> = held.iter().map(|line| &**line).collect();
        let (state, cookie) = begun(&begin(&login(), "/a", &lines));
        let marker = held.first().cloned().unwrap_or_default();
        let answer = end(&login(), &format!("state={state}"), &[&cookie, &marker]);
        let expected = format!(
            "__Host-authgear_logins={round}; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(answer.cookies[1], expected);
        held = vec![expected.split(';').next().unwrap().to_string()];
    }
    let answer = begin(&login(), "/a", &[&held[0]]);
    assert_eq!(answer.status, 401);
    assert!(page(&answer).contains("href=\"/a\""));
    let forget = "__Host-authgear_logins=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure";
    assert_eq!(answer.cookies, [forget]);
    // A number that was not set here is no reason to keep anybody out.
    for odd in ["-1", "x", "", "256", "99999999999"] {
        let marker = format!("__Host-authgear_logins={odd}");
        assert_eq!(begin(&login(), "/a", &[&marker]).status, 302, "{odd}");
    }
}

#[test]
fn a_session_that_is_seen_ends_the_count() {
    let known = |line: &'static str| login().known([line.as_bytes()].into_iter());
    let forget = "__Host-authgear_logins=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure";
    assert_eq!(
        known("a=b; __Host-authgear_logins=1").as_deref(),
        Some(forget)
    );
    assert_eq!(known("a=b; authgear_logins=1"), None);
    assert_eq!(known(""), None);
}

/// Cookies of logins that began at these times, the nonce of each made from its time.
fn outstanding(times: &[u64], target: &str) -> Vec<String> {
    let value = base64_simd::URL_SAFE_NO_PAD.encode_to_string(target);
    let one = |time: &u64| format!("__Host-authgear_login_{time:022}={time}.{value}");
    times.iter().map(one).collect()
}

/// The nonces that a further login makes the browser forget, as times.
fn forgotten(held: &[String]) -> Vec<u64> {
    let lines = held.join("; ");
    let answer = begin(&login(), "/new", &[&lines]);
    let (_, forgotten) = answer.cookies.split_last().unwrap();
    let time = |cookie: &String| {
        let (name, rest) = cookie.split_once('=').unwrap();
        assert_eq!(rest, "; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure");
        name.rsplit_once('_').unwrap().1.parse().unwrap()
    };
    forgotten.iter().map(time).collect()
}

#[test]
fn of_eight_outstanding_logins_the_oldest_goes() {
    let seven = [107, 101, 103, 102, 106, 105, 104];
    assert_eq!(forgotten(&outstanding(&seven, "/")), [0; 0]);
    let nine = [107, 101, 103, 102, 106, 105, 109, 104, 108];
    assert_eq!(forgotten(&outstanding(&nine, "/")), [102, 101]);
    // Together they are at most 4 KiB: nginx takes 8 KiB of cookies.
    let long = format!("/{}", "x".repeat(1000));
    assert_eq!(forgotten(&outstanding(&[1, 2, 3, 4], &long)), [2, 1]);
    // Names that no login has are somebody else's.
    let strange = ["__Host-authgear_login_short=1.Lw".to_string()];
    assert_eq!(forgotten(&strange), [0; 0]);
    // One answer does not grow without end.
    let many: Vec<u64> = (1000..1400).collect();
    assert_eq!(forgotten(&outstanding(&many, "/")).len(), 16);
}

#[test]
fn outstanding_logins_of_4096_bytes_stay() {
    let own = begun(&begin(&login(), "/a", &[])).1.len();
    let name = format!("__Host-authgear_login_{}=1.", "A".repeat(22));
    for (bytes, set) in [(4096 - own, 1), (4097 - own, 2)] {
        let held = format!("{name:a<bytes$}");
        assert_eq!(begin(&login(), "/a", &[&held]).cookies.len(), set);
    }
}

#[test]
fn a_login_without_a_client_or_a_safe_callback_is_a_mistake() {
    let mistake = |client: &str, callback: &str| Client::new(client, callback).err();
    let of_callback = |error| Some(LoginError::Callback(error));
    assert_eq!(
        mistake("", "https://a.example/"),
        Some(LoginError::NoClient)
    );
    let plain = of_callback(OriginError::PlainHttp);
    assert_eq!(mistake("c", "http://a.example/cb"), plain);
    assert_eq!(mistake("c", "/cb"), of_callback(OriginError::Scheme));
    assert_eq!(
        mistake("c", "https://a.example/#"),
        of_callback(OriginError::Fragment)
    );
    assert_eq!(mistake("c", "http://127.0.0.1:1/cb"), None);
    for callback in ["https://a.example/cb?x&state=1", "https://a.example/?error"] {
        assert_eq!(mistake("c", callback), Some(LoginError::Parameter));
    }
    assert_eq!(mistake("c", "https://a.example./cb"), Some(LoginError::Dot));
    let login = at("https://WWW.example:8443/cb?a=b");
    assert_eq!(
        (login.host(), login.callback_path()),
        ("www.example", "/cb")
    );
    assert_eq!(at("http://[::1]:80/").host(), "[::1]");
}

proptest! {
    #[test]
    fn no_page_leads_to_another_host_or_out_of_its_header(target in "[/\\\\.@:?#%a-c\\x00-\\x20\u{7f}-\u{ff}]{0,12}") {
        let back = returns_to(&target);
        prop_assert!(back.starts_with('/') && !back.starts_with("//"), "{target:?} {back}");
        prop_assert!(back.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{target:?} {back}");
    }

    #[test]
    fn no_cookie_or_query_leads_to_another_host(value in any::<Vec<u8>>(), query in "(state=A{22}|[&=;%+a-z]){0,4}", cookie in "[ -~]{0,40}") {
        let forged = forged("AAAAAAAAAAAAAAAAAAAAAA", &value);
        let answer = end(&login(), &query, &[&forged, &cookie]);
        if let Content::Redirect(url) = &answer.content {
            let path = url.strip_prefix(WWW).unwrap();
            prop_assert!(path.starts_with('/') && !path.starts_with("//"), "{path}");
        }
    }
}
