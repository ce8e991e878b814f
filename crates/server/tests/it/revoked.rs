//! What was revoked holds no more: for the next request, and for answers that are still under way.

use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::json;

use crate::support::{Api, PASSWORD, Server, send, start};

async fn cookie(server: &Server) -> String {
    let request = server.request(Method::POST, "/login").header("sec-fetch-site", "same-origin");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = request.body(format!("name=admin&password={}&next=/", PASSWORD.replace(' ', "+")));
    let answer = client.execute(request.build().unwrap()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 303);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_live_page_ends_with_its_log_in() {
    let server = start().await;
    let admin = server.admin().await;
    let made = admin.post("/tokens", &json!({"name": "screen", "role": "viewer"})).await.expect(201);
    let cookie = cookie(&server).await;
    let by_cookie = server.request(Method::GET, "/live").header("cookie", &cookie);
    let by_token = server.request(Method::GET, "/live").bearer_auth(made["token"].as_str().unwrap());
    let mut streams = Vec::new();
    for request in [by_cookie, by_token] {
        let mut stream = request.send().await.unwrap().bytes_stream();
        let first = stream.next().await.unwrap().unwrap();
        assert!(first.starts_with(b"data:"), "{first:?}");
        streams.push(stream);
    }
    let log_out = server.request(Method::POST, "/logout").header("cookie", &cookie);
    let log_out = send(log_out.header("sec-fetch-site", "same-origin")).await;
    assert_eq!(log_out.status.as_u16(), 200, "after the redirect to the log in");
    let path = format!("/tokens/{}", made["id"].as_str().unwrap());
    send(admin.request(Method::DELETE, &path)).await.expect(204);
    for mut stream in streams {
        let end = async { while stream.next().await.is_some_and(|part| part.is_ok()) {} };
        tokio::time::timeout(Duration::from_secs(10), end).await.expect("the stream outlives its log in");
    }
    assert_eq!(send(server.request(Method::GET, "/live").header("cookie", &cookie)).await.status.as_u16(), 401);
}

#[tokio::test]
async fn a_new_password_ends_every_log_in_of_its_user() {
    let server = start().await;
    let admin = server.admin().await;
    let new = json!({"name": "bob", "password": PASSWORD, "role": "viewer"});
    let id = admin.post("/users", &new).await.expect(201)["id"].as_str().unwrap().to_owned();
    let login = server.login("bob", PASSWORD).await.expect(200);
    let bob = Api { server: &server, token: login["access_token"].as_str().unwrap().to_owned() };
    bob.get("/me").await.expect(200);
    let change = admin.request(Method::PATCH, &format!("/users/{id}")).json(&json!({"password": "another password"}));
    send(change).await.expect(200);
    bob.get("/me").await.expect(401);
    let refresh = server.request(Method::POST, "/api/v1/auth/refresh");
    send(refresh.json(&json!({"refresh_token": login["refresh_token"]}))).await.expect(401);
    assert_eq!(server.login("bob", PASSWORD).await.code(), "wrong-login");
}

#[tokio::test]
async fn a_poll_that_waits_gets_no_lease_once_its_token_is_revoked() {
    let server = start().await;
    let admin = server.admin().await;
    let worker = server.register().await;
    let task = admin.task("late").await;
    let tokens = admin.get("/worker-tokens").await.expect(200);
    let path = format!("/worker-tokens/{}", tokens["items"][0]["id"].as_str().unwrap());
    let poll = json!({"worker": worker, "free_places": 4, "wait_seconds": 30});
    let (work, ()) = tokio::join!(server.worker("/poll", &poll), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        send(admin.request(Method::DELETE, &path)).await.expect(204);
        admin.post(&format!("/tasks/{task}/start"), &json!({})).await.expect(202);
    });
    assert_eq!((work.status.as_u16(), work.code()), (401, "worker-token"));
    for path in ["/register", "/poll", "/report", "/jobs/01920000-0000-7000-8000-000000000000"] {
        assert_eq!(server.worker(path, &json!({})).await.code(), "worker-token", "{path}");
    }
    assert_eq!(admin.get(&format!("/tasks/{task}")).await.expect(200)["worker"], json!(null));
}
