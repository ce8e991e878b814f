//! From a Relation message that is not the plan's to the table's next layout, where that can be proved.
//!
//! A column has a number for life, and the message does not say it: a column under another name may be the same one or
//! another. So the message is read together with the catalog as it is now ([`super::described`]), which may have gone on
//! since. Numbers come in the message's order, none of them comes twice, and the catalog still knows which were dropped.
//!
//! The log says nothing of what an alteration did to the rows that were there. A new column has in them what the catalog
//! keeps for that, or NULL if the rows were not rewritten; a column with another type has what it had if the rows were not
//! rewritten. Anything else is a change that can't be applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use wavemark_connector::source::Replan;
use wavemark_domain::catalog::{Column, Table};
use wavemark_domain::layout::{AlterPolicy, ColumnPolicy};
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{Fault, LayoutStep, Problem, Relayout, TablePlan};

use super::layout::Expected;
use crate::native::ColumnNative;
use crate::pgoutput::{self, RelationBody};

/// File nodes of what a table's rows are stored in, by OID.
pub(super) type Storage = BTreeMap<u32, u32>;

/// A table as the catalog has it now.
pub(super) struct Present {
    pub(super) table: Table,
    /// Every column that it ever had, in order of their numbers.
    pub(super) attributes: Vec<Attribute>,
    /// What rows have in a column that was added after them, by its number; `None` if they don't agree.
    pub(super) missing: BTreeMap<i16, Option<String>>,
    pub(super) storage: Storage,
}

/// A column in the catalog.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub(super) number: i16,
    pub(super) name: String,
    pub(super) is_dropped: bool,
    pub(super) is_generated: bool,
    pub(super) type_id: u32,
    pub(super) modifier: i32,
}

/// What becomes of a table at a Relation message.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) expected: Expected,
    /// None if its rows travel as before.
    pub(super) relayout: Option<Relayout>,
    /// Whether the message describes the table as the catalog does now.
    pub(super) is_newest: bool,
}

/// What is known where a table's layout changes.
pub(super) struct Context<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) relation: &'a RelationBody<'a>,
    pub(super) present: &'a Present,
    /// Whether its rows may have been rewritten since they were as planned.
    pub(super) is_rewritten: bool,
    pub(super) settings: &'a TaskSettings,
    pub(super) replan: &'a dyn Replan,
}

/// A column of the plan's table.
struct Planned<'a> {
    column: &'a Column,
    native: ColumnNative,
    travels: bool,
    is_key: bool,
}

impl Context<'_> {
    /// The table's next layout; why there is none, if there isn't.
    pub(super) fn next(&self) -> Result<Next, Problem> {
        let planned = self.planned()?;
        let message: Vec<pgoutput::Column<'_>> = self.relation.columns.iter().collect();
        let numbers = numbers(&planned, &message, &self.present.attributes).map_err(|why| self.changed(why))?;
        let mut steps = self.drops(&planned, &numbers)?;
        steps.extend(self.alterations(&planned, &message, &numbers)?);
        let table = self.table(&planned, &message, &numbers)?;
        let added: Vec<(&str, i16)> = message
            .iter()
            .zip(&numbers)
            .filter(|(_, number)| !planned.iter().any(|planned| planned.native.attnum == **number))
            .map(|(column, number)| (column.name, *number))
            .collect();
        let (plan, adds, ignored) = self.with_added(table, &added)?;
        let still =
            planned.iter().filter(|planned| planned.travels && numbers.contains(&planned.native.attnum)).count();
        if plan.columns.len() != still + adds.len() {
            return Err(
                self.changed("other columns of it travel by the mapping, or one is not generated any more".into())
            );
        }
        steps.extend(adds);
        let expected = Expected::of(&plan)?.ignoring(ignored);
        let relayout = (!steps.is_empty()).then_some(Relayout { plan, steps });
        Ok(Next { expected, relayout, is_newest: self.is_newest(&message) })
    }

    fn planned(&self) -> Result<Vec<Planned<'_>>, Problem> {
        let planned = self.plan.source.columns.iter().enumerate().map(|(at, column)| {
            let cell = self.plan.columns.iter().position(|planned| planned.source == at);
            Ok(Planned {
                column,
                native: ColumnNative::of(column)?,
                travels: cell.is_some(),
                is_key: cell.is_some_and(|cell| self.plan.key.contains(&cell)),
            })
        });
        planned.collect::<Result<_, serde_json::Error>>().map_err(|error| {
            Problem::internal(format!("The plan of table {} can't be read: {error}.", self.plan.name()))
        })
    }

    fn drops(&self, planned: &[Planned<'_>], numbers: &[i16]) -> Result<Vec<LayoutStep>, Problem> {
        let gone: Vec<&Planned<'_>> =
            planned.iter().filter(|planned| planned.travels && !numbers.contains(&planned.native.attnum)).collect();
        if let Some(key) = gone.iter().find(|planned| planned.is_key) {
            return Err(self.changed(format!("column {} of its key was dropped", key.column.name)));
        }
        let step = |planned: &&Planned<'_>| {
            let column = planned.column.name.clone();
            match self.settings.dropped_columns {
                ColumnPolicy::Apply => Ok(LayoutStep::Drop { column }),
                ColumnPolicy::Ignore => Ok(LayoutStep::Leave { column }),
                ColumnPolicy::ParkTable => Err(self.parked(&format!("column {column} was dropped"))),
            }
        };
        gone.iter().map(step).collect()
    }

    fn alterations(
        &self,
        planned: &[Planned<'_>],
        message: &[pgoutput::Column<'_>],
        numbers: &[i16],
    ) -> Result<Vec<LayoutStep>, Problem> {
        let mut steps = Vec::new();
        let mut retyped = Vec::new();
        for (column, number) in message.iter().zip(numbers) {
            let same = |planned: &&Planned<'_>| planned.native.attnum == *number && planned.travels;
            let Some(before) = planned.iter().find(same) else { continue };
            let name = &before.column.name;
            if name != column.name {
                if self.settings.renamed_columns == AlterPolicy::ParkTable {
                    return Err(self.parked(&format!("column {name} was renamed to {}", column.name)));
                }
                steps.push(LayoutStep::Rename { from: name.clone(), to: column.name.to_owned() });
            }
            if (before.native.r#type.oid, before.native.type_modifier) != (column.type_id, column.modifier) {
                let how = format!("column {} has another type", column.name);
                if self.settings.retyped_columns == AlterPolicy::ParkTable {
                    return Err(self.parked(&how));
                }
                if self.is_rewritten {
                    return Err(self.changed(format!(
                        "{how} and its rows were rewritten, of which the log does not say what became of them"
                    )));
                }
                retyped.push(LayoutStep::Retype { column: column.name.to_owned() });
            }
        }
        steps.extend(retyped);
        Ok(steps)
    }

    /// The table as it is from here on.
    fn table(
        &self,
        planned: &[Planned<'_>],
        message: &[pgoutput::Column<'_>],
        numbers: &[i16],
    ) -> Result<Table, Problem> {
        let now = &self.present.table;
        let number_of = |column: &Column| ColumnNative::of(column).map(|native| native.attnum).unwrap_or_default();
        let mut columns: Vec<(i16, Column)> = now
            .columns
            .iter()
            .filter(|column| column.generated)
            .map(|column| (number_of(column), column.clone()))
            .collect();
        for (column, number) in message.iter().zip(numbers) {
            let of_now = now.columns.iter().filter(|column| number_of(column) == *number);
            let before =
                planned.iter().filter(|planned| planned.native.attnum == *number).map(|planned| planned.column);
            let known = of_now.chain(before).find(|known| {
                ColumnNative::of(known)
                    .is_ok_and(|native| (native.r#type.oid, native.type_modifier) == (column.type_id, column.modifier))
            });
            let known = known.ok_or_else(|| self.changed(format!("the type of column {} has gone on", column.name)))?;
            columns.push((*number, Column { name: column.name.to_owned(), ..known.clone() }));
        }
        columns.sort_by_key(|(number, _)| *number);
        let key = self.plan.source.key.iter().map(|name| {
            let planned = planned.iter().find(|planned| planned.column.name == *name)?;
            let at = numbers.iter().position(|number| *number == planned.native.attnum)?;
            Some(message[at].name.to_owned())
        });
        let key: Option<Vec<String>> = key.collect();
        let key = key.ok_or_else(|| self.changed("a column of its key was dropped".to_owned()))?;
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        Ok(Table { columns, key, ..now.clone() })
    }

    /// The plan with the new columns or without them, the steps that add them, and those that are ignored.
    fn with_added(
        &self,
        table: Table,
        added: &[(&str, i16)],
    ) -> Result<(TablePlan, Vec<LayoutStep>, Vec<String>), Problem> {
        let plan = self.replanned(table.clone())?;
        let travels = |name: &str| plan.columns.iter().any(|column| plan.source.columns[column.source].name == name);
        let added: Vec<(&str, i16)> = added.iter().copied().filter(|(name, _)| travels(name)).collect();
        let Some((first, _)) = added.first() else { return Ok((plan, Vec::new(), Vec::new())) };
        match self.settings.added_columns {
            ColumnPolicy::ParkTable => Err(self.parked(&format!("column {first} was added"))),
            ColumnPolicy::Ignore => {
                let ignored: Vec<String> = added.iter().map(|(name, _)| (*name).to_owned()).collect();
                let mut table = table;
                table.columns.retain(|column| !ignored.contains(&column.name));
                Ok((self.replanned(table)?, Vec::new(), ignored))
            }
            ColumnPolicy::Apply => {
                let steps = added.iter().map(|(name, number)| self.add(name, *number)).collect::<Result<_, _>>()?;
                Ok((plan, steps, Vec::new()))
            }
        }
    }

    fn add(&self, name: &str, number: i16) -> Result<LayoutStep, Problem> {
        let unknown = |why: &str| self.changed(format!("column {name} was added, and {why}"));
        let existing = match self.present.missing.get(&number) {
            Some(Some(value)) => Some(value.clone()),
            Some(None) => return Err(unknown("its partitions have different values in the rows that were there")),
            None if self.is_rewritten => {
                return Err(unknown("the rows were rewritten, of which the log does not say what they have in it"));
            }
            None => None,
        };
        Ok(LayoutStep::Add { column: name.to_owned(), existing })
    }

    fn replanned(&self, table: Table) -> Result<TablePlan, Problem> {
        let plan = self.replan.plan(self.plan.id, &Arc::new(table))?;
        if plan.target != self.plan.target || plan.is_keyless() != self.plan.is_keyless() {
            return Err(self.changed("it goes elsewhere, or its key is another".to_owned()));
        }
        Ok(TablePlan { schema_version: self.plan.schema_version + 1, ..plan })
    }

    fn is_newest(&self, message: &[pgoutput::Column<'_>]) -> bool {
        let present = self.present.attributes.iter().filter(|column| !column.is_dropped && !column.is_generated);
        present.map(Attribute::shape).eq(message.iter().map(|column| shape(column)))
    }

    fn changed(&self, how: String) -> Problem {
        super::layout::changed(self.plan.name(), &how)
    }

    /// What the settings don't let through, whatever is done about changes that can't be applied.
    fn parked(&self, how: &str) -> Problem {
        let text = format!("Table {} was changed at the source: {how}.", self.plan.name());
        Problem::new(Fault::Data, "layout-changed", text)
            .table(self.plan.name())
            .advice("Reload the table, or let the task's settings apply such changes.")
    }
}

impl Attribute {
    fn shape(&self) -> (&str, u32, i32) {
        (&self.name, self.type_id, self.modifier)
    }
}

fn shape<'a>(column: &pgoutput::Column<'a>) -> (&'a str, u32, i32) {
    (column.name, column.type_id, column.modifier)
}

/// The number of each column of the message; why it is not known, if it isn't.
fn numbers(
    planned: &[Planned<'_>],
    message: &[pgoutput::Column<'_>],
    attributes: &[Attribute],
) -> Result<Vec<i16>, String> {
    let highest = planned.iter().map(|planned| planned.native.attnum).max().unwrap_or_default();
    let is_planned = |number: i16| planned.iter().any(|one| one.native.attnum == number && !one.column.generated);
    let present: Vec<&Attribute> = attributes.iter().filter(|one| !one.is_dropped && !one.is_generated).collect();
    let is_gone = |one: &&Attribute| one.is_dropped && (is_planned(one.number) || one.number > highest);
    if !attributes.iter().any(|one| is_gone(&one)) {
        let least = planned.iter().filter(|planned| !planned.column.generated).count();
        if message.len() < least || message.len() > present.len() {
            return Err("it has other columns, and was changed again since".to_owned());
        }
        return Ok(present[..message.len()].iter().map(|one| one.number).collect());
    }
    // Those that were there before are among the message's: if none is new they are all that it can mean.
    let has_added = present.iter().any(|one| one.number > highest);
    let is_newest = present.iter().map(|one| one.shape()).eq(message.iter().map(shape));
    let numbers: Option<Vec<i16>> = if message.len() == present.len() && (is_newest || !has_added) {
        Some(present.iter().map(|one| one.number).collect())
    } else {
        message.iter().map(|column| number_by_name(column, planned, attributes, highest)).collect()
    };
    let numbers = numbers.ok_or("columns were dropped, and others renamed or changed since")?;
    let last = numbers.last().copied().unwrap_or_default().max(highest);
    let is_left = |one: &&Attribute| one.number <= last && !numbers.contains(&one.number);
    if !numbers.is_sorted_by(|a, b| a < b)
        || present.iter().any(|one| is_left(&one))
        || is_doubtful(planned, attributes, &numbers, highest)
    {
        return Err("columns were dropped, and others added that may be the same under another name".to_owned());
    }
    Ok(numbers)
}

/// Whether a new column may stand in the place of one that was renamed and has been dropped since the message: their
/// names or types can be taken for each other.
fn is_doubtful(planned: &[Planned<'_>], attributes: &[Attribute], numbers: &[i16], highest: i16) -> bool {
    let added: Vec<&Attribute> =
        attributes.iter().filter(|one| one.number > highest && numbers.contains(&one.number)).collect();
    let is_gone = |number: i16| attributes.iter().any(|one| one.is_dropped && one.number == number);
    let mut gone = planned.iter().filter(|planned| is_gone(planned.native.attnum));
    let dropped_since = attributes.iter().any(|one| one.is_dropped && one.number > highest);
    let is_alike = |planned: &Planned<'_>, one: &Attribute| {
        let is_out = !numbers.contains(&planned.native.attnum);
        planned.column.name == one.name || (is_out && alike(planned.native.r#type.oid, one.type_id))
    };
    (dropped_since && !added.is_empty()) || gone.any(|planned| added.iter().any(|one| is_alike(planned, one)))
}

/// Whether a column can get from one type to the other without its rows being rewritten.
fn alike(a: u32, b: u32) -> bool {
    /// The first OID of a type that is not built in: a domain may be alike to any.
    const FIRST_OWN: u32 = 16_384;
    /// text, bpchar, varchar, name.
    const TEXTS: [u32; 4] = [25, 1_042, 1_043, 19];
    /// inet and cidr; bit and varbit; xml goes from text.
    const OTHERS: [[u32; 2]; 3] = [[869, 650], [1_560, 1_562], [142, 25]];
    let both = |types: &[u32]| types.contains(&a) && types.contains(&b);
    a == b || a >= FIRST_OWN || b >= FIRST_OWN || both(&TEXTS) || OTHERS.iter().any(|types| both(types))
}

/// Where columns were dropped only their names tell them apart, if those are theirs alone.
fn number_by_name(
    column: &pgoutput::Column<'_>,
    planned: &[Planned<'_>],
    attributes: &[Attribute],
    highest: i16,
) -> Option<i16> {
    let before = planned.iter().find(|planned| {
        let native = &planned.native;
        (planned.column.name.as_str(), native.r#type.oid, native.type_modifier) == shape(column)
    });
    let now = attributes.iter().find(|one| !one.is_dropped && !one.is_generated && one.shape() == shape(column));
    match (before.map(|planned| planned.native.attnum), now.map(|one| one.number)) {
        (Some(before), Some(now)) => (before == now).then_some(now),
        (None, Some(now)) => (now > highest).then_some(now),
        (before, None) => before,
    }
}
