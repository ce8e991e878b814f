//! Every operation of the OpenAPI document with values that nobody means well: each answer is one that the document
//! lists, in the form that it says, and never a failure of the server. `make security` goes on from here.

use reqwest::{Method, RequestBuilder};
use serde_json::{Map, Value, json};

use crate::support::{Answer, Api, send, start, task_input};

/// What stands in for any value of a body.
fn hostile() -> Vec<Value> {
    let deep = (0..100).fold(json!(1), |inside, _| json!([inside]));
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1.5),
        json!(9_223_372_036_854_775_807_i64),
        json!(18_446_744_073_709_551_615_u64),
        json!(1e308),
        json!(""),
        json!(" "),
        json!("a\u{0}b"),
        json!("a\r\nb"),
        json!("\u{202e}\u{1f600}\u{10ffff}"),
        json!("x".repeat(100_000)),
        json!("'; drop table users; --"),
        json!([]),
        json!({}),
        json!({"a\u{0}": "b"}),
        deep,
    ]
}

/// What stands in for any parameter of a query or a header.
const PARAMETERS: [&str; 16] = [
    "",
    "-1",
    "0",
    "1",
    "65536",
    "99999999999999999999",
    "1.5",
    "true",
    "null",
    "%00",
    "%0D%0A",
    "%FF",
    "IgAi",
    "IlxcdTAwMDAi",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999%2B23:59",
];

struct Operation {
    path: String,
    method: Method,
    parameters: Vec<(String, String)>,
    body: Option<Value>,
    answers: Map<String, Value>,
}

fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(wavemark_server::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, said) in item.as_object().unwrap() {
            let parameters = said["parameters"].as_array().into_iter().flatten();
            let parameter =
                |one: &Value| (one["in"].as_str().unwrap().to_owned(), one["name"].as_str().unwrap().to_owned());
            operations.push(Operation {
                path: path.clone(),
                method: Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
                parameters: parameters.map(parameter).collect(),
                body: said["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().map(good_body),
                answers: said["responses"].as_object().unwrap().clone(),
            });
        }
    }
    operations
}

const SOME_ID: &str = "01920000-0000-7000-8000-000000000000";
/// Stand for the endpoints of a task that is there.
const SOURCE: &str = "01920000-0000-7000-8000-00000000000a";
const TARGET: &str = "01920000-0000-7000-8000-00000000000b";

/// A body that is accepted but for what it names, so that what is changed in it is what is refused.
fn good_body(schema: &str) -> Value {
    match schema.rsplit('/').next().unwrap() {
        "LoginBody" => json!({"name": "nobody", "password": "a good password"}),
        "RefreshBody" => json!({"refresh_token": "wmr_x"}),
        "FirstRunBody" => json!({"code": "x", "name": "ann", "password": "a good password"}),
        "NewUser" => json!({"name": "ann", "password": "a good password", "role": "viewer"}),
        "UserChange" => json!({"role": "viewer", "disabled": false, "password": "a good password"}),
        "NewToken" => json!({"name": "t", "role": "viewer", "days": 1}),
        "NewWorkerToken" => json!({"name": "w"}),
        "EndpointInput" => json!({"name": "e", "engine": "postgresql", "role": "both",
            "settings": {"host": "h", "port": 5432}, "secrets": {"password": "p"}}),
        "TaskInput" => {
            let mut body = task_input("t", SOURCE, TARGET);
            body["settings"] = json!({"chunk_mib": 64});
            body
        }
        "PreviewInput" => json!({"source_id": SOURCE, "mappings": task_input("t", "", "")["mappings"]}),
        _ => json!({}),
    }
}

/// The body with each of its values in turn, at any depth, replaced by each of the hostile ones.
fn changed(body: &Value) -> Vec<Value> {
    let mut places = vec![String::new()];
    gather(body, "", &mut places);
    let mut bodies = vec![body.clone()];
    for place in &places {
        for value in hostile() {
            let mut other = body.clone();
            *other.pointer_mut(place).unwrap() = value;
            bodies.push(other);
        }
    }
    bodies.extend(hostile().into_iter().filter_map(|value| {
        let mut other = body.as_object()?.clone();
        other.insert("unknown".to_owned(), value);
        Some(Value::Object(other))
    }));
    bodies
}

fn gather(value: &Value, at: &str, places: &mut Vec<String>) {
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (format!("{at}/{key}"), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(n, value)| (format!("{at}/{n}"), value)).collect(),
        _ => return,
    };
    for (place, value) in inside {
        places.push(place.clone());
        gather(value, &place, places);
    }
}

impl Operation {
    fn request(&self, api: &Api<'_>, id: &str, query: &str) -> RequestBuilder {
        let path = self.path.strip_prefix("/api/v1").unwrap().replace("{id}", id);
        let request = api.request(self.method.clone(), &format!("{path}{query}"));
        if self.parameters.iter().any(|(_, name)| name == "If-Match") {
            request.header("if-match", "*")
        } else {
            request
        }
    }

    /// Fails unless the document lists this answer, in this form.
    #[track_caller]
    fn check(&self, answer: &Answer, sent: &str) {
        let status = answer.status.as_u16();
        let what =
            format!("{} {} with {:.300}: {status} {:.300}", self.method, self.path, sent, answer.body.to_string());
        assert!(status < 500, "{what}");
        let said = self.answers.get(&status.to_string()).unwrap_or_else(|| panic!("not in the document: {what}"));
        let content = said.get("content").and_then(Value::as_object);
        let given = answer.headers.get("content-type").map(|given| given.to_str().unwrap());
        match content {
            Some(content) => assert!(content.contains_key(given.unwrap_or_default()), "{given:?} is not said: {what}"),
            None => assert_eq!(answer.body, json!(""), "the document says of no body: {what}"),
        }
        if status >= 400 {
            assert_eq!(answer.body["status"], json!(status), "{what}");
        }
    }
}

#[tokio::test]
async fn whatever_is_sent_the_answer_is_one_that_the_document_lists() {
    let server = start().await;
    let admin = server.admin().await;
    let task = admin.task("one").await;
    let read = admin.get(&format!("/tasks/{task}")).await.expect(200);
    let [source, target] = ["source", "target"].map(|side| read[side]["id"].as_str().unwrap().to_owned());
    let with_ids = |body: &Value| body.to_string().replace(SOURCE, &source).replace(TARGET, &target);
    for operation in operations() {
        // Logging out would end the rest; every wrong login counts against the next.
        if ["/api/v1/auth/logout", "/api/v1/auth/login", "/api/v1/auth/first-run"].contains(&operation.path.as_str()) {
            continue;
        }
        let id = match operation.path.as_str() {
            _ if operation.method == Method::DELETE => SOME_ID,
            path if path.contains("/tasks/{id}") => &task,
            path if path.contains("/endpoints/{id}") => &source,
            _ => SOME_ID,
        };
        for body in operation.body.as_ref().map_or_else(Vec::new, changed) {
            let request = operation.request(&admin, id, "").header("content-type", "application/json");
            operation.check(&send(request.body(with_ids(&body))).await, &body.to_string());
        }
        for (place, name) in &operation.parameters {
            for value in PARAMETERS {
                let request = match place.as_str() {
                    "query" => operation.request(&admin, id, &format!("?{name}={value}")),
                    "header" => operation.request(&admin, SOME_ID, "").header(name, value),
                    _ => continue,
                };
                let request = match &operation.body {
                    Some(body) => request.json(body),
                    None => request,
                };
                operation.check(&send(request).await, &format!("{name}: {value}"));
            }
        }
    }
}

#[tokio::test]
async fn logins_answer_as_the_document_says_too() {
    let server = start().await;
    for operation in operations() {
        if !["/api/v1/auth/login", "/api/v1/auth/first-run"].contains(&operation.path.as_str()) {
            continue;
        }
        // The limit of logins is met on the way, which is an answer as well.
        for body in changed(operation.body.as_ref().unwrap()) {
            let request = server.request(Method::POST, &operation.path).json(&body);
            operation.check(&send(request).await, &body.to_string());
        }
    }
}
