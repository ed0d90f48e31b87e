//! Who asks for what is not there, or may not ask.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use super::{ask, get, served};
use crate::program::{Node, TestResult};

#[test]
fn what_is_not_asked_properly_is_refused() -> TestResult {
    let node = Node::new()?;
    let (daemon, address) = served(&node, &[])?;
    for (request, expected) in [
        (format!("POST / HTTP/1.1\r\nHost: {address}\r\n\r\n"), 405),
        (
            format!("DELETE /api/v1/status HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            405,
        ),
        (
            format!("GET /nothing HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            404,
        ),
        (
            format!("GET /../etc/passwd HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            404,
        ),
        (
            format!("GET /api/v1/history?hours=0 HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            400,
        ),
        // A supervisor asks as it likes: nothing is said of the node.
        (
            "GET /readyz HTTP/1.1\r\nHost: node.example\r\n\r\n".to_owned(),
            200,
        ),
        (
            "GET /healthz HTTP/1.1\r\nHost: node.example\r\n\r\n".to_owned(),
            200,
        ),
        // A page of the web that resolves its own name to this address.
        (
            "GET /api/v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
            421,
        ),
        (
            "GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1.evil.example:80\r\n\r\n".to_owned(),
            421,
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost:9464\r\n\r\n".to_owned(),
            200,
        ),
        ("GET / HTTP/1.1\r\nHost: [::1]:9464\r\n\r\n".to_owned(), 200),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (
            format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(40_000)),
            431,
        ),
    ] {
        let (status, _, body) = ask(address, &request)?;
        assert_eq!(
            status,
            expected,
            "{}: {body}",
            request.lines().next().unwrap_or_default()
        );
    }
    let head = ask(
        address,
        &format!("HEAD / HTTP/1.1\r\nHost: {address}\r\n\r\n"),
    )?;
    assert_eq!((head.0, head.2.as_str()), (200, ""));
    // Who says nothing keeps nobody else from asking.
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(address))
        .collect::<Result<_, _>>()?;
    assert_eq!(get(address, "/readyz")?.0, 200);
    drop(silent);
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

#[test]
fn who_asks_from_elsewhere_needs_a_token() -> TestResult {
    let node = Node::new()?;
    node.json(&["init", "-o", "json"], 0)?;
    let exposed = node.output(&["run", "--listen", "0.0.0.0:0"])?;
    assert_eq!(exposed.status.code(), Some(2), "{exposed:?}");

    let token = node.path("token");
    let config = std::fs::read_to_string(node.path("config.toml"))?;
    node.write_config(&config.replace("token_file = \"\"", "token_file = \"token\""))?;
    assert_eq!(
        node.output(&["run"])?.status.code(),
        Some(9),
        "there is none"
    );
    std::fs::write(&token, "short\n")?;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    assert_eq!(
        node.output(&["run"])?.status.code(),
        Some(2),
        "it can be guessed"
    );
    std::fs::write(&token, "a-token-of-enough-length\n")?;

    let (daemon, address) = served(&node, &[])?;
    let with = |header: &str, path: &str| {
        ask(
            address,
            &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}\r\n"),
        )
    };
    for path in ["/", "/metrics", "/api/v1/status", "/page.js"] {
        let (status, head, _) = with("", path)?;
        assert_eq!(status, 401, "{path}");
        assert!(head.contains("www-authenticate: basic"), "{path}");
        assert_eq!(
            with("Authorization: Bearer wrong-token-of-length\r\n", path)?.0,
            401
        );
        assert_eq!(
            with("Authorization: Bearer a-token-of-enough-length\r\n", path)?.0,
            200
        );
    }
    // Who knows it may ask by any name: behind a proxy, by the name of the machine.
    let by_name = "GET / HTTP/1.1\r\nHost: node.example\r\nAuthorization: Bearer a-token-of-enough-length\r\n\r\n";
    assert_eq!(ask(address, by_name)?.0, 200);
    // What a supervisor asks says nothing about the node.
    assert_eq!(with("", "/healthz")?.0, 200);
    assert_eq!(with("", "/readyz")?.0, 200);
    assert_eq!(daemon.end("-TERM")?, Some(0));
    Ok(())
}

#[test]
fn an_address_that_is_taken_is_said_before_the_database_is_touched() -> TestResult {
    let node = Node::new()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let refused = node.output(&["run", "--listen", &address])?;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("--listen"), "{told}");
    assert!(!node.path("data.sled.journal").exists());
    Ok(())
}
