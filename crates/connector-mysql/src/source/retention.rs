//! For how long the server keeps its log, and how long that is enough for a task.

use tokio::sync::Mutex;
use wavemark_domain::Problem;
use wavemark_domain::check::{Finding, Weight};

use super::state::{ask, files};
use crate::error;
use crate::log::begun_at;
use crate::position::Place;
use crate::settings::Settings;
use crate::wire::Connection;

/// Less than that is told: a weekend is longer.
const SHORT: u64 = 24 * 60 * 60;

/// How long a server keeps each file once it is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeps {
    /// Until somebody removes it.
    ForEver,
    Seconds(u64),
    /// As a service sets it up that says otherwise than its server: until it is copied elsewhere.
    NoLonger,
}

/// When files were begun; they are asked for once.
#[derive(Default)]
pub(super) struct Retention(Mutex<Option<(Box<str>, u32)>>);

impl Retention {
    /// Seconds until the server may drop the file in which a place is; nothing if it is the last one, or is kept for ever.
    pub(super) async fn seconds_left(
        &self,
        control: &mut Connection,
        settings: &Settings,
        needed: &Place,
    ) -> Result<Option<u64>, Problem> {
        let Keeps::Seconds(keeps) = keeps(control).await? else { return Ok(None) };
        let all = files(control).await?;
        let behind = all.iter().skip_while(|(file, _)| **file != *needed.file).nth(1);
        let Some(next) = behind.and_then(|(file, _)| Place::new(file, 0, needed.server.clone())) else {
            return Ok(None);
        };
        // It was finished when the next one was begun.
        let finished = self.begun_at(settings, &next).await?;
        let now = ask(control, "SELECT UNIX_TIMESTAMP()").await?.and_then(|text| text.parse::<u64>().ok());
        Ok(now.map(|now| (u64::from(finished) + keeps).saturating_sub(now)))
    }

    async fn begun_at(&self, settings: &Settings, file: &Place) -> Result<u32, Problem> {
        let mut known = self.0.lock().await;
        if let Some((name, at)) = &*known
            && **name == *file.file
        {
            return Ok(*at);
        }
        let at = begun_at(settings, file).await?;
        *known = Some(((&*file.file).into(), at));
        Ok(at)
    }
}

/// The most bytes of log that the server keeps, of those that have such a setting: MariaDB from version 11.4 on, and Percona's.
pub(super) async fn most_bytes(control: &mut Connection) -> Result<Option<u64>, Problem> {
    let sql = "SHOW GLOBAL VARIABLES WHERE variable_name IN ('max_binlog_total_size', 'binlog_space_limit')";
    let rows = control.query(sql).await;
    let rows = rows.map_err(|cause| error::problem(&cause, "ask how much of its log the source keeps"))?;
    Ok(rows.iter().filter_map(|row| row.number(1)).find(|most| *most > 0))
}

async fn keeps(control: &mut Connection) -> Result<Keeps, Problem> {
    // Amazon's services remove files by a setting of their own.
    let rds = "SELECT coalesce(value, '') FROM mysql.rds_configuration WHERE name = 'binlog retention hours'";
    if let Ok(rows) = control.query(rds).await
        && let Some(row) = rows.first()
    {
        let hours = row.text(0).and_then(|text| text.parse::<u64>().ok());
        return Ok(hours.map_or(Keeps::NoLonger, |hours| Keeps::Seconds(hours * 3_600)));
    }
    // MySQL from version 8.0.29 on can be told to keep all, whatever their age.
    if let Ok(Some(purges)) = ask(control, "SELECT @@global.binlog_expire_logs_auto_purge").await
        && matches!(purges.as_str(), "0" | "OFF")
    {
        return Ok(Keeps::ForEver);
    }
    for (variable, seconds) in [("binlog_expire_logs_seconds", 1), ("expire_logs_days", 86_400)] {
        // Older versions have the second alone.
        if let Ok(Some(value)) = ask(control, &format!("SELECT CAST(@@global.{variable} AS UNSIGNED)")).await {
            let value = value.parse::<u64>().unwrap_or_default();
            return Ok(if value == 0 { Keeps::ForEver } else { Keeps::Seconds(value * seconds) });
        }
    }
    Ok(Keeps::ForEver)
}

/// Whether the log is kept for long enough that a task can stand still for a while.
pub(super) async fn assess(control: &mut Connection) -> Result<Option<Finding>, Problem> {
    let (kept, mend) = match keeps(control).await? {
        Keeps::Seconds(seconds) if seconds < SHORT => {
            (format!("for {} minutes", seconds / 60), "SET GLOBAL binlog_expire_logs_seconds = 604800; -- a week")
        }
        Keeps::NoLonger => (
            "no longer than the service itself needs it".to_owned(),
            "CALL mysql.rds_set_configuration('binlog retention hours', 168); -- a week",
        ),
        _ => return Ok(None),
    };
    let text =
        format!("The source keeps its log {kept}: a task that stands still for longer has to load everything again.");
    Ok(Some(Finding { weight: Weight::Warning, code: "log-kept-short".to_owned(), text, mend: Some(mend.to_owned()) }))
}
