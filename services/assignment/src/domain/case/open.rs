//! How a question becomes a case, and what a new classification changes.

use otklik_chassis::ledger::Draft;
use otklik_proto::{
    assignment::v1::{CaseOpened, CaseReclassified, CaseState, Outcome, ReassignReason},
    classification::v1::{QuestionKind, Urgency},
    intake::v1::MessageOrigin,
};
use uuid::Uuid;

use super::{Case, Member, Number, Setting, Subject};
use crate::domain::{
    clocks::Clocks,
    entries::entry,
    pack::{Facts, Pack, Route},
    state::{self, Verb},
};

/// A message whose questions are known.
#[derive(Clone, Debug)]
pub struct Classified {
    /// The message.
    pub message_id: Uuid,
    /// The version that was classified.
    pub message_version: u32,
    /// Where it comes from.
    pub origin: MessageOrigin,
    /// When it was published.
    pub published_us: Option<i64>,
    /// When it was received.
    pub received_us: Option<i64>,
    /// The questions that are decided; those that wait for a person are left out.
    pub questions: Vec<Question>,
}

/// A question that is decided.
#[derive(Clone, Debug)]
pub struct Question {
    /// Identifier; the same for every classification of the message.
    pub id: Uuid,
    /// What it is about.
    pub subject: Subject,
}

impl Question {
    /// Whether it opens a case.
    pub fn opens_case(&self) -> bool {
        self.subject.kind != QuestionKind::Spam
    }
}

impl Subject {
    /// The question as classification sees it; the source's own place stands in for one that the text doesn't name.
    pub fn new(question: otklik_proto::classification::v1::ClassifiedQuestion, place_hint_id: &str) -> Self {
        let (kind, urgency) = (question.kind(), question.urgency());
        let mut place_ids = question.place_ids;
        if place_ids.is_empty() && !place_hint_id.is_empty() {
            place_ids.push(place_hint_id.to_owned());
        }
        let urgency = if urgency == Urgency::Unspecified { Urgency::Normal } else { urgency };
        Self { topic: question.topic, topic_group: question.topic_group, kind, urgency, place_ids }
    }
}

impl Case {
    /// Opens a case for a question, chooses its executor and starts its clocks.
    ///
    /// The clocks start when the message was received: how long the suite itself took is no excuse, and what is replayed
    /// gets the same deadlines.
    pub fn open(
        id: Uuid,
        number: Number,
        message: &Classified,
        question: &Question,
        setting: Setting<'_>,
    ) -> (Self, Member, Vec<Draft>) {
        let Setting { pack, now_us } = setting;
        let mut case = Self {
            id,
            number,
            state: CaseState::Opened,
            version: 1,
            executor_id: String::new(),
            rule_id: String::new(),
            fallback: false,
            regime: message.origin.regime(),
            subject: question.subject.clone(),
            source_id: message.origin.source_id.clone(),
            source_kind: message.origin.source_kind(),
            published_us: message.published_us,
            received_us: message.received_us,
            opened_us: now_us,
            updated_us: now_us,
            clocks: Clocks::default(),
            interim_us: None,
            suspension: None,
            rating_end_us: None,
            outcome: Outcome::Unspecified,
            answer_id: None,
            resolved_us: None,
            reopen_count: 0,
        };
        let member = Member {
            case_id: id,
            message_id: message.message_id,
            question_id: question.id,
            message_version: message.message_version,
            joined_us: now_us,
            satisfied_round: 0,
            withdrawn_us: None,
        };
        let members = std::slice::from_ref(&member);
        let Subject { topic, topic_group, kind, urgency, place_ids } = case.subject.clone();
        let opened = CaseOpened {
            case_id: id.to_string(),
            number: number.to_string(),
            message_id: message.message_id.to_string(),
            question_id: question.id.to_string(),
            message_version: message.message_version,
            topic,
            topic_group,
            kind: kind.into(),
            urgency: urgency.into(),
            place_ids,
            origin: Some(message.origin.clone()),
        };
        let opened = entry(&case, members, pack, &opened);

        let route = case.route(pack);
        if let Some(policy) = case.policy(pack) {
            let start_us = case.received_us.map_or(now_us, |received_us| received_us.min(now_us));
            case.clocks = Clocks::start(pack, policy, route.executor_id, start_us);
        }
        case.state = state::next(case.state, Verb::Assign).unwrap_or(case.state);
        let event = case.assign(route, ReassignReason::Unspecified);
        let assigned = case.assigned(members, pack, event);
        (case, member, vec![opened, assigned])
    }

    /// Whom the rules choose for what the case is about.
    fn route<'a>(&self, pack: &'a Pack) -> Route<'a> {
        pack.routing.route(&Facts {
            topic: &self.subject.topic,
            topic_group: &self.subject.topic_group,
            urgency: self.subject.urgency,
            source_kind: self.source_kind,
            place_ids: &self.subject.place_ids,
        })
    }

    /// A newer classification of one of its questions. Nothing happens when it says the same.
    ///
    /// The clocks go on from when they started under the policy that now applies. The rules choose anew as long as
    /// nobody has taken the case and no person has chosen its executor.
    pub fn reclassify(
        &mut self,
        message: &Classified,
        question: &Question,
        members: &[Member],
        setting: Setting<'_>,
    ) -> Vec<Draft> {
        let Setting { pack, .. } = setting;
        if self.subject == question.subject {
            return Vec::new();
        }
        self.subject = question.subject.clone();
        let is_worked_on = state::is_worked_on(self.state);
        let chosen_by_rule = self.state == CaseState::Returned || !self.rule_id.is_empty() || self.fallback;
        let route = self.route(pack);
        let moves = chosen_by_rule
            && state::next(self.state, Verb::Assign).is_some()
            && (self.state == CaseState::Returned || route.executor_id != self.executor_id);
        if is_worked_on && let Some(policy) = self.policy(pack) {
            let executor_id = if moves { route.executor_id } else { &self.executor_id };
            let is_after_interim =
                self.interim_us.is_some() && self.interim_us == self.clocks.resolution.as_ref().map(|d| d.start_us);
            self.clocks.change_policy(pack, policy, executor_id, is_after_interim);
        }
        let Subject { topic, topic_group, kind, urgency, place_ids } = self.subject.clone();
        let event = CaseReclassified {
            case_id: self.id.to_string(),
            message_id: message.message_id.to_string(),
            question_id: question.id.to_string(),
            message_version: message.message_version,
            topic,
            topic_group,
            kind: kind.into(),
            urgency: urgency.into(),
            place_ids,
            deadlines: self.clocks.messages(),
        };
        let mut drafts = vec![entry(self, members, pack, &event).under("calendar", &pack.versions.calendar)];
        if moves {
            self.state = state::next(self.state, Verb::Assign).unwrap_or(self.state);
            let event = self.assign(route, ReassignReason::Unspecified);
            drafts.push(self.assigned(members, pack, event));
        }
        drafts
    }
}
