//! The kinds of transactions that the shop's writers make. Each gives what it did, for the `hist` row.
//!
//! Rows are locked in the order of their keys where several are touched, so that deadlocks are rare; where one
//! happens all the same, the transaction is rolled back and counted as such.

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Transaction};

use super::Size;

/// A kind of transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An order with lines, stock and a payment: five tables.
    Order,
    /// An order moves on.
    Advance,
    /// An order is deleted, and its lines and payments with it.
    Cancel,
    /// A customer's jsonb, array and composite change.
    EditCustomer,
    /// A new customer.
    NewCustomer,
    /// A price changes, and with it a generated column.
    Reprice,
    /// A document's small columns change; its long ones are not touched.
    Revise,
    /// A document gets a new long text.
    Rewrite,
    /// A primary key changes.
    RenameSetting,
    /// Part of a composite primary key changes.
    RenumberLine,
    /// Two rows swap a unique value.
    SwapSeats,
    /// Money moves between two accounts.
    Transfer,
    /// A key passes along a chain of rows: delete, then updates onto the freed values.
    KeyChain,
    /// Savepoints, of which some are rolled back.
    Savepoints,
    /// A row of a partitioned table moves to another partition.
    MovePartition,
    /// Rows of a table without a key are inserted, updated and deleted.
    Keyless,
    /// Carts come and go.
    Carts,
    /// A row with all the odd values changes.
    Measure,
    /// Some thousand rows at once.
    Bulk,
    /// A small table is emptied and filled.
    Truncate,
}

/// Every kind with how often it comes, in thousandths.
pub const WEIGHTS: [(Kind, u32); 20] = [
    (Kind::Order, 130),
    (Kind::Advance, 110),
    (Kind::Cancel, 20),
    (Kind::EditCustomer, 90),
    (Kind::NewCustomer, 50),
    (Kind::Reprice, 70),
    (Kind::Revise, 80),
    (Kind::Rewrite, 15),
    (Kind::RenameSetting, 40),
    (Kind::RenumberLine, 30),
    (Kind::SwapSeats, 40),
    (Kind::Transfer, 160),
    (Kind::KeyChain, 20),
    (Kind::Savepoints, 40),
    (Kind::MovePartition, 15),
    (Kind::Keyless, 25),
    (Kind::Carts, 43),
    (Kind::Measure, 15),
    (Kind::Bulk, 4),
    (Kind::Truncate, 3),
];

impl Kind {
    /// Draws one.
    pub fn draw(random: &mut StdRng, truncates: bool) -> Self {
        loop {
            let mut left = random.random_range(0..1_000);
            let drawn = WEIGHTS.iter().find(|(_, weight)| {
                let found = left < *weight;
                left = left.saturating_sub(*weight);
                found
            });
            match drawn {
                Some((Self::Truncate, _)) if !truncates => {}
                Some((kind, _)) => return *kind,
                None => return Self::Transfer,
            }
        }
    }

    /// Its name in `hist`.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Makes its changes; the caller commits.
    ///
    /// # Errors
    /// The server refuses (a deadlock, a unique value that is taken) or is gone.
    pub async fn run(self, work: &mut Work<'_, '_>) -> Result<Value, Error> {
        match self {
            Self::Order => order(work).await,
            Self::Advance => advance(work).await,
            Self::Cancel => cancel(work).await,
            Self::EditCustomer => edit_customer(work).await,
            Self::NewCustomer => new_customer(work).await,
            Self::Reprice => reprice(work).await,
            Self::Revise => revise(work).await,
            Self::Rewrite => rewrite(work).await,
            Self::RenameSetting => rename_setting(work).await,
            Self::RenumberLine => renumber_line(work).await,
            Self::SwapSeats => swap_seats(work).await,
            Self::Transfer => transfer(work).await,
            Self::KeyChain => key_chain(work).await,
            Self::Savepoints => savepoints(work).await,
            Self::MovePartition => move_partition(work).await,
            Self::Keyless => keyless(work).await,
            Self::Carts => carts(work).await,
            Self::Measure => measure(work).await,
            Self::Bulk => bulk(work).await,
            Self::Truncate => truncate(work).await,
        }
    }
}

/// A transaction under way.
pub struct Work<'a, 'c> {
    /// Where.
    pub transaction: &'a mut Transaction<'c>,
    /// What decides.
    pub random: &'a mut StdRng,
    /// How large the shop is.
    pub size: Size,
    /// Rows touched so far.
    pub changes: u64,
}

impl Work<'_, '_> {
    async fn run(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        let rows = self.transaction.execute(sql, values).await?;
        self.changes += rows;
        Ok(rows)
    }

    fn pick(&mut self, of: u32) -> i64 {
        i64::from(self.random.random_range(1..=of.max(1)))
    }

    fn two(&mut self, of: u32) -> (i64, i64) {
        let first = self.pick(of);
        let second = (first + self.pick(of - 1) - 1) % i64::from(of) + 1;
        (first, second)
    }
}

async fn order(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let customer = work.pick(work.size.customers);
    let number = format!("N-{:032x}", work.random.random::<u128>());
    let row = work
        .transaction
        .query_one(
            "insert into shop.orders (number, customer_id, ship_to, note) select $1, $2, home, name from \
             (select home, name from shop.customers where id = $2 union all select null, null limit 1) c returning id",
            &[&number, &customer],
        )
        .await?;
    let order: i64 = row.get(0);
    let lines = work.random.random_range(1..=5);
    let mut products: Vec<_> = (0..lines).map(|_| work.pick(work.size.products)).collect();
    products.sort_unstable();
    for (line, product) in (1i32..).zip(&products) {
        work.run(
            "insert into shop.order_lines (order_id, line_no, product_id, quantity, unit_price)
             select $1, $2, id, 1 + $2 % 4, price from shop.products where id = $3",
            &[&order, &line, product],
        )
        .await?;
        work.run(
            "update shop.stock set quantity = quantity - 1, counted_at = clock_timestamp()
             where warehouse_id = 1 and product_id = $1",
            &[product],
        )
        .await?;
    }
    work.run(
        "update shop.orders set status = 'paid', total = (select sum(amount) from shop.order_lines where order_id = $1)
         where id = $1",
        &[&order],
    )
    .await?;
    work.run(
        "insert into shop.payments (paid_on, order_id, method, amount)
         select current_date, id, 'card', total from shop.orders where id = $1",
        &[&order],
    )
    .await?;
    work.changes += 1;
    Ok(json!({"order": order, "products": products}))
}

async fn advance(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let order = work.pick(work.size.orders);
    work.run(
        "update shop.orders set status = case status when 'open' then 'paid' when 'paid' then 'packed'
             when 'packed' then 'shipped' else 'open' end::shop.order_status, note = coalesce(note, '') || '.'
         where id = $1",
        &[&order],
    )
    .await?;
    Ok(json!({"order": order}))
}

async fn cancel(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let order = work.pick(work.size.orders);
    work.run("delete from shop.orders where id = $1", &[&order]).await?;
    Ok(json!({"order": order}))
}

async fn edit_customer(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let customer = work.pick(work.size.customers);
    work.run(
        "update shop.customers set profile = jsonb_set(profile, '{visits}', to_jsonb(coalesce((profile->>'visits')::int, 0) + 1)),
             tags = case when cardinality(tags) > 4 then '{}' else tags || md5(id::text)::text end,
             home = row('Moved', null, 'Köln', 'DE')::shop.address, status = 'gold', updated_at = clock_timestamp()
         where id = $1",
        &[&customer],
    )
    .await?;
    Ok(json!({"customer": customer}))
}

async fn new_customer(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let tag = format!("{:032x}", work.random.random::<u128>());
    work.run(
        "insert into shop.customers (email, name, profile, tags)
         values ($1 || '@example.net', 'New ' || $1, jsonb_build_object('from', $1), array[$1, null])",
        &[&tag],
    )
    .await?;
    Ok(json!({"email": tag}))
}

async fn reprice(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let product = work.pick(work.size.products);
    work.run(
        "update shop.products set price = round(price * 1.01 + 0.01, 2) % 100000, tax_rate = 26 - tax_rate,
             attributes = attributes || '{\"sale\": true}', active = not active where id = $1 and tax_rate <= 26",
        &[&product],
    )
    .await?;
    Ok(json!({"product": product}))
}

/// A document at or after a random id: ids are random themselves.
const SOME_DOCUMENT: &str = "(select id from shop.documents where id >= $1 order by id limit 1)";

async fn revise(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let at = uuid::Uuid::from_u128(work.random.random());
    let sql = format!(
        "update shop.documents set revision = revision + 1, edited_at = clock_timestamp() where id = {SOME_DOCUMENT}"
    );
    work.run(&sql, &[&at]).await?;
    Ok(json!({"document from": at.to_string()}))
}

async fn rewrite(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let at = uuid::Uuid::from_u128(work.random.random());
    let sql = format!(
        "update shop.documents set title = title || '*', body =
             (select string_agg(md5($2 || n), '') from generate_series(1, 200) n) where id = {SOME_DOCUMENT}"
    );
    work.run(&sql, &[&at, &at.to_string()]).await?;
    Ok(json!({"document from": at.to_string()}))
}

async fn rename_setting(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let setting = work.pick(500) - 1;
    let name = format!("setting.{:016x}", work.random.random::<u64>());
    // Settings of other names are a test's own.
    work.run(
        "update shop.settings set name = $1, value = case when $2 % 3 = 0 then value else 'was ' || name end
         where name = (select name from shop.settings where name like 'setting.%' order by name offset $2 limit 1)",
        &[&name, &setting],
    )
    .await?;
    Ok(json!({"name": name}))
}

async fn renumber_line(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let order = work.pick(work.size.orders);
    work.run("update shop.order_lines set line_no = line_no + 100 where order_id = $1 and line_no < 1000", &[&order])
        .await?;
    Ok(json!({"order": order}))
}

async fn swap_seats(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let (one, other) = work.two(400);
    let (one, other) = (i32::try_from(one.min(other)).unwrap_or(1), i32::try_from(one.max(other)).unwrap_or(2));
    let rows = work
        .transaction
        .query("select seat from shop.seats where id in ($1, $2) order by id for update", &[&one, &other])
        .await?;
    if let [first, second] = rows.as_slice() {
        let (first, second): (i32, i32) = (first.get(0), second.get(0));
        let spare = -first;
        for (id, seat) in [(one, spare), (other, first), (one, second)] {
            work.run("update shop.seats set seat = $2 where id = $1", &[&id, &seat]).await?;
        }
    }
    Ok(json!({"seats": [one, other]}))
}

async fn transfer(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let (from, to) = work.two(1_000);
    let (from, to) = (i32::try_from(from).unwrap_or(1), i32::try_from(to).unwrap_or(2));
    let amount = work.pick(500);
    let both = [from.min(to), from.max(to)];
    for account in both {
        let change = if account == from { -amount } else { amount };
        let sql = "update shop.accounts set balance = balance + $2, moves = moves + 1 where id = $1";
        work.run(sql, &[&account, &change]).await?;
    }
    let sql = "insert into shop.transfers (from_id, to_id, amount) values ($1, $2, $3)";
    work.run(sql, &[&from, &to, &amount]).await?;
    Ok(json!({"from": from, "to": to, "amount": amount}))
}

async fn key_chain(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let rows = work.transaction.query("select id, seat from shop.seats order by id limit 3 for update", &[]).await?;
    if let [a, b, c] = rows.as_slice() {
        let ids: [i32; 3] = [a.get(0), b.get(0), c.get(0)];
        work.run("delete from shop.seats where id = $1", &[&ids[0]]).await?;
        work.run("update shop.seats set id = $2, holder = 'moved' where id = $1", &[&ids[1], &ids[0]]).await?;
        work.run("update shop.seats set id = $2 where id = $1", &[&ids[2], &ids[1]]).await?;
        let seat: i32 = a.get(1);
        work.run("insert into shop.seats values ($1, $2, 'again')", &[&ids[2], &seat]).await?;
    }
    Ok(json!({}))
}

async fn savepoints(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let (kept, lost) = (work.pick(work.size.customers), work.pick(work.size.customers));
    work.run("update shop.customers set name = 'Kept ' || id where id = $1", &[&kept]).await?;
    let before = work.changes;
    work.transaction.batch_execute("savepoint one").await?;
    work.run("update shop.customers set name = 'Lost ' || id where id = $1", &[&lost]).await?;
    work.run("insert into shop.carts (customer_id) values (null), (null)", &[]).await?;
    work.transaction.batch_execute("savepoint two").await?;
    work.run("delete from shop.carts where token >= gen_random_uuid() and customer_id is null", &[]).await?;
    work.transaction.batch_execute("release savepoint two; rollback to savepoint one").await?;
    work.changes = before;
    work.transaction.batch_execute("savepoint three").await?;
    work.run("update shop.customers set status = 'regular' where id = $1", &[&kept]).await?;
    work.transaction.batch_execute("release savepoint three; release savepoint one").await?;
    Ok(json!({"kept": kept, "lost": lost}))
}

async fn move_partition(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let payment = work.pick(work.size.orders / 2);
    work.run("update shop.payments set paid_on = paid_on + 190, remark = 'moved' where id = $1", &[&payment]).await?;
    Ok(json!({"payment": payment}))
}

async fn keyless(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let code = i32::try_from(work.pick(10)).unwrap_or(1) - 1;
    let sql = "insert into shop.audit_log (who, what, code) select 'writer', '{\"twice\": true}', $1 from generate_series(1, 2)";
    work.run(sql, &[&code]).await?;
    // Of rows that are equal in every column one changes and one goes.
    let some = "ctid = (select ctid from shop.audit_log where code = $1 limit 1)";
    work.run(&format!("update shop.audit_log set what = what || '{{\"seen\": 1}}' where {some}"), &[&code]).await?;
    work.run(&format!("delete from shop.audit_log where {some}"), &[&code]).await?;
    Ok(json!({"code": code}))
}

async fn carts(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let customer = work.pick(work.size.customers);
    let sql = "insert into shop.carts (customer_id, items) select id, '[{\"n\": 1}]' from shop.customers where id = $1";
    work.run(sql, &[&customer]).await?;
    let at = uuid::Uuid::from_u128(work.random.random());
    let some = "token = (select token from shop.carts where token >= $1 order by token limit 1)";
    work.run(&format!("update shop.carts set items = items || '[2]' where {some}"), &[&at]).await?;
    work.run(&format!("delete from shop.carts where {some}"), &[&at]).await?;
    Ok(json!({"customer": customer}))
}

async fn measure(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let row = work.pick(work.size.others);
    work.run(
        "update shop.measurements set exact = -exact, twice = case when id % 2 = 0 then 'NaN' else -twice end,
             moment = 'infinity', span = -span, grid = array[[null, 1]], raw = raw || '\\x00ff', clock = '24:00',
             words = null, fixed = '' where id = $1",
        &[&row],
    )
    .await?;
    Ok(json!({"row": row}))
}

async fn bulk(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    let from = work.pick(work.size.products);
    let sql = "update shop.stock set quantity = quantity + 1 where product_id between $1 and $1 + 500";
    work.run(sql, &[&from]).await?;
    let sql = "insert into shop.audit_log (who, what, code) \
               select 'bulk', jsonb_build_object('n', n), 99 from generate_series(1, 2000) n";
    work.run(sql, &[]).await?;
    // Only those before this transaction, so that the table does not grow without end.
    work.run("delete from shop.audit_log where code = 99 and at < transaction_timestamp() - interval '20 s'", &[])
        .await?;
    Ok(json!({"from": from}))
}

async fn truncate(work: &mut Work<'_, '_>) -> Result<Value, Error> {
    work.run("insert into shop.notices (text) values ('before')", &[]).await?;
    work.transaction.batch_execute("truncate shop.notices").await?;
    work.run("insert into shop.notices (text) select 'Notice ' || n from generate_series(1, 20) n", &[]).await?;
    Ok(json!({}))
}
