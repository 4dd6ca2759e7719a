//! What a service does besides answering calls: tasks that it owns, and that are waited for when it stops.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The tasks of one service. Clones are handles to the same group.
///
/// A task that ends with an error or a panic stops the service: a consumer or a writer lane that has silently gone
/// would be worse. A task that is done may end with `Ok` at any time.
#[derive(Clone, Debug)]
pub struct Tasks {
    service: &'static str,
    tracker: TaskTracker,
    token: CancellationToken,
    failure: Arc<watch::Sender<Option<String>>>,
}

impl Tasks {
    /// An empty group.
    #[must_use]
    pub fn new(service: &'static str) -> Self {
        Self {
            service,
            tracker: TaskTracker::new(),
            token: CancellationToken::new(),
            failure: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Spawns a task. It should end soon after [`Tasks::token`] is cancelled; `name` is for the log.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (service, failure) = (self.service, self.failure.clone());
        self.tracker.spawn(async move {
            let problem = match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("{error:#}"),
                Err(panic) => format!("panicked: {}", panic_message(panic.as_ref())),
            };
            tracing::error!(service, task = name, error = problem, "a task failed");
            // The first failure is the one that is reported: others often follow from it.
            failure.send_if_modified(|failure| {
                let first = failure.is_none();
                if first {
                    *failure = Some(format!("task {name} of {service}: {problem}"));
                }
                first
            });
        });
    }

    /// Cancelled when tasks must end: after the last call was answered, so that what calls rely on (the writer lane)
    /// outlives them.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Returns the first failure, when there is one.
    pub(super) async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        // The sender lives in `self`, so waiting can't fail while we are borrowed.
        failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone()).unwrap_or_default()
    }

    /// The first failure, if there was one.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// Ends all tasks. Returns whether they did within the time.
    pub(super) async fn end(&self, limit: Duration) -> bool {
        self.token.cancel();
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait()).await.is_ok()
    }

    /// How many tasks still run.
    pub(super) fn running(&self) -> usize {
        self.tracker.len()
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_when_told() {
        let tasks = Tasks::new("test");
        let token = tasks.token();
        tasks.spawn("waits", async move {
            token.cancelled().await;
            Ok(())
        });
        assert_eq!(tasks.running(), 1);
        assert!(tasks.end(Duration::from_secs(10)).await);
        assert_eq!(tasks.running(), 0);
    }

    #[tokio::test]
    async fn a_task_that_does_not_end_is_reported() {
        let tasks = Tasks::new("test");
        tasks.spawn("stays", std::future::pending());
        assert!(!tasks.end(Duration::from_millis(1)).await);
        assert_eq!(tasks.running(), 1);
    }

    #[tokio::test]
    async fn the_first_failure_is_told() {
        let tasks = Tasks::new("test");
        tasks.spawn("done", async { Ok(()) });
        tasks.spawn("fails", async { anyhow::bail!("no luck") });
        assert_eq!(tasks.failed().await, "task fails of test: no luck");
        let tasks = Tasks::new("test");
        tasks.spawn("panics", async { panic!("oh {}", 1) });
        assert_eq!(tasks.failed().await, "task panics of test: panicked: oh 1");
    }
}
