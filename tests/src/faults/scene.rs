//! What is written and compared in an arena: the shop of many odd values between two servers of PostgreSQL, and the shop in
//! the words of every system where another one has a part.

use anyhow::Result;

use crate::compare::{self, Report};
use crate::shop::{self, Counts, Pace, Size};
use crate::system::{Door, System};
use crate::trade;

/// The writers of either shop.
pub(super) enum Writers {
    Shop(Box<shop::Writers>),
    Trade(trade::Writers),
}

fn is_postgres_alone(source: &System, target: &System) -> bool {
    !source.kind().is_family() && !target.kind().is_family()
}

/// Makes the tables and rows of the shop that goes with the pair.
pub(super) async fn fill(source: &System, target: &System, size: Size) -> Result<()> {
    match source.door() {
        Door::Postgres(config) if is_postgres_alone(source, target) => {
            let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            shop::fill(&client, size).await
        }
        _ => trade::fill(source, size).await,
    }
}

/// A row of `hist` that no writer makes.
pub(super) fn last_row(source: &System, target: &System, client: &str) -> String {
    if is_postgres_alone(source, target) {
        return format!(
            "insert into shop.hist (client, n, kind, ops, checksum) values ('{client}', 1, 'drain', '{{}}', '')"
        );
    }
    format!("insert into shop.hist (client, n, kind) values ('{client}', 1, 'drain')")
}

/// Compares all tables.
pub(super) async fn compare(source: &System, target: &System) -> Result<Report> {
    let (Some(left), Some(right)) = (source.cluster(), target.cluster()) else {
        return trade::compare(source, target).await;
    };
    let left = left.connect(source.user()).await?;
    let right = right.connect(target.user()).await?;
    let pairs = compare::pairs(&left, shop::SCHEMA, shop::SCHEMA).await?;
    compare::all(&left, &right, &pairs).await
}

impl Writers {
    pub(super) fn of(source: &System, target: &System, size: Size) -> Self {
        match source.door() {
            Door::Postgres(config) if is_postgres_alone(source, target) => {
                Self::Shop(Box::new(shop::Writers::new(*config, size)))
            }
            _ => Self::Trade(trade::Writers::new(source, size)),
        }
    }

    /// Has them go on at the server that took the source's place.
    pub(super) fn lead_to(&self, source: &System) {
        match self {
            Self::Shop(_) => {}
            Self::Trade(writers) => writers.lead_to(source),
        }
    }

    pub(super) fn allow_truncates(&self, allowed: bool) {
        match self {
            Self::Shop(writers) => writers.allow_truncates(allowed),
            Self::Trade(writers) => writers.allow_truncates(allowed),
        }
    }

    pub(super) fn start(&mut self, pace: Pace) {
        match self {
            Self::Shop(writers) => writers.start(pace),
            Self::Trade(writers) => writers.start(pace),
        }
    }

    pub(super) async fn stop(&mut self) -> Result<()> {
        match self {
            Self::Shop(writers) => writers.stop().await,
            Self::Trade(writers) => writers.stop().await,
        }
    }

    /// What ended a session that no writer should meet, in words, as far as it is known before they are stopped.
    pub(super) fn failure(&self) -> Option<String> {
        match self {
            Self::Shop(_) => None,
            Self::Trade(writers) => writers.failure(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        match self {
            Self::Shop(writers) => writers.counts(),
            Self::Trade(writers) => writers.counts(),
        }
    }
}
