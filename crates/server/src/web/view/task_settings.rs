//! The settings of a task, as its form has them.

use serde_json::{Map, Value};
use wavemark_domain::task::TaskSettings;

use super::field::{Field, choices, shown};
use super::task_form::Typed;

struct Setting {
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    range: Option<(i64, i64)>,
    words: &'static [(&'static str, &'static str)],
}

const fn number(name: &'static str, label: &'static str, hint: &'static str, min: i64, max: i64) -> Setting {
    Setting { name, label, hint, range: Some((min, max)), words: &[] }
}

const fn choice(
    name: &'static str,
    label: &'static str,
    hint: &'static str,
    words: &'static [(&'static str, &'static str)],
) -> Setting {
    Setting { name, label, hint, range: None, words }
}

const PARK: (&str, &str) = ("park-table", "Park the table, the others go on");

const fn text(name: &'static str, label: &'static str, hint: &'static str) -> Setting {
    Setting { name, label, hint, range: None, words: &[] }
}

/// Those that matter most.
const FIRST: [Setting; 4] = [
    choice(
        "preparation",
        "Target tables before the load",
        "What happens to tables that are already there.",
        &[
            ("nothing", "Make those that are missing; others must fit and be empty"),
            ("drop-and-create", "Drop and make again"),
            ("truncate", "Keep their shape, remove their rows"),
        ],
    ),
    choice(
        "data_errors",
        "When a row can't be applied",
        "Nothing is ever changed or left out in silence.",
        &[
            ("park-table", "Park its table, the others go on"),
            ("stop-task", "Stop the task before the transaction"),
            ("log-error", "Leave the row out, write it to wavemark.exceptions"),
        ],
    ),
    choice(
        "unfit_values",
        "When a value does not fit its column",
        "A date or a number that the target's type does not have. What is altered is counted by column. Never keys, unique columns or \
         foreign keys. A mapping rule may say otherwise of a column.",
        &[
            ("as-data-error", "As a row that can't be applied"),
            ("null", "Write NULL and count it"),
            ("clamp", "Write the nearest value that fits and count it"),
        ],
    ),
    number("load_parallelism", "Chunks copied at once", "More loads faster and weighs more on the source.", 1, 32),
];

/// The others, by what they are about.
const GROUPS: [(&str, &[Setting]); 5] = [
    (
        "When the source's tables change",
        &[
            choice(
                "added_columns",
                "When a column is added",
                "At the source. Rows that were there get what they have in it there.",
                &[("apply", "Add it in the target"), ("ignore", "It does not travel"), PARK],
            ),
            choice(
                "dropped_columns",
                "When a column is dropped",
                "At the source, with what is in it.",
                &[
                    ("apply", "Drop it in the target"),
                    ("ignore", "The target keeps it, new rows have NULL in it"),
                    PARK,
                ],
            ),
            choice(
                "renamed_columns",
                "When a column is renamed",
                "At the source.",
                &[("apply", "Rename it in the target"), PARK],
            ),
            choice(
                "retyped_columns",
                "When a column's type changes",
                "At the source, where the rows stay as they are.",
                &[("apply", "Change it in the target"), PARK],
            ),
            choice(
                "new_tables",
                "When a table comes",
                "One that the mapping chooses, after the load.",
                &[("load", "Load it, the others go on"), ("ignore", "Leave it out"), PARK],
            ),
            choice(
                "dropped_tables",
                "When a table is dropped",
                "At the source. The target's is dropped only if the task made it and nothing depends on it.",
                &[
                    PARK,
                    ("ignore", "The target keeps it, the task is done with it"),
                    ("apply", "Drop it in the target"),
                ],
            ),
            choice(
                "renamed_tables",
                "When a table is renamed",
                "At the source, or moved to another schema.",
                &[PARK, ("apply", "Rename it in the target, by the mapping of its new name")],
            ),
            choice(
                "partition_removals",
                "When a partition goes",
                "Detached, dropped or truncated: its rows leave the table, and the source's log says nothing of it.",
                &[PARK, ("keep-rows", "The target keeps the rows")],
            ),
            choice(
                "changed_tables",
                "When a table changes otherwise",
                "In a way of which the source's log does not say what became of the rows.",
                &[PARK, ("reload-table", "Load it again at once, the others go on")],
            ),
            choice(
                "event_triggers",
                "Event triggers at the source",
                "They tell of alterations at their place in its log. They run with every ALTER TABLE there; few roles may make them.",
                &[("false", "None"), ("true", "Make them")],
            ),
        ],
    ),
    (
        "Where it starts and ends",
        &[
            text("start_slot", "Follow this slot", "One that you made at the source, for a task that only follows."),
            text(
                "start_publication",
                "With this publication",
                "Made before that slot, with every table of the mapping.",
            ),
            text("start_position", "From this position", "As the source writes it. Empty: where the slot stands."),
            choice(
                "drop_start_slot",
                "That slot goes with the task",
                "When the task is deleted. A slot that nobody reads keeps the source's log.",
                &[("false", "no, it stays"), ("true", "yes, drop it")],
            ),
            text(
                "stop_at",
                "End by itself",
                "never, loaded, commit-time:2026-03-08T12:00:00Z, or position:… as the source writes it.",
            ),
        ],
    ),
    (
        "The source and its log",
        &[
            choice(
                "published_columns",
                "The source sends",
                "Of tables whose columns are not all mapped. Where it sends those alone it refuses to drop or retype them.",
                &[("all", "All columns"), ("mapped", "The mapped columns alone")],
            ),
            choice(
                "confirm_after",
                "The source may forget once",
                "When the target counts as durable.",
                &[("local-flush", "the target's own disk has it")],
            ),
            number(
                "log_budget_mib",
                "Source log that may be kept, MiB",
                "From 70 % of it on you are told. 0: any.",
                0,
                4_294_967_295,
            ),
            choice(
                "log_over_budget",
                "When more is kept",
                "Parked tables let the log go if the target is there; a dropped slot always does, and costs a whole load.",
                &[
                    ("warn", "Tell, and go on keeping"),
                    ("park-tables", "Park what holds the task up, or all tables"),
                    ("drop-slot", "Drop the slot; the next start reloads"),
                ],
            ),
            number(
                "log_warning_minutes",
                "Warn so long before budget or source's limit, minutes",
                "0: never.",
                0,
                4_294_967_295,
            ),
            number("idle_seconds", "Heartbeat, seconds", "While nothing happens.", 1, 3_600),
        ],
    ),
    (
        "The target",
        &[
            choice(
                "conflicts",
                "When somebody else changed a row in the target",
                "A key that is taken, or a row that is not there. Values that are refused are not meant.",
                &[
                    ("as-data-error", "As a row that can't be applied"),
                    ("overwrite", "Make the row what it is at the source"),
                    ("skip", "Leave the change out, write it to wavemark.exceptions"),
                ],
            ),
            choice(
                "force_shared_target",
                "Another task may write to the same tables",
                "Even where the preparation drops or truncates them.",
                &[("false", "no, refuse"), ("true", "yes, go on")],
            ),
            choice(
                "statistics",
                "Statistics of the target's tables",
                "By them its server plans queries.",
                &[
                    ("after-load", "Made once a table is loaded"),
                    ("also-at-hand-over", "Also at a drain, and where the task ends by itself"),
                    ("never", "Not made"),
                ],
            ),
            choice(
                "materialized_views",
                "Materialized views in the target",
                "Those that read the task's tables, at a drain and where the task ends by itself.",
                &[("leave", "Left as they are"), ("refresh", "Refreshed")],
            ),
        ],
    ),
    (
        "Sizes and times",
        &[
            number(
                "chunk_mib",
                "Size of a chunk, MiB",
                "On the source's disk. A table of less than two is read in one piece.",
                1,
                4_096,
            ),
            number("memory_mib", "Memory for rows, MiB", "What is larger goes to disk.", 8, 4_096),
            number(
                "spill_mib",
                "Disk for large transactions, MiB",
                "0: a transaction larger than the memory stops the task.",
                0,
                16_777_216,
            ),
            number("row_mib", "Largest row, MiB", "A larger one parks its table. Memory for two is needed.", 1, 1_024),
            number(
                "wave_changes",
                "Changes in one wave",
                "At most; a larger transaction is a wave of its own.",
                1,
                1_000_000,
            ),
            number("lock_timeout_seconds", "Wait for a lock, seconds", "On a source or target table.", 1, 600),
        ],
    ),
];

/// Fields that belong together.
#[derive(Clone, Debug)]
pub struct FieldGroup {
    /// What they are about.
    pub title: &'static str,
    /// The fields.
    pub fields: Vec<Field>,
}

/// The fields of the settings: those that matter most, and the others.
#[must_use]
pub fn settings(typed: &Typed, error: Option<(&str, &str)>) -> (Vec<Field>, Vec<FieldGroup>) {
    let fields = |settings: &[Setting]| settings.iter().map(|setting| setting.field(typed).wrong(error)).collect();
    let groups = GROUPS.iter().map(|(title, settings)| FieldGroup { title, fields: fields(settings) });
    (fields(&FIRST), groups.collect())
}

fn all() -> impl Iterator<Item = &'static Setting> {
    FIRST.iter().chain(GROUPS.iter().flat_map(|(_, settings)| *settings))
}

impl Setting {
    fn field(&self, typed: &Typed) -> Field {
        let value = typed.get(self.name).map_or("", String::as_str);
        let field = match self.range {
            Some((min, max)) => Field::number(self.name, self.label, value, min, max),
            None if self.words.is_empty() => Field::text(self.name, self.label, value),
            None => Field::choice(self.name, self.label, choices(self.words.iter().copied(), value)),
        };
        field.hint(self.hint)
    }
}

/// Settings as a form holds them.
#[must_use]
pub fn typed_settings(settings: &TaskSettings) -> Typed {
    let all = serde_json::to_value(settings).unwrap_or_default();
    all.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), shown(value))).collect()
}

/// The settings that a form holds, as the API takes them.
///
/// # Errors
/// The field that does not hold a whole number.
pub fn read_settings(typed: &Typed) -> Result<Value, (String, String)> {
    let mut settings = Map::new();
    for setting in all() {
        let Some(text) = typed.get(setting.name).map(|text| text.trim()).filter(|text| !text.is_empty()) else {
            continue;
        };
        let value = match (setting.range, text) {
            (Some((min, max)), text) => {
                let number = text.parse::<i64>().ok().filter(|number| (min..=max).contains(number));
                let number = number
                    .ok_or_else(|| (setting.name.to_owned(), format!("Must be a whole number from {min} to {max}.")))?;
                Value::from(number)
            }
            (None, text) if setting.words.is_empty() => Value::from(text),
            (None, "true") => Value::Bool(true),
            (None, "false") => Value::Bool(false),
            (None, word) => Value::from(word),
        };
        settings.insert(setting.name.to_owned(), value);
    }
    Ok(Value::Object(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_field_and_reads_back() {
        let settings = TaskSettings { load_parallelism: 7, force_shared_target: true, ..TaskSettings::default() };
        let typed = typed_settings(&settings);
        let read: TaskSettings = serde_json::from_value(read_settings(&typed).unwrap()).unwrap();
        assert_eq!(read, settings);
        assert_eq!(typed.len(), all().count());
    }

    #[test]
    fn a_setting_of_text_is_read_as_it_was_typed_and_left_out_when_it_is_empty() {
        let typed = |text: &str| Typed::from([("stop_at".to_owned(), text.to_owned())]);
        assert_eq!(read_settings(&typed("true")).unwrap(), serde_json::json!({"stop_at": "true"}));
        assert_eq!(read_settings(&typed(" ")).unwrap(), serde_json::json!({}));
    }

    #[test]
    fn what_is_not_a_number_is_named() {
        let typed = Typed::from([("chunk_mib".to_owned(), "many".to_owned())]);
        let (field, text) = read_settings(&typed).unwrap_err();
        assert_eq!((field.as_str(), text.as_str()), ("chunk_mib", "Must be a whole number from 1 to 4096."));
    }
}
