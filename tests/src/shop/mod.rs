//! A shop's database as a source: many kinds of tables and values, and writers that keep changing it.

pub mod kinds;
pub mod writers;

use anyhow::{Context as _, Result};
use tokio_postgres::Client;

pub use writers::{Counts, Pace, Writers};

/// The schema of every table.
pub const SCHEMA: &str = "shop";

/// How many rows the shop has at first.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Rows in `customers`.
    pub customers: u32,
    /// Rows in `products`; `stock` has one for each in each warehouse.
    pub products: u32,
    /// Rows in `warehouses`.
    pub warehouses: u32,
    /// Rows in `orders`; `payments` has half as many.
    pub orders: u32,
    /// Lines of each order.
    pub lines: u32,
    /// Rows in `documents`, of 3 to 16 kB each.
    pub documents: u32,
    /// Rows in `audit_log`, `measurements` and `carts`, each.
    pub others: u32,
}

impl Size {
    /// A little more than a million rows, about 400 MB.
    pub const FULL: Self = Self {
        customers: 100_000,
        products: 20_000,
        warehouses: 10,
        orders: 150_000,
        lines: 3,
        documents: 4_000,
        others: 20_000,
    };
    /// Some thousand rows, for tests.
    pub const SMALL: Self =
        Self { customers: 1_000, products: 200, warehouses: 3, orders: 1_500, lines: 3, documents: 100, others: 300 };
}

/// Rows in `accounts`, and what each holds at first.
pub const ACCOUNTS: i64 = 1_000;
/// The first balance of each account.
pub const BALANCE: i64 = 1_000_000;
/// Rows in `categories`.
pub const CATEGORIES: u32 = 200;

/// Makes the shop's schema and rows in an empty database.
///
/// # Errors
/// A statement fails.
pub async fn fill(client: &Client, size: Size) -> Result<()> {
    client.batch_execute(include_str!("schema.sql")).await.context("making the shop's tables")?;
    let figures = [
        ("{categories}", CATEGORIES.to_string()),
        ("{customers}", size.customers.to_string()),
        ("{products}", size.products.to_string()),
        ("{warehouses}", size.warehouses.to_string()),
        ("{orders}", size.orders.to_string()),
        ("{lines}", size.lines.to_string()),
        ("{accounts}", ACCOUNTS.to_string()),
        ("{documents}", size.documents.to_string()),
        ("{carts}", size.others.to_string()),
        ("{audit}", size.others.to_string()),
        ("{measurements}", size.others.to_string()),
    ];
    let rows = figures.iter().fold(include_str!("fill.sql").to_owned(), |sql, (name, value)| sql.replace(name, value));
    for part in [rows.as_str(), include_str!("finish.sql")] {
        for statement in part.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()) {
            client.batch_execute(statement).await.with_context(|| format!("filling the shop: {statement}"))?;
        }
    }
    Ok(())
}

/// The number of rows in the shop, counted.
///
/// # Errors
/// A statement fails.
pub async fn rows(client: &Client) -> Result<i64> {
    let tables = client
        .query(
            "select c.oid::regclass::text from pg_class c
             where c.relnamespace = 'shop'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition",
            &[],
        )
        .await?;
    let mut rows = 0;
    for table in tables {
        let table: String = table.get(0);
        rows += client.query_one(&format!("select count(*) from {table}"), &[]).await?.get::<_, i64>(0);
    }
    Ok(rows)
}
