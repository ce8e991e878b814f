use crate::support::{send, start};

#[test]
fn the_committed_document_is_that_of_the_router() {
    let committed = include_str!("../../../../openapi/openapi.json");
    let now = wavemark_server::openapi().to_pretty_json().unwrap();
    assert!(
        committed.trim_end() == now,
        "write openapi/openapi.json again: cargo run -p wavemark-server --example openapi"
    );
}

#[tokio::test]
async fn the_document_and_its_reader_are_served_by_the_binary() {
    let server = start().await;
    let document = send(server.request(reqwest::Method::GET, "/api/openapi.json")).await.expect(200);
    assert_eq!(document["openapi"], "3.1.0");
    let page = send(server.request(reqwest::Method::GET, "/api/docs/")).await.expect(200);
    assert!(page.as_str().unwrap().contains("swagger-ui"));
}
