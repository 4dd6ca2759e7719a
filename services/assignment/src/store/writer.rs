//! The one place where cases are written: a set of commands becomes a set of rows and entries in one transaction.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use otklik_chassis::{
    error::Error,
    id::new_id,
    lane::{Apply, Effect, Outcome, Tx},
    ledger::Draft,
    storage::Failure,
};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use super::{cases, members};
use crate::{
    domain::{
        case::{Action, Case, Classified, Fact, Member, Number, Question, Setting},
        pack::Pack,
    },
    timers::Alarm,
};

/// What changes cases.
#[derive(Debug)]
pub enum Command {
    /// The questions of a message are known.
    Classified(Box<Classified>),
    /// A message was withdrawn.
    Withdrawn {
        /// The message.
        message_id: Uuid,
        /// When.
        at_us: i64,
    },
    /// Feedback says something of a case.
    Absorb(Fact),
    /// A person does something with a case.
    Act {
        /// The case.
        case_id: Uuid,
        /// The version that the person looked at.
        version: Option<i64>,
        /// What to do.
        action: Action,
    },
    /// The time of these cases has come.
    Tick(Vec<Uuid>),
}

/// A case with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The case.
    pub case: Case,
    /// Its members, those that joined first first.
    pub members: Vec<Member>,
}

/// Reason of a refusal because somebody else was first.
const ETAG_MISMATCH: &str = "ETAG_MISMATCH";

/// Writes cases.
#[derive(Debug)]
pub struct Writer {
    pack: Arc<Pack>,
    alarm: Arc<Alarm>,
}

impl Writer {
    /// A writer that decides by `pack` and tells `alarm` when a timer is set.
    pub fn new(pack: Arc<Pack>, alarm: Arc<Alarm>) -> Self {
        Self { pack, alarm }
    }
}

#[async_trait]
impl Apply for Writer {
    type Command = Command;
    type Reply = Option<Box<Snapshot>>;

    async fn apply(&self, tx: &Tx<'_>, commands: &[&Command]) -> Result<Vec<Outcome<Self::Reply>>, Failure> {
        let mut work = Work::load(tx, commands, &self.pack).await?;
        let outcomes = commands.iter().map(|command| work.decide(command)).collect();
        if let Some(due_us) = work.changed.iter().filter_map(|id| work.cases[id].timer_us()).min() {
            self.alarm.set(due_us);
        }
        work.save(tx).await?;
        Ok(outcomes)
    }
}

/// Everything that a set of commands touches, in memory: later commands see the effects of earlier ones.
struct Work<'a> {
    setting: Setting<'a>,
    now: jiff::Timestamp,
    cases: HashMap<Uuid, Case>,
    /// By case.
    members: HashMap<Uuid, Vec<Member>>,
    /// Question and case, by message.
    questions: HashMap<Uuid, Vec<(Uuid, Uuid)>>,
    withdrawn: HashMap<Uuid, i64>,
    number: Number,
    numbers_given: bool,
    changed: HashSet<Uuid>,
    changed_members: HashSet<(Uuid, Uuid)>,
    withdrawals: Vec<(Uuid, i64)>,
    places_gone: Vec<(String, Uuid)>,
    places_new: Vec<(String, Uuid)>,
}

impl<'a> Work<'a> {
    async fn load(tx: &Tx<'_>, commands: &[&Command], pack: &'a Pack) -> Result<Self, Failure> {
        let mut work = Self {
            setting: Setting { pack, now_us: tx.now.as_microsecond() },
            now: tx.now,
            cases: HashMap::new(),
            members: HashMap::new(),
            questions: HashMap::new(),
            withdrawn: HashMap::new(),
            number: Number::default(),
            numbers_given: false,
            changed: HashSet::new(),
            changed_members: HashSet::new(),
            withdrawals: Vec::new(),
            places_gone: Vec::new(),
            places_new: Vec::new(),
        };
        let mut messages = HashSet::new();
        let mut ids = HashSet::new();
        for command in commands {
            match command {
                Command::Classified(message) => drop(messages.insert(message.message_id)),
                Command::Withdrawn { message_id, .. } => drop(messages.insert(*message_id)),
                Command::Absorb(fact) => drop(ids.insert(fact.case_id)),
                Command::Act { case_id, .. } => drop(ids.insert(*case_id)),
                Command::Tick(due) => ids.extend(due),
            }
        }
        if !messages.is_empty() {
            work.number = pass_gate(tx).await?;
            let messages: Vec<Uuid> = messages.into_iter().collect();
            for member in members::of_messages(tx.db, messages.clone()).await? {
                ids.insert(member.case_id);
                work.questions.entry(member.message_id).or_default().push((member.question_id, member.case_id));
            }
            work.withdrawn = members::withdrawn(tx, messages).await?.into_iter().collect();
        }
        work.cases = cases::lock(tx, ids).await?.into_iter().map(|case| (case.id, case)).collect();
        for member in members::of_cases(tx.db, work.cases.keys().copied().collect()).await? {
            work.members.entry(member.case_id).or_default().push(member);
        }
        Ok(work)
    }

    fn decide(&mut self, command: &Command) -> Outcome<Option<Box<Snapshot>>> {
        match command {
            Command::Classified(message) => Ok(Effect::new(None, "", self.classified(message))),
            Command::Withdrawn { message_id, at_us } => Ok(Effect::new(None, "", self.withdraw(*message_id, *at_us))),
            Command::Absorb(fact) => {
                let drafts = self.change(fact.case_id, |case, members, setting| case.absorb(fact, members, setting));
                let drafts = drafts.ok_or_else(|| Error::not_found("case", fact.case_id))?;
                Ok(Effect::new(None, fact.case_id, drafts))
            }
            Command::Act { case_id, version, action } => self.act(*case_id, *version, action),
            Command::Tick(due) => {
                let drafts =
                    due.iter().filter_map(|id| self.change(*id, |case, members, setting| case.tick(members, setting)));
                let drafts = drafts.collect::<Vec<_>>().concat();
                Ok(Effect::new(None, "", drafts))
            }
        }
    }

    fn classified(&mut self, message: &Classified) -> Vec<Draft> {
        let mut drafts = Vec::with_capacity(2 * message.questions.len());
        for question in &message.questions {
            let known =
                self.questions.get(&message.message_id).and_then(|q| q.iter().find(|(id, _)| *id == question.id));
            match known {
                Some((_, case_id)) => drafts.extend(self.reclassify(*case_id, message, question)),
                None if question.opens_case() => drafts.extend(self.open(message, question)),
                None => {}
            }
        }
        drafts
    }

    fn open(&mut self, message: &Classified, question: &Question) -> Vec<Draft> {
        let pack = self.setting.pack;
        self.number = self.number.next(pack.time_zone.to_datetime(self.now).year());
        self.numbers_given = true;
        let (mut case, mut member, mut drafts) =
            Case::open(new_id(self.now), self.number, message, question, self.setting);
        member.withdrawn_us = self.withdrawn.get(&message.message_id).copied();
        if member.withdrawn_us.is_some() {
            // The withdrawal was quicker than the classification.
            drafts.extend(case.withdraw(std::slice::from_ref(&member), self.setting));
        }
        self.questions.entry(member.message_id).or_default().push((member.question_id, case.id));
        self.changed.insert(case.id);
        self.changed_members.insert((member.message_id, member.question_id));
        self.places_new.extend(case.subject.place_ids.iter().map(|place| (place.clone(), case.id)));
        self.members.insert(case.id, vec![member]);
        self.cases.insert(case.id, case);
        drafts
    }

    fn reclassify(&mut self, case_id: Uuid, message: &Classified, question: &Question) -> Vec<Draft> {
        let before = self.cases.get(&case_id).map(|case| case.subject.place_ids.clone()).unwrap_or_default();
        let drafts =
            self.change(case_id, |case, members, setting| case.reclassify(message, question, members, setting));
        let after = self.cases.get(&case_id).map(|case| case.subject.place_ids.as_slice()).unwrap_or_default();
        let gone = before.iter().filter(|place| !after.contains(place));
        let new = after.iter().filter(|place| !before.contains(place));
        self.places_gone.extend(gone.map(|place| (place.clone(), case_id)));
        self.places_new.extend(new.map(|place| (place.clone(), case_id)));
        drafts.unwrap_or_default()
    }

    fn withdraw(&mut self, message_id: Uuid, at_us: i64) -> Vec<Draft> {
        if self.withdrawn.insert(message_id, at_us).is_some() {
            return Vec::new();
        }
        self.withdrawals.push((message_id, at_us));
        let cases: Vec<Uuid> =
            self.questions.get(&message_id).into_iter().flatten().map(|(_, case_id)| *case_id).collect();
        let mut drafts = Vec::new();
        for case_id in cases {
            for member in self.members.entry(case_id).or_default() {
                if member.message_id == message_id {
                    member.withdrawn_us = Some(at_us);
                }
            }
            drafts.extend(
                self.change(case_id, |case, members, setting| case.withdraw(members, setting)).unwrap_or_default(),
            );
        }
        drafts
    }

    fn act(&mut self, case_id: Uuid, version: Option<i64>, action: &Action) -> Outcome<Option<Box<Snapshot>>> {
        let case = self.cases.get_mut(&case_id).ok_or_else(|| Error::not_found("case", case_id))?;
        if version.is_some_and(|version| version != case.version) {
            return Err(Error::Aborted {
                reason: ETAG_MISMATCH,
                description: format!(
                    "case {case_id} has changed since: its etag is \"{}\" now; read it again and decide anew",
                    case.version
                ),
            });
        }
        let members = self.members.entry(case_id).or_default();
        let draft = case.act(action, members, self.setting)?;
        touch(case, self.setting.now_us);
        self.changed.insert(case_id);
        let snapshot = Snapshot { case: case.clone(), members: members.clone() };
        Ok(Effect::new(Some(Box::new(snapshot)), case_id, vec![draft]))
    }

    /// Changes a case and notes what of it is to be written; `None` when there is no such case.
    fn change(
        &mut self,
        case_id: Uuid,
        change: impl FnOnce(&mut Case, &mut [Member], Setting<'_>) -> Vec<Draft>,
    ) -> Option<Vec<Draft>> {
        let case = self.cases.get_mut(&case_id)?;
        let members = self.members.entry(case_id).or_default();
        let before = (case.clone(), members.clone());
        let drafts = change(case, members, self.setting);
        if *case != before.0 {
            touch(case, self.setting.now_us);
            self.changed.insert(case_id);
        }
        for (member, before) in members.iter().zip(&before.1) {
            if member != before {
                self.changed_members.insert((member.message_id, member.question_id));
            }
        }
        Some(drafts)
    }

    async fn save(&self, tx: &Tx<'_>) -> Result<(), Failure> {
        if self.numbers_given {
            let values = [i64::from(self.number.year).into(), i64::from(self.number.serial).into()];
            tx.db.execute_raw(tx.statement("UPDATE numbering SET year = $1, serial = $2 WHERE id = 1", values)).await?;
        }
        cases::save(tx, self.changed.iter().map(|id| &self.cases[id]).collect()).await?;
        let is_changed = |member: &&Member| self.changed_members.contains(&(member.message_id, member.question_id));
        members::save(tx, self.members.values().flatten().filter(is_changed).collect()).await?;
        members::note_withdrawn(tx, self.withdrawals.clone()).await?;
        members::save_places(tx, self.places_gone.clone(), self.places_new.clone()).await
    }
}

fn touch(case: &mut Case, now_us: i64) {
    case.version += 1;
    case.updated_us = now_us;
}

/// Lets openings and withdrawals through one transaction at a time, and gives the last number.
async fn pass_gate(tx: &Tx<'_>) -> Result<Number, Failure> {
    let sql = format!("SELECT year, serial FROM numbering WHERE id = 1{}", tx.for_update());
    let row = tx.db.query_one_raw(tx.statement(&sql, [])).await?;
    let row = row.ok_or_else(|| Failure::Refused("numbering has no row".into()))?;
    Ok(Number {
        year: i16::try_from(row.try_get_by_index::<i64>(0)?).unwrap_or(0),
        serial: u32::try_from(row.try_get_by_index::<i64>(1)?).unwrap_or(0),
    })
}
