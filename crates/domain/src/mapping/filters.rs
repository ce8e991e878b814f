//! Reads the source filters of a selection rule.

use serde_json::{Map, Value};

use super::parse::{Parsed, Rule, present};
use crate::filter::{ColumnFilter, Condition, RowFilter};

/// Longer values than any that is meant.
const LONGEST: usize = 1_000;

/// One object of a rule, and where it is.
struct Place<'a> {
    rule: &'a Rule<'a>,
    path: String,
    fields: &'a Map<String, Value>,
}

impl Rule<'_> {
    /// The rule's filters; `None` if it has none.
    pub(super) fn filters(&self) -> Parsed<Option<RowFilter>> {
        let Some(filters) = present(self.fields, "filters") else { return Ok(None) };
        let filters = filters.as_array().ok_or_else(|| self.wrong("filters", "must be a list"))?;
        let read = |(at, filter)| self.place(format!("filters[{at}]"), filter)?.filter();
        let filters = filters.iter().enumerate().map(read).collect::<Parsed<Vec<_>>>()?;
        Ok((!filters.is_empty()).then_some(RowFilter(filters)))
    }

    fn place<'a>(&'a self, path: String, value: &'a Value) -> Parsed<Place<'a>> {
        match value.as_object() {
            Some(fields) => Ok(Place { rule: self, path, fields }),
            None => Err(self.wrong(&path, "must be an object")),
        }
    }
}

impl Place<'_> {
    fn filter(&self) -> Parsed<ColumnFilter> {
        self.only(&["filter-type", "column-name", "filter-conditions"])?;
        if self.word("filter-type")? != "source" {
            return Err(self.wrong("filter-type", "can only be \"source\""));
        }
        let column = self.word("column-name")?;
        if column.is_empty() || column.contains('\0') {
            return Err(self.wrong("column-name", "must be the exact name of a column"));
        }
        let conditions = present(self.fields, "filter-conditions").and_then(Value::as_array);
        let conditions = conditions
            .filter(|list| !list.is_empty())
            .ok_or_else(|| self.wrong("filter-conditions", "must be a list with at least one condition"))?;
        let read = |(at, condition)| {
            let place = self.rule.place(format!("{}.filter-conditions[{at}]", self.path), condition)?;
            place.condition()
        };
        let any = conditions.iter().enumerate().map(read).collect::<Parsed<Vec<_>>>()?;
        if any.len() > 1 && any.iter().any(is_negative) {
            let text = "can't have noteq, notbetween or notnull beside other conditions: one of them would nearly always \
                        hold. Give each a filter of its own; all filters must hold";
            return Err(self.wrong("filter-conditions", text));
        }
        Ok(ColumnFilter { column: column.to_owned(), any })
    }

    fn condition(&self) -> Parsed<Condition> {
        let operator = self.word("filter-operator")?;
        let fields: &[&str] = match operator {
            "eq" | "noteq" | "gte" | "ste" | "lte" => &["value"],
            "between" | "notbetween" => &["start-value", "end-value"],
            "null" | "notnull" => &[],
            other => {
                let text = format!("\"{other}\" is not eq, noteq, gte, ste, lte, between, notbetween, null or notnull");
                return Err(self.wrong("filter-operator", &text));
            }
        };
        self.only(&[&["filter-operator"], fields].concat())?;
        let value = || self.value("value");
        let range = || Ok((self.value("start-value")?, self.value("end-value")?));
        Ok(match operator {
            "eq" => Condition::Equal(value()?),
            "noteq" => Condition::NotEqual(value()?),
            "gte" => Condition::AtLeast(value()?),
            "ste" | "lte" => Condition::AtMost(value()?),
            "between" => range().map(|(from, to)| Condition::Between(from, to))?,
            "notbetween" => range().map(|(from, to)| Condition::NotBetween(from, to))?,
            "null" => Condition::Null,
            _ => Condition::NotNull,
        })
    }

    /// A value to compare with. Numbers may be written as such.
    fn value(&self, field: &str) -> Parsed<String> {
        let value = match present(self.fields, field) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => return Err(self.wrong(field, "must be given, as text or a number")),
        };
        if value.len() > LONGEST || value.contains('\0') {
            return Err(self.wrong(field, &format!("must have at most {LONGEST} bytes and no zero character")));
        }
        Ok(value)
    }

    fn word(&self, field: &str) -> Parsed<&str> {
        let word = present(self.fields, field).and_then(Value::as_str);
        word.ok_or_else(|| self.wrong(field, "must be given, as text"))
    }

    fn only(&self, known: &[&str]) -> Parsed<()> {
        let unknown = self.fields.iter().find(|(key, value)| !value.is_null() && !known.contains(&key.as_str()));
        unknown.map_or(Ok(()), |(key, _)| Err(self.wrong(key, "is not a field of this")))
    }

    fn wrong(&self, field: &str, text: &str) -> super::MappingError {
        self.rule.wrong(&format!("{}.{field}", self.path), text)
    }
}

fn is_negative(condition: &Condition) -> bool {
    matches!(condition, Condition::NotEqual(_) | Condition::NotBetween(..) | Condition::NotNull)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::TableName;
    use crate::mapping::{Mappings, UnclearRows};

    fn rule(id: u32, table: &str, filters: &Value) -> Value {
        json!({"rule-type": "selection", "rule-id": id.to_string(), "rule-name": "n", "rule-action": "include",
               "object-locator": {"schema-name": "s", "table-name": table}, "filters": filters})
    }

    fn on(column: &str, conditions: &Value) -> Value {
        json!({"filter-type": "source", "column-name": column, "filter-conditions": conditions})
    }

    fn parse(rules: &[Value]) -> Result<Mappings, String> {
        Mappings::parse(&json!({"rules": rules})).map_err(|error| error.to_string())
    }

    fn rows(filters: &Value) -> RowFilter {
        let mappings = parse(&[rule(1, "t", filters)]).unwrap();
        mappings.rows(&TableName::new("s", "t")).unwrap().unwrap().clone()
    }

    fn refused(filters: &Value) -> String {
        parse(&[rule(7, "t", filters)]).unwrap_err()
    }

    #[test]
    fn each_operator_is_read_with_its_values() {
        let found = rows(&json!([
            on("a", &json!([{"filter-operator": "eq", "value": "x"}, {"filter-operator": "null"}])),
            on("b", &json!([{"filter-operator": "gte", "value": 5}, {"filter-operator": "ste", "value": "-5"}])),
            on("b", &json!([{"filter-operator": "lte", "value": "1.50", "start-value": null}])),
            on("c", &json!([{"filter-operator": "between", "start-value": "1", "end-value": "9"}])),
            on("c", &json!([{"filter-operator": "notbetween", "start-value": "4", "end-value": "5"}])),
            on("c", &json!([{"filter-operator": "noteq", "value": ""}])),
            on("d", &json!([{"filter-operator": "notnull"}])),
        ]));
        assert_eq!(
            found.to_string(),
            "(a = 'x' or a is null) and (b >= '5' or b <= '-5') and b <= '1.50' and c between '1' and '9' and c not between \
             '4' and '5' and c <> '' and d is not null"
        );
        assert_eq!(found.columns(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_rule_without_filters_takes_all_rows() {
        for none in [json!([]), Value::Null] {
            assert_eq!(parse(&[rule(1, "t", &none)]).unwrap().rows(&TableName::new("s", "t")), Ok(None));
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_by_rule_and_place() {
        let one = |condition: Value| refused(&json!([on("a", &json!([condition]))]));
        assert_eq!(refused(&json!({})), "rule 7: filters must be a list");
        assert_eq!(refused(&json!([5])), "rule 7: filters[0] must be an object");
        assert_eq!(
            refused(&json!([{"filter-type": "target", "column-name": "a"}])),
            "rule 7: filters[0].filter-type can only be \"source\""
        );
        assert_eq!(
            refused(&json!([on("", &json!([]))])),
            "rule 7: filters[0].column-name must be the exact name of a column"
        );
        assert_eq!(
            refused(&json!([on("a", &json!([]))])),
            "rule 7: filters[0].filter-conditions must be a list with at least one condition"
        );
        assert_eq!(
            refused(&json!([on("a", &json!([{"filter-operator": "null"}])), {"filter-type": "source", "x": 1}])),
            "rule 7: filters[1].x is not a field of this"
        );
        assert_eq!(
            one(json!({"filter-operator": "like", "value": "x"})),
            "rule 7: filters[0].filter-conditions[0].filter-operator \"like\" is not eq, noteq, gte, ste, lte, between, \
             notbetween, null or notnull"
        );
        assert_eq!(
            one(json!({"filter-operator": "eq"})),
            "rule 7: filters[0].filter-conditions[0].value must be given, as text or a number"
        );
        assert_eq!(
            one(json!({"filter-operator": "between", "start-value": "1"})),
            "rule 7: filters[0].filter-conditions[0].end-value must be given, as text or a number"
        );
        assert_eq!(
            one(json!({"filter-operator": "notnull", "value": "1"})),
            "rule 7: filters[0].filter-conditions[0].value is not a field of this"
        );
        assert_eq!(
            one(json!({"filter-operator": "eq", "value": "a\u{0}b"})),
            "rule 7: filters[0].filter-conditions[0].value must have at most 1000 bytes and no zero character"
        );
        let negative = json!([{"filter-operator": "noteq", "value": "1"}, {"filter-operator": "eq", "value": "2"}]);
        let text = refused(&json!([on("a", &negative)]));
        assert!(text.starts_with("rule 7: filters[0].filter-conditions can't have noteq"), "{text}");
        let mut exclude = rule(7, "t", &json!([on("a", &json!([{"filter-operator": "null"}]))]));
        exclude["rule-action"] = json!("exclude");
        let text = parse(&[rule(1, "%", &json!([])), exclude]).unwrap_err();
        assert_eq!(text, "rule 7: filters can only be given where the rule-action is include or explicit");
    }

    #[test]
    fn rules_that_select_a_table_with_different_filters_leave_its_rows_unclear() {
        let of = |value: &str| json!([on("a", &json!([{"filter-operator": "eq", "value": value}]))]);
        let mappings =
            parse(&[rule(1, "%", &of("x")), rule(2, "t", &of("x")), rule(3, "u", &of("y")), rule(4, "v", &json!([]))])
                .unwrap();
        let rows = |table: &str| mappings.rows(&TableName::new("s", table));
        assert_eq!(rows("t").unwrap().unwrap().to_string(), "a = 'x'");
        let unclear = |first: &str, other: &str| UnclearRows { first: first.to_owned(), other: other.to_owned() };
        assert_eq!(rows("u"), Err(unclear("1", "3")));
        assert_eq!(rows("v"), Err(unclear("1", "4")));
        assert_eq!(unclear("1", "4").to_string(), "the rules 1 and 4 select it with different filters");
    }
}
