//! Reads the rules. Fields that are null count as absent, for AWS's console writes them so.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::UnfitPolicy;

use super::{ColumnAction, ColumnRule, MappingError, Mappings, Pattern, Rename, SchemaRule, Selection, TableRule};

pub(super) type Parsed<T> = Result<T, MappingError>;

pub(super) fn document(document: &Value) -> Parsed<Mappings> {
    let wrong = |field: &str, text: &str| MappingError { rule_id: None, field: field.into(), text: text.into() };
    let object = document.as_object().ok_or_else(|| wrong("mappings", "must be an object with a list `rules`"))?;
    if let Some(unknown) = object.keys().find(|key| *key != "rules") {
        return Err(wrong(unknown, "is not a field of table mappings"));
    }
    let rules = object.get("rules").and_then(Value::as_array).ok_or_else(|| wrong("rules", "must be a list"))?;
    let mut rules = rules.iter().enumerate().map(|(at, rule)| Rule::read(at, rule)).collect::<Parsed<Vec<_>>>()?;
    let mut seen = HashSet::new();
    if let Some(again) = rules.iter().find(|rule| !seen.insert(rule.order)) {
        return Err(again.wrong("rule-id", "is used by another rule too"));
    }
    rules.sort_by_key(|rule| rule.order);
    let mut mappings = Mappings { selections: vec![], schemas: vec![], tables: vec![], columns: vec![] };
    for rule in &rules {
        rule.add_to(&mut mappings)?;
    }
    if mappings.selections.iter().all(|selection| selection.exclude) {
        return Err(wrong("rules", "must hold at least one selection that includes something"));
    }
    Ok(mappings)
}

pub(super) struct Rule<'a> {
    id: String,
    order: u64,
    pub(super) fields: &'a Map<String, Value>,
}

impl<'a> Rule<'a> {
    fn read(at: usize, rule: &'a Value) -> Parsed<Self> {
        let wrong = |field: String, text: &str| MappingError { rule_id: None, field, text: text.into() };
        let fields = rule.as_object().ok_or_else(|| wrong(format!("rules[{at}]"), "must be an object"))?;
        let id = match fields.get("rule-id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => return Err(wrong(format!("rules[{at}].rule-id"), "must be given, as digits")),
        };
        let order = id
            .parse()
            .ok()
            .filter(|_| id.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| wrong(format!("rules[{at}].rule-id"), "must consist of digits"))?;
        Ok(Self { id, order, fields })
    }

    pub(super) fn wrong(&self, field: &str, text: impl Into<String>) -> MappingError {
        MappingError { rule_id: Some(self.id.clone()), field: field.to_owned(), text: text.into() }
    }

    fn add_to(&self, mappings: &mut Mappings) -> Parsed<()> {
        match self.word(self.fields, "", "rule-type")? {
            "selection" => mappings.selections.push(self.selection()?),
            "transformation" => self.transformation(mappings)?,
            known @ ("table-settings" | "object-mapping" | "post-processing" | "validation") => {
                return Err(self.wrong("rule-type", format!("\"{known}\" is not supported yet")));
            }
            other => return Err(self.wrong("rule-type", format!("\"{other}\" is not a rule type"))),
        }
        Ok(())
    }

    fn selection(&self) -> Parsed<Selection> {
        self.only(self.fields, "", &["rule-type", "rule-id", "rule-name", "rule-action", "object-locator", "filters"])?;
        let rows = self.filters()?;
        let locator = self.locator(&["schema-name", "table-name", "table-type"])?;
        if present(locator, "table-type").is_some_and(|kind| kind != "table") {
            return Err(self.wrong("object-locator.table-type", "can only be \"table\" yet"));
        }
        let schema = self.pattern(locator, "schema-name")?;
        let table = self.pattern(locator, "table-name")?;
        let exclude = match self.word(self.fields, "", "rule-action")? {
            "include" => false,
            "exclude" => true,
            "explicit" => {
                for (pattern, field) in [(&schema, "object-locator.schema-name"), (&table, "object-locator.table-name")]
                {
                    if !pattern.is_exact() {
                        return Err(
                            self.wrong(field, "must have no wildcard in an explicit selection ([_] is a literal _)")
                        );
                    }
                }
                false
            }
            other => return Err(self.wrong("rule-action", format!("\"{other}\" is not include, exclude or explicit"))),
        };
        if exclude && rows.is_some() {
            return Err(self.wrong("filters", "can only be given where the rule-action is include or explicit"));
        }
        Ok(Selection { id: self.id.clone(), exclude, schema, table, rows })
    }

    fn transformation(&self, mappings: &mut Mappings) -> Parsed<()> {
        let known =
            ["rule-type", "rule-id", "rule-name", "rule-action", "rule-target", "object-locator", "value", "old-value"];
        self.only(self.fields, "", &known)?;
        match self.word(self.fields, "", "rule-target")? {
            "schema" => {
                let locator = self.locator(&["schema-name", "table-name"])?;
                if present(locator, "table-name").is_some_and(|table| table != "%") {
                    return Err(
                        self.wrong("object-locator.table-name", "must be left out where the target is a schema")
                    );
                }
                mappings
                    .schemas
                    .push(SchemaRule { schema: self.pattern(locator, "schema-name")?, rename: self.rename()? });
            }
            "table" => {
                let locator = self.locator(&["schema-name", "table-name"])?;
                mappings.tables.push(TableRule {
                    schema: self.pattern(locator, "schema-name")?,
                    table: self.pattern(locator, "table-name")?,
                    rename: self.rename()?,
                });
            }
            "column" => {
                let locator = self.locator(&["schema-name", "table-name", "column-name"])?;
                mappings.columns.push(ColumnRule {
                    schema: self.pattern(locator, "schema-name")?,
                    table: self.pattern(locator, "table-name")?,
                    column: self.pattern(locator, "column-name")?,
                    action: self.column_action()?,
                });
            }
            other => return Err(self.wrong("rule-target", format!("\"{other}\" is not schema, table or column"))),
        }
        Ok(())
    }

    fn column_action(&self) -> Parsed<ColumnAction> {
        let action = match self.word(self.fields, "", "rule-action")? {
            "include-column" => ColumnAction::Include,
            "remove-column" => ColumnAction::Remove,
            "unfit-values" => return self.unfit(),
            _ => return self.rename().map(ColumnAction::Rename),
        };
        self.no_values(&["value", "old-value"])?;
        Ok(action)
    }

    fn unfit(&self) -> Parsed<ColumnAction> {
        self.no_values(&["old-value"])?;
        let word = self.text("value")?;
        let policy = UnfitPolicy::from_word(&word);
        policy.map(ColumnAction::Unfit).ok_or_else(|| self.wrong("value", "must be as-data-error, null, clamp or text"))
    }

    fn rename(&self) -> Parsed<Rename> {
        let value = || self.text("value");
        let old = || self.text("old-value");
        let action = self.word(self.fields, "", "rule-action")?;
        let rename = match action {
            "rename" => Rename::To(value()?),
            "convert-lowercase" => Rename::Lowercase,
            "convert-uppercase" => Rename::Uppercase,
            "add-prefix" => Rename::AddPrefix(value()?),
            "remove-prefix" => Rename::RemovePrefix(value()?),
            "replace-prefix" => Rename::ReplacePrefix { old: old()?, new: value()? },
            "add-suffix" => Rename::AddSuffix(value()?),
            "remove-suffix" => Rename::RemoveSuffix(value()?),
            "replace-suffix" => Rename::ReplaceSuffix { old: old()?, new: value()? },
            "include-column" | "remove-column" | "unfit-values" => {
                return Err(self.wrong("rule-action", format!("\"{action}\" needs the rule-target \"column\"")));
            }
            other => return Err(self.wrong("rule-action", format!("\"{other}\" is not supported"))),
        };
        match rename {
            Rename::Lowercase | Rename::Uppercase => self.no_values(&["value", "old-value"])?,
            Rename::ReplacePrefix { .. } | Rename::ReplaceSuffix { .. } => {}
            _ => self.no_values(&["old-value"])?,
        }
        Ok(rename)
    }

    fn locator(&self, known: &[&str]) -> Parsed<&'a Map<String, Value>> {
        let locator = present(self.fields, "object-locator")
            .and_then(Value::as_object)
            .ok_or_else(|| self.wrong("object-locator", "must be an object"))?;
        self.only(locator, "object-locator.", known)?;
        Ok(locator)
    }

    fn only(&self, fields: &Map<String, Value>, prefix: &str, known: &[&str]) -> Parsed<()> {
        let unknown = fields.iter().find(|(key, value)| !value.is_null() && !known.contains(&key.as_str()));
        unknown.map_or(Ok(()), |(key, _)| Err(self.wrong(&format!("{prefix}{key}"), "is not supported here")))
    }

    fn no_values(&self, fields: &[&str]) -> Parsed<()> {
        let given = fields.iter().find(|field| present(self.fields, field).is_some());
        given.map_or(Ok(()), |field| Err(self.wrong(field, "is not used by this rule-action")))
    }

    fn word(&self, fields: &'a Map<String, Value>, prefix: &str, field: &str) -> Parsed<&'a str> {
        present(fields, field)
            .and_then(Value::as_str)
            .ok_or_else(|| self.wrong(&format!("{prefix}{field}"), "must be given, as text"))
    }

    fn text(&self, field: &str) -> Parsed<String> {
        let text = self.word(self.fields, "", field)?;
        if text.is_empty() || text.contains('\0') {
            return Err(self.wrong(field, "must not be empty or hold a zero character"));
        }
        Ok(text.to_owned())
    }

    fn pattern(&self, locator: &'a Map<String, Value>, field: &str) -> Parsed<Pattern> {
        let text = self.word(locator, "object-locator.", field)?;
        Pattern::parse(text).map_err(|text| self.wrong(&format!("object-locator.{field}"), text))
    }
}

pub(super) fn present<'a>(fields: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    fields.get(field).filter(|value| !value.is_null())
}
