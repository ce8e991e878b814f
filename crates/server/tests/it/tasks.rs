use serde_json::{Value, json};

use crate::support::{Api, Server, send, start, task_input};

fn table(name: &str, state: &str) -> Value {
    json!({"table": {"schema": "shop", "table": name}, "target": {"schema": "shop", "table": name}, "state": state,
        "rows_estimated": 100, "rows_loaded": 50, "bytes_loaded": 5_000, "chunks": 2, "chunks_done": 1, "chunks_read": 1,
        "rows_refetched": 0, "inserts": 1, "updates": 2, "deletes": 3, "truncates": 0, "exceptions": 0,
        "applied_commit_at": null, "problem": null})
}

fn following(tables: &[Value]) -> Value {
    json!({"phase": "following", "bookmark": "0/1A2B", "lag_ms": 12, "changes_written": 7, "wave": 3, "tables": tables})
}

async fn lease(server: &Server, worker: &str) -> Value {
    let mut work = server.poll(worker).await;
    work["leases"][0].take()
}

async fn running(server: &Server, api: &Api<'_>, worker: &str, name: &str) -> (String, Value) {
    let task = api.task(name).await;
    api.post(&format!("/tasks/{task}/start"), &json!({})).await.expect(202);
    let lease = lease(server, worker).await;
    let answer = server.report(worker, &lease, json!({"is": "running"}), following(&[table("orders", "live")])).await;
    assert_eq!(answer, "continue");
    (task, lease)
}

#[tokio::test]
async fn a_task_goes_from_ready_over_running_and_degraded_to_stopped_and_on() {
    let server = start().await;
    let api = server.admin().await;
    let worker = server.register().await;
    let task = api.task("shop").await;
    assert_eq!(api.status(&task).await, "ready");
    assert_eq!(api.post(&format!("/tasks/{task}/resume"), &json!({})).await.code(), "never-started");
    let started = api.post(&format!("/tasks/{task}/start"), &json!({})).await.expect(202);
    assert_eq!(started["status"], "starting");
    assert_eq!(api.post(&format!("/tasks/{task}/start"), &json!({})).await.code(), "task-busy");

    let lease = lease(&server, &worker).await;
    assert_eq!((&lease["work"], &lease["epoch"], &lease["first_grant"]), (&json!("run"), &json!(1), &json!(true)));
    let progress = following(&[table("orders", "live"), table("people", "live")]);
    assert_eq!(server.report(&worker, &lease, json!({"is": "running"}), progress).await, "continue");
    let read = api.get(&format!("/tasks/{task}")).await.expect(200);
    assert_eq!((&read["status"], &read["progress"]["lag_ms"]), (&json!("running"), &json!(12)));
    assert_eq!((&read["tables"], &read["worker"]["name"]), (&json!(2), &json!("w")));

    let progress = following(&[table("orders", "parked"), table("people", "live")]);
    server.report(&worker, &lease, json!({"is": "running"}), progress).await;
    let read = api.get(&format!("/tasks/{task}")).await.expect(200);
    assert_eq!((&read["status"], &read["tables_parked"]), (&json!("degraded"), &json!(1)));
    let tables = api.get(&format!("/tasks/{task}/tables")).await.expect(200);
    assert_eq!(tables["items"][0]["state"], "parked");
    assert_eq!(tables["items"][1]["source"], json!({"schema": "shop", "table": "people"}));

    let metrics = send(server.request(reqwest::Method::GET, "/metrics")).await.expect(200);
    assert!(metrics.as_str().unwrap().contains("wavemark_task_lag_seconds{task=\"shop\"} 0.012"), "{metrics}");

    assert_eq!(api.post(&format!("/tasks/{task}/stop"), &json!({})).await.expect(202)["status"], "stopping");
    assert_eq!(server.report(&worker, &lease, json!({"is": "running"}), following(&[])).await, "stop");
    server.report(&worker, &lease, json!({"is": "stopped"}), following(&[])).await;
    assert_eq!(api.status(&task).await, "stopped");
    assert_eq!(server.report(&worker, &lease, json!({"is": "running"}), following(&[])).await, "abandon");

    assert_eq!(api.post(&format!("/tasks/{task}/start"), &json!({})).await.code(), "already-started");
    api.post(&format!("/tasks/{task}/resume"), &json!({})).await.expect(202);
    let again = server.poll(&worker).await["leases"][0].clone();
    assert_eq!((&again["epoch"], &again["generation"], &again["first_grant"]), (&json!(2), &json!(1), &json!(false)));
    server.report(&worker, &again, json!({"is": "finished"}), following(&[])).await;
    api.post(&format!("/tasks/{task}/reload"), &json!({})).await.expect(202);
    let again = server.poll(&worker).await["leases"][0].clone();
    assert_eq!((&again["epoch"], &again["generation"], &again["first_grant"]), (&json!(3), &json!(2), &json!(true)));

    let events = api.get(&format!("/tasks/{task}/events")).await.expect(200);
    let codes: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|event| event["code"].as_str().unwrap()).collect();
    for code in ["task-starting", "lease-granted", "task-running", "task-degraded", "load-started", "task-stopped"] {
        assert!(codes.contains(&code), "{code} is not among {codes:?}");
    }
    assert_eq!(api.get(&format!("/tasks/{task}/samples")).await.expect(200)[0]["lag_ms"], 12);
}

#[tokio::test]
async fn a_task_that_never_ran_stops_and_is_deleted_without_a_worker() {
    let server = start().await;
    let api = server.admin().await;
    let task = api.task("idle").await;
    api.post(&format!("/tasks/{task}/start"), &json!({})).await.expect(202);
    assert_eq!(api.post(&format!("/tasks/{task}/stop"), &json!({})).await.expect(202)["status"], "stopped");
    api.delete(&format!("/tasks/{task}"), "\"1\"").await.expect(204);
    api.get(&format!("/tasks/{task}")).await.expect(404);
    let events = api.get(&format!("/tasks/{task}/events")).await.expect(200);
    assert_eq!(events["items"][0]["code"], "task-deleted");
}

#[tokio::test]
async fn a_task_that_runs_is_not_deleted_and_a_stopped_one_is_cleaned_up_first() {
    let server = start().await;
    let api = server.admin().await;
    let worker = server.register().await;
    let (task, lease) = running(&server, &api, &worker, "busy").await;
    assert_eq!(api.delete(&format!("/tasks/{task}"), "\"1\"").await.code(), "task-busy");
    api.post(&format!("/tasks/{task}/stop"), &json!({})).await.expect(202);
    server.report(&worker, &lease, json!({"is": "stopped"}), following(&[])).await;
    api.delete(&format!("/tasks/{task}"), "\"1\"").await.expect(202);
    let cleaning = server.poll(&worker).await["leases"][0].clone();
    assert_eq!((&cleaning["work"], &cleaning["epoch"]), (&json!("clean-up"), &json!(2)));
    let problem = json!({"fault": "transient", "code": "unreachable", "text": "The source can't be reached."});
    let state = json!({"is": "clean-up-pending", "problem": problem, "statements": ["select 1"]});
    server.report(&worker, &cleaning, state, following(&[])).await;
    let read = api.get(&format!("/tasks/{task}")).await.expect(200);
    assert_eq!((&read["status"], &read["clean_up"]["statements"]), (&json!("clean-up-pending"), &json!(["select 1"])));
    api.delete(&format!("/tasks/{task}?forget=true"), "\"1\"").await.expect(204);
}

#[tokio::test]
async fn an_edit_needs_the_etag_that_was_read() {
    let server = start().await;
    let api = server.admin().await;
    let (source, target) = (api.endpoint("s").await, api.endpoint("t").await);
    let made = api.post("/tasks", &task_input("one", &source, &target)).await.expect(201);
    let path = format!("/tasks/{}", made["id"].as_str().unwrap());
    let etag = api.get(&path).await.etag();
    assert_eq!(etag, "\"1\"");
    let without = send(api.request(reqwest::Method::PUT, &path).json(&task_input("two", &source, &target))).await;
    assert_eq!((without.status.as_u16(), without.code()), (428, "precondition-required"));
    let edited = api.put(&path, &etag, &task_input("two", &source, &target)).await;
    assert_eq!((edited.etag(), edited.expect(200)["name"].clone()), ("\"2\"".to_owned(), json!("two")));
    let late = api.put(&path, &etag, &task_input("three", &source, &target)).await;
    assert_eq!((late.status.as_u16(), late.code()), (412, "edited-meanwhile"));
    assert_eq!(api.delete(&path, "\"1\"").await.status.as_u16(), 412);
}

#[tokio::test]
async fn a_create_that_is_sent_twice_makes_one_task() {
    let server = start().await;
    let api = server.admin().await;
    let (source, target) = (api.endpoint("s").await, api.endpoint("t").await);
    let create = |name: &str| {
        send(
            api.request(reqwest::Method::POST, "/tasks")
                .header("idempotency-key", "k1")
                .json(&task_input(name, &source, &target)),
        )
    };
    let (first, second) = tokio::join!(create("one"), create("one"));
    let (first, second) = (first.expect(201), second.expect(201));
    assert_eq!(first["id"], second["id"]);
    assert_eq!(create("other").await.code(), "idempotency-key-reused");
    assert_eq!(api.get("/tasks").await.expect(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(api.post("/tasks", &task_input("one", &source, &target)).await.code(), "name-taken");
}

#[tokio::test]
async fn what_can_not_be_accepted_is_named_by_field() {
    let server = start().await;
    let api = server.admin().await;
    let (source, target) = (api.endpoint("s").await, api.endpoint("t").await);
    let refused = async |change: &dyn Fn(&mut Value)| {
        let mut input = task_input("one", &source, &target);
        change(&mut input);
        let answer = api.post("/tasks", &input).await;
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        let body = answer.expect(422);
        (body["code"].as_str().unwrap().to_owned(), body["field"].as_str().unwrap_or_default().to_owned())
    };
    let field = |code: &str, field: &str| (code.to_owned(), field.to_owned());
    assert_eq!(
        refused(&|input| input["target_id"] = input["source_id"].clone()).await,
        field("invalid-field", "target_id")
    );
    assert_eq!(
        refused(&|input| input["mappings"]["rules"][0]["load-order"] = json!(3)).await,
        field("invalid-mapping", "mappings.rules[rule-id=1].load-order")
    );
    assert_eq!(
        refused(&|input| input["mappings"] = json!({"rules": []})).await,
        field("invalid-mapping", "mappings.rules")
    );
    assert_eq!(
        refused(&|input| input["settings"] = json!({"chunk_mib": 0})).await,
        field("invalid-field", "settings.chunk_mib")
    );
    for (kind, stop_at) in [("cdc", "loaded"), ("full-load", "position:1/1"), ("cdc", "position:seven")] {
        let stopping = |input: &mut Value| {
            input["kind"] = json!(kind);
            input["settings"] = json!({"stop_at": stop_at});
        };
        assert_eq!(refused(&stopping).await, field("invalid-field", "settings.stop_at"), "{kind} {stop_at}");
    }
    assert_eq!(refused(&|input| input["name"] = json!(" ")).await, field("invalid-field", "name"));
    let mut input = task_input("one", &source, &target);
    input["settings"] = json!({"wave_chnages": 5});
    let answer = api.post("/tasks", &input).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (422, "invalid-body"));
    assert!(answer.body["detail"].as_str().unwrap().contains("wave_chnages"));
}

#[tokio::test]
async fn two_tasks_into_one_table_are_warned_and_refused_where_rows_would_be_lost() {
    let server = start().await;
    let api = server.admin().await;
    let worker = server.register().await;
    let (task, _) = running(&server, &api, &worker, "first").await;
    let first = api.get(&format!("/tasks/{task}")).await.expect(200);
    let (source, target) = (first["source"]["id"].as_str().unwrap(), first["target"]["id"].as_str().unwrap());
    let discovered = json!({"job": "discovered", "tables": [{"name": {"schema": "shop", "table": "orders"},
        "kind": "table", "key": ["id"], "columns": [], "rows_estimated": 5, "bytes_estimated": null}]});
    let job = api.post(&format!("/endpoints/{source}/discover"), &json!({})).await.expect(202)["job"].clone();
    server.poll(&worker).await;
    server.worker(&format!("/jobs/{}", job.as_str().unwrap()), &discovered).await.expect(204);

    let mut input = task_input("second", source, target);
    input["settings"] = json!({"preparation": "truncate"});
    let second = api.post("/tasks", &input).await.expect(201)["id"].as_str().unwrap().to_owned();
    let refused = api.post(&format!("/tasks/{second}/start"), &json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "shared-target"));
    assert!(refused.body["detail"].as_str().unwrap().contains("shop.orders"), "{refused:?}");

    input["settings"]["force_shared_target"] = json!(true);
    api.put(&format!("/tasks/{second}"), "\"1\"", &input).await.expect(200);
    api.post(&format!("/tasks/{second}/start"), &json!({})).await.expect(202);
    let events = api.get(&format!("/events?task={second}&severity=warning")).await.expect(200);
    assert_eq!(events["items"][0]["code"], "shared-target");
}

#[tokio::test]
async fn lists_come_in_pages_that_miss_nothing() {
    let server = start().await;
    let api = server.admin().await;
    for number in 0..5 {
        api.endpoint(&format!("e{number}")).await;
    }
    let mut names = Vec::new();
    let mut path = "/endpoints?limit=2".to_owned();
    loop {
        let page = api.get(&path).await.expect(200);
        names.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/endpoints?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["e0", "e1", "e2", "e3", "e4"]);
    assert_eq!(api.get("/endpoints?cursor=!").await.code(), "invalid-query");
}
