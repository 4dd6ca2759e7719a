//! An answer: draft, approve or send back, publish.

use jiff::{Timestamp, civil::Date};
use otklik_chassis::{error::Error, validate::Violations};
use otklik_proto::{
    assignment::v1::Outcome,
    feedback::v1::{AnswerKind, AnswerState, SendBackReason},
};
use uuid::Uuid;

use super::{commitment::SALT, listed};

/// Reason of refusals that the state of the answer is to blame for.
pub const ANSWER_STATE_FORBIDS: &str = "ANSWER_STATE_FORBIDS";
/// Reason of the refusal to approve what one has drafted oneself.
pub const FOUR_EYES: &str = "FOUR_EYES";
/// Reason of the refusal to change what somebody else has changed meanwhile.
pub const ETAG_MISMATCH: &str = "ETAG_MISMATCH";

/// An answer to a case, without its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its id.
    pub id: Uuid,
    /// The case it answers.
    pub case_id: Uuid,
    /// What it says beyond its words.
    pub terms: Terms,
    /// Where it stands.
    pub state: AnswerState,
    /// Number of the draft, from 1.
    pub revision: u32,
    /// Grows with every change.
    pub version: u32,
    /// Subject of the principal that drafted it last.
    pub drafted_by: String,
    /// Subject of the principal that approved it; empty before.
    pub approved_by: String,
    /// Why it was sent back last.
    pub send_back_reason: SendBackReason,
    /// When it was drafted last.
    pub drafted: Timestamp,
    /// When it was approved.
    pub approved: Option<Timestamp>,
    /// When it was published.
    pub published: Option<Timestamp>,
}

/// What an answer says beyond its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What it is.
    pub kind: AnswerKind,
    /// Outcome; unspecified unless it is final.
    pub outcome: Outcome,
    /// Day by which something is promised.
    pub promise_date: Option<Date>,
    /// Template it began from; may be empty.
    pub template_id: String,
}

/// The words of an answer: kept apart, because they can be erased.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Wording {
    /// The text as it goes out.
    pub text: String,
    /// Salt of the commitment to the text.
    pub salt: [u8; SALT],
    /// Addresses of photos or acts that prove it.
    pub proof_urls: Vec<String>,
    /// What the approver wrote when sending it back.
    pub send_back_comment: String,
}

impl std::fmt::Debug for Wording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wording([redacted])")
    }
}

impl Terms {
    /// Notes what doesn't fit together. `today` is the present day in UTC: a promise may not lie in the past.
    pub fn check(&self, today: Date, violations: &mut Violations) {
        let is_final = self.kind == AnswerKind::Final;
        violations.check(self.kind != AnswerKind::Unspecified, "kind", "must be FIRST_RESPONSE, INTERIM or FINAL");
        if is_final {
            violations.check(self.outcome != Outcome::Unspecified, "outcome", "must be set for a final answer");
        } else {
            violations.check(
                self.outcome == Outcome::Unspecified,
                "outcome",
                "must be unset unless the answer is final",
            );
        }
        match self.promise_date {
            None => {
                let needed = is_final && self.outcome == Outcome::Promised;
                violations.check(!needed, "promise_date", "must be set for outcome PROMISED");
            }
            Some(date) => {
                let fits = self.outcome == Outcome::Promised;
                violations.check(fits, "promise_date", "must be empty unless the outcome is PROMISED");
                violations.check(date >= today, "promise_date", "must not lie in the past");
            }
        }
    }
}

impl Answer {
    /// The first draft of an answer.
    #[must_use]
    pub fn draft(id: Uuid, case_id: Uuid, terms: Terms, by: &str, now: Timestamp) -> Self {
        Self {
            id,
            case_id,
            terms,
            state: AnswerState::Drafted,
            revision: 1,
            version: 1,
            drafted_by: by.to_owned(),
            approved_by: String::new(),
            send_back_reason: SendBackReason::Unspecified,
            drafted: now,
            approved: None,
            published: None,
        }
    }

    /// Changes with every change.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("v{}", self.version)
    }

    /// Whether the caller has seen the latest version; an empty etag acts on whatever is there.
    ///
    /// # Errors
    /// [`ETAG_MISMATCH`].
    pub fn check_etag(&self, etag: &str) -> Result<(), Error> {
        if etag.is_empty() || etag == self.etag() {
            return Ok(());
        }
        Err(Error::Aborted {
            reason: ETAG_MISMATCH,
            description: format!(
                "answer {} is {} and has etag {}: somebody else has changed it; read it and decide again",
                self.id,
                spelled(self.state),
                self.etag()
            ),
        })
    }

    /// Drafts it anew.
    ///
    /// # Errors
    /// [`ANSWER_STATE_FORBIDS`] once it is approved or published.
    pub fn redraft(&mut self, terms: Terms, by: &str, now: Timestamp) -> Result<(), Error> {
        self.must_be(&[AnswerState::Drafted, AnswerState::SentBack], "drafted anew")?;
        self.terms = terms;
        self.state = AnswerState::Drafted;
        self.revision += 1;
        self.version += 1;
        by.clone_into(&mut self.drafted_by);
        self.drafted = now;
        Ok(())
    }

    /// Approves it: four eyes, so by another than who drafted it.
    ///
    /// # Errors
    /// [`ANSWER_STATE_FORBIDS`] unless it is drafted; [`FOUR_EYES`].
    pub fn approve(&mut self, by: &str, now: Timestamp) -> Result<(), Error> {
        self.must_be(&[AnswerState::Drafted], "approved")?;
        if by == self.drafted_by {
            return Err(Error::Precondition {
                reason: FOUR_EYES,
                subject: format!("answer/{}", self.id),
                description: format!(
                    "answer {} is DRAFTED, by the caller: it is approved by another than who drafted it; the caller may draft \
                     it anew (DraftAnswer) or send it back (SendBackAnswer)",
                    self.id
                ),
            });
        }
        self.state = AnswerState::Approved;
        self.version += 1;
        by.clone_into(&mut self.approved_by);
        self.approved = Some(now);
        Ok(())
    }

    /// Sends it back to be drafted anew.
    ///
    /// # Errors
    /// [`ANSWER_STATE_FORBIDS`] unless it is drafted or approved.
    pub fn send_back(&mut self, reason: SendBackReason) -> Result<(), Error> {
        self.must_be(&[AnswerState::Drafted, AnswerState::Approved], "sent back")?;
        self.state = AnswerState::SentBack;
        self.version += 1;
        self.approved_by.clear();
        self.approved = None;
        self.send_back_reason = reason;
        Ok(())
    }

    /// Publishes it; it can't be taken back.
    ///
    /// # Errors
    /// [`ANSWER_STATE_FORBIDS`] unless it is approved.
    pub fn publish(&mut self, now: Timestamp) -> Result<(), Error> {
        self.must_be(&[AnswerState::Approved], "published")?;
        self.state = AnswerState::Published;
        self.version += 1;
        self.published = Some(now);
        Ok(())
    }

    /// Whether there are words to be sent.
    ///
    /// # Errors
    /// [`ANSWER_STATE_FORBIDS`] when they were erased with the messages that the answer was for.
    pub fn check_words(&self, wording: &Wording) -> Result<(), Error> {
        if !wording.text.is_empty() {
            return Ok(());
        }
        Err(Error::Precondition {
            reason: ANSWER_STATE_FORBIDS,
            subject: format!("answer/{}", self.id),
            description: format!(
                "answer {} is {}, and its text was erased with the messages that it was for: a message that has joined the \
                 case since needs another; allowed: SendBackAnswer, then DraftAnswer anew",
                self.id,
                spelled(self.state)
            ),
        })
    }

    fn must_be(&self, states: &[AnswerState], done: &str) -> Result<(), Error> {
        if states.contains(&self.state) {
            return Ok(());
        }
        let allowed = match self.state {
            AnswerState::Drafted => "DraftAnswer anew, ApproveAnswer, SendBackAnswer",
            AnswerState::SentBack => "DraftAnswer anew",
            AnswerState::Approved => "PublishAnswer, SendBackAnswer",
            AnswerState::Published | AnswerState::Unspecified => "nothing, it can't be taken back",
        };
        let state = spelled(self.state);
        let wanted = listed(states.iter().map(AnswerState::as_str_name), "ANSWER_STATE_");
        Err(Error::Precondition {
            reason: ANSWER_STATE_FORBIDS,
            subject: format!("answer/{}", self.id),
            description: format!(
                "answer {} is {state}: it can be {done} when {wanted}; in {state} allowed: {allowed}",
                self.id
            ),
        })
    }
}

fn spelled(state: AnswerState) -> &'static str {
    state.as_str_name().trim_start_matches("ANSWER_STATE_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn terms(kind: AnswerKind, outcome: Outcome, promise_date: Option<Date>) -> Terms {
        Terms { kind, outcome, promise_date, template_id: String::new() }
    }

    fn answer() -> Answer {
        let terms = terms(AnswerKind::Final, Outcome::Done, None);
        Answer::draft(Uuid::from_u128(1), Uuid::from_u128(2), terms, "anna", NOW)
    }

    fn reason(result: Result<(), Error>) -> &'static str {
        match result {
            Ok(()) => "",
            Err(Error::Precondition { reason, .. } | Error::Aborted { reason, .. }) => reason,
            Err(other) => panic!("{other}"),
        }
    }

    fn violations(terms: &Terms) -> Vec<String> {
        let mut violations = Violations::new();
        terms.check("2020-11-19".parse().unwrap(), &mut violations);
        match violations.finish() {
            Err(Error::Invalid(found)) => found.into_iter().map(|violation| violation.field).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_way_out() {
        let mut answer = answer();
        let first = answer.etag();
        assert_eq!(reason(answer.publish(NOW)), ANSWER_STATE_FORBIDS);
        assert_eq!(reason(answer.approve("anna", NOW)), FOUR_EYES);
        assert_eq!(answer.etag(), first, "a refusal changes nothing");
        answer.approve("boris", NOW).unwrap();
        assert_eq!(reason(answer.check_etag(&first)), ETAG_MISMATCH);
        assert_eq!(reason(answer.redraft(answer.terms.clone(), "anna", NOW)), ANSWER_STATE_FORBIDS);
        answer.publish(NOW).unwrap();
        assert_eq!(answer.state, AnswerState::Published);
        for refused in [answer.publish(NOW), answer.approve("boris", NOW), answer.send_back(SendBackReason::NoProof)] {
            assert_eq!(reason(refused), ANSWER_STATE_FORBIDS);
        }
    }

    #[test]
    fn sent_back_it_is_drafted_anew() {
        let mut answer = answer();
        answer.approve("boris", NOW).unwrap();
        answer.send_back(SendBackReason::EmptyReply).unwrap();
        assert_eq!((answer.state, answer.approved_by.as_str()), (AnswerState::SentBack, ""));
        assert_eq!(reason(answer.approve("boris", NOW)), ANSWER_STATE_FORBIDS);
        answer.redraft(answer.terms.clone(), "boris", NOW).unwrap();
        assert_eq!((answer.revision, answer.drafted_by.as_str()), (2, "boris"));
        assert_eq!(reason(answer.approve("boris", NOW)), FOUR_EYES);
        answer.approve("anna", NOW).unwrap();
    }

    #[test]
    fn terms_must_fit_together() {
        let day: Date = "2020-12-01".parse().unwrap();
        let past: Date = "2020-11-18".parse().unwrap();
        assert!(violations(&terms(AnswerKind::FirstResponse, Outcome::Unspecified, None)).is_empty());
        assert!(violations(&terms(AnswerKind::Final, Outcome::Done, None)).is_empty());
        assert!(violations(&terms(AnswerKind::Final, Outcome::Promised, Some(day))).is_empty());
        assert_eq!(violations(&terms(AnswerKind::Unspecified, Outcome::Unspecified, None)), ["kind"]);
        assert_eq!(violations(&terms(AnswerKind::Final, Outcome::Unspecified, None)), ["outcome"]);
        assert_eq!(violations(&terms(AnswerKind::Interim, Outcome::Done, None)), ["outcome"]);
        assert_eq!(violations(&terms(AnswerKind::Final, Outcome::Promised, None)), ["promise_date"]);
        assert_eq!(violations(&terms(AnswerKind::Final, Outcome::Promised, Some(past))), ["promise_date"]);
        assert_eq!(violations(&terms(AnswerKind::Final, Outcome::Done, Some(day))), ["promise_date"]);
    }
}
