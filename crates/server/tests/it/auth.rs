use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::support::{Api, PASSWORD, config, run, send, start, start_with};

#[tokio::test]
async fn the_first_admin_is_made_once_by_the_code_that_was_printed() {
    let server = start_with(|config| config.admin_password = None).await;
    let code = server.running.first_run_code.as_ref().unwrap().expose_secret().to_owned();
    let first = async |code: &str, password: &str| {
        let body = json!({"code": code, "name": "ann", "password": password});
        send(server.request(Method::POST, "/api/v1/auth/first-run").json(&body)).await
    };
    assert_eq!(first("abcd-efgh-jkmn-pqrs", PASSWORD).await.code(), "wrong-code");
    assert_eq!(first(&code, "short").await.code(), "invalid-field");
    let token = first(&code, PASSWORD).await.expect(200)["access_token"].as_str().unwrap().to_owned();
    let me = Api { server: &server, token }.get("/me").await.expect(200);
    assert_eq!((&me["name"], &me["role"]), (&json!("ann"), &json!("admin")));
    assert_eq!(first(&code, PASSWORD).await.code(), "not-first-run");
}

#[tokio::test]
async fn a_refresh_token_holds_once_and_a_stolen_one_closes_the_session() {
    let server = start().await;
    let login = server.login("admin", PASSWORD).await.expect(200);
    let refresh = async |token: &serde_json::Value| {
        send(server.request(Method::POST, "/api/v1/auth/refresh").json(&json!({"refresh_token": token}))).await
    };
    let second = refresh(&login["refresh_token"]).await.expect(200);
    let api = Api { server: &server, token: second["access_token"].as_str().unwrap().to_owned() };
    api.get("/me").await.expect(200);
    refresh(&login["refresh_token"]).await.expect(401);
    api.get("/me").await.expect(401);
    refresh(&second["refresh_token"]).await.expect(401);
}

#[tokio::test]
async fn a_logout_ends_the_access_token_at_once() {
    let server = start().await;
    let api = server.admin().await;
    api.get("/me").await.expect(200);
    api.post("/auth/logout", &json!({})).await.expect(204);
    api.get("/me").await.expect(401);
}

#[tokio::test]
async fn too_many_failed_logins_wait_whatever_the_password() {
    let server = start().await;
    for _ in 0..10 {
        assert_eq!(server.login("admin", "wrong wrong wrong").await.code(), "wrong-login");
    }
    let held = server.login("admin", PASSWORD).await;
    assert_eq!((held.status.as_u16(), held.code()), (429, "too-many-logins"));
    let wait: u64 = held.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=301).contains(&wait), "{wait}");
}

#[tokio::test]
async fn an_api_token_does_at_most_what_it_was_made_for_and_is_revoked() {
    let server = start().await;
    let admin = server.admin().await;
    let made = admin.post("/tokens", &json!({"name": "ci", "role": "viewer"})).await.expect(201);
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("wmk_"));
    let viewer = Api { server: &server, token: token.to_owned() };
    assert_eq!(viewer.get("/me").await.expect(200)["role"], "viewer");
    assert_eq!(viewer.post("/endpoints", &json!({})).await.code(), "forbidden");
    assert_eq!(viewer.post("/tokens", &json!({"name": "more", "role": "admin"})).await.code(), "needs-login");
    let listed = admin.get("/tokens").await.expect(200).to_string();
    assert!(!listed.contains(token));
    send(admin.request(Method::DELETE, &format!("/tokens/{}", made["id"].as_str().unwrap()))).await.expect(204);
    viewer.get("/me").await.expect(401);
}

#[tokio::test]
async fn losing_a_role_holds_at_once_and_the_last_admin_stays() {
    let server = start().await;
    let admin = server.admin().await;
    let me = admin.get("/me").await.expect(200);
    let change = async |id: &serde_json::Value, body: serde_json::Value| {
        send(admin.request(Method::PATCH, &format!("/users/{}", id.as_str().unwrap())).json(&body)).await
    };
    assert_eq!(change(&me["id"], json!({"role": "viewer"})).await.code(), "last-admin");
    assert_eq!(change(&me["id"], json!({"disabled": true})).await.code(), "last-admin");
    let user = json!({"name": "bob", "password": "bobs good password", "role": "operator"});
    let bob = admin.post("/users", &user).await.expect(201);
    let login = server.login("bob", "bobs good password").await.expect(200);
    let as_bob = Api { server: &server, token: login["access_token"].as_str().unwrap().to_owned() };
    as_bob.get("/me").await.expect(200);
    change(&bob["id"], json!({"disabled": true})).await.expect(200);
    as_bob.get("/me").await.expect(401);
    assert_eq!(server.login("bob", "bobs good password").await.code(), "wrong-login");
}

#[tokio::test]
async fn another_site_can_not_make_a_browser_act() {
    let server = start().await;
    let api = server.admin().await;
    let cross = api.request(Method::POST, "/auth/logout").header("sec-fetch-site", "cross-site");
    assert_eq!(send(cross).await.code(), "cross-site");
    let cross = server.request(Method::POST, "/api/v1/auth/login").header("origin", "https://evil.example");
    assert_eq!(send(cross.json(&json!({"name": "admin", "password": PASSWORD}))).await.code(), "cross-site");
    let answer = send(server.request(Method::GET, "/healthz")).await;
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self';"), "{policy}");
}

#[tokio::test]
async fn tokens_hold_over_a_restart_and_on_another_server_of_the_same_database() {
    let server = start().await;
    let api = server.admin().await;
    let second = run(config(&server.database_url), server.database_url.clone()).await;
    let there = Api { server: &second, token: api.token.clone() };
    there.get("/me").await.expect(200);
    assert_eq!(send(second.request(Method::GET, "/readyz")).await.status.as_u16(), 200);
}
