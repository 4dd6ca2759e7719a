//! Rates with calls in flight, and latencies open-loop.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use hdrhistogram::Histogram;
use otklik_proto::assignment::v1::{WatchCasesRequest, WatchCasesResponse};
use otklik_suite::{clients::Clients, settle::settle};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::Streaming;

use crate::{
    generate,
    server::{Server, cpu_seconds},
};

/// Connections the calls are spread over.
const CONNECTIONS: usize = 4;
/// How long a case may take to be assigned before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one measurement of a rate used.
struct Used {
    started: Instant,
    server: f64,
    generator: f64,
}

impl Used {
    fn start(server: &Server) -> anyhow::Result<Self> {
        Ok(Self { started: Instant::now(), server: server.cpu_seconds()?, generator: cpu_seconds("self")? })
    }

    fn per(&self, server: &Server, count: u64) -> anyhow::Result<Value> {
        let seconds = self.started.elapsed().as_secs_f64();
        let micros = |used: f64| (used * 1e6 / count as f64).round();
        Ok(json!({
            "per_second": (count as f64 / seconds).round(), "seconds": seconds,
            "server_cpu_us": micros(server.cpu_seconds()? - self.server),
            "generator_cpu_us": micros(cpu_seconds("self")? - self.generator),
        }))
    }
}

/// Messages accepted a second by `SubmitMessage` with nothing behind intake.
pub async fn accepted(server: &Server, count: u64, in_flight: usize) -> anyhow::Result<Value> {
    submit(server, count / 10, in_flight).await?;
    let used = Used::start(server)?;
    let latencies = submit(server, count, in_flight).await?;
    let mut result = used.per(server, count)?;
    result["latency_us"] = quantiles(&latencies);
    Ok(result)
}

/// Messages a second from the first submission until audit has the last entry of the last of them.
pub async fn audited(server: &Server, count: u64, in_flight: usize) -> anyhow::Result<Value> {
    let used = Used::start(server)?;
    submit(server, count, in_flight).await?;
    let accepted = used.started.elapsed().as_secs_f64();
    wait_until_audited(server).await?;
    let mut result = used.per(server, count)?;
    result["accepted_after_seconds"] = accepted.into();
    Ok(result)
}

/// Waits until every service has seen everything.
pub async fn wait_until_audited(server: &Server) -> anyhow::Result<()> {
    settle(&server.clients()?).await
}

async fn submit(server: &Server, count: u64, in_flight: usize) -> anyhow::Result<Histogram<u64>> {
    let connections: Vec<Clients> = (0..CONNECTIONS).map(|_| server.clients()).collect::<Result<_, _>>()?;
    let sent = Arc::new(AtomicU64::new(0));
    let mut calls = JoinSet::new();
    for n in 0..in_flight {
        let (mut intake, sent) = (connections[n % CONNECTIONS].intake(), sent.clone());
        calls.spawn(async move {
            let mut latencies = Histogram::<u64>::new(3)?;
            while sent.fetch_add(1, Ordering::Relaxed) < count {
                let begun = Instant::now();
                intake.submit_message(generate::message()).await?;
                latencies.record(micros(begun))?;
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Histogram::new(3)?;
    for latencies in calls.join_all().await {
        all.add(latencies?)?;
    }
    Ok(all)
}

/// Times of `SubmitMessage` and of submit → assigned, at `rate` messages a second, from when each was due.
pub async fn latency(server: &Server, rate: u32, count: u32) -> anyhow::Result<Value> {
    let clients = server.clients()?;
    let watch = clients.assignment().watch_cases(WatchCasesRequest::default()).await?.into_inner();
    let due: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let watching = tokio::spawn(assigned(watch, due.clone(), count));
    let mut calls = JoinSet::new();
    let start = tokio::time::Instant::now();
    for n in 0..count {
        let at = start + Duration::from_secs(1) * n / rate;
        tokio::time::sleep_until(at).await;
        let (mut intake, due) = (clients.intake(), due.clone());
        calls.spawn(async move {
            let answer = intake.submit_message(generate::message()).await?.into_inner();
            let taken = micros(at.into_std());
            due.lock().unwrap_or_else(PoisonError::into_inner).insert(answer.message_id, at.into_std());
            anyhow::Ok(taken)
        });
    }
    let mut submitted = Histogram::<u64>::new(3)?;
    for taken in calls.join_all().await {
        submitted.record(taken?)?;
    }
    let seen = tokio::time::timeout(PATIENCE, watching).await;
    let seen = match seen {
        Ok(seen) => seen.context("the watch failed")??,
        // Messages that went to review, or hold several questions, make the count differ: what was seen counts.
        Err(_) => anyhow::bail!("cases were not assigned within {PATIENCE:?}"),
    };
    let due = due.lock().unwrap_or_else(PoisonError::into_inner);
    let mut assigned = Histogram::<u64>::new(3)?;
    for (message_id, at) in &seen {
        if let Some(begun) = due.get(message_id) {
            assigned.record(u64::try_from(at.saturating_duration_since(*begun).as_micros())?)?;
        }
    }
    Ok(json!({
        "rate": rate, "submit_us": quantiles(&submitted), "assigned_us": quantiles(&assigned), "assigned": assigned.len(),
    }))
}

/// When each message's first case was seen assigned; ends when nothing has come for a while after `count` messages.
async fn assigned(
    mut watch: Streaming<WatchCasesResponse>,
    due: Arc<Mutex<HashMap<String, Instant>>>,
    count: u32,
) -> anyhow::Result<HashMap<String, Instant>> {
    let mut seen = HashMap::new();
    loop {
        let all_sent = due.lock().unwrap_or_else(PoisonError::into_inner).len() >= count as usize;
        let quiet = if all_sent { Duration::from_secs(1) } else { PATIENCE };
        match tokio::time::timeout(quiet, watch.message()).await {
            Err(_) if all_sent => return Ok(seen),
            Err(_) => continue,
            Ok(update) => {
                let now = Instant::now();
                for case in update?.context("the watch ended")?.cases {
                    for member in case.members {
                        seen.entry(member.message_id).or_insert(now);
                    }
                }
            }
        }
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Quantiles of a histogram of microseconds.
pub fn quantiles(histogram: &Histogram<u64>) -> Value {
    json!({
        "p50": histogram.value_at_quantile(0.5), "p99": histogram.value_at_quantile(0.99), "max": histogram.max(),
    })
}
