//! Refuses requests that another site makes a browser send.
//!
//! Browsers say where an unsafe request comes from: by `Sec-Fetch-Site`, and by `Origin`. A request that says
//! another site is refused whatever it carries; one that carries our cookie must say that it is from here.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::cookie;
use crate::extract::text_header;
use crate::problem::ApiProblem;
use crate::state::AppState;

/// The middleware around all routes.
pub async fn refuse(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if request.method().is_safe() || is_ours(request.headers(), state.public_url.as_deref()) {
        return next.run(request).await;
    }
    let text = "This request was made by another site, or the browser did not say by which.";
    ApiProblem::new(StatusCode::FORBIDDEN, "cross-site", text).into_response()
}

fn is_ours(headers: &HeaderMap, public_url: Option<&str>) -> bool {
    if let Some(site) = text_header(headers, "sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    if let Some(origin) = text_header(headers, "origin") {
        let host = text_header(headers, "host");
        let origin_host = origin.split_once("://").map(|(_, host)| host);
        let public = public_url.map(|url| url.trim_end_matches('/'));
        return (origin_host.is_some() && origin_host == host) || public == Some(origin);
    }
    cookie::read(headers).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(headers: &[(&'static str, &str)]) -> bool {
        let map = headers
            .iter()
            .map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        is_ours(&map, Some("https://wm.example/"))
    }

    #[test]
    fn what_another_site_sends_is_refused() {
        assert!(ours(&[("sec-fetch-site", "same-origin")]));
        assert!(!ours(&[("sec-fetch-site", "cross-site")]));
        assert!(!ours(&[("sec-fetch-site", "same-site"), ("origin", "http://h")]));
        assert!(ours(&[("origin", "http://h:80"), ("host", "h:80")]));
        assert!(!ours(&[("origin", "http://evil"), ("host", "h:80")]));
        assert!(!ours(&[("origin", "null"), ("host", "h:80")]));
        assert!(ours(&[("origin", "https://wm.example"), ("host", "inner")]));
        assert!(!ours(&[("cookie", "wavemark_session=x")]));
        assert!(ours(&[]));
    }
}
