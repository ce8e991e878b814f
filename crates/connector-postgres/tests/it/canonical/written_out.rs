//! Types, what the source says of them, and values with the bytes that they are.

use wavemark_domain::moment::{Date, Timestamp};

use super::{number, text};

/// A type and some of its values.
pub(super) struct Kind {
    pub(super) declared: &'static str,
    /// What the source says of it.
    pub(super) travels: &'static str,
    /// As SQL, and as they travel.
    pub(super) values: Vec<(&'static str, Vec<u8>)>,
}

fn kind(declared: &'static str, travels: &'static str, values: Vec<(&'static str, Vec<u8>)>) -> Kind {
    Kind { declared, travels, values }
}

fn date(year: i32, month: u8, day: u8) -> Vec<u8> {
    Date { year, month, day }.to_bytes().to_vec()
}

fn moment(year: i32, month: u8, day: u8, micros: i64) -> Vec<u8> {
    Timestamp { date: Date { year, month, day }, micros }.to_bytes().to_vec()
}

pub(super) fn kinds() -> Vec<Kind> {
    [numbers(), texts(), moments(), others()].into_iter().flatten().collect()
}

fn numbers() -> Vec<Kind> {
    vec![
        kind("boolean", "boolean", vec![("true", vec![1]), ("false", vec![0])]),
        kind("smallint", "int16", vec![("-32768", vec![0x80, 0]), ("32767", vec![0x7F, 0xFF])]),
        kind("integer", "int32", vec![("-2147483648", vec![0x80, 0, 0, 0]), ("7", number(7))]),
        kind("bigint", "int64", vec![("-1", vec![0xFF; 8]), ("9223372036854775807", i64::MAX.to_be_bytes().to_vec())]),
        kind("oid", "int64", vec![("4294967295", vec![0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF])]),
        kind(
            "numeric",
            "decimal",
            vec![
                ("'NaN'", text("NaN")),
                ("'Infinity'", text("Infinity")),
                ("'-Infinity'", text("-Infinity")),
                ("0.000", text("0.000")),
                ("-1e-20", text("-0.00000000000000000001")),
                ("1e30", text("1000000000000000000000000000000")),
            ],
        ),
        kind("numeric(12,4)", "decimal", vec![("0.1", text("0.1000")), ("'NaN'", text("NaN"))]),
        kind("numeric(3,-2)", "decimal", vec![("12345", text("12300"))]),
        kind("numeric(3,5)", "decimal", vec![("0.00123", text("0.00123"))]),
        kind(
            "real",
            "float32",
            vec![
                ("0.1", vec![0x3D, 0xCC, 0xCC, 0xCD]),
                ("1e-45", vec![0, 0, 0, 1]),
                ("3.4028235e38", vec![0x7F, 0x7F, 0xFF, 0xFF]),
                ("'-0'", vec![0x80, 0, 0, 0]),
                ("'NaN'", vec![0x7F, 0xC0, 0, 0]),
                ("'-Infinity'", vec![0xFF, 0x80, 0, 0]),
            ],
        ),
        kind(
            "double precision",
            "float64",
            vec![
                ("0.1", vec![0x3F, 0xB9, 0x99, 0x99, 0x99, 0x99, 0x99, 0x9A]),
                ("5e-324", vec![0, 0, 0, 0, 0, 0, 0, 1]),
                ("1.7976931348623157e308", vec![0x7F, 0xEF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
                ("'-0'", vec![0x80, 0, 0, 0, 0, 0, 0, 0]),
                ("'NaN'", vec![0x7F, 0xF8, 0, 0, 0, 0, 0, 0]),
                ("'Infinity'", vec![0x7F, 0xF0, 0, 0, 0, 0, 0, 0]),
            ],
        ),
        kind("price", "decimal", vec![("1.5", text("1.50"))]),
    ]
}

fn texts() -> Vec<Kind> {
    vec![
        kind(
            "text",
            "text",
            vec![
                ("''", text("")),
                ("'\\N'", text("\\N")),
                ("E'a\\tb\\nc\\rd\\\\e\\\\.'", text("a\tb\nc\rd\\e\\.")),
                ("E'\\x01\\x0b\\x0c\\x08\\x7f'", vec![1, 11, 12, 8, 127]),
                ("'😀 ünï'", text("😀 ünï")),
            ],
        ),
        kind("citext", "text", vec![("'AbC'", text("AbC"))]),
        kind("name", "text", vec![("'with \"quotes\"'", text("with \"quotes\""))]),
        kind("xml", "text", vec![("'<a>1</a>'", text("<a>1</a>"))]),
        kind("json", "text", vec![("'{\"a\":  1, \"a\": 2}'", text("{\"a\":  1, \"a\": 2}"))]),
        kind("character varying(9)", "text", vec![("'ab  '", text("ab  "))]),
        kind("character(5)", "text", vec![("'ab'", text("ab   ")), ("'äöüßé'", text("äöüßé")), ("''", text("     "))]),
        kind("bytea", "bytes", vec![("''", vec![]), ("'\\x00ff5c0a09'", vec![0, 0xFF, 0x5C, 0x0A, 0x09])]),
        kind(
            "uuid",
            "uuid",
            vec![(
                "'00112233-4455-6677-8899-AABBCCDDEEFF'",
                0x0011_2233_4455_6677_8899_AABB_CCDD_EEFF_u128.to_be_bytes().to_vec(),
            )],
        ),
        kind("jsonb", "json", vec![("'{\"b\":1.10,\"a\":null}'", text("{\"a\": null, \"b\": 1.10}"))]),
        kind("mood", "text", vec![("'with, comma'", text("with, comma")), ("'ünïcode'", text("ünïcode"))]),
        kind("bit(10)", "bits", vec![("B'1110000001'", vec![0b11, 0b1000_0001])]),
        kind("bit(1)", "bits", vec![("B'1'", vec![1])]),
        kind("flags", "bits", vec![("B'101'", vec![0b101])]),
    ]
}

fn moments() -> Vec<Kind> {
    vec![
        kind(
            "date",
            "date",
            vec![
                ("'2024-02-29'", date(2024, 2, 29)),
                ("'0044-02-01 BC'", date(-43, 2, 1)),
                ("'4713-01-01 BC'", date(-4712, 1, 1)),
                ("'5874897-12-31'", date(5_874_897, 12, 31)),
                ("'infinity'", date(i32::MAX, 0, 0)),
                ("'-infinity'", date(i32::MIN, 0, 0)),
            ],
        ),
        kind(
            "time",
            "time",
            vec![
                ("'24:00'", 86_400_000_000_i64.to_be_bytes().to_vec()),
                ("'23:59:59.999999'", 86_399_999_999_i64.to_be_bytes().to_vec()),
            ],
        ),
        kind("time(2)", "time", vec![("'00:00:00.987'", 990_000_i64.to_be_bytes().to_vec())]),
        kind(
            "timestamp",
            "timestamp",
            vec![
                ("'2024-03-31 02:30'", moment(2024, 3, 31, 9_000_000_000)),
                ("'4713-01-01 00:00 BC'", moment(-4712, 1, 1, 0)),
                ("'294276-12-31 23:59:59.999999'", moment(294_276, 12, 31, 86_399_999_999)),
                ("'infinity'", moment(i32::MAX, 0, 0, 0)),
            ],
        ),
        kind("timestamp(3)", "timestamp", vec![("'2000-01-01 00:00:00.1239'", moment(2000, 1, 1, 124_000))]),
        kind(
            "timestamptz",
            "instant",
            vec![
                ("'2024-10-27 02:30:00.5+02'", moment(2024, 10, 27, 1_800_500_000)),
                ("'4713-01-01 00:00+00 BC'", moment(-4712, 1, 1, 0)),
                ("'-infinity'", moment(i32::MIN, 0, 0, 0)),
            ],
        ),
    ]
}

/// What travels as the server writes it.
fn others() -> Vec<Kind> {
    vec![
        kind("bit varying", "text", vec![("B'0101'", text("0101"))]),
        kind("interval", "text", vec![("'1 mon -3 days 00:00:00.000001'", text("1 mon -3 days +00:00:00.000001"))]),
        kind("time with time zone", "text", vec![("'04:05:06.789-08'", text("04:05:06.789-08"))]),
        kind("inet", "text", vec![("'10.0.0.1'", text("10.0.0.1")), ("'::1/64'", text("::1/64"))]),
        kind("cidr", "text", vec![("'10.0.0.0/8'", text("10.0.0.0/8"))]),
        kind("macaddr", "text", vec![("'08-00-2b-01-02-03'", text("08:00:2b:01:02:03"))]),
        kind("pg_lsn", "text", vec![("'16/B374D848'", text("16/B374D848"))]),
        kind("text[]", "text", vec![("'{NULL,\"NULL\",\"a,b\"}'", text("{NULL,\"NULL\",\"a,b\"}"))]),
        kind("timestamptz[]", "text", vec![("'{\"2024-10-27 02:30+02\"}'", text("{\"2024-10-27 00:30:00+00\"}"))]),
        kind("bytea[]", "text", vec![("ARRAY['\\x00ff'::bytea]", text("{\"\\\\x00ff\"}"))]),
        kind("int4range", "text", vec![("'[1,5)'", text("[1,5)"))]),
        kind("address", "text", vec![("ROW('a b', 1, 'sad', '{other}')", text("(\"a b\",1,sad,{other})"))]),
        kind("point", "text", vec![("'(0.1,2)'", text("(0.1,2)"))]),
        kind("hstore", "text", vec![("'a=>NULL, b=>1'", text("\"a\"=>NULL, \"b\"=>\"1\""))]),
        kind("tsvector", "text", vec![("'fat:2 cat'", text("'cat' 'fat':2"))]),
    ]
}
