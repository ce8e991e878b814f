//! What a server is: what it knows decides how a table can be made there.

use std::collections::BTreeSet;

use wavemark_domain::Problem;

use crate::defaults::Dialect;
use crate::error;
use crate::version;
use crate::wire::Connection;

/// A server that tables are made at.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) dialect: Dialect,
    /// The first two numbers of its version.
    pub(crate) version: (u16, u16),
    /// The collations that it knows, with their character sets in front.
    pub(super) collations: BTreeSet<String>,
    /// Whether a `timestamp` without a default has none, rather than the present moment at every change of its row.
    pub(super) has_explicit_defaults: bool,
}

impl Server {
    /// Asks the server.
    pub(crate) async fn of(connection: &mut Connection) -> Result<Self, Problem> {
        let dialect = Dialect::of(&connection.version);
        let (major, minor, _) = version::of(&connection.version);
        let version = (major, minor);
        // MariaDB has collations that go with several character sets; the name of both is in a column of its own.
        let name = match dialect {
            Dialect::Mariadb if version >= (10, 10) => "full_collation_name",
            _ => "collation_name",
        };
        let sql = format!("SELECT {name} FROM information_schema.collation_character_set_applicability");
        let failed = |cause| error::problem(&cause, "ask the target which collations it knows");
        let rows = connection.query(&sql).await.map_err(failed)?;
        let collations = rows.iter().filter_map(|row| row.text(0)).collect();
        let rows = connection.query("SELECT @@explicit_defaults_for_timestamp").await.map_err(failed)?;
        let has_explicit_defaults = rows.first().and_then(|row| row.text(0)).as_deref() == Some("1");
        Ok(Self { dialect, version, collations, has_explicit_defaults })
    }

    pub(super) fn knows(&self, collation: &str) -> bool {
        self.collations.contains(collation)
    }

    /// Its name for people.
    pub(super) fn system(&self) -> &'static str {
        match self.dialect {
            Dialect::Mysql => "MySQL",
            Dialect::Mariadb => "MariaDB",
        }
    }
}
