//! Bytes that claim to be a statement in a binary log, of a table that is followed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wavemark_connector_mysql::hostile;

fuzz_target!(|data: &[u8]| hostile::statement(data));
