//! From a Relation message that is not the plan's to the table's next layout, where that can be proved.
//!
//! The message is read together with the catalog as it is now ([`super::described`]), which may have gone on since: which
//! columns it means is found by their numbers ([`super::numbers`]).
//!
//! The log says nothing of what an alteration did to the rows that were there. A new column has in them what the catalog
//! keeps for that, or NULL if the rows were not rewritten; a column with another type has what it had if the rows were not
//! rewritten. Anything else is a change that can't be applied.

use std::sync::Arc;

use wavemark_connector::source::Replan;
use wavemark_domain::catalog::{Column, Table};
use wavemark_domain::layout::{AlterPolicy, ColumnPolicy};
use wavemark_domain::task::TaskSettings;
use wavemark_domain::{Encoding, Fault, LayoutStep, Problem, Relayout, TableName, TablePlan};

use super::described::{Attribute, Present};
use super::layout::Expected;
use super::numbers::{self, Numbered, Reading};
use super::told::Altered;
use crate::native::ColumnNative;
use crate::pgoutput::{self, RelationBody};

/// What becomes of a table at a Relation message.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) expected: Expected,
    /// None if its rows travel as before.
    pub(super) relayout: Option<Relayout>,
    /// The message's columns.
    pub(super) columns: Vec<Numbered>,
    /// Whether the message describes the table as the catalog does now.
    pub(super) is_newest: bool,
}

/// What is known where a table's layout changes.
pub(super) struct Context<'a> {
    pub(super) plan: &'a TablePlan,
    /// The columns of the message before; those of the plan if there was none.
    pub(super) before: Option<&'a [Numbered]>,
    pub(super) relation: &'a RelationBody<'a>,
    /// The same as the source itself told it.
    pub(super) told: Option<&'a Altered>,
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
        let numbers = self.numbers(&planned, &message)?;
        let mut steps = self.moves();
        steps.extend(self.drops(&planned, &numbers)?);
        steps.extend(self.alterations(&planned, &message, &numbers)?);
        let table = self.table(&planned, &message, &numbers)?;
        let added: Vec<(&str, i16)> = message
            .iter()
            .zip(&numbers)
            .filter(|(_, number)| !is_planned(&planned, **number) && !self.is_gone(**number))
            .map(|(column, number)| (column.name, *number))
            .collect();
        let (plan, adds, mut ignored) = self.with_added(table, &added)?;
        let still =
            planned.iter().filter(|planned| planned.travels && numbers.contains(&planned.native.attnum)).count();
        if plan.columns.len() != still + adds.len() {
            return Err(self.changed("other columns of it travel by the mapping, or one is not generated any more"));
        }
        self.check_forms(&plan)?;
        steps.extend(adds);
        let columns = numbered(&message, &numbers);
        let came_and_went = columns.iter().filter(|one| self.is_gone(one.number) && !is_planned(&planned, one.number));
        ignored.extend(came_and_went.map(|one| one.name.clone()));
        let expected = Expected::of(&plan)?.ignoring(ignored);
        let relayout = (!steps.is_empty()).then_some(Relayout { plan, steps });
        Ok(Next { expected, relayout, columns, is_newest: self.is_newest(&message) })
    }

    /// What the message calls the table.
    fn name(&self) -> TableName {
        TableName::new(self.relation.namespace, self.relation.name)
    }

    fn moves(&self) -> Vec<LayoutStep> {
        let (from, to) = (self.plan.name().clone(), self.name());
        if from == to { Vec::new() } else { vec![LayoutStep::Move { from, to }] }
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

    fn numbers(&self, planned: &[Planned<'_>], message: &[pgoutput::Column<'_>]) -> Result<Vec<i16>, Problem> {
        let plain = planned.iter().filter(|planned| !planned.column.generated);
        let of_plan: Vec<Numbered> = plain.map(Planned::numbered).collect();
        let before = self.before.unwrap_or(&of_plan);
        let ever = planned.iter().map(|planned| planned.native.attnum).chain(before.iter().map(|one| one.number));
        let highest = ever.max().unwrap_or_default();
        if let Some(told) = self.told {
            // What is from before the plan means nothing to it.
            let numbers = told.columns().iter().map(|one| one.number).collect();
            return if told.ever < highest { Err(self.changed(numbers::ANOTHER)) } else { Ok(numbers) };
        }
        let reading =
            Reading { before, highest, attributes: &self.present.attributes, is_rewritten: self.is_rewritten };
        reading.numbers(message).map_err(|why| self.changed(why))
    }

    /// Whether the column is dropped by now. One that came since the plan was made and has gone again does not travel:
    /// what rows that were there had in it is not known any more, and won't be missed.
    fn is_gone(&self, number: i16) -> bool {
        self.present.attributes.iter().any(|one| one.is_dropped && one.number == number)
    }

    fn drops(&self, planned: &[Planned<'_>], numbers: &[i16]) -> Result<Vec<LayoutStep>, Problem> {
        let gone: Vec<&Planned<'_>> =
            planned.iter().filter(|planned| planned.travels && !numbers.contains(&planned.native.attnum)).collect();
        if let Some(key) = gone.iter().find(|planned| planned.is_key) {
            return Err(self.changed(&format!("column {} of its key was dropped", key.column.name)));
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
                    return Err(self.changed(&format!(
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
            if self.is_gone(*number) && !is_planned(planned, *number) {
                continue;
            }
            let of_now = now.columns.iter().filter(|column| number_of(column) == *number);
            let before =
                planned.iter().filter(|planned| planned.native.attnum == *number).map(|planned| planned.column);
            let known = of_now.chain(before);
            let is_it = |known: &&Column| {
                ColumnNative::of(known)
                    .is_ok_and(|native| (native.r#type.oid, native.type_modifier) == (column.type_id, column.modifier))
            };
            let known = known.clone().find(is_it).cloned().or_else(|| self.retyped(known.clone().next()?, column));
            let mut known =
                known.ok_or_else(|| self.changed(&format!("the type of column {} is gone", column.name)))?;
            let same_type = |planned: &&Planned<'_>| {
                planned.native.attnum == *number && planned.native.r#type.oid == column.type_id
            };
            // As the rows have it: what became of its attributes since is another matter.
            if let Some(planned) = planned.iter().find(same_type) {
                known.native["type"] = planned.column.native["type"].clone();
            }
            columns.push((*number, Column { name: column.name.to_owned(), ..known }));
        }
        columns.sort_by_key(|(number, _)| *number);
        let key = self.plan.source.key.iter().map(|name| {
            let planned = planned.iter().find(|planned| planned.column.name == *name)?;
            let at = numbers.iter().position(|number| *number == planned.native.attnum)?;
            Some(message[at].name.to_owned())
        });
        let key: Option<Vec<String>> = key.collect();
        let key = key.ok_or_else(|| self.changed("a column of its key was dropped"))?;
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        Ok(Table { name: self.name(), columns, key, ..now.clone() })
    }

    /// The column with a type that it had and has no more.
    fn retyped(&self, known: &Column, column: &pgoutput::Column<'_>) -> Option<Column> {
        let form = self.present.forms.get(&(column.type_id, column.modifier))?;
        let mut native = known.native.clone();
        native["type"] = form.reference.clone();
        native["type_modifier"] = column.modifier.into();
        Some(Column { declared: form.declared.clone(), native, ..known.clone() })
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

    /// A column that travels in another form from here on is another for a target of another system: what it makes of the
    /// values that are there, such as the bits of a number as digits, is not what the source has.
    fn check_forms(&self, next: &TablePlan) -> Result<(), Problem> {
        let number = |column: &Column| ColumnNative::of(column).map(|native| native.attnum).ok();
        let own = |plan: &TablePlan| -> Vec<(Option<i16>, Encoding, String)> {
            let columns = plan.columns.iter().map(|one| (&plan.source.columns[one.source], one.encoding.clone()));
            columns.map(|(column, encoding)| (number(column), encoding, column.name.clone())).collect()
        };
        let next = own(next);
        for (number, before, _) in own(self.plan) {
            let differs = next.iter().find(|(other, encoding, _)| *other == number && *encoding != before);
            if let Some((_, encoding, name)) = differs {
                let how =
                    format!("column {name} has another type, by which it travels as {encoding} instead of {before}");
                return Err(self.changed(&how));
            }
        }
        Ok(())
    }

    fn add(&self, name: &str, number: i16) -> Result<LayoutStep, Problem> {
        let unknown = |why: &str| self.changed(&format!("column {name} was added, and {why}"));
        let missing = match self.told {
            Some(told) => told.missing.get(name),
            None => self.present.missing.get(&number),
        };
        let existing = match missing {
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
        let goes_elsewhere = plan.target != self.plan.target && plan.name() == self.plan.name();
        if goes_elsewhere || plan.is_keyless() != self.plan.is_keyless() {
            return Err(self.changed("it goes elsewhere, or its key is another"));
        }
        Ok(TablePlan { schema_version: self.plan.schema_version + 1, ..plan })
    }

    fn is_newest(&self, message: &[pgoutput::Column<'_>]) -> bool {
        let present = self.present.attributes.iter().filter(|column| !column.is_dropped && !column.is_generated);
        present.map(Attribute::shape).eq(message.iter().map(|column| shape(column)))
    }

    fn changed(&self, how: &str) -> Problem {
        super::layout::changed(self.plan.name(), how)
    }

    /// What the settings don't let through, whatever is done about changes that can't be applied.
    fn parked(&self, how: &str) -> Problem {
        let text = format!("Table {} was changed at the source: {how}.", self.plan.name());
        Problem::new(Fault::Data, "layout-changed", text)
            .table(self.plan.name())
            .advice("Reload the table, or let the task's settings apply such changes.")
    }
}

impl Planned<'_> {
    fn numbered(&self) -> Numbered {
        let ColumnNative { attnum, r#type, type_modifier, .. } = &self.native;
        Numbered { number: *attnum, name: self.column.name.clone(), type_id: r#type.oid, modifier: *type_modifier }
    }
}

fn is_planned(planned: &[Planned<'_>], number: i16) -> bool {
    planned.iter().any(|planned| planned.native.attnum == number)
}

fn numbered(message: &[pgoutput::Column<'_>], numbers: &[i16]) -> Vec<Numbered> {
    let numbered = |(column, number): (&pgoutput::Column<'_>, &i16)| Numbered {
        number: *number,
        name: column.name.to_owned(),
        type_id: column.type_id,
        modifier: column.modifier,
    };
    message.iter().zip(numbers).map(numbered).collect()
}

fn shape<'a>(column: &pgoutput::Column<'a>) -> (&'a str, u32, i32) {
    (column.name, column.type_id, column.modifier)
}
