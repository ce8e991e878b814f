//! What a table has at its source and its copy lacks: found by comparing what the one says with what the other will have, so
//! that nothing is left out in silence, whoever leaves it out.

use super::{ColumnExtras, DefaultValue, Extras, ForeignKey, Index, LeftOut};

/// One thing that a copy lacks. Columns have their names at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing<'a> {
    /// What a row gets that says nothing of the column.
    Default {
        /// The column.
        column: &'a str,
        /// What it gets.
        value: &'a DefaultValue,
    },
    /// That such a row gets the next number of a counter.
    Counter {
        /// The column.
        column: &'a str,
    },
    /// What people wrote about the column.
    ColumnComment {
        /// The column.
        column: &'a str,
        /// What they wrote.
        text: &'a str,
    },
    /// What people wrote about the table.
    Comment {
        /// What they wrote.
        text: &'a str,
    },
    /// An index.
    Index(&'a Index),
    /// A foreign key.
    ForeignKey(&'a ForeignKey),
}

impl Missing<'_> {
    /// It by its name, with the statement that a person can go by.
    #[must_use]
    pub fn left_out(&self, statement: String) -> LeftOut {
        let what = match self {
            Self::Default { column, .. } => format!("the default of column {column}"),
            Self::Counter { column } => format!("that column {column} counts up"),
            Self::ColumnComment { column, .. } => format!("the comment on column {column}"),
            Self::Comment { .. } => "the comment on the table".to_owned(),
            Self::Index(index) => format!("index {}", index.name),
            Self::ForeignKey(key) => format!("foreign key {}", key.name),
        };
        LeftOut { what, statement }
    }
}

impl Extras {
    /// What of it a copy lacks that has `made`. `columns` are those that travel, by their places and names. Indexes and keys
    /// may be called otherwise there.
    #[must_use]
    pub fn missing<'a>(&'a self, made: &Self, columns: &[(usize, &'a str)]) -> Vec<Missing<'a>> {
        // What the source has no word for is listed by itself.
        let Self { columns: own, indexes, foreign_keys, comment, left_out: _ } = self;
        let (nothing, mut missing) = (ColumnExtras::default(), Vec::new());
        for (at, name) in columns {
            let Some(own) = own.get(*at) else { continue };
            missing.extend(of_column(own, made.columns.get(*at).unwrap_or(&nothing), name));
        }
        let comment = comment.as_deref().filter(|_| made.comment.is_none());
        missing.extend(comment.map(|text| Missing::Comment { text }));
        let lacks_index = |index: &&Index| !made.indexes.iter().any(|other| is_same_index(index, other));
        missing.extend(indexes.iter().filter(lacks_index).map(Missing::Index));
        let lacks_key = |key: &&ForeignKey| !made.foreign_keys.iter().any(|other| is_same_key(key, other));
        missing.extend(foreign_keys.iter().filter(lacks_key).map(Missing::ForeignKey));
        missing
    }
}

fn of_column<'a>(own: &'a ColumnExtras, made: &ColumnExtras, column: &'a str) -> Vec<Missing<'a>> {
    let ColumnExtras { default, counted, comment } = own;
    let default = default.as_ref().filter(|_| made.default.is_none());
    let counter = (*counted && !made.counted).then_some(Missing::Counter { column });
    let comment = comment.as_deref().filter(|_| made.comment.is_none());
    let default = default.map(|value| Missing::Default { column, value });
    default.into_iter().chain(counter).chain(comment.map(|text| Missing::ColumnComment { column, text })).collect()
}

fn is_same_index(one: &Index, other: &Index) -> bool {
    one.unique == other.unique && one.parts == other.parts
}

fn is_same_key(one: &ForeignKey, other: &ForeignKey) -> bool {
    one.columns == other.columns
        && one.target == other.target
        && one.target_columns == other.target_columns
        && (one.on_update, one.on_delete) == (other.on_update, other.on_delete)
}

#[cfg(test)]
mod tests {
    use super::super::{Action, IndexPart};
    use super::*;
    use crate::TableName;

    fn index(name: &str, unique: bool, column: &str) -> Index {
        let parts = vec![IndexPart { column: column.into(), descending: false }];
        Index { name: name.into(), unique, parts, most_bytes: None }
    }

    fn key(name: &str, on_delete: Action) -> ForeignKey {
        ForeignKey {
            name: name.into(),
            columns: vec!["a".into()],
            target: TableName::new("shop", "others"),
            target_columns: vec!["id".into()],
            on_update: Action::NoAction,
            on_delete,
            own: false,
        }
    }

    fn extras() -> Extras {
        let default = Some(DefaultValue::Literal { text: "7".into() });
        let column = ColumnExtras { default, counted: false, comment: Some("who".into()) };
        let counter = ColumnExtras { counted: true, ..ColumnExtras::default() };
        Extras {
            columns: vec![counter, column],
            indexes: vec![index("by_a", true, "a"), index("more", false, "a")],
            foreign_keys: vec![key("fk", Action::Cascade)],
            comment: Some("what was bought".into()),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn all_that_a_copy_lacks_is_named() {
        let extras = extras();
        let missing = extras.missing(&Extras::default(), &[(0, "id"), (1, "a")]);
        let found: Vec<String> = missing.iter().map(|one| one.left_out(String::new()).what).collect();
        assert_eq!(
            found,
            [
                "that column id counts up",
                "the default of column a",
                "the comment on column a",
                "the comment on the table",
                "index by_a",
                "index more",
                "foreign key fk",
            ]
        );
        assert_eq!(extras.missing(&extras, &[(0, "id"), (1, "a")]), []);
    }

    #[test]
    fn names_may_differ_and_columns_that_do_not_travel_say_nothing() {
        let extras = extras();
        let mut made = Extras { columns: Vec::new(), ..extras.clone() };
        made.indexes = vec![index("orders_a_key", true, "a"), index("more", true, "b")];
        made.foreign_keys = vec![key("orders_fk", Action::Cascade)];
        assert_eq!(extras.missing(&made, &[]), [Missing::Index(&extras.indexes[1])]);
        made.foreign_keys = vec![key("fk", Action::SetNull)];
        assert_eq!(extras.missing(&made, &[])[1], Missing::ForeignKey(&extras.foreign_keys[0]));
    }
}
