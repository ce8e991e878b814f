//! The JSON API under `/api/v1`. The router is the OpenAPI document: a route that isn't described doesn't exist.

pub mod adopt;
pub mod audit;
pub mod auth;
pub mod compares;
mod created;
mod document;
pub mod endpoints;
pub mod events;
pub mod jobs;
pub mod preview;
pub mod shapes;
mod sharing;
pub mod table_actions;
pub mod task_actions;
pub mod task_views;
pub mod tasks;
pub mod tokens;
pub mod users;
pub mod workers;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use crate::problem::{ApiProblem, ProblemBody};
use crate::state::AppState;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Wavemark",
        description = "Copies databases and keeps the copies current.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemBody)),
    modifiers(&Security),
    security(("bearer" = []))
)]
struct Document;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("An access token of a login, or an API token (`wmk_…`).".to_owned());
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

fn described() -> OpenApiRouter<AppState> {
    // Whoever is not logged in yet says little.
    let doors = OpenApiRouter::new()
        .routes(routes!(auth::login))
        .routes(routes!(auth::refresh))
        .routes(routes!(auth::first_run))
        .layer(DefaultBodyLimit::max(16 << 10));
    let routes = OpenApiRouter::new()
        .merge(doors)
        .routes(routes!(auth::logout))
        .routes(routes!(auth::me))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::update, users::delete))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(tokens::list_worker, tokens::create_worker))
        .routes(routes!(tokens::revoke_worker))
        .routes(routes!(endpoints::engines))
        .routes(routes!(endpoints::list, endpoints::create))
        .routes(routes!(endpoints::get, endpoints::update, endpoints::delete))
        .routes(routes!(endpoints::test))
        .routes(routes!(endpoints::discover))
        .routes(routes!(endpoints::tables))
        .routes(routes!(jobs::get))
        .routes(routes!(tasks::list, tasks::create))
        .routes(routes!(tasks::get, tasks::update, tasks::delete))
        .routes(routes!(preview::preview))
        .routes(routes!(task_actions::start))
        .routes(routes!(task_actions::resume))
        .routes(routes!(task_actions::stop))
        .routes(routes!(task_actions::reload))
        .routes(routes!(task_actions::drain))
        .routes(routes!(task_actions::assess))
        .routes(routes!(adopt::adoptable))
        .routes(routes!(adopt::adopt))
        .routes(routes!(table_actions::reload))
        .routes(routes!(table_actions::park))
        .routes(routes!(compares::list, compares::create))
        .routes(routes!(compares::get, compares::cancel))
        .routes(routes!(compares::repair))
        .routes(routes!(task_views::tables))
        .routes(routes!(task_views::samples))
        .routes(routes!(task_views::events))
        .routes(routes!(events::list))
        .routes(routes!(workers::list))
        .routes(routes!(workers::drain))
        .routes(routes!(audit::list));
    let mut all = OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", routes);
    document::complete(all.get_openapi_mut());
    all
}

/// The OpenAPI 3.1 document of the API.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

pub(crate) fn router() -> Router<AppState> {
    let (router, document) = described().split_for_parts();
    router
        .merge(SwaggerUi::new("/api/docs").url("/api/openapi.json", document))
        .route("/api/v1/{*rest}", axum::routing::any(nothing_here))
        .method_not_allowed_fallback(wrong_method)
        .layer(kept_by_nobody())
}

/// Answers hold names, figures, and now and then a token: neither browser nor proxy shall keep them.
fn kept_by_nobody() -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(
        HeaderName::from_static("cache-control"),
        HeaderValue::from_static("no-store"),
    )
}

async fn nothing_here() -> ApiProblem {
    ApiProblem::new(StatusCode::NOT_FOUND, "not-found", "There is no such path in the API; see /api/docs.")
}

async fn wrong_method() -> ApiProblem {
    let text = "This path does not take this method; see /api/docs.";
    ApiProblem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", text)
}
