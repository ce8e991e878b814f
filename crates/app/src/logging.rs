//! Logs go to standard error; `RUST_LOG` chooses what, but for the driver's own lines: at `debug` it writes the
//! values of rows.

use tracing_subscriber::EnvFilter;

/// The most that is logged of what the drivers say: each module that writes values by name, so that no directive of
/// the user's is more exact.
const DRIVERS: [&str; 3] = ["tokio_postgres=info", "tokio_postgres::query=info", "tokio_postgres::connection=info"];

/// Starts logging: lines for people, or JSON objects.
pub(crate) fn start(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,hyper=warn"));
    let filter = DRIVERS
        .iter()
        .fold(filter, |filter, driver| filter.add_directive(driver.parse().expect("these directives are well-formed")));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_target(false).init();
    }
}
