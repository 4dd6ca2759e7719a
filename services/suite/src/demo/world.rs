//! The demo's world: one simulated clock, and everything that happens under it in order of time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
};

use anyhow::Context;
use indicatif::ProgressBar;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use otklik_chassis::clock::{SimulatedClock, Time};
use otklik_proto::{
    assignment::v1::{Case, CaseState, Outcome},
    classification::v1::{
        Classification, CorrectClassificationRequest, CorrectedQuestion, CorrectionReason, Decision,
        GetTaxonomyRequest, ListReviewQueueRequest, QuestionKind, Urgency,
    },
};
use tonic::{Code, Request, Status};

use super::{
    desk::{Desk, File, cases},
    script::{self, Act, Hints, Play},
};
use crate::{
    clients::Clients,
    import::{
        erasure,
        line::{Line, Op},
    },
    settle::settle_decisions,
};

/// Time passes in steps no longer than this, so that what falls due in between happens near its time.
const LONGEST_STEP: SignedDuration = SignedDuration::from_hours(12);
/// What happens within so much time of each other is done before everybody looks again.
const WINDOW: SignedDuration = SignedDuration::from_mins(60);
/// How long after the last event the world waits for windows to close: the longest rating window and then some.
const AFTERMATH: SignedDuration = SignedDuration::from_hours(24 * 60);

/// Something that will happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A line of the input arrives.
    Arrive(usize),
    /// A moderator looks at a message in review.
    Review(String),
    /// The next step of a case's plan.
    Act(String),
}

/// What is still to be done with a case.
struct Plan {
    file: File,
    acts: std::vec::IntoIter<(SignedDuration, Act)>,
    next: Option<Act>,
    urgent: bool,
    reopened: bool,
    seed: u64,
}

/// What happened in the world, for the report.
#[derive(Debug, Clone, Default)]
pub struct Happened {
    /// Submissions by disposition.
    pub submissions: BTreeMap<String, u64>,
    /// Messages that were refused, with why.
    pub refused: Vec<(usize, String)>,
    /// Ids of all messages taken in.
    pub message_ids: HashSet<String>,
    /// Acts carried out.
    pub acts: u64,
    /// Acts that the state no longer allowed: the case was cancelled or reopened in between.
    pub overtaken: u64,
    /// Messages a moderator looked at.
    pub reviewed: u64,
}

/// The world and its people.
pub struct World {
    clients: Clients,
    clock: SimulatedClock,
    zone: TimeZone,
    lines: Vec<Line>,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    scheduled: u64,
    desk: Desk,
    plans: HashMap<String, Plan>,
    /// Line of each message, for what the sample says about it.
    line_of: HashMap<String, usize>,
    in_review: HashSet<String>,
    topics: HashSet<String>,
    /// What happened so far.
    pub happened: Happened,
    progress: ProgressBar,
}

impl World {
    /// A world in which `lines` are going to arrive.
    ///
    /// # Errors
    /// When a service does not answer.
    pub async fn new(
        clients: Clients,
        clock: SimulatedClock,
        lines: Vec<Line>,
        progress: ProgressBar,
    ) -> anyhow::Result<Self> {
        let taxonomy = clients.classification().get_taxonomy(GetTaxonomyRequest {}).await?.into_inner();
        let topics = taxonomy.topic_groups.into_iter().flat_map(|g| g.topics).map(|t| t.topic).collect();
        let mut world = Self {
            desk: Desk::open(clients.clone()).await?,
            zone: TimeZone::get("Asia/Vladivostok").context("the region's time zone")?,
            clients,
            clock,
            events: BinaryHeap::new(),
            scheduled: 0,
            plans: HashMap::new(),
            line_of: HashMap::new(),
            in_review: HashSet::new(),
            topics,
            happened: Happened::default(),
            progress,
            lines,
        };
        for index in 0..world.lines.len() {
            let at = world.lines[index].arrival().map_err(anyhow::Error::msg)?;
            world.schedule(at, Event::Arrive(index));
        }
        Ok(world)
    }

    fn schedule(&mut self, at: Timestamp, event: Event) {
        self.scheduled += 1;
        self.events.push(Reverse((at, self.scheduled, event)));
    }

    /// Lives until nothing more will happen and every case has come to its end.
    ///
    /// # Errors
    /// When a service fails, or something never ends.
    pub async fn live(&mut self) -> anyhow::Result<()> {
        while let Some(Reverse((at, ..))) = self.events.peek() {
            let at = *at;
            self.pass_time(at).await?;
            let mut news = false;
            while let Some(Reverse((next, ..))) = self.events.peek()
                && *next <= at + WINDOW
            {
                let Some(Reverse((next, _, event))) = self.events.pop() else { break };
                self.clock.advance_to(next);
                news |= self.happen(event).await?;
            }
            if news {
                self.look_around().await?;
            }
        }
        let end = self.clock.now() + AFTERMATH;
        while self.open_cases().await? > 0 {
            anyhow::ensure!(self.clock.now() < end, "{} cases never came to an end", self.open_cases().await?);
            self.pass_time(self.clock.now() + LONGEST_STEP).await?;
            self.look_around().await?;
            if !self.events.is_empty() {
                return Box::pin(self.live()).await;
            }
        }
        Ok(())
    }

    /// Lets time pass up to `to`, with everything that falls due on the way.
    async fn pass_time(&mut self, to: Timestamp) -> anyhow::Result<()> {
        while self.clock.now() + LONGEST_STEP < to {
            self.clock.advance_to(self.clock.now() + LONGEST_STEP);
            settle_decisions(&self.clients).await?;
        }
        self.clock.advance_to(to);
        self.progress.set_message(self.zone.to_datetime(self.clock.now()).date().to_string());
        Ok(())
    }

    /// Returns whether somebody's list may have become longer.
    async fn happen(&mut self, event: Event) -> anyhow::Result<bool> {
        match event {
            // Services need no time: what follows from a message is dated like it.
            Event::Arrive(index) => {
                self.arrive(index).await?;
                settle_decisions(&self.clients).await.map(|()| true)
            }
            Event::Review(message_id) => {
                self.review(&message_id).await?;
                settle_decisions(&self.clients).await.map(|()| true)
            }
            Event::Act(case_id) => self.act(&case_id).await,
        }
    }

    async fn arrive(&mut self, index: usize) -> anyhow::Result<()> {
        let line = &self.lines[index];
        self.progress.inc(1);
        match line.op {
            Op::Submit => {
                let submission = line.submission().map_err(anyhow::Error::msg)?;
                match self.clients.intake().submit_message(submission).await {
                    Ok(answer) => {
                        let answer = answer.into_inner();
                        let name = answer.disposition().as_str_name().trim_start_matches("DISPOSITION_").to_lowercase();
                        *self.happened.submissions.entry(name).or_default() += 1;
                        self.happened.message_ids.insert(answer.message_id.clone());
                        self.line_of.insert(answer.message_id, index);
                    }
                    Err(status) if status.code() == Code::InvalidArgument => {
                        self.happened.refused.push((index + 1, status.message().to_owned()));
                    }
                    Err(status) => return Err(status).context("intake"),
                }
            }
            Op::Withdraw => {
                let answer = self.clients.intake().withdraw_message(line.withdrawal()).await.context("a withdrawal")?;
                let message_id = answer.into_inner().message_id;
                if !message_id.is_empty() {
                    self.happened.message_ids.insert(message_id);
                }
            }
            Op::Erase => drop(self.clients.intake().erase_author(erasure(line)).await.context("an erasure")?),
        }
        Ok(())
    }

    /// Everybody looks at their lists: moderators at the review queue, executors at their new cases.
    async fn look_around(&mut self) -> anyhow::Result<()> {
        settle_decisions(&self.clients).await?;
        for classification in self.review_queue().await? {
            if self.in_review.insert(classification.message_id.clone()) {
                let wait = SignedDuration::from_mins(10 + i64::try_from(script::mix(self.scheduled) % 50).unwrap_or(0));
                self.schedule(self.clock.now() + wait, Event::Review(classification.message_id));
            }
        }
        for case in cases(&self.clients, &[CaseState::Assigned]).await? {
            if !self.plans.contains_key(&case.case_id) {
                self.begin(&case);
            }
        }
        Ok(())
    }

    async fn review_queue(&self) -> anyhow::Result<Vec<Classification>> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListReviewQueueRequest { page_size: 1000, page_token, ..Default::default() };
            let page = self.clients.classification().list_review_queue(request).await?.into_inner();
            all.extend(page.classifications);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    async fn open_cases(&self) -> anyhow::Result<usize> {
        let closed =
            [CaseState::ClosedConfirmed, CaseState::ClosedUnrated, CaseState::Cancelled, CaseState::MergedInto];
        let open = (1..=16)
            .filter_map(|n| CaseState::try_from(n).ok())
            .filter(|state| !closed.contains(state))
            .collect::<Vec<_>>();
        Ok(cases(&self.clients, &open).await?.len())
    }

    fn hints(&self, message_id: &str) -> Hints {
        self.line_of.get(message_id).and_then(|i| self.lines[*i].sample.clone()).unwrap_or_default()
    }

    fn begin(&mut self, case: &Case) {
        let first = case.members.first().map(|m| m.message_id.clone()).unwrap_or_default();
        let hints = self.hints(&first);
        let line = self.line_of.get(&first).copied().unwrap_or(0);
        let seed = script::mix(line as u64 * 31 + u64::from(case.reopen_count) + case.members.len() as u64);
        let urgent = case.urgency() != Urgency::Normal;
        let reopened = case.reopen_count > 0;
        let outcome = match (case.kind(), seed % 7) {
            (QuestionKind::Question | QuestionKind::Thanks, _) => Outcome::Explained,
            (_, 0) => Outcome::PartlyDone,
            (_, 1) => Outcome::NotResponsible,
            _ => Outcome::Done,
        };
        let file = File {
            case_id: case.case_id.clone(),
            executor_id: case.executor_id.clone(),
            answer_id: String::new(),
            last: None,
            outcome,
        };
        let acts = script::plan(&hints.play, seed, urgent, reopened).into_iter();
        let plan = Plan { file, acts, next: None, urgent, reopened, seed };
        self.plans.insert(case.case_id.clone(), plan);
        self.plan_next(&case.case_id.clone());
    }

    fn plan_next(&mut self, case_id: &str) {
        let now = self.clock.now();
        let Some(plan) = self.plans.get_mut(case_id) else { return };
        let Some((wait, act)) = plan.acts.next() else {
            self.plans.remove(case_id);
            return;
        };
        plan.next = Some(act);
        let at = script::office_time(now + wait, &self.zone, plan.urgent || act == Act::Rate);
        self.schedule(at, Event::Act(case_id.to_owned()));
    }

    async fn act(&mut self, case_id: &str) -> anyhow::Result<bool> {
        let Some(mut plan) = self.plans.remove(case_id) else { return Ok(false) };
        let Some(act) = plan.next.take() else { return Ok(false) };
        let result = match act {
            Act::Rate => self.rate(&plan).await,
            act => self.desk.act(act, &mut plan.file, plan.seed).await,
        };
        match result {
            Ok(()) => self.happened.acts += 1,
            // The author has withdrawn the message, or somebody was faster: the case has gone its own way.
            Err(status) if status.code() == Code::FailedPrecondition => {
                tracing::debug!(case_id, ?act, message = status.message(), "overtaken");
                self.happened.overtaken += 1;
                return Ok(true);
            }
            Err(status) => return Err(status).with_context(|| format!("{act:?} of case {case_id}")),
        }
        if act == Act::Rate {
            return Ok(true);
        }
        self.plans.insert(case_id.to_owned(), plan);
        self.plan_next(case_id);
        Ok(false)
    }

    async fn rate(&mut self, plan: &Plan) -> Result<(), Status> {
        let case = self.desk.case(&plan.file.case_id).await?;
        for member in case.members.iter().filter(|m| !m.withdrawn) {
            let play: Play = self.hints(&member.message_id).play;
            if let Some(score) = script::rating(&play, plan.seed, plan.reopened) {
                self.desk.rate(&plan.file, &member.message_id, score).await?;
            }
        }
        Ok(())
    }

    /// A moderator says what a message is about: as the sample knows it, or by confirming the best guess.
    async fn review(&mut self, message_id: &str) -> anyhow::Result<()> {
        let queue = self.review_queue().await?;
        let Some(classification) = queue.into_iter().find(|c| c.message_id == message_id) else {
            // It was withdrawn or edited in between.
            self.in_review.remove(message_id);
            return Ok(());
        };
        let hints = self.hints(message_id);
        let questions = classification
            .questions
            .iter()
            .map(|q| {
                let judged = q.decision() == Decision::Review;
                CorrectedQuestion {
                    question_id: q.question_id.clone(),
                    topic: if judged { self.topic(&hints, &q.topic) } else { q.topic.clone() },
                    kind: if judged { kind(&hints, q.kind()) } else { q.kind() }.into(),
                    urgency: q.urgency,
                    place_ids: q.place_ids.clone(),
                }
            })
            .collect();
        let body = CorrectClassificationRequest {
            request_id: format!("demo-review-{message_id}-{}", classification.message_version),
            message_id: message_id.to_owned(),
            etag: classification.etag,
            questions,
            reason: CorrectionReason::WrongTopic.into(),
        };
        let mut request = Request::new(body);
        if let Ok(value) = "moderator:first-line;moderator".parse() {
            request.metadata_mut().insert(otklik_chassis::identity::ACT_AS, value);
        }
        match self.clients.classification().correct_classification(request).await {
            Ok(_) => self.happened.reviewed += 1,
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::Aborted) => {
                self.happened.overtaken += 1;
            }
            Err(status) => return Err(status).with_context(|| format!("the review of {message_id}")),
        }
        self.in_review.remove(message_id);
        Ok(())
    }

    /// The topic a person would choose.
    fn topic(&self, hints: &Hints, guess: &str) -> String {
        let exact = format!("{}.{}", hints.topic_group, hints.topic_hint);
        let general = format!("{}.general", hints.topic_group);
        let candidates = [exact, general, guess.to_owned(), "other.general".to_owned()];
        candidates.into_iter().find(|t| self.topics.contains(t)).unwrap_or_default()
    }
}

fn kind(hints: &Hints, guess: QuestionKind) -> QuestionKind {
    match hints.kind.as_str() {
        "spam" => QuestionKind::Spam,
        "thanks" => QuestionKind::Thanks,
        "proposal" => QuestionKind::Proposal,
        "question" | "unclear" => QuestionKind::Question,
        "complaint" => QuestionKind::Complaint,
        _ if guess == QuestionKind::Unspecified => QuestionKind::Complaint,
        _ => guess,
    }
}
