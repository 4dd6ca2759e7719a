//! The people of the demo at their desks: each act is one call of the public API in its principal's name.

use otklik_chassis::{identity::ACT_AS, seen};
use otklik_proto::{
    assignment::v1::{
        AcceptCaseRequest, Case, CaseState, ExecutorKind, GetCaseRequest, ListCasesFilter, ListCasesRequest,
        ListExecutorsRequest, Outcome, ReassignCaseRequest, ReassignReason, ResumeCaseRequest, ReturnCaseRequest,
        ReturnReason, StartWorkRequest, SuspendCaseRequest, SuspendReason,
    },
    feedback::v1::{AnswerKind, ApproveAnswerRequest, DraftAnswerRequest, PublishAnswerRequest, RecordRatingRequest},
    ledger::v1::Position,
};
use tonic::{Request, Status};

use super::script::Act;
use crate::clients::Clients;

/// The desks, and who sits at them.
pub struct Desk {
    clients: Clients,
    executors: Vec<(String, ExecutorKind)>,
    /// Number of calls so far: makes request ids.
    calls: u64,
}

/// A case as its officials know it.
#[derive(Debug, Clone)]
pub struct File {
    /// The case.
    pub case_id: String,
    /// Its executor.
    pub executor_id: String,
    /// The answer being worked on.
    pub answer_id: String,
    /// What was last done, for `otklik-after`.
    pub last: Option<String>,
    /// How the case ends.
    pub outcome: Outcome,
}

impl Desk {
    /// The desks of the executors that assignment knows.
    ///
    /// # Errors
    /// When assignment does not answer.
    pub async fn open(clients: Clients) -> Result<Self, Status> {
        let mut executors = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListExecutorsRequest { page_size: 500, page_token, ..Default::default() };
            let page = clients.assignment().list_executors(request).await?.into_inner();
            executors.extend(page.executors.into_iter().map(|e| (e.executor_id.clone(), e.kind())));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(Self { clients, executors, calls: 0 });
            }
        }
    }

    fn request<T>(&self, body: T, subject: &str, role: &str, file: &File) -> Request<T> {
        let mut request = Request::new(body);
        let metadata = request.metadata_mut();
        if let Ok(value) = format!("{subject};{role}").parse() {
            metadata.insert(ACT_AS, value);
        }
        if let Some(value) = file.last.as_ref().and_then(|last| last.parse().ok()) {
            metadata.insert(seen::AFTER, value);
        }
        request
    }

    fn request_id(&mut self) -> String {
        self.calls += 1;
        format!("demo-{}", self.calls)
    }

    /// The case as it is now.
    ///
    /// # Errors
    /// When assignment does not answer.
    pub async fn case(&self, case_id: &str) -> Result<Case, Status> {
        let request = GetCaseRequest { case_id: case_id.to_owned() };
        Ok(self.clients.assignment().get_case(request).await?.into_inner().case.unwrap_or_default())
    }

    /// Somebody else than the present executor, always the same for a case.
    fn other_executor(&self, file: &File, seed: u64) -> String {
        let fits: Vec<&String> = self
            .executors
            .iter()
            .filter(|(id, kind)| {
                *id != file.executor_id && matches!(kind, ExecutorKind::Ministry | ExecutorKind::RegionalService)
            })
            .map(|(id, _)| id)
            .collect();
        match fits.len() {
            0 => file.executor_id.clone(),
            n => fits[usize::try_from(seed % n as u64).unwrap_or(0)].clone(),
        }
    }

    /// Does `act` with the case.
    ///
    /// # Errors
    /// The refusal of the service.
    pub async fn act(&mut self, act: Act, file: &mut File, seed: u64) -> Result<(), Status> {
        let executor = format!("executor:{}", file.executor_id);
        let case_id = file.case_id.clone();
        let request_id = self.request_id();
        let mut assignment = self.clients.assignment();
        let position = match act {
            Act::Ponder | Act::Rate => None,
            Act::Accept => {
                let body = AcceptCaseRequest { request_id, case_id, ..Default::default() };
                let request = self.request(body, &executor, "executor", file);
                assignment.accept_case(request).await?.into_inner().position
            }
            Act::Return => {
                let reason = ReturnReason::NotResponsible.into();
                let body = ReturnCaseRequest { request_id, case_id, reason, ..Default::default() };
                let request = self.request(body, &executor, "executor", file);
                assignment.return_case(request).await?.into_inner().position
            }
            Act::Reassign => {
                let executor_id = self.other_executor(file, seed);
                let reason = ReassignReason::Returned.into();
                let body = ReassignCaseRequest {
                    request_id,
                    case_id,
                    reason,
                    executor_id: executor_id.clone(),
                    ..Default::default()
                };
                let request = self.request(body, "coordinator:duty", "coordinator", file);
                file.executor_id = executor_id;
                assignment.reassign_case(request).await?.into_inner().position
            }
            Act::StartWork => {
                let body = StartWorkRequest { request_id, case_id, ..Default::default() };
                let request = self.request(body, &executor, "executor", file);
                assignment.start_work(request).await?.into_inner().position
            }
            Act::Suspend => {
                let reason = SuspendReason::WaitingContractor.into();
                let body = SuspendCaseRequest { request_id, case_id, reason, ..Default::default() };
                let request = self.request(body, &executor, "executor", file);
                assignment.suspend_case(request).await?.into_inner().position
            }
            Act::Resume => {
                let body = ResumeCaseRequest { request_id, case_id, ..Default::default() };
                let request = self.request(body, &executor, "executor", file);
                assignment.resume_case(request).await?.into_inner().position
            }
            Act::DraftInterim | Act::DraftFinal | Act::Approve | Act::Publish => {
                return self.answer(act, file, request_id).await;
            }
        };
        file.last = position.map(|p| seen::after("assignment", &p)).or(file.last.take());
        Ok(())
    }

    async fn answer(&mut self, act: Act, file: &mut File, request_id: String) -> Result<(), Status> {
        let executor = format!("executor:{}", file.executor_id);
        let answer_id = file.answer_id.clone();
        let mut feedback = self.clients.feedback();
        let position: Option<Position> = match act {
            Act::Approve => {
                let body = ApproveAnswerRequest { request_id, answer_id, ..Default::default() };
                let request = self.request(body, "approver:press-office", "approver", file);
                feedback.approve_answer(request).await?.into_inner().position
            }
            Act::Publish => {
                let body = PublishAnswerRequest { request_id, answer_id, ..Default::default() };
                let request = self.request(body, &executor, "executor", file);
                feedback.publish_answer(request).await?.into_inner().position
            }
            _ => {
                let interim = act == Act::DraftInterim;
                let body = DraftAnswerRequest {
                    request_id,
                    case_id: file.case_id.clone(),
                    kind: if interim { AnswerKind::Interim } else { AnswerKind::Final }.into(),
                    outcome: if interim { Outcome::Unspecified } else { file.outcome }.into(),
                    text: if interim { INTERIM } else { final_text(file.outcome) }.to_owned(),
                    ..Default::default()
                };
                let request = self.request(body, &executor, "executor", file);
                let drafted = feedback.draft_answer(request).await?.into_inner();
                file.answer_id = drafted.answer.unwrap_or_default().answer_id;
                drafted.position
            }
        };
        // Feedback's own writes are visible to feedback at once; what assignment must see it learns by following.
        if act == Act::Publish {
            file.last = position.map(|p| seen::after("feedback", &p));
        }
        Ok(())
    }

    /// An author rates the answer.
    ///
    /// # Errors
    /// The refusal of the service.
    pub async fn rate(&mut self, file: &File, message_id: &str, score: u32) -> Result<(), Status> {
        let body = RecordRatingRequest {
            request_id: self.request_id(),
            case_id: file.case_id.clone(),
            message_id: message_id.to_owned(),
            score,
            satisfied: score >= 3,
            ..Default::default()
        };
        let mut request = Request::new(body);
        if let Ok(value) = "gateway:ratings;gateway".parse() {
            request.metadata_mut().insert(ACT_AS, value);
        }
        self.clients.feedback().record_rating(request).await?;
        Ok(())
    }
}

/// All cases in one of `states`, or in any when there are none.
///
/// # Errors
/// When assignment does not answer.
pub async fn cases(clients: &Clients, states: &[CaseState]) -> Result<Vec<Case>, Status> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let filter = ListCasesFilter { states: states.iter().map(|s| (*s).into()).collect(), ..Default::default() };
        let request = ListCasesRequest { filter: Some(filter), page_size: 500, page_token };
        let page = clients.assignment().list_cases(request).await?.into_inner();
        all.extend(page.cases);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(all);
        }
    }
}

const INTERIM: &str = "Здравствуйте! Ваше сообщение в работе: специалисты выехали на место. О результате мы напишем \
                       вам здесь же, как только работы будут завершены.";

fn final_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::PartlyDone => {
            "Здравствуйте! Часть работ выполнена, оставшееся включено в план ближайшего месяца. Спасибо за сигнал!"
        }
        Outcome::Explained => {
            "Здравствуйте! Мы разобрались в ситуации: порядок действий и сроки описаны ниже. Если останутся вопросы, \
             напишите нам, мы поможем."
        }
        Outcome::NotResponsible => {
            "Здравствуйте! Вопрос относится к ведению другой организации; мы передали ваше сообщение ей и \
             проследим за ответом."
        }
        _ => "Здравствуйте! По вашему сообщению работы выполнены, результат проверен на месте. Спасибо за сигнал!",
    }
}
