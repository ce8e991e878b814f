//! Which transactions were read, by their numbers, and which file they stand in.

use wavemark_domain::{Fault, Problem};

use crate::binlog::Event;
use crate::fields::Malformed;
use crate::gtid::{Executed, Gtid, GtidSet};
use crate::log::malformed;
use crate::log::start::{By, Start};
use crate::position::{Memo, Place};

/// See the module.
pub(super) struct Numbers {
    /// What was executed before the place that the log is read up to.
    executed: Executed,
    /// The transaction that is being read, or follows.
    next: Option<Gtid>,
    /// Whether the server numbers some transactions and others not: what was executed can't be told then.
    is_mixed: bool,
    /// When the file was begun (seconds since 1970).
    begun_at: u32,
    /// A file as it must be.
    file: Option<(Box<str>, u32)>,
    /// Whether the server has said which file it reads.
    is_placed: bool,
    /// Up to where in the first file everything is passed over.
    passing: Option<u64>,
    /// What goes with a position.
    pub(super) memo: Memo,
}

impl Numbers {
    pub(super) fn from(start: &Start) -> Self {
        let begun_at = start.file.as_ref().map_or(0, |(_, begun_at)| *begun_at);
        Self {
            executed: start.executed.clone(),
            next: None,
            is_mixed: false,
            begun_at,
            file: start.file.clone(),
            is_placed: start.by != By::Transactions,
            passing: (start.by == By::File).then_some(start.place.offset),
            memo: Memo::new(begun_at, &start.executed),
        }
    }

    /// A file begins, or the first one is gone on with. One that was begun at another moment than it was when it was read has
    /// another server's history, or the same server's after `RESET MASTER`.
    pub(super) fn file_is(&mut self, place: &Place, begun_at: u32) -> Result<(), Problem> {
        if let Some((file, then)) = &self.file
            && **file == *place.file
        {
            if *then != begun_at {
                return Err(begun_anew(place));
            }
            self.file = None;
        }
        self.begun_at = begun_at;
        self.is_placed = true;
        self.note();
        Ok(())
    }

    /// What the file says that was executed before it.
    pub(super) fn before_file(&mut self, executed: GtidSet) {
        match &mut self.executed {
            Executed::Mysql(known) => known.extend(executed),
            Executed::Unknown if !self.is_mixed => self.executed = Executed::Mysql(executed),
            _ => {}
        }
        self.note();
    }

    /// A transaction follows, or a statement that is none's.
    pub(super) fn next(&mut self, gtid: Option<Gtid>) {
        self.pass();
        if gtid.is_none() {
            self.is_mixed = true;
            self.executed = Executed::Unknown;
            self.note();
        }
        self.next = gtid;
    }

    /// What followed is over.
    pub(super) fn pass(&mut self) {
        if let Some(gtid) = self.next.take() {
            self.executed.add(&gtid);
            self.note();
        }
    }

    /// What followed never was.
    pub(super) fn forget(&mut self) {
        self.next = None;
    }

    /// Whether the log can be read on from the place that it is read up to: nothing follows that was announced.
    pub(super) fn is_between(&self) -> bool {
        self.next.is_none() && self.passing.is_none() && self.is_placed
    }

    /// Whether the event lies before the place from which the log is read.
    pub(super) fn passes_over(&mut self, begin: &Place, event: &Event<'_>) -> Result<bool, Problem> {
        let Some(until) = self.passing else { return Ok(false) };
        if begin.offset == until {
            self.pass();
            self.passing = None;
            return Ok(false);
        }
        if begin.offset > until {
            return Err(malformed(Malformed("no event begins at the bookmark"), begin));
        }
        match event {
            Event::Numbered(numbered) => self.next(Some(numbered.gtid.clone())),
            Event::Format { .. } | Event::Previous(_) | Event::Unnumbered => return Ok(false),
            Event::Rotate { .. } => return Err(begun_anew(begin)),
            _ => {}
        }
        Ok(true)
    }

    fn note(&mut self) {
        self.memo.set(self.begun_at, &self.executed);
    }
}

/// The log is another one than was read.
fn begun_anew(place: &Place) -> Problem {
    let text = format!(
        "The source's log was begun anew: its file {} is not the one that was read (RESET MASTER, or another server's files).",
        place.file
    );
    Problem::new(Fault::PositionLost, "log-begun-anew", text).advice("Reload the tables.")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wavemark_domain::task::TaskSettings;

    use super::super::Assembler;
    use super::super::tests::{XID, announced, event, inserted, place, plan, rules, statement, up_to, within};
    use super::*;

    const SERVER: &str = "3e3e3e3e-3e3e-3e3e-3e3e-3e3e3e3e3e3e";

    fn set(numbers: &str) -> GtidSet {
        GtidSet::parse(&format!("{SERVER}:{numbers}")).unwrap()
    }

    fn assembler(start: Start) -> Assembler {
        Assembler::new(&[plan()], start, rules(TaskSettings::default()))
    }

    /// A transaction's number as MySQL writes it.
    fn number(number: u64) -> Vec<u8> {
        within(33, &[&[1][..], &[0x3e; 16], &number.to_le_bytes()].concat())
    }

    /// What a file begins with, without sums; events say that they were written at 1,700,000,000.
    fn format() -> Vec<u8> {
        within(15, &[&[4, 0][..], &[0; 54], &[19], &[0; 40], &[0], &[0; 4]].concat())
    }

    fn previous(numbers: &str) -> Vec<u8> {
        let mut body = Vec::new();
        set(numbers).encode(&mut body);
        within(35, &body)
    }

    /// Takes events that stand one behind the other, the first one at the place of the assembler.
    fn take(assembler: &mut Assembler, mut at: u64, events: &[Vec<u8>]) -> Result<u64, Problem> {
        for event in events {
            at += event.len() as u64;
            assembler.event(&up_to(u32::try_from(at).unwrap(), event.clone()))?;
        }
        Ok(at)
    }

    fn transaction(number: u64, id: i32) -> Vec<Vec<u8>> {
        vec![self::number(number), statement("BEGIN"), announced(), inserted(id..id + 1), within(XID, &[0; 8])]
    }

    fn executed(assembler: &mut Assembler) -> Executed {
        let taken = assembler.take();
        Memo::of(&taken.batch.transactions().last().unwrap().end).unwrap().1
    }

    #[test]
    fn each_end_knows_what_was_executed_before_it() {
        let start = Start { executed: Executed::Mysql(set("1-5")), ..Start::at(place(100)) };
        let mut assembler = assembler(start);
        take(&mut assembler, 100, &[transaction(6, 1), transaction(8, 2)].concat()).unwrap();
        let taken = assembler.take();
        let known = taken.batch.transactions().iter().map(|mark| Memo::of(&mark.end).unwrap().1);
        let expected = ["1-6", "1-6:8"].map(|numbers| Executed::Mysql(set(numbers)));
        assert_eq!(known.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_is_told_between_a_number_and_what_it_is_of() {
        let start = Start { executed: Executed::Mysql(set("1-5")), ..Start::at(place(100)) };
        let mut assembler = assembler(start);
        let at = take(&mut assembler, 100, &[number(6)]).unwrap();
        assert!(!assembler.has_progress());
        take(&mut assembler, at, &[statement("CREATE TABLE other.x (a int)")]).unwrap();
        assert!(assembler.has_progress());
        assert_eq!(executed(&mut assembler), Executed::Mysql(set("1-6")));
    }

    #[test]
    fn a_file_that_is_read_from_its_beginning_is_passed_over_up_to_the_place() {
        let passed = [vec![format(), previous("1-3")], transaction(4, 1), transaction(5, 2)].concat();
        let begin = 4 + passed.iter().map(Vec::len).sum::<usize>() as u64;
        let mut assembler = assembler(Start { by: By::File, ..Start::at(place(begin)) });
        let rotation = event(4, 0, &[&4_u64.to_le_bytes()[..], b"bin.000001"].concat());
        assembler.event(&Bytes::from(rotation)).unwrap();
        take(&mut assembler, 4, &passed).unwrap();
        assert!(!assembler.has_progress());
        take(&mut assembler, begin, &transaction(6, 3)).unwrap();
        let taken = assembler.take();
        assert_eq!((taken.batch.changes().len(), taken.batch.transactions().len()), (1, 1));
        let memo = Memo::of(&taken.batch.transactions()[0].end).unwrap();
        assert_eq!(memo, (Some(1_700_000_000), Executed::Mysql(set("1-6"))));
    }

    #[test]
    fn a_place_at_which_no_event_begins_is_refused() {
        let mut assembler = assembler(Start { by: By::File, ..Start::at(place(300)) });
        let rotation = event(4, 0, &[&4_u64.to_le_bytes()[..], b"bin.000001"].concat());
        assembler.event(&Bytes::from(rotation)).unwrap();
        let problem =
            take(&mut assembler, 4, &[vec![format(), previous("1-3")], transaction(4, 1), transaction(5, 2)].concat())
                .unwrap_err();
        assert_eq!(problem.code, "log-malformed");
    }

    #[test]
    fn a_file_of_the_same_name_that_was_begun_later_is_refused() {
        for (begun_at, is_same) in [(1_700_000_000, true), (1_600_000_000, false)] {
            let file = Some(("bin.000001".into(), begun_at));
            let mut assembler = assembler(Start { file, ..Start::at(place(100)) });
            let taken = assembler.event(&event(15, 0, &format()[19..]).into());
            assert_eq!(taken.map_err(|problem| problem.code).err(), (!is_same).then(|| "log-begun-anew".to_owned()));
        }
    }

    #[test]
    fn of_a_log_in_which_not_all_are_numbered_nothing_is_known() {
        let start = Start { executed: Executed::Mysql(set("1-5")), ..Start::at(place(100)) };
        let mut assembler = assembler(start);
        let mut mixed = transaction(6, 1);
        mixed.extend([vec![within(34, &[0; 25])], transaction(1, 2)[1..].to_vec(), transaction(7, 3)].concat());
        take(&mut assembler, 100, &mixed).unwrap();
        assert_eq!(executed(&mut assembler), Executed::Unknown);
    }

    #[test]
    fn another_servers_log_has_no_place_before_it_says_so() {
        let start = Start {
            executed: Executed::Mysql(set("1-5")),
            by: By::Transactions,
            ..Start::at(Place { number: 0, offset: 0, file: "".into(), ..place(4).in_era(1) })
        };
        let mut assembler = assembler(start);
        assert!(!assembler.has_progress());
        let rotation = event(4, 0, &[&4_u64.to_le_bytes()[..], b"other.000002"].concat());
        assembler.event(&Bytes::from(rotation)).unwrap();
        let at = take(&mut assembler, 4, &[format(), previous("1-2:9")]).unwrap();
        assert!(assembler.has_progress());
        let taken = assembler.take();
        let end = &taken.batch.transactions()[0].end;
        let there = Place::new("other.000002", at, "s").unwrap().in_era(1);
        assert_eq!(Place::from_position(end), Some(there));
        assert_eq!(Memo::of(end).unwrap().1, Executed::Mysql(set("1-5:9")));
    }
}
