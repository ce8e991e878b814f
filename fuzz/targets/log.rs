//! Bytes that claim to be a binary log of MySQL or MariaDB: followed to their end or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wavemark_connector_mysql::hostile;

fuzz_target!(|data: &[u8]| hostile::log(data));
