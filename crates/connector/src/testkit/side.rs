//! One side of a comparison, simulated: the rows as they were when it was made.

use std::collections::BTreeMap;

use async_trait::async_trait;
use wavemark_domain::{Problem, TablePlan};

use super::model::Row;
use crate::compare::{Bucket, Form, Listed, Side};

/// Rows of each table.
pub(super) struct SimulatedSide(pub(super) Vec<Vec<Row>>);

impl SimulatedSide {
    fn rows(&self, plan: &TablePlan) -> impl Iterator<Item = (u64, Row)> {
        let keyless = plan.is_keyless();
        let hash = move |row: &Row| mix(mix(row.id) ^ mix(row.value ^ 0x5eed) ^ mix(row.large.rotate_left(17)));
        self.0[plan.id.index()].iter().map(move |row| (if keyless { hash(row) } else { mix(row.id) }, *row))
    }
}

/// Spreads a number over all its bits.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (number ^ (number >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

fn hash(row: &Row) -> i64 {
    mix(mix(mix(row.id).wrapping_add(row.value)).wrapping_add(row.large)).cast_signed()
}

#[async_trait]
impl Side for SimulatedSide {
    async fn forms(&self, _table: &TablePlan) -> Result<Vec<Form>, Problem> {
        Ok(vec![Form("simulated".to_owned())])
    }

    async fn fingerprint(
        &self,
        table: &TablePlan,
        _form: &Form,
        buckets: u32,
        heard: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Bucket>, Problem> {
        tokio::task::yield_now().await;
        let mut sums = BTreeMap::<u32, Bucket>::new();
        for (bucket, row) in self.rows(table) {
            let number = number(bucket, buckets);
            let sum = sums.entry(number).or_insert(Bucket { number, rows: 0, sum: 0 });
            sum.rows += 1;
            sum.sum += i128::from(hash(&row));
            heard(1);
        }
        Ok(sums.into_values().collect())
    }

    async fn list(
        &self,
        table: &TablePlan,
        _form: &Form,
        buckets: u32,
        chosen: &[u32],
        heard: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Listed>, Problem> {
        tokio::task::yield_now().await;
        let is_chosen = |(bucket, _): &(u64, Row)| chosen.contains(&number(*bucket, buckets));
        let listed = |(_, row): (u64, Row)| {
            heard(1);
            let (text, cells) = if table.is_keyless() {
                (Vec::new(), Vec::new())
            } else {
                (vec![row.id.to_string()], vec![row.id.to_be_bytes().to_vec()])
            };
            Listed { hash: hash(&row), count: 1, text, cells }
        };
        Ok(self.rows(table).filter(is_chosen).map(listed).collect())
    }
}

/// The number of the bucket, of so many, that a hash falls into.
fn number(hash: u64, buckets: u32) -> u32 {
    u32::try_from(hash % u64::from(buckets)).unwrap_or_default()
}
