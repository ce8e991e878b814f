//! What `MariaDB`'s log says of the statement whose rows follow (`binlog_annotate_row_events`).
//!
//! It is asked where an update leaves columns out (`binlog_row_image`): `MariaDB` runs a `REPLACE` as an update of the row that is in
//! its way, and logs only the columns that the statement names. The others have got their defaults, and the log is as that
//! of an `UPDATE`, which leaves them as they were.

use wavemark_domain::{Fault, Problem, TableName};

use super::{Announced, Assembler};
use crate::defaults::Dialect;
use crate::log::statement::{behind_comments, names};

/// What is looked at of a statement.
const MOST: usize = 4_096;
/// What ends the names of the tables that a statement writes.
const BEHIND_NAMES: [&str; 4] = ["SET", "SELECT", "VALUES", "VALUE"];

/// The beginning of a statement that leaves alone what it does not name: up to where its tables are named.
#[derive(Default)]
pub(super) struct Annotated(Option<Box<str>>);

impl Annotated {
    pub(super) fn of(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&text[..text.len().min(MOST)]);
        let text = behind_comments(&text);
        let (is_update, is_insert) = (begins(text, "UPDATE"), begins(text, "INSERT"));
        let is_behind = |word: &&str| BEHIND_NAMES.iter().any(|end| word.eq_ignore_ascii_case(end));
        let named = text.split('(').next().unwrap_or_default();
        let words: Vec<&str> = named.split_ascii_whitespace().take_while(|word| !is_behind(word)).collect();
        Self((is_update || is_insert).then(|| words.join(" ").into()))
    }

    /// Whether columns of the table that it does not name stay as they were. A trigger can't write a table that its statement
    /// writes or reads, so what is done to that the statement has done itself.
    fn keeps(&self, table: &TableName) -> bool {
        self.0.as_ref().is_some_and(|named| names(named, &table.table.replace('`', "``")))
    }
}

fn begins(text: &str, word: &str) -> bool {
    text.split_ascii_whitespace().next().is_some_and(|first| first.eq_ignore_ascii_case(word))
}

impl Assembler {
    /// Whether an update of a table may be a `REPLACE`, which gives columns that it leaves out their defaults.
    pub(super) fn may_replace(&self, announced: &Announced, table: &TableName) -> bool {
        // The name as the statement has it.
        let logged = TableName::new(String::new(), String::from_utf8_lossy(&announced.names[1]));
        self.rules.server.dialect == Dialect::Mariadb && !self.annotated.keeps(table) && !self.annotated.keeps(&logged)
    }
}

/// The problem of a table that such an update is of.
pub(super) fn replaced(table: &TableName) -> Problem {
    let text = format!(
        "The log has an update of {table} without all of its columns, which may be of a REPLACE: MariaDB logs such without the \
         columns that got their defaults. What became of them can't be told."
    );
    Problem::new(Fault::Data, "row-incomplete", text).advice(
        "SET GLOBAL binlog_row_image = FULL at the source, let its sessions connect anew, and reload the table.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_statement_updates_itself_is_kept() {
        let keeps = |text: &str| Annotated::of(text.as_bytes()).keeps(&TableName::new("shop", "t"));
        for text in [
            "UPDATE t SET n = 1",
            "/* app */ update low_priority `shop`.`t` as x set n = 1",
            "UPDATE a JOIN t ON a.id = t.id SET t.n = 1",
            "INSERT INTO t(id, n) VALUES (1, 2) ON DUPLICATE KEY UPDATE n = 3",
            "INSERT IGNORE INTO shop.T SELECT * FROM x ON DUPLICATE KEY UPDATE n = 3",
        ] {
            assert!(keeps(text), "{text}");
        }
        for text in [
            "REPLACE INTO t (id) VALUES (1)",
            "LOAD DATA INFILE 'x' REPLACE INTO TABLE t",
            "UPDATE a SET t = 1",
            "INSERT INTO a VALUES ('t')",
            "INSERT INTO a SELECT * FROM t",
            "INSERT INTO a(t) VALUES (1)",
            "SET STATEMENT max_statement_time = 1 FOR REPLACE INTO t VALUES (1)",
            "CREATE TABLE t REPLACE SELECT 1",
            "",
        ] {
            assert!(!keeps(text), "{text}");
        }
    }
}
