//! Reading a prepared transaction once more, beside the log that is followed.

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use wavemark_domain::Problem;

use super::assembler::{Kept, Wanted};
use super::start::Start;
use super::statement::{Statement, Told};
use super::stream::{FIRST, LogStream, SILENCE, passing_number, silent};
use super::walk::{Step, Walk};
use super::{files, malformed};
use crate::binlog::{Event, Follows};
use crate::client;
use crate::fields::Malformed;
use crate::position::Place;
use crate::settings::Settings;

/// Events that are read before they are taken.
const AHEAD: usize = 64;

/// What comes of it: an event, or that it is not in the log.
pub(super) enum Piece {
    Event(Kept),
    Missing,
}

/// One that is being read. Dropping it ends that.
pub(super) struct Rereading {
    pieces: mpsc::Receiver<Result<Piece, Problem>>,
    work: AbortHandle,
}

impl Drop for Rereading {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Rereading {
    /// Begins. The transaction ends before the place of its commit.
    pub(super) fn start(settings: &Settings, wanted: &Wanted) -> Self {
        let (give, pieces) = mpsc::channel(AHEAD);
        let (settings, wanted) = (settings.clone(), wanted.clone());
        let work = tokio::spawn(async move {
            if let Err(problem) = read(&settings, wanted, &give).await {
                // Nobody listens any more.
                drop(give.send(Err(problem)).await);
            }
        });
        Self { pieces, work: work.abort_handle() }
    }

    /// The next piece; none at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Result<Piece, Problem>> {
        self.pieces.recv().await
    }
}

type Give = mpsc::Sender<Result<Piece, Problem>>;

async fn read(settings: &Settings, wanted: Wanted, give: &Give) -> Result<(), Problem> {
    let begin = match wanted.begin {
        Some(begin) => Some(begin),
        None => find(settings, &wanted.name, &wanted.commit).await?,
    };
    let Some(begin) = begin else {
        drop(give.send(Ok(Piece::Missing)).await);
        return Ok(());
    };
    let mut events = Events::open(settings, begin.clone()).await?;
    loop {
        let step = events.next().await?;
        match part(&step, &begin)? {
            Part::End => return Ok(()),
            Part::OfIt if give.send(Ok(Piece::Event((step.bytes, step.checksum)))).await.is_err() => return Ok(()),
            Part::OfIt | Part::Other => {}
        }
    }
}

/// What an event is to the transaction that is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    OfIt,
    End,
    Other,
}

/// Nothing stands between the beginning and the end of a transaction that is not of it: whatever else comes is a sign that it is
/// not the one that was looked for, and its rows are another's.
fn part(step: &Step, begin: &Place) -> Result<Part, Problem> {
    let (_, event) = Event::read(&step.bytes, step.checksum).map_err(|cause| malformed(cause, &step.place))?;
    Ok(match &event {
        Event::Annotated(_) | Event::TableMap(_) | Event::Rows(_) | Event::Piece(_) | Event::Compressed(_) => {
            Part::OfIt
        }
        Event::Query(query) => match Statement::of(&Told::of(query).text) {
            Statement::XaEnd(_) => Part::End,
            Statement::Savepoint(_) | Statement::RollbackTo(_) | Statement::Release | Statement::Defines => Part::OfIt,
            _ => Part::Other,
        },
        Event::Numbered(_) | Event::Unnumbered | Event::Xid | Event::Prepared { .. } if step.place != *begin => {
            return Err(malformed(Malformed("a prepared transaction that is read again has no end"), begin));
        }
        _ => Part::Other,
    })
}

/// Where the transaction of a name begins that was prepared last before a place: its file is looked through, then those
/// before it.
async fn find(settings: &Settings, name: &str, before: &Place) -> Result<Option<Place>, Problem> {
    let mut control = client::open(settings).await?;
    let all = files(&mut control).await?;
    control.close().await;
    for (file, _) in all.iter().rev() {
        let Some(place) = Place::new(file, FIRST, before.server.clone()) else { continue };
        let place = place.in_era(before.era);
        if place.number <= before.number
            && let Some(found) = find_in(settings, place, name, before).await?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

async fn find_in(settings: &Settings, file: Place, name: &str, before: &Place) -> Result<Option<Place>, Problem> {
    let mut events = Events::open(settings, file.clone()).await?;
    let (mut begin, mut found) = (None, None);
    loop {
        let Step { place, bytes, checksum } = events.next().await?;
        if place.number != file.number || place.number == before.number && events.walk.place().offset >= before.offset {
            return Ok(found);
        }
        match Event::read(&bytes, checksum).map_err(|cause| malformed(cause, &place))?.1 {
            Event::Numbered(numbered) if numbered.follows == Follows::Branch => begin = Some(place),
            Event::Query(query) => match Statement::of(&Told::of(&query).text) {
                Statement::XaBegin => begin = Some(place),
                Statement::XaEnd(of) if of == name => found = begin.clone(),
                _ => {}
            },
            _ => {}
        }
    }
}

/// The events of a log as the server sends them.
struct Events {
    stream: LogStream,
    walk: Walk,
}

impl Events {
    async fn open(settings: &Settings, from: Place) -> Result<Self, Problem> {
        let start = Start::at(from);
        let stream = LogStream::open(settings, &start, passing_number()).await?;
        Ok(Self { stream, walk: Walk::from(&start) })
    }

    async fn next(&mut self) -> Result<Step, Problem> {
        loop {
            if let Some(step) = self.walk.unpacked()? {
                return Ok(step);
            }
            let bytes = timeout(SILENCE, self.stream.next()).await.map_err(|_| silent())??;
            if let Some(step) = self.walk.take(bytes.freeze())? {
                return Ok(step);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::assembler::tests::{XID, announced, inserted, place, statement, within};
    use super::*;
    use crate::binlog::Checksum;

    fn part_at(offset: u64, event: Vec<u8>) -> Result<Part, String> {
        let step = Step { place: place(offset), bytes: event.into(), checksum: Checksum::None };
        part(&step, &place(100)).map_err(|problem| problem.code)
    }

    #[test]
    fn a_transaction_is_read_up_to_its_end_and_no_further() {
        assert_eq!(part_at(100, statement("XA START 'a'")), Ok(Part::Other));
        for of_it in [announced(), inserted(0..1), statement("SAVEPOINT a"), statement("ROLLBACK TO a")] {
            assert_eq!(part_at(200, of_it), Ok(Part::OfIt));
        }
        assert_eq!(part_at(300, statement("XA END 'a'")), Ok(Part::End));
        // Its own number stands before it at MariaDB, and nowhere behind.
        let number = || within(162, &[&[0; 12][..], &[0x40, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!(part_at(100, number()), Ok(Part::Other));
        for other in [number(), within(34, &[0; 25]), within(XID, &[0; 8]), within(38, &[0])] {
            assert_eq!(part_at(400, other), Err("log-malformed".to_owned()));
        }
    }
}
