//! The tables, their first rows, and the form in which each column is written for a comparison.

use super::{ACCOUNTS, BALANCE, Kind, Size, in_words_of};
use crate::compare::texts::Form::{self, Bytes, Double, Fixed, Moment, Plain, Text};

/// A table: its definition and its columns with the form in which each is compared.
struct Table {
    name: &'static str,
    definition: &'static str,
    columns: &'static [(&'static str, Form)],
}

/// Foreign keys do nothing by themselves here, for the log of MariaDB does not have what they do.
const TABLES: [Table; 14] = [
    Table {
        name: "customers",
        definition: "id {number}, email varchar(100) not null unique, name varchar(120) not null, born date, \
            created_at {moment} not null, profile {long}",
        columns: &[
            ("id", Plain),
            ("email", Text),
            ("name", Text),
            ("born", Plain),
            ("created_at", Moment),
            ("profile", Text),
        ],
    },
    Table {
        name: "products",
        definition: "id bigint primary key, name varchar(100) not null, price numeric(14,2) not null, \
            weight double precision, picture {bytes}",
        columns: &[("id", Plain), ("name", Text), ("price", Plain), ("weight", Double), ("picture", Bytes)],
    },
    Table {
        name: "stock",
        definition: "warehouse_id int not null, product_id bigint not null, quantity int not null, \
            primary key (warehouse_id, product_id)",
        columns: &[("warehouse_id", Plain), ("product_id", Plain), ("quantity", Plain)],
    },
    Table {
        name: "orders",
        definition: "id {number}, number varchar(60) not null unique, customer_id bigint not null, status {status} not null, \
            placed_at {moment} not null, total numeric(14,2) not null, note {long}",
        columns: &[
            ("id", Plain),
            ("number", Text),
            ("customer_id", Plain),
            ("status", Plain),
            ("placed_at", Moment),
            ("total", Plain),
            ("note", Text),
        ],
    },
    Table {
        name: "order_lines",
        definition: "order_id bigint not null, line_no int not null, product_id bigint not null, quantity int not null, \
            unit_price numeric(14,2) not null, primary key (order_id, line_no), \
            foreign key (product_id) references shop.products (id)",
        columns: &[
            ("order_id", Plain),
            ("line_no", Plain),
            ("product_id", Plain),
            ("quantity", Plain),
            ("unit_price", Plain),
        ],
    },
    Table {
        name: "accounts",
        definition: "id int primary key, owner varchar(60) not null, balance bigint not null, moves bigint not null",
        columns: &[("id", Plain), ("owner", Text), ("balance", Plain), ("moves", Plain)],
    },
    Table {
        name: "transfers",
        definition: "id varchar(40) primary key, from_id int not null, to_id int not null, amount bigint not null",
        columns: &[("id", Text), ("from_id", Plain), ("to_id", Plain), ("amount", Plain)],
    },
    Table {
        name: "documents",
        definition: "id varchar(60) primary key, title varchar(200) not null, revision int not null, body {long} not null, \
            attachment {bytes}",
        columns: &[("id", Text), ("title", Text), ("revision", Plain), ("body", Text), ("attachment", Bytes)],
    },
    Table {
        name: "settings",
        definition: "name varchar(100) primary key, value {long}",
        columns: &[("name", Text), ("value", Text)],
    },
    Table {
        name: "seats",
        definition: "id int primary key, seat int not null unique, holder varchar(60)",
        columns: &[("id", Plain), ("seat", Plain), ("holder", Text)],
    },
    Table { name: "notices", definition: "id {number}, text {long}", columns: &[("id", Plain), ("text", Text)] },
    // No key at all: every column together tells a row.
    Table {
        name: "audit_log",
        definition: "at {moment}, who varchar(40), code int",
        columns: &[("at", Moment), ("who", Text), ("code", Plain)],
    },
    Table {
        name: "measurements",
        definition: "id bigint primary key, small smallint, twice double precision, exact numeric(38,10), day date, \
            local {moment}, raw {bytes}, fixed char(12)",
        columns: &[
            ("id", Plain),
            ("small", Plain),
            ("twice", Double),
            ("exact", Plain),
            ("day", Plain),
            ("local", Moment),
            ("raw", Bytes),
            ("fixed", Fixed),
        ],
    },
    Table {
        name: "hist",
        definition: "seq {number}, client varchar(60) not null, n bigint not null, kind varchar(20) not null, \
            unique (client, n)",
        columns: &[("seq", Plain), ("client", Text), ("n", Plain), ("kind", Text)],
    },
];

/// What makes the tables.
pub(super) fn made(kind: Kind) -> impl Iterator<Item = String> {
    TABLES.iter().map(move |table| {
        let definition = in_words_of(kind, table.definition);
        format!("create table shop.{} ({definition})", table.name)
    })
}

/// Each table with what is compared of it.
pub(super) fn written() -> impl Iterator<Item = (&'static str, &'static [(&'static str, Form)])> {
    TABLES.iter().map(|table| (table.name, table.columns))
}

/// The names of all tables.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name)
}

/// What fills them, each from numbers that are counted up in the statement.
pub(super) fn filled(size: Size) -> Vec<String> {
    let of = |table: &str, count: u32, columns: &str| {
        format!(
            "insert into shop.{table} with recursive numbers as (select 1 as n union all select n + 1 from numbers \
             where n < {count}) select {columns} from numbers"
        )
    };
    let long =
        |times: u32| format!("repeat(concat('some words of document ', n, ' with é and € '), {times} + mod(n, 300))");
    vec![
        of(
            "customers (email, name, born, created_at, profile)",
            size.customers,
            "concat('customer', n, '@example.org'), concat('Customer ', n), case when mod(n, 9) > 0 then date '1984-02-29' end, \
             timestamp '2024-02-29 12:00:00.000123', case mod(n, 3) when 0 then '' when 1 then concat('tab\t\"', n, '\"') end",
        ),
        of("products", size.products, "n, concat('Product ', n), mod(n, 50000) / 100.0 + 0.5, n * 0.25, null"),
        of("stock", size.products, "1, n, 1000"),
        of("stock", size.products, "2, n, mod(n, 500)"),
        of(
            "orders (number, customer_id, status, placed_at, total, note)",
            size.orders,
            &format!(
                "concat('O-', n), 1 + mod(n, {}), 'open', timestamp '2025-01-01 00:00:00', 0, \
                 case when mod(n, 20) = 0 then 'Ring twice.' end",
                size.customers
            ),
        ),
        of(
            "order_lines",
            size.orders * size.lines,
            &format!(
                "1 + mod(n, {}), 1 + floor(n / {}), 1 + mod(n, {}), 1 + mod(n, 9), 9.99",
                size.orders, size.orders, size.products
            ),
        ),
        of("accounts", u32::try_from(ACCOUNTS).unwrap_or_default(), &format!("n, concat('Account ', n), {BALANCE}, 0")),
        of(
            "documents",
            size.documents,
            &format!("concat('document-', n), concat('Document ', n), 1, {}, null", long(60)),
        ),
        of("settings", 500, "concat('setting.', n), concat('value ', n)"),
        of("seats", 400, "n, n, concat('Guest ', n)"),
        of("notices (text)", 50, "concat('Notice ', n)"),
        of("audit_log", 200, "timestamp '2026-01-01 00:00:00', case when mod(n, 5) > 0 then 'user' end, mod(n, 10)"),
        of(
            "measurements",
            size.others,
            "n, mod(n, 30000), n * 0.125, n * 1.0000000001, date '2000-01-01', timestamp '1999-12-31 23:59:59.999999', null, \
             concat('pad', mod(n, 99))",
        ),
    ]
}
