//! What the writer does where the source tells of an alteration: the table is described there as a Relation message would
//! do it, with what that can't say.

use wavemark_domain::{Problem, TableId, TableName};

use super::told::{Altered, Rewrite, Told};
use super::writer::{Unresolved, Writer};
use crate::pgoutput::{DecodeError, Message, OwnedRelation, decode};

/// How a table was changed whose rows are others and whose columns are not.
pub(super) const REWRITTEN: &str = "its rows were rewritten, of which the log does not say what became of them";

impl Writer {
    /// Takes in what the source tells of an alteration at this place.
    pub(super) fn told(&mut self, told: Told) -> Result<(), DecodeError> {
        let table_of = |oid: u32| self.expected.iter().find(|one| one.oid == oid).map(|one| one.table);
        match told {
            Told::Altered(altered) => return self.altered(altered),
            Told::Rewritten { rewritten, reason } => {
                if let Some(table) = table_of(rewritten) {
                    self.rewritten.push((table, Rewrite::of(reason)));
                }
            }
            Told::Dropped { dropped } => {
                let tables: Vec<TableId> = dropped.into_iter().filter_map(table_of).collect();
                for table in tables {
                    self.end_dropped(table);
                }
            }
            Told::Failed { .. } => self.is_untold = true,
        }
        Ok(())
    }

    fn altered(&mut self, altered: Altered) -> Result<(), DecodeError> {
        let Some(expected) = self.expected.iter().find(|one| one.oid == altered.relation) else { return Ok(()) };
        let (table, name) = (expected.table, &expected.name);
        if self.barred.contains(&table) {
            return Ok(());
        }
        let message = altered.message();
        let Message::Relation(_, relation) = decode(&message, false)? else { return Ok(()) };
        if !self.follows_layouts || self.doubtful.iter().any(|(doubtful, _)| *doubtful == table) {
            self.relation(&relation);
            return Ok(());
        }
        let is_named_so = name.schema == altered.schema && name.table == altered.name;
        self.renamed.retain(|(renamed, _)| *renamed != table);
        if !is_named_so && !self.follows_names {
            // It may get its name back before a row comes.
            self.renamed.push((table, TableName::new(altered.schema, altered.name)));
            return Ok(());
        }
        let (relation, rewrite) = (OwnedRelation::from(&relation), self.take_rewrite(table));
        self.unresolved = Some(Unresolved { table, relation, told: Some(altered), rewrite });
        Ok(())
    }

    /// What was told of a table's rows since it was described last.
    pub(super) fn take_rewrite(&mut self, table: TableId) -> Rewrite {
        let of_it = self.rewritten.extract_if(.., |(rewritten, _)| *rewritten == table);
        of_it.fold(Rewrite::default(), |all, (_, rewrite)| all.and(rewrite))
    }

    /// The transaction in hand ends. What was rewritten in it and not described since has lost its rows, and what has
    /// another name keeps that.
    pub(super) fn end_transaction(&mut self) {
        for (table, name) in std::mem::take(&mut self.renamed) {
            self.end_table(table, &format!("it is now named {name}"));
        }
        for (table, rewrite) in std::mem::take(&mut self.rewritten) {
            if rewrite.is_one() {
                self.end_rewritten(table);
            }
        }
    }

    pub(super) fn end_rewritten(&mut self, table: TableId) {
        self.end_table(table, REWRITTEN);
    }

    /// Ends a table that the catalog has otherwise than the source told.
    pub(super) fn end_doubtful(&mut self, table: TableId, problem: Problem) {
        if self.barred.contains(&table) {
            return;
        }
        if let Some(expected) = self.expected.iter().find(|expected| expected.table == table) {
            self.bar(expected.oid, table, problem);
        }
    }
}
