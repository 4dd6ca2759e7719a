//! Messages to send: the texts of the shipped sample, with ids of their own.

use std::sync::{
    LazyLock, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use otklik_proto::{
    classification::v1::{ClassifyRequest, Decision, QuestionKind},
    intake::v1::{SubmitMessageRequest, SubmitMessagesRequest, submit_messages_response::Result as ItemResult},
    time::from_micros,
};
use otklik_suite::import::{line::Op, reader};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use crate::server::Server;

const SAMPLE: &str = include_str!("../../../deploy/regions/primorye/sample/messages.ndjson");

static SAMPLES: LazyLock<Vec<SubmitMessageRequest>> = LazyLock::new(|| {
    reader::ndjson(SAMPLE.as_bytes())
        .filter_map(|(_, line)| line.ok())
        .filter(|line| line.op == Op::Submit && line.sample.as_ref().is_some_and(|s| s.kind == "complaint"))
        .filter_map(|line| line.submission().ok())
        .collect()
});

/// The samples that classification decides by itself and that hold one question: each becomes one case at once,
/// without waiting for a moderator, so that what is measured is the whole way.
static CHOSEN: OnceLock<Vec<SubmitMessageRequest>> = OnceLock::new();

/// Chooses the texts to send by asking the classification under test. Returns how many there are.
pub async fn choose(server: &Server) -> anyhow::Result<usize> {
    let mut classification = server.clients()?.classification();
    let mut chosen = Vec::new();
    for sample in SAMPLES.iter() {
        let request = ClassifyRequest {
            text: sample.text.clone(),
            source_id: sample.source_id.clone(),
            published_time: sample.published_time,
            ..Default::default()
        };
        let answer = classification.classify(request).await?.into_inner();
        if let [question] = &answer.questions[..]
            && question.decision() == Decision::Auto
            && question.kind() != QuestionKind::Spam
        {
            chosen.push(sample.clone());
        }
    }
    anyhow::ensure!(!chosen.is_empty(), "classification decides none of the samples by itself");
    Ok(CHOSEN.get_or_init(|| chosen).len())
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// The next message: never the same item twice, of some thousands of authors.
pub fn message() -> SubmitMessageRequest {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let texts = CHOSEN.get().unwrap_or(&SAMPLES);
    let mut message = texts[usize::try_from(n).unwrap_or(0) % texts.len()].clone();
    message.external_id = format!("load-{}-{n}", std::process::id());
    message.source_revision = 1;
    if let Some(author) = &mut message.author {
        author.external_id = format!("author-{}", n % 5_000);
    }
    message.published_time = Some(from_micros(jiff::Timestamp::now().as_microsecond()));
    message.in_reply_to_external_id.clear();
    message
}

/// Stores `count` messages and waits until the suite is at rest again.
pub async fn preload(server: &Server, count: u64) -> anyhow::Result<()> {
    if count == 0 {
        return Ok(());
    }
    stream(server, count).await?;
    crate::measure::wait_until_audited(server).await
}

/// Sends `count` messages through one stream and waits for all their results.
pub async fn stream(server: &Server, count: u64) -> anyhow::Result<()> {
    let (queue, requests) = mpsc::channel(1024);
    let feeding = tokio::spawn(async move {
        for index in 0..count {
            if queue.send(SubmitMessagesRequest { index, message: Some(message()) }).await.is_err() {
                return;
            }
        }
    });
    let mut results = server.clients()?.intake().submit_messages(ReceiverStream::new(requests)).await?.into_inner();
    while let Some(result) = results.next().await {
        if let Some(ItemResult::Error(error)) = result?.result {
            anyhow::bail!("a message was refused: {}", error.message);
        }
    }
    feeding.await?;
    Ok(())
}
