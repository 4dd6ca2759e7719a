//! The one error of the house and its one table onto gRPC statuses.
//!
//! A layer below `grpc/` returns [`Error`]; only here is it decided which code, reason and details a
//! caller sees (google.rpc rich status, `ErrorInfo.domain` = `otklik`).

use std::{collections::HashMap, sync::Arc, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// `ErrorInfo.domain` of every error of the suite.
pub const DOMAIN: &str = "otklik";

/// Violations named in one answer: they travel in the trailers, which hold some 16 KiB.
const MOST_VIOLATIONS: usize = 50;

/// One thing wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, as in `messages[2].text`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

/// Why something was not done. Cheap to clone, so that one failed commit can answer all its callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request is malformed; all its violations at once.
    #[error("invalid request: {}", describe(.0))]
    Invalid(Vec<Violation>),
    /// There is no such resource.
    #[error("no {kind} {id}")]
    NotFound {
        /// What kind of resource, e.g. `message`.
        kind: &'static str,
        /// The identifier that was asked for.
        id: String,
    },
    /// The state of the resource forbids it; the description names the state and what is allowed.
    #[error("{description}")]
    Precondition {
        /// Stable reason, e.g. `CASE_STATE`.
        reason: &'static str,
        /// The resource, e.g. `case/0190…`.
        subject: String,
        /// The state it is in and what is allowed in it.
        description: String,
    },
    /// Somebody else changed the resource first.
    #[error("{description}")]
    Aborted {
        /// Stable reason, e.g. `ETAG_MISMATCH`.
        reason: &'static str,
        /// Who or what was first and what to do.
        description: String,
    },
    /// A request id was used before with another body.
    #[error("request_id {request_id} was used before with another body; use a new request_id")]
    RequestIdReused {
        /// The reused identifier.
        request_id: String,
    },
    /// The caller did not prove who it is.
    #[error("{description}")]
    Unauthenticated {
        /// What was missing or wrong with the credentials.
        description: String,
    },
    /// The caller is known and may not do this.
    #[error("permission {permission} denied: {description}")]
    PermissionDenied {
        /// The permission that was required.
        permission: String,
        /// Why it was denied.
        description: String,
    },
    /// Something needed is away for now; the call may be repeated.
    #[error("{description}")]
    Unavailable {
        /// What is away.
        description: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// A limit was reached; the call may be repeated later.
    #[error("{description}")]
    Exhausted {
        /// Which limit.
        description: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The caller's deadline passed before the work was done.
    #[error("the deadline passed before the work was done")]
    DeadlineExceeded,
    /// A ledger position does not belong to this ledger.
    #[error("{description}")]
    Cursor {
        /// What does not fit.
        description: String,
    },
    /// Our own fault; the cause is logged, never sent.
    #[error("internal error: {0:#}")]
    Internal(Arc<anyhow::Error>),
}

/// The reason that the contracts give for a missing resource of this kind.
fn not_found_reason(kind: &str) -> &'static str {
    match kind {
        "message" => "MESSAGE_NOT_FOUND",
        "source" => "SOURCE_NOT_FOUND",
        "author" => "AUTHOR_NOT_FOUND",
        "classification" => "CLASSIFICATION_NOT_FOUND",
        "case" => "CASE_NOT_FOUND",
        "member" => "MEMBER_NOT_FOUND",
        "answer" => "ANSWER_NOT_FOUND",
        "lifecycle" => "LIFECYCLE_NOT_FOUND",
        _ => "NOT_FOUND",
    }
}

fn describe(violations: &[Violation]) -> String {
    let parts: Vec<String> =
        violations.iter().take(MOST_VIOLATIONS_IN_WORDS).map(|v| format!("{}: {}", v.field, v.description)).collect();
    let more = violations.len().saturating_sub(MOST_VIOLATIONS_IN_WORDS);
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    parts.join("; ") + &rest
}

/// Violations spelled out in the message of an error; the details hold more.
const MOST_VIOLATIONS_IN_WORDS: usize = 10;

impl Error {
    /// An internal error from any cause.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::Internal(Arc::new(cause.into()))
    }

    /// A single violation.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation { field: field.into(), description: description.into() }])
    }

    /// No resource of this kind has this id.
    pub fn not_found(kind: &'static str, id: impl ToString) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }

    /// Something needed is away; try again in a second.
    pub fn unavailable(description: impl Into<String>) -> Self {
        Self::Unavailable { description: description.into(), retry_after: Duration::from_secs(1) }
    }

    /// Whether repeating later may succeed without anybody changing the request: an outage, not a refusal.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Exhausted { .. } | Self::DeadlineExceeded)
    }

    /// The gRPC code and the stable reason of `ErrorInfo`.
    pub fn code_and_reason(&self) -> (Code, &'static str) {
        match self {
            Self::Invalid(_) => (Code::InvalidArgument, "INVALID_FIELDS"),
            Self::NotFound { kind, .. } => (Code::NotFound, not_found_reason(kind)),
            Self::Precondition { reason, .. } => (Code::FailedPrecondition, reason),
            Self::Aborted { reason, .. } => (Code::Aborted, reason),
            Self::RequestIdReused { .. } => (Code::Aborted, "REQUEST_ID_REUSED"),
            Self::Unauthenticated { .. } => (Code::Unauthenticated, "UNAUTHENTICATED"),
            Self::PermissionDenied { .. } => (Code::PermissionDenied, "PERMISSION_DENIED"),
            Self::Unavailable { .. } => (Code::Unavailable, "UNAVAILABLE"),
            Self::Exhausted { .. } => (Code::ResourceExhausted, "RESOURCE_EXHAUSTED"),
            Self::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            Self::Cursor { .. } => (Code::FailedPrecondition, "LEDGER_POSITION_MISMATCH"),
            Self::Internal(_) => (Code::Internal, "INTERNAL"),
        }
    }

    fn details(&self, reason: &str) -> ErrorDetails {
        let mut metadata = HashMap::new();
        let mut details = ErrorDetails::new();
        match self {
            Self::Invalid(violations) => {
                for v in violations.iter().take(MOST_VIOLATIONS) {
                    details.add_bad_request_violation(v.field.clone(), v.description.clone());
                }
                if let Some(more) = violations.len().checked_sub(MOST_VIOLATIONS).filter(|more| *more > 0) {
                    metadata.insert("violations_left_out".to_owned(), more.to_string());
                }
            }
            Self::NotFound { kind, id } => {
                details.set_resource_info(*kind, id.clone(), "", "there is none with this id");
            }
            Self::Precondition { reason, subject, description } => {
                details.add_precondition_failure_violation(*reason, subject.clone(), description.clone());
            }
            Self::PermissionDenied { permission, .. } => {
                metadata.insert("permission".to_owned(), permission.clone());
            }
            Self::RequestIdReused { request_id } => {
                metadata.insert("request_id".to_owned(), request_id.clone());
            }
            Self::Unavailable { retry_after, .. } | Self::Exhausted { retry_after, .. } => {
                details.set_retry_info(Some(*retry_after));
            }
            Self::Internal(_) => {
                metadata.insert("trace_id".to_owned(), crate::telemetry::current_trace_id());
            }
            _ => {}
        }
        details.set_error_info(reason, DOMAIN, metadata);
        details
    }

    /// What an official is told, in Russian, where a person is likely to read it.
    fn localized(&self) -> Option<String> {
        Some(match self {
            Self::Precondition { .. } => {
                "Действие невозможно в текущем состоянии. Обновите страницу и проверьте допустимые действия.".to_owned()
            }
            Self::Aborted { .. } => {
                "Запись уже изменена другим сотрудником. Обновите её и повторите действие.".to_owned()
            }
            Self::NotFound { .. } => "Запись не найдена.".to_owned(),
            Self::PermissionDenied { .. } => "Недостаточно прав для этого действия.".to_owned(),
            Self::Unavailable { .. } | Self::Exhausted { .. } => {
                "Сервис временно недоступен. Повторите попытку позже.".to_owned()
            }
            _ => return None,
        })
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (code, reason) = error.code_and_reason();
        let mut details = error.details(reason);
        if let Some(text) = error.localized() {
            details.set_localized_message("ru-RU", text);
        }
        let message = match &error {
            Error::Internal(cause) => {
                tracing::error!(
                    error = format!("{cause:#}"),
                    trace_id = crate::telemetry::current_trace_id(),
                    "internal error"
                );
                "internal error; the trace id is in the details".to_owned()
            }
            other => other.to_string(),
        };
        Status::with_error_details(code, message, details)
    }
}

impl From<Status> for Error {
    /// Sorts what another service answered: outages stay outages, everything else is our own fault.
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unavailable | Code::Cancelled | Code::Aborted | Code::ResourceExhausted => {
                Self::unavailable(format!("a peer answered {}: {}", status.code(), status.message()))
            }
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            _ => Self::internal(anyhow::anyhow!("a peer answered {}: {}", status.code(), status.message())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_reaches_the_caller() {
        let error = Error::Invalid(vec![
            Violation { field: "text".into(), description: "is empty".into() },
            Violation { field: "source_id".into(), description: "is unknown".into() },
        ]);
        let status = Status::from(error);
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations.len(), 2);
        assert_eq!(details.error_info().unwrap().domain, DOMAIN);
    }

    #[test]
    fn a_thousand_violations_fit_into_the_trailers() {
        let violation = |n| Violation { field: format!("items[{n}].source_id"), description: "is no source".into() };
        let status = Status::from(Error::Invalid((0..1000).map(violation).collect()));
        assert!(status.details().len() + status.message().len() < 8192);
        assert_eq!(status.get_error_details().error_info().unwrap().metadata["violations_left_out"], "950");
    }

    #[test]
    fn an_internal_cause_is_not_sent() {
        let status = Status::from(Error::internal(anyhow::anyhow!("password=hunter2")));
        assert!(!status.message().contains("hunter2"));
        assert!(status.get_error_details().error_info().unwrap().metadata.contains_key("trace_id"));
    }
}
