use super::*;

#[test]
fn origins_in_their_one_form() {
    for (text, origin) in [
        (
            "https://myapp.authgear.cloud",
            "https://myapp.authgear.cloud",
        ),
        (
            "https://myapp.authgear.cloud/",
            "https://myapp.authgear.cloud",
        ),
        (
            "HTTPS://MyApp.Authgear.Cloud",
            "https://myapp.authgear.cloud",
        ),
        ("https://a.example:443", "https://a.example"),
        ("https://a.example:0443/", "https://a.example"),
        ("https://a.example:8443", "https://a.example:8443"),
        ("https://a.example:80", "https://a.example:80"),
        (
            "https://xn--bcher-kva.example",
            "https://xn--bcher-kva.example",
        ),
        ("https://a-b.1.example", "https://a-b.1.example"),
        ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
        ("https://[2001:DB8:0::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://localhost", "https://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://LOCALHOST:80", "http://localhost"),
        ("http://127.0.0.1:3000/", "http://127.0.0.1:3000"),
        ("http://127.255.0.9", "http://127.255.0.9"),
        ("http://[::1]:65535", "http://[::1]:65535"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
    ] {
        let parsed = Origin::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(parsed.as_str(), origin, "{text}");
        assert_eq!(parsed.to_string(), origin, "{text}");
        let host = origin.split_once("://").unwrap().1;
        assert_eq!(parsed.host(), host, "{text}");
        assert_eq!(Origin::parse(parsed.as_str()).as_ref(), Ok(&parsed));
        assert_eq!(Origin::parse_internal(text).as_ref(), Ok(&parsed));
        assert!(!parsed.is_exposed());
    }
}

#[test]
fn what_is_no_origin() {
    use OriginError::*;
    for (text, error) in [
        ("", Scheme),
        ("myapp.authgear.cloud", Scheme),
        ("//a.example", Scheme),
        ("https:/a.example", Scheme),
        ("https:a.example", Scheme),
        ("ftp://a.example", Scheme),
        (" https://a.example", Scheme),
        ("javascript://a.example", Scheme),
        ("http://a.example", PlainHttp),
        ("http://128.0.0.1", PlainHttp),
        ("http://localhost.example", PlainHttp),
        ("http://a.localhost", PlainHttp),
        ("http://[::2]", PlainHttp),
        ("http://[::ffff:127.0.0.1]", PlainHttp),
        ("https://a.example ", Character),
        ("https://a .example", Character),
        ("https://a.example\n", Character),
        ("https://a.example\0", Character),
        ("https://a.example\\b", Character),
        ("https://b\u{fc}cher.example", Character),
        ("https://a.example/\u{fc}", Character),
        ("https://{tenant}.example", Character),
        ("https://a.example\x7f", Character),
        ("https://user@a.example", UserInfo),
        ("https://user:password@a.example", UserInfo),
        ("https://@a.example", UserInfo),
        ("https://a.example/path", Path),
        ("https://a.example//", Path),
        ("https://a.example/.", Path),
        ("https://a.example/@b", Path),
        ("https://a.example?x", Query),
        ("https://a.example/?x", Query),
        ("https://a.example#x", Fragment),
        ("https://a.example/#", Fragment),
        ("https://", NoHost),
        ("https:///path", NoHost),
        ("https://:443", NoHost),
        ("https://?x", NoHost),
    ] {
        assert_eq!(Origin::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn what_is_no_host_or_port() {
    use OriginError::{Host, Port};
    for (text, error) in [
        ("https://.", Host),
        ("https://a..example", Host),
        ("https://.a.example", Host),
        ("https://a.example.", Host),
        ("https://-a.example", Host),
        ("https://a-.example", Host),
        ("https://a_b.example", Host),
        ("https://a%2eexample", Host),
        ("https://a%.example", Host),
        ("https://a,b.example", Host),
        ("https://a*b.example", Host),
        ("https://*.example", Host),
        ("https://$tenant.example", Host),
        ("https://127.1", Host),
        ("https://2130706433", Host),
        ("https://0x7f.1", Host),
        ("https://127.0.0.0x1", Host),
        ("https://256.0.0.1", Host),
        ("https://1.2.3.4.5", Host),
        ("https://127.0.0.01", Host),
        ("https://[::1", Host),
        ("https://[::1]x", Host),
        ("https://[]", Host),
        ("https://[127.0.0.1]", Host),
        ("https://[fe80::1%eth0]", Host),
        ("https://a.example:", Port),
        ("https://a.example:0", Port),
        ("https://a.example:00000", Port),
        ("https://a.example:65536", Port),
        ("https://a.example:000443", Port),
        ("https://a.example:+443", Port),
        ("https://a.example:x", Port),
        ("https://a.example:443:443", Port),
        ("https://::1", Port),
        ("https://[::1]:", Port),
    ] {
        assert_eq!(Origin::parse(text), Err(error), "{text:?}");
    }
    let label = "a".repeat(63);
    let long = [label.as_str(); 4].join(".");
    assert!(Origin::parse(&format!("https://{label}.example")).is_ok());
    assert_eq!(
        Origin::parse(&format!("https://{label}a.example")),
        Err(Host)
    );
    assert!(Origin::parse(&format!("https://{}", &long[..253])).is_ok());
    assert_eq!(
        Origin::parse(&format!("https://{}", &long[..254])),
        Err(Host)
    );
}

#[test]
fn internal_origins_may_be_plain() {
    let origin = Origin::parse_internal("http://authgear_main:3000").unwrap();
    assert_eq!(origin.as_str(), "http://authgear_main:3000");
    assert!(origin.is_exposed());
    assert!(!Origin::parse_internal("https://a.example")
        .unwrap()
        .is_exposed());
    assert_eq!(
        Origin::parse_internal("http://a.example/x"),
        Err(OriginError::Path)
    );
    assert_eq!(
        Origin::parse_internal("ftp://a.example"),
        Err(OriginError::Scheme)
    );
}

#[test]
fn loopback_is_told_by_the_text_alone() {
    for (text, is_loopback) in [
        ("https://localhost", true),
        ("https://127.0.0.1", true),
        ("https://127.9.9.9", true),
        ("https://[::1]", true),
        ("https://a.example", false),
        ("https://126.255.255.255", false),
        ("https://0.0.0.0", false),
        ("https://[::]", false),
        ("https://localhost.a.example", false),
    ] {
        assert_eq!(
            Origin::parse(text).unwrap().is_loopback(),
            is_loopback,
            "{text}"
        );
    }
}

#[test]
fn urls_keep_path_and_query_but_show_no_query() {
    for (text, origin, path, shown) in [
        (
            "https://a.example/oauth2/jwks",
            "https://a.example",
            "/oauth2/jwks",
            "https://a.example/oauth2/jwks",
        ),
        (
            "https://A.example:443/J?k=v%20",
            "https://a.example",
            "/J?k=v%20",
            "https://a.example/J",
        ),
        (
            "https://a.example",
            "https://a.example",
            "/",
            "https://a.example/",
        ),
        (
            "https://a.example?k=v",
            "https://a.example",
            "/?k=v",
            "https://a.example/",
        ),
        (
            "http://a.example:8080/x/@y//z",
            "http://a.example:8080",
            "/x/@y//z",
            "http://a.example:8080/x/@y//z",
        ),
    ] {
        let url = Url::parse(text).unwrap();
        assert_eq!(url.origin().as_str(), origin);
        assert_eq!(url.path_and_query(), path);
        assert_eq!(url.to_string(), shown);
    }
    for (text, error) in [
        ("https://a.example/x#y", OriginError::Fragment),
        ("https://a.example/x y", OriginError::Character),
        ("https://a.example/x\r\nHost: b", OriginError::Character),
        ("https://a@b.example/x", OriginError::UserInfo),
        ("/oauth2/jwks", OriginError::Scheme),
        ("file:///etc/passwd", OriginError::Scheme),
    ] {
        assert_eq!(Url::parse(text), Err(error), "{text}");
    }
}

#[test]
fn a_template_is_refused_where_no_value_helps() {
    use OriginError::{Character, Fragment, Path, Query, Scheme, UserInfo};
    for text in [
        "$endpoint",
        "$scheme://a.example/b",
        "https://$tenant.example.com",
        "https://${tenant}.example.com",
        "https://$host:$port",
        "https://a.example:${port}",
        "http://$host",
    ] {
        assert_eq!(Origin::check_template(text), Ok(()), "{text}");
    }
    for (text, error) in [
        ("ftp://$host", Scheme),
        ("https://$host/app", Path),
        ("https://${host}/app", Path),
        ("https://$host?a", Query),
        ("https://$host#a", Fragment),
        ("https://me@$host", UserInfo),
        ("https://a b.$host", Character),
    ] {
        assert_eq!(Origin::check_template(text), Err(error), "{text}");
    }
}
