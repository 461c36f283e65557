//! The echoing backend, by its bytes.

use authgear_standin::echo::{listen, run, Options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn start() -> TcpStream {
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
    };
    let (listener, at) = listen(&options).unwrap();
    tokio::spawn(run(listener));
    TcpStream::connect(at.http.strip_prefix("http://").unwrap())
        .await
        .unwrap()
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        text.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn it_answers_with_the_request() {
    let mut stream = start().await;
    let request = "POST /a?b HTTP/1.1\r\nhOST: x\r\nX_Odd: 1\r\nx-b:2\r\nx-b: 3\r\nContent-Length: 2\r\n\r\nhi";
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"),
        "{head}"
    );
    let body = until(&mut stream, "\n\nhi").await;
    let expected = "POST /a?b HTTP/1.1\nhOST: x\nX_Odd: 1\nx-b:2\nx-b: 3\nContent-Length: 2\n\nhi";
    assert_eq!(body, expected);

    // The connection goes on, and a HEAD has no body.
    stream.write_all(b"HEAD / HTTP/1.1\r\n\r\n").await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(head.contains("Content-Length: 17\r\n"), "{head}");

    // A long body in chunks is summed up.
    stream
        .write_all(b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..2 {
        stream
            .write_all(format!("400\r\n{}\r\n", "x".repeat(1024)).as_bytes())
            .await
            .unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("\n\n2048 bytes, sha256 "), "{rest}");
    assert!(rest.contains("Connection: close\r\n"), "{rest}");
}

#[tokio::test]
async fn a_websocket_echoes_bytes() {
    let mut stream = start().await;
    let request = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        X-Authgear-User-Id: u\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly";
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{head}"
    );
    assert!(head.contains("Echo-X-Authgear-User-Id: u\r\n"), "{head}");
    assert_eq!(until(&mut stream, "early").await, "early");
    stream.write_all(b"late").await.unwrap();
    assert_eq!(until(&mut stream, "late").await, "late");
}
