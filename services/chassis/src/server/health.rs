//! Whether a service is fit to serve, as `grpc.health.v1` tells it.

use std::sync::Arc;

use tokio::sync::watch;
use tonic_health::{ServingStatus, server::HealthReporter};

/// The name under which the health service tells that the process lives, fit to serve or not: for liveness probes,
/// which must not restart a service whose database is away. Every other name (`""` and the gRPC services) tells
/// whether it is fit to serve: for readiness probes and load balancers.
pub const LIVENESS: &str = "liveness";

/// The health of one service. Clones are handles to the same health.
#[derive(Clone, Debug)]
pub struct Health {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    fit: bool,
    draining: bool,
}

impl Health {
    /// The health of a service that is fit.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(State { fit: true, draining: false })) }
    }

    /// Says whether the service is fit to serve, for example whether its database answers. A service that is
    /// stopping stays NOT_SERVING whatever is said here.
    pub fn set(&self, fit: bool) {
        self.change(|state| State { fit, ..state });
    }

    /// Whether callers are told SERVING.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.state.borrow().is_serving()
    }

    /// From now on the service is stopping.
    pub(super) fn drain(&self) {
        self.change(|state| State { draining: true, ..state });
    }

    fn change(&self, next: impl Fn(State) -> State) {
        self.state.send_if_modified(|state| {
            let before = *state;
            *state = next(before);
            if before.is_serving() != state.is_serving() {
                let status = if state.is_serving() { "SERVING" } else { "NOT_SERVING" };
                tracing::info!(status, "health changed");
            }
            *state != before
        });
    }

    /// Tells the reporter of every change under all names, for ever.
    pub(super) async fn report(&self, reporter: HealthReporter, names: Vec<String>) {
        let mut states = self.state.subscribe();
        reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        loop {
            let status = if states.borrow_and_update().is_serving() {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            for name in &names {
                reporter.set_service_status(name, status).await;
            }
            // The sender lives in `self`, so waiting can't fail while we are borrowed.
            if states.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn is_serving(self) -> bool {
        self.fit && !self.draining
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draining_service_never_serves_again() {
        let health = Health::new();
        assert!(health.is_serving());
        health.set(false);
        assert!(!health.is_serving());
        health.set(true);
        assert!(health.is_serving());
        health.drain();
        health.set(true);
        assert!(!health.is_serving());
    }
}
