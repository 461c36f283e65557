//! Arbitrary bytes as a discovery document, of an https endpoint and of one on loopback.
//!
//! Keys are fetched only from where a document of that issuer says, never by plain http off loopback, nor by any http
//! from an https endpoint; the `url` crate reads the same host.

use authgear_core::fuzzing::jwks_uri;
use authgear_core::keys::Origin;

use crate::assert_printable;
use crate::origin::check_url;
use crate::reference::{parse, Fault, Json};

/// One input.
pub fn run(data: &[u8]) {
    for endpoint in ["https://a.example", "http://localhost:3100"] {
        let endpoint = Origin::parse(endpoint).expect("an origin");
        let found = jwks_uri(data, &endpoint);
        let json = match parse(data) {
            Ok(json) => json,
            Err(Fault::Deep) => continue,
            // serde skips what nobody asks for, whatever its encoding.
            Err(Fault::Invalid) if std::str::from_utf8(data).is_err() => continue,
            Err(Fault::Invalid) => {
                assert!(found.is_err());
                continue;
            }
        };
        let text = |name| json.get(name).and_then(Json::text);
        let url = match found {
            Ok(url) => url,
            Err(message) => {
                assert_printable(&message);
                continue;
            }
        };
        // serde reads a struct from an array too, in the order of its fields.
        if let Json::Object(_) = json {
            assert_eq!((json.count("issuer"), json.count("jwks_uri")), (1, 1));
            let issuer = text("issuer").expect("an issuer");
            let origin = |text| url::Url::parse(text).expect("a URL").origin();
            assert_eq!(origin(issuer), origin(endpoint.as_str()));
            check_url(text("jwks_uri").expect("a URL"), &url);
        }
        assert!(!url.origin().is_exposed());
        assert!(endpoint.scheme() != "https" || url.origin().scheme() == "https");
        assert_printable(&url.to_string());
    }
}
