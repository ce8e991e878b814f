//! The cookie of a page: an opaque secret, `HttpOnly`, `SameSite=Strict`, Secure where HTTPS is used.

use axum::http::HeaderMap;
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};

use crate::state::AppState;

/// The cookie's name.
pub const NAME: &str = "wavemark_session";

/// The cookie's value, if the request has one.
#[must_use]
pub fn read(headers: &HeaderMap) -> Option<String> {
    CookieJar::from_headers(headers).get(NAME).map(|cookie| cookie.value().to_owned())
}

/// The cookie that a login sets.
#[must_use]
pub fn set(state: &AppState, secret: String) -> Cookie<'static> {
    Cookie::build((NAME, secret))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(state.secure_cookies)
        .max_age(super::login::PAGE_LASTS)
        .build()
}

/// The cookie that a logout sets.
#[must_use]
pub fn clear(state: &AppState) -> Cookie<'static> {
    let mut cookie = set(state, String::new());
    cookie.make_removal();
    cookie
}
