//! What PostgreSQL's source says to PostgreSQL's target about a table, beyond what every system has.
//!
//! It travels as the `native` JSON of [`wavemark_domain::Table`] and [`wavemark_domain::Column`]. Texts that are
//! SQL (`declared`, `expression`, `definition`) are as the server writes them with an empty `search_path`, so that
//! every name outside `pg_catalog` in them is qualified.

use serde::{Deserialize, Serialize};

/// A name in a schema, exact, unquoted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Qualified {
    /// The schema.
    pub schema: String,
    /// The name in it.
    pub name: String,
}

/// The `native` part of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableNative {
    /// `pg_class.oid` at the source.
    pub oid: u32,
    /// `pg_class.relkind`: `r`, `p`, `v`, `m` or `f`.
    pub relkind: String,
    /// What its rows are stored in, as JSON: pairs of `pg_class.oid` and `pg_class.relfilenode`, of each partition for a
    /// partitioned table.
    pub storage: String,
    /// `pg_class.relreplident`: `d`, `n`, `f` or `i`.
    pub replica_identity: String,
    /// Whether the server would refuse its updates and deletes once it is published: its whole old rows, or those of a
    /// partition, are to be in the log, and have generated columns, which are not published.
    pub updates_refused: bool,
    /// A partition, as SQL names it, that has neither a primary key nor another replica identity: the log could not say
    /// which of its rows changed, and the server would refuse its updates and deletes.
    pub partition_without_identity: Option<String>,
    /// Whether it, or one of its partitions, is unlogged.
    pub unlogged: bool,
    /// The types that its columns need and that `PostgreSQL` doesn't bring along, each after those that it needs.
    pub types: Vec<TypeDefinition>,
    /// The primary key.
    pub primary_key: Option<Key>,
    /// Unique constraints (not bare unique indexes), without the primary key.
    pub uniques: Vec<Key>,
    /// Indexes that belong to no constraint.
    pub indexes: Vec<Index>,
    /// Check constraints, inherited ones too.
    pub checks: Vec<Check>,
    /// Foreign keys from this table.
    pub foreign_keys: Vec<ForeignKey>,
    /// Exclusion constraints.
    pub exclusions: Vec<Exclusion>,
    /// Sequences that its columns own or take their default from.
    pub sequences: Vec<Sequence>,
    /// How it is partitioned, if it is.
    pub partitioning: Option<Partitioning>,
    /// `COMMENT ON TABLE`.
    pub comment: Option<String>,
}

/// The `native` part of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnNative {
    /// `pg_attribute.attnum`.
    pub attnum: i16,
    /// Its type.
    pub r#type: TypeRef,
    /// `pg_attribute.atttypmod`.
    #[serde(default = "no_modifier")]
    pub type_modifier: i32,
    /// The collation, where it isn't the type's own.
    #[serde(default)]
    pub collation: Option<Qualified>,
    /// Whether it is an identity column, and which kind.
    #[serde(default)]
    pub identity: Option<Identity>,
    /// The default as SQL; for a serial column `nextval(…)`. None for generated and identity columns.
    #[serde(default)]
    pub default: Option<String>,
    /// The expression of a generated column.
    #[serde(default)]
    pub generated: Option<String>,
    /// Whether a generated column is made when it is read (version 18 and later).
    #[serde(default, rename = "virtual")]
    pub is_virtual: bool,
    /// `COMMENT ON COLUMN`.
    #[serde(default)]
    pub comment: Option<String>,
}

fn no_modifier() -> i32 {
    -1
}

/// A type as a column or another type uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeRef {
    /// `pg_type.oid` at the source.
    pub oid: u32,
    /// Its name.
    #[serde(flatten)]
    pub name: Qualified,
    /// What it is made of.
    pub category: TypeCategory,
    /// Whether it and everything inside it has both `typsend` and `typreceive`.
    pub has_binary: bool,
    /// The type inside: an array's element, a domain's base type (one step down), a range's subtype, a
    /// multirange's range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<Box<TypeRef>>,
    /// `pg_type.typtypmod` of a domain: the modifier of its base type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifier: Option<i32>,
    /// A composite type's attributes in order (dropped ones left out).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<TypeRef>,
    /// Their `pg_attribute.attnum`, which tells an attribute from another that came in its place. None if they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i16>,
    /// An enum's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// A label of an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// `pg_enum.oid`, which tells a label that was renamed.
    pub oid: u32,
    /// Its name.
    pub label: String,
}

/// `pg_type.typtype` with arrays set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TypeCategory {
    /// A scalar, of `PostgreSQL` itself or of an extension.
    Base,
    /// An enum.
    Enum,
    /// A domain.
    Domain,
    /// A composite type.
    Composite,
    /// A range.
    Range,
    /// A multirange.
    Multirange,
    /// A true array (`typelem` set and `typlen` −1).
    Array,
}

/// Which identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Identity {
    /// `GENERATED ALWAYS`.
    Always,
    /// `GENERATED BY DEFAULT`.
    ByDefault,
}

/// A type to be made at the target before the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeDefinition {
    /// `pg_type.oid` at the source; 0 if it is not known.
    #[serde(default)]
    pub oid: u32,
    /// Its name.
    #[serde(flatten)]
    pub name: Qualified,
    /// What it is.
    #[serde(flatten)]
    pub shape: TypeShape,
}

/// What a type is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "is")]
pub enum TypeShape {
    /// Labels in order.
    Enum {
        /// The labels.
        labels: Vec<String>,
    },
    /// A domain.
    Domain {
        /// The base type as declared, with its modifier.
        declared: String,
        /// Its collation, where it isn't the base type's own.
        collation: Option<Qualified>,
        /// Whether NULL is forbidden.
        not_null: bool,
        /// The default as SQL.
        default: Option<String>,
        /// Its checks.
        checks: Vec<Check>,
    },
    /// A composite type.
    Composite {
        /// Its attributes.
        attributes: Vec<Attribute>,
    },
    /// A range type.
    Range {
        /// The subtype as declared.
        subtype: String,
        /// The subtype's collation, where it isn't its own.
        collation: Option<Qualified>,
        /// The name of its multirange type (version 14 and later).
        multirange: Option<String>,
    },
    /// A type that an extension brings; it is not made, the extension must be there.
    Extension {
        /// The extension.
        extension: String,
    },
}

/// One attribute of a composite type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// The name.
    pub name: String,
    /// The type as declared.
    pub declared: String,
    /// The collation, where it isn't the type's own.
    #[serde(default)]
    pub collation: Option<Qualified>,
}

/// A primary key or unique constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The constraint's name.
    pub name: String,
    /// The columns in key order, without those only included.
    pub columns: Vec<String>,
    /// Columns of `INCLUDE`.
    #[serde(default)]
    pub included: Vec<String>,
    /// `DEFERRABLE`.
    #[serde(default)]
    pub deferrable: bool,
    /// `INITIALLY DEFERRED`.
    #[serde(default)]
    pub deferred: bool,
    /// `NULLS NOT DISTINCT` (version 15 and later).
    #[serde(default)]
    pub nulls_not_distinct: bool,
}

/// An index that belongs to no constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The name.
    pub name: String,
    /// `UNIQUE`.
    pub unique: bool,
    /// The plain columns of its key; an expression stands as `None`.
    pub columns: Vec<Option<String>>,
    /// Whether it has a `WHERE`.
    pub partial: bool,
    /// What `pg_get_indexdef` says from `USING` on.
    pub definition: String,
}

/// A check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The constraint's name.
    pub name: String,
    /// What `pg_get_constraintdef` says, from `CHECK` on.
    pub definition: String,
}

/// An exclusion constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// The constraint's name.
    pub name: String,
    /// What `pg_get_constraintdef` says, from `EXCLUDE` on.
    pub definition: String,
}

/// A foreign key.
#[expect(clippy::struct_excessive_bools, reason = "as the catalog has it")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// The table that it points at, by its name at the source.
    pub target: Qualified,
    /// The columns that it points at.
    pub target_columns: Vec<String>,
    /// `pg_constraint.confupdtype`: `a`, `r`, `c`, `n` or `d`.
    pub on_update: String,
    /// `pg_constraint.confdeltype`.
    pub on_delete: String,
    /// `pg_constraint.confmatchtype`: `s`, `f` or `p`.
    pub r#match: String,
    /// `DEFERRABLE`.
    #[serde(default)]
    pub deferrable: bool,
    /// `INITIALLY DEFERRED`.
    #[serde(default)]
    pub deferred: bool,
    /// False for one that is `NOT VALID` at the source.
    #[serde(default = "yes")]
    pub validated: bool,
    /// Whether a deletion sets only some of its columns (version 15 and later), or it holds for periods (18 and later).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub special: bool,
}

fn yes() -> bool {
    true
}

/// A sequence behind a column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Its name.
    #[serde(flatten)]
    pub name: Qualified,
    /// The column that it feeds.
    pub column: String,
    /// Whether the column is an identity (then the sequence is made with it).
    pub identity: bool,
    /// Whether the column owns it.
    pub owned: bool,
    /// `smallint`, `integer` or `bigint`.
    pub data_type: String,
    /// `START WITH`.
    pub start: i64,
    /// `INCREMENT BY`.
    pub increment: i64,
    /// `MINVALUE`.
    pub min: i64,
    /// `MAXVALUE`.
    pub max: i64,
    /// `CACHE`.
    pub cache: i64,
    /// `CYCLE`.
    pub cycle: bool,
}

/// How a table is partitioned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partitioning {
    /// `pg_partitioned_table.partstrat`: `r`, `l` or `h`.
    pub strategy: String,
    /// The columns of the partition key; an expression stands as `None`.
    pub columns: Vec<Option<String>>,
}

impl TableNative {
    /// Reads the `native` part of a table.
    ///
    /// # Errors
    /// When it isn't what this connector writes.
    pub fn of(table: &wavemark_domain::Table) -> Result<Self, serde_json::Error> {
        Self::deserialize(&table.native)
    }
}

impl ColumnNative {
    /// Reads the `native` part of a column.
    ///
    /// # Errors
    /// When it isn't what this connector writes.
    pub fn of(column: &wavemark_domain::Column) -> Result<Self, serde_json::Error> {
        Self::deserialize(&column.native)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_column_reads_from_its_json() {
        let column: ColumnNative = serde_json::from_value(json!({
            "attnum": 2,
            "type": {"oid": 16390, "schema": "shop", "name": "_mood", "category": "array", "has_binary": true,
                     "inner": {"oid": 16389, "schema": "shop", "name": "mood", "category": "enum", "has_binary": true}},
            "identity": null,
        }))
        .unwrap();
        assert_eq!(column.type_modifier, -1);
        assert_eq!(column.r#type.category, TypeCategory::Array);
        assert_eq!(column.r#type.inner.unwrap().name, Qualified { schema: "shop".into(), name: "mood".into() });
    }

    #[test]
    fn a_type_to_make_says_what_it_is() {
        let definition: TypeDefinition =
            serde_json::from_value(json!({"schema": "s", "name": "mood", "is": "enum", "labels": ["sad", "ok"]}))
                .unwrap();
        assert_eq!(definition.shape, TypeShape::Enum { labels: vec!["sad".into(), "ok".into()] });
    }
}
