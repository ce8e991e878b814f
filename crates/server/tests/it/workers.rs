use serde_json::json;

use crate::support::{WORKER_TOKEN, send, start};

#[tokio::test]
async fn a_worker_of_another_protocol_version_is_refused_in_words() {
    let server = start().await;
    let ask = async |spoken: &str| {
        let request = server.request(reqwest::Method::POST, "/worker/v1/register").bearer_auth(WORKER_TOKEN);
        send(request.header("wavemark-protocol", spoken).json(&json!({}))).await
    };
    for other in ["1", "3.0", "none", "2x"] {
        let answer = ask(other).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (426, "protocol-version"), "{other}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("version 2.3") && detail.contains(&format!("version {other}")), "{detail}");
    }
    // A newer or older minor version is heard; what it says is wrong for another reason.
    for same in ["2.0", "2.9"] {
        assert_eq!(ask(same).await.status.as_u16(), 422, "{same}");
    }
}

#[tokio::test]
async fn a_worker_token_opens_the_protocol_only_and_an_unknown_worker_registers_again() {
    let server = start().await;
    let request = server.request(reqwest::Method::POST, "/worker/v1/poll").bearer_auth("wmw_wrong");
    let answer = send(request.header("wavemark-protocol", "2.0").json(&json!({}))).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (401, "worker-token"));
    let api = crate::support::Api { server: &server, token: WORKER_TOKEN.to_owned() };
    api.get("/tasks").await.expect(401);
    let nobody = json!({"worker": "00000000-0000-0000-0000-000000000000", "free_places": 1, "wait_seconds": 0});
    let answer = server.worker("/poll", &nobody).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "unknown-worker"));
}

#[tokio::test]
async fn a_revoked_worker_token_ends_at_once() {
    let server = start().await;
    let admin = server.admin().await;
    server.register().await;
    let tokens = admin.get("/worker-tokens").await.expect(200);
    let id = tokens["items"][0]["id"].as_str().unwrap();
    send(admin.request(reqwest::Method::DELETE, &format!("/worker-tokens/{id}"))).await.expect(204);
    assert_eq!(server.worker("/register", &json!({})).await.status.as_u16(), 401);
}

#[tokio::test]
async fn the_long_poll_answers_as_soon_as_there_is_work() {
    let server = start().await;
    let admin = server.admin().await;
    let worker = server.register().await;
    let task = admin.task("quick").await;
    let body = json!({"worker": worker, "free_places": 1, "wait_seconds": 30});
    let began = std::time::Instant::now();
    let (work, ()) = tokio::join!(server.worker("/poll", &body), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        admin.post(&format!("/tasks/{task}/start"), &json!({})).await.expect(202);
    });
    assert_eq!(work.expect(200)["leases"][0]["task"], json!(task));
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_long_poll_answers_once_when_something_is_asked_of_a_task_that_the_worker_holds() {
    let server = start().await;
    let admin = server.admin().await;
    let worker = server.register().await;
    let task = admin.task("asked").await;
    admin.post(&format!("/tasks/{task}/start"), &json!({})).await.expect(202);
    assert_eq!(server.poll(&worker).await["leases"][0]["task"], json!(task));
    let poll = async |wait: u16, heard: Option<i64>| {
        let body = json!({"worker": worker, "free_places": 0, "wait_seconds": wait, "last_ask": heard});
        let began = std::time::Instant::now();
        let work = server.worker("/poll", &body).await.expect(200);
        (work["last_ask"].as_i64().unwrap(), began.elapsed())
    };
    assert_eq!(poll(0, Some(0)).await.0, 0, "nothing was asked");
    let mut heard = 0;
    for action in ["drain", "stop"] {
        let (answer, ()) = tokio::join!(poll(30, Some(heard)), async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            admin.post(&format!("/tasks/{task}/{action}"), &json!({})).await.expect(202);
        });
        assert!(answer.0 > heard && answer.1 < std::time::Duration::from_secs(4), "{action}: {answer:?}");
        heard = answer.0;
    }
    // Who heard it, or never hears of it, waits for work.
    for heard in [Some(heard), None] {
        assert!(poll(1, heard).await.1 >= std::time::Duration::from_secs(1), "{heard:?}");
    }
}

#[tokio::test]
async fn secrets_reach_the_worker_that_holds_the_lease_and_nobody_else() {
    let server = start().await;
    let admin = server.admin().await;
    let worker = server.register().await;
    let task = admin.task("secret").await;
    admin.post(&format!("/tasks/{task}/start"), &json!({})).await.expect(202);
    let lease = server.poll(&worker).await["leases"][0].clone();
    assert_eq!(lease["source"]["secrets"], json!({"password": "correct horse"}));
    assert_eq!(lease["target"]["settings"], json!({"host": "db.example"}));
    for path in ["/endpoints", "/tasks", "/events", "/audit", "/workers", "/jobs"] {
        let body = admin.get(path).await.body.to_string();
        assert!(!body.contains("correct horse"), "{path}");
    }
}

#[tokio::test]
async fn jobs_are_done_by_a_worker_and_read_by_id() {
    let server = start().await;
    let admin = server.admin().await;
    let worker = server.register().await;
    let endpoint = admin.endpoint("shop").await;
    let test = admin.post(&format!("/endpoints/{endpoint}/test"), &json!({})).await.expect(202)["job"].clone();
    let job = server.poll(&worker).await["jobs"][0].clone();
    assert_eq!((&job["id"], &job["work"]["job"], &job["work"]["as_source"]), (&test, &json!("test"), &json!(true)));
    let steps = json!([{"name": "log in", "passed": false, "text": "The password is wrong.", "mend": "alter role …"}]);
    let path = format!("/jobs/{}", test.as_str().unwrap());
    server.worker(&path, &json!({"job": "tested", "steps": steps})).await.expect(204);
    server.worker(&path, &json!({"job": "tested", "steps": []})).await.expect(404);
    let read = admin.get(&path).await.expect(200);
    assert_eq!((&read["status"], &read["outcome"]["steps"]), (&json!("done"), &steps));
    assert_eq!(admin.get(&format!("/endpoints/{endpoint}")).await.expect(200)["test"], steps);

    let table = json!({"name": {"schema": "shop", "table": "orders"}, "kind": "table", "key": ["id"],
        "columns": [{"name": "id", "declared": "bigint", "not_null": true, "generated": false}],
        "rows_estimated": 5, "bytes_estimated": null});
    admin.get(&format!("/endpoints/{endpoint}/tables")).await.expect(404);
    let job = admin.post(&format!("/endpoints/{endpoint}/discover"), &json!({})).await.expect(202)["job"].clone();
    server.poll(&worker).await;
    let path = format!("/jobs/{}", job.as_str().unwrap());
    server.worker(&path, &json!({"job": "discovered", "tables": [table]})).await.expect(204);
    let tables = admin.get(&format!("/endpoints/{endpoint}/tables")).await.expect(200);
    assert_eq!(tables["items"][0]["name"], json!({"schema": "shop", "table": "orders"}));
    let mappings = json!({"rules": [
        {"rule-type": "selection", "rule-id": "1", "rule-action": "include",
         "object-locator": {"schema-name": "shop", "table-name": "%"}},
        {"rule-type": "transformation", "rule-id": "2", "rule-action": "rename", "rule-target": "schema",
         "object-locator": {"schema-name": "shop"}, "value": "copy"}]});
    let preview = admin.post("/tasks/preview", &json!({"source_id": endpoint, "mappings": mappings})).await.expect(200);
    assert_eq!(preview["tables"][0]["target"], json!({"schema": "copy", "table": "orders"}));
}

#[tokio::test]
async fn a_task_whose_secrets_do_not_open_fails_and_the_others_are_handed_out() {
    let server = start().await;
    let admin = server.admin().await;
    let worker = server.register().await;
    let (lost, fine) = (admin.task("lost").await, admin.task("fine").await);
    let pool = wavemark_store::pool(&server.database_url, 1).unwrap();
    sqlx::query(
        "update endpoint_secrets set key_id = 'gone' where endpoint_id in (select source_id from tasks where name = 'lost')",
    )
    .execute(&pool)
    .await
    .unwrap();
    for task in [&lost, &fine] {
        admin.post(&format!("/tasks/{task}/start"), &json!({})).await.expect(202);
    }
    let work = server.poll(&worker).await;
    assert_eq!(work["leases"].as_array().unwrap().len(), 1);
    assert_eq!(work["leases"][0]["task"], json!(fine));
    let read = admin.get(&format!("/tasks/{lost}")).await.expect(200);
    assert_eq!((&read["status"], &read["problem"]["code"]), (&json!("failed"), &json!("keyring")));
}
