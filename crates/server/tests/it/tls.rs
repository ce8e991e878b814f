//! The server's own HTTPS.

use std::process::Command;

use reqwest::{Certificate, Client, Method};
use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wavemark_server::TlsFiles;

use crate::support::{PASSWORD, Server, start_with};

/// A certificate for `localhost` that is its own authority, and its key.
fn certificate() -> TlsFiles {
    let folder = tempfile::tempdir().unwrap();
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
                   -addext subjectAltName=DNS:localhost -addext basicConstraints=CA:FALSE -keyout key -out crt";
    let output = Command::new("openssl").args(request.split_whitespace()).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "openssl failed: {}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    TlsFiles { certificates: read("crt"), key: SecretString::from(read("key")) }
}

fn client(trusted: Option<&str>) -> Client {
    let roots = trusted.map(|pem| Certificate::from_pem(pem.as_bytes()).unwrap());
    Client::builder().tls_certs_only(roots).redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

fn url(server: &Server, scheme: &str, host: &str, path: &str) -> String {
    format!("{scheme}://{host}:{}{path}", server.running.address.port())
}

#[tokio::test]
async fn with_a_certificate_the_server_speaks_https_only_and_its_cookies_never_leave_it() {
    let files = certificate();
    let pem = files.certificates.clone();
    let server = start_with(|config| config.tls = Some(files)).await;
    let trusting = client(Some(&pem));
    let ready = trusting.get(url(&server, "https", "localhost", "/readyz")).send().await.unwrap();
    assert_eq!(ready.status().as_u16(), 200);
    assert_eq!(ready.version(), reqwest::Version::HTTP_2);
    assert_eq!(ready.headers()["strict-transport-security"], "max-age=31536000");

    let form = format!("name=admin&password={}&next=/", PASSWORD.replace(' ', "+"));
    let login = trusting.request(Method::POST, url(&server, "https", "localhost", "/login"));
    let login = login.header("content-type", "application/x-www-form-urlencoded").body(form).send().await.unwrap();
    let cookie = login.headers()["set-cookie"].to_str().unwrap();
    for attribute in ["Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{attribute} is not in the cookie");
    }

    let stranger = client(None).get(url(&server, "https", "localhost", "/readyz")).send().await;
    assert!(stranger.unwrap_err().is_connect(), "a certificate that nobody vouches for is refused");
    let elsewhere = trusting.get(url(&server, "https", "127.0.0.1", "/readyz")).send().await;
    assert!(elsewhere.unwrap_err().is_connect(), "a certificate for another name is refused");
    client(None).get(url(&server, "http", "localhost", "/readyz")).send().await.unwrap_err();
}

// openssl is waited for while the server answers it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_protocol_is_refused_and_a_silent_handshake_is_cut_off() {
    let files = certificate();
    let server = start_with(|config| config.tls = Some(files)).await;
    let address = server.running.address.to_string();
    for (version, taken) in [("-tls1_3", true), ("-tls1_2", true), ("-tls1_1", false), ("-tls1", false)] {
        let mut command = Command::new("openssl");
        // At this level openssl itself would speak the old ones.
        command.args(["s_client", "-connect", &address, "-cipher", "ALL:@SECLEVEL=0", version]);
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        assert_eq!(output.status.success(), taken, "{version}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut silent = tokio::net::TcpStream::connect(server.running.address).await.unwrap();
    silent.write_all(&[22, 3, 1]).await.unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(std::time::Duration::from_secs(15), silent.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "a handshake that does not go on is waited for");
}
