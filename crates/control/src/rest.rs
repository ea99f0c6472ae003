//! A pause behind what a stream has just sent.
//!
//! Owns its length. At full rate there is something new with every turn of the engine's loop; to be
//! woken for each, and to send each by itself, would cost the traffic more than all the rest of a
//! capture does. What comes first after a quiet time is sent at once.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

/// Either over, or under way.
#[derive(Debug, Default)]
pub(crate) struct Rest(Option<Pin<Box<Sleep>>>);

impl Rest {
    /// Begins now.
    pub(crate) fn begin(&mut self) {
        self.0 = Some(Box::pin(tokio::time::sleep(LENGTH)));
    }

    /// Ready when it is over; the task is woken then.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            ready!(sleep.as_mut().poll(context));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

/// Nobody who reads along notices it.
const LENGTH: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Instant;

    #[test]
    fn it_is_over_after_a_while_and_none_is_over_at_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut rest = Rest::default();
            poll_fn(|context| rest.poll(context)).await;
            let began = Instant::now();
            rest.begin();
            poll_fn(|context| rest.poll(context)).await;
            assert!(began.elapsed() >= LENGTH);
        });
    }
}
