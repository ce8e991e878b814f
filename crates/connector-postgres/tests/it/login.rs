//! Logging in to a real server, in every way that is supported, and being refused in those that matter.

use crate::support::certificates::Certificates;
use crate::support::{Cluster, PASSWORD};
use secrecy::SecretString;
use wavemark_connector_postgres::tls::{self, Tls, TlsMode, TlsSettings};
use wavemark_connector_postgres::wire::{ChannelBinding, ConnectSettings, Connection, WireError};
use wavemark_domain::Fault;

const ROLES: &str = "
    set password_encryption = 'scram-sha-256';
    create role scram replication login password 'pass''word \\ 1';
    create role certified replication login;
    create role plain replication login password 'pass''word \\ 1';
    set password_encryption = 'md5';
    create role md5 replication login password 'pass''word \\ 1';";

const HBA: &str = "
    host all scram localhost scram-sha-256
    hostssl all certified localhost cert
    host all plain localhost password
    host all md5 localhost md5";

fn cluster(certificates: Option<&Certificates>) -> Cluster {
    let (ssl, ca) = if certificates.is_some() { ("on", "ca.crt") } else { ("off", "") };
    let cluster = Cluster::prepared(&[("ssl", ssl), ("ssl_ca_file", ca)], HBA, |data| {
        if let Some(certificates) = certificates {
            certificates.install(data);
        }
    });
    cluster.sql(ROLES);
    cluster
}

fn settings(cluster: &Cluster, user: &str, tls: &TlsSettings) -> ConnectSettings {
    let mut settings = ConnectSettings::new("localhost", cluster.port, user, "postgres", Tls::new(tls).unwrap());
    settings.password = Some(SecretString::from(PASSWORD));
    settings
}

fn verified(mode: TlsMode, certificates: &Certificates) -> TlsSettings {
    TlsSettings { mode, ca: Some(certificates.pem("ca.crt")), ..TlsSettings::default() }
}

async fn refused(settings: &ConnectSettings) -> WireError {
    match Connection::connect(settings).await {
        Ok(_) => panic!("the login should have been refused"),
        Err(error) => error,
    }
}

async fn text(connection: &mut Connection, sql: &str) -> String {
    connection.query(sql).await.unwrap()[0].rows[0].text(0).unwrap().to_owned()
}

#[tokio::test]
async fn passwords_work_without_tls() {
    let cluster = cluster(None);
    let plain = TlsSettings::default();
    for user in ["scram", "plain", "md5"] {
        let mut connection = Connection::connect(&settings(&cluster, user, &plain)).await.unwrap();
        assert_eq!(text(&mut connection, "select current_user").await, user);
        assert!(!connection.is_encrypted() && !connection.is_channel_bound());
        assert_eq!(text(&mut connection, "select pg_backend_pid()").await, connection.backend_pid().to_string());
        assert_eq!(connection.parameter("client_encoding"), Some("UTF8"));
        connection.close().await.unwrap();
    }
    for user in ["scram", "plain", "md5"] {
        let mut wrong = settings(&cluster, user, &plain);
        wrong.password = Some(SecretString::from("wrong"));
        let error = refused(&wrong).await;
        assert_eq!(error.code(), Some("28P01"), "{user}: {error}");
        assert_eq!(error.fault(), Fault::Settings);
        wrong.password = None;
        assert!(matches!(refused(&wrong).await, WireError::Login(_)));
    }
    let unknown = ConnectSettings { database: "nowhere".to_owned(), ..settings(&cluster, "scram", &plain) };
    assert_eq!(refused(&unknown).await.code(), Some("3D000"));
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let cluster = cluster(None);
    let demanding = TlsSettings { mode: TlsMode::Require, ..TlsSettings::default() };
    assert!(matches!(refused(&settings(&cluster, "scram", &demanding)).await, WireError::TlsNotOffered));
    let mut bound = settings(&cluster, "scram", &TlsSettings::default());
    bound.channel_binding = ChannelBinding::Require;
    assert!(matches!(refused(&bound).await, WireError::Login(_)));
}

#[tokio::test]
async fn tls_verifies_what_its_mode_says() {
    let certificates = Certificates::make("sha256");
    let stranger = Certificates::make("sha256");
    let cluster = cluster(Some(&certificates));
    for mode in [TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull] {
        let mut connection =
            Connection::connect(&settings(&cluster, "scram", &verified(mode, &certificates))).await.unwrap();
        let ssl = "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()";
        assert_eq!(text(&mut connection, ssl).await, "true");
        assert!(connection.is_channel_bound());
    }
    // The certificate is for localhost, not for the address.
    let by_address = |mode| {
        let mut settings = settings(&cluster, "scram", &verified(mode, &certificates));
        settings.host = "127.0.0.1".to_owned();
        settings
    };
    let error = refused(&by_address(TlsMode::VerifyFull)).await;
    assert!(matches!(error, WireError::Tls { .. }) && error.fault() == Fault::Settings, "{error:?}");
    Connection::connect(&by_address(TlsMode::VerifyCa)).await.unwrap();
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyFull] {
        let error = refused(&settings(&cluster, "scram", &verified(mode, &stranger))).await;
        assert!(matches!(error, WireError::Tls { .. }) && error.fault() == Fault::Settings, "{error:?}");
    }
    // The driver for everything else takes the same settings.
    let tls = Tls::new(&verified(TlsMode::VerifyFull, &certificates)).unwrap();
    let mut config = tokio_postgres::Config::new();
    config.host("localhost").port(cluster.port).user("scram").password(PASSWORD).dbname("postgres");
    config.ssl_mode(tls::ssl_mode(&tls));
    let (client, driver) = config.connect(tls::connect(&tls)).await.unwrap();
    let driver = tokio::spawn(driver);
    let row = client.query_one("select ssl from pg_stat_ssl where pid = pg_backend_pid()", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0));
    drop(client);
    driver.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_demanded_channel_binding_refuses_every_other_login() {
    let certificates = Certificates::make("sha384");
    let cluster = cluster(Some(&certificates));
    let bound = |user| {
        let mut settings = settings(&cluster, user, &verified(TlsMode::VerifyFull, &certificates));
        settings.channel_binding = ChannelBinding::Require;
        settings
    };
    assert!(Connection::connect(&bound("scram")).await.unwrap().is_channel_bound());
    // md5, the bare password, and a server that asks for nothing at all.
    for user in ["md5", "plain", "postgres"] {
        assert!(matches!(refused(&bound(user)).await, WireError::Login(_)), "{user}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_enough_where_the_server_takes_it() {
    let certificates = Certificates::make("sha256");
    let cluster = cluster(Some(&certificates));
    let mut tls = verified(TlsMode::VerifyFull, &certificates);
    let without = refused(&settings(&cluster, "certified", &tls)).await;
    assert_eq!(without.code(), Some("28000"), "{without}");
    tls.client_certificate = Some(certificates.pem("client.crt"));
    tls.client_key = Some(SecretString::from(certificates.pem("client.key")));
    let mut connection = Connection::connect(&settings(&cluster, "certified", &tls)).await.unwrap();
    assert_eq!(text(&mut connection, "select current_user").await, "certified");
}

#[tokio::test]
async fn a_self_signed_certificate_can_be_trusted_itself_and_bound_to() {
    let certificates = Certificates::self_signed();
    let cluster = cluster(Some(&certificates));
    let mut settings = settings(&cluster, "scram", &verified(TlsMode::VerifyFull, &certificates));
    settings.channel_binding = ChannelBinding::Require;
    assert!(Connection::connect(&settings).await.unwrap().is_channel_bound());
    settings.host = "127.0.0.1".to_owned();
    assert!(matches!(refused(&settings).await, WireError::Tls { .. }));
    settings.host = "localhost".to_owned();
    settings.tls = Tls::new(&verified(TlsMode::VerifyFull, &Certificates::self_signed())).unwrap();
    assert!(matches!(refused(&settings).await, WireError::Tls { .. }));
}

#[tokio::test]
async fn an_unknown_host_and_a_closed_port_are_told_apart() {
    let tls = Tls::new(&TlsSettings::default()).unwrap();
    let unknown = ConnectSettings::new("no-such-host.invalid", 5432, "u", "d", tls.clone());
    assert!(matches!(refused(&unknown).await, WireError::Resolve { .. }));
    let closed = ConnectSettings::new("127.0.0.1", 1, "u", "d", tls);
    let error = refused(&closed).await;
    assert_eq!(error.to_string(), "cannot connect to 127.0.0.1:1");
    assert_eq!(error.fault(), Fault::Transient);
}
