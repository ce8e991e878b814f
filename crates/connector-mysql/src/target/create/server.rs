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
    /// The third.
    pub(crate) patch: u16,
    /// The collations that it knows, with their character sets in front.
    pub(super) collations: BTreeSet<String>,
    /// Whether a `timestamp` without a default has none, rather than the present moment at every change of its row.
    pub(super) has_explicit_defaults: bool,
}

impl Server {
    /// Asks the server.
    pub(crate) async fn of(connection: &mut Connection) -> Result<Self, Problem> {
        let dialect = Dialect::of(&connection.version);
        let (major, minor, patch) = version::of(&connection.version);
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
        Ok(Self { dialect, version, patch, collations, has_explicit_defaults })
    }

    fn is_from(&self, mysql: (u16, u16, u16), mariadb: (u16, u16, u16)) -> bool {
        let version = (self.version.0, self.version.1, self.patch);
        version >= if self.dialect == Dialect::Mysql { mysql } else { mariadb }
    }

    /// Whether a default may be an expression, and one of a long text or of JSON a value.
    pub(super) fn takes_expressions(&self) -> bool {
        self.is_from((8, 0, 13), (10, 2, 1))
    }

    /// Whether a column may be one that only statements see which name it.
    pub(crate) fn hides_columns(&self) -> bool {
        self.is_from((8, 0, 23), (10, 3, 3))
    }

    /// Whether a unique index tells values of any length apart: MariaDB keeps their hashes.
    pub(super) fn hashes_long_values(&self) -> bool {
        self.dialect == Dialect::Mariadb && self.version >= (10, 4)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_can_follows_from_its_version() {
        let of = |dialect, version, patch| {
            let collations = BTreeSet::new();
            let server = Server { dialect, version, patch, collations, has_explicit_defaults: true };
            (server.takes_expressions(), server.hides_columns(), server.hashes_long_values())
        };
        assert_eq!(of(Dialect::Mysql, (8, 0), 12), (false, false, false));
        assert_eq!(of(Dialect::Mysql, (8, 0), 22), (true, false, false));
        assert_eq!(of(Dialect::Mysql, (8, 4), 0), (true, true, false));
        assert_eq!(of(Dialect::Mariadb, (10, 3), 9), (true, true, false));
        assert_eq!(of(Dialect::Mariadb, (10, 11), 6), (true, true, true));
    }
}
