//! The login (manual: protocol-flow "Start-up", sasl-authentication).
//!
//! Two things keep a man in the middle from talking the client into something weaker: with
//! [`ChannelBinding::Require`] nothing but SCRAM-SHA-256-PLUS is answered, and in every mode a server that began
//! SCRAM must prove that it knows the password before the login counts.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{self, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};
use postgres_protocol::message::frontend;
use secrecy::ExposeSecret;

use super::backend::Fields;
use super::{ChannelBinding, ConnectSettings, Connection, WireError, binding};

/// How far the login is.
enum Step {
    Start,
    /// A password was sent that the server judges alone.
    Password,
    /// SCRAM has begun.
    Scram(Box<ScramSha256>),
    /// SCRAM is done: the server has proved itself.
    Proved,
}

/// Answers the server's requests until it says that the login is good.
pub(super) async fn log_in(connection: &mut Connection, settings: &ConnectSettings) -> Result<(), WireError> {
    let mut step = Step::Start;
    loop {
        let body = connection.expect(b'R').await?;
        let mut fields = Fields(&body);
        let request = fields.i32()?;
        step = match (request, step) {
            (0, step) => return finished(&step, connection, settings),
            (3, Step::Start) => cleartext(connection, settings)?,
            (5, Step::Start) => md5(connection, settings, fields.array()?)?,
            (10, Step::Start) => scram(connection, settings, fields.0)?,
            (11, Step::Scram(mut scram)) => {
                scram.update(fields.0).map_err(|error| WireError::Login(error.to_string()))?;
                frontend::sasl_response(scram.message(), &mut connection.out)?;
                Step::Scram(scram)
            }
            (12, Step::Scram(mut scram)) => {
                scram.finish(fields.0).map_err(|error| {
                    WireError::Login(format!("the server could not prove that it knows the password: {error}"))
                })?;
                Step::Proved
            }
            (2 | 6..=9, Step::Start) => {
                return Err(WireError::Login("the server asks for Kerberos, GSSAPI or SSPI".to_owned()));
            }
            (other, _) => return Err(WireError::Protocol(format!("authentication request {other} out of turn"))),
        };
        connection.flush().await?;
    }
}

fn finished(step: &Step, connection: &Connection, settings: &ConnectSettings) -> Result<(), WireError> {
    match step {
        Step::Scram(_) => Err(WireError::Login("the server ended SCRAM without proving itself".to_owned())),
        _ if settings.channel_binding == ChannelBinding::Require && !connection.channel_bound => Err(unbound()),
        Step::Start | Step::Password | Step::Proved => Ok(()),
    }
}

fn unbound() -> WireError {
    WireError::Login("channel binding is demanded, but the server's way to log in has none".to_owned())
}

fn password(settings: &ConnectSettings) -> Result<&str, WireError> {
    match &settings.password {
        Some(password) => Ok(password.expose_secret()),
        None => Err(WireError::Login("the server asks for a password and none is set".to_owned())),
    }
}

/// Refuses what sends a password, or a hash that serves as one, past a demanded channel binding.
fn bare_password(settings: &ConnectSettings) -> Result<&str, WireError> {
    match settings.channel_binding {
        ChannelBinding::Require => Err(unbound()),
        ChannelBinding::Prefer => password(settings),
    }
}

fn cleartext(connection: &mut Connection, settings: &ConnectSettings) -> Result<Step, WireError> {
    let password = bare_password(settings)?;
    if !connection.is_encrypted() {
        tracing::warn!(host = %settings.host, "the password goes to the server unencrypted: it asks so, and TLS is off");
    }
    frontend::password_message(password.as_bytes(), &mut connection.out)?;
    Ok(Step::Password)
}

fn md5(connection: &mut Connection, settings: &ConnectSettings, salt: [u8; 4]) -> Result<Step, WireError> {
    let hash = md5_hash(settings.user.as_bytes(), bare_password(settings)?.as_bytes(), salt);
    frontend::password_message(hash.as_bytes(), &mut connection.out)?;
    Ok(Step::Password)
}

fn scram(connection: &mut Connection, settings: &ConnectSettings, mechanisms: &[u8]) -> Result<Step, WireError> {
    let offered = |name: &str| mechanisms.split(|byte| *byte == 0).any(|mechanism| mechanism == name.as_bytes());
    let end_point = connection.certificate().and_then(binding::server_end_point);
    let (name, channel) = match (end_point, offered(SCRAM_SHA_256_PLUS)) {
        (Some(hash), true) => (SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(hash)),
        _ if settings.channel_binding == ChannelBinding::Require => return Err(unbound()),
        // Says "I could, but you don't": a server that does offer it then refuses, as someone took it out.
        (Some(_), false) => (SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
        (None, true) if !connection.is_encrypted() => {
            return Err(WireError::Protocol("it offers channel binding without TLS".to_owned()));
        }
        (None, plus) => {
            if plus {
                tracing::warn!(host = %settings.host, "no channel binding: the signature of the server's certificate has no known hash");
            }
            (SCRAM_SHA_256, sasl::ChannelBinding::unsupported())
        }
    };
    if !offered(name) {
        return Err(WireError::Login("the server offers no way to log in that is known here".to_owned()));
    }
    let scram = ScramSha256::new(password(settings)?.as_bytes(), channel);
    frontend::sasl_initial_response(name, scram.message(), &mut connection.out)?;
    connection.channel_bound = name == SCRAM_SHA_256_PLUS;
    Ok(Step::Scram(Box::new(scram)))
}
