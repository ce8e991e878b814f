//! What a task is asked to do: its kind and its settings, parsed once into types; unknown fields are refused.

use serde::{Deserialize, Serialize};

use crate::kept_log::OverBudget;
use crate::layout::{
    AlterPolicy, ChangedTablePolicy, ColumnPolicy, DroppedTablePolicy, NewTablePolicy, RenamedTablePolicy,
};
use crate::stop::StopAt;
use crate::unfit::UnfitPolicy;

/// What a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskKind {
    /// Copy what is there, then end.
    FullLoad,
    /// Follow the log from now on; the target's rows are there already.
    Cdc,
    /// Copy what is there, then follow.
    FullLoadAndCdc,
}

impl TaskKind {
    /// Whether rows that are already there are copied.
    #[must_use]
    pub fn loads(self) -> bool {
        matches!(self, Self::FullLoad | Self::FullLoadAndCdc)
    }

    /// Whether the log is followed.
    #[must_use]
    pub fn follows(self) -> bool {
        matches!(self, Self::Cdc | Self::FullLoadAndCdc)
    }

    /// The word used in the API, on pages and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::FullLoad => "full-load",
            Self::Cdc => "cdc",
            Self::FullLoadAndCdc => "full-load-and-cdc",
        }
    }

    /// Reads [`TaskKind::word`].
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
    }
}

/// What happens to a target table before its load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preparation {
    /// Make it if it is missing; an existing one must fit and be empty of our rows.
    #[default]
    Nothing,
    /// Drop it if it is there, then make it.
    DropAndCreate,
    /// Keep its shape, remove its rows.
    Truncate,
}

/// What happens when a row can't be represented or applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataErrorPolicy {
    /// The table is parked, the others go on.
    #[default]
    ParkTable,
    /// The task stops before the transaction.
    StopTask,
    /// The row is left out and written to `wavemark.exceptions` in the same commit.
    LogError,
}

/// What happens when a row of the target is not as the change expects it, because somebody else writes there: an insert
/// that finds its key taken, an update or a delete that finds no row. Values that are refused are no conflicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictPolicy {
    /// As any row that can't be applied.
    #[default]
    AsDataError,
    /// The row becomes what it is at the source: one that is there is overwritten, one that is missing is inserted, one
    /// that is to go and is not there is passed over. An update that does not have the whole row is left out.
    Overwrite,
    /// The change is left out and written to `wavemark.exceptions` in the same commit.
    Skip,
}

/// What happens when rows leave a partitioned table with one of its partitions, which is detached, dropped or truncated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionPolicy {
    /// The table is parked, the others go on.
    #[default]
    ParkTable,
    /// The target keeps the rows.
    KeepRows,
}

/// When the target's server is told to look at the tables anew, so that it plans queries well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Statistics {
    /// Once a table is loaded.
    #[default]
    AfterLoad,
    /// Then, and when the target is handed over: at a drain, and where the task ends by itself.
    AlsoAtHandOver,
    /// Never: the server does it by itself, or its people do.
    Never,
}

/// What happens to the target's materialized views that read the task's tables, when the target is handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaterializedViews {
    /// Nothing.
    #[default]
    Leave,
    /// They are refreshed, each after those that it reads.
    Refresh,
}

/// Which columns of a table the source sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishedColumns {
    /// All that it has; those that the mapping leaves out are dropped on arrival.
    #[default]
    All,
    /// Those that travel, where the source can be told so. It may refuse to drop or retype them then.
    Mapped,
}

/// When the target counts as durable, so that the source may forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConfirmAfter {
    /// The target's own disk has it.
    #[default]
    LocalFlush,
}

/// A task's settings. Sizes in MiB, times in seconds unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct TaskSettings {
    /// What happens to target tables before the load.
    pub preparation: Preparation,
    /// Goes on although another task writes to the same target table.
    pub force_shared_target: bool,
    /// How many chunks are copied at once (1 to 32).
    pub load_parallelism: u16,
    /// About how large a chunk is on the source's disk (1 to 4096 MiB). A table of less than two is read in one piece.
    pub chunk_mib: u32,
    /// What happens when a row can't be applied.
    pub data_errors: DataErrorPolicy,
    /// What happens to a value that its column at the target can't hold; a mapping rule may say otherwise of a column.
    pub unfit_values: UnfitPolicy,
    /// What happens when a row of the target is not as the change expects it.
    pub conflicts: ConflictPolicy,
    /// What happens when rows leave a partitioned table with a partition, of which the log says nothing.
    pub partition_removals: PartitionPolicy,
    /// What happens when a column is added at the source.
    pub added_columns: ColumnPolicy,
    /// What happens when a column is dropped at the source.
    pub dropped_columns: ColumnPolicy,
    /// What happens when a column is renamed at the source.
    pub renamed_columns: AlterPolicy,
    /// What happens when a column's type changes at the source.
    pub retyped_columns: AlterPolicy,
    /// Which columns of a table the source sends.
    pub published_columns: PublishedColumns,
    /// Whether the source is given event triggers that tell of alterations at their place in its log.
    pub event_triggers: bool,
    /// What happens to a table that was changed at the source in a way that can't be applied exactly.
    pub changed_tables: ChangedTablePolicy,
    /// What happens when a table that the mapping chooses comes after the load.
    pub new_tables: NewTablePolicy,
    /// What happens when a table is dropped at the source.
    pub dropped_tables: DroppedTablePolicy,
    /// What happens when a table is renamed at the source, or moved to another schema.
    pub renamed_tables: RenamedTablePolicy,
    /// When statistics of the target's tables are made.
    pub statistics: Statistics,
    /// What happens to materialized views when the target is handed over.
    pub materialized_views: MaterializedViews,
    /// The slot that people made at the source for a task that only follows; empty: the task makes its own.
    pub start_slot: String,
    /// The publication that was made before that slot.
    pub start_publication: String,
    /// Where in the source's log such a task begins; empty: where the slot stands.
    pub start_position: String,
    /// Whether that slot goes when the task is deleted.
    pub drop_start_slot: bool,
    /// Where the task ends by itself.
    pub stop_at: StopAt,
    /// When the source is told that it may forget.
    pub confirm_after: ConfirmAfter,
    /// Memory for rows on their way (8 to 4096 MiB).
    pub memory_mib: u32,
    /// Disk for transactions larger than the memory (0: none; then such a transaction stops the task).
    pub spill_mib: u32,
    /// The largest row (1 to 1024 MiB); a larger one parks its table, or stops the task, before it is held.
    pub row_mib: u32,
    /// The most changes in one wave; a larger transaction is one wave of its own.
    pub wave_changes: u32,
    /// Seconds between empty waves and heartbeats while nothing happens (1 to 3600).
    pub idle_seconds: u32,
    /// How long a lock on a source or target table is waited for (1 to 600 seconds).
    pub lock_timeout_seconds: u32,
    /// Source log that may be kept for the task (MiB; 0: any). From 70 % of it on people are told.
    #[serde(alias = "log_kept_warning_mib")]
    pub log_budget_mib: u32,
    /// What happens when more is kept.
    pub log_over_budget: OverBudget,
    /// People are told when the budget or the source's own limit is nearer than that (minutes at the rate of late; 0: never).
    pub log_warning_minutes: u32,
}

impl Default for TaskSettings {
    fn default() -> Self {
        Self {
            preparation: Preparation::default(),
            force_shared_target: false,
            load_parallelism: 4,
            chunk_mib: 512,
            data_errors: DataErrorPolicy::default(),
            unfit_values: UnfitPolicy::default(),
            conflicts: ConflictPolicy::default(),
            partition_removals: PartitionPolicy::default(),
            added_columns: ColumnPolicy::default(),
            dropped_columns: ColumnPolicy::default(),
            renamed_columns: AlterPolicy::default(),
            retyped_columns: AlterPolicy::default(),
            published_columns: PublishedColumns::default(),
            event_triggers: false,
            changed_tables: ChangedTablePolicy::default(),
            new_tables: NewTablePolicy::default(),
            dropped_tables: DroppedTablePolicy::default(),
            renamed_tables: RenamedTablePolicy::default(),
            statistics: Statistics::default(),
            materialized_views: MaterializedViews::default(),
            start_slot: String::new(),
            start_publication: String::new(),
            start_position: String::new(),
            drop_start_slot: false,
            stop_at: StopAt::default(),
            confirm_after: ConfirmAfter::default(),
            memory_mib: 64,
            spill_mib: 10_240,
            row_mib: 64,
            wave_changes: 50_000,
            idle_seconds: 10,
            lock_timeout_seconds: 10,
            log_budget_mib: 4_096,
            log_over_budget: OverBudget::default(),
            log_warning_minutes: 60,
        }
    }
}

/// Writes what differs from the defaults: whoever doesn't know a newer setting reads the others, as long as nobody uses it.
///
/// # Errors
/// Those of the serializer.
pub fn sparse<S: serde::Serializer>(settings: &TaskSettings, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::Error as _;
    let fields = |settings: &TaskSettings| match serde_json::to_value(settings) {
        Ok(serde_json::Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(S::Error::custom("settings are an object")),
        Err(error) => Err(S::Error::custom(error)),
    };
    let defaults = fields(&TaskSettings::default())?;
    let mut differing = fields(settings)?;
    differing.retain(|name, value| defaults.get(name) != Some(value));
    differing.serialize(serializer)
}

impl TaskSettings {
    /// The first field outside its range, with the range in words.
    #[must_use]
    pub fn out_of_range(&self) -> Option<(&'static str, &'static str)> {
        let ranges: [(&'static str, u32, u32, u32, &'static str); 8] = [
            ("load_parallelism", self.load_parallelism.into(), 1, 32, "1 to 32"),
            ("chunk_mib", self.chunk_mib, 1, 4_096, "1 to 4096 MiB"),
            ("memory_mib", self.memory_mib, 8, 4_096, "8 to 4096 MiB"),
            ("spill_mib", self.spill_mib, 0, 16_777_216, "0 to 16777216 MiB"),
            ("row_mib", self.row_mib, 1, 1_024, "1 to 1024 MiB"),
            ("wave_changes", self.wave_changes, 1, 1_000_000, "1 to 1000000"),
            ("idle_seconds", self.idle_seconds, 1, 3_600, "1 to 3600 seconds"),
            ("lock_timeout_seconds", self.lock_timeout_seconds, 1, 600, "1 to 600 seconds"),
        ];
        ranges
            .into_iter()
            .find(|(_, value, low, high, _)| value < low || value > high)
            .map(|(field, _, _, _, range)| (field, range))
    }

    /// Whether the task is to begin somewhere else than where it would by itself.
    #[must_use]
    pub fn names_start(&self) -> bool {
        !(self.start_slot.is_empty() && self.start_publication.is_empty() && self.start_position.is_empty())
    }

    /// The first field that a task of this kind can't have, with the reason in a sentence.
    #[must_use]
    pub fn misfit(&self, kind: TaskKind) -> Option<(&'static str, &'static str)> {
        let misfits = [
            (
                "log_over_budget",
                self.log_over_budget != OverBudget::Warn && kind == TaskKind::Cdc,
                "A task that only follows can't load again what it loses: its slot is not to be dropped, nor its tables to be \
                 parked.",
            ),
            (
                "start_slot",
                self.names_start() && kind != TaskKind::Cdc,
                "A task that loads begins its log with its load: only one that only follows begins elsewhere.",
            ),
            (
                "drop_start_slot",
                self.drop_start_slot && self.start_slot.is_empty(),
                "There is no start_slot that could be dropped.",
            ),
            (
                "published_columns",
                self.published_columns == PublishedColumns::Mapped && self.added_columns != ColumnPolicy::Ignore,
                "A column that is added does not come where the source sends listed columns alone: added_columns must be \
                 ignore.",
            ),
            (
                "stop_at",
                self.stop_at != StopAt::Never && !kind.follows(),
                "A task that only loads ends when it has loaded: it has nowhere else to stop.",
            ),
            (
                "stop_at",
                self.stop_at == StopAt::Loaded && !kind.loads(),
                "A task that only follows loads nothing: it can't stop once it is loaded.",
            ),
        ];
        misfits.into_iter().find(|(_, is, _)| *is).map(|(field, _, why)| (field, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        let error = serde_json::from_str::<TaskSettings>(r#"{"wave_chnages": 5}"#).unwrap_err();
        assert!(error.to_string().contains("wave_chnages"), "{error}");
    }

    #[test]
    fn settings_that_are_left_out_take_their_defaults() {
        let settings: TaskSettings = serde_json::from_str(r#"{"preparation": "truncate"}"#).unwrap();
        assert_eq!(settings.preparation, Preparation::Truncate);
        assert_eq!(settings.wave_changes, 50_000);
        assert_eq!(settings.out_of_range(), None);
    }

    #[test]
    fn the_budget_is_read_under_the_name_that_it_had() {
        let settings: TaskSettings = serde_json::from_str(r#"{"log_kept_warning_mib": 7}"#).unwrap();
        assert_eq!(settings.log_budget_mib, 7);
    }

    #[test]
    fn settings_on_their_way_are_those_that_differ() {
        #[derive(Serialize)]
        struct Sent(#[serde(serialize_with = "sparse")] TaskSettings);
        let settings =
            TaskSettings { chunk_mib: 7, partition_removals: PartitionPolicy::KeepRows, ..Default::default() };
        let sent = serde_json::to_value(Sent(settings.clone())).unwrap();
        assert_eq!(sent, serde_json::json!({"chunk_mib": 7, "partition_removals": "keep-rows"}));
        assert_eq!(serde_json::from_value::<TaskSettings>(sent).unwrap(), settings);
        assert_eq!(serde_json::to_value(Sent(TaskSettings::default())).unwrap(), serde_json::json!({}));
    }

    #[test]
    fn a_value_out_of_range_is_named() {
        let settings = TaskSettings { load_parallelism: 0, ..TaskSettings::default() };
        assert_eq!(settings.out_of_range(), Some(("load_parallelism", "1 to 32")));
    }

    #[test]
    fn a_start_of_ones_own_is_for_tasks_that_only_follow() {
        let named = TaskSettings { start_slot: "mine".to_owned(), ..TaskSettings::default() };
        assert_eq!(named.misfit(TaskKind::Cdc), None);
        assert_eq!(named.misfit(TaskKind::FullLoadAndCdc).map(|(field, _)| field), Some("start_slot"));
        let dropping = TaskSettings { drop_start_slot: true, ..TaskSettings::default() };
        assert_eq!(dropping.misfit(TaskKind::Cdc).map(|(field, _)| field), Some("drop_start_slot"));
    }

    #[test]
    fn listed_columns_and_columns_that_are_taken_up_are_a_misfit() {
        let listed = TaskSettings { published_columns: PublishedColumns::Mapped, ..Default::default() };
        let field = |settings: &TaskSettings| settings.misfit(TaskKind::FullLoadAndCdc).map(|(field, _)| field);
        assert_eq!(field(&listed), Some("published_columns"));
        assert_eq!(
            field(&TaskSettings { added_columns: ColumnPolicy::ParkTable, ..listed.clone() }),
            Some("published_columns")
        );
        assert_eq!(field(&TaskSettings { added_columns: ColumnPolicy::Ignore, ..listed }), None);
    }

    #[test]
    fn a_place_to_stop_that_the_kind_never_reaches_is_a_misfit() {
        let stopping = |stop_at| TaskSettings { stop_at, ..TaskSettings::default() };
        let field = |stop_at, kind| stopping(stop_at).misfit(kind).map(|(field, _)| field);
        assert_eq!(field(StopAt::Loaded, TaskKind::FullLoadAndCdc), None);
        assert_eq!(field(StopAt::CommitTime(1), TaskKind::Cdc), None);
        assert_eq!(field(StopAt::Loaded, TaskKind::Cdc), Some("stop_at"));
        assert_eq!(field(StopAt::Position("1/1".to_owned()), TaskKind::FullLoad), Some("stop_at"));
    }
}
