//! Every id of every route: of another kind, unknown, malformed. Each is told that there is no such thing, and
//! nothing else happens.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Api, PASSWORD, Server, send, start, task_input};

const UNKNOWN: &str = "01920000-0000-7000-8000-000000000000";

/// What no id looks like, as it stands in an address.
const MALFORMED: [&str; 10] = [
    "x",
    "0",
    "-1",
    "..%2Fusers",
    "%00",
    "%0D%0ASet-Cookie:%20a=b",
    "%F0%9F%98%80",
    "%FF%FE",
    "01920000-0000-7000-8000-00000000000g",
    "'%20or%20'1'='1",
];

struct Things {
    endpoint: String,
    task: String,
    job: String,
    worker: String,
    user: String,
    token: String,
    worker_token: String,
}

async fn make(server: &Server, admin: &Api<'_>) -> Things {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let task = admin.task("one").await;
    let endpoint = text(&admin.get(&format!("/tasks/{task}")).await.expect(200)["source"]["id"]);
    let job = text(&admin.post(&format!("/endpoints/{endpoint}/test"), &json!({})).await.expect(202)["job"]);
    let user = admin.post("/users", &json!({"name": "bob", "password": PASSWORD, "role": "viewer"})).await.expect(201);
    Things {
        job,
        worker: server.register().await,
        user: text(&user["id"]),
        token: text(&admin.post("/tokens", &json!({"name": "t", "role": "viewer"})).await.expect(201)["id"]),
        worker_token: text(&admin.post("/worker-tokens", &json!({"name": "w"})).await.expect(201)["id"]),
        task,
        endpoint,
    }
}

/// The routes with an id in them: method, path, the kind that it names.
fn routes() -> Vec<(Method, String, &'static str)> {
    let document = serde_json::to_value(wavemark_server::openapi()).unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some((before, _)) = path.split_once("/{id}") else { continue };
        let kind = match before.rsplit_once('/').unwrap().1 {
            "endpoints" => "endpoint",
            "tasks" => "task",
            "jobs" => "job",
            "compares" => "compare",
            "workers" => "worker",
            "users" => "user",
            "tokens" => "token",
            "worker-tokens" => "worker-token",
            other => panic!("/{other}/{{id}} is not known here"),
        };
        for method in item.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            routes.push((method, path.strip_prefix("/api/v1").unwrap().to_owned(), kind));
        }
    }
    assert!(routes.len() >= 20, "{routes:?}");
    routes
}

/// A body that would be accepted, so that the id alone is at fault.
fn body(things: &Things, method: &Method, path: &str) -> Value {
    match (method.as_str(), path) {
        ("PUT", "/endpoints/{id}") => {
            json!({"name": "e", "engine": "postgresql", "role": "both", "settings": {"host": "h"}})
        }
        ("PUT", "/tasks/{id}") => task_input("t", &things.endpoint, UNKNOWN),
        ("PATCH", "/users/{id}") => json!({"role": "operator"}),
        _ => json!({}),
    }
}

async fn ask(api: &Api<'_>, things: &Things, method: &Method, path: &str, id: &str) -> Answer {
    let request = api.request(method.clone(), &path.replace("{id}", id)).header("if-match", "*");
    send(request.json(&body(things, method, path))).await
}

#[tokio::test]
async fn an_id_of_another_kind_unknown_or_malformed_finds_nothing() {
    let server = start().await;
    let admin = server.admin().await;
    let things = make(&server, &admin).await;
    let known = [
        ("endpoint", &things.endpoint),
        ("task", &things.task),
        ("job", &things.job),
        ("worker", &things.worker),
        ("user", &things.user),
        ("token", &things.token),
        ("worker-token", &things.worker_token),
    ];
    for (method, path, kind) in routes() {
        let others = known.iter().filter(|(other, _)| *other != kind).map(|(_, id)| id.as_str());
        for id in others.chain([UNKNOWN, "00000000-0000-0000-0000-000000000000"]) {
            let answer = ask(&admin, &things, &method, &path, id).await;
            // Events outlive their task, so that of an unknown task there are none.
            if path == "/tasks/{id}/events" {
                assert_eq!(answer.expect(200)["items"], json!([]), "{id}");
                continue;
            }
            let status = answer.status.as_u16();
            // A route whose body is not known here may complain about that first.
            assert!(matches!(status, 404 | 422), "{method} {path} with {id}: {status} {}", answer.body);
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{method} {path}");
        }
        for id in MALFORMED.iter().map(|id| (*id).to_owned()).chain(["a".repeat(5_000)]) {
            let answer = ask(&admin, &things, &method, &path, &id).await;
            let status = answer.status.as_u16();
            assert!(matches!(status, 400 | 404), "{method} {path} with {id}: {status} {}", answer.body);
            assert!(!answer.headers.contains_key("set-cookie"), "{method} {path} with {id}");
        }
    }
    // Nothing of it did anything.
    let user = admin.get("/users").await.expect(200)["items"][1].clone();
    assert_eq!((&user["name"], &user["role"]), (&json!("bob"), &json!("viewer")));
    assert_eq!(admin.status(&things.task).await, "ready");
    admin.get(&format!("/endpoints/{}", things.endpoint)).await.expect(200);
}

#[tokio::test]
async fn pages_with_such_ids_are_not_found_either() {
    let server = start().await;
    let admin = server.admin().await;
    let things = make(&server, &admin).await;
    let page = async |path: String| {
        let request = server.request(Method::GET, &path).bearer_auth(&admin.token);
        let answer = send(request).await;
        assert!(matches!(answer.status.as_u16(), 400 | 404), "{path}: {}", answer.status);
    };
    for (area, foreign) in [("tasks", &things.endpoint), ("endpoints", &things.task)] {
        for id in MALFORMED.iter().copied().chain([foreign.as_str(), UNKNOWN]) {
            page(format!("/{area}/{id}")).await;
            page(format!("/{area}/{id}/edit")).await;
        }
    }
}

#[tokio::test]
async fn tokens_of_others_are_neither_seen_nor_revoked() {
    let server = start().await;
    let admin = server.admin().await;
    let user = |name: &str, role: &str| json!({"name": name, "password": PASSWORD, "role": role});
    admin.post("/users", &user("ann", "operator")).await.expect(201);
    admin.post("/users", &user("bob", "operator")).await.expect(201);
    let login = async |name: &str| {
        let token = server.login(name, PASSWORD).await.expect(200)["access_token"].as_str().unwrap().to_owned();
        Api { server: &server, token }
    };
    let (ann, bob) = (login("ann").await, login("bob").await);
    let made = ann.post("/tokens", &json!({"name": "anns", "role": "operator"})).await.expect(201);
    let path = format!("/tokens/{}", made["id"].as_str().unwrap());
    assert_eq!(bob.get("/tokens").await.expect(200)["items"], json!([]));
    send(bob.request(Method::DELETE, &path)).await.expect(404);
    let anns = Api { server: &server, token: made["token"].as_str().unwrap().to_owned() };
    anns.get("/me").await.expect(200);
    send(ann.request(Method::DELETE, &path)).await.expect(204);
    anns.get("/me").await.expect(401);
}

#[tokio::test]
async fn a_token_never_does_more_than_its_user_may_nor_longer() {
    let server = start().await;
    let admin = server.admin().await;
    let new = json!({"name": "ann", "password": PASSWORD, "role": "admin"});
    let ann = admin.post("/users", &new).await.expect(201)["id"].as_str().unwrap().to_owned();
    let login = server.login("ann", PASSWORD).await.expect(200);
    let as_ann = Api { server: &server, token: login["access_token"].as_str().unwrap().to_owned() };
    let made = as_ann.post("/tokens", &json!({"name": "all", "role": "admin", "days": 1})).await.expect(201);
    let token = Api { server: &server, token: made["token"].as_str().unwrap().to_owned() };
    token.get("/users").await.expect(200);
    // A token makes no tokens: they could outlive it.
    let more = token.post("/tokens", &json!({"name": "more", "role": "viewer"})).await;
    assert_eq!((more.status.as_u16(), more.code()), (403, "needs-login"));

    let change = async |body: Value| {
        let request = admin.request(Method::PATCH, &format!("/users/{ann}"));
        send(request.json(&body)).await.expect(200);
    };
    change(json!({"role": "viewer"})).await;
    assert_eq!(token.get("/users").await.code(), "forbidden");
    assert_eq!(token.get("/me").await.expect(200)["role"], "viewer");
    change(json!({"disabled": true})).await;
    token.get("/me").await.expect(401);
    change(json!({"disabled": false})).await;
    token.get("/me").await.expect(200);

    let pool = wavemark_store::pool(&server.database_url, 1).unwrap();
    let late = "update api_tokens set expires_at = clock_timestamp() - interval '1 second' where name = 'all'";
    sqlx::query(late).execute(&pool).await.unwrap();
    token.get("/me").await.expect(401);
}
