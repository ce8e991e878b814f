//! The live part of a page as server-sent events.
//!
//! Each second: the part again if it changed, else a `beat`, so that the page knows that its figures are of now.
//! When the part can't be made (the database is away) nothing is sent, and the page shows the age of what it has.
//! A stream ends with the log in that asked for it, and after some minutes; the page opens the next.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::page::{PageError, Who};
use crate::state::AppState;

const EVERY: Duration = Duration::from_secs(1);
/// Relative times go on although nothing is reported.
const AT_LEAST_EVERY: Duration = Duration::from_secs(5);
const LASTS: Duration = Duration::from_mins(5);

/// Answers with the live part, made again and again until the server stops or the log in ends.
pub(super) fn answer<F, Fut>(state: &AppState, who: &Who, render: F) -> Response
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Result<String, PageError>> + Send + 'static,
{
    let shutdown = state.shutdown.clone().cancelled_owned();
    let ends = async move {
        tokio::select! {
            () = shutdown => {}
            () = tokio::time::sleep(LASTS) => {}
        }
    };
    let events = parts(state, who, render).take_until(Box::pin(ends));
    // Proxies must not gather what is sent.
    ([("x-accel-buffering", "no"), ("cache-control", "no-store")], Sse::new(events)).into_response()
}

struct Line<F> {
    state: AppState,
    who: Who,
    changes: tokio::sync::watch::Receiver<u64>,
    interval: Interval,
    rendered: Option<Instant>,
    shown: String,
    render: F,
}

fn parts<F, Fut>(
    state: &AppState,
    who: &Who,
    render: F,
) -> impl Stream<Item = Result<Event, Infallible>> + Send + use<F, Fut>
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Result<String, PageError>> + Send + 'static,
{
    let mut interval = tokio::time::interval(EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let line = Line {
        state: state.clone(),
        who: who.clone(),
        changes: state.changes.subscribe(),
        interval,
        rendered: None,
        shown: String::new(),
        render,
    };
    stream::unfold(line, |mut line| async move {
        line.interval.tick().await;
        let event = line.next().await?;
        Some((Ok(event), line))
    })
}

impl<F, Fut> Line<F>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<String, PageError>>,
{
    /// The next event, or the end: who asked may not ask any more.
    async fn next(&mut self) -> Option<Event> {
        let beat = || Event::default().event("beat").data("");
        let due = self.rendered.is_none_or(|at| at.elapsed() >= AT_LEAST_EVERY);
        if !due && !self.changes.has_changed().unwrap_or(true) {
            return Some(beat());
        }
        self.changes.mark_unchanged();
        if self.who.0.still_holds(&self.state).await.is_ok_and(|holds| !holds) {
            return None;
        }
        Some(match (self.render)().await {
            Err(_) => {
                self.rendered = None;
                Event::default().comment("not now")
            }
            Ok(part) => {
                self.rendered = Some(Instant::now());
                if part == self.shown {
                    beat()
                } else {
                    self.shown = part;
                    // A carriage return would end a line of the stream.
                    Event::default().data(self.shown.replace('\r', " "))
                }
            }
        })
    }
}
