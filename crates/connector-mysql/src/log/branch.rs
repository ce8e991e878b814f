//! Reading a prepared transaction once more, beside the log that is followed.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use wavemark_domain::Problem;

use super::assembler::{Kept, Wanted};
use super::start::Start;
use super::statement::{Statement, Told};
use super::stream::{FIRST, LogStream, passing_number};
use super::{files, malformed};
use crate::binlog::{Checksum, Event, Follows};
use crate::client;
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
    let mut events = Events::open(settings, begin).await?;
    loop {
        let (_, bytes, checksum) = events.next().await?;
        let (_, event) = Event::read(&bytes, checksum).map_err(|cause| malformed(cause, &events.place))?;
        let is_of_it = match &event {
            Event::TableMap(_) | Event::Rows(_) | Event::Piece(_) | Event::Compressed(_) => true,
            Event::Query(query) => match Statement::of(&Told::of(query).text) {
                Statement::XaEnd(_) => return Ok(()),
                statement => {
                    matches!(statement, Statement::Savepoint(_) | Statement::RollbackTo(_) | Statement::Release)
                }
            },
            _ => false,
        };
        if is_of_it && give.send(Ok(Piece::Event((bytes, checksum)))).await.is_err() {
            return Ok(());
        }
    }
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
        let (place, bytes, checksum) = events.next().await?;
        if place.number != file.number || place.number == before.number && events.place.offset >= before.offset {
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

/// The events of a log with their places.
struct Events {
    stream: LogStream,
    checksum: Checksum,
    /// Where the next event begins.
    place: Place,
}

impl Events {
    async fn open(settings: &Settings, from: Place) -> Result<Self, Problem> {
        let start = Start::at(from.clone());
        let stream = LogStream::open(settings, &start, passing_number()).await?;
        Ok(Self { stream, checksum: Checksum::None, place: from })
    }

    /// The next event, where it begins, and how it is checked.
    async fn next(&mut self) -> Result<(Place, Bytes, Checksum), Problem> {
        let bytes = self.stream.next().await?.freeze();
        let begin = self.place.clone();
        let (header, event) = Event::read(&bytes, self.checksum).map_err(|cause| malformed(cause, &begin))?;
        if header.next != 0 {
            self.place.offset = super::end_of(&header, begin.offset).map_err(|cause| malformed(cause, &begin))?;
        }
        match event {
            Event::Format(checksum) => self.checksum = checksum,
            Event::Rotate { file, position } => {
                let file = String::from_utf8_lossy(file);
                let next = Place::new(&file, position, begin.server.clone()).map(|place| place.in_era(begin.era));
                self.place = next.unwrap_or_else(|| begin.clone());
            }
            _ => {}
        }
        Ok((begin, bytes, self.checksum))
    }
}
