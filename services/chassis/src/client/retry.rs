//! Trying again what failed because a service was away.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use rand::Rng;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::server;

/// How often a call is made at most, the first time included.
const ATTEMPTS: u32 = 4;
/// The longest first pause; it doubles each time.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// What may still be spent on retries, as gRPC's retry throttling counts it (gRFC A6): a failure costs one, a success
/// earns a tenth, and retries are made while more than half is left.
#[derive(Debug)]
pub(super) struct Budget {
    tenths: AtomicI64,
}

impl Budget {
    const FULL: i64 = 100 * 10;
    const FAILURE: i64 = -10;
    const SUCCESS: i64 = 1;

    pub(super) fn new() -> Self {
        Self { tenths: AtomicI64::new(Self::FULL) }
    }

    fn book(&self, amount: i64) {
        // Two that book at once may overshoot the bounds for a moment; the next booking mends it.
        let before = self.tenths.load(Ordering::Relaxed);
        self.tenths.store((before + amount).clamp(0, Self::FULL), Ordering::Relaxed);
    }

    fn allows(&self) -> bool {
        self.tenths.load(Ordering::Relaxed) > Self::FULL / 2
    }
}

pub(super) async fn retry<T, F, Fut>(budget: &Budget, first_pause: Duration, mut call: F) -> Result<T, Status>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Status>>,
{
    let mut longest = first_pause;
    for _ in 1..ATTEMPTS {
        let status = match call().await {
            Ok(answer) => {
                budget.book(Budget::SUCCESS);
                return Ok(answer);
            }
            Err(status) if status.code() == Code::Unavailable => status,
            Err(status) => return Err(status),
        };
        budget.book(Budget::FAILURE);
        let asked = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
        let pause = asked + longest.mul_f64(rand::rng().random_range(0.2..1.0));
        let in_time = server::deadline().is_none_or(|deadline| Instant::now() + pause < deadline.into());
        if !budget.allows() || !in_time {
            return Err(status);
        }
        tokio::time::sleep(pause).await;
        longest *= 2;
    }
    call().await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn attempts(budget: &Budget, outcomes: &[Code]) -> (usize, Option<Code>) {
        attempts_with(budget, Duration::from_micros(1), outcomes).await
    }

    async fn attempts_with(budget: &Budget, pause: Duration, outcomes: &[Code]) -> (usize, Option<Code>) {
        let made = Cell::new(0);
        let result = retry(budget, pause, || {
            let code = outcomes[made.get().min(outcomes.len() - 1)];
            made.set(made.get() + 1);
            async move { if code == Code::Ok { Ok(()) } else { Err(Status::new(code, "")) } }
        })
        .await;
        (made.get(), result.err().map(|status| status.code()))
    }

    #[tokio::test]
    async fn only_unavailable_is_retried() {
        let budget = Budget::new();
        assert_eq!(attempts(&budget, &[Code::Ok]).await, (1, None));
        assert_eq!(attempts(&budget, &[Code::Unavailable, Code::Unavailable, Code::Ok]).await, (3, None));
        assert_eq!(attempts(&budget, &[Code::Unavailable]).await, (4, Some(Code::Unavailable)));
        assert_eq!(attempts(&budget, &[Code::Aborted]).await, (1, Some(Code::Aborted)));
        assert_eq!(attempts(&budget, &[Code::Unavailable, Code::NotFound]).await, (2, Some(Code::NotFound)));
    }

    #[tokio::test]
    async fn in_an_outage_retries_cease() {
        let budget = Budget::new();
        for _ in 0..20 {
            attempts(&budget, &[Code::Unavailable]).await;
        }
        assert_eq!(attempts(&budget, &[Code::Unavailable]).await.0, 1);
        for _ in 0..600 {
            attempts(&budget, &[Code::Ok]).await;
        }
        assert_eq!(attempts(&budget, &[Code::Unavailable]).await.0, 4);
    }

    #[tokio::test]
    async fn the_deadline_of_the_caller_is_kept() {
        let deadline = std::time::Instant::now() + Duration::from_secs(600);
        let budget = Budget::new();
        let outage = [Code::Unavailable];
        // The first pause would end after the deadline.
        let attempts = attempts_with(&budget, Duration::from_secs(6000), &outage);
        assert_eq!(server::with_deadline(Some(deadline), attempts).await.0, 1);
    }
}
