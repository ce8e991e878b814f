//! A TCP proxy that does to connections what networks do: it stands between two programs on loopback and can be told,
//! while connections are open, to cut, reset, hide, delay or slow them.
//!
//! A hole is a real one: a packet filter on the proxy's own sockets drops what arrives before TCP sees it, so nothing
//! is acknowledged, keepalives stay without an answer, new connections hang, and what was sent meanwhile arrives by
//! TCP's own retransmission if the hole ends before the sender gives up. That needs no rights, but Linux.
//!
//! The proxy draws nothing: who strikes decides what, when and how much.

mod dark;
mod link;
mod reply;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use link::{Close, Link};

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What is wrong with the network, for every connection through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Open connections end with FIN, new ones as soon as they are made.
    Cut,
    /// The same with RST.
    Reset,
    /// No packet arrives, in either direction; connections stay as they are, and new ones can't be made.
    Hole,
    /// No packet of one direction arrives, with its acknowledgements; the other direction lives.
    HalfOpen(Way),
    /// Every byte arrives so much later, in both directions.
    Delay(Duration),
    /// Each connection carries at most so many bytes a second in each direction.
    Rate(usize),
    /// Each connection is reset once so many bytes, of both directions together, went through it in this trouble.
    CutAfter(u64),
    /// The next reply of a server that says "COMMIT" is dropped, and its connection ends with FIN. With that the
    /// trouble is over.
    SwallowCommit,
    /// One bit of the next piece of at least [`FLIPPED`] bytes from the server is another one when it arrives. With that
    /// the trouble is over.
    FlipBit,
}

/// How much at least comes at once when a bit of it flips: more than a sign of life has.
const FLIPPED: usize = 60;

impl Trouble {
    /// Whether what one side sends is lost before it arrives here.
    fn hides(self, way: Way) -> bool {
        self == Self::Hole || self == Self::HalfOpen(way)
    }

    fn close(self) -> Option<Close> {
        match self {
            Self::Cut => Some(Close::Fin),
            Self::Reset => Some(Close::Reset),
            _ => None,
        }
    }
}

/// A running proxy. Dropping it ends it and its connections.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    server_port: AtomicU16,
    listener: TcpListener,
    trouble: watch::Sender<Option<Trouble>>,
    links: Mutex<HashMap<u64, Arc<Link>>>,
    made: AtomicU64,
    swallowed: AtomicU64,
}

impl Proxy {
    /// Listens on a free port of loopback and passes everything on to another.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(server_port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listening for a proxy")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            server_port: server_port.into(),
            listener,
            trouble: watch::Sender::new(None),
            links: Mutex::default(),
            made: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(Arc::clone(&shared)));
        Ok(Self { port, shared, task })
    }

    /// Where clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Passes new connections on to another port. Those that are open stay where they lead.
    pub fn lead_to(&self, server_port: u16) {
        self.shared.server_port.store(server_port, Ordering::Relaxed);
    }

    /// Makes trouble, in place of what there was before. Holes are there when this returns; ends follow at once.
    pub fn strike(&self, trouble: Trouble) {
        self.shared.set(Some(trouble));
    }

    /// Ends all trouble. Connections that are still there go on.
    pub fn heal(&self) {
        self.shared.set(None);
    }

    /// The trouble now.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        *self.shared.trouble.borrow()
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.links().len()
    }

    /// How many connections were made since the beginning.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.shared.made.load(Ordering::Relaxed)
    }

    /// How many replies to COMMIT were swallowed since the beginning.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.server_port.load(Ordering::Relaxed))).await
    }

    fn set(&self, trouble: Option<Trouble>) {
        let links = self.links();
        self.trouble.send_replace(trouble);
        dark::set(&self.listener, trouble.is_some_and(|trouble| trouble.hides(Way::Up)));
        links.values().for_each(|link| link.darken(trouble));
    }

    /// Ends the trouble if it is to swallow a reply: true for one caller.
    fn take_swallow(&self) -> bool {
        let taken = self.take(Trouble::SwallowCommit);
        self.swallowed.fetch_add(taken.into(), Ordering::Relaxed);
        taken
    }

    /// Ends the trouble if it is this one: true for one caller.
    fn take(&self, which: Trouble) -> bool {
        self.trouble.send_if_modified(|trouble| {
            let armed = *trouble == Some(which);
            if armed {
                *trouble = None;
            }
            armed
        })
    }

    fn links(&self) -> MutexGuard<'_, HashMap<u64, Arc<Link>>> {
        self.links.lock().expect("nothing panics with the links")
    }

    /// Under the lock that [`Shared::set`] takes, so that no link misses a trouble.
    fn enlist(&self, number: u64, link: &Arc<Link>) {
        let mut links = self.links();
        link.darken(*self.trouble.borrow());
        links.insert(number, Arc::clone(link));
    }
}

async fn accept(shared: Arc<Shared>) {
    // Dropped with this future, which ends the connections.
    let mut connections = JoinSet::new();
    for number in 0.. {
        let Ok((client, _)) = shared.listener.accept().await else { return };
        shared.made.fetch_add(1, Ordering::Relaxed);
        connections.spawn(connection(Arc::clone(&shared), client, number));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(shared: Arc<Shared>, client: TcpStream, number: u64) {
    let mut trouble = shared.trouble.subscribe();
    // A server whose answers are lost can't be connected to.
    let hidden = |trouble: &Option<Trouble>| trouble.is_some_and(|trouble| trouble.hides(Way::Down));
    if trouble.wait_for(|trouble| !hidden(trouble)).await.is_err() {
        return;
    }
    let close = trouble.borrow().and_then(Trouble::close);
    let server = if close.is_some() { None } else { shared.connect().await.ok() };
    let Some(server) = server else {
        // Where nobody listens, the client hears of it as if it had connected there.
        close.unwrap_or(Close::Reset).prepare(&client);
        return;
    };
    let link = Arc::new(Link::new(client, server));
    shared.enlist(number, &link);
    let close = link.run(&shared).await;
    close.prepare(&link.client);
    close.prepare(&link.server);
    shared.links().remove(&number);
}
