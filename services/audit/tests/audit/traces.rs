//! Lifecycle traces: every span of every life arrives, none an orphan, whatever happens to the receiver.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::Duration,
};

use opentelemetry_proto::tonic::trace::v1::Span;
use otklik_chassis::{id::new_id, testing};
use otklik_proto::{
    assignment::v1::{CaseAccepted, MessageJoined},
    audit::v1::Lifecycle,
    classification::v1::MessageClassified,
};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

use crate::{
    receiver::{Behaviour, Collector, Key},
    world::{ICE, LONG, Told, World},
};

const ANY: &str = "127.0.0.1:0";

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, waiting).await.is_ok(), "{what}");
}

fn spans_of(spans: &HashMap<Key, (String, Span)>, trace: Uuid) -> Vec<&Span> {
    spans.iter().filter(|((id, _), _)| id == trace.as_bytes()).map(|(_, (_, span))| span).collect()
}

/// Every parent is there, and there is one root.
fn assert_no_orphans(spans: &HashMap<Key, (String, Span)>) {
    let mut roots: HashMap<&[u8], u32> = HashMap::new();
    for ((trace, _), (_, span)) in spans {
        if span.parent_span_id.is_empty() {
            *roots.entry(trace).or_default() += 1;
        } else {
            let parent = (trace.clone(), span.parent_span_id.clone());
            assert!(spans.contains_key(&parent), "{} is an orphan", span.name);
        }
    }
    let traces: HashSet<&[u8]> = spans.keys().map(|(trace, _)| trace.as_slice()).collect();
    assert!(traces.iter().all(|trace| roots.get(trace) == Some(&1)), "one root a trace: {roots:?}");
}

/// The steps of a life are the spans of its trace.
fn assert_same(life: &Lifecycle, spans: &HashMap<Key, (String, Span)>, trace: Uuid) {
    let mut steps: Vec<&str> = life.steps.iter().map(|step| step.span_id.as_str()).collect();
    let hex = |span: &&Span| span.span_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut exported: Vec<String> = spans_of(spans, trace).iter().map(hex).collect();
    steps.sort_unstable();
    exported.sort_unstable();
    assert_eq!(steps, exported);
}

/// Spans of one whole life: 13 steps in the message's trace, 11 in the case's.
const WHOLE: usize = 13 + 11;

fn whole(world: &World, minutes: i64) -> Told {
    world.close(world.answer(world.assign(ICE, minutes), minutes + 90), minutes + 120)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_span_arrives_though_the_receiver_is_down_slow_and_killed() {
    for database in testing::databases().await {
        let world = World::new().await;
        let collector = Collector::default();
        let server = collector.serve(ANY.parse().unwrap());
        let address = server.address;
        drop(server);

        // Down.
        let lives: Vec<Told> = (0..40).map(|minutes| whole(&world, minutes)).collect();
        let mut audit = world.audit(&database, &format!("http://{}", address)).await;
        audit.see(&world).await;
        assert_eq!(collector.len(), 0);

        // Slow, and it loses an answer: what was accepted is sent again.
        collector.behave(Behaviour { delay: Duration::from_millis(50), lose_answer_of: 2, ..Default::default() });
        let server = collector.serve(address);
        until("some spans arrive", || collector.requests() >= 3).await;

        // Killed half-way, with audit and all.
        drop(server);
        audit.stop().await;
        let more: Vec<Told> = (40..60).map(|minutes| whole(&world, minutes)).collect();
        collector.behave(Behaviour { moody: true, ..Default::default() });
        let server = collector.serve(address);
        let mut audit = world.audit(&database, &format!("http://{}", address)).await;
        audit.see(&world).await;
        until("every span arrives", || collector.len() == 60 * WHOLE).await;

        let spans = collector.spans();
        assert_no_orphans(&spans);
        assert!(collector.repeats() > 0, "the lost answer was repeated");
        for told in lives.iter().chain(&more) {
            assert_same(&audit.of_message(told.message).await, &spans, told.message);
            assert_same(&audit.of_case(told.case).await, &spans, told.case);
        }
        audit.stop().await;
        drop(server);
    }
}

#[tokio::test]
async fn a_life_is_a_tree_under_its_reception() {
    let world = World::new().await;
    let collector = Collector::default();
    let server = collector.serve(ANY.parse().unwrap());
    let told = whole(&world, 0);
    let database = testing::sqlite();
    let audit = world.audit(&database, &format!("http://{}", server.address)).await;
    until("every span arrives", || collector.len() == WHOLE).await;
    let spans = collector.spans();
    let trace = spans_of(&spans, told.message);
    let named = |name: &str| *trace.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}"));
    let root = named("received");
    assert!(root.parent_span_id.is_empty());
    assert_eq!(root.start_time_unix_nano, root.end_time_unix_nano);
    assert_eq!(named("classified").parent_span_id, root.span_id);
    assert_eq!(named("opened").parent_span_id, named("classified").span_id);
    assert_eq!(named("accepted").parent_span_id, root.span_id, "a call caused it");
    assert_eq!(named("resolved").parent_span_id, named("answer published").span_id);
    let answered = named("answer published");
    assert_eq!(answered.end_time_unix_nano - answered.start_time_unix_nano, 90 * 60 * 1_000_000_000);
    let (service, _) = &spans[&(root.trace_id.clone(), root.span_id.clone())];
    assert_eq!(service, "otklik-intake");
    assert!(answered.attributes.iter().any(|attribute| attribute.key == "otklik.detail.outcome"));

    let trace = spans_of(&spans, told.case);
    let root = trace.iter().find(|span| span.parent_span_id.is_empty()).unwrap();
    assert_eq!(root.name, "opened");
    audit.stop().await;
}

#[tokio::test]
async fn an_effect_that_arrives_before_its_cause_waits_for_it() {
    let mut world = World::new().await;
    let collector = Collector::default();
    let server = collector.serve(ANY.parse().unwrap());
    // Classification can't be reached; assignment has long consumed it.
    let reachable = world.peers["classification"].uri.clone();
    let unreachable: SocketAddr = "127.0.0.1:9".parse().unwrap();
    world.peers.get_mut("classification").unwrap().uri = format!("http://{unreachable}");
    let told = world.assign(ICE, 0);
    let database = testing::sqlite();
    let audit = world.audit(&database, &format!("http://{}", server.address)).await;
    // "received" alone: "opened" and "assigned" were caused by what isn't here.
    until("the reception arrives", || collector.len() == 1).await;
    let (other, _) = world.receive(ICE, 1);
    until("others are not held up", || collector.len() == 2).await;
    audit.stop().await;
    assert_eq!(collector.len(), 2);

    world.peers.get_mut("classification").unwrap().uri = reachable;
    let audit = world.audit(&database, &format!("http://{}", server.address)).await;
    until("the rest arrives", || collector.len() == 2 + 1 + 4).await;
    let spans = collector.spans();
    assert_no_orphans(&spans);
    let trace = spans_of(&spans, told.message);
    let id = |name: &str| trace.iter().find(|span| span.name == name).unwrap().span_id.clone();
    let opened = trace.iter().find(|span| span.name == "opened").unwrap();
    assert_eq!(opened.parent_span_id, id("classified"));
    assert_eq!(spans_of(&spans, other).len(), 1);
    audit.stop().await;
}

#[tokio::test]
async fn beyond_fifty_members_a_step_links_to_their_traces() {
    let world = World::new().await;
    let told = world.assign(ICE, 0);
    let mut members = vec![told.message];
    for minutes in 1..=60 {
        let (message, cause) = world.receive(ICE, minutes);
        let joined = MessageJoined {
            case_id: told.case.to_string(),
            message_id: message.to_string(),
            question_id: new_id(world.at(0)).to_string(),
            ..Default::default()
        };
        world.say(("case", told.case), &[message], Some(cause), minutes, &joined);
        members.push(message);
    }
    let accepted = CaseAccepted { case_id: told.case.to_string(), ..Default::default() };
    // It names nobody: its members are known from their joining.
    world.say(("case", told.case), &[], None, 100, &accepted);
    let collector = Collector::default();
    let server = collector.serve(ANY.parse().unwrap());
    let database = testing::sqlite();
    let audit = world.audit(&database, &format!("http://{}", server.address)).await;
    let is_accepted = |collector: &Collector| {
        collector.spans().values().filter(|(_, span)| span.name == "accepted").map(|(_, span)| span.clone()).next()
    };
    until("the case's step arrives", || is_accepted(&collector).is_some()).await;
    let span = is_accepted(&collector).unwrap();
    assert_eq!(span.trace_id, told.case.as_bytes());
    let linked: HashSet<&[u8]> = span.links.iter().map(|link| link.trace_id.as_slice()).collect();
    assert_eq!(linked, members.iter().map(|id| id.as_bytes().as_slice()).collect());
    assert_no_orphans(&collector.spans());
    let spans = collector.spans();
    assert_eq!(spans_of(&spans, told.message).iter().filter(|span| span.name == "accepted").count(), 0);
    audit.stop().await;
}

#[tokio::test]
async fn rejected_spans_are_counted_and_not_sent_again() {
    let world = World::new().await;
    let (message, received) = world.receive(ICE, 0);
    let classified = MessageClassified { message_id: message.to_string(), message_version: 1, ..Default::default() };
    world.say(("message", message), &[message], Some(received), 1, &classified);
    let collector = Collector::default();
    collector.behave(Behaviour { rejected: 1, ..Default::default() });
    let server = collector.serve(ANY.parse().unwrap());
    let database = testing::sqlite();
    let mut audit = world.audit(&database, &format!("http://{}", server.address)).await;
    audit.see(&world).await;
    until("both spans arrive", || collector.len() == 2).await;
    let storage = database.open("audit").await;
    let statement = storage.statement("SELECT rejected FROM progress WHERE name = 'traces'", []);
    let counted = async {
        loop {
            let row = storage.reader().query_one_raw(statement.clone()).await.unwrap().unwrap();
            match row.try_get_by_index::<i64>(0).unwrap() {
                0 => tokio::time::sleep(Duration::from_millis(5)).await,
                rejected => return rejected,
            }
        }
    };
    let counted = tokio::time::timeout(LONG, counted).await.expect("what is rejected is counted");
    audit.stop().await;
    assert_eq!(collector.repeats(), 0);
    assert!((1..=i64::from(collector.requests())).contains(&counted));
    storage.close().await;
}
