//! What columns hold in words that no system owns: those of their types are `types`'. How their values get into the form that
//! goes with the word is `source/canonical`'s.

use wavemark_domain::{Column, Logical};

use crate::native::{ColumnNative, TypeCategory, TypeRef};
use crate::types::{self, NAMES_OBJECTS};

/// What a column holds; `None` for a type whose text says something else whenever other objects get other names.
pub(crate) fn of(column: &Column) -> Option<Logical> {
    let native = ColumnNative::of(column).ok()?;
    let (base, modifier) = under(&native.r#type, native.type_modifier);
    (!names_objects(base)).then(|| types::word(base, modifier))
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
    let is_one = || NAMES_OBJECTS.iter().any(|(beginning, _)| of.name.name.starts_with(beginning));
    let is_named = of.name.schema == "pg_catalog" && is_one();
    is_named || of.inner.iter().any(|inner| names_objects(inner)) || of.attributes.iter().any(names_objects)
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
