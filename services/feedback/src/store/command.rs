//! Everything that changes the state of feedback, and what comes of it.

use otklik_proto::{
    assignment::v1::{CaseState, ReopenReason},
    feedback::v1::{GiveUpReason, SendBackReason},
};
use uuid::Uuid;

use crate::domain::{
    answer::{Answer, Terms, Wording},
    case::Fact,
    delivery::{Attempt, Delivery, Route},
};

/// A change that a call, an entry of another service or the delivery task asks for.
#[derive(Debug)]
pub enum Command {
    /// The assignment service says something of a case.
    Follow(Uuid, Fact),
    /// A message was withdrawn or erased.
    MessageGone(Uuid, Fate),
    /// An answer is drafted.
    Draft(Box<Draft>),
    /// An answer is approved.
    Approve(Change),
    /// An answer is sent back, with a reason and a comment.
    SendBack(Change, SendBackReason, String),
    /// An answer is published.
    Publish(Box<Publication>),
    /// An author rates the answer to a message.
    Rate(Box<Rate>),
    /// An author wants a case reopened.
    RequestReopen {
        /// The case.
        case_id: Uuid,
        /// The author's message.
        message_id: Uuid,
        /// Why.
        reason: ReopenReason,
    },
    /// Due deliveries are taken up, at most so many.
    TakeUp(u64),
    /// What became of deliveries that were taken up.
    Settle(Vec<(Uuid, Attempt)>),
    /// Whoever had taken deliveries up is no more.
    EndLeases,
}

/// What became of a message at intake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Withdrawn: there is no place to reply to.
    Withdrawn,
    /// Erased with its author's data.
    Erased,
}

impl Fate {
    /// Why deliveries to the message are given up.
    #[must_use]
    pub fn give_up_reason(self) -> GiveUpReason {
        match self {
            Self::Withdrawn => GiveUpReason::Withdrawn,
            Self::Erased => GiveUpReason::Erased,
        }
    }
}

/// A draft, new or anew.
#[derive(Debug)]
pub struct Draft {
    /// The case.
    pub case_id: Uuid,
    /// The answer to be drafted anew; `None` drafts a new one.
    pub answer_id: Option<Uuid>,
    /// Etag of that answer; empty acts on whatever is there.
    pub etag: String,
    /// Who drafts.
    pub by: String,
    /// What it says beyond its words.
    pub terms: Terms,
    /// Its words.
    pub wording: Wording,
}

/// A change of an existing answer.
#[derive(Debug)]
pub struct Change {
    /// The answer.
    pub answer_id: Uuid,
    /// Its etag as the caller saw it; empty acts on whatever is there.
    pub etag: String,
    /// Who changes it.
    pub by: String,
}

/// A publication with what others say of the case.
#[derive(Debug)]
pub struct Publication {
    /// The answer.
    pub change: Change,
    /// Its case.
    pub case_id: Uuid,
    /// What the case's owner and intake say; `None` when they were not asked, because the answer was not approved.
    pub standing: Option<Standing>,
}

/// A case as its owner has it, and the ways to its authors.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Where it stands.
    pub state: CaseState,
    /// Times it was reopened.
    pub round: u32,
    /// Its messages.
    pub recipients: Vec<Recipient>,
}

/// The author of one message of a case.
#[derive(Debug, Clone)]
pub struct Recipient {
    /// The message.
    pub message_id: Uuid,
    /// Where its author is reached.
    pub route: Route,
    /// What became of the message, if it is gone.
    pub fate: Option<Fate>,
}

/// A rating to be recorded.
#[derive(Debug)]
pub struct Rate {
    /// The case.
    pub case_id: Uuid,
    /// The message whose author rates.
    pub message_id: Uuid,
    /// 1 to 5; 0 is none.
    pub score: u32,
    /// Whether the author counts as satisfied.
    pub satisfied: bool,
    /// What the author says.
    pub comment: String,
    /// Why a dissatisfied author wants the case reopened.
    pub reopen_reason: ReopenReason,
}

/// What a call is told.
#[derive(Debug)]
pub enum Reply {
    /// Nothing: the fact is taken in.
    Nothing,
    /// An answer as it is now.
    Answer(Box<AnswerView>),
    /// A rating as it is now.
    Rating(Box<RatingView>),
    /// The id of a reopen request.
    ReopenRequest(Uuid),
    /// The deliveries taken up.
    TakenUp(Vec<Delivery>),
}

/// An answer with its words and the messages it went to.
#[derive(Debug, Clone)]
pub struct AnswerView {
    /// The answer.
    pub answer: Answer,
    /// Its words; empty once erased.
    pub wording: Wording,
    /// The messages it went to; empty before it is published.
    pub message_ids: Vec<Uuid>,
}

/// A rating with its comment.
#[derive(Clone, PartialEq, Eq)]
pub struct RatingView {
    /// Its id.
    pub id: Uuid,
    /// The case.
    pub case_id: Uuid,
    /// The message whose author rates.
    pub message_id: Uuid,
    /// The answer that is rated.
    pub answer_id: Uuid,
    /// 1 to 5; 0 is none.
    pub score: u32,
    /// Whether the author counts as satisfied.
    pub satisfied: bool,
    /// When it was given.
    pub rated: jiff::Timestamp,
    /// What the author says; empty once erased.
    pub comment: String,
}

impl std::fmt::Debug for RatingView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RatingView").field("id", &self.id).field("case_id", &self.case_id).finish_non_exhaustive()
    }
}
