//! What columns hold in words that no system owns. How their values get into the form that goes with the word is
//! `source/canonical`'s.

use wavemark_domain::{Column, Logical};

use crate::native::{ColumnNative, TypeCategory, TypeRef};

/// The most bytes of a name, and of a label of an enum (`NAMEDATALEN` without the byte that ends it).
const NAME: u32 = 63;
/// Bytes that the server counts with a length: its modifier is so much more.
const HEADER: i32 = 4;
/// Digits of a moment or a time of day where none are declared.
const DIGITS: u8 = 6;

/// What a column holds; `None` for a type whose text says something else whenever other objects get other names.
pub(crate) fn of(column: &Column) -> Option<Logical> {
    let native = ColumnNative::of(column).ok()?;
    let (base, modifier) = under(&native.r#type, native.type_modifier);
    (!names_objects(base)).then(|| of_base(base, modifier))
}

/// The type under a domain, a domain over a domain and so on, with its modifier.
fn under(mut of: &TypeRef, mut modifier: i32) -> (&TypeRef, i32) {
    while let (TypeCategory::Domain, Some(inner)) = (of.category, &of.inner) {
        modifier = of.modifier.unwrap_or(-1);
        of = inner;
    }
    (of, modifier)
}

/// Whether values mean objects of the catalog, or roles, whose names are looked up when they are written: a value that was
/// loaded would be out of date with the next `ALTER … RENAME`, of which no row tells.
fn names_objects(of: &TypeRef) -> bool {
    let is_named = of.name.schema == "pg_catalog" && (of.name.name.starts_with("reg") || of.name.name == "aclitem");
    is_named || of.inner.iter().any(|inner| names_objects(inner)) || of.attributes.iter().any(names_objects)
}

fn of_base(of: &TypeRef, modifier: i32) -> Logical {
    // Between two systems the label is a text: labels that are added come with the rows that have them, of which nothing
    // but the row tells, so that a column with only those of then would have no place for it. (One that is renamed ends
    // its tables, see `source/made_of.rs`.)
    if of.category == TypeCategory::Enum {
        return Logical::Text { length: Some(NAME) };
    }
    if of.category != TypeCategory::Base || of.name.schema != "pg_catalog" {
        return Logical::Text { length: None };
    }
    let length = u32::try_from(modifier - HEADER).ok();
    let digits = u8::try_from(modifier).unwrap_or(DIGITS);
    match of.name.name.as_str() {
        "bool" => Logical::Boolean,
        "int2" => Logical::Int16,
        "int4" => Logical::Int32,
        "int8" | "oid" => Logical::Int64,
        "numeric" => decimal(modifier),
        "float4" => Logical::Float32,
        "float8" => Logical::Float64,
        "varchar" | "bpchar" => Logical::Text { length },
        "name" => Logical::Text { length: Some(NAME) },
        "bytea" => Logical::Bytes,
        "date" => Logical::Date,
        "time" => Logical::Time { digits },
        "timestamp" => Logical::Timestamp { digits },
        "timestamptz" => Logical::Instant { digits },
        "uuid" => Logical::Uuid,
        "jsonb" => Logical::Json,
        "bit" => u16::try_from(modifier).map_or(Logical::Text { length: None }, |length| Logical::Bits { length }),
        // Their texts are never longer.
        "inet" | "cidr" => Logical::Text { length: Some(49) },
        "macaddr" | "pg_lsn" => Logical::Text { length: Some(17) },
        "macaddr8" => Logical::Text { length: Some(23) },
        // A `json` is the text that was written, to the last blank; so is what the server writes of all others.
        _ => Logical::Text { length: None },
    }
}

/// The modifier has the precision in its upper half, and in eleven bits the scale, which can be below 0 or above the
/// precision: then there are more digits than the precision says.
fn decimal(modifier: i32) -> Logical {
    if modifier < HEADER {
        return Logical::Decimal { precision: None, scale: None };
    }
    let (precision, scale) = ((modifier - HEADER) >> 16, ((modifier - HEADER) & 0x7FF ^ 0x400) - 0x400);
    let scale_shown = scale.max(0);
    let digits = if scale < 0 { precision - scale } else { precision.max(scale) };
    let number = |value: i32| u16::try_from(value).ok();
    Logical::Decimal { precision: number(digits), scale: number(scale_shown) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reference(name: &str, category: &str) -> Value {
        let schema = if category == "base" { "pg_catalog" } else { "shop" };
        json!({"oid": 1, "schema": schema, "name": name, "category": category, "has_binary": true})
    }

    fn column(reference: &Value, modifier: i32) -> Column {
        let native = json!({"attnum": 1, "type": reference, "type_modifier": modifier});
        Column { name: "c".into(), declared: String::new(), not_null: false, generated: false, native }
    }

    fn base(name: &str, modifier: i32) -> Option<Logical> {
        of(&column(&reference(name, "base"), modifier))
    }

    #[test]
    fn modifiers_say_lengths_and_digits() {
        assert_eq!(base("varchar", 24), Some(Logical::Text { length: Some(20) }));
        assert_eq!(base("bpchar", 5), Some(Logical::Text { length: Some(1) }));
        assert_eq!(base("varchar", -1), Some(Logical::Text { length: None }));
        assert_eq!(base("timestamptz", 3), Some(Logical::Instant { digits: 3 }));
        assert_eq!(base("time", -1), Some(Logical::Time { digits: 6 }));
        assert_eq!(base("bit", 10), Some(Logical::Bits { length: 10 }));
        assert_eq!(base("bit", 70_000), Some(Logical::Text { length: None }));
        let numeric = |precision: i32, scale: i32| base("numeric", (precision << 16 | scale & 0x7FF) + 4);
        let decimal = |precision, scale| Some(Logical::Decimal { precision: Some(precision), scale: Some(scale) });
        assert_eq!(numeric(12, 4), decimal(12, 4));
        assert_eq!(numeric(1000, 1000), decimal(1000, 1000));
        assert_eq!(numeric(3, -2), decimal(5, 0));
        assert_eq!(numeric(3, 5), decimal(5, 5));
        assert_eq!(base("numeric", -1), Some(Logical::Decimal { precision: None, scale: None }));
    }

    #[test]
    fn a_domain_holds_what_is_under_it() {
        let mut inner = reference("price", "domain");
        inner["inner"] = reference("numeric", "base");
        inner["modifier"] = ((10 << 16 | 2) + 4).into();
        let mut outer = reference("discount", "domain");
        outer["modifier"] = (-1).into();
        outer["inner"] = inner;
        let expected = Logical::Decimal { precision: Some(10), scale: Some(2) };
        assert_eq!(of(&column(&outer, -1)), Some(expected));
    }

    #[test]
    fn what_names_objects_is_refused_however_deep() {
        for name in ["regclass", "regtype", "regproc", "aclitem"] {
            assert_eq!(base(name, -1), None, "{name}");
        }
        let mut array = reference("_regclass", "array");
        array["inner"] = reference("regclass", "base");
        assert_eq!(of(&column(&array, -1)), None);
        let mut composite = reference("pair", "composite");
        composite["attributes"] = json!([reference("int4", "base"), reference("regclass", "base")]);
        assert_eq!(of(&column(&composite, -1)), None);
        // Not one of the server's.
        let mut own = reference("region", "base");
        own["schema"] = "shop".into();
        assert_eq!(of(&column(&own, -1)), Some(Logical::Text { length: None }));
    }
}
