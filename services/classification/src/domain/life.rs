//! What becomes of a message's classification: when a version arrives, when the message goes, when a person decides.
//!
//! Facts may come late, twice or out of order: what is known of a newer version, or of a message that has gone, stands.

use std::collections::HashSet;

use jiff::Timestamp;

use super::{
    places::Places,
    question::{Decision, Kind, Question, Urgency},
    taxonomy::Taxonomy,
};

/// Why a message was not classified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotClassified {
    /// It was withdrawn before.
    Withdrawn,
    /// It was erased before.
    Erased,
    /// Its text holds no words.
    Unreadable,
}

/// Where the classification of a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Every question is decided.
    Classified,
    /// At least one question waits for a person.
    InReview,
    /// There was nothing to classify, or what waited for a person has gone.
    NotClassified(NotClassified),
}

/// What is known of a message's questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// The version of the message that was looked at last.
    pub version: u32,
    /// Where it stands.
    pub state: State,
    /// The questions by ordinal; of a message that has gone, those it had.
    pub questions: Vec<Question>,
    /// When it was classified.
    pub classified: Timestamp,
    /// When a person last decided on it.
    pub corrected: Option<Timestamp>,
    /// Since when a person is waited for.
    pub waiting_since: Option<Timestamp>,
}

/// What a version of a message turned out to hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// These questions; never empty.
    Questions(Vec<Question>),
    /// Nothing that can be classified.
    Nothing(NotClassified),
}

/// The classification after a version of the message was looked at; `None` when that changes nothing.
pub fn arrive(
    before: Option<&Classification>,
    version: u32,
    finding: Finding,
    now: Timestamp,
) -> Option<Classification> {
    let questions = match finding {
        Finding::Nothing(reason @ (NotClassified::Withdrawn | NotClassified::Erased)) => {
            return go(before, version, reason, now);
        }
        _ if before.is_some_and(|before| before.version >= version || before.has_gone()) => return None,
        Finding::Nothing(NotClassified::Unreadable) => {
            return Some(not_classified(before, version, NotClassified::Unreadable, now));
        }
        Finding::Questions(questions) => questions,
    };
    let mut questions = questions;
    for question in &mut questions {
        defer_to_person(question, before);
    }
    let waits = questions.iter().any(|question| question.decision == Decision::Review);
    Some(Classification {
        version,
        state: if waits { State::InReview } else { State::Classified },
        questions,
        classified: now,
        corrected: before.and_then(|before| before.corrected),
        waiting_since: waits.then(|| before.and_then(|before| before.waiting_since).unwrap_or(now)),
    })
}

/// What a person decided isn't overturned by the classifier: where an edited text is read differently, a person looks
/// again.
fn defer_to_person(question: &mut Question, before: Option<&Classification>) {
    let earlier = before.and_then(|before| before.questions.iter().find(|earlier| earlier.ordinal == question.ordinal));
    if let Some(earlier) = earlier
        && earlier.decision == Decision::Human
        && earlier.topic != question.topic
    {
        question.decision = Decision::Review;
    }
}

/// The classification after the message was withdrawn or erased; `None` when that changes nothing: what was decided
/// before stays decided.
pub fn go(
    before: Option<&Classification>,
    version: u32,
    reason: NotClassified,
    now: Timestamp,
) -> Option<Classification> {
    let waits = before.is_none_or(|before| before.state == State::InReview);
    waits.then(|| not_classified(before, version.max(before.map_or(0, |before| before.version)), reason, now))
}

fn not_classified(
    before: Option<&Classification>,
    version: u32,
    reason: NotClassified,
    now: Timestamp,
) -> Classification {
    Classification {
        version,
        state: State::NotClassified(reason),
        questions: before.map(|before| before.questions.clone()).unwrap_or_default(),
        classified: now,
        corrected: before.and_then(|before| before.corrected),
        waiting_since: None,
    }
}

impl Classification {
    fn has_gone(&self) -> bool {
        matches!(self.state, State::NotClassified(NotClassified::Withdrawn | NotClassified::Erased))
    }
}

/// A question as a person sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correction {
    /// The question's ordinal; none for one that was not recognised.
    pub ordinal: Option<u32>,
    /// Code of the topic.
    pub topic: String,
    /// What the citizen wants.
    pub kind: Kind,
    /// How soon it must be dealt with.
    pub urgency: Urgency,
    /// Codes of the places concerned.
    pub places: Vec<String>,
}

/// What is wrong with corrections: the index of one (`None`: all of them together), its field, a description.
pub type Fault = (Option<usize>, &'static str, String);

/// The classification after a person corrected some questions and vouched for the others.
///
/// # Errors
/// All that is wrong: a question corrected twice, and a question left as it is although nothing was recognised in it.
pub fn correct(
    before: &Classification,
    corrections: &[Correction],
    taxonomy: &Taxonomy,
    places: &Places,
    now: Timestamp,
) -> Result<Classification, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut corrected = HashSet::new();
    let mut questions = before.questions.clone();
    let whole = whole_span(&questions);
    for (index, correction) in corrections.iter().enumerate() {
        let ordinal = correction.ordinal.unwrap_or_else(|| questions.iter().map(|q| q.ordinal).max().unwrap_or(0) + 1);
        if !corrected.insert(ordinal) {
            faults.push((Some(index), "question_id", "is corrected twice".to_owned()));
            continue;
        }
        let span = questions.iter().find(|q| q.ordinal == ordinal).map_or(whole.clone(), |q| q.span.clone());
        let question = Question {
            ordinal,
            topic: correction.topic.clone(),
            group: group_of(taxonomy, &correction.topic),
            confidence: 1.0,
            alternatives: Vec::new(),
            kind: correction.kind,
            urgency: correction.urgency,
            places: places.expand(correction.places.iter().map(String::as_str)),
            span,
            decision: Decision::Human,
        };
        match questions.iter_mut().find(|q| q.ordinal == ordinal) {
            Some(earlier) => *earlier = question,
            None => questions.push(question),
        }
    }
    for question in &mut questions {
        if question.topic.is_empty() && question.kind != Kind::Spam {
            let description =
                format!("question {} has no topic yet: it can't be confirmed, give it one", question.ordinal);
            faults.push((None, "questions", description));
        }
        question.decision = Decision::Human;
        question.confidence = 1.0;
        question.alternatives.clear();
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Classification {
        version: before.version,
        state: State::Classified,
        questions,
        classified: before.classified,
        corrected: Some(now),
        waiting_since: None,
    })
}

fn group_of(taxonomy: &Taxonomy, topic: &str) -> String {
    let topic = taxonomy.topics.iter().find(|t| t.code == topic);
    topic.map(|t| taxonomy.groups[t.group].code.clone()).unwrap_or_default()
}

/// What all questions together cover: where a question that nobody marked is to be looked for.
fn whole_span(questions: &[Question]) -> std::ops::Range<u32> {
    let start = questions.iter().map(|q| q.span.start).min().unwrap_or(0);
    start..questions.iter().map(|q| q.span.end).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::samples;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn question(ordinal: u32, topic: &str, decision: Decision) -> Question {
        Question {
            ordinal,
            topic: topic.to_owned(),
            group: topic.split('.').next().unwrap_or_default().to_owned(),
            confidence: 0.7,
            alternatives: Vec::new(),
            kind: Kind::Complaint,
            urgency: Urgency::Normal,
            places: Vec::new(),
            span: 10 * ordinal..10 * ordinal + 10,
            decision,
        }
    }

    fn found(questions: &[Question]) -> Finding {
        Finding::Questions(questions.to_vec())
    }

    fn correction(ordinal: Option<u32>, topic: &str) -> Correction {
        let places = vec!["vladivostok.leninsky".to_owned()];
        Correction { ordinal, topic: topic.to_owned(), kind: Kind::Question, urgency: Urgency::High, places }
    }

    fn corrected(before: &Classification, corrections: &[Correction]) -> Result<Classification, Vec<Fault>> {
        correct(before, corrections, &samples::taxonomy(), &samples::places(), at(9))
    }

    #[test]
    fn a_version_is_classified_once_and_an_older_one_never_after_it() {
        let first = arrive(None, 1, found(&[question(1, "roads.potholes", Decision::Auto)]), at(1)).unwrap();
        assert_eq!((first.state, first.version, first.waiting_since), (State::Classified, 1, None));
        assert_eq!(arrive(Some(&first), 1, found(&[question(1, "water.outage", Decision::Auto)]), at(2)), None);
        let second = arrive(Some(&first), 2, found(&[question(1, "water.outage", Decision::Review)]), at(2)).unwrap();
        assert_eq!((second.state, second.waiting_since), (State::InReview, Some(at(2))));
        assert_eq!(arrive(Some(&second), 1, found(&[question(1, "x", Decision::Auto)]), at(3)), None);
        let third = arrive(Some(&second), 3, found(&[question(1, "", Decision::Review)]), at(3)).unwrap();
        assert_eq!(third.waiting_since, Some(at(2)), "a person is waited for since then");
    }

    #[test]
    fn a_message_that_has_gone_is_not_classified_unless_it_was() {
        let gone = go(None, 1, NotClassified::Withdrawn, at(1)).unwrap();
        assert_eq!(gone.state, State::NotClassified(NotClassified::Withdrawn));
        assert_eq!(go(Some(&gone), 1, NotClassified::Erased, at(2)), None);
        assert_eq!(arrive(Some(&gone), 2, found(&[question(1, "x", Decision::Auto)]), at(2)), None);

        let decided = arrive(None, 1, found(&[question(1, "roads.potholes", Decision::Auto)]), at(1)).unwrap();
        assert_eq!(go(Some(&decided), 1, NotClassified::Erased, at(2)), None);
        assert_eq!(arrive(Some(&decided), 2, Finding::Nothing(NotClassified::Withdrawn), at(2)), None);

        let waiting = arrive(None, 1, found(&[question(1, "", Decision::Review)]), at(1)).unwrap();
        let gone = arrive(Some(&waiting), 2, Finding::Nothing(NotClassified::Erased), at(2)).unwrap();
        assert_eq!((gone.state, gone.version), (State::NotClassified(NotClassified::Erased), 2));
        assert_eq!((gone.waiting_since, gone.questions.len()), (None, 1));
    }

    #[test]
    fn an_unreadable_text_may_become_readable() {
        let nothing = arrive(None, 1, Finding::Nothing(NotClassified::Unreadable), at(1)).unwrap();
        assert_eq!(nothing.state, State::NotClassified(NotClassified::Unreadable));
        assert_eq!(arrive(Some(&nothing), 1, Finding::Nothing(NotClassified::Unreadable), at(2)), None);
        let edited = arrive(Some(&nothing), 2, found(&[question(1, "roads.potholes", Decision::Auto)]), at(2)).unwrap();
        assert_eq!(edited.state, State::Classified);
    }

    #[test]
    fn a_person_corrects_confirms_and_adds() {
        let before = [question(1, "water.outage", Decision::Review), question(2, "roads.potholes", Decision::Auto)];
        let before = arrive(None, 1, found(&before), at(1)).unwrap();
        let after =
            corrected(&before, &[correction(Some(1), "water.quality"), correction(None, "waste.overflow")]).unwrap();
        let topics: Vec<&str> = after.questions.iter().map(|q| q.topic.as_str()).collect();
        assert_eq!(topics, ["water.quality", "roads.potholes", "waste.overflow"]);
        assert!(after.questions.iter().all(|q| q.decision == Decision::Human && q.confidence == 1.0));
        assert_eq!(after.questions[0].group, "water");
        assert_eq!(after.questions[0].places, ["vladivostok.leninsky", "vladivostok"]);
        assert_eq!((after.questions[2].ordinal, after.questions[2].span.clone()), (3, 10..30));
        assert_eq!((after.state, after.corrected, after.waiting_since), (State::Classified, Some(at(9)), None));
    }

    #[test]
    fn what_nobody_recognised_can_not_be_confirmed() {
        let before = arrive(None, 1, found(&[question(1, "", Decision::Review)]), at(1)).unwrap();
        assert_eq!(corrected(&before, &[]).unwrap_err().len(), 1);
        let twice = [correction(Some(1), "water.outage"), correction(Some(1), "water.quality")];
        assert_eq!(corrected(&before, &twice).unwrap_err()[0].0, Some(1));
        let mut spam = before.clone();
        spam.questions[0].kind = Kind::Spam;
        assert!(corrected(&spam, &[]).is_ok());
    }

    #[test]
    fn an_edit_does_not_overturn_a_person() {
        let before = arrive(None, 1, found(&[question(1, "water.outage", Decision::Review)]), at(1)).unwrap();
        let human = corrected(&before, &[correction(Some(1), "water.quality")]).unwrap();
        let same = arrive(Some(&human), 2, found(&[question(1, "water.quality", Decision::Auto)]), at(2)).unwrap();
        assert_eq!(same.state, State::Classified);
        let other = arrive(Some(&human), 2, found(&[question(1, "water.outage", Decision::Auto)]), at(2)).unwrap();
        assert_eq!(other.state, State::InReview);
        assert_eq!(other.corrected, Some(at(9)));
    }
}
