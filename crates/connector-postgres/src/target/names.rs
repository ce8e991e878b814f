//! Names of a table's columns in SQL that was written for the source: expressions of indexes, checks, exclusions.

use std::collections::BTreeMap;

use wavemark_domain::TablePlan;

use crate::wire::quote_identifier;

/// From the source's column names to the target's.
pub(crate) struct Names(BTreeMap<String, Option<String>>);

impl Names {
    pub(crate) fn of(table: &TablePlan) -> Self {
        let generated_stay = super::create::keeps_names(table);
        let mut names: BTreeMap<String, Option<String>> = table
            .source
            .columns
            .iter()
            .map(|column| (column.name.clone(), (column.generated && generated_stay).then(|| column.name.clone())))
            .collect();
        for column in &table.columns {
            names.insert(table.source.columns[column.source].name.clone(), Some(column.target_name.clone()));
        }
        Self(names)
    }

    /// The target's name, unquoted; `None` for a column that isn't there.
    pub(crate) fn one(&self, source: &str) -> Option<&str> {
        self.0.get(source)?.as_deref()
    }

    /// A list of columns, quoted; `None` if one of them isn't there.
    pub(crate) fn list(&self, source: &[String]) -> Option<String> {
        let names: Option<Vec<String>> = source.iter().map(|name| self.one(name).map(quote_identifier)).collect();
        Some(names?.join(", "))
    }

    /// The text with the columns' names replaced; `None` if it mentions a column that isn't there.
    ///
    /// An identifier that is part of a qualified name, of a cast or the name of a function is no column. Nor is a word with a
    /// capital: the server writes those of its own so, and quotes a column that is called so.
    pub(crate) fn text(&self, sql: &str) -> Option<String> {
        let mut out = String::with_capacity(sql.len());
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let length = token(rest);
            let (part, after) = rest.split_at(length);
            let is_plain = first == '_' || first.is_alphabetic();
            let is_name = first == '"' || is_plain && !part.contains(|c: char| c.is_ascii_uppercase());
            let qualified = out.ends_with(['.', ':']) || after.starts_with(['.', '(']);
            match self.0.get(&unquoted(part)).filter(|_| is_name && !qualified) {
                None => out.push_str(part),
                Some(name) => out.push_str(&quote_identifier(name.as_deref()?)),
            }
            rest = after;
        }
        Some(out)
    }
}

fn unquoted(part: &str) -> String {
    match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => part.to_owned(),
    }
}

/// The length of the token that begins here: a quoted thing, a word, or one character.
fn token(text: &str) -> usize {
    let first = text.chars().next().unwrap_or(' ');
    if first == '\'' || first == '"' {
        return quoted(text, first);
    }
    if first == '_' || first.is_alphanumeric() {
        return text.find(|c: char| !(c == '_' || c == '$' || c.is_alphanumeric())).unwrap_or(text.len());
    }
    first.len_utf8()
}

/// A doubled quote stays inside; so does a backslash before a quote, which only `E''` strings have.
fn quoted(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == quote {
            match characters.peek() {
                Some((_, next)) if *next == quote => {
                    characters.next();
                }
                _ => return at + 1,
            }
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names(BTreeMap::from([
            ("name".to_owned(), Some("Full Name".to_owned())),
            ("lower".to_owned(), Some("low".to_owned())),
            ("gone".to_owned(), None),
            ("odd \"one".to_owned(), Some("odd".to_owned())),
        ]))
    }

    #[test]
    fn columns_are_renamed_and_nothing_else() {
        let text = names().text("USING btree (lower(name), 'name', \"odd \"\"one\") WHERE (lower > 0)").unwrap();
        assert_eq!(text, r#"USING btree (lower("Full Name"), 'name', "odd") WHERE ("low" > 0)"#);
    }

    #[test]
    fn types_and_qualified_names_stay() {
        let text = names().text("CHECK ((name)::name <> shop.name(name))").unwrap();
        assert_eq!(text, r#"CHECK (("Full Name")::name <> shop.name("Full Name"))"#);
    }

    #[test]
    fn words_of_the_language_stay_where_columns_are_called_so() {
        let names = Names(BTreeMap::from([("DESC".to_owned(), Some("DESC".to_owned()))]));
        assert_eq!(names.text(r#"USING btree ("DESC" DESC)"#).unwrap(), r#"USING btree ("DESC" DESC)"#);
    }

    #[test]
    fn what_mentions_a_missing_column_is_left_out() {
        assert_eq!(names().text("CHECK (gone > 0)"), None);
    }
}
