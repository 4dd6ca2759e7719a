//! Messages that are gone: their deliveries are given up, and what was derived from erased ones is removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use otklik_chassis::{
    lane::{Effect, Tx},
    ledger::Draft,
    storage::Failure,
};
use otklik_proto::feedback::v1::ErasureComplied;
use uuid::Uuid;

use super::{
    answers, cases,
    command::{Command, Fate, Reply},
    deliveries, entries, ratings,
    writer::Outcomes,
};

/// Applies the commands that say so. An answer's words go when nobody is left to read them: when every message of its case
/// is erased. The case goes on all the same, and so does an answer that is on its way.
pub(super) async fn apply(tx: &Tx<'_>, commands: &[&Command], outcomes: &mut Outcomes) -> Result<(), Failure> {
    let gone: Vec<(usize, Uuid, Fate)> = commands
        .iter()
        .enumerate()
        .filter_map(|(index, command)| match command {
            Command::MessageGone(message_id, fate) => Some((index, *message_id, *fate)),
            _ => None,
        })
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    let messages: BTreeSet<Uuid> = gone.iter().map(|(_, message, _)| *message).collect();
    let erased: BTreeSet<Uuid> =
        gone.iter().filter(|(_, _, fate)| *fate == Fate::Erased).map(|(_, id, _)| *id).collect();
    let cases_of = cases::cases_of(tx, messages.clone()).await?;
    let mut fates = cases::fates_of(tx, messages.clone()).await?;
    let mut open = deliveries::lock_open_to(tx, messages).await?;
    let mut comments = ratings::erase_comments(tx, erased.clone()).await?;
    let concerned = erased.iter().filter_map(|message| cases_of.get(message)).flatten().copied().collect();
    let mut silent = Silenced::find(tx, concerned, &erased).await?;

    let mut news = BTreeMap::new();
    let mut given_up = Vec::new();
    for (index, message, fate) in gone {
        let known = fates.get(&message).copied();
        if known == Some(Fate::Erased) || known == Some(fate) {
            outcomes.set(index, Ok(Effect::new(Reply::Nothing, message, Vec::new())));
            continue;
        }
        fates.insert(message, fate);
        news.insert(message, fate);
        let mut drafts: Vec<Draft> = Vec::new();
        for delivery in open.values_mut().filter(|delivery| delivery.message_id == message) {
            if let Some(ending) = delivery.give_up(fate.give_up_reason()) {
                drafts.push(entries::ended(delivery, ending));
                given_up.push(delivery.id);
            }
        }
        if fate == Fate::Erased {
            let concerned = cases_of.get(&message).map(Vec::as_slice).unwrap_or_default();
            let event = ErasureComplied {
                message_id: message.to_string(),
                erased_comment_count: comments.remove(&message).unwrap_or(0),
                given_up_delivery_count: u32::try_from(drafts.len()).unwrap_or(u32::MAX),
                erased_answer_count: concerned.iter().map(|case| silent.leave(*case, message)).sum(),
            };
            drafts.push(entries::erasure_complied(&event, message, concerned));
        }
        outcomes.set(index, Ok(Effect::new(Reply::Nothing, message, drafts)));
    }
    cases::remember_gone(tx, news).await?;
    deliveries::write(tx, given_up.iter().filter_map(|id| open.get(id))).await
}

/// Cases whose every message is erased, with the answers that have lost their words, to be counted with the last of their
/// messages.
#[derive(Debug, Default)]
struct Silenced {
    left: HashMap<Uuid, BTreeSet<Uuid>>,
    answers: BTreeMap<Uuid, u32>,
}

impl Silenced {
    /// Finds which of `concerned` fall silent with `erased`, and removes the words of their answers.
    async fn find(tx: &Tx<'_>, concerned: BTreeSet<Uuid>, erased: &BTreeSet<Uuid>) -> Result<Self, Failure> {
        let members = cases::members_of(tx, concerned).await?;
        let others = members.values().flatten().filter(|message| !erased.contains(message)).copied().collect();
        let fates = cases::fates_of(tx, others).await?;
        let is_erased = |message: &Uuid| erased.contains(message) || fates.get(message) == Some(&Fate::Erased);
        let left: HashMap<Uuid, BTreeSet<Uuid>> = members
            .into_iter()
            .filter(|(_, messages)| messages.iter().all(is_erased))
            .map(|(case, messages)| (case, messages.into_iter().filter(|message| erased.contains(message)).collect()))
            .collect();
        let answers = answers::erase_words(tx, left.keys().copied().collect()).await?;
        Ok(Self { left, answers })
    }

    /// `message` leaves the case; returns how many answers lose their words with it.
    fn leave(&mut self, case: Uuid, message: Uuid) -> u32 {
        let Some(left) = self.left.get_mut(&case) else { return 0 };
        left.remove(&message);
        if left.is_empty() { self.answers.remove(&case).unwrap_or(0) } else { 0 }
    }
}
