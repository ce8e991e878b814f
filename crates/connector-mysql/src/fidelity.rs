//! What becomes of the types of these servers, for `docs/FIDELITY.md`: to another system, from another, and between each other.

use wavemark_connector::fidelity::Grade::{Exact, Text};
use wavemark_connector::fidelity::{Fate, Given, Grade, Held, Line};
use wavemark_domain::Logical;

use crate::defaults::Dialect::{self, Mariadb, Mysql};
use crate::target::{self, type_at};
use crate::types::{self, Row};

/// Each type of a source of these.
#[must_use]
pub fn given() -> Vec<Given> {
    types::given()
}

/// What a target of these does with a word of another system.
#[must_use]
pub fn held(logical: &Logical) -> Held {
    target::word(logical)
}

/// What becomes of MySQL's types at MariaDB, where that is anything.
#[must_use]
pub fn to_mariadb() -> Vec<Line> {
    between(Mysql, Mariadb)
}

/// What becomes of MariaDB's types at MySQL, where that is anything.
#[must_use]
pub fn to_mysql() -> Vec<Line> {
    between(Mariadb, Mysql)
}

const NO_LABEL: &str = "no place: the empty text that stands for a value that is none of the labels";
const NO_ZERO: &str = "no place: -0, of which MariaDB makes 0";

/// What is not the same at the other system's newest servers, as the source declares it. The target's type is `create`'s.
#[rustfmt::skip]
const BETWEEN: &[(Dialect, &str, Grade, &str)] = &[
    (Mariadb, "float",           Exact, NO_ZERO),
    (Mariadb, "float unsigned",  Exact, NO_ZERO),
    (Mariadb, "double",          Exact, NO_ZERO),
    (Mariadb, "double unsigned", Exact, NO_ZERO),
    (Mariadb, "enum('a','b')",   Exact, NO_LABEL),
    (Mariadb, "json",            Text,  "MariaDB's `json` is a `longtext` with a check: the text as MySQL writes it; no place: more than 31 levels of nesting"),
    (Mariadb, "geomcollection",  Exact, "another name of the same type"),
    (Mariadb, "vector(3)",       Exact, "before MariaDB 11.7 a `longblob` of the same bytes"),
    (Mysql,   "decimal(40,35)",  Exact, "MySQL has 30 digits behind the point at most; no place: more of them"),
    (Mysql,   "time(3)",         Exact, "no place: what is beyond ±838:59:59 by less than a second"),
    (Mysql,   "timestamp(3)",    Exact, "no place: moments of the first second of 1970, and of 2038-01-19 03:14:08 and later, which MariaDB has from 11.5 on"),
    (Mysql,   "enum('a','b')",   Exact, NO_LABEL),
    (Mysql,   "uuid",            Text,  ""),
    (Mysql,   "inet4",           Text,  ""),
    (Mysql,   "inet6",           Text,  ""),
    (Mysql,   "vector(3)",       Exact, "before MySQL 9 a `longblob` of the same bytes"),
];

/// The newest server of a system that is told of.
fn newest(dialect: Dialect) -> (u16, u16) {
    match dialect {
        Mysql => (9, 7),
        Mariadb => (11, 8),
    }
}

fn between(from: Dialect, to: Dialect) -> Vec<Line> {
    let of = |(_, declared, grade, remark): &(Dialect, &str, Grade, &str)| {
        let column = Row::example(declared);
        Line {
            name: (*declared).to_owned(),
            travels: crate::encoding::logical(&column),
            target: Some(type_at(&column, to, newest(to))).filter(|becomes| becomes != declared),
            fate: Fate { grade: *grade, remark: (*remark).to_owned() },
        }
    };
    let has = |(at, declared, ..): &&(Dialect, &str, Grade, &str)| *at == to && Row::is_of(declared, from);
    BETWEEN.iter().filter(has).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TYPES;

    #[test]
    fn what_is_another_type_at_the_other_system_is_told() {
        for (from, to) in [(Mysql, Mariadb), (Mariadb, Mysql)] {
            let lines = between(from, to);
            for row in TYPES.iter().filter(|row| Row::is_of(row.declared, from)) {
                let becomes = type_at(&Row::example(row.declared), to, newest(to));
                let is_told = lines.iter().any(|line| line.name == row.declared);
                assert!(becomes == row.declared || is_told, "{} is {becomes} at {to:?}", row.declared);
            }
            assert_eq!(lines.len(), BETWEEN.iter().filter(|(at, ..)| *at == to).count());
        }
    }

    #[test]
    fn the_versions_that_are_told_are_those_of_the_code() {
        let vector = Row::example("vector(3)");
        for (dialect, before, from) in [(Mariadb, (11, 6), (11, 7)), (Mysql, (8, 4), (9, 0))] {
            assert_eq!(type_at(&vector, dialect, before), "longblob");
            assert_eq!(type_at(&vector, dialect, from), "vector(3)");
        }
        let types: Vec<Option<String>> = to_mysql().into_iter().map(|line| line.target).collect();
        let other: Vec<String> = types.into_iter().flatten().collect();
        assert_eq!(other, ["decimal(35,30)", "char(36)", "varchar(15)", "varchar(45)"]);
    }
}
