//! Stopping a future the way SIGSTOP stops a process: it isn't polled until it may go on.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Opens and closes for the futures behind it.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    closed: bool,
    waiting: Option<Waker>,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.0.lock().unwrap().closed = true;
    }

    pub(crate) fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.closed = false;
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }

    /// Runs a future while the gate is open.
    pub(crate) async fn pass<T>(self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(move |context| self.poll(context, future.as_mut())).await
    }

    fn poll<T>(&self, context: &mut Context<'_>, future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        {
            let mut state = self.0.lock().unwrap();
            if state.closed {
                state.waiting = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        future.poll(context)
    }
}
