//! Any values, written by the target's code and read by the source's, come back bit for bit.

use std::cmp::Ordering;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use wavemark_domain::moment::{DAY, Date, Timestamp};
use wavemark_domain::{Batch, ChangeKind, Logical, Problem, TableId};

use super::{Database, Shared};
use crate::defaults::Dialect;
use crate::encoding;
use crate::target::values::{self, TargetColumn};
use crate::wire::{Connection, Rows, WireError};

const ROWS: usize = 300;

/// So many values, the same at every run.
fn some(strategy: impl Strategy<Value = Vec<u8>>) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    (0..ROWS).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

enum Failed {
    Wire(WireError),
    Value(Problem),
}

impl From<WireError> for Failed {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// The values of a column in the order of their numbers, as a source of this family reads them.
async fn read(connection: Connection, logical: &Logical) -> (Connection, Vec<Option<Vec<u8>>>) {
    let mut rows =
        Rows::open(connection, "SELECT c FROM a ORDER BY id").await.map_err(|error| error.to_string()).unwrap();
    let mut values = Vec::new();
    loop {
        let mut batch = Batch::default();
        let row = batch.begin_row();
        let next = rows.next(|_, value| encoding::push(&mut batch, logical, value).map_err(Failed::Value)).await;
        match next {
            Ok(true) => {}
            Ok(false) => return (rows.close().await.map_err(|error| error.to_string()).unwrap(), values),
            Err(Failed::Wire(error)) => panic!("{error}"),
            Err(Failed::Value(problem)) => panic!("{}", problem.text),
        }
        batch.push_change(TableId(0), ChangeKind::Insert, None, Some(row));
        let change = batch.changes()[0];
        values.push(batch.new_row(&change, 1).and_then(|cells| batch.value(cells[0])).map(<[u8]>::to_vec));
    }
}

/// Loads and inserts those of the values that fit; how many don't.
async fn check<P: Shared>(database: &Database<P>, declared: &str, logical: &Logical, values: Vec<Vec<u8>>) -> usize {
    let mut connection = database.connect().await;
    database.run(&format!("DROP TABLE IF EXISTS a; CREATE TABLE a (id int AUTO_INCREMENT PRIMARY KEY, c {declared})"));
    let dialect = Dialect::of(&connection.version);
    let found = database.column(&mut connection, "a", "c").await;
    let column = TargetColumn::new("c", &found, &logical.encoding(), dialect).unwrap();
    let fits = |value: &Vec<u8>| column.write_field(Some(value), &mut Vec::new()).is_ok();
    let (fitting, unfit): (Vec<_>, Vec<_>) = values.into_iter().partition(fits);
    let (mut fields, mut literals) = (Vec::new(), b"INSERT INTO a (c) VALUES ".to_vec());
    for (at, value) in fitting.iter().enumerate() {
        column.write_field(Some(value), &mut fields).unwrap();
        fields.push(b'\n');
        literals.extend_from_slice(if at == 0 { b"(" } else { b",(" });
        column.write_literal(Some(value), &mut literals).unwrap();
        literals.push(b')');
    }
    for by_literals in [false, true] {
        let done = if by_literals {
            connection.execute("TRUNCATE TABLE a").await.unwrap();
            connection.execute_bytes(&literals).await.unwrap_or_else(|error| panic!("{declared}: {error}"))
        } else {
            let sql = values::load_data("a", std::slice::from_ref(&column), "t");
            let mut load = connection.begin_load(&sql).await.unwrap();
            load.send(&fields).await.unwrap();
            load.finish().await.unwrap()
        };
        assert_eq!((done.affected, done.warnings), (fitting.len() as u64, 0), "{declared}");
        let back;
        (connection, back) = read(connection, logical).await;
        assert_eq!(back.len(), fitting.len(), "{declared}");
        for (value, back) in fitting.iter().zip(back) {
            assert_eq!(back.as_ref(), Some(value), "{declared}, by literals: {by_literals}");
        }
    }
    connection.close().await;
    unfit.len()
}

fn bits<const N: usize>(strategy: impl Strategy<Value = [u8; N]>) -> Vec<Vec<u8>> {
    some(strategy.prop_map(|bytes| bytes.to_vec()))
}

async fn any_value_comes_back_bit_for_bit<P: Shared>() {
    let database = Database::<P>::new();
    let text = || some(any::<String>().prop_map(String::into_bytes));
    let odd = || some("[\\\\\t\n\r\0'\"N0nZb%_ éа\u{1F600}\u{1a}]{0,20}".prop_map(String::into_bytes));
    let date = || (0..=9_999_i32, 1..=12_u8, 1..=31_u8).prop_map(|(year, month, day)| Date { year, month, day });
    let moment = || (date(), 0..DAY).prop_map(|(date, micros)| Timestamp { date, micros }.to_bytes().to_vec());
    let stamp = || {
        let seconds = 1_000_000..2_147_483_648_000_000_i64;
        let of = |micros: i64| Timestamp { date: Date::from_days(micros / DAY).unwrap(), micros: micros % DAY };
        seconds.prop_map(move |micros| of(micros).to_bytes().to_vec())
    };
    let longest = 838 * 3_600_000_000_i64;
    let endless = Logical::Text { length: None };
    let mut unfit = Vec::new();
    for (declared, logical, values) in [
        ("smallint", Logical::Int16, bits(any::<[u8; 2]>())),
        ("int", Logical::Int32, bits(any::<[u8; 4]>())),
        ("bigint", Logical::Int64, bits(any::<[u8; 8]>())),
        ("bigint unsigned", Logical::Uint64, bits(any::<[u8; 8]>())),
        ("longtext CHARACTER SET utf8mb4", endless.clone(), text()),
        ("longtext CHARACTER SET utf8mb4", endless.clone(), odd()),
        ("varchar(20) CHARACTER SET utf8mb4", endless.clone(), odd()),
        ("varchar(20) CHARACTER SET utf16", endless.clone(), odd()),
        ("varchar(20) CHARACTER SET utf8mb3", endless, odd()),
        ("longblob", Logical::Bytes, some(any::<Vec<u8>>())),
        ("varbinary(50)", Logical::Bytes, some(any::<Vec<u8>>())),
        ("date", Logical::Date, some(date().prop_map(|date| date.to_bytes().to_vec()))),
        ("datetime(6)", Logical::Timestamp { digits: 6 }, some(moment())),
        ("timestamp(6) NULL", Logical::Instant { digits: 6 }, some(stamp())),
        ("time(6)", Logical::Time { digits: 6 }, some((-longest..longest).prop_map(|n| n.to_be_bytes().to_vec()))),
        ("bit(64)", Logical::Bits { length: 64 }, bits(any::<[u8; 8]>())),
    ] {
        unfit.push((declared, check(&database, declared, &logical, values).await));
    }
    let lost: Vec<_> = unfit.iter().filter(|(_, count)| *count == ROWS).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

async fn any_float_comes_back_bit_for_bit<P: Shared>() {
    let database = Database::<P>::new();
    let doubles = || prop_oneof![any::<f64>(), any::<u64>().prop_map(f64::from_bits), any::<f32>().prop_map(f64::from)];
    let singles = || prop_oneof![any::<f32>(), any::<u32>().prop_map(f32::from_bits)];
    let doubles = some(doubles().prop_map(|number| number.to_be_bytes().to_vec()));
    let singles = some(singles().prop_map(|number| number.to_be_bytes().to_vec()));
    assert!(check(&database, "double", &Logical::Float64, doubles).await < 100);
    assert!(check(&database, "float", &Logical::Float32, singles).await < 100);
}

/// Numbers in JSON that are let through have the value that they had; so it is with those of MySQL, which has numbers of its own.
async fn any_number_in_json_has_its_value<P: Shared>() {
    let database = Database::<P>::new();
    let mut connection = database.connect().await;
    database.run("CREATE TABLE a (id int AUTO_INCREMENT PRIMARY KEY, c json)");
    let dialect = Dialect::of(&connection.version);
    let found = database.column(&mut connection, "a", "c").await;
    let column = TargetColumn::new("c", &found, &Logical::Json.encoding(), dialect).unwrap();
    // It refuses by itself what has a larger exponent, whatever its value.
    let short = "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,2})?";
    let long = "-?[1-9][0-9]{14,20}";
    let numbers = some(prop_oneof![short, long].prop_map(String::into_bytes));
    let mut fields = Vec::new();
    let mut fitting = Vec::new();
    for number in numbers {
        if column.write_field(Some(&number), &mut fields).is_ok() {
            fields.push(b'\n');
            fitting.push(String::from_utf8(number).unwrap());
        }
    }
    assert!(fitting.len() > ROWS / 2, "{}", fitting.len());
    let mut load = connection.begin_load(&values::load_data("a", &[column], "t")).await.unwrap();
    load.send(&fields).await.unwrap();
    let done = load.finish().await.unwrap();
    assert_eq!((done.affected, done.warnings), (fitting.len() as u64, 0));
    for (number, back) in fitting.iter().zip(database.shown("SELECT c FROM a ORDER BY id")) {
        let double = |text: &str| text.parse::<f64>().unwrap();
        let is_whole = number.parse::<i128>().is_ok_and(|number| i64::try_from(number).is_ok() || number > 0);
        let same = if is_whole && !back.contains(['.', 'e']) {
            number.parse::<i128>().unwrap() == back.parse::<i128>().unwrap()
        } else {
            double(number).partial_cmp(&double(&back)) == Some(Ordering::Equal)
        };
        assert!(same, "{number} became {back}");
    }
}

super::on_both!(any_value_comes_back_bit_for_bit, any_float_comes_back_bit_for_bit, any_number_in_json_has_its_value);
