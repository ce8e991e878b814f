//! TLS on every way: to the source, to the target, between worker and server. Who can't prove who it is, is refused.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;
use wavemark_tests::api::{Api, Job};
use wavemark_tests::cluster::{Authority, Cluster, Options, Validity};
use wavemark_tests::installation::Installation;
use wavemark_tests::pair::{self, Pair, SOURCE, TARGET};

use crate::world::{World, until};

/// Nobody gets in unencrypted, but for the harness itself.
const ENCRYPTED_ONLY: &str = "hostnossl all shop,shop_copy all reject\nhostnossl replication shop all reject";
const END_OURS: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity
     where application_name like 'wavemark %' and application_name <> 'wavemark-tests'";
const LOOPBACK: &str = "DNS:localhost,IP:127.0.0.1";

/// How a task reaches a cluster, with everything checked.
fn verified(cluster: &Cluster, user: &str, database: &str, authority: &Authority) -> Value {
    let mut settings = pair::settings(cluster, user, database);
    settings["tls_mode"] = json!("verify-full");
    settings["tls_ca"] = json!(authority.certificate().unwrap());
    settings
}

async fn endpoints(world: &World, authority: &Authority) -> (Uuid, Uuid) {
    let api = &world.installation.api;
    let (source, target) = (&world.pair.source, &world.pair.target);
    let settings = verified(source, SOURCE, SOURCE, authority);
    let reading = api.create_endpoint("source", "source", &settings, source.password()).await.unwrap();
    let settings = verified(target, TARGET, TARGET, authority);
    (reading, api.create_endpoint("target", "target", &settings, target.password()).await.unwrap())
}

async fn world(authority: &Authority) -> World {
    let encrypted = |mut options: Options<'static>| {
        options.hba = ENCRYPTED_ONLY;
        options
    };
    let source = Options { tls: Some(authority), ..encrypted(Options::source()) };
    let target = Options { tls: Some(authority), ..encrypted(Options::default()) };
    let pair = Pair::start_with(source.set("shared_buffers", "64MB"), target.set("shared_buffers", "64MB"));
    let pair = pair.await.unwrap();
    let (installation, _) = https(authority).await;
    World { installation, pair }
}

/// An installation whose server speaks HTTPS, with one worker that trusts its authority; the file with that.
async fn https(authority: &Authority) -> (Installation, String) {
    let mut installation = Installation::start().await.unwrap();
    installation.server.kill().unwrap();
    let (certificate, key) = authority.server().unwrap();
    let trusted = authority.certificate().unwrap();
    let file = |name: &str| installation.logs().join(name).to_string_lossy().into_owned();
    let (crt, key_file, ca) = (file("crt.pem"), file("key.pem"), file("ca.pem"));
    for (file, pem) in [(&crt, &certificate), (&key_file, &key), (&ca, &trusted)] {
        std::fs::write(file, pem).unwrap();
    }
    installation.server.set_env("WAVEMARK_TLS_CERT", crt);
    installation.server.set_env("WAVEMARK_TLS_KEY", key_file);
    installation.server.start().unwrap();
    let base = installation.api.base().replace("http://", "https://");
    let password = installation.password().to_owned();
    installation.api = Api::trusting(&base, wavemark_tests::installation::ADMIN, &password, &trusted).unwrap();
    installation.api.wait_ready(Duration::from_secs(30)).await.unwrap();
    installation.add_worker_with(&[("WAVEMARK_SERVER_CA", &ca)]).unwrap();
    (installation, ca)
}

/// The step of a test that failed, as text.
async fn failed_step(api: &Api, endpoint: Uuid) -> Value {
    let job: Job = api.test_endpoint(endpoint).await.unwrap();
    let outcome = job.outcome.unwrap();
    let steps = outcome["steps"].as_array().unwrap();
    steps.iter().find(|step| step["passed"] == false).unwrap_or_else(|| panic!("all passed: {outcome}")).clone()
}

/// How many of our sessions a cluster has, and how many of them are encrypted.
async fn sessions(cluster: &Cluster, user: &str) -> (i64, i64) {
    let sql = "select count(*), count(*) filter (where ssl) from pg_stat_activity join pg_stat_ssl using (pid)
               where usename = $1 and application_name like '%wavemark%'
                 and application_name <> 'wavemark-tests'";
    let row = cluster.connect("postgres").await.unwrap().query_one(sql, &[&user]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_travel_encrypted_all_the_way_and_a_certificate_that_is_wrong_stops_them() {
    let authority = Authority::make().unwrap();
    let mut world = world(&authority).await;
    let superuser = world.pair.source.connect(SOURCE).await.unwrap();
    superuser
        .batch_execute("set role shop; create table t (id int primary key); insert into t values (1), (2)")
        .await
        .unwrap();
    let endpoints = endpoints(&world, &authority).await;
    let api = &world.installation.api;
    let rules = pair::whole_schema("public");
    let task = api.create_task("over TLS", "full-load-and-cdc", endpoints, &rules, &json!({})).await.unwrap();
    api.act(task, "start").await.unwrap();
    world.live(task).await;
    superuser.batch_execute("insert into t values (3)").await.unwrap();
    let target = world.pair.target.connect(TARGET).await.unwrap();
    let count = async || target.query_one("select count(*) from t", &[]).await.unwrap().get::<_, i64>(0);
    until(|| async { count().await == 3 }).await;
    for (cluster, user) in [(&world.pair.source, SOURCE), (&world.pair.target, TARGET)] {
        let (all, encrypted) = sessions(cluster, user).await;
        assert!(all > 0 && all == encrypted, "{encrypted} of {all} sessions of {user} are encrypted");
    }

    let mut rows = 3;
    // Each side in turn gets a certificate for another host, then one that has run out, while the task runs: sessions
    // that are open go on, and those that follow them are refused.
    let sides = [(&world.pair.source, endpoints.0), (&world.pair.target, endpoints.1)];
    for (cluster, endpoint) in sides {
        for (names, validity, said) in
            [("DNS:elsewhere.example", Validity::Now, "not valid for name"), (LOOPBACK, Validity::Over, "expired")]
        {
            authority.give(cluster, names, validity).unwrap();
            rows += 1;
            superuser.batch_execute(&format!("insert into t values ({rows})")).await.unwrap();
            until(|| async { count().await == rows }).await;
            cluster.execute("postgres", &[END_OURS]).await.unwrap();
            let step = failed_step(api, endpoint).await;
            let text = step["text"].as_str().unwrap();
            assert!(step["name"] == "TLS" && text.contains(said), "{names} {validity:?}: {step}");
            assert!(step["mend"].as_str().is_some_and(|mend| mend.contains("certificate")), "{step}");
            // So is the next start, until the certificate is mended.
            for start in [false, true] {
                if start {
                    api.act(task, "resume").await.unwrap();
                }
                let problem = world.status(task, "failed").await.problem.unwrap();
                assert_eq!((problem.fault.as_str(), problem.code.as_str()), ("settings", "tls-failed"), "{problem:?}");
                assert!(problem.text.contains(said), "{problem:?}");
            }
            rows += 1;
            superuser.batch_execute(&format!("insert into t values ({rows})")).await.unwrap();
            authority.give(cluster, LOOPBACK, Validity::Now).unwrap();
            api.act(task, "resume").await.unwrap();
            until(|| async { count().await == rows }).await;
        }
    }
    // A certificate of somebody else's authority, at the target.
    let stranger = Authority::make().unwrap();
    let settings = verified(&world.pair.target, TARGET, TARGET, &stranger);
    let distrusted =
        api.create_endpoint("distrusted", "target", &settings, world.pair.target.password()).await.unwrap();
    let step = failed_step(api, distrusted).await;
    assert!(step["name"] == "TLS" && step["text"].as_str().unwrap().contains("invalid peer certificate"), "{step}");

    let all = "select string_agg(id::text, ',' order by id) from t";
    let rows_of = async |client: &tokio_postgres::Client| client.query_one(all, &[]).await.unwrap().get::<_, String>(0);
    assert_eq!(rows_of(&target).await, rows_of(&superuser).await);
    world.installation.all_running().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_talks_only_to_a_server_that_it_can_verify_and_warns_where_nothing_is_verified() {
    let authority = Authority::make().unwrap();
    let (mut installation, ca) = https(&authority).await;
    let trusting = 0;
    until(|| async { installation.api.workers().await.unwrap().len() == 1 }).await;

    let stranger = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(stranger.path(), Authority::make().unwrap().certificate().unwrap()).unwrap();
    let other = stranger.path().to_string_lossy().into_owned();
    let distrusting = installation.add_worker_with(&[("WAVEMARK_SERVER_CA", &other)]).unwrap();
    let plain = installation.api.base().replace("https://", "http://");
    let unencrypted =
        installation.add_worker_with(&[("WAVEMARK_SERVER", &plain), ("WAVEMARK_SERVER_CA", &ca)]).unwrap();
    // Nobody is there; the warning comes first.
    let remote = installation.add_worker_with(&[("WAVEMARK_SERVER", "http://wavemark.invalid:1")]).unwrap();
    let log = |worker: usize| std::fs::read_to_string(installation.workers[worker].log()).unwrap_or_default();
    until(|| async { [distrusting, unencrypted, remote].iter().all(|&worker| log(worker).contains("can't be asked")) })
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(installation.api.workers().await.unwrap().len(), 1, "only the worker that trusts the server is known");
    assert!(log(remote).contains("WITHOUT TLS"), "{}", log(remote));
    for quiet in [trusting, distrusting, unencrypted] {
        assert!(!log(quiet).contains("WITHOUT TLS"), "loopback and TLS need no warning: {}", log(quiet));
    }
}
