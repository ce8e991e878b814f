//! Users.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;
use wavemark_domain::ids::UserId;
use wavemark_store::audit;
use wavemark_store::users::{self, Role, User};

use super::created;
use crate::auth::{Admin, login, password};
use crate::extract::{Create, Json, Page, Paging, Path, Query};
use crate::problem::{ApiProblem, ApiResult, ProblemBody};
use crate::state::{AppState, commit};

/// One user.
#[derive(Serialize, ToSchema)]
pub struct UserBody {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: &'static str,
    /// Whether it is locked out.
    pub disabled: bool,
    /// Since when it exists.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

impl From<User> for UserBody {
    fn from(user: User) -> Self {
        Self {
            id: user.id.0,
            name: user.name,
            role: user.role.word(),
            disabled: user.disabled,
            created_at: user.created_at,
        }
    }
}

/// List users
#[utoipa::path(get, path = "/users", tag = "users", params(Paging), responses(
    (status = 200, body = Page<UserBody>, description = "by name"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role admin")))]
pub async fn list(
    State(state): State<AppState>,
    _: Admin,
    Query(paging): Query<Paging>,
) -> ApiResult<Json<Page<UserBody>>> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let after: String = paging.after()?.unwrap_or_default();
    let rows = users::list(&mut connection, &after, paging.rows()).await?;
    Ok(Json(paging.page(rows, |user| user.name.clone(), UserBody::from)))
}

/// A new user.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Its name: 1 to 100 characters.
    pub name: String,
    /// Its password: 10 to 1000 characters.
    #[schema(value_type = String, format = "password")]
    pub password: SecretString,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
}

/// Make a user
#[utoipa::path(post, path = "/users", tag = "users", request_body = NewUser,
    params(("Idempotency-Key" = Option<String>, Header, description = "makes the create safe to repeat")), responses(
    (status = 201, body = UserBody, description = "made"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role admin"),
    (status = 409, body = ProblemBody, description = "the name is taken"),
    (status = 422, body = ProblemBody, description = "a field can't be accepted")))]
pub async fn create(
    State(state): State<AppState>,
    Admin(caller): Admin,
    create: Create<NewUser>,
) -> ApiResult<Response> {
    let body = &create.value;
    login::user_name(&body.name)?;
    password::acceptable(&body.password)?;
    let role = role(&body.role)?;
    let hash = password::hash(&state, body.password.clone()).await?;
    let mut transaction = state.begin().await?;
    if let Some(answer) = created::before(&mut transaction, &caller, &create).await? {
        return Ok(answer);
    }
    let id = UserId(Uuid::now_v7());
    users::create(&mut transaction, id, &body.name, &hash, role).await.map_err(taken)?;
    audit::write(&mut transaction, &caller.deed("user.create", "user", id, Some(&body.name))).await?;
    let user = users::get(&mut transaction, id).await?.ok_or_else(|| ApiProblem::not_found("user"))?;
    created::finish(transaction, &caller, &create, UserBody::from(user)).await
}

fn taken(error: wavemark_store::Error) -> ApiProblem {
    if error.is_duplicate() {
        return ApiProblem::conflict("name-taken", "There is a user of this name.").in_field("name");
    }
    error.into()
}

pub(super) fn role(word: &str) -> ApiResult<Role> {
    Role::from_word(word).ok_or_else(|| ApiProblem::field("role", "A role is viewer, operator or admin."))
}

/// What changes; the rest stays. The user is logged out everywhere.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// `viewer`, `operator` or `admin`.
    pub role: Option<String>,
    /// Whether it is locked out.
    pub disabled: Option<bool>,
    /// A new password.
    #[schema(value_type = Option<String>, format = "password")]
    pub password: Option<SecretString>,
}

/// Change a user's role, password or lock; logs it out everywhere
#[utoipa::path(patch, path = "/users/{id}", tag = "users", request_body = UserChange,
    params(("id" = Uuid, Path, description = "the user")), responses(
    (status = 200, body = UserBody, description = "changed"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role admin"),
    (status = 404, body = ProblemBody, description = "no such user"),
    (status = 409, body = ProblemBody, description = "it is the last admin"),
    (status = 422, body = ProblemBody, description = "a field can't be accepted")))]
pub async fn update(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(id): Path<UserId>,
    Json(change): Json<UserChange>,
) -> ApiResult<Json<UserBody>> {
    let role = change.role.as_deref().map(role).transpose()?;
    let hash = match change.password {
        Some(given) => {
            password::acceptable(&given)?;
            Some(password::hash(&state, given).await?)
        }
        None => None,
    };
    let mut transaction = state.begin().await?;
    if role.is_some_and(|role| role != Role::Admin) || change.disabled == Some(true) {
        keep_an_admin(&mut transaction, id).await?;
    }
    users::update(&mut transaction, id, role, change.disabled, hash.as_deref()).await?;
    let user = users::get(&mut transaction, id).await?.ok_or_else(|| ApiProblem::not_found("user"))?;
    let mut deed = caller.deed("user.update", "user", id, Some(&user.name));
    deed.difference = Some(serde_json::json!({
        "role": role.map(Role::word), "disabled": change.disabled, "password": hash.is_some(),
    }));
    audit::write(&mut transaction, &deed).await?;
    commit(transaction).await?;
    Ok(Json(user.into()))
}

/// Delete a user with its logins and API tokens
#[utoipa::path(delete, path = "/users/{id}", tag = "users", params(("id" = Uuid, Path, description = "the user")),
    responses(
    (status = 204, description = "deleted"),
    (status = 401, body = ProblemBody, description = "not logged in"),
    (status = 403, body = ProblemBody, description = "needs the role admin"),
    (status = 404, body = ProblemBody, description = "no such user"),
    (status = 409, body = ProblemBody, description = "it is the last admin")))]
pub async fn delete(
    State(state): State<AppState>,
    Admin(caller): Admin,
    Path(id): Path<UserId>,
) -> ApiResult<StatusCode> {
    let mut transaction = state.begin().await?;
    let user = users::get(&mut transaction, id).await?.ok_or_else(|| ApiProblem::not_found("user"))?;
    keep_an_admin(&mut transaction, id).await?;
    users::delete(&mut transaction, id).await?;
    audit::write(&mut transaction, &caller.deed("user.delete", "user", id, Some(&user.name))).await?;
    commit(transaction).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn keep_an_admin(connection: &mut wavemark_store::PgConnection, id: UserId) -> ApiResult<()> {
    if users::other_admins(connection, id).await? > 0 {
        return Ok(());
    }
    Err(ApiProblem::conflict("last-admin", "This is the last admin who can log in. Make another one first."))
}
