//! Errors of the wire and the server as problems: what a supervisor does about each.

use std::error::Error;

use wavemark_domain::{Fault, Problem};

use crate::wire::WireError;

/// The problem that an error is, with what was attempted.
pub(crate) fn problem(cause: &WireError, doing: &str) -> Problem {
    let (fault, code) = kind(cause);
    let mut text = format!("Could not {doing}: {cause}");
    let mut inner = cause.source();
    while let Some(source) = inner {
        text = format!("{text}: {source}");
        inner = source.source();
    }
    let mut problem = Problem::new(fault, code, format!("{}.", text.trim_end_matches('.')));
    if let WireError::Server { code, state, .. } = cause {
        problem = problem.server_code(format!("{code} {state}"));
    }
    match advice(cause) {
        Some(advice) => problem.advice(advice),
        None => problem,
    }
}

fn kind(cause: &WireError) -> (Fault, &'static str) {
    match cause {
        WireError::Resolve { .. } | WireError::Connect { .. } | WireError::Timeout { .. } => {
            (Fault::Transient, "unreachable")
        }
        WireError::Closed | WireError::Io(_) | WireError::Unfinished => (Fault::Transient, "connection-lost"),
        WireError::TooLarge { .. } => (Fault::Data, "row-too-large"),
        WireError::Tls { .. } | WireError::TlsNotOffered => (Fault::Settings, "tls-failed"),
        WireError::PasswordInTheOpen | WireError::PasswordToAnybody | WireError::UnknownLogin(_) => {
            (Fault::Settings, "login-refused")
        }
        WireError::Protocol(_) | WireError::Malformed(_) => (Fault::Internal, "protocol"),
        WireError::Server { code, state, .. } => server(*code, state),
    }
}

/// By the server's number (manual: "Server Error Message Reference").
fn server(code: u16, state: &str) -> (Fault, &'static str) {
    match code {
        // Access denied, of all kinds; a user without a password that is asked for; an account that is locked.
        1044 | 1045 | 1698 | 3118 | 4151 => (Fault::Settings, "login-refused"),
        1142 | 1143 | 1227 | 1370 => (Fault::Settings, "right-missing"),
        1130 => (Fault::Settings, "host-refused"),
        1049 | 1051 | 1054 | 1146 | 1356 => (Fault::Data, "object-missing"),
        1040 | 1203 | 1226 => (Fault::Transient, "too-many-connections"),
        1053 | 1079 | 1105 | 1152 | 1158..=1161 | 1184 | 1205 | 1213 | 1290 | 1317 | 1836 | 1927 | 3024 => {
            (Fault::Transient, "server-error")
        }
        1148 | 3948 | 4166 => (Fault::Settings, "load-refused"),
        1021 | 1030 | 1037 | 1041 | 1114 => (Fault::Transient, "server-full"),
        _ if state.starts_with("08") || state.starts_with("70") => (Fault::Transient, "server-error"),
        _ => (Fault::Data, "server-error"),
    }
}

fn advice(cause: &WireError) -> Option<&'static str> {
    Some(match cause {
        WireError::Resolve { .. } | WireError::Connect { .. } => {
            "Look whether the host and port are right, and whether the worker may reach them."
        }
        WireError::TlsNotOffered => {
            "Give the server a certificate (ssl_cert, ssl_key), or set tls_mode to disable if nobody can be on the way."
        }
        WireError::Tls { .. } => {
            "Look whether tls_ca is the authority of the server's certificate, and for which host that is."
        }
        WireError::TooLarge { .. } => "Raise max_allowed_packet at the server; then reload the table.",
        WireError::PasswordInTheOpen => "Set tls_mode to require or stronger: the password is then sent encrypted.",
        WireError::PasswordToAnybody => {
            "Set tls_mode to verify-full, and tls_ca to the authority of the server's certificate."
        }
        WireError::UnknownLogin(_) => {
            "Give the user another authentication plugin: caching_sha2_password, mysql_native_password or ed25519."
        }
        WireError::Server { code: 1045 | 1698, .. } => {
            "Look at the user's name, its password, and from which hosts it may come."
        }
        WireError::Server { .. } if cause.is_load_refused() => {
            "Let the server take rows from its clients: SET GLOBAL local_infile = ON, and in its configuration."
        }
        _ => return None,
    })
}
