//! Who is calling, and what they may do.
//!
//! A caller shows one of: an access token of a login (JWT, ten minutes, refreshed), an API token (`wmk_…`), or the
//! cookie of a page. Each leads to a session or token in the database, read at every request, so that revoking,
//! locking out and changing a role hold at once. Handlers say what they need by the extractor that they take:
//! [`Viewer`], [`Operator`] or [`Admin`].

pub mod cookie;
pub mod cross_site;
pub mod jwt;
pub mod limit;
pub mod login;
pub mod password;
pub mod secret;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use uuid::Uuid;
use wavemark_domain::ids::TokenId;
use wavemark_store::users::{Role, User};
use wavemark_store::{audit, sessions, tokens};

use crate::problem::ApiProblem;
use crate::serve::Peer;
use crate::state::AppState;

/// Who is calling.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user, with the role that holds for this request.
    pub user: User,
    /// How it showed who it is.
    pub via: Via,
    /// From where, if known.
    pub address: Option<String>,
    /// The digest of its API token, if it showed one.
    token: Option<[u8; 32]>,
}

/// How a caller showed who it is.
#[derive(Clone, Copy, Debug)]
pub enum Via {
    /// By a login.
    Session(Uuid),
    /// By an API token.
    Token(TokenId),
}

impl Caller {
    /// Refuses those who may not.
    ///
    /// # Errors
    /// 403.
    pub fn need(&self, role: Role) -> Result<(), ApiProblem> {
        if self.user.role >= role {
            return Ok(());
        }
        let text = format!("This needs the role {}; you have {}.", role.word(), self.user.role.word());
        Err(ApiProblem::new(StatusCode::FORBIDDEN, "forbidden", text))
    }

    /// Whether what it showed still holds, for answers that last.
    ///
    /// # Errors
    /// 503.
    pub async fn still_holds(&self, state: &AppState) -> Result<bool, ApiProblem> {
        let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
        Ok(match (self.via, self.token) {
            (Via::Session(session), _) => sessions::user(&mut connection, session).await?.is_some(),
            (Via::Token(_), Some(digest)) => tokens::user(&mut connection, &digest).await?.is_some(),
            (Via::Token(_), None) => false,
        })
    }

    /// A deed of this caller, for the audit log.
    #[must_use]
    pub fn deed<'a>(
        &'a self,
        action: &'a str,
        kind: &'a str,
        id: impl std::fmt::Display + Copy,
        name: Option<&'a str>,
    ) -> audit::Deed<'a> {
        audit::Deed {
            actor: &self.user.name,
            actor_id: Some(self.user.id.0),
            address: self.address.as_deref(),
            action,
            object_kind: kind,
            object_id: Some(id.to_string()),
            object_name: name,
            difference: None,
        }
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiProblem> {
        let address = address(parts);
        let authorization = crate::extract::text_header(&parts.headers, "authorization");
        let bearer = authorization
            .map(|value| value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")));
        let mut shown = None;
        let found = match bearer {
            Some(Some((_, token))) => {
                let token = token.trim();
                shown = token.starts_with(secret::API_PREFIX).then(|| secret::digest(token));
                by_bearer(state, token).await?
            }
            Some(None) => None,
            None => by_cookie(parts, state).await?,
        };
        let (user, via) = found.ok_or_else(ApiProblem::unauthorized)?;
        Ok(Self { user, via, address, token: shown })
    }
}

/// From where a request comes.
#[must_use]
pub fn address(parts: &Parts) -> Option<String> {
    let peer = parts.extensions.get::<axum::extract::ConnectInfo<Peer>>();
    peer.map(|axum::extract::ConnectInfo(peer)| peer.0.ip().to_canonical().to_string())
}

async fn by_bearer(state: &AppState, token: &str) -> Result<Option<(User, Via)>, ApiProblem> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    if token.starts_with(secret::API_PREFIX) {
        let found = tokens::user(&mut connection, &secret::digest(token)).await?;
        return Ok(found.map(|(id, user)| (user, Via::Token(id))));
    }
    let Some(claims) = jwt::check(&state.jwt_check, token) else { return Ok(None) };
    let user = sessions::user(&mut connection, claims.sid).await?;
    Ok(user.map(|user| (user, Via::Session(claims.sid))))
}

async fn by_cookie(parts: &Parts, state: &AppState) -> Result<Option<(User, Via)>, ApiProblem> {
    let Some(value) = cookie::read(&parts.headers).filter(|value| value.starts_with(secret::PAGE_PREFIX)) else {
        return Ok(None);
    };
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let found = sessions::by_secret(&mut connection, &secret::digest(&value)).await?;
    Ok(found.map(|(session, user)| (user, Via::Session(session))))
}

/// Someone who is logged in by name and password, for what an API token must not do: it could outlive its end and its
/// revocation in tokens that it made.
#[derive(Clone, Debug)]
pub struct LoggedIn(pub Caller);

impl FromRequestParts<AppState> for LoggedIn {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiProblem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        match caller.via {
            Via::Session(_) => Ok(Self(caller)),
            Via::Token(_) => {
                let text = "An API token can't do this: log in for it.";
                Err(ApiProblem::new(StatusCode::FORBIDDEN, "needs-login", text))
            }
        }
    }
}

macro_rules! needs_role {
    ($($(#[$doc:meta])* $name:ident => $role:expr),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub Caller);

        impl FromRequestParts<AppState> for $name {
            type Rejection = ApiProblem;

            async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiProblem> {
                let caller = Caller::from_request_parts(parts, state).await?;
                caller.need($role)?;
                Ok(Self(caller))
            }
        }
    )*};
}

needs_role! {
    /// Anyone who is logged in.
    Viewer => Role::Viewer,
    /// Those who may run tasks and edit endpoints.
    Operator => Role::Operator,
    /// Those who may do everything.
    Admin => Role::Admin,
}
