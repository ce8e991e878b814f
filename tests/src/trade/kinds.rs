//! The kinds of transactions that the writers make, as statements that every system understands. None reads anything: what a
//! change depends on is asked within its statement.
//!
//! Rows are locked in the order of their keys where several are touched, so that deadlocks are rare.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::Size;

/// A kind of transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An order with lines and stock: three tables.
    Order,
    /// Orders move on, some at once.
    Advance,
    /// Some orders are deleted with their lines.
    Cancel,
    /// A customer changes.
    EditCustomer,
    /// A new customer.
    NewCustomer,
    /// Prices change.
    Reprice,
    /// A document's small columns change; its long ones are not touched.
    Revise,
    /// A document gets another body and attachment.
    Rewrite,
    /// Documents come and go.
    Documents,
    /// A primary key changes.
    RenameSetting,
    /// Part of a composite primary key changes, of several rows at once.
    RenumberLines,
    /// Two rows swap a unique value.
    SwapSeats,
    /// A key passes along a chain of rows: delete, then updates onto the freed values.
    KeyChain,
    /// Money moves between two accounts.
    Transfer,
    /// Savepoints, of which some are rolled back.
    Savepoints,
    /// Rows of a table without a key come, change and go.
    Keyless,
    /// A row with odd values changes.
    Measure,
    /// Some hundred rows at once.
    Bulk,
    /// A small table is emptied and filled.
    Truncate,
}

/// Every kind with how often it comes, in thousandths.
const WEIGHTS: [(Kind, u32); 19] = [
    (Kind::Order, 130),
    (Kind::Advance, 110),
    (Kind::Cancel, 30),
    (Kind::EditCustomer, 90),
    (Kind::NewCustomer, 50),
    (Kind::Reprice, 70),
    (Kind::Revise, 80),
    (Kind::Rewrite, 30),
    (Kind::Documents, 50),
    (Kind::RenameSetting, 40),
    (Kind::RenumberLines, 30),
    (Kind::SwapSeats, 40),
    (Kind::KeyChain, 20),
    (Kind::Transfer, 160),
    (Kind::Savepoints, 30),
    (Kind::Keyless, 20),
    (Kind::Measure, 13),
    (Kind::Bulk, 4),
    (Kind::Truncate, 3),
];

impl Kind {
    /// Draws one.
    pub(super) fn draw(random: &mut StdRng, truncates: bool) -> Self {
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
    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    /// Its statements, in words of [`super::in_words_of`].
    pub(super) fn statements(self, random: &mut StdRng, size: Size) -> Vec<String> {
        let mut draw = Draw { random, size };
        match self {
            Self::Order => order(&mut draw),
            Self::Advance => advance(&mut draw),
            Self::Cancel => cancel(&mut draw),
            Self::EditCustomer => edit_customer(&mut draw),
            Self::NewCustomer => new_customer(&mut draw),
            Self::Reprice => reprice(&mut draw),
            Self::Revise => revise(&mut draw),
            Self::Rewrite => rewrite(&mut draw),
            Self::Documents => documents(&mut draw),
            Self::RenameSetting => rename_setting(&mut draw),
            Self::RenumberLines => renumber_lines(&mut draw),
            Self::SwapSeats => swap_seats(&mut draw),
            Self::KeyChain => key_chain(&mut draw),
            Self::Transfer => transfer(&mut draw),
            Self::Savepoints => savepoints(&mut draw),
            Self::Keyless => keyless(&mut draw),
            Self::Measure => measure(&mut draw),
            Self::Bulk => bulk(&mut draw),
            Self::Truncate => truncate(),
        }
    }
}

struct Draw<'a> {
    random: &'a mut StdRng,
    size: Size,
}

impl Draw<'_> {
    fn pick(&mut self, of: u32) -> u32 {
        self.random.random_range(1..=of.max(1))
    }

    /// Two of them, the smaller first.
    fn two(&mut self, of: u32) -> (u32, u32) {
        let first = self.pick(of);
        let second = (first + self.pick(of - 1) - 1) % of + 1;
        (first.min(second), first.max(second))
    }

    fn word(&mut self) -> String {
        format!("{:032x}", self.random.random::<u128>())
    }
}

fn order(draw: &mut Draw<'_>) -> Vec<String> {
    let (number, customer) = (draw.word(), draw.pick(draw.size.customers));
    let lines = draw.pick(5);
    let mut products: Vec<_> = (0..lines).map(|_| draw.pick(draw.size.products)).collect();
    products.sort_unstable();
    let mut all = vec![format!(
        "insert into shop.orders (number, customer_id, status, placed_at, total, note) \
         values ('N-{number}', {customer}, 'open', timestamp '2026-03-01 10:00:00.5', 0, null)"
    )];
    for (line, product) in products.iter().enumerate() {
        all.push(format!(
            "insert into shop.order_lines (order_id, line_no, product_id, quantity, unit_price) \
             select o.id, {}, p.id, {}, p.price from shop.orders o, shop.products p \
             where o.number = 'N-{number}' and p.id = {product}",
            line + 1,
            line % 4 + 1
        ));
        all.push(format!(
            "update shop.stock set quantity = quantity - 1 where warehouse_id = 1 and product_id = {product}"
        ));
    }
    all.push(format!(
        "update shop.orders set status = 'paid', total = (select sum(quantity * unit_price) from shop.order_lines \
         where order_id = orders.id) where number = 'N-{number}'"
    ));
    all
}

fn advance(draw: &mut Draw<'_>) -> Vec<String> {
    let (order, more) = (draw.pick(draw.size.orders), draw.pick(4) - 1);
    vec![format!(
        "update shop.orders set status = case status when 'open' then 'paid'{{as status}} when 'paid' then 'packed' \
         when 'packed' then 'shipped' when 'shipped' then 'à vérifier' else 'open' end, note = concat(coalesce(note, ''), '.') \
         where id between {order} and {}",
        order + more
    )]
}

fn cancel(draw: &mut Draw<'_>) -> Vec<String> {
    let order = draw.pick(draw.size.orders);
    let these = format!("between {order} and {}", order + draw.pick(3) - 1);
    vec![
        format!("delete from shop.order_lines where order_id {these}"),
        format!("delete from shop.orders where id {these}"),
    ]
}

fn edit_customer(draw: &mut Draw<'_>) -> Vec<String> {
    let (customer, word) = (draw.pick(draw.size.customers), draw.word());
    vec![format!(
        "update shop.customers set profile = case when mod(id, 4) = 0 then null else 'äöü \"{word}\"' end, \
         born = case when born is null then date '2000-12-31' end, name = concat('Customer ', id, ' of {}') where id = {customer}",
        &word[..8]
    )]
}

fn new_customer(draw: &mut Draw<'_>) -> Vec<String> {
    let word = draw.word();
    vec![format!(
        "insert into shop.customers (email, name, born, created_at, profile) values \
         ('{word}@example.net', 'New', null, timestamp '2026-01-01 00:00:00.000001', '{{}}'), \
         ('{word}@example.com', 'New, too', date '1970-01-01', timestamp '2026-01-01 00:00:00', '')"
    )]
}

fn reprice(draw: &mut Draw<'_>) -> Vec<String> {
    let product = draw.pick(draw.size.products);
    vec![format!(
        "update shop.products set price = mod(price + 1.01, 100000), weight = weight + 0.5 where id between {product} and {}",
        product + 4
    )]
}

/// A document at or after a random id.
fn some_document(draw: &mut Draw<'_>) -> String {
    let at = draw.pick(draw.size.documents);
    format!(
        "id = (select id from (select id from shop.documents where id >= 'document-{at}' order by id limit 1) picked)"
    )
}

fn revise(draw: &mut Draw<'_>) -> Vec<String> {
    vec![format!("update shop.documents set revision = revision + 1 where {}", some_document(draw))]
}

fn rewrite(draw: &mut Draw<'_>) -> Vec<String> {
    let (some, word) = (some_document(draw), draw.word());
    let times = draw.pick(400);
    vec![format!(
        "update shop.documents set title = concat('rewritten ', revision), body = repeat('{word}ß', {times}), \
         attachment = {{binary}}00ff{word}' where {some}"
    )]
}

fn documents(draw: &mut Draw<'_>) -> Vec<String> {
    let (some, word) = (some_document(draw), draw.word());
    vec![
        format!(
            "insert into shop.documents values ('document-{word}', 'new', 1, repeat('{word}', 100), null), \
             ('other-{word}', 'new', 1, '', {{binary}}00')"
        ),
        format!("delete from shop.documents where {some}"),
        format!("delete from shop.documents where id = 'other-{word}'"),
    ]
}

fn rename_setting(draw: &mut Draw<'_>) -> Vec<String> {
    let (setting, word) = (draw.pick(500) - 1, draw.word());
    let third = if setting.is_multiple_of(3) { "value" } else { "concat('was ', name)" };
    // MySQL gives what is set later the columns that were set before.
    vec![format!(
        "update shop.settings set value = {third}, name = 'setting.{word}' where name = (select name from \
         (select name from shop.settings order by name limit 1 offset {setting}) picked)"
    )]
}

fn renumber_lines(draw: &mut Draw<'_>) -> Vec<String> {
    let order = draw.pick(draw.size.orders);
    vec![format!("update shop.order_lines set line_no = line_no + 100 where order_id = {order} and line_no < 1000")]
}

/// One row keeps both values for a moment: seats have numbers below 1,000.
fn swap_seats(draw: &mut Draw<'_>) -> Vec<String> {
    let (one, other) = draw.two(400);
    vec![
        format!("select seat from shop.seats where id in ({one}, {other}) order by id for update"),
        format!(
            "update shop.seats set seat = -(seat * 1000 + (select seat from (select seat from shop.seats where id = {other}) picked)) \
             where id = {one} and exists (select 1 from (select id from shop.seats where id = {other}) picked)"
        ),
        format!(
            "update shop.seats set seat = (select (-seat - mod(-seat, 1000)) / 1000 from (select seat from shop.seats \
             where id = {one}) picked) where id = {other} and exists (select 1 from (select seat from shop.seats where id = {one}) picked \
             where seat < 0)"
        ),
        format!("update shop.seats set seat = mod(-seat, 1000) where id = {one} and seat < 0"),
    ]
}

/// The seat is drawn: somebody may have it, which is the transaction's end.
fn key_chain(draw: &mut Draw<'_>) -> Vec<String> {
    let seat = 400 + draw.pick(599);
    vec![
        "delete from shop.seats where id = 1".to_owned(),
        "update shop.seats set id = 1, holder = 'moved' where id = 2".to_owned(),
        "update shop.seats set id = 2 where id = 3".to_owned(),
        format!("insert into shop.seats values (3, {seat}, 'again')"),
    ]
}

fn transfer(draw: &mut Draw<'_>) -> Vec<String> {
    let ((low, high), amount, id) = (draw.two(1_000), draw.pick(500), draw.word());
    let up = draw.random.random_bool(0.5);
    let (from, to) = if up { (low, high) } else { (high, low) };
    let change = |account: u32| if account == from { format!("- {amount}") } else { format!("+ {amount}") };
    let mut all: Vec<_> = [low, high]
        .map(|account| {
            let change = change(account);
            format!("update shop.accounts set balance = balance {change}, moves = moves + 1 where id = {account}")
        })
        .into();
    all.push(format!("insert into shop.transfers values ('{id}', {from}, {to}, {amount})"));
    all
}

fn savepoints(draw: &mut Draw<'_>) -> Vec<String> {
    let (kept, lost) = draw.two(draw.size.customers);
    let word = draw.word();
    vec![
        format!("update shop.customers set name = concat('Kept ', id) where id = {kept}"),
        "savepoint one".to_owned(),
        format!("update shop.customers set name = concat('Lost ', id) where id = {lost}"),
        format!("insert into shop.documents values ('lost-{word}', '', 1, '', null)"),
        "savepoint two".to_owned(),
        "delete from shop.settings where name like 'setting.1%'".to_owned(),
        "rollback to savepoint one".to_owned(),
        format!("update shop.customers set profile = 'behind' where id = {kept}"),
        "savepoint three".to_owned(),
        format!("insert into shop.documents values ('kept-{word}', '', 1, '', null)"),
        "release savepoint three".to_owned(),
    ]
}

fn keyless(draw: &mut Draw<'_>) -> Vec<String> {
    let code = draw.pick(10) - 1;
    // Of rows that are equal in every column one changes and two go.
    let one = format!("where {{one of}}code = {code}{{alone}}");
    vec![
        format!("insert into shop.audit_log values (null, 'writer', {code}), (null, 'writer', {code})"),
        format!("update shop.audit_log set who = left(concat('seen by ', who), 40) {one}"),
        format!("delete from shop.audit_log {one}"),
        format!("delete from shop.audit_log {one}"),
    ]
}

fn measure(draw: &mut Draw<'_>) -> Vec<String> {
    let (row, word) = (draw.pick(draw.size.others), draw.word());
    vec![format!(
        "update shop.measurements set exact = -exact, twice = -twice, small = case when small is null then -32768 end, \
         day = date '9999-12-31', local = timestamp '2024-02-29 00:00:00.000001', raw = {{binary}}{word}', fixed = '' \
         where id between {row} and {}",
        row + 2
    )]
}

fn bulk(draw: &mut Draw<'_>) -> Vec<String> {
    let (product, word) = (draw.pick(draw.size.products), draw.word());
    vec![
        format!(
            "update shop.stock set quantity = quantity + 1 where product_id between {product} and {}",
            product + 300
        ),
        format!(
            "insert into shop.documents select concat('bulk-{word}-', id), 'bulk', 1, name, null from shop.seats, \
                 (select 'of many' as name) n where id <= 400"
        ),
        format!("update shop.documents set revision = 2 where id like 'bulk-{word}%'"),
        "delete from shop.documents where id like 'bulk-%' and revision = 3".to_owned(),
        "update shop.documents set revision = 3 where id like 'bulk-%' and revision = 2".to_owned(),
    ]
}

fn truncate() -> Vec<String> {
    vec![
        "insert into shop.notices (text) values ('before')".to_owned(),
        "truncate table shop.notices".to_owned(),
        "insert into shop.notices (text) values ('one'), ('two'), (null)".to_owned(),
    ]
}
