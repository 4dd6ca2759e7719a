//! A question and its parts, in the domain's own terms.

use std::ops::Range;

/// What the citizen wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Something is wrong.
    Complaint,
    /// Something is to be explained.
    Question,
    /// Something could be done.
    Proposal,
    /// Thanks.
    Thanks,
    /// Advertising or the like; opens no case.
    Spam,
}

/// How soon a question must be dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// In the usual time.
    Normal,
    /// Sooner than usual.
    High,
    /// At once.
    Emergency,
}

/// Who decided on a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The classifier, sure enough of itself.
    Auto,
    /// Nobody yet: a person must look.
    Review,
    /// A person.
    Human,
}

/// A topic and how probable it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Code of the topic.
    pub topic: String,
    /// Code of its group.
    pub group: String,
    /// Probability, 0 to 1.
    pub confidence: f64,
}

/// A question of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Place within the message, from 1.
    pub ordinal: u32,
    /// Code of the topic; empty when nothing was recognised.
    pub topic: String,
    /// Code of its group; empty when nothing was recognised.
    pub group: String,
    /// Probability that the topic is right, 0 to 1.
    pub confidence: f64,
    /// Other topics considered, the likeliest first.
    pub alternatives: Vec<Candidate>,
    /// What the citizen wants.
    pub kind: Kind,
    /// How soon it must be dealt with.
    pub urgency: Urgency,
    /// Codes of the places concerned, the most specific first, each with the places it lies in.
    pub places: Vec<String>,
    /// Bytes of the text.
    pub span: Range<u32>,
    /// Who decided.
    pub decision: Decision,
}
