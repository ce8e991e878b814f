use serde_json::{Value, json};

use crate::support::{send, start};

fn input(change: impl FnOnce(&mut Value)) -> Value {
    let mut input = json!({"name": "shop", "engine": "postgresql", "role": "source", "settings": {"host": "h"}});
    change(&mut input);
    input
}

#[tokio::test]
async fn settings_are_taken_by_allow_list_and_what_is_wrong_is_named() {
    let server = start().await;
    let api = server.admin().await;
    for (body, field) in [
        (input(|body| body["settings"]["options"] = json!("-c x=y")), "settings.options"),
        (input(|body| body["settings"] = json!({})), "settings.host"),
        (input(|body| body["settings"]["port"] = json!(0)), "settings.port"),
        (input(|body| body["settings"]["tls"] = json!("maybe")), "settings.tls"),
        (input(|body| body["settings"]["password"] = json!("x")), "secrets.password"),
        (input(|body| body["secrets"] = json!({"passphrase": "x"})), "secrets.passphrase"),
        (input(|body| body["engine"] = json!("oracle")), "engine"),
        (input(|body| body["role"] = json!("spectator")), "role"),
        (input(|body| body["name"] = json!("")), "name"),
    ] {
        let answer = api.post("/endpoints", &body).await;
        assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (422, Some(field)), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_secret_is_written_kept_over_an_edit_and_removed_but_never_read() {
    let server = start().await;
    let api = server.admin().await;
    let made = api.post("/endpoints", &input(|body| body["secrets"] = json!({"password": "correct horse"}))).await;
    assert!(!made.body.to_string().contains("correct horse"));
    let made = made.expect(201);
    assert_eq!(made["secrets_set"], json!(["password"]));
    let path = format!("/endpoints/{}", made["id"].as_str().unwrap());
    let edited = api.put(&path, "\"1\"", &input(|body| body["settings"]["host"] = json!("h2"))).await.expect(200);
    assert_eq!((&edited["secrets_set"], &edited["version"]), (&json!(["password"]), &json!(2)));
    let removed = api.put(&path, "\"2\"", &input(|body| body["secrets"] = json!({"password": null}))).await.expect(200);
    assert_eq!(removed["secrets_set"], json!([]));
    let audit = api.get("/audit").await.expect(200).to_string();
    assert!(audit.contains("endpoint.update") && !audit.contains("correct horse"));
}

#[tokio::test]
async fn an_endpoint_that_a_task_uses_is_not_deleted() {
    let server = start().await;
    let api = server.admin().await;
    let task = api.task("one").await;
    let task = api.get(&format!("/tasks/{task}")).await.expect(200);
    let path = format!("/endpoints/{}", task["source"]["id"].as_str().unwrap());
    assert_eq!(api.delete(&path, "\"1\"").await.code(), "endpoint-used");
    let free = api.endpoint("free").await;
    api.delete(&format!("/endpoints/{free}"), "\"7\"").await.expect(412);
    api.delete(&format!("/endpoints/{free}"), "\"1\"").await.expect(204);
    api.get(&format!("/endpoints/{free}")).await.expect(404);
}

#[tokio::test]
async fn every_refusal_has_the_one_error_body() {
    let server = start().await;
    let api = server.admin().await;
    let broken = api.request(reqwest::Method::POST, "/endpoints").header("content-type", "application/json").body("{");
    for (answer, status) in [
        (send(broken).await, 400),
        (send(api.request(reqwest::Method::POST, "/endpoints").body("x")).await, 415),
        (api.get("/endpoints/not-an-id").await, 404),
        (api.get("/endpoints/00000000-0000-0000-0000-000000000000").await, 404),
        (api.get("/nowhere").await, 404),
        (api.get("/tasks?limit=many").await, 400),
        (api.post("/me", &json!({})).await, 405),
        (send(server.request(reqwest::Method::GET, "/api/v1/me")).await, 401),
    ] {
        assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let body = &answer.body;
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("urn:wavemark:problem:{}", body["code"].as_str().unwrap()));
        assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
    }
}
