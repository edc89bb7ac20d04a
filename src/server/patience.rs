//! A connection whose other end is not waited for without end: what has been written has to be taken within a time.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// How long a head that is on its way is waited for when the server ends.
pub(super) const ARRIVING: Duration = Duration::from_millis(300);

/// Whether there is work for a connection: a request that is answered, or a client that is to read.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<BusyWith>);

#[derive(Default)]
struct BusyWith {
    answering: AtomicBool,
    writing: AtomicBool,
}

impl Busy {
    pub(super) fn is_busy(&self) -> bool {
        self.0.answering.load(Ordering::Relaxed) || self.0.writing.load(Ordering::Relaxed)
    }

    /// A request is there; a connection has one at a time.
    pub(super) fn begin(&self) -> Answering {
        self.0.answering.store(true, Ordering::Relaxed);
        Answering(self.clone())
    }
}

/// A request that is answered, as long as this is there.
pub(super) struct Answering(Busy);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.answering.store(false, Ordering::Relaxed);
    }
}

/// A stream that gives up when nothing could be written for a time.
pub(super) struct Patient<S> {
    stream: S,
    time: Duration,
    busy: Busy,
    /// When it gives up, while something waits to be written.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, time: Duration, busy: Busy) -> Self {
        Self { stream, time, busy, waiting: None }
    }

    /// What a write has come to, or an error when it takes too long.
    fn within<T>(&mut self, written: Poll<Result<T>>, context: &mut Context<'_>) -> Poll<Result<T>> {
        self.busy.0.writing.store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let time = self.time;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(time)));
        ready!(waiting.as_mut().poll(context));
        // A client that asks again is told again, at once.
        waiting.as_mut().reset(Instant::now());
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.within(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.within(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.within(shut, context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::future::poll_fn;

    /// Takes a byte after so long a time, again and again.
    struct Slow {
        time: Duration,
        next: Pin<Box<Sleep>>,
    }

    impl Slow {
        fn new(time: Duration) -> Self {
            Self { time, next: Box::pin(sleep(time)) }
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, _: &[u8]) -> Poll<Result<usize>> {
            ready!(self.next.as_mut().poll(context));
            let next = Instant::now() + self.time;
            self.next.as_mut().reset(next);
            Poll::Ready(Ok(1))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn who_does_not_read_is_given_up_and_who_is_slow_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let time = Duration::from_millis(200);
            let start = Instant::now();
            let mut gone = Patient::new(Slow::new(100 * time), time, Busy::default());
            let error = poll_fn(|context| Pin::new(&mut gone).poll_write(context, &[1])).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!((time..10 * time).contains(&start.elapsed()));
            // Longer in all than it may take at once.
            let mut slow = Patient::new(Slow::new(time / 5), time, Busy::default());
            for _ in 0..8 {
                assert_eq!(poll_fn(|context| Pin::new(&mut slow).poll_write(context, &[1])).await.unwrap(), 1);
            }
        });
    }
}
