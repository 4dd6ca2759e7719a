//! Services are killed (SIGKILL) at random moments under a stream of submissions and started again: what was
//! acknowledged is there exactly once, classified, assigned and audited.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};
use otklik_proto::{
    assignment::v1::{CaseAssigned, CaseOpened},
    audit::v1::{
        GetLifecycleRequest, VerifyLedgersRequest, audit_service_client::AuditServiceClient, get_lifecycle_request,
    },
    classification::v1::{Decision, MessageClassified, QuestionKind},
    intake::v1::{
        Author, ChannelKind, MessageReceived, Regime, RegisterSourceRequest, Source, SourceKind, SubmitMessageRequest,
        intake_service_client::IntakeServiceClient,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use tonic::{Code, transport::Channel};

use crate::{
    ledgers::{Ledger, heads, numbers},
    processes::{House, PAUSE, SERVICES},
};

const MESSAGES: usize = 600;
/// Submissions in flight.
const SUBMITTERS: usize = 16;
/// How often each service is killed.
const KILLS: usize = 2;
/// The longest wait between the moment that a kill is due and the kill, in milliseconds.
const HESITATION: u64 = 40;
/// How long anything may take before the test gives up on it.
const LIMIT: Duration = Duration::from_secs(180);
const SOURCE: &str = "kill-test";

/// What citizens write; the place and the number make each message another one.
const TEXTS: [&str; 6] = [
    "Вторую неделю не вывозят мусор, контейнеры переполнены",
    "Во всём доме нет отопления, батареи холодные",
    "На дороге огромная яма, пробил колесо",
    "Во дворе не горят фонари, вечером темно",
    "В поликлинике невозможно записаться к врачу",
    "Третьи сутки нет электричества, обрыв проводов",
];
const PLACES: [&str; 4] = ["Владивосток", "Уссурийск", "Находка", "Артём"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_are_killed_lose_and_double_nothing_on_sqlite() {
    let house = House::start(false).await.expect("SQLite is always there");
    kill_under_load(house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_are_killed_lose_and_double_nothing_on_postgres() {
    // Whether the absence of PostgreSQL is a failure is decided where it is looked for.
    if let Some(house) = House::start(true).await {
        kill_under_load(house).await;
    }
}

async fn kill_under_load(house: House) {
    // A run that failed can be repeated, as far as the moments of kills can.
    let given = std::env::var("OTKLIK_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    eprintln!("{}: OTKLIK_TEST_SEED={seed}", house.database());
    register_source(house.channel("intake")).await;

    let acknowledged = Arc::new(AtomicUsize::new(0));
    let submitting = stream::iter(0..MESSAGES)
        .map(|index| {
            let (channel, acknowledged) = (house.channel("intake"), acknowledged.clone());
            async move {
                let id = submit(channel, index).await;
                acknowledged.fetch_add(1, Ordering::Relaxed);
                (external_id(index), id)
            }
        })
        .buffer_unordered(SUBMITTERS)
        .collect::<BTreeMap<_, _>>();
    let killing = kill_at_random(&house, seed, &acknowledged);
    let (messages, ()) = tokio::join!(submitting, killing);
    assert_eq!(messages.len(), MESSAGES);

    wait_until_settled(&house).await;
    check_ledgers(&house, &messages).await;
    check_audit(&house, &messages).await;
}

async fn register_source(channel: Channel) {
    let source = Source {
        source_id: SOURCE.into(),
        kind: SourceKind::Page.into(),
        title: "Страница для испытаний".into(),
        regime: Regime::OpenSourceMessage.into(),
        ..Source::default()
    };
    let request = RegisterSourceRequest { request_id: uuid::Uuid::new_v4().to_string(), source: Some(source) };
    IntakeServiceClient::new(channel).register_source(request).await.expect("a source can be registered");
}

fn external_id(index: usize) -> String {
    format!("wall-{index}")
}

/// Submits a message as a gateway does: again and again until it is acknowledged.
async fn submit(channel: Channel, index: usize) -> String {
    let mut client = IntakeServiceClient::new(channel);
    let begin = Instant::now();
    loop {
        let mut request = tonic::Request::new(SubmitMessageRequest {
            source_id: SOURCE.into(),
            external_id: external_id(index),
            source_revision: 1,
            text: format!("{}, {}, дом {}.", TEXTS[index % TEXTS.len()], PLACES[index % PLACES.len()], index + 1),
            author: Some(Author { external_id: format!("author-{}", index % 50), ..Author::default() }),
            channel_kind: ChannelKind::Comment.into(),
            published_time: Some(prost_types::Timestamp { seconds: 1_605_700_000 + index as i64, nanos: 0 }),
            ..SubmitMessageRequest::default()
        });
        request.set_timeout(Duration::from_secs(10));
        match client.submit_message(request).await {
            Ok(response) => return response.into_inner().message_id,
            Err(status) => {
                assert!(is_outage(&status), "message {index} was refused: {status:?}");
                assert!(begin.elapsed() < LIMIT, "message {index} is not taken: {status}");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A killed server breaks calls off in many ways, none of which has details; what it says itself must be an outage.
fn is_outage(status: &tonic::Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded => true,
        Code::Unknown | Code::Internal | Code::Cancelled => status.details().is_empty(),
        _ => false,
    }
}

/// Kills every service as often as is due, in random order, spread over the stream of submissions.
async fn kill_at_random(house: &House, seed: u64, acknowledged: &AtomicUsize) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut victims: Vec<_> = SERVICES.repeat(KILLS);
    victims.shuffle(&mut random);
    for (index, victim) in victims.iter().enumerate() {
        let due = (index * MESSAGES + random.random_range(0..MESSAGES)) / (victims.len() + 1);
        let begin = Instant::now();
        while acknowledged.load(Ordering::Relaxed) < due {
            assert!(begin.elapsed() < LIMIT, "only {} messages were taken", acknowledged.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..HESITATION))).await;
        house.kill_and_restart(victim);
    }
}

/// Waits until every service has read the others to their ends.
async fn wait_until_settled(house: &House) {
    let begin = Instant::now();
    loop {
        let missing = match unread(house).await {
            Ok(missing) if missing.is_empty() => return,
            Ok(missing) => missing.join(", "),
            Err(status) => status.to_string(),
        };
        assert!(begin.elapsed() < LIMIT, "not settled: {missing}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// What some service has not read yet of another.
async fn unread(house: &House) -> Result<Vec<String>, tonic::Status> {
    let mut all = BTreeMap::new();
    for service in SERVICES {
        all.insert(service, heads(house.channel(service)).await?);
    }
    let mut missing = Vec::new();
    for (reader, answer) in &all {
        assert!(answer.parked.is_empty(), "{reader} has parked {:?}", answer.parked);
        // Who listens to whom is the services' own matter, but audit listens to all.
        let listens_to = |service: &str| *reader == "audit" || answer.seen.iter().any(|seen| seen.service == service);
        for service in SERVICES.into_iter().filter(|service| service != reader && listens_to(service)) {
            let seen = answer.seen.iter().find(|seen| seen.service == service);
            let seen = seen.map(|seen| numbers(&seen.positions)).unwrap_or_default();
            if seen != numbers(&all[service].heads) {
                missing.push(format!("{reader} has not read {service} to its end"));
            }
        }
    }
    let expected = [("classification", "intake"), ("assignment", "classification")];
    for (reader, service) in expected {
        if !all[reader].seen.iter().any(|seen| seen.service == service) {
            missing.push(format!("{reader} has read nothing of {service}"));
        }
    }
    Ok(missing)
}

/// Each message is received, classified and assigned exactly once; `messages` are the acknowledged ids by external id.
async fn check_ledgers(house: &House, messages: &BTreeMap<String, String>) {
    let intake = Ledger::read("intake", house.channel("intake")).await;
    let received: Vec<MessageReceived> = intake.events();
    assert_eq!(received.len(), messages.len(), "every message is received once");
    for event in &received {
        assert_eq!(messages.get(&event.external_id), Some(&event.message_id), "what was acknowledged is what is there");
    }

    let classification = Ledger::read("classification", house.channel("classification")).await;
    let classified: Vec<MessageClassified> = classification.events();
    let ids: BTreeSet<_> = classified.iter().map(|event| &event.message_id).collect();
    assert_eq!(classified.len(), messages.len(), "every message is classified once");
    assert_eq!(ids, messages.values().collect(), "the messages classified are those received");

    let assignment = Ledger::read("assignment", house.channel("assignment")).await;
    let expected: BTreeSet<_> = classified
        .iter()
        .flat_map(|event| &event.questions)
        .filter(|question| question.decision() == Decision::Auto && question.kind() != QuestionKind::Spam)
        .map(|question| question.question_id.as_str())
        .collect();
    assert!(expected.len() >= messages.len() / 2, "only {} questions were recognised", expected.len());
    let opened: Vec<CaseOpened> = assignment.events();
    let questions: BTreeSet<_> = opened.iter().map(|event| event.question_id.as_str()).collect();
    assert_eq!(opened.len(), questions.len(), "no question has two cases");
    assert_eq!(questions, expected, "every question has a case");
    let assigned: Vec<CaseAssigned> = assignment.events();
    let cases: BTreeSet<_> = assigned.iter().map(|event| &event.case_id).collect();
    assert_eq!(assigned.len(), opened.len(), "every case is assigned once");
    assert_eq!(cases, opened.iter().map(|event| &event.case_id).collect());
}

/// Audit has everything, unaltered, and tells every message's life.
async fn check_audit(house: &House, messages: &BTreeMap<String, String>) {
    let mut client = AuditServiceClient::new(house.channel("audit"));
    let begin = Instant::now();
    // Copies are verified a little after they are made.
    let answer = loop {
        let answer =
            client.verify_ledgers(VerifyLedgersRequest::default()).await.expect("ledgers are verified").into_inner();
        let whole = |result: &otklik_proto::audit::v1::LedgerVerification| result.head_seq == Some(result.verified_seq);
        if answer.verifications.iter().all(whole) || begin.elapsed() > LIMIT {
            break answer;
        }
        tokio::time::sleep(PAUSE).await;
    };
    assert!(answer.intact, "{:?}", answer.verifications);
    for service in SERVICES.into_iter().filter(|service| *service != "audit") {
        let result = answer.verifications.iter().find(|result| result.service == service);
        let result = result.unwrap_or_else(|| panic!("{service} was not verified"));
        assert_eq!(result.head_seq, Some(result.verified_seq), "{service}");
    }

    for id in messages.values() {
        let subject = Some(get_lifecycle_request::Subject::MessageId(id.clone()));
        let lifecycle = loop {
            let answer = client.get_lifecycle(GetLifecycleRequest { subject: subject.clone() }).await;
            match answer.map(|answer| answer.into_inner().lifecycle.expect("an answer has a lifecycle")) {
                Ok(lifecycle) if lifecycle.state != "RECEIVED" => break lifecycle,
                // What is copied is indexed in a second step.
                other => assert!(begin.elapsed() < LIMIT, "{id}: {other:?}"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        assert!(lifecycle.verified && lifecycle.problems.is_empty(), "{id}: {:?}", lifecycle.problems);
        let count = |name: &str| lifecycle.steps.iter().filter(|step| step.r#type.ends_with(name)).count();
        assert_eq!(count(".MessageReceived"), 1, "{id}");
        assert_eq!(count(".MessageClassified"), 1, "{id}");
        assert_eq!(count(".CaseOpened"), lifecycle.case_ids.len(), "{id}");
        assert_eq!(count(".CaseAssigned"), lifecycle.case_ids.len(), "{id}");
    }
}
