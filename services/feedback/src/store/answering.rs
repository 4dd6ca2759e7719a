//! Drafting, approving, sending back and publishing answers.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use otklik_chassis::{
    error::Error,
    id::new_id,
    lane::{Effect, Tx},
    ledger,
    storage::Failure,
};
use otklik_proto::feedback::v1::{AnswerKind, DeliveryState, GiveUpReason, SendBackReason};
use uuid::Uuid;

use super::{
    answers::Answers,
    cases::{self, Cases},
    command::{AnswerView, Change, Command, Draft, Fate, Publication, Recipient, Reply},
    deliveries, entries,
    writer::Outcomes,
};
use crate::domain::{
    answer::{Answer, Wording},
    case::{Answered, already_answered, check_answerable},
    delivery::{Delivery, Ending},
};

/// Applies the commands about answers; says whether there are deliveries to be taken up.
pub(super) async fn apply(
    tx: &Tx<'_>,
    commands: &[&Command],
    cases: &mut Cases,
    templates_version: &str,
    outcomes: &mut Outcomes,
) -> Result<bool, Failure> {
    let mut ids = BTreeSet::new();
    let mut concerned = BTreeSet::new();
    let mut recipients = BTreeSet::new();
    for command in commands {
        match command {
            Command::Draft(draft) => {
                ids.extend(draft.answer_id);
                concerned.insert(draft.case_id);
            }
            Command::Approve(change) | Command::SendBack(change, ..) => drop(ids.insert(change.answer_id)),
            Command::Publish(publication) => {
                ids.insert(publication.change.answer_id);
                let messages = publication.standing.iter().flat_map(|standing| &standing.recipients);
                recipients.extend(messages.map(|recipient| recipient.message_id));
            }
            _ => {}
        }
    }
    if ids.is_empty() && concerned.is_empty() {
        return Ok(false);
    }
    let answers = Answers::lock(tx, ids).await?;
    concerned.extend(answers.cases());
    let members = cases::members_of(tx, concerned).await?;
    let fates = cases::fates_of(tx, recipients).await?;
    let mut desk = Desk { now: tx.now, templates_version, answers, cases, members, fates, deliveries: Vec::new() };
    for (index, command) in commands.iter().enumerate() {
        let effect = match command {
            Command::Draft(draft) => desk.draft(draft),
            Command::Approve(change) => desk.approve(change),
            Command::SendBack(change, reason, comment) => desk.send_back(change, *reason, comment),
            Command::Publish(publication) => desk.publish(publication),
            _ => continue,
        };
        outcomes.set(index, effect);
    }
    desk.answers.write(tx).await?;
    deliveries::write(tx, &desk.deliveries).await?;
    Ok(desk.deliveries.iter().any(Delivery::is_open))
}

/// What the commands of a set are decided on.
struct Desk<'a> {
    now: jiff::Timestamp,
    templates_version: &'a str,
    answers: Answers,
    cases: &'a mut Cases,
    members: BTreeMap<Uuid, Vec<Uuid>>,
    fates: HashMap<Uuid, Fate>,
    deliveries: Vec<Delivery>,
}

impl Desk<'_> {
    fn draft(&mut self, draft: &Draft) -> Result<Effect<Reply>, Error> {
        let case = self.cases.get(draft.case_id).ok_or_else(|| Error::not_found("case", draft.case_id))?;
        case.check_draft()?;
        let terms = draft.terms.clone();
        let mut wording = draft.wording.clone();
        let answer = match draft.answer_id {
            None => Answer::draft(new_id(self.now), draft.case_id, terms, &draft.by, self.now),
            Some(id) => {
                let (mut answer, earlier) = self.find(id)?;
                if answer.case_id != draft.case_id {
                    return Err(Error::invalid("answer_id", format!("is an answer to case {}", answer.case_id)));
                }
                answer.check_etag(&draft.etag)?;
                answer.redraft(terms, &draft.by, self.now)?;
                wording.send_back_comment = earlier.send_back_comment;
                answer
            }
        };
        let entry = entries::drafted(&answer, &wording, self.members(answer.case_id), self.templates_version);
        Ok(self.keep(answer, Some(wording), vec![entry]))
    }

    fn approve(&mut self, change: &Change) -> Result<Effect<Reply>, Error> {
        let (mut answer, _) = self.find(change.answer_id)?;
        answer.check_etag(&change.etag)?;
        answer.approve(&change.by, self.now)?;
        let entry = entries::approved(&answer, self.members(answer.case_id));
        Ok(self.keep(answer, None, vec![entry]))
    }

    fn send_back(&mut self, change: &Change, reason: SendBackReason, comment: &str) -> Result<Effect<Reply>, Error> {
        let (mut answer, mut wording) = self.find(change.answer_id)?;
        answer.check_etag(&change.etag)?;
        answer.send_back(reason)?;
        comment.clone_into(&mut wording.send_back_comment);
        let entry = entries::sent_back(&answer, self.members(answer.case_id));
        Ok(self.keep(answer, Some(wording), vec![entry]))
    }

    fn publish(&mut self, publication: &Publication) -> Result<Effect<Reply>, Error> {
        let change = &publication.change;
        let (mut answer, wording) = self.find(change.answer_id)?;
        answer.check_etag(&change.etag)?;
        answer.publish(self.now)?;
        // It was not approved when the others would have been asked, and is now.
        let standing = publication.standing.as_ref().ok_or_else(|| {
            Error::unavailable(format!("answer {} has just been approved; repeat the call", answer.id))
        })?;
        check_answerable(answer.case_id, standing.state, "published")?;
        let deliveries: Vec<Delivery> =
            standing.recipients.iter().map(|recipient| self.delivery(&answer, recipient)).collect();
        if deliveries.iter().any(Delivery::is_open) {
            answer.check_words(&wording)?;
        }
        if answer.terms.kind == AnswerKind::Final {
            let case = self.cases.change(answer.case_id).ok_or_else(|| Error::not_found("case", answer.case_id))?;
            if let Some(earlier) = case.answered
                && earlier.round >= standing.round
            {
                return Err(already_answered(answer.case_id, earlier));
            }
            case.answered = Some(Answered { answer_id: answer.id, round: standing.round });
        }
        let message_ids: Vec<Uuid> = deliveries.iter().map(|delivery| delivery.message_id).collect();
        let mut entries = vec![entries::published(&answer, &message_ids)];
        let given_up = deliveries.iter().filter(|delivery| !delivery.is_open());
        entries.extend(given_up.map(|delivery| entries::ended(delivery, Ending::GivenUp)));
        self.deliveries.extend(deliveries);
        let mut effect = self.keep(answer.clone(), None, entries);
        effect.reply = Reply::Answer(Box::new(AnswerView { answer, wording, message_ids }));
        Ok(effect)
    }

    /// A delivery; whose message is gone gets none that is ever sent.
    fn delivery(&self, answer: &Answer, recipient: &Recipient) -> Delivery {
        let mut delivery = Delivery {
            id: new_id(self.now),
            answer_id: answer.id,
            case_id: answer.case_id,
            message_id: recipient.message_id,
            kind: answer.terms.kind,
            route: recipient.route.clone(),
            state: DeliveryState::Pending,
            attempts: 0,
            due: self.now,
            leased: false,
            delivered: None,
            give_up_reason: GiveUpReason::Unspecified,
            last_error: String::new(),
            created: self.now,
        };
        // Intake was asked a moment ago; the message may have gone since.
        let fate = self.fates.get(&recipient.message_id).copied().or(recipient.fate);
        if let Some(fate) = fate {
            delivery.give_up(fate.give_up_reason());
        }
        delivery
    }

    fn find(&self, id: Uuid) -> Result<(Answer, Wording), Error> {
        self.answers.get(id).cloned().ok_or_else(|| Error::not_found("answer", id))
    }

    fn members(&self, case: Uuid) -> &[Uuid] {
        self.members.get(&case).map(Vec::as_slice).unwrap_or_default()
    }

    /// Keeps the answer as it is now and tells the caller.
    fn keep(&mut self, answer: Answer, wording: Option<Wording>, entries: Vec<ledger::Draft>) -> Effect<Reply> {
        let id = answer.id;
        self.answers.put(answer, wording);
        let view = self.answers.get(id).map(|(answer, wording)| AnswerView {
            answer: answer.clone(),
            wording: wording.clone(),
            message_ids: Vec::new(),
        });
        let reply = view.map_or(Reply::Nothing, |view| Reply::Answer(Box::new(view)));
        Effect::new(reply, id, entries)
    }
}
