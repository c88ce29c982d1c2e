//! One timer for all the deadlines of a connection.
//!
//! Deadlines come several to a letter and nearly always move later before they strike. The timer is moved only if it would strike too late; when it strikes too
//! early it is set again. So a deadline costs a look at the clock, and the runtime's timer wheel is touched about once per deadline's length.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once it is `until` or later.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < sleep.deadline() {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, time::Duration};

    #[tokio::test]
    async fn it_strikes_at_the_deadline_that_was_asked_for_last() {
        let (mut alarm, ms) = (Alarm::default(), Duration::from_millis);
        for (first, then) in [(60_000, 20), (5, 40), (1, 1), (600_000, 2)] {
            let at = Instant::now();
            let early = poll_fn(|cx| Poll::Ready(alarm.poll(cx, at + ms(first)))).await;
            assert!(early.is_pending() || at.elapsed() >= ms(first));
            poll_fn(|cx| alarm.poll(cx, at + ms(then))).await;
            assert!(at.elapsed() >= ms(then), "{first} {then}: too early");
            assert!(at.elapsed() < Duration::from_secs(30), "{first} {then}: at the wrong deadline");
        }
    }
}
