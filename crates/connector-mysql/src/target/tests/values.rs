//! Every kind of value by `LOAD DATA` and by literals, as the server itself shows it then.

use wavemark_domain::Logical;
use wavemark_domain::moment::{Date, Timestamp};

use super::{Database, Shared};
use crate::defaults::Dialect;
use crate::target::values::{self, TargetColumn, Unfit};
use crate::wire::Connection;

/// A column's type, what comes, how it is shown, and values with what is shown of them.
struct Case {
    declared: &'static str,
    logical: Logical,
    shown: &'static str,
    values: Vec<(Vec<u8>, &'static str)>,
}

fn case(declared: &'static str, logical: Logical, shown: &'static str, values: Vec<(Vec<u8>, &'static str)>) -> Case {
    Case { declared, logical, shown, values }
}

fn dialect(connection: &Connection) -> Dialect {
    Dialect::of(&connection.version)
}

async fn column<P: Shared>(
    database: &Database<P>,
    connection: &mut Connection,
    declared: &str,
    logical: &Logical,
) -> TargetColumn {
    database.run(&format!("DROP TABLE IF EXISTS a; CREATE TABLE a (id int PRIMARY KEY, c {declared})"));
    let found = database.column(connection, "a", "c").await;
    let column = TargetColumn::new("c", &found, &logical.encoding(), dialect(connection));
    column.unwrap_or_else(|| panic!("{declared} does not take {logical}"))
}

/// Loads the values, inserts them, and finds each by its literal.
async fn check<P: Shared>(database: &Database<P>, connection: &mut Connection, case: Case) {
    let Case { declared, logical, shown, values } = case;
    let column = column(database, connection, declared, &logical).await;
    let expected: Vec<String> = values.iter().map(|(_, text)| (*text).to_owned()).chain(["NULL".to_owned()]).collect();
    let values: Vec<Option<&[u8]>> = values.iter().map(|(value, _)| Some(&value[..])).chain([None]).collect();
    let id = database.column(connection, "a", "id").await;
    let id = TargetColumn::new("id", &id, &Logical::Int32.encoding(), dialect(connection)).unwrap();
    let ask = format!("SELECT ifnull({shown}, 'NULL') FROM a ORDER BY id");
    let (mut fields, mut inserts) = (Vec::new(), b"INSERT INTO a (id, c) VALUES ".to_vec());
    for (at, value) in values.iter().enumerate() {
        let number = i32::try_from(at).unwrap().to_be_bytes();
        id.write_field(Some(&number), &mut fields).unwrap();
        fields.push(b'\t');
        column.write_field(*value, &mut fields).unwrap_or_else(|unfit| panic!("{declared} {}: {unfit}", expected[at]));
        fields.push(b'\n');
        inserts.extend_from_slice(if at > 0 { b", (" } else { b"(" });
        id.write_literal(Some(&number), &mut inserts).unwrap();
        inserts.push(b',');
        column.write_literal(*value, &mut inserts).unwrap();
        inserts.push(b')');
    }
    let count = values.len() as u64;
    let sql = values::load_data("a", &[id, column.clone()], "token");
    let mut load = connection.begin_load(&sql).await.unwrap();
    load.send(&fields).await.unwrap();
    let done = load.finish().await.unwrap();
    assert_eq!((done.affected, done.warnings), (count, 0), "{declared}: {:?}", database.shown(&ask));
    assert_eq!(database.shown(&ask), expected, "{declared}, loaded");
    connection.execute("DELETE FROM a").await.unwrap();
    let done = connection.execute_bytes(&inserts).await.unwrap_or_else(|error| panic!("{declared}: {error}"));
    assert_eq!((done.affected, done.warnings), (count, 0), "{declared}");
    assert_eq!(database.shown(&ask), expected, "{declared}, inserted");
    for (at, value) in values.iter().enumerate().filter(|(_, value)| value.is_some()) {
        let mut find = b"SELECT id FROM a WHERE c = ".to_vec();
        column.write_literal(*value, &mut find).unwrap();
        let rows = connection.query(std::str::from_utf8(&find).unwrap()).await.unwrap();
        let found: Vec<usize> = rows.iter().filter_map(|row| row.number(0)).collect();
        assert!(found.contains(&at), "{declared} {} is not found by its literal", expected[at]);
    }
}

fn at(year: i32, month: u8, day: u8, micros: i64) -> Vec<u8> {
    Timestamp { date: Date { year, month, day }, micros }.to_bytes().to_vec()
}

fn on(year: i32, month: u8, day: u8) -> Vec<u8> {
    Date { year, month, day }.to_bytes().to_vec()
}

fn int(number: i64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn short(number: i16) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn double(number: f64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn single(number: f32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

const HOUR: i64 = 3_600_000_000;
const DECIMAL: Logical = Logical::Decimal { precision: None, scale: None };
const TEXT: Logical = Logical::Text { length: None };

async fn numbers_come_as_they_are<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let most = "99999999999999999999999999999999999.999999999999999999999999999999";
    let cases = [
        case("tinyint(1)", Logical::Boolean, "c", vec![(vec![0], "0"), (vec![1], "1")]),
        case("tinyint", Logical::Int16, "c", vec![(short(-128), "-128"), (short(127), "127")]),
        case("tinyint unsigned", Logical::Int16, "c", vec![(short(0), "0"), (short(255), "255")]),
        case("smallint", Logical::Int16, "c", vec![(short(i16::MIN), "-32768"), (short(i16::MAX), "32767")]),
        case(
            "mediumint",
            Logical::Int32,
            "c",
            vec![
                ((-8_388_608_i32).to_be_bytes().to_vec(), "-8388608"),
                (8_388_607_i32.to_be_bytes().to_vec(), "8388607"),
            ],
        ),
        case(
            "int",
            Logical::Int32,
            "c",
            vec![(i32::MIN.to_be_bytes().to_vec(), "-2147483648"), (i32::MAX.to_be_bytes().to_vec(), "2147483647")],
        ),
        case("int unsigned", Logical::Int64, "c", vec![(int(4_294_967_295), "4294967295")]),
        case(
            "bigint",
            Logical::Int64,
            "c",
            vec![(int(i64::MIN), "-9223372036854775808"), (int(i64::MAX), "9223372036854775807")],
        ),
        case(
            "bigint unsigned",
            Logical::Uint64,
            "c",
            vec![(u64::MAX.to_be_bytes().to_vec(), "18446744073709551615"), (vec![0; 8], "0")],
        ),
        case("year", Logical::Int16, "c", vec![(short(0), "0000"), (short(1901), "1901"), (short(2155), "2155")]),
        case(
            "decimal(65,30)",
            DECIMAL,
            "c",
            vec![
                (text(most), most),
                (text("-0.000000000000000000000000000001"), "-0.000000000000000000000000000001"),
                (text("0"), "0.000000000000000000000000000000"),
            ],
        ),
        case("decimal(5,2)", DECIMAL, "c", vec![(text("-999.99"), "-999.99"), (text("001.500"), "1.50")]),
        case("longtext", DECIMAL, "c", vec![(text("1.10"), "1.10"), (text("NaN"), "NaN")]),
        case(
            "double",
            Logical::Float64,
            "c",
            vec![
                (double(0.1 + 0.2), "0.30000000000000004"),
                (double(5e-324), "5e-324"),
                (double(-f64::MAX), "-1.7976931348623157e308"),
                (double(f64::MIN_POSITIVE), "2.2250738585072014e-308"),
                (double(1e22), "1e22"),
            ],
        ),
        case(
            "float",
            Logical::Float32,
            "c + 0e0",
            vec![
                (single(1.1), "1.100000023841858"),
                (single(f32::from_bits(1)), "1.401298464324817e-45"),
                (single(f32::MAX), "3.4028234663852886e38"),
                (single(-16_777_217.0), "-16777216"),
            ],
        ),
        case("float(7,3)", Logical::Float32, "c", vec![(single(1.1), "1.100"), (single(-999.125), "-999.125")]),
        case(
            "bit(10)",
            Logical::Bits { length: 10 },
            "bin(c)",
            vec![(vec![3, 0x81], "1110000001"), (vec![0, 0], "0"), (vec![0, 9], "1001"), (vec![0, 92], "1011100")],
        ),
        case(
            "bit(64)",
            Logical::Bits { length: 64 },
            "c + 0",
            vec![(vec![0xFF; 8], "18446744073709551615"), (int(i64::MIN), "9223372036854775808"), (int(0), "0")],
        ),
        case("bit(1)", Logical::Bits { length: 1 }, "c + 0", vec![(vec![0], "0"), (vec![1], "1")]),
    ];
    for case in cases {
        check(&database, &mut connection, case).await;
    }
    if dialect(&connection) == Dialect::Mysql {
        let zeros = vec![(double(-0.0), "-0"), (double(0.0), "0")];
        check(&database, &mut connection, case("double", Logical::Float64, "c", zeros)).await;
    }
}

async fn moments_come_as_they_are<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let longest = (839 * HOUR - 1_000_000, "838:59:59.000000");
    let cases = [
        case(
            "date",
            Logical::Date,
            "c",
            vec![
                (on(0, 0, 0), "0000-00-00"),
                (on(2024, 2, 0), "2024-02-00"),
                (on(2024, 0, 0), "2024-00-00"),
                (on(2023, 2, 31), "2023-02-31"),
                (on(0, 1, 1), "0000-01-01"),
                (on(1, 1, 1), "0001-01-01"),
                (on(9999, 12, 31), "9999-12-31"),
            ],
        ),
        case(
            "datetime(6)",
            Logical::Timestamp { digits: 6 },
            "c",
            vec![
                (at(0, 0, 0, 0), "0000-00-00 00:00:00.000000"),
                (at(0, 0, 0, 1), "0000-00-00 00:00:00.000001"),
                (at(2024, 2, 29, 24 * HOUR - 1), "2024-02-29 23:59:59.999999"),
                (at(2024, 2, 31, HOUR), "2024-02-31 01:00:00.000000"),
                (at(9999, 12, 31, 24 * HOUR - 1), "9999-12-31 23:59:59.999999"),
            ],
        ),
        case(
            "datetime(2)",
            Logical::Instant { digits: 2 },
            "c",
            vec![(at(1, 1, 1, 120_000), "0001-01-01 00:00:00.12"), (at(1969, 12, 31, HOUR), "1969-12-31 01:00:00.00")],
        ),
        case(
            "datetime",
            Logical::Timestamp { digits: 0 },
            "c",
            vec![(at(2024, 3, 31, 2 * HOUR), "2024-03-31 02:00:00")],
        ),
        case(
            "timestamp(6) NULL",
            Logical::Instant { digits: 6 },
            "c",
            vec![
                (at(0, 0, 0, 0), "0000-00-00 00:00:00.000000"),
                (at(1970, 1, 1, 1_000_000), "1970-01-01 00:00:01.000000"),
                (at(2024, 3, 31, 2 * HOUR), "2024-03-31 02:00:00.000000"),
                (at(2038, 1, 19, 3 * HOUR + 847_999_999), "2038-01-19 03:14:07.999999"),
            ],
        ),
        case(
            "time(6)",
            Logical::Time { digits: 6 },
            "c",
            vec![
                (int(longest.0), longest.1),
                (int(-longest.0), "-838:59:59.000000"),
                (int(-1), "-00:00:00.000001"),
                (int(24 * HOUR), "24:00:00.000000"),
                (int(0), "00:00:00.000000"),
            ],
        ),
        case("time", Logical::Time { digits: 0 }, "c", vec![(int(HOUR), "01:00:00"), (int(-HOUR), "-01:00:00")]),
    ];
    // Where a session shows moments in another zone, they are others.
    for case in cases {
        let declared = case.declared;
        if declared.starts_with("timestamp") {
            database.run("SET GLOBAL time_zone = '+00:00'");
        }
        check(&database, &mut connection, case).await;
    }
    if dialect(&connection) == Dialect::Mariadb {
        let longest = vec![(int(839 * HOUR - 1), "838:59:59.999999")];
        check(&database, &mut connection, case("time(6)", Logical::Time { digits: 6 }, "c", longest)).await;
    }
}

async fn texts_and_bytes_come_as_they_are<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let all: Vec<u8> = (0..=255).collect();
    let hex = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F202122232425262728292A2B2C2D2E2F\
               303132333435363738393A3B3C3D3E3F404142434445464748494A4B4C4D4E4F505152535455565758595A5B5C5D5E5F\
               606162636465666768696A6B6C6D6E6F707172737475767778797A7B7C7D7E7F808182838485868788898A8B8C8D8E8F\
               909192939495969798999A9B9C9D9E9FA0A1A2A3A4A5A6A7A8A9AAABACADAEAFB0B1B2B3B4B5B6B7B8B9BABBBCBDBEBF\
               C0C1C2C3C4C5C6C7C8C9CACBCCCDCECFD0D1D2D3D4D5D6D7D8D9DADBDCDDDEDFE0E1E2E3E4E5E6E7E8E9EAEBECEDEEEF\
               F0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF";
    let odd = || {
        vec![
            (text(""), ""),
            (text("\\N"), "5C4E"),
            (text("NULL"), "4E554C4C"),
            (text("a\tb\nc\\"), "6109620A635C"),
            (text("it's \"\r\u{1a}\0"), "697427732022 0D1A00"),
            (text("  x "), "20207820"),
            (text("\u{1F600}é"), "F09F9880C3A9"),
        ]
    };
    let odd =
        || odd().into_iter().map(|(value, hex)| (value, if hex.contains(' ') { "6974277320220D1A00" } else { hex }));
    let cases = [
        case("varchar(20) CHARACTER SET utf8mb4", TEXT, "hex(c)", odd().collect()),
        case("longtext CHARACTER SET utf8mb4", TEXT, "hex(c)", odd().collect()),
        case(
            "longtext CHARACTER SET utf8mb3",
            TEXT,
            "hex(c)",
            odd().take(6).chain([(text("é€"), "C3A9E282AC")]).collect(),
        ),
        case("varchar(20) CHARACTER SET ascii", TEXT, "hex(c)", odd().take(6).collect()),
        case(
            "varchar(20) CHARACTER SET latin1",
            TEXT,
            "hex(c)",
            vec![(text("é€\\"), "E9805C"), (text("\\N"), "5C4E"), (text("a\0b\t"), "61006209")],
        ),
        case("varchar(20) CHARACTER SET utf16", TEXT, "hex(c)", vec![(text("é\u{1F600}"), "00E9D83DDE00")]),
        case("varchar(20) CHARACTER SET sjis", TEXT, "hex(c)", vec![(text("ソ表\\x"), "835C955C815F78")]),
        case(
            "char(3) CHARACTER SET utf8mb4",
            TEXT,
            "hex(c)",
            vec![(text(" é"), "20C3A9"), (text("€€€"), "E282ACE282ACE282AC")],
        ),
        case(
            "varchar(3) CHARACTER SET utf8mb4",
            TEXT,
            "hex(c)",
            vec![(text("ab "), "616220"), (text("\u{1F600}éx"), "F09F9880C3A978")],
        ),
        case(
            "longblob",
            Logical::Bytes,
            "hex(c)",
            vec![(all.clone(), hex), (vec![], ""), (text("\\N"), "5C4E"), (vec![0xFF, 0xFE], "FFFE")],
        ),
        case("varbinary(3)", Logical::Bytes, "hex(c)", vec![(vec![0, 9, 10], "00090A"), (vec![0x5C, 0], "5C00")]),
        case("binary(2)", Logical::Bytes, "hex(c)", vec![(vec![0, 0], "0000"), (vec![0x20, 0x20], "2020")]),
        case(
            "longblob",
            Logical::Bits { length: 70 },
            "hex(c)",
            vec![(vec![0x2A, 0, 9, 10, 0x5C, 0, 0, 0, 1], "2A00090A5C00000001")],
        ),
        case(
            "char(36) CHARACTER SET ascii COLLATE ascii_bin",
            Logical::Uuid,
            "c",
            vec![((0..16).map(|n| n * 17).collect(), "00112233-4455-6677-8899-aabbccddeeff")],
        ),
        case(
            "binary(16)",
            Logical::Uuid,
            "hex(c)",
            vec![((0..16).map(|n| n * 17).collect(), "00112233445566778899AABBCCDDEEFF")],
        ),
        case(
            "enum('a','it''s','2','') CHARACTER SET utf8mb4",
            Logical::Enum { labels: Vec::new() },
            "concat(c, '=', c + 0)",
            vec![(text("a"), "a=1"), (text("it's"), "it's=2"), (text("2"), "2=3"), (text(""), "=4")],
        ),
        case(
            "set('a','b','é') CHARACTER SET latin1",
            Logical::Set { labels: Vec::new() },
            "concat(c, '=', c + 0)",
            vec![(text("a,é"), "a,é=5"), (text(""), "=0"), (text("b"), "b=2")],
        ),
    ];
    for case in cases {
        check(&database, &mut connection, case).await;
    }
}

async fn documents_come_as_they_are<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let document = r#"{"a": [1, 2.5, "x\ty\\", null, true], "é": "😀"}"#;
    let values = vec![
        (text(document), document),
        (text("\"it's\""), "\"it's\""),
        (text("18446744073709551615"), "18446744073709551615"),
        (text("null"), "null"),
    ];
    // It is MariaDB's own text, and MySQL's writing is the same here.
    check(&database, &mut connection, case("json", Logical::Json, "c", values)).await;
    if dialect(&connection) == Dialect::Mariadb {
        let exact = "{\"n\":  123456789012345678901234567890.10}";
        check(&database, &mut connection, case("json", Logical::Json, "c", vec![(text(exact), exact)])).await;
        let uuid = vec![((0..16).map(|n| n * 17).collect(), "00112233-4455-6677-8899-aabbccddeeff")];
        check(&database, &mut connection, case("uuid", Logical::Uuid, "c", uuid)).await;
        let address = vec![(text("::ffff:1.2.3.4"), "::ffff:1.2.3.4"), (text("2001:db8::1"), "2001:db8::1")];
        check(&database, &mut connection, case("inet6", TEXT, "c", address)).await;
    }
}

/// What has no place is found before the server sees it, or is warned of.
async fn what_does_not_fit_is_found_here<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let label = || Logical::Enum { labels: Vec::new() };
    let set = || Logical::Set { labels: Vec::new() };
    for (declared, logical, value, unfit) in [
        ("tinyint", Logical::Int16, short(128), Unfit::OutOfRange),
        ("tinyint unsigned", Logical::Int16, short(-1), Unfit::OutOfRange),
        ("int", Logical::Int64, int(2_147_483_648), Unfit::OutOfRange),
        ("bigint", Logical::Uint64, u64::MAX.to_be_bytes().to_vec(), Unfit::OutOfRange),
        ("year", Logical::Int16, short(1900), Unfit::OutOfRange),
        ("year", Logical::Int16, short(70), Unfit::OutOfRange),
        ("decimal(5,2)", DECIMAL, text("1000"), Unfit::TooManyDigits),
        ("decimal(5,2)", DECIMAL, text("1.005"), Unfit::TooManyDigits),
        ("decimal(65,30)", DECIMAL, text("NaN"), Unfit::NotANumber),
        ("decimal(3,0)", Logical::Int16, short(1000), Unfit::TooManyDigits),
        ("double", Logical::Float64, double(f64::NAN), Unfit::NotANumber),
        ("double", Logical::Float64, double(f64::INFINITY), Unfit::NotANumber),
        ("float(7,3)", Logical::Float32, single(1.0625), Unfit::Rounded),
        ("double(9,2) unsigned", Logical::Float64, double(-1.0), Unfit::OutOfRange),
        ("varchar(3)", TEXT, text("abc "), Unfit::TooLong),
        ("tinytext", TEXT, vec![b' '; 256], Unfit::TooLong),
        ("char(3)", TEXT, text("a "), Unfit::TrailingBlank),
        ("varchar(3) CHARACTER SET utf8mb3", TEXT, text("\u{1F600}"), Unfit::CharacterSet),
        ("varchar(3) CHARACTER SET ascii", TEXT, text("é"), Unfit::CharacterSet),
        ("longtext", TEXT, vec![0xFF], Unfit::Misshapen),
        ("varbinary(2)", Logical::Bytes, vec![0; 3], Unfit::TooLong),
        ("binary(2)", Logical::Bytes, vec![0], Unfit::TooShort),
        ("bit(10)", Logical::Bits { length: 10 }, vec![4, 0], Unfit::TooLong),
        ("bit(64)", Logical::Bits { length: 65 }, vec![1; 9], Unfit::TooLong),
        ("date", Logical::Date, on(-1, 1, 1), Unfit::NoSuchYear),
        ("date", Logical::Date, on(i32::MAX, 0, 0), Unfit::Infinite),
        ("datetime", Logical::Timestamp { digits: 6 }, at(2024, 1, 1, 1), Unfit::Rounded),
        ("datetime(6)", Logical::Instant { digits: 6 }, at(10_000, 1, 1, 0), Unfit::NoSuchYear),
        ("timestamp NULL", Logical::Instant { digits: 0 }, at(2106, 2, 8, 0), Unfit::NoSuchTimestamp),
        ("time", Logical::Time { digits: 0 }, int(839 * HOUR), Unfit::OutOfRange),
        ("enum('a','b')", label(), text("A"), Unfit::NoLabel),
        ("enum('a','b')", label(), text("1"), Unfit::NoLabel),
        ("enum('a','b')", label(), text(""), Unfit::NoLabel),
        ("set('a','b')", set(), text("b,a"), Unfit::NoLabel),
        ("set('a','b')", set(), text("a,a"), Unfit::NoLabel),
        ("int NOT NULL", Logical::Int32, vec![0; 3], Unfit::Misshapen),
    ] {
        let column = column(&database, &mut connection, declared, &logical).await;
        let mut out = b"before".to_vec();
        assert_eq!(column.write_field(Some(&value), &mut out), Err(unfit), "{declared}");
        assert_eq!(column.write_literal(Some(&value), &mut out), Err(unfit), "{declared}");
        assert_eq!(out, b"before", "{declared}");
    }
    let column = column(&database, &mut connection, "int NOT NULL", &Logical::Int32).await;
    assert_eq!(column.write_field(None, &mut Vec::new()), Err(Unfit::Null));
    assert_eq!(column.staged("k".into()).write_field(None, &mut Vec::new()), Ok(()));
    if dialect(&connection) == Dialect::Mariadb {
        let column = self::column(&database, &mut connection, "double", &Logical::Float64).await;
        assert_eq!(column.write_field(Some(&double(-0.0)), &mut Vec::new()), Err(Unfit::NegativeZero));
    } else {
        let column = self::column(&database, &mut connection, "json", &Logical::Json).await;
        let number = b"[18446744073709551616]";
        assert_eq!(column.write_field(Some(number), &mut Vec::new()), Err(Unfit::JsonNumber));
    }
}

/// The few things that only the server knows it warns of.
async fn the_server_warns_of_what_only_it_knows<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    let column = column(&database, &mut connection, "varchar(9) CHARACTER SET latin1", &TEXT).await;
    let (mut field, mut literal) = (b"1\t".to_vec(), b"INSERT INTO a VALUES (1, ".to_vec());
    column.write_field(Some("ł".as_bytes()), &mut field).unwrap();
    column.write_literal(Some("ł".as_bytes()), &mut literal).unwrap();
    let id = database.column(&mut connection, "a", "id").await;
    let id = TargetColumn::new("id", &id, &Logical::Int32.encoding(), dialect(&connection)).unwrap();
    let mut load = connection.begin_load(&values::load_data("a", &[id, column], "t")).await.unwrap();
    load.send(&field).await.unwrap();
    assert_eq!(load.finish().await.unwrap().warnings, 1);
    connection.execute("DELETE FROM a").await.unwrap();
    let refused = connection.execute_bytes(&[&literal[..], b")"].concat()).await;
    assert_eq!(refused.err().and_then(|error| error.code()), Some(1366));
}

super::on_both!(
    numbers_come_as_they_are,
    moments_come_as_they_are,
    texts_and_bytes_come_as_they_are,
    documents_come_as_they_are,
    what_does_not_fit_is_found_here,
    the_server_warns_of_what_only_it_knows,
);
