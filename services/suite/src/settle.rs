//! Waiting until every service has seen everything the others have written.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use otklik_proto::ledger::v1::{GetHeadsRequest, GetHeadsResponse};

use crate::clients::{Clients, SERVICES};

/// Who follows whom.
pub const FOLLOWS: [(&str, &[&str]); 4] = [
    ("classification", &["intake"]),
    ("assignment", &["intake", "classification", "feedback"]),
    ("feedback", &["intake", "assignment"]),
    ("audit", &["intake", "classification", "assignment", "feedback"]),
];

/// How long nothing may move while something is still behind, before something must be wrong.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the heads.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Waits until nothing is on its way between services: every cursor stands at the head it follows, twice
/// in a row with the same heads.
///
/// # Errors
/// When a service does not answer, an entry was parked, or the suite does not come to rest in time.
pub async fn settle(clients: &Clients) -> anyhow::Result<()> {
    come_to_rest(clients, &SERVICES).await
}

/// As [`settle`], without waiting for audit, which nobody's next step depends on.
///
/// # Errors
/// As for [`settle`].
pub async fn settle_decisions(clients: &Clients) -> anyhow::Result<()> {
    come_to_rest(clients, &SERVICES[..4]).await
}

async fn come_to_rest(clients: &Clients, services: &[&str]) -> anyhow::Result<()> {
    let mut moved = tokio::time::Instant::now();
    let mut last: Option<BTreeMap<String, GetHeadsResponse>> = None;
    loop {
        let heads = heads_of(clients, services).await?;
        let behind = lagging(&heads);
        let still = last.as_ref() == Some(&heads);
        if still && behind.is_none() {
            return Ok(());
        }
        if !still {
            moved = tokio::time::Instant::now();
        }
        anyhow::ensure!(
            moved.elapsed() < PATIENCE,
            "nothing has moved for {PATIENCE:?}: {}",
            behind.unwrap_or_default()
        );
        last = Some(heads);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The heads of some services, by name.
async fn heads_of(clients: &Clients, services: &[&str]) -> anyhow::Result<BTreeMap<String, GetHeadsResponse>> {
    let mut heads = BTreeMap::new();
    let asked = services.iter().map(|service| async move {
        let answer = clients.ledger(service).get_heads(GetHeadsRequest {}).await;
        answer
            .with_context(|| format!("{service} does not tell its heads"))
            .map(|answer| (*service, answer.into_inner()))
    });
    for (service, answer) in futures::future::try_join_all(asked).await? {
        if let Some(parked) = answer.parked.first() {
            anyhow::bail!("{service} has parked {} entries of {}; see ListParked", parked.failed_count, parked.service);
        }
        heads.insert(service.to_owned(), answer);
    }
    Ok(heads)
}

/// The first follower found behind, in words.
fn lagging(heads: &BTreeMap<String, GetHeadsResponse>) -> Option<String> {
    for (follower, upstreams) in FOLLOWS {
        let Some(follower_heads) = heads.get(follower) else { continue };
        for upstream in upstreams {
            let seen = follower_heads.seen.iter().find(|s| s.service == *upstream);
            for head in heads[*upstream].heads.iter().filter(|h| h.seq > 0) {
                let at =
                    seen.and_then(|s| s.positions.iter().find(|p| p.partition == head.partition)).map_or(0, |p| p.seq);
                if at < head.seq {
                    return Some(format!("{follower} has seen {at} of {} entries of {upstream}", head.seq));
                }
            }
        }
    }
    None
}
