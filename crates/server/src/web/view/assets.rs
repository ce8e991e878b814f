//! Scripts, styles and pictures, built into the binary. An address carries a digest of the content, so that
//! browsers may keep it for ever and still see the next version at once.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../../web/static"]
struct Files;

static DIGESTS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    Files::iter().filter_map(|path| Files::get(&path).map(|file| (path.to_string(), digest(&file)))).collect()
});

/// The address of a file.
#[must_use]
pub fn href(path: &str) -> String {
    match DIGESTS.get(path) {
        Some(digest) => format!("/static/{path}?v={digest}"),
        None => format!("/static/{path}"),
    }
}

/// `GET /static/{*path}`.
pub async fn serve(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let Some(file) = Files::get(&path) else { return StatusCode::NOT_FOUND.into_response() };
    let etag = format!("\"{}\"", digest(&file));
    let cache =
        [(header::ETAG, etag.clone()), (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned())];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    if known.is_some_and(|known| known.contains(&etag)) {
        return (StatusCode::NOT_MODIFIED, cache).into_response();
    }
    let kind = match path.rsplit_once('.').map(|(_, kind)| kind) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    };
    (cache, [(header::CONTENT_TYPE, kind)], file.data).into_response()
}

fn digest(file: &rust_embed::EmbeddedFile) -> String {
    file.metadata.sha256_hash()[..6].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_served_with_its_type_and_only_once() {
        let first = serve(Path("app.css".to_owned()), HeaderMap::new()).await;
        assert_eq!(first.headers()[header::CONTENT_TYPE], "text/css; charset=utf-8");
        let mut again = HeaderMap::new();
        again.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(serve(Path("app.css".to_owned()), again).await.status(), StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        let answer = serve(Path("../Cargo.toml".to_owned()), HeaderMap::new()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn a_page_with_charts_stays_below_150_kb_before_compression_of_its_own_parts() {
        let size = |path: &str| Files::get(path).map_or(0, |file| file.data.len());
        let all: usize = ["app.css", "app.js", "favicon.svg"].into_iter().map(size).sum();
        assert!(all > 0 && all < 60_000, "{all} bytes");
    }
}
