//! Measures the classifier on labelled messages: `cargo run --example measure -- [FILE.ndjson]`.
//!
//! The file has the format of the shipped sample of messages (the default). Printed are totals: how often the group and
//! the topic are right, how much goes to people, and how many decisions a second one core makes.

use std::{collections::BTreeMap, path::Path, time::Instant};

use otklik_classification::pack;
use serde_json::Value;

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn main() -> anyhow::Result<()> {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/regions/primorye/sample/messages.ndjson");
    let file = std::env::args().nth(1).unwrap_or_else(|| shipped.to_owned());
    let show = std::env::args().nth(2);
    let pack = pack::open(None::<&Path>)?;
    let mut texts = Vec::new();
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    let mut count = |name, holds: bool| *totals.entry(name).or_default() += usize::from(holds);
    for line in std::fs::read_to_string(&file)?.lines() {
        let message: Value = serde_json::from_str(line)?;
        let (Some(text), sample) = (message["text"].as_str(), &message["sample"]) else { continue };
        let group = sample["topic_group"].as_str().unwrap_or_default();
        let topic = format!("{group}.{}", sample["topic_hint"].as_str().unwrap_or_default());
        let kind = sample["kind"].as_str().unwrap_or_default();
        let questions = pack.classifier.classify(text, "");
        texts.push(text.to_owned());
        let Some(first) = questions.first() else { continue };
        count("0 messages", true);
        count("1 questions", true);
        for _ in 1..questions.len() {
            count("1 questions", true);
        }
        let found = format!("{:?}", first.kind).to_lowercase();
        count("8 kind right", found == kind);
        let review = questions.iter().any(|q| format!("{:?}", q.decision) == "Review");
        count("2 in review", review);
        if !["complaint", "question", "proposal"].contains(&kind) {
            continue;
        }
        count("3 with a topic", true);
        count("4 group right", first.group == group);
        count("5 topic right", first.topic == topic);
        let auto = format!("{:?}", first.decision) == "Auto";
        count("6 decided", auto);
        count("7 decided, group wrong", auto && first.group != group);
        count("7 decided, topic wrong", auto && first.topic != topic);
        if show.as_deref() == Some("wrong") && first.topic != topic {
            println!("{topic} | {} {:.2} {:?} | {text}", first.topic, first.confidence, first.decision);
        }
        if show.as_deref() == Some("many") && questions.len() > 1 {
            println!("{topic} | {text}");
            for q in &questions {
                let part = &text[q.span.start as usize..q.span.end as usize];
                println!("     {} {:.2} {:?} {:?} {}", q.topic, q.confidence, q.decision, q.places, part.trim());
            }
        }
    }
    for (name, number) in totals {
        println!("{name}: {number}");
    }
    let rounds = 20;
    let start = Instant::now();
    let decisions: usize =
        (0..rounds).map(|_| texts.iter().map(|t| pack.classifier.classify(t, "").len()).sum::<usize>()).sum();
    let seconds = start.elapsed().as_secs_f64();
    let bytes: usize = texts.iter().map(String::len).sum();
    println!(
        "{:.0} texts/s, {:.0} decisions/s; {} bytes a text",
        (rounds * texts.len()) as f64 / seconds,
        decisions as f64 / seconds,
        bytes / texts.len().max(1)
    );
    Ok(())
}
