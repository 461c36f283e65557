//! Revocations on the status page.

use super::*;

#[test]
fn revocations_and_their_stream() {
    let mut shown = snapshot(vec![project("myapp")]);
    let text = shown.render(Format::Text);
    assert!(!text.contains("authgear_webhooks") && !text.contains("authgear_stream"));

    let mut own = project("myapp");
    own.revocations = Some(3);
    own.outlives_revocation = true;
    own.counts.add(Count::Webhook(Received::TooLarge).cell(), 2);
    shown.projects = vec![own];
    shown.stream = Some(Stream {
        is_connected: false,
        down_for: Some(90.0),
        is_incomplete: true,
    });
    if let Some(zone) = &mut shown.zone {
        zone.connections_closed = [4, 5];
    }
    let text = shown.render(Format::Text);
    for line in [
        r#"authgear_webhooks_total{project="myapp",result="too_large"} 2"#,
        r#"authgear_webhooks_total{project="myapp",result="accepted"} 0"#,
        r#"authgear_revocations{project="myapp"} 3"#,
        r#"authgear_connections_closed_total{cause="expired"} 4"#,
        r#"authgear_connections_closed_total{cause="revoked"} 5"#,
        "authgear_stream_connected 0",
        "authgear_stream_lag_seconds 90",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}");
    }
    assert_eq!(
        shown.problems(),
        [
            "Project myapp: a token lives longer than \"revocation_keep\", so that it would stand again \
             when its revocation is forgotten.",
            "The revocation stream has not answered for 90 s: what other nodes receive is missing here.",
            "Revocations from before this node's start have not been read from the stream.",
        ]
    );
    let page = shown.render(Format::Html);
    assert!(
        page.contains("silent for 90 s") && page.contains("2 too_large"),
        "{page}"
    );
    for (is_connected, words) in [(false, "not read yet"), (true, "answers")] {
        shown.stream = Some(Stream {
            is_connected,
            down_for: None,
            is_incomplete: !is_connected,
        });
        let page = shown.render(Format::Html);
        assert!(page.contains(&format!(">{words}</td>")), "{page}");
    }
}
