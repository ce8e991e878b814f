//! Bodies of the protocol with bytes changed, taken away, put in and repeated: refused, or read to a value that says
//! the same again. The seeds are those of `make fuzz`, which goes on from here.

#![expect(clippy::unwrap_used, reason = "what was read can be written, and the other way round")]

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wavemark_protocol::{JobOutcome, LeaseGrant, Poll, Register, Registered, Report, ReportAnswer, Work};

const SEEDS: [&[u8]; 11] = [
    include_bytes!("../../../fuzz/seeds/protocol/register"),
    include_bytes!("../../../fuzz/seeds/protocol/registered"),
    include_bytes!("../../../fuzz/seeds/protocol/poll"),
    include_bytes!("../../../fuzz/seeds/protocol/work"),
    include_bytes!("../../../fuzz/seeds/protocol/report"),
    include_bytes!("../../../fuzz/seeds/protocol/answer"),
    include_bytes!("../../../fuzz/seeds/protocol/tested"),
    include_bytes!("../../../fuzz/seeds/protocol/discovered"),
    include_bytes!("../../../fuzz/seeds/protocol/failed"),
    include_bytes!("../../../fuzz/seeds/protocol/lease"),
    include_bytes!("../../../fuzz/seeds/protocol/numbers"),
];

/// Reads a body as what the seed's first byte says; whether it was one.
fn read(which: u8, body: &[u8]) -> bool {
    match which {
        0 => again::<Register>(body),
        1 => again::<Registered>(body),
        2 => again::<Poll>(body),
        3 => again::<Work>(body),
        4 => again::<Report>(body),
        5 => again::<ReportAnswer>(body),
        6 => again::<JobOutcome>(body),
        _ => again::<LeaseGrant>(body),
    }
}

fn again<T: Serialize + DeserializeOwned>(body: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(body) else { return false };
    let said = serde_json::to_string(&value).unwrap();
    let once_more = serde_json::from_str::<T>(&said).unwrap();
    assert_eq!(said, serde_json::to_string(&once_more).unwrap());
    true
}

/// One change of some bytes: at a place, so many away, these in.
fn edit() -> impl Strategy<Value = (prop::sample::Index, usize, Vec<u8>)> {
    let pieces = prop::sample::select(vec![
        "",
        "0",
        "-1",
        "1e999",
        "null",
        "\"",
        "\\u0000",
        "\\ud800",
        "[",
        "]",
        "{}",
        ",",
        ":",
        "true",
        "99999999999999999999",
    ]);
    let new = prop_oneof![
        3 => pieces.prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
    ];
    (any::<prop::sample::Index>(), 0_usize..12, new)
}

#[test]
fn each_seed_is_a_body() {
    for seed in SEEDS {
        assert!(read(seed[0], &seed[1..]), "{}", String::from_utf8_lossy(seed));
    }
}

#[test]
fn secrets_are_shown_by_no_debug() {
    let lease = serde_json::from_slice::<LeaseGrant>(&SEEDS[9][1..]).unwrap();
    assert!(!format!("{lease:?}").contains("\"p\""), "{lease:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_changed_body_is_refused_or_says_the_same_again(
        seed in prop::sample::select(SEEDS.to_vec()), edits in prop::collection::vec(edit(), 1..5),
    ) {
        let mut body = seed[1..].to_vec();
        for (place, away, new) in edits {
            let from = place.index(body.len() + 1);
            let to = body.len().min(from + away);
            body.splice(from..to, new);
        }
        read(seed[0], &body);
    }
}
