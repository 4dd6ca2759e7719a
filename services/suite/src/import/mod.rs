//! `otklik import`: messages from a file into a running intake, exactly once however often it is run.

pub mod line;
pub mod reader;

use std::{collections::BTreeMap, path::Path};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use otklik_proto::intake::v1::{
    AuthorReference, Disposition, EraseAuthorRequest, EraseReason, SubmitMessagesRequest, SubmitMessagesResponse,
    erase_author_request, submit_messages_response,
};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use crate::clients::Clients;
use line::{Line, Op};
use reader::{Format, Numbered};

/// What became of an import.
#[derive(Debug, Default, Serialize)]
pub struct Summary {
    /// Lines read, blank ones aside.
    pub lines: u64,
    /// Messages by what they were: `new`, `revised`, `repeat`, `stale_repeat`, `tombstoned`.
    pub messages: BTreeMap<String, u64>,
    /// Withdrawals carried out or repeated.
    pub withdrawals: u64,
    /// Authors erased.
    pub erasures: u64,
    /// Lines that were left out, with why.
    pub left_out: Vec<LeftOut>,
    /// How many more were left out than are listed.
    pub left_out_unlisted: u64,
}

/// A line that was left out.
#[derive(Debug, Serialize)]
pub struct LeftOut {
    /// Its number in the file.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// Lines on their way at once.
const IN_FLIGHT: usize = 512;
/// Lines left out that are named; the rest is counted.
const MOST_NAMED: usize = 1000;

impl Summary {
    fn leave_out(&mut self, line: u64, why: String) {
        if self.left_out.len() < MOST_NAMED {
            self.left_out.push(LeftOut { line, why });
        } else {
            self.left_out_unlisted += 1;
        }
    }
}

/// Imports `file` through `clients`.
///
/// # Errors
/// When the file can't be read or intake can't be reached; a bad line is no error.
pub async fn import(clients: &Clients, file: &Path, format: Option<Format>, quiet: bool) -> anyhow::Result<Summary> {
    let lines = reader::open(file, format)?;
    let progress = if quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    progress.set_style(ProgressStyle::with_template("{spinner} {pos} lines  {per_sec}  {elapsed}")?);
    let mut summary = Summary::default();
    let (queue, requests) = mpsc::channel(IN_FLIGHT);
    let (others, mut waiting) = mpsc::channel(IN_FLIGHT);
    let reading = tokio::task::spawn_blocking(move || feed(lines, &queue, &others));
    let mut responses = clients
        .intake()
        .submit_messages(ReceiverStream::new(requests))
        .await
        .context("intake does not take messages")?
        .into_inner();
    while let Some(response) = responses.next().await {
        note(&mut summary, response.context("the import was cut off; run it again, nothing is doubled")?);
        progress.inc(1);
    }
    // Withdrawals and erasures come after the submissions of the file: intake takes them in any order.
    while let Some((number, entry)) = waiting.recv().await {
        match entry {
            Err(why) => summary.leave_out(number, why),
            Ok(line) => {
                if let Err(status) = carry_out(clients, &line, &mut summary).await {
                    summary.leave_out(number, status.message().to_owned());
                }
            }
        }
        progress.inc(1);
    }
    summary.lines = reading.await.context("the reader of the file failed")?;
    summary.left_out.sort_by_key(|l| l.line);
    progress.finish_and_clear();
    Ok(summary)
}

/// Sorts lines into submissions, which stream, and everything else. Returns how many lines there were.
fn feed(
    lines: Box<dyn Iterator<Item = Numbered> + Send>,
    queue: &mpsc::Sender<SubmitMessagesRequest>,
    others: &mpsc::Sender<Numbered>,
) -> u64 {
    let mut count = 0;
    let mut held: Vec<Numbered> = Vec::new();
    for (number, entry) in lines {
        count += 1;
        let entry = match entry {
            Ok(line) if line.op == Op::Submit => match line.submission() {
                Ok(message) => {
                    let request = SubmitMessagesRequest { index: number, message: Some(message) };
                    if queue.blocking_send(request).is_err() {
                        return count;
                    }
                    continue;
                }
                Err(why) => Err(why),
            },
            other => other,
        };
        held.push((number, entry));
    }
    for entry in held {
        if others.blocking_send(entry).is_err() {
            break;
        }
    }
    count
}

fn note(summary: &mut Summary, response: SubmitMessagesResponse) {
    match response.result {
        Some(submit_messages_response::Result::Response(done)) => {
            let name = done.disposition().as_str_name().trim_start_matches("DISPOSITION_").to_lowercase();
            let name = if done.disposition() == Disposition::Unspecified { "unknown".to_owned() } else { name };
            *summary.messages.entry(name).or_default() += 1;
        }
        Some(submit_messages_response::Result::Error(error)) => {
            let mut why = error.message;
            for v in error.field_violations {
                if !why.contains(&v.description) {
                    why = format!("{why}; {}: {}", v.field, v.description);
                }
            }
            summary.leave_out(response.index, why);
        }
        None => summary.leave_out(response.index, "intake gave no result".to_owned()),
    }
}

async fn carry_out(clients: &Clients, line: &Line, summary: &mut Summary) -> Result<(), tonic::Status> {
    match line.op {
        Op::Submit => {}
        Op::Withdraw => {
            clients.intake().withdraw_message(line.withdrawal()).await?;
            summary.withdrawals += 1;
        }
        Op::Erase => {
            clients.intake().erase_author(erasure(line)).await?;
            summary.erasures += 1;
        }
    }
    Ok(())
}

/// The erasure that a line stands for. The request id is made from its content, so importing again repeats it.
pub fn erasure(line: &Line) -> EraseAuthorRequest {
    EraseAuthorRequest {
        request_id: format!("import/{}/{}/{}", line.source_id, line.author_external_id, line.published_time),
        author: Some(erase_author_request::Author::Reference(AuthorReference {
            source_id: line.source_id.clone(),
            author_external_id: line.author_external_id.clone(),
        })),
        reason: EraseReason::AuthorRequest.into(),
    }
}
