//! What attackers send: floods of logins, planted cookies, posts of other sites, line ends in fields, bodies that
//! are too large, too slow or too deep.

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{PASSWORD, Server, WORKER_TOKEN, send, start, start_with};

const FORM: &str = "application/x-www-form-urlencoded";

/// A post of the log in's form.
async fn log_in_page(server: &Server, fields: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut request = client.post(format!("{}/login", server.url)).header("content-type", FORM);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(fields.to_owned()).send().await.unwrap()
}

fn right() -> String {
    format!("name=admin&password={}&next=/", PASSWORD.replace(' ', "+"))
}

#[tokio::test]
async fn an_address_that_tries_many_names_is_held_and_told_for_how_long() {
    let server = start().await;
    for number in 0..50 {
        let tried = server.login(&format!("user{number}"), "wrong wrong").await;
        assert_eq!(tried.code(), "wrong-login", "{number}");
    }
    let held = server.login("admin", PASSWORD).await;
    assert_eq!((held.status.as_u16(), held.code()), (429, "too-many-logins"));
    let seconds =
        |headers: &reqwest::header::HeaderMap| -> u64 { headers["retry-after"].to_str().unwrap().parse().unwrap() };
    assert!((1..=301).contains(&seconds(&held.headers)));
    let page = log_in_page(&server, &right(), &[("sec-fetch-site", "same-origin")]).await;
    assert_eq!(page.status().as_u16(), 429);
    assert!((1..=301).contains(&seconds(page.headers())));
    assert!(!page.headers().contains_key("set-cookie"));
}

#[tokio::test]
async fn many_logins_at_once_do_not_slip_through() {
    let server = start().await;
    let tries = (0..40).map(|_| server.login("admin", "wrong wrong wrong"));
    let answers = futures_util::future::join_all(tries).await;
    let wrong = answers.iter().filter(|answer| answer.status.as_u16() == 401).count();
    assert_eq!(wrong, 10);
    assert!(answers.iter().all(|answer| matches!(answer.status.as_u16(), 401 | 429)));
}

#[tokio::test]
async fn the_first_runs_code_is_not_guessed() {
    let server = start_with(|config| config.admin_password = None).await;
    let body = json!({"code": "aaaa-aaaa-aaaa-aaaa", "name": "ann", "password": PASSWORD});
    let guess = async || send(server.request(Method::POST, "/api/v1/auth/first-run").json(&body)).await;
    for _ in 0..10 {
        assert_eq!(guess().await.code(), "wrong-code");
    }
    let held = guess().await;
    assert_eq!((held.status.as_u16(), held.headers.contains_key("retry-after")), (429, true));
}

#[tokio::test]
async fn a_password_typed_as_a_name_is_not_kept() {
    let server = start().await;
    server.login("correct horse battery", "admin").await.expect(401);
    let admin = server.admin().await;
    let audit = admin.get("/audit").await.expect(200);
    assert!(!audit.to_string().contains("horse"), "{audit}");
    let failed = audit["items"].as_array().unwrap().iter().find(|deed| deed["action"] == "login.failed").unwrap();
    assert_eq!((&failed["actor"], &failed["address"]), (&json!("unknown"), &json!("127.0.0.1")));
}

#[tokio::test]
async fn a_planted_cookie_never_becomes_a_session() {
    let server = start().await;
    let planted = "wavemark_session=wmp_plantedplantedplantedplantedplantedplantedpla";
    let page = log_in_page(&server, &right(), &[("sec-fetch-site", "same-origin"), ("cookie", planted)]).await;
    let given = page.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert!(given.starts_with("wavemark_session=wmp_") && given != planted, "the log in makes a secret of its own");
    let me = async |cookie: &str| {
        send(server.request(Method::GET, "/api/v1/me").header("cookie", cookie)).await.status.as_u16()
    };
    assert_eq!((me(planted).await, me(&given).await), (401, 200));
    // The next log in makes another one.
    let again = log_in_page(&server, &right(), &[("sec-fetch-site", "same-origin"), ("cookie", &given)]).await;
    assert_ne!(again.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap(), given);
}

#[tokio::test]
async fn no_route_takes_a_post_that_another_site_makes_a_browser_send() {
    let server = start().await;
    let page = log_in_page(&server, &right(), &[("sec-fetch-site", "same-origin")]).await;
    let cookie = page.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let id = "01920000-0000-7000-8000-000000000000";
    let pages = ["/login", "/logout", "/first-run", "/tasks/new", "/tasks/preview", "/endpoints/new"];
    let acts = ["edit", "start", "resume", "stop", "reload", "delete", "forget"];
    let mut paths: Vec<_> = pages.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(acts.iter().map(|act| format!("/tasks/{id}/{act}")));
    paths.extend(["edit", "test", "discover", "delete"].iter().map(|act| format!("/endpoints/{id}/{act}")));
    paths.extend([format!("/workers/{id}/drain"), "/api/v1/endpoints".to_owned(), "/api/v1/tokens".to_owned()]);
    let from: [&[(&str, &str)]; 6] = [
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:1")],
        &[("referer", "https://evil.example/")],
        &[],
    ];
    for path in &paths {
        for headers in from {
            let mut request = server.request(Method::POST, path).header("cookie", &cookie);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = send(request.header("content-type", FORM).body("a=b")).await;
            assert_eq!((answer.status.as_u16(), answer.code()), (403, "cross-site"), "{path} {headers:?}");
        }
    }
    // A form of another site can send JSON only as text, and without the cookie nothing is anybody's.
    let admin = server.admin().await;
    let text = admin.request(Method::POST, "/endpoints").header("content-type", "text/plain").body("{}");
    assert_eq!(send(text).await.status.as_u16(), 415);
}

#[tokio::test]
async fn line_ends_in_fields_reach_no_header_and_no_log() {
    let server = start().await;
    let admin = server.admin().await;
    for name in ["a\r\nset-cookie: x=y", "a\nb", "a\u{0}b", "a\u{1b}[31m", "a\u{85}b"] {
        let endpoint = json!({"name": name, "engine": "postgresql", "role": "both", "settings": {"host": "h"}});
        let user = json!({"name": name, "password": PASSWORD, "role": "viewer"});
        let token = json!({"name": name, "role": "viewer"});
        for (path, body) in
            [("/endpoints", &endpoint), ("/users", &user), ("/tokens", &token), ("/worker-tokens", &token)]
        {
            let answer = admin.post(path, body).await;
            assert_eq!(answer.status.as_u16(), 422, "{path} {name:?}: {}", answer.body);
            assert!(!answer.headers.contains_key("set-cookie"));
        }
        let worker = json!({"name": name, "version": "1", "places": 1, "engines": []});
        assert_eq!(server.worker("/register", &worker).await.status.as_u16(), 422, "{name:?}");
        server.login(name, PASSWORD).await.expect(if name.contains('\0') { 422 } else { 401 });
    }
    let next = "/%0d%0aset-cookie:%20x=y";
    let fields = right().replace("next=/", &format!("next={next}"));
    let page = log_in_page(&server, &fields, &[("sec-fetch-site", "same-origin")]).await;
    assert_eq!((page.status().as_u16(), &page.headers()["location"]), (303, &"/".parse().unwrap()));
    assert_eq!(page.headers().get_all("set-cookie").iter().count(), 1);
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for path in ["/tasks/%0d%0aset-cookie:%20x=y", "/tasks?text=%0d%0aset-cookie:%20x=y"] {
        let answer = client.get(format!("{}{path}", server.url)).send().await.unwrap();
        assert!(!answer.headers().contains_key("set-cookie"), "{path}");
        assert!(answer.headers()["location"].to_str().unwrap().starts_with("/login?next=/tasks"), "{path}");
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused_before_they_are_read() {
    let server = start().await;
    let admin = server.admin().await;
    let large = |bytes: usize| json!({"name": "a".repeat(bytes), "password": "b"}).to_string();
    let login = server.request(Method::POST, "/api/v1/auth/login").header("content-type", "application/json");
    let answer = send(login.body(large(17 << 10))).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (413, "too-large"));
    let page = server.request(Method::POST, "/login").header("sec-fetch-site", "same-origin");
    let page = page.header("content-type", FORM).body(format!("name={}", "a".repeat(17 << 10)));
    assert_eq!(send(page).await.status.as_u16(), 413);
    let task = admin.request(Method::POST, "/tasks").header("content-type", "application/json");
    assert_eq!(send(task.body(large((8 << 20) + 1))).await.status.as_u16(), 413);
    let report = server.request(Method::POST, "/worker/v1/report").bearer_auth(WORKER_TOKEN);
    let report = report.header("wavemark-protocol", "2.0").header("content-type", "application/json");
    assert_eq!(send(report.body(large((32 << 20) + 1))).await.status.as_u16(), 413);
    // Who may not is told so before a byte of the body is read.
    let mut stream = TcpStream::connect(server.running.address).await.unwrap();
    let head =
        "POST /api/v1/tasks HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut begin)).await.unwrap().unwrap();
    assert_eq!(&begin, b"HTTP/1.1 401");
}

/// Sends `first`, then a byte a second; what the server says until it hangs up, and when that was.
async fn drip(server: &Server, first: &str) -> (String, Duration) {
    let begun = Instant::now();
    let stream = TcpStream::connect(server.running.address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    writing.write_all(first.as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if writing.write_all(b"a").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    });
    let mut said = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(25), reading.read_to_end(&mut said)).await;
    dripping.abort();
    assert!(end.is_ok(), "the connection is still open after {:?}", begun.elapsed());
    (String::from_utf8_lossy(&said).into_owned(), begun.elapsed())
}

#[tokio::test]
async fn a_client_that_sends_a_byte_a_second_is_cut_off_and_keeps_nobody_waiting() {
    let server = start().await;
    let body =
        "POST /api/v1/auth/login HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n";
    let head = "GET / HTTP/1.1\r\nhost: h\r\nx-slow: ";
    let http2 = "PRI * HTT";
    let others = async {
        for _ in 0..10 {
            assert_eq!(send(server.request(Method::GET, "/healthz")).await.status.as_u16(), 200);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let (body, head, silent, http2, ()) =
        tokio::join!(drip(&server, body), drip(&server, head), silent(&server), drip(&server, http2), others);
    assert!(body.0.starts_with("HTTP/1.1 408") && body.0.contains("too-slow"), "{}", body.0);
    assert!(body.1 < Duration::from_secs(9), "{:?}", body.1);
    for took in [head.1, silent, http2.1] {
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
}

/// Says nothing; how long until the server hangs up.
async fn silent(server: &Server) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(server.running.address).await.unwrap();
    let mut said = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(25), stream.read_to_end(&mut said)).await;
    assert!(end.is_ok(), "a silent connection stays open");
    begun.elapsed()
}

#[tokio::test]
async fn very_deep_json_is_refused_and_the_server_lives_on() {
    let server = start().await;
    let admin = server.admin().await;
    for depth in [200, 100_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for body in [nested.clone(), format!("{{\"source_id\": \"x\", \"mappings\": {nested}}}")] {
                for path in ["/tasks", "/tasks/preview", "/endpoints"] {
                    let request = admin.request(Method::POST, path).header("content-type", "application/json");
                    let answer = send(request.body(body.clone())).await;
                    assert!(matches!(answer.status.as_u16(), 400 | 422), "{path} {depth}: {}", answer.body);
                }
                let report = server.request(Method::POST, "/worker/v1/report").bearer_auth(WORKER_TOKEN);
                let report = report.header("wavemark-protocol", "2.0").header("content-type", "application/json");
                assert!(matches!(send(report.body(body)).await.status.as_u16(), 400 | 422));
            }
        }
    }
    assert_eq!(send(server.request(Method::GET, "/readyz")).await.status.as_u16(), 200);
}
