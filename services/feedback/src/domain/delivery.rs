//! The way of an answer to one author: attempts, back-off, giving up.

use jiff::{SignedDuration, Timestamp};
use otklik_proto::feedback::v1::{AnswerKind, DeliveryState, GiveUpReason};
use uuid::Uuid;

/// How often a delivery is tried at the most. With [`pause_after`] the last attempt is 38.5 hours after the first: a
/// channel that is down over a Sunday loses nobody.
pub const MOST_ATTEMPTS: u32 = 16;
/// The pause after the first failed attempt.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// The longest pause.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(6);
/// For how long whoever takes a delivery up has it to himself. Longer than a call to a channel may take.
pub const LEASE: SignedDuration = SignedDuration::from_secs(60);
/// Longest code kept of what a channel said, in bytes.
const LONGEST_CODE: usize = 64;

/// Where a channel finds the author of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Code of the source.
    pub source_id: String,
    /// The item to reply to.
    pub external_id: String,
    /// The channel within the source, a number of `otklik.intake.v1.ChannelKind`.
    pub channel_kind: i32,
}

/// The delivery of an answer to the author of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id, and the idempotency key towards the channel.
    pub id: Uuid,
    /// The answer.
    pub answer_id: Uuid,
    /// The case.
    pub case_id: Uuid,
    /// The message.
    pub message_id: Uuid,
    /// What the answer is.
    pub kind: AnswerKind,
    /// Where to.
    pub route: Route,
    /// Where it stands.
    pub state: DeliveryState,
    /// Times it was tried.
    pub attempts: u32,
    /// When it is taken up next; while somebody has taken it up, when his lease ends.
    pub due: Timestamp,
    /// Somebody has taken it up.
    pub leased: bool,
    /// When it arrived.
    pub delivered: Option<Timestamp>,
    /// Why it was given up.
    pub give_up_reason: GiveUpReason,
    /// What the channel said last, as a code.
    pub last_error: String,
    /// When it was created.
    pub created: Timestamp,
}

/// What became of taking a delivery up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The channel has delivered it, now or before.
    Delivered,
    /// The channel says to try later, with a code.
    Failed(String),
    /// The channel will never deliver it, with a code.
    Refused(String),
    /// The channel could not be reached at all: no attempt.
    NotTried,
}

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It arrived.
    Delivered,
    /// It was given up.
    GivenUp,
}

/// The pause after the `attempts`-th failed attempt: 30 s, 1 min, 2 min, 4 min … doubling to 6 h.
#[must_use]
pub fn pause_after(attempts: u32) -> SignedDuration {
    let doubled = FIRST_PAUSE.checked_mul(1 << attempts.saturating_sub(1).min(20));
    doubled.map_or(LONGEST_PAUSE, |pause| pause.min(LONGEST_PAUSE))
}

impl Delivery {
    /// Whether it is neither delivered nor given up.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, DeliveryState::Pending | DeliveryState::Retrying)
    }

    /// Takes in what became of an attempt. One that has ended meanwhile (its message was erased) stays as it is.
    pub fn settle(&mut self, attempt: &Attempt, now: Timestamp) -> Option<Ending> {
        if !self.is_open() {
            return None;
        }
        self.leased = false;
        self.due = now;
        if *attempt == Attempt::NotTried {
            return None;
        }
        self.attempts += 1;
        match attempt {
            Attempt::Delivered => {
                self.state = DeliveryState::Delivered;
                self.delivered = Some(now);
                self.last_error.clear();
                Some(Ending::Delivered)
            }
            Attempt::Refused(code) => {
                self.last_error = tidy(code);
                self.give_up(GiveUpReason::Refused)
            }
            Attempt::Failed(code) => {
                self.last_error = tidy(code);
                if self.attempts >= MOST_ATTEMPTS {
                    return self.give_up(GiveUpReason::Exhausted);
                }
                self.state = DeliveryState::Retrying;
                self.due = now.saturating_add(pause_after(self.attempts)).unwrap_or(Timestamp::MAX);
                None
            }
            Attempt::NotTried => None,
        }
    }

    /// Gives it up, if it is still open.
    pub fn give_up(&mut self, reason: GiveUpReason) -> Option<Ending> {
        if !self.is_open() {
            return None;
        }
        self.state = DeliveryState::GivenUp;
        self.give_up_reason = reason;
        self.leased = false;
        Some(Ending::GivenUp)
    }
}

/// A channel's code as it may be stored: codes are capital letters, digits and underscores. Anything else might tell
/// more than it should.
fn tidy(code: &str) -> String {
    let sound = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if !code.is_empty() && code.len() <= LONGEST_CODE && code.bytes().all(sound) {
        code.to_owned()
    } else {
        "OTHER".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            id: Uuid::from_u128(1),
            answer_id: Uuid::from_u128(2),
            case_id: Uuid::from_u128(3),
            message_id: Uuid::from_u128(4),
            kind: AnswerKind::Final,
            route: Route::default(),
            state: DeliveryState::Pending,
            attempts: 0,
            due: Timestamp::UNIX_EPOCH,
            leased: true,
            delivered: None,
            give_up_reason: GiveUpReason::Unspecified,
            last_error: String::new(),
            created: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_schedule_is_as_documented() {
        let minutes: Vec<f64> = (1..MOST_ATTEMPTS).map(|n| pause_after(n).as_secs_f64() / 60.0).collect();
        assert_eq!(minutes[..10], [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]);
        assert!(minutes[10..].iter().all(|pause| *pause == 360.0));
        let hours = minutes.iter().sum::<f64>() / 60.0;
        assert!((38.0..39.0).contains(&hours), "{hours}");
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn it_is_tried_until_exhausted() {
        let (mut delivery, mut now) = (delivery(), Timestamp::UNIX_EPOCH);
        for attempt in 1..MOST_ATTEMPTS {
            assert_eq!(delivery.settle(&Attempt::Failed("RATE_LIMITED".into()), now), None);
            assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Retrying, attempt));
            assert_eq!(delivery.due, now + pause_after(attempt));
            now = delivery.due;
        }
        assert_eq!(delivery.settle(&Attempt::Failed("RATE_LIMITED".into()), now), Some(Ending::GivenUp));
        assert_eq!(delivery.give_up_reason, GiveUpReason::Exhausted);
        assert_eq!(delivery.last_error, "RATE_LIMITED");
    }

    #[test]
    fn a_channel_out_of_reach_is_no_attempt() {
        let mut delivery = delivery();
        assert_eq!(delivery.settle(&Attempt::NotTried, Timestamp::UNIX_EPOCH), None);
        assert_eq!((delivery.state, delivery.attempts, delivery.leased), (DeliveryState::Pending, 0, false));
    }

    #[test]
    fn what_has_ended_stays_ended() {
        let mut delivery = delivery();
        assert_eq!(delivery.give_up(GiveUpReason::Erased), Some(Ending::GivenUp));
        assert_eq!(delivery.settle(&Attempt::Delivered, Timestamp::UNIX_EPOCH), None);
        assert_eq!(delivery.give_up(GiveUpReason::Withdrawn), None);
        assert_eq!(delivery.give_up_reason, GiveUpReason::Erased);
    }

    #[test]
    fn only_codes_are_kept() {
        assert_eq!(tidy("RATE_LIMITED"), "RATE_LIMITED");
        for wrong in ["", "user 5 blocked us", "Иванов", &"A".repeat(65)] {
            assert_eq!(tidy(wrong), "OTHER");
        }
    }
}
