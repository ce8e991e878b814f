//! Who a server of MySQL's family is and who we are: certificates, and each way to prove a password.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use tempfile::TempDir;
use wavemark_tests::cluster::Authority;
use wavemark_tests::installation::Installation;
use wavemark_tests::mariadb::Installed;
use wavemark_tests::mysql::Unpacked;
use wavemark_tests::mysql_family::{Programs, Server};

const PASSWORD: &str = "it's a secret";

/// A server with a certificate of an authority for some names, and the folder where its files are.
fn encrypted<P: Programs>(authority: &Authority, names: &str, more: &[&str]) -> (Server<P>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = authority.server_for(names).unwrap();
    let pem = [("ca", authority.certificate().unwrap()), ("cert", certificate), ("key", key)];
    // The server runs as another user, and the key is of no worth.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let option = |(name, text): (&str, String)| {
        let file = folder.path().join(format!("{name}.pem"));
        std::fs::write(&file, text).unwrap();
        format!("--ssl-{name}={}", file.display())
    };
    let options = pem.map(option);
    let options: Vec<&str> = options.iter().map(String::as_str).chain(more.iter().copied()).collect();
    (Server::start(&options).unwrap(), folder)
}

async fn installation() -> Installation {
    let mut installation = Installation::start().await.unwrap();
    installation.add_worker().unwrap();
    installation
}

/// The first step of an endpoint's test that did not pass, and what is said of it; `None` if the user is in.
async fn refused(installation: &Installation, name: &str, settings: &Value) -> Option<(String, String)> {
    let api = &installation.api;
    let mut whole = json!({"host": "127.0.0.1", "user": "visitor"});
    for (name, value) in settings.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let endpoint = api.create_endpoint_of("mysql", name, "source", &whole, PASSWORD).await.unwrap();
    let outcome = api.test_endpoint(endpoint).await.unwrap().outcome.unwrap();
    let steps = outcome["steps"].as_array().unwrap();
    if steps.iter().any(|step| step["name"] == "log in" && step["passed"] == true) {
        return None;
    }
    let failed = steps.iter().find(|step| step["passed"] == false).unwrap();
    Some((failed["name"].as_str().unwrap().to_owned(), format!("{} {}", failed["text"], failed["mend"])))
}

fn visitor<P: Programs>(server: &Server<P>, identified: &str) {
    server
        .execute(&format!("CREATE USER visitor@'127.0.0.1' {identified}; GRANT SELECT ON *.* TO visitor@'127.0.0.1'"))
        .unwrap();
}

pub(crate) async fn a_certificate_is_checked_by_authority_and_host<P: Programs>() {
    let (authority, another) = (Authority::make().unwrap(), Authority::make().unwrap());
    let (right, _files) = encrypted::<P>(&authority, "DNS:localhost,IP:127.0.0.1", &[]);
    let (elsewhere, _more) = encrypted::<P>(&authority, "DNS:elsewhere.example,IP:192.0.2.1", &[]);
    for server in [&right, &elsewhere] {
        visitor(server, "IDENTIFIED BY 'it''s a secret' REQUIRE SSL");
    }
    let installation = installation().await;
    let settings = |server: &Server<P>, mode: &str, authority: &Authority| json!({"port": server.port(), "tls_mode": mode, "tls_ca": authority.certificate().unwrap()});
    assert_eq!(refused(&installation, "right", &settings(&right, "verify-full", &authority)).await, None);
    assert_eq!(refused(&installation, "its authority", &settings(&elsewhere, "verify-ca", &authority)).await, None);
    for (name, server, mode, authority) in [
        ("wrong authority", &right, "verify-full", &another),
        ("wrong authority, any host", &right, "verify-ca", &another),
        ("wrong host", &elsewhere, "verify-full", &authority),
    ] {
        let (step, said) = refused(&installation, name, &settings(server, mode, authority)).await.unwrap();
        assert_eq!(step, "TLS", "{name}: {said}");
        assert!(said.contains("tls_ca is the authority"), "{name}: {said}");
    }
    // The server lets nobody in who does not encrypt.
    let open = json!({"port": right.port(), "tls_mode": "disable"});
    let (step, said) = refused(&installation, "open", &open).await.unwrap();
    assert_eq!(step, "log in", "{said}");
}

/// MySQL keeps a hash of the password once it has seen it, by which it knows the user from then on without TLS.
pub(crate) async fn the_password_is_asked_for_once_and_known_then() {
    let server = Server::<Unpacked>::start(&[]).unwrap();
    visitor(&server, "IDENTIFIED WITH caching_sha2_password BY 'it''s a secret'");
    let installation = installation().await;
    let by = |mode: &str| json!({"port": server.port(), "tls_mode": mode});
    for round in 0..2 {
        let (step, said) = refused(&installation, &format!("unknown {round}"), &by("disable")).await.unwrap();
        assert_eq!(step, "log in", "{said}");
        assert!(said.contains("not encrypted") && said.contains("tls_mode to require"), "{said}");
        assert_eq!(refused(&installation, &format!("shown {round}"), &by("require")).await, None);
        assert_eq!(refused(&installation, &format!("known {round}"), &by("disable")).await, None);
        // The server forgets what it knew.
        server.execute("FLUSH PRIVILEGES").unwrap();
    }
}

pub(crate) async fn a_password_is_proved_by_ed25519() {
    let server = Server::<Installed>::start(&["--plugin-load-add=auth_ed25519"]).unwrap();
    visitor(&server, "IDENTIFIED VIA ed25519 USING PASSWORD('it''s a secret')");
    let installation = installation().await;
    let settings = json!({"port": server.port(), "tls_mode": "disable"});
    assert_eq!(refused(&installation, "right", &settings).await, None);
    server.execute("ALTER USER visitor@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('another')").unwrap();
    let (step, said) = refused(&installation, "wrong", &settings).await.unwrap();
    assert_eq!(step, "log in", "{said}");
}

/// The server's plugin asks for the password itself. Who it is that it lets in is asked elsewhere, and nobody is known there: a
/// server that says so has been sent the password.
pub(crate) async fn a_password_itself_goes_only_to_a_server_whose_certificate_was_checked() {
    let authority = Authority::make().unwrap();
    let asks = ["--plugin-load-add=auth_pam_v1", "--pam-use-cleartext-plugin=ON"];
    let (server, _files) = encrypted::<Installed>(&authority, "DNS:localhost,IP:127.0.0.1", &asks);
    visitor(&server, "IDENTIFIED VIA pam USING 'wavemark-test'");
    let installation = installation().await;
    for mode in ["disable", "require"] {
        let settings = json!({"port": server.port(), "tls_mode": mode});
        let (step, said) = refused(&installation, mode, &settings).await.unwrap();
        assert_eq!(step, "log in", "{said}");
        assert!(said.contains("nothing proves") && said.contains("tls_mode to verify-full"), "{said}");
    }
    let ca = authority.certificate().unwrap();
    let settings = json!({"port": server.port(), "tls_mode": "verify-full", "tls_ca": ca});
    let (step, said) = refused(&installation, "checked", &settings).await.unwrap();
    assert!(step == "log in" && said.contains("Access denied"), "{said}");
}
