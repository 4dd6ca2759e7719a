//! Collects everything that is wrong with a request, so that the caller hears of it at once.

use uuid::Uuid;

use crate::error::{Error, Violation};

/// The violations found so far. Fields are named by their path in the request (`source.external_id`,
/// `questions[2].topic`).
///
/// ```ignore
/// let mut violations = Violations::new();
/// let message_id = violations.uuid("message_id", &request.message_id);
/// violations.require("reason", &request.reason);
/// violations.finish()?;
/// ```
#[derive(Debug, Default)]
#[must_use = "violations are only reported by `finish`"]
pub struct Violations {
    found: Vec<Violation>,
}

impl Violations {
    /// A collector that has found nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a violation.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.found.push(Violation { field: field.into(), description: description.into() });
    }

    /// A violation unless `holds`. Returns `holds`.
    pub fn check(&mut self, holds: bool, field: impl Into<String>, description: impl Into<String>) -> bool {
        if !holds {
            self.add(field, description);
        }
        holds
    }

    /// A violation if the text is empty or blank. Returns whether there was text.
    pub fn require(&mut self, field: impl Into<String>, value: &str) -> bool {
        self.check(!value.trim().is_empty(), field, "must not be empty")
    }

    /// A violation if the optional value is missing.
    pub fn required<T>(&mut self, field: impl Into<String>, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(field, "must be set");
        }
        value
    }

    /// A violation if the text has more than `limit` characters (not bytes). Returns whether it fits.
    pub fn at_most(&mut self, field: impl Into<String>, value: &str, limit: usize) -> bool {
        // A character is at least a byte: a short text need not be counted.
        let fits = value.len() <= limit || value.chars().count() <= limit;
        self.check(fits, field, format!("must have at most {limit} characters"))
    }

    /// The id that the field holds, or a violation if it is empty or not a UUID.
    pub fn uuid(&mut self, field: impl Into<String>, value: &str) -> Option<Uuid> {
        if value.is_empty() {
            self.add(field, "must not be empty");
            return None;
        }
        match Uuid::try_parse(value) {
            Ok(id) => Some(id),
            Err(_) => {
                self.add(field, "must be a UUID");
                None
            }
        }
    }

    /// The id that an optional field holds: `None` when it is empty, a violation when it is not a UUID.
    pub fn optional_uuid(&mut self, field: impl Into<String>, value: &str) -> Option<Uuid> {
        if value.is_empty() { None } else { self.uuid(field, value) }
    }

    /// The instant that the field holds, or a violation if it is missing or out of the calendar's range
    /// (years 0001 to 9999).
    pub fn timestamp(
        &mut self,
        field: impl Into<String>,
        value: Option<&prost_types::Timestamp>,
    ) -> Option<jiff::Timestamp> {
        let field = field.into();
        let value = self.required(field.clone(), value)?;
        match jiff::Timestamp::new(value.seconds, value.nanos) {
            Ok(instant) if (0..1_000_000_000).contains(&value.nanos) && instant.as_second() >= FIRST_SECOND => {
                Some(instant)
            }
            _ => {
                self.add(field, "must be a time from year 0001 to 9999");
                None
            }
        }
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Ends the collection.
    ///
    /// # Errors
    /// `Invalid` with every violation, if there is one.
    pub fn finish(self) -> Result<(), Error> {
        if self.found.is_empty() { Ok(()) } else { Err(Error::Invalid(self.found)) }
    }
}

/// 0001-01-01T00:00:00Z, the first instant that `google.protobuf.Timestamp` allows.
const FIRST_SECOND: i64 = -62_135_596_800;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(violations: Violations) -> Vec<String> {
        match violations.finish() {
            Err(Error::Invalid(found)) => found.into_iter().map(|violation| violation.field).collect(),
            Err(other) => panic!("not an Invalid: {other}"),
            Ok(()) => Vec::new(),
        }
    }

    #[test]
    fn a_sound_request_has_none() {
        let mut violations = Violations::new();
        assert!(violations.require("text", "свет"));
        assert!(violations.at_most("text", "свет", 4));
        assert!(violations.uuid("id", "018f3b1e-0000-7000-8000-000000000001").is_some());
        assert_eq!(violations.optional_uuid("cause", ""), None);
        assert!(violations.timestamp("time", Some(&prost_types::Timestamp { seconds: 0, nanos: 0 })).is_some());
        assert!(violations.is_empty());
        assert!(fields(violations).is_empty());
    }

    #[test]
    fn all_are_reported_in_the_order_of_the_checks() {
        let mut violations = Violations::new();
        violations.require("text", " \n");
        violations.at_most("reason", "света", 4);
        violations.uuid("id", "7");
        violations.uuid("other_id", "");
        violations.timestamp("time", None);
        violations.timestamp("end_time", Some(&prost_types::Timestamp { seconds: 0, nanos: -1 }));
        violations.timestamp("far_time", Some(&prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }));
        violations.check(false, "questions[1].topic", "unknown");
        assert_eq!(
            fields(violations),
            ["text", "reason", "id", "other_id", "time", "end_time", "far_time", "questions[1].topic"]
        );
    }
}
