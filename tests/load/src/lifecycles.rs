//! Full lifecycles: submit → accept → draft → approve → publish → deliver → rate → closed.

use std::{collections::HashSet, sync::Arc, time::Instant};

use anyhow::Context;
use otklik_chassis::{identity::ACT_AS, seen};
use otklik_proto::{
    assignment::v1::{AcceptCaseRequest, Case, CaseState, Outcome, WatchCasesRequest, WatchCasesResponse},
    feedback::v1::{AnswerKind, ApproveAnswerRequest, DraftAnswerRequest, PublishAnswerRequest, RecordRatingRequest},
};
use otklik_suite::clients::Clients;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};
use tonic::{Request, Status, Streaming};

use crate::{
    generate,
    measure::wait_until_audited,
    server::{Server, cpu_seconds},
};

/// Cases being worked on at once.
const AT_ONCE: usize = 512;

/// Lives through `count` messages' cases and measures how many a second are closed.
pub async fn measure(server: &Server, count: u64) -> anyhow::Result<Value> {
    wait_until_audited(server).await?;
    let clients = server.clients()?;
    let watch = clients.assignment().watch_cases(WatchCasesRequest::default()).await?.into_inner();
    let (cpu, own) = (server.cpu_seconds()?, cpu_seconds("self")?);
    let started = Instant::now();
    let work = tokio::spawn(work(watch, clients, usize::try_from(count)?));
    generate::stream(server, count).await?;
    let closed = work.await?? as u64;
    let seconds = started.elapsed().as_secs_f64();
    let micros = |used: f64| (used * 1e6 / closed as f64).round();
    Ok(json!({
        "closed": closed, "per_second": (closed as f64 / seconds).round(), "seconds": seconds,
        "server_cpu_us": micros(server.cpu_seconds()? - cpu), "generator_cpu_us": micros(cpu_seconds("self")? - own),
    }))
}

/// Works on every case as it is assigned until `count` are closed.
async fn work(mut watch: Streaming<WatchCasesResponse>, clients: Clients, count: usize) -> anyhow::Result<usize> {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut begun: HashSet<String> = HashSet::new();
    let mut closed: HashSet<String> = HashSet::new();
    let mut cases: JoinSet<Result<(), Status>> = JoinSet::new();
    while closed.len() < count {
        tokio::select! {
            update = watch.message() => for case in update?.context("the watch ended")?.cases {
                match case.state() {
                    CaseState::ClosedConfirmed => drop(closed.insert(case.case_id)),
                    CaseState::Assigned if begun.len() < count && begun.insert(case.case_id.clone()) => {
                        let permit = room.clone().acquire_owned().await?;
                        let clients = clients.clone();
                        cases.spawn(async move {
                            let _permit = permit;
                            live(&clients, &case).await
                        });
                    }
                    _ => {}
                }
            },
            Some(done) = cases.join_next() => done?.context("a step of a lifecycle")?,
        }
    }
    Ok(closed.len())
}

fn request<T>(body: T, act_as: &'static str, after: Option<String>) -> Request<T> {
    let mut request = Request::new(body);
    request.metadata_mut().insert(ACT_AS, tonic::metadata::MetadataValue::from_static(act_as));
    if let Some(value) = after.and_then(|a| a.parse().ok()) {
        request.metadata_mut().insert(seen::AFTER, value);
    }
    request
}

async fn live(clients: &Clients, case: &Case) -> Result<(), Status> {
    let (mut assignment, mut feedback) = (clients.assignment(), clients.feedback());
    let case_id = case.case_id.clone();
    let body = AcceptCaseRequest { request_id: format!("a-{case_id}"), case_id: case_id.clone(), ..Default::default() };
    let accepted = assignment.accept_case(request(body, "executor;executor", None)).await?.into_inner();
    let after = accepted.position.map(|p| seen::after("assignment", &p));
    let body = DraftAnswerRequest {
        request_id: format!("d-{case_id}"),
        case_id: case_id.clone(),
        kind: AnswerKind::Final.into(),
        outcome: Outcome::Done.into(),
        text: "Здравствуйте! Работы выполнены сегодня, результат проверен на месте.".to_owned(),
        ..Default::default()
    };
    let drafted = feedback.draft_answer(request(body, "executor;executor", after)).await?.into_inner();
    let answer_id = drafted.answer.unwrap_or_default().answer_id;
    let body =
        ApproveAnswerRequest { request_id: format!("p-{case_id}"), answer_id: answer_id.clone(), ..Default::default() };
    feedback.approve_answer(request(body, "approver;approver", None)).await?;
    let body = PublishAnswerRequest { request_id: format!("o-{case_id}"), answer_id, ..Default::default() };
    feedback.publish_answer(request(body, "executor;executor", None)).await?;
    for member in &case.members {
        let body = RecordRatingRequest {
            request_id: format!("r-{case_id}-{}", member.message_id),
            case_id: case_id.clone(),
            message_id: member.message_id.clone(),
            score: 5,
            satisfied: true,
            ..Default::default()
        };
        feedback.record_rating(request(body, "gateway;gateway", None)).await?;
    }
    Ok(())
}
