//! Cuts off clients that send a body so slowly that they only hold a connection: after a short grace a body must
//! come at a few kilobytes a second on average, which the thinnest line of a worker does many times over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::Instant;

use crate::problem::ApiProblem;

/// How long any body may take.
const GRACE: Duration = Duration::from_secs(5);
/// What each second after that must bring, on average since the beginning.
const BYTES_A_SECOND: u64 = 4_096;

/// The middleware around all routes.
pub(crate) async fn refuse_slow(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let late = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| Body::from_stream(paced(body.into_data_stream(), Arc::clone(&late))));
    let response = next.run(request).await;
    if !late.load(Ordering::Relaxed) {
        return response;
    }
    let text = "The body came so slowly that it was not waited for.";
    let mut response = ApiProblem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", text).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

struct Paced {
    body: BodyDataStream,
    begun: Option<Instant>,
    received: u64,
    late: Arc<AtomicBool>,
}

fn paced(body: BodyDataStream, late: Arc<AtomicBool>) -> impl Stream<Item = Result<Bytes, axum::Error>> + Send {
    let paced = Paced { body, begun: None, received: 0, late };
    stream::unfold(paced, |mut paced| async move { paced.next().await.map(|part| (part, paced)) })
}

impl Paced {
    /// The next part. Bytes that are there are taken, however late it is.
    async fn next(&mut self) -> Option<Result<Bytes, axum::Error>> {
        if self.late.load(Ordering::Relaxed) {
            return None;
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let due = begun + GRACE + Duration::from_millis(self.received.saturating_mul(1_000) / BYTES_A_SECOND);
        let Ok(part) = tokio::time::timeout_at(due, self.body.next()).await else {
            self.late.store(true, Ordering::Relaxed);
            return Some(Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut))));
        };
        if let Some(Ok(bytes)) = &part {
            self.received = self.received.saturating_add(bytes.len() as u64);
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of so many bytes, one each 0.9 s; how many of them are taken.
    async fn taken(size: usize, count: usize) -> (usize, bool) {
        let parts = stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(Duration::from_millis(900)).await;
            Ok::<_, axum::Error>(Bytes::from(vec![b' '; size]))
        });
        let late = Arc::new(AtomicBool::new(false));
        let paced = paced(Body::from_stream(parts).into_data_stream(), Arc::clone(&late));
        let taken = paced.filter(|part| std::future::ready(part.is_ok())).count().await;
        (taken, late.load(Ordering::Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_a_second_is_cut_off_and_a_thin_line_is_not() {
        assert_eq!(taken(1, 60).await, (5, true));
        assert_eq!(taken(8_192, 60).await, (60, false));
        assert_eq!(taken(1, 3).await, (3, false));
    }
}
