//! The one clock of the domain: handed in, never asked for behind anybody's back.
//!
//! Deadlines of calls and back-off stay on tokio's monotonic time; what the domain dates and waits
//! for (received, recorded, due) comes from here, so that a year can be lived through in seconds.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

/// A source of domain time.
#[async_trait]
pub trait Time: Send + Sync + std::fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Returns once [`Time::now`] has reached `at`.
    async fn sleep_until(&self, at: Timestamp);
}

/// The clock that is handed to every service.
pub type Clock = Arc<dyn Time>;

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// The longest single sleep, so that a wall clock set forward is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

#[async_trait]
impl Time for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep_until(&self, at: Timestamp) {
        loop {
            let left = at.as_microsecond() - self.now().as_microsecond();
            let Ok(left) = u64::try_from(left) else { return };
            if left == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_micros(left).min(LONGEST_SLEEP)).await;
        }
    }
}

/// A clock that stands until it is moved: for the demo and for tests.
#[derive(Debug, Clone)]
pub struct SimulatedClock {
    now: watch::Sender<Timestamp>,
}

impl SimulatedClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { now: watch::Sender::new(start) }
    }

    /// Moves the clock forward to `to`; a moment in the past leaves it where it is.
    pub fn advance_to(&self, to: Timestamp) {
        self.now.send_if_modified(|now| {
            let moved = to > *now;
            if moved {
                *now = to;
            }
            moved
        });
    }
}

#[async_trait]
impl Time for SimulatedClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Timestamp) {
        let mut changes = self.now.subscribe();
        // The sender lives in `self`, so waiting can't fail while we are borrowed.
        let _ = changes.wait_for(|now| *now >= at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_simulated_clock_gets_there() {
        let start: Timestamp = "2020-11-19T00:00:00Z".parse().unwrap();
        let hour = start + jiff::SignedDuration::from_hours(1);
        let clock = SimulatedClock::new(start);
        let sleeper = clock.sleep_until(hour);
        tokio::pin!(sleeper);
        assert!(futures::poll!(&mut sleeper).is_pending());
        clock.advance_to(hour);
        sleeper.await;
        clock.advance_to(start);
        assert_eq!(clock.now(), hour, "time never goes back");
    }
}
