//! What the demo shows at its end, and whether all of it is sound.

use std::{collections::HashMap, path::Path};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{Timestamp, tz::TimeZone};
use otklik_proto::audit::v1::{
    GetLifecycleRequest, GetStatisticsRequest, GetStatisticsResponse, Lifecycle, StatisticsDimension, StatisticsPeriod,
    VerifyLedgersRequest, get_lifecycle_request::Subject,
};
use otklik_proto::time::from_micros;
use serde_json::json;

use super::{
    Lived,
    speed::{self, Speed},
};
use crate::{
    clients::Clients,
    command::titles,
    report::{self, say},
    verify::{self, Verification},
};

/// The report of a demo.
pub struct Report {
    lines: usize,
    seconds: f64,
    messages: usize,
    happened: super::world::Happened,
    by_topic: GetStatisticsResponse,
    by_month: GetStatisticsResponse,
    speed: Vec<Speed>,
    titles: HashMap<String, String>,
    /// Lifecycles that are not complete, not verified, or have problems.
    unsound: Vec<Lifecycle>,
    example: Lifecycle,
    verified: Vec<Verification>,
    copies_intact: bool,
    entries: u64,
}

/// The most steps of the lifecycle that is shown, so that it fits a screen.
const EXAMPLE_STEPS: usize = 32;
/// Lifecycles asked for at once.
const AT_ONCE: usize = 16;

/// Asks the suite what happened.
pub async fn gather(
    clients: &Clients,
    lived: &Lived,
    data_dir: &Path,
    region_dir: Option<&Path>,
) -> anyhow::Result<Report> {
    let ids = lived.happened.message_ids.iter();
    let lifecycles: Vec<Lifecycle> =
        stream::iter(ids.map(|id| lifecycle(clients, id))).buffer_unordered(AT_ONCE).try_collect().await?;
    let messages = lifecycles.len();
    let example = lifecycles
        .iter()
        .filter(|l| l.steps.len() <= EXAMPLE_STEPS)
        .max_by_key(|l| (l.case_ids.len().min(2), l.steps.len(), l.subject_id.clone()))
        .cloned()
        .unwrap_or_default();
    let unsound = lifecycles.into_iter().filter(|l| !l.complete || !l.verified || !l.problems.is_empty()).collect();
    let copies = clients.audit().verify_ledgers(VerifyLedgersRequest::default()).await?.into_inner();
    let verified = verify::verify(data_dir).await?;
    Ok(Report {
        lines: lived.lines,
        seconds: lived.seconds,
        messages,
        by_topic: statistics(clients, StatisticsDimension::TopicGroup, halves(lived.span)).await?,
        by_month: statistics(clients, StatisticsDimension::Month, None).await?,
        speed: speed::measure(clients, region_dir).await?,
        titles: titles(clients).await?,
        unsound,
        example,
        entries: verified.iter().map(|v| v.verified).sum(),
        verified,
        copies_intact: copies.intact,
        happened: lived.happened.clone(),
    })
}

async fn lifecycle(clients: &Clients, id: &str) -> anyhow::Result<Lifecycle> {
    let request = GetLifecycleRequest { subject: Some(Subject::MessageId(id.to_owned())) };
    let answer = clients.audit().get_lifecycle(request).await.with_context(|| format!("the lifecycle of {id}"))?;
    Ok(answer.into_inner().lifecycle.unwrap_or_default())
}

async fn statistics(
    clients: &Clients,
    dimension: StatisticsDimension,
    periods: Option<[StatisticsPeriod; 2]>,
) -> anyhow::Result<GetStatisticsResponse> {
    let [period, before] = periods.map_or([None, None], |[a, b]| [Some(a), Some(b)]);
    let request =
        GetStatisticsRequest { dimension: dimension.into(), period, comparison_period: before, ..Default::default() };
    Ok(clients.audit().get_statistics(request).await.context("the statistics")?.into_inner())
}

/// The second half of the time lived through, and the first to hold it against.
fn halves((start, end): (Timestamp, Timestamp)) -> Option<[StatisticsPeriod; 2]> {
    let at = |micros: i64| Some(from_micros(micros));
    let (start, end) = (start.as_microsecond(), end.as_microsecond() + 1);
    let middle = start + (end - start) / 2;
    let period = |from, to| StatisticsPeriod { start_time: at(from), end_time: at(to) };
    Some([period(middle, end), period(start, middle)])
}

impl Report {
    /// Whether every message is accounted for and every chain is whole.
    pub fn is_sound(&self) -> bool {
        self.unsound.is_empty()
            && self.copies_intact
            && self.verified.iter().all(|v| v.intact)
            && self.messages == self.happened.message_ids.len()
            && self.happened.refused.is_empty()
    }

    /// Prints the report.
    pub fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            say(serde_json::to_string_pretty(&self.to_json())?);
        } else {
            self.print_text();
        }
        Ok(())
    }

    fn print_text(&self) {
        let zone = TimeZone::get("Asia/Vladivostok").unwrap_or(TimeZone::UTC);
        say("\nWhat people wrote about, in the second half of the time against the first");
        say(report::statistics::table(&self.by_topic, "topic group", &self.titles));
        say("\nWhen they wrote");
        say(report::statistics::table(&self.by_month, "month", &HashMap::new()));
        say("\nHow fast they were answered, in working hours of the executors' desks");
        say(speed::table(&self.speed));
        say("\nOne life, from the message to its end");
        say(report::lifecycle::tree(&self.example, &zone));
        say("The ledgers");
        say(report::verification::table(&self.verified));
        say(format!(
            "audit's copies are {}",
            if self.copies_intact { "whole and agree with the services" } else { "NOT whole" }
        ));
        let happened = &self.happened;
        let kinds: Vec<String> =
            happened.submissions.iter().map(|(kind, n)| format!("{n} {}", kind.replace('_', " "))).collect();
        say(format!("\n{} lines: {}; {} refused", self.lines, kinds.join(", "), happened.refused.len()));
        for (line, why) in &happened.refused {
            say(format!("  line {line} was refused: {why}"));
        }
        say(format!(
            "{} reviews by moderators, {} acts by officials and citizens, {} overtaken by events",
            happened.reviewed, happened.acts, happened.overtaken
        ));
        say(format!(
            "{} of {} messages accounted for; {} ledger entries in {:.1} s: {:.0} messages/s, {:.0} entries/s",
            self.messages - self.unsound.len(),
            self.messages,
            self.entries,
            self.seconds,
            self.messages as f64 / self.seconds,
            self.entries as f64 / self.seconds,
        ));
        for lifecycle in self.unsound.iter().take(5) {
            say(format!("\nNOT SOUND:\n{}", report::lifecycle::tree(lifecycle, &zone)));
        }
        if self.unsound.len() > 5 {
            say(format!("and {} more that are not sound", self.unsound.len() - 5));
        }
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "sound": self.is_sound(), "lines": self.lines, "messages": self.messages, "seconds": self.seconds,
            "submissions": self.happened.submissions, "refused": self.happened.refused.len(),
            "reviews": self.happened.reviewed, "acts": self.happened.acts, "overtaken": self.happened.overtaken,
            "entries": self.entries, "copies_intact": self.copies_intact, "ledgers": self.verified,
            "topic_groups": report::statistics::to_json(&self.by_topic),
            "answer_speed": self.speed.iter().map(Speed::to_json).collect::<Vec<_>>(),
            "months": report::statistics::to_json(&self.by_month),
            "example": report::lifecycle::to_json(&self.example),
            "unsound": self.unsound.iter().map(report::lifecycle::to_json).collect::<Vec<_>>(),
        })
    }
}
