use super::super::holds::Charset;
use super::*;

fn date_of(year: i32, month: u8, day: u8) -> Vec<u8> {
    Date { year, month, day }.to_bytes().to_vec()
}

fn moment(year: i32, month: u8, day: u8, micros: i64) -> Vec<u8> {
    Timestamp { date: Date { year, month, day }, micros }.to_bytes().to_vec()
}

#[test]
fn whole_numbers_go_to_the_limits() {
    let tiny = Holds::Whole { least: -128, most: 127 };
    let of = |holds: &Holds, value: i64| {
        nearest(Form::Int64, holds, &value.to_be_bytes()).map(|bytes| i64::from_be_bytes(bytes.try_into().unwrap()))
    };
    assert_eq!((of(&tiny, 300), of(&tiny, -300)), (Some(127), Some(-128)));
    assert_eq!(of(&Holds::Whole { least: 0, most: 255 }, -1), Some(0));
    let decimal = |unsigned| Holds::Decimal { whole: 3, scale: 2, unsigned };
    assert_eq!((of(&decimal(false), -1_000), of(&decimal(true), -1)), (Some(-999), Some(0)));
    let most = nearest(Form::Uint64, &Holds::Whole { least: i64::MIN, most: i64::MAX as u64 }, &u64::MAX.to_be_bytes());
    assert_eq!(most.unwrap(), i64::MAX.to_be_bytes());
    let year = |year: i16| nearest(Form::Int16, &Holds::Year, &year.to_be_bytes()).unwrap();
    assert_eq!((year(1), year(3_000)), (1901_i16.to_be_bytes().to_vec(), 2155_i16.to_be_bytes().to_vec()));
}

#[test]
fn floats_go_to_the_limits_and_nothing_is_near_to_what_is_no_number() {
    let kind = Float { single: false, scale: None, has_negative_zero: false };
    let of = |kind, unsigned, value: f64| {
        nearest(Form::Float64, &Holds::Float { kind, unsigned }, &value.to_be_bytes())
            .map(|bytes| f64::from_be_bytes(bytes.try_into().unwrap()))
    };
    assert_eq!(of(kind, false, f64::INFINITY), Some(f64::MAX));
    assert_eq!(of(kind, false, f64::NEG_INFINITY), Some(f64::MIN));
    assert_eq!(of(kind, true, -1.5), Some(0.0));
    assert_eq!(of(kind, false, f64::NAN), None);
    assert_eq!(of(kind, false, -0.0).map(f64::to_bits), Some(0));
    assert_eq!(of(Float { scale: Some(1), ..kind }, false, 1.26), Some(1.3));
    let single = Holds::Float { kind: Float { single: true, ..kind }, unsigned: false };
    assert_eq!(nearest(Form::Float32, &single, &f32::INFINITY.to_be_bytes()).unwrap(), f32::MAX.to_be_bytes());
}

#[test]
fn texts_are_cut_between_characters() {
    let limits = Text { characters: None, bytes: None, charset: Charset::Utf8mb4, is_trimmed: false };
    let of = |limits, text: &str| nearest(Form::Text, &Holds::Text(limits), text.as_bytes());
    assert_eq!(of(Text { characters: Some(2), ..limits }, "aé𝄞").as_deref(), Some("aé".as_bytes()));
    assert_eq!(of(Text { bytes: Some(4), ..limits }, "aé𝄞").as_deref(), Some("aé".as_bytes()));
    assert_eq!(of(Text { characters: Some(3), is_trimmed: true, ..limits }, "a  b").as_deref(), Some(&b"a"[..]));
    // What was a number or a document would be another one.
    assert_eq!(nearest(Form::Decimal, &Holds::Text(limits), b"1234"), None);
    assert_eq!(nearest(Form::Json, &Holds::Text(limits), b"[1]"), None);
    let bytes = |most, fixed, value: &[u8]| nearest(Form::Bytes, &Holds::Bytes { most, fixed }, value);
    assert_eq!(bytes(2, false, b"abc").as_deref(), Some(&b"ab"[..]));
    assert_eq!(bytes(3, true, b"a").as_deref(), Some(&b"a\0\0"[..]));
    assert_eq!(nearest(Form::Bits, &Holds::Bits { length: 10 }, &[0xFF, 0xFF]).as_deref(), Some(&[3, 0xFF][..]));
}

#[test]
fn dates_and_times_go_to_the_ends_of_their_range() {
    let date = |year, month, day| nearest(Form::Date, &Holds::Date, &date_of(year, month, day)).unwrap();
    assert_eq!(date(i32::MAX, 0, 0), date_of(9999, 12, 31));
    assert_eq!(date(10_000, 1, 1), date_of(9999, 12, 31));
    assert_eq!(date(i32::MIN, 0, 0), date_of(0, 1, 1));
    assert_eq!(date(-43, 3, 15), date_of(0, 1, 1));
    let datetime = |digits, value: Vec<u8>| nearest(Form::Timestamp, &Holds::Datetime { digits }, &value).unwrap();
    assert_eq!(datetime(3, moment(i32::MAX, 0, 0, 0)), moment(9999, 12, 31, DAY - 1_000));
    assert_eq!(datetime(0, moment(-1, 5, 5, 7)), moment(0, 1, 1, 0));
    assert_eq!(datetime(0, moment(2024, 2, 29, 1_999_999)), moment(2024, 2, 29, 1_000_000));
    let time = |value: i64| {
        let holds = Holds::Time { digits: 0, dialect: Dialect::Mysql };
        i64::from_be_bytes(nearest(Form::Time, &holds, &value.to_be_bytes()).unwrap().try_into().unwrap())
    };
    assert_eq!(time(i64::MAX), ((838 * 60 + 59) * 60 + 59) * 1_000_000);
    assert_eq!(time(-1_500_000), -1_000_000);
}

#[test]
fn a_timestamp_has_31_bits_of_seconds_and_mariadbs_end_is_not_known() {
    let of = |dialect, value: Vec<u8>| nearest(Form::Instant, &Holds::Timestamp { digits: 6, dialect }, &value);
    // 2038-01-19 03:14:07.999999
    let last = moment(2038, 1, 19, ((3 * 60 + 14) * 60 + 7) * 1_000_000 + 999_999);
    assert_eq!(of(Dialect::Mysql, moment(2040, 1, 1, 0)), Some(last.clone()));
    assert_eq!(of(Dialect::Mysql, moment(i32::MAX, 0, 0, 0)), Some(last));
    assert_eq!(of(Dialect::Mysql, moment(1969, 1, 1, 0)), Some(moment(1970, 1, 1, 1_000_000)));
    assert_eq!(of(Dialect::Mariadb, moment(i32::MAX, 0, 0, 0)), None);
    assert_eq!(of(Dialect::Mariadb, moment(i32::MIN, 0, 0, 0)), Some(moment(1970, 1, 1, 1_000_000)));
}

#[test]
fn nothing_is_near_to_labels_and_documents() {
    let charset = Charset::Utf8mb4;
    for holds in [Holds::Json, Holds::Uuid, Holds::Address, Holds::Label { labels: vec!["a".to_owned()], charset }] {
        assert_eq!(nearest(Form::Text, &holds, b"b"), None, "{holds:?}");
    }
}
