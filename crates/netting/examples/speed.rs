//! How long netting takes per change: 1 M updates of 100,000 rows of six columns.
//!
//! `cargo run --release -p wavemark-netting --example speed`

use std::time::Instant;

use wavemark_domain::{Batch, ChangeKind, TableId};
use wavemark_netting::{Layout, net};

fn main() {
    for (rows, label) in [(1_000_000_u64, "each row once"), (100_000, "each row ten times"), (100, "hot rows")] {
        let mut batch = Batch::default();
        for n in 0..1_000_000_u64 {
            let row = batch.begin_row();
            batch.push_value(&(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % rows).to_be_bytes());
            (0..5).for_each(|_| batch.push_value(b"12345678"));
            batch.push_change(TableId(0), ChangeKind::Update, None, Some(row));
        }
        let start = Instant::now();
        let nets = net(&batch, batch.changes().iter().enumerate(), |_| Layout { columns: 6, key: &[0] });
        let took = start.elapsed();
        let left: usize = nets[0].updates.iter().map(|group| group.rows.len()).sum();
        println!("{label}: {} ns per change, {left} rows to update", took.as_nanos() / 1_000_000);
    }
}
