//! What a table's declaration tells that the catalog does not.

use crate::sql::{quoted, quoted_table};
use crate::wire::Connection;

/// The table's declaration; empty if the table is gone meanwhile, or hidden from the user.
pub(super) async fn of(connection: &mut Connection, table: &wavemark_domain::TableName) -> String {
    let show = format!("SHOW CREATE TABLE {}", quoted_table(table));
    // A lost connection fails the next question.
    connection.query(&show).await.ok().and_then(|rows| rows.first()?.text(1)).unwrap_or_default()
}

/// The parser of an index of full texts, if it is not the server's own.
pub(super) fn parser(declaration: &str, index: &str) -> Option<String> {
    let start = format!("  FULLTEXT KEY {} ", quoted(index));
    let line = declaration.lines().find_map(|line| line.strip_prefix(&start))?;
    let name = line.split_once("WITH PARSER `")?.1.split('`').next()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As MySQL 9.7 writes it.
    const DECLARED: &str = "CREATE TABLE `t` (\n  `id` int NOT NULL,\n  \
        `e` varchar(30) DEFAULT NULL,\n  PRIMARY KEY (`id`),\n  \
        FULLTEXT KEY `words` (`e`) /*!50100 WITH PARSER `ngram` */ ,\n  FULLTEXT KEY `plain` (`e`)\n) ENGINE=InnoDB";

    #[test]
    fn an_index_of_full_texts_has_its_parser() {
        assert_eq!(parser(DECLARED, "words").as_deref(), Some("ngram"));
        assert_eq!(parser(DECLARED, "plain"), None);
    }
}
