//! What worker and server say to each other, from somebody who means no good: each body is refused, or read to a value
//! that says the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wavemark_protocol::{JobOutcome, LeaseGrant, Poll, Register, Registered, Report, ReportAnswer, Work};

fuzz_target!(|data: &[u8]| {
    let Some((which, body)) = data.split_first() else { return };
    match which % 8 {
        0 => again::<Register>(body),
        1 => again::<Registered>(body),
        2 => again::<Poll>(body),
        3 => again::<Work>(body),
        4 => again::<Report>(body),
        5 => again::<ReportAnswer>(body),
        6 => again::<JobOutcome>(body),
        _ => again::<LeaseGrant>(body),
    }
});

fn again<T: Serialize + DeserializeOwned>(body: &[u8]) {
    let Ok(value) = serde_json::from_slice::<T>(body) else { return };
    let said = serde_json::to_string(&value).expect("what was read can be written");
    let once_more = serde_json::from_str::<T>(&said).expect("what was written can be read");
    assert_eq!(said, serde_json::to_string(&once_more).expect("and written again"));
}
