//! `/metrics`: the stored progress of tasks and tables in Prometheus' text format. Written from the database, so
//! every server says the same and a restart loses nothing. What isn't known has no line.

use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use time::OffsetDateTime;
use wavemark_domain::progress::{TableProgress, TaskProgress};
use wavemark_domain::state::TableState;
use wavemark_store::tasks::{self, Task};
use wavemark_store::{events, workers};

use crate::problem::ApiResult;
use crate::state::AppState;

pub(crate) fn router() -> Router<AppState> {
    Router::new().route("/metrics", get(show))
}

async fn show(State(state): State<AppState>) -> ApiResult<Response> {
    let mut connection = state.pool.acquire().await.map_err(wavemark_store::Error::from)?;
    let tasks = tasks::list(&mut connection, &tasks::Filter::default(), "", i64::MAX).await?;
    let tables = tasks::all_tables(&mut connection).await?;
    let errors = events::error_counts(&mut connection).await?;
    let workers = workers::list(&mut connection, None, i64::MAX).await?;
    drop(connection);
    let mut text = Text::default();
    text.of_tasks(&tasks, state.now());
    text.of_tables(&tables, state.now());
    let errors = errors.iter().map(|(task, count)| (vec![("task", task.as_str())], Some(to_f64(*count))));
    text.family("wavemark_task_errors_total", "counter", "Error events of the task", errors);
    let alive = workers.iter().filter(|worker| worker.alive).count();
    text.family(
        "wavemark_workers_alive",
        "gauge",
        "Workers heard of in the last 10 s",
        [(vec![], Some(to_f64(alive)))],
    );
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.0).into_response())
}

/// One of several figures of a family: its label and how to read it.
type Part<T> = (&'static str, fn(&T) -> u64);
type Labels<'a> = Vec<(&'a str, &'a str)>;
/// Name, kind, help, and how to read it.
type Family<T> = (&'static str, &'static str, &'static str, fn(&T, OffsetDateTime) -> Option<f64>);

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no integers; 53 bits are enough to chart")]
fn to_f64(figure: impl TryInto<u64>) -> f64 {
    figure.try_into().map_or(0.0, |figure| figure as f64)
}

fn seconds(micros: u64) -> f64 {
    to_f64(micros) / 1e6
}

const TASK: &[Family<TaskProgress>] = &[
    ("wavemark_task_lag_seconds", "gauge", "Source commit to target commit of the newest wave", |task, _| {
        task.lag_ms.map(|lag| to_f64(lag) / 1e3)
    }),
    ("wavemark_task_behind_bytes", "gauge", "Log between the bookmark and the log's end", |task, _| {
        task.behind_bytes.map(to_f64)
    }),
    ("wavemark_task_log_kept_bytes", "gauge", "Log that the source keeps for the task", |task, _| {
        task.log_kept_bytes.map(to_f64)
    }),
    ("wavemark_task_log_limit_bytes", "gauge", "Log that the source would keep at most", |task, _| {
        task.log_limit_bytes.map(to_f64)
    }),
    ("wavemark_task_log_budget_bytes", "gauge", "Log that the task's settings allow", |task, _| {
        task.log_budget_bytes.map(to_f64)
    }),
    (
        "wavemark_task_log_seconds_left",
        "gauge",
        "Until the source's limit is reached, at the rate of late",
        |task, _| task.log_seconds_left.map(to_f64),
    ),
    ("wavemark_task_log_alarm", "gauge", "Whether people must know about the log that is kept", |task, _| {
        task.log_kept_bytes.map(|_| f64::from(u8::from(task.log_problem.is_some())))
    }),
    ("wavemark_task_changes_read_total", "counter", "Changes read from the log", |task, _| {
        Some(to_f64(task.changes_read))
    }),
    ("wavemark_task_bytes_read_total", "counter", "Bytes of log messages read", |task, _| {
        Some(to_f64(task.bytes_read))
    }),
    ("wavemark_task_changes_written_total", "counter", "Changes committed in the target", |task, _| {
        Some(to_f64(task.changes_written))
    }),
    ("wavemark_task_bytes_written_total", "counter", "Bytes of row data of those", |task, _| {
        Some(to_f64(task.bytes_written))
    }),
    (
        "wavemark_task_transactions_written_total",
        "counter",
        "Source transactions committed in the target",
        |task, _| Some(to_f64(task.transactions_written)),
    ),
    ("wavemark_task_rows_loaded_total", "counter", "Rows copied by the load", |task, _| Some(to_f64(task.rows_loaded))),
    ("wavemark_task_bytes_loaded_total", "counter", "Bytes copied by the load", |task, _| {
        Some(to_f64(task.bytes_loaded))
    }),
    ("wavemark_task_waves_total", "counter", "Waves committed", |task, _| Some(to_f64(task.waves))),
    ("wavemark_task_retries_total", "counter", "Problems that were met and retried", |task, _| {
        Some(to_f64(task.retries))
    }),
    ("wavemark_task_in_hand_bytes", "gauge", "Bytes read and not yet in the target, in memory", |task, _| {
        Some(to_f64(task.in_hand_bytes))
    }),
    ("wavemark_task_spilled_bytes", "gauge", "Bytes read and not yet in the target, on disk", |task, _| {
        Some(to_f64(task.spilled_bytes))
    }),
];

const TABLE: &[Family<TableProgress>] = &[
    ("wavemark_table_rows_loaded_total", "counter", "Rows copied by the load", |table, _| {
        Some(to_f64(table.rows_loaded))
    }),
    ("wavemark_table_bytes_loaded_total", "counter", "Bytes copied by the load", |table, _| {
        Some(to_f64(table.bytes_loaded))
    }),
    ("wavemark_table_chunks", "gauge", "Chunks of the load", |table, _| Some(f64::from(table.chunks))),
    ("wavemark_table_chunks_done", "gauge", "Chunks committed in the target", |table, _| {
        Some(f64::from(table.chunks_done))
    }),
    ("wavemark_table_exceptions_total", "counter", "Rows left out and written to wavemark.exceptions", |table, _| {
        Some(to_f64(table.exceptions))
    }),
    (
        "wavemark_table_conflicts_total",
        "counter",
        "Changes that found the target's row otherwise than expected",
        |table, _| Some(to_f64(table.conflicts)),
    ),
    ("wavemark_table_parked", "gauge", "Whether the table is parked", |table, _| {
        Some(f64::from(u8::from(table.state == TableState::Parked)))
    }),
    (
        "wavemark_table_applied_age_seconds",
        "gauge",
        "Age of the newest applied change, by the source's commit",
        |table, now| {
            let at = u64::try_from(table.applied_commit_at?).ok()?;
            let now = u64::try_from(now.unix_timestamp_nanos() / 1_000).ok()?;
            Some(seconds(now.saturating_sub(at)))
        },
    ),
];

#[derive(Default)]
struct Text(String);

impl Text {
    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        lines: impl IntoIterator<Item = (Labels<'a>, Option<f64>)>,
    ) {
        let _ = write!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}\n");
        for (labels, value) in lines {
            let Some(value) = value else { continue };
            let labels: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }

    fn of_tasks(&mut self, tasks: &[Task], now: OffsetDateTime) {
        let statuses = tasks.iter().map(|task| {
            (vec![("task", task.name.as_str()), ("kind", task.kind.word()), ("status", task.status.word())], Some(1.0))
        });
        self.family("wavemark_task_status", "gauge", "1 for the task's status", statuses);
        let ages = tasks.iter().map(|task| {
            (vec![("task", task.name.as_str())], task.progress_at.map(|at| (now - at).as_seconds_f64().max(0.0)))
        });
        self.family("wavemark_task_report_age_seconds", "gauge", "Age of the task's newest report", ages);
        for (name, kind, help, read) in TASK {
            let lines = tasks.iter().map(|task| {
                (vec![("task", task.name.as_str())], task.progress.as_ref().and_then(|progress| read(progress, now)))
            });
            self.family(name, kind, help, lines);
        }
        let stages: [Part<TaskProgress>; 4] = [
            ("read_wait", |task| task.read_wait_us),
            ("blocked", |task| task.blocked_us),
            ("apply", |task| task.apply_us),
            ("commit", |task| task.commit_us),
        ];
        let lines = tasks.iter().flat_map(|task| {
            stages.iter().map(move |(stage, read)| {
                let value = task.progress.as_ref().map(|progress| seconds(read(progress)));
                (vec![("task", task.name.as_str()), ("stage", *stage)], value)
            })
        });
        self.family("wavemark_task_stage_seconds_total", "counter", "Time spent in each stage", lines);
    }

    fn of_tables(&mut self, tables: &[(String, TableProgress)], now: OffsetDateTime) {
        for (name, kind, help, read) in TABLE {
            let lines = tables.iter().map(|(task, table)| (labels(task, table), read(table, now)));
            self.family(name, kind, help, lines);
        }
        let kinds: [Part<TableProgress>; 4] = [
            ("insert", |table| table.inserts),
            ("update", |table| table.updates),
            ("delete", |table| table.deletes),
            ("truncate", |table| table.truncates),
        ];
        let lines = tables.iter().flat_map(|(task, table)| {
            kinds.iter().map(move |(kind, read)| {
                let mut labels = labels(task, table);
                labels.push(("kind", kind));
                (labels, Some(to_f64(read(table))))
            })
        });
        self.family("wavemark_table_changes_total", "counter", "Changes applied", lines);
        let lines = tables.iter().flat_map(|(task, table)| {
            table.unfit.iter().map(move |count| {
                let mut labels = labels(task, table);
                labels.extend([("column", count.column.as_str()), ("way", count.way.word())]);
                (labels, Some(to_f64(count.values)))
            })
        });
        let help = "Values that the target's column can't hold, written otherwise";
        self.family("wavemark_table_unfit_values_total", "counter", help, lines);
    }
}

fn labels<'a>(task: &'a str, table: &'a TableProgress) -> Labels<'a> {
    vec![("task", task), ("schema", &table.table.schema), ("table", &table.table.table)]
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_quotes_and_unknown_figures_are_written_so_that_they_can_be_read() {
        let mut text = Text::default();
        let lines = [(vec![("table", "a\"b\\c\nd")], Some(1.5)), (vec![("table", "unknown")], None)];
        text.family("wavemark_x", "gauge", "Help", lines);
        let expected = "# HELP wavemark_x Help.\n# TYPE wavemark_x gauge\nwavemark_x{table=\"a\\\"b\\\\c\\nd\"} 1.5\n";
        assert_eq!(text.0, expected);
    }
}
