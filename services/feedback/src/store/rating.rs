//! Ratings, and requests to reopen.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use otklik_chassis::{
    error::Error,
    id::new_id,
    lane::{Effect, Tx},
    storage::Failure,
};
use uuid::Uuid;

use super::{
    cases::{self, Cases},
    command::{Command, Fate, Rate, RatingView, Reply},
    entries,
    ratings::{self, Given, Key},
    writer::Outcomes,
};

/// Reason of the refusal to rate what is not answered.
const NOT_ANSWERED: &str = "NOT_ANSWERED";

/// Applies the commands of authors.
pub(super) async fn apply(
    tx: &Tx<'_>,
    commands: &[&Command],
    cases: &Cases,
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    let rating = commands.iter().filter_map(|command| match command {
        Command::Rate(rate) => Some(rate.message_id),
        _ => None,
    });
    let rating: BTreeSet<Uuid> = rating.collect();
    let reopening = commands.iter().filter_map(|command| match command {
        Command::RequestReopen { message_id, .. } => Some(*message_id),
        _ => None,
    });
    let authors: BTreeSet<Uuid> = reopening.chain(rating.iter().copied()).collect();
    if authors.is_empty() {
        return Ok(());
    }
    let mut desk = Desk {
        now: tx.now,
        cases,
        cases_of: cases::cases_of(tx, authors).await?,
        fates: cases::fates_of(tx, rating.clone()).await?,
        known: ratings::ids(tx, rating).await?,
        given: BTreeMap::new(),
    };
    for (index, command) in commands.iter().enumerate() {
        let effect = match command {
            Command::Rate(rate) => desk.rate(rate),
            Command::RequestReopen { case_id, message_id, reason } => {
                desk.check_member(*case_id, *message_id).and_then(|()| {
                    desk.cases.get(*case_id).ok_or_else(|| Error::not_found("case", case_id))?.check_reopen()?;
                    let id = new_id(tx.now);
                    let entry = entries::reopen_requested(id, *case_id, *message_id, *reason);
                    Ok(Effect::new(Reply::ReopenRequest(id), id, vec![entry]))
                })
            }
            _ => continue,
        };
        outcomes.set(index, effect);
    }
    ratings::write(tx, &desk.given).await
}

struct Desk<'a> {
    now: jiff::Timestamp,
    cases: &'a Cases,
    cases_of: BTreeMap<Uuid, Vec<Uuid>>,
    fates: HashMap<Uuid, Fate>,
    /// The ids of ratings given before.
    known: BTreeMap<Key, Uuid>,
    given: BTreeMap<Key, Given>,
}

impl Desk<'_> {
    fn check_member(&self, case_id: Uuid, message_id: Uuid) -> Result<(), Error> {
        self.cases.get(case_id).ok_or_else(|| Error::not_found("case", case_id))?;
        let is_member = self.cases_of.get(&message_id).is_some_and(|cases| cases.contains(&case_id));
        if is_member { Ok(()) } else { Err(Error::not_found("member", message_id)) }
    }

    fn rate(&mut self, rate: &Rate) -> Result<Effect<Reply>, Error> {
        self.check_member(rate.case_id, rate.message_id)?;
        let case = self.cases.get(rate.case_id).ok_or_else(|| Error::not_found("case", rate.case_id))?;
        let answered = case.answered.ok_or_else(|| Error::Precondition {
            reason: NOT_ANSWERED,
            subject: format!("case/{}", case.id),
            description: format!(
                "case {} is {}: an author can rate once a final answer is published",
                case.id,
                case.state.as_str_name().trim_start_matches("CASE_STATE_")
            ),
        })?;
        let key = (rate.message_id, rate.case_id);
        let known = self.known.get(&key).copied();
        let id = known.unwrap_or_else(|| new_id(self.now));
        self.known.insert(key, id);
        // Nothing that an erased author says is kept.
        let erased = self.fates.get(&rate.message_id) == Some(&Fate::Erased);
        let rating = RatingView {
            id,
            case_id: rate.case_id,
            message_id: rate.message_id,
            answer_id: answered.answer_id,
            score: rate.score,
            satisfied: rate.satisfied,
            rated: self.now,
            comment: if erased { String::new() } else { rate.comment.clone() },
        };
        let mut drafts = vec![entries::rated(&rating)];
        if !rating.satisfied && case.may_reopen() {
            let request = new_id(self.now);
            drafts.push(entries::reopen_requested(request, rate.case_id, rate.message_id, rate.reopen_reason));
        }
        self.given.insert(key, Given { rating: rating.clone(), again: known.is_some() });
        let resource = format!("{}/{}", rate.message_id, rate.case_id);
        Ok(Effect::new(Reply::Rating(Box::new(rating)), resource, drafts))
    }
}
