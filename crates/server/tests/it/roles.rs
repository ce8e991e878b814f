//! Every route of the OpenAPI document with every role: who may not is told so before anything else happens.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Api, PASSWORD, send, start};

/// The least role of each route, written out by hand. `-` needs no login.
const NEEDS: &str = "
GET /audit admin
POST /auth/first-run -
POST /auth/login -
POST /auth/logout viewer
POST /auth/refresh -
GET /compares/{id} viewer
DELETE /compares/{id} operator
POST /compares/{id}/repair operator
GET /endpoints viewer
POST /endpoints operator
GET /endpoints/{id} viewer
PUT /endpoints/{id} operator
DELETE /endpoints/{id} operator
POST /endpoints/{id}/discover operator
GET /endpoints/{id}/tables viewer
POST /endpoints/{id}/test operator
GET /engines viewer
GET /events viewer
GET /jobs/{id} viewer
GET /me viewer
GET /tasks viewer
POST /tasks operator
POST /tasks/preview viewer
GET /tasks/{id} viewer
PUT /tasks/{id} operator
DELETE /tasks/{id} operator
POST /tasks/{id}/adopt operator
POST /tasks/{id}/adoptable operator
POST /tasks/{id}/assess operator
GET /tasks/{id}/compares viewer
POST /tasks/{id}/compares operator
GET /tasks/{id}/events viewer
POST /tasks/{id}/drain operator
POST /tasks/{id}/reload operator
POST /tasks/{id}/resume operator
GET /tasks/{id}/samples viewer
POST /tasks/{id}/start operator
POST /tasks/{id}/stop operator
GET /tasks/{id}/tables viewer
POST /tasks/{id}/tables/park operator
POST /tasks/{id}/tables/reload operator
GET /tokens viewer
POST /tokens viewer
DELETE /tokens/{id} viewer
GET /users admin
POST /users admin
PATCH /users/{id} admin
DELETE /users/{id} admin
GET /worker-tokens admin
POST /worker-tokens admin
DELETE /worker-tokens/{id} admin
GET /workers viewer
POST /workers/{id}/drain operator
";

fn needs() -> BTreeMap<(String, String), &'static str> {
    NEEDS
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (method, path, role) = (words.next()?, words.next()?, words.next()?);
            Some(((format!("/api/v1{path}"), method.to_owned()), role))
        })
        .collect()
}

fn routes() -> Vec<(String, String)> {
    let document = serde_json::to_value(wavemark_server::openapi()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let methods =
        |path: &Value| path.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect::<Vec<_>>();
    paths.iter().flat_map(|(path, item)| methods(item).into_iter().map(move |method| (path.clone(), method))).collect()
}

#[tokio::test]
async fn each_route_takes_the_roles_that_it_should_and_no_other() {
    let server = start().await;
    let admin = server.admin().await;
    let mut tokens = Vec::new();
    for role in ["viewer", "operator", "admin"] {
        // An API token of an admin may do what it was made for; a user may do what its role says.
        let made = admin.post("/tokens", &json!({"name": role, "role": role})).await.expect(201);
        tokens.push((role, made["token"].as_str().unwrap().to_owned()));
        let name = format!("the {role}");
        admin.post("/users", &json!({"name": name, "password": PASSWORD, "role": role})).await.expect(201);
        let login = server.login(&name, PASSWORD).await.expect(200);
        tokens.push((role, login["access_token"].as_str().unwrap().to_owned()));
    }
    let needs = needs();
    let routes = routes();
    assert_eq!(routes.len(), needs.len(), "a route is missing here or in the document");
    let rank = |role: &str| ["-", "viewer", "operator", "admin"].iter().position(|known| *known == role).unwrap();
    for (path, method) in routes {
        let needed =
            needs.get(&(path.clone(), method.clone())).unwrap_or_else(|| panic!("{method} {path} is not listed"));
        let path = path.replace("{id}", "00000000-0000-0000-0000-000000000000");
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let nobody = send(server.request(method.clone(), &path).json(&json!({}))).await;
        // Without a login a route of logins complains about the empty body; any other about the missing login.
        assert_eq!(nobody.status.as_u16() == 401, *needed != "-", "{method} {path}: {}", nobody.body);
        for (role, token) in &tokens {
            let is_login = !token.starts_with("wmk_");
            if path.ends_with("/auth/logout") && is_login {
                continue;
            }
            let api = Api { server: &server, token: token.clone() };
            let request = server.request(method.clone(), &path).bearer_auth(&api.token);
            let answer = send(request.json(&json!({}))).await;
            let refused = answer.status.as_u16() == 403;
            // A token makes no tokens, whatever its role.
            let makes_tokens = method == Method::POST && path == "/api/v1/tokens";
            assert_eq!(
                refused,
                rank(role) < rank(needed) || (makes_tokens && !is_login),
                "{role} on {method} {path}: {} {}",
                answer.status,
                answer.body
            );
            assert!(answer.status.as_u16() < 500, "{role} on {method} {path}: {}", answer.body);
        }
    }
}
