//! Types, resolved: what a column's type is made of, and which types a target must have first.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};
use tokio_postgres::Row;
use wavemark_domain::Problem;

/// The first OID that the server gives to what users make; what lies below is the same everywhere.
const FIRST_USER_OID: u32 = 16_384;

struct Type {
    schema: String,
    name: String,
    kind: String,
    binary: bool,
    is_array: bool,
    inner: Option<u32>,
    attributes: Vec<u32>,
    numbers: Vec<i16>,
    labels: Option<Value>,
    extension: Option<String>,
    shape: Option<Value>,
    modifier: Option<i32>,
}

/// Every type in use, by OID.
pub(super) struct Types(HashMap<u32, Type>);

impl Types {
    pub(super) fn new(rows: &[Row]) -> Self {
        let read = |row: &Row| Type {
            schema: row.get(1),
            name: row.get(2),
            kind: row.get(3),
            binary: row.get(4),
            inner: row.get(5),
            is_array: row.get(6),
            attributes: row.get(7),
            numbers: row.get(8),
            labels: row.get(9),
            extension: row.get(10),
            shape: row.get(11),
            modifier: row.get(12),
        };
        Self(rows.iter().map(|row| (row.get(0), read(row))).collect())
    }

    /// The type as a `TypeRef`.
    pub(super) fn reference(&self, oid: u32) -> Result<Value, Problem> {
        let missing = || Problem::internal(format!("The catalog has no type with OID {oid}."));
        let found = self.0.get(&oid).ok_or_else(missing)?;
        let inner = found.inner.map(|inner| self.reference(inner)).transpose()?;
        let attributes = found.attributes.iter().map(|part| self.reference(*part)).collect::<Result<Vec<_>, _>>()?;
        let mut reference = json!({
            "oid": oid,
            "schema": found.schema,
            "name": found.name,
            "category": found.category(),
            "has_binary": self.has_binary(oid),
        });
        if let Some(inner) = inner {
            reference["inner"] = inner;
        }
        if !attributes.is_empty() {
            reference["attributes"] = Value::Array(attributes);
            reference["numbers"] = json!(found.numbers);
        }
        if let Some(modifier) = found.modifier {
            reference["modifier"] = modifier.into();
        }
        if let Some(labels) = &found.labels {
            reference["labels"] = labels.clone();
        }
        Ok(reference)
    }

    /// Whether the type and all that is inside it has a binary form that the server reads as it wrote it. Those of
    /// `int2vector` and `oidvector` it refuses when they are empty.
    fn has_binary(&self, oid: u32) -> bool {
        const VECTORS: [u32; 2] = [22, 30];
        self.0.get(&oid).is_some_and(|found| {
            found.binary
                && !VECTORS.contains(&oid)
                && found.inner.iter().chain(&found.attributes).all(|part| self.has_binary(*part))
        })
    }

    /// The definitions of the types that these need and users made, each after those that it needs.
    pub(super) fn definitions(&self, oids: &[u32]) -> Vec<Value> {
        let mut done = HashSet::new();
        let mut definitions = Vec::new();
        for oid in oids {
            self.define(*oid, &mut done, &mut definitions);
        }
        definitions
    }

    fn define(&self, oid: u32, done: &mut HashSet<u32>, definitions: &mut Vec<Value>) {
        let Some(found) = self.0.get(&oid) else { return };
        if !done.insert(oid) {
            return;
        }
        if let Some(extension) = &found.extension {
            definitions.push(named(oid, found, json!({"is": "extension", "extension": extension})));
            return;
        }
        found.inner.iter().chain(&found.attributes).for_each(|part| self.define(*part, done, definitions));
        if let (true, Some(shape)) = (oid >= FIRST_USER_OID, &found.shape) {
            definitions.push(named(oid, found, shape.clone()));
        }
    }
}

impl Type {
    fn category(&self) -> &'static str {
        match self.kind.as_str() {
            _ if self.is_array => "array",
            "e" => "enum",
            "d" => "domain",
            "c" => "composite",
            "r" => "range",
            "m" => "multirange",
            _ => "base",
        }
    }
}

fn named(oid: u32, found: &Type, shape: Value) -> Value {
    let mut definition = Map::new();
    definition.insert("oid".to_owned(), oid.into());
    definition.insert("schema".to_owned(), found.schema.clone().into());
    definition.insert("name".to_owned(), found.name.clone().into());
    if let Value::Object(shape) = shape {
        definition.extend(shape);
    }
    Value::Object(definition)
}
