//! The names of the OpenTelemetry semantic conventions for RPC, all in one place: they are still moving.
//! <https://opentelemetry.io/docs/specs/semconv/rpc/>

/// `grpc`.
pub(super) const RPC_SYSTEM_NAME: &str = "rpc.system.name";
/// The full method: `otklik.intake.v1.IntakeService/GetMessage`.
pub(super) const RPC_METHOD: &str = "rpc.method";
/// The code by name: `NOT_FOUND`.
pub(super) const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
/// The same, and only there when the call failed.
pub(super) const ERROR_TYPE: &str = "error.type";
/// A histogram in seconds.
pub(super) const RPC_SERVER_CALL_DURATION: &str = "rpc.server.call.duration";
/// A histogram in seconds.
pub(super) const RPC_CLIENT_CALL_DURATION: &str = "rpc.client.call.duration";

/// The value of [`RPC_SYSTEM_NAME`].
pub(super) const GRPC: &str = "grpc";
/// The value of [`RPC_METHOD`] for a method that is not known; what callers make up must not become labels.
pub(super) const OTHER: &str = "_OTHER";
/// The advised bounds of a duration's buckets, in seconds.
pub(super) const DURATION_BOUNDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
