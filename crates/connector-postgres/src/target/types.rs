//! The target's types: what their binary form is made of.
//!
//! The binary forms of arrays and composites hold the oids of their elements and attributes, and the receiving
//! server insists on its own. Types of the user's have other oids on both sides, so those oids are overwritten in
//! place; everything else in a value is the same.

use std::collections::BTreeMap;

use tokio_postgres::{Error, GenericClient};

/// Oids below this one are the same in every database.
const FIRST_USER_OID: u32 = 16_384;

/// What a value of a type is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Holds no oids.
    Opaque,
    /// Has its element's oid in its header.
    Array { element: u32, inner: Box<Shape> },
    /// Has each attribute's oid before the attribute.
    Composite { attributes: Vec<(u32, Shape)> },
    /// Up to two bounds.
    Range(Box<Shape>),
    /// Any number of ranges.
    Multirange(Box<Shape>),
}

/// What is known of one type.
#[derive(Clone, Debug)]
pub(crate) struct TypeInfo {
    pub(crate) kind: char,
    pub(crate) element: u32,
    pub(crate) base: u32,
    pub(crate) array: u32,
    pub(crate) attributes: Vec<u32>,
    pub(crate) inner: u32,
    /// How the type is written in SQL, without modifiers.
    pub(crate) text: String,
    /// The schema of its `=`, when that isn't `pg_catalog`'s.
    pub(crate) equals_schema: Option<String>,
}

/// Types by oid, closed under "is made of".
#[derive(Clone, Debug, Default)]
pub(crate) struct Types(BTreeMap<u32, TypeInfo>);

impl Types {
    /// Looks up the types and all that they are made of.
    pub(crate) async fn read(
        client: &impl GenericClient,
        version: i32,
        oids: impl IntoIterator<Item = u32>,
    ) -> Result<Self, Error> {
        let multirange = if version >= 140_000 {
            "(SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid)"
        } else {
            "NULL::oid"
        };
        let sql = format!(
            "SELECT t.oid, t.typtype::text, CASE WHEN t.typlen = -1 THEN t.typelem ELSE 0::oid END, t.typbasetype, \
             t.typarray, pg_catalog.format_type(t.oid, -1), \
             coalesce((SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid), {multirange}, 0::oid), \
             ARRAY(SELECT a.atttypid FROM pg_catalog.pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid \
                   AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum), \
             (SELECT n.nspname::text FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n \
              ON n.oid = o.oprnamespace WHERE t.typtype = 'b' AND t.oid >= 16384::oid AND o.oprname = '=' \
              AND o.oprleft = t.oid AND o.oprright = t.oid LIMIT 1) \
             FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1)"
        );
        let statement = client.prepare(&sql).await?;
        let mut types = Self::default();
        let mut wanted: Vec<u32> = oids.into_iter().collect();
        while !wanted.is_empty() {
            let rows = client.query(&statement, &[&wanted]).await?;
            wanted.clear();
            for row in &rows {
                let (oid, info) = info(row);
                wanted.extend(info.attributes.iter().chain([&info.element, &info.base, &info.inner]));
                types.0.insert(oid, info);
            }
            wanted.retain(|oid| *oid != 0 && !types.0.contains_key(oid));
            wanted.sort_unstable();
            wanted.dedup();
        }
        Ok(types)
    }

    /// One type.
    pub(crate) fn get(&self, oid: u32) -> Option<&TypeInfo> {
        self.0.get(&oid)
    }

    /// The type under a domain, a domain over a domain and so on.
    pub(crate) fn base(&self, mut oid: u32) -> u32 {
        while let Some(info) = self.get(oid).filter(|info| info.kind == 'd') {
            oid = info.base;
        }
        oid
    }

    /// What values of a type are made of; `None` if no oid in them needs to be overwritten.
    pub(crate) fn rewrite(&self, oid: u32) -> Option<Shape> {
        let shape = self.shape(oid);
        needs(&shape).then_some(shape)
    }

    fn shape(&self, oid: u32) -> Shape {
        let Some(info) = self.get(oid) else { return Shape::Opaque };
        match info.kind {
            'd' => self.shape(info.base),
            'c' => Shape::Composite { attributes: info.attributes.iter().map(|&oid| (oid, self.shape(oid))).collect() },
            'r' => Shape::Range(Box::new(self.shape(info.inner))),
            'm' => Shape::Multirange(Box::new(self.shape(info.inner))),
            _ if info.element != 0 => Shape::Array { element: info.element, inner: Box::new(self.shape(info.element)) },
            _ => Shape::Opaque,
        }
    }
}

fn needs(shape: &Shape) -> bool {
    match shape {
        Shape::Opaque => false,
        Shape::Array { element, inner } => *element >= FIRST_USER_OID || needs(inner),
        Shape::Composite { attributes } => attributes.iter().any(|(oid, inner)| *oid >= FIRST_USER_OID || needs(inner)),
        Shape::Range(inner) | Shape::Multirange(inner) => needs(inner),
    }
}

fn info(row: &tokio_postgres::Row) -> (u32, TypeInfo) {
    let kind: String = row.get(1);
    let info = TypeInfo {
        kind: kind.chars().next().unwrap_or('b'),
        element: row.get(2),
        base: row.get(3),
        array: row.get(4),
        text: row.get(5),
        inner: row.get(6),
        attributes: row.get(7),
        equals_schema: row.get(8),
    };
    (row.get(0), info)
}

/// A value that isn't of the shape that its type has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Misshapen;

impl Shape {
    /// Overwrites the oids in a value with the target's.
    ///
    /// Follows `array_recv`, `record_recv`, `range_recv` and `multirange_recv` of the server.
    pub(crate) fn overwrite(&self, value: &mut [u8]) -> Result<(), Misshapen> {
        match self {
            Self::Opaque => Ok(()),
            Self::Array { element, inner } => array(value, *element, inner),
            Self::Composite { attributes } => composite(value, attributes),
            Self::Range(inner) => range(value, inner),
            Self::Multirange(inner) => {
                let mut rest = Cursor(value);
                for _ in 0..rest.count()? {
                    range(rest.sized()?.unwrap_or_default(), inner)?;
                }
                Ok(())
            }
        }
    }
}

fn array(value: &mut [u8], element: u32, inner: &Shape) -> Result<(), Misshapen> {
    let mut rest = Cursor(value);
    let dimensions = rest.count()?;
    rest.take(4)?;
    rest.take(4)?.copy_from_slice(&element.to_be_bytes());
    let mut elements = usize::from(dimensions > 0);
    for _ in 0..dimensions {
        let length = rest.count()?;
        elements = elements.checked_mul(length).ok_or(Misshapen)?;
        rest.take(4)?;
    }
    if *inner == Shape::Opaque {
        return Ok(());
    }
    for _ in 0..elements {
        if let Some(value) = rest.sized()? {
            inner.overwrite(value)?;
        }
    }
    Ok(())
}

fn composite(value: &mut [u8], attributes: &[(u32, Shape)]) -> Result<(), Misshapen> {
    let mut rest = Cursor(value);
    if rest.count()? != attributes.len() {
        return Err(Misshapen);
    }
    for (oid, inner) in attributes {
        rest.take(4)?.copy_from_slice(&oid.to_be_bytes());
        if let Some(value) = rest.sized()? {
            inner.overwrite(value)?;
        }
    }
    Ok(())
}

/// Flags of `rangetypes.h`: empty, lower and upper bound infinite, lower and upper bound null.
const EMPTY: u8 = 0x01;
const NO_LOWER: u8 = 0x08 | 0x20;
const NO_UPPER: u8 = 0x10 | 0x40;

fn range(value: &mut [u8], inner: &Shape) -> Result<(), Misshapen> {
    let mut rest = Cursor(value);
    let flags = rest.take(1)?[0];
    for absent in [NO_LOWER, NO_UPPER] {
        if flags & (EMPTY | absent) == 0
            && let Some(bound) = rest.sized()?
        {
            inner.overwrite(bound)?;
        }
    }
    Ok(())
}

/// What is left of a value.
pub(crate) struct Cursor<'a>(pub(crate) &'a mut [u8]);

impl<'a> Cursor<'a> {
    /// The next bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a mut [u8], Misshapen> {
        let (taken, rest) = std::mem::take(&mut self.0).split_at_mut_checked(count).ok_or(Misshapen)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number of things that follow; never negative.
    fn count(&mut self) -> Result<usize, Misshapen> {
        let bytes: [u8; 4] = self.take(4)?.as_ref().try_into().map_err(|_| Misshapen)?;
        usize::try_from(i32::from_be_bytes(bytes)).map_err(|_| Misshapen)
    }

    /// A value behind its length; `None` for NULL.
    pub(crate) fn sized(&mut self) -> Result<Option<&'a mut [u8]>, Misshapen> {
        let bytes: [u8; 4] = self.take(4)?.as_ref().try_into().map_err(|_| Misshapen)?;
        match i32::from_be_bytes(bytes) {
            -1 => Ok(None),
            length => self.take(usize::try_from(length).map_err(|_| Misshapen)?).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_element_of_an_array_gets_the_targets_oid() {
        let mut value = hex("00000001 00000001 00004000 00000002 00000001 00000003 736164 ffffffff");
        let shape = Shape::Array { element: 0x5000, inner: Box::new(Shape::Opaque) };
        shape.overwrite(&mut value).unwrap();
        assert_eq!(value, hex("00000001 00000001 00005000 00000002 00000001 00000003 736164 ffffffff"));
    }

    #[test]
    fn an_empty_array_has_an_oid_too() {
        let mut value = hex("00000000 00000000 00004000");
        let inner = Shape::Composite { attributes: vec![(23, Shape::Opaque)] };
        Shape::Array { element: 0x5000, inner: Box::new(inner) }.overwrite(&mut value).unwrap();
        assert_eq!(value, hex("00000000 00000000 00005000"));
    }

    #[test]
    fn composites_in_arrays_are_followed() {
        let mut value = hex("00000001 00000000 00004000 00000001 00000001 \
                             00000014 00000002 00000017 ffffffff 00004001 00000002 6f6b");
        let pair = Shape::Composite { attributes: vec![(23, Shape::Opaque), (0x5001, Shape::Opaque)] };
        // The length above must cover the whole composite: 4 + (4 + 4) + (4 + 4 + 2).
        value[20..24].copy_from_slice(&22_u32.to_be_bytes());
        Shape::Array { element: 0x5000, inner: Box::new(pair) }.overwrite(&mut value).unwrap();
        let expected = hex("00000001 00000000 00005000 00000001 00000001 \
                            00000016 00000002 00000017 ffffffff 00005001 00000002 6f6b");
        assert_eq!(value, expected);
    }

    #[test]
    fn bytes_of_another_shape_are_refused() {
        let shape = Shape::Array { element: 1, inner: Box::new(Shape::Opaque) };
        assert_eq!(shape.overwrite(&mut hex("0000")), Err(Misshapen));
        let pair = Shape::Composite { attributes: vec![(23, Shape::Opaque)] };
        assert_eq!(pair.overwrite(&mut hex("00000002 00000017 ffffffff 00000017 ffffffff")), Err(Misshapen));
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
    }
}
