//! What is known about the call in whose name code runs.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::telemetry::TraceContext;

/// The header in which a caller says how long it will wait.
pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The call that the current task works for.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) deadline: Option<Instant>,
    pub(crate) trace: TraceContext,
}

tokio::task_local! {
    pub(crate) static CALL: Call;
}

/// The deadline of the call that the current task answers. `None` in a stream, which has no deadline, and outside
/// a call: a spawned task does not inherit it.
#[must_use]
pub fn deadline() -> Option<std::time::Instant> {
    CALL.try_with(|call| call.deadline).ok().flatten().map(Instant::into_std)
}

/// The trace of the call that the current task answers.
pub(crate) fn trace() -> Option<TraceContext> {
    CALL.try_with(|call| call.trace).ok()
}

/// Does `work` in the name of a call: for a task that one call's work was handed to.
///
/// Work that is done for several calls at once has no single deadline and should not be scoped.
pub async fn with_deadline<F: Future>(deadline: Option<std::time::Instant>, work: F) -> F::Output {
    let deadline = deadline.map(Instant::from_std);
    let trace = trace().unwrap_or_else(TraceContext::random);
    CALL.scope(Call { deadline, trace }, work).await
}

/// The time that the header `grpc-timeout` gives, if it is there and well-formed.
pub(crate) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A duration as `grpc-timeout` spells it: eight digits at most, rounded down.
pub(crate) fn spelled(timeout: Duration) -> HeaderValue {
    const EIGHT_DIGITS: u128 = 99_999_999;
    struct Text(Duration);
    impl fmt::Display for Text {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            let (micros, millis) = (self.0.as_micros(), self.0.as_millis());
            if micros <= EIGHT_DIGITS {
                write!(formatter, "{micros}u")
            } else if millis <= EIGHT_DIGITS {
                write!(formatter, "{millis}m")
            } else {
                write!(formatter, "{}S", u128::from(self.0.as_secs()).min(EIGHT_DIGITS))
            }
        }
    }
    // Digits and a letter are always a header value.
    HeaderValue::from_str(&Text(timeout).to_string()).unwrap_or(HeaderValue::from_static("0u"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Duration> {
        timeout_of(&HeaderMap::from_iter([(GRPC_TIMEOUT, text.parse().unwrap())]))
    }

    #[test]
    fn timeouts_are_read() {
        assert_eq!(parsed("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parsed("3M"), Some(Duration::from_secs(180)));
        assert_eq!(parsed("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(parsed("15m"), Some(Duration::from_millis(15)));
        assert_eq!(parsed("7u"), Some(Duration::from_micros(7)));
        assert_eq!(parsed("0n"), Some(Duration::ZERO));
        for wrong in ["", "5", "S", "1x", "-1S", "+1S", "123456789S", "1 S"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
        assert_eq!(timeout_of(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for timeout in
            [Duration::ZERO, Duration::from_micros(1500), Duration::from_secs(100), Duration::from_secs(1_000_000)]
        {
            let header = spelled(timeout);
            assert_eq!(parsed(header.to_str().unwrap()), Some(timeout));
        }
    }

    #[tokio::test]
    async fn the_deadline_is_the_calls() {
        assert_eq!(deadline(), None);
        let at = std::time::Instant::now();
        with_deadline(Some(at), async { assert_eq!(deadline(), Some(at)) }).await;
        assert_eq!(deadline(), None);
    }
}
