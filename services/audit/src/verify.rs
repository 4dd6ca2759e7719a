//! Proof: the copies are re-hashed from the first entry on, and compared with what the services say they have.

use std::time::Duration;

use otklik_chassis::{client::Channel, error::Error, run::Peers, seen::Seen, sized};
use otklik_proto::{
    audit::v1::{LedgerVerification, VerificationFailure},
    ledger::v1::{
        GetHeadsRequest, GetHeadsResponse, Position, StreamEntriesRequest, ledger_service_client::LedgerServiceClient,
    },
};
use tonic::Code;

use crate::{
    domain::segment::Segment,
    store::{Copies, LedgerKey},
};

/// Segments read at a time: verifying goes in pieces, and others get their turn in between.
const PIECE: i64 = 32;
/// How long a service may take to tell its heads before it counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(2);

/// Verifies copies.
#[derive(Debug, Clone)]
pub struct Verifier {
    /// The copies.
    pub copies: Copies,
    /// The services.
    pub peers: Peers,
    /// How far their ledgers have been consumed.
    pub seen: Seen,
}

/// How far a chain of copies holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain {
    seq: u64,
    hash: Vec<u8>,
    broken: Option<Broken>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Broken {
    failure: VerificationFailure,
    seq: u64,
    detail: String,
}

impl Verifier {
    /// Verifies the copies of one service's ledger, one result for each partition.
    ///
    /// # Errors
    /// Those of the database. What is damaged is part of the answer.
    pub async fn verify(&self, service: &str) -> Result<Vec<LedgerVerification>, Error> {
        // Read before the copies, which may grow meanwhile: whatever had been consumed by now must be among them.
        let consumed = self.seen.positions();
        let ledgers = self.copies.ledgers(service).await?;
        let mut verifications = Vec::new();
        for ledger in &ledgers {
            let mut chain = self.chain(ledger).await?;
            let cursor =
                consumed.iter().find(|(name, position)| name == service && position.partition == ledger.partition);
            if let Some((_, position)) = cursor {
                chain.must_reach(position);
            }
            verifications.push((ledger.clone(), chain));
        }
        // And the heads after them: what is copied was written before.
        let channel = self.peers.channel(service);
        let heads = heads(channel.clone()).await;
        let mut answers = Vec::with_capacity(verifications.len());
        for (ledger, chain) in verifications {
            answers.push(compare(&ledger, chain, &heads, &channel).await);
        }
        answers.extend(uncopied(service, &ledgers, &heads));
        Ok(answers)
    }

    /// Follows the chain of one partition as far as it holds.
    async fn chain(&self, ledger: &LedgerKey) -> Result<Chain, Error> {
        let mut chain = Chain { seq: 0, hash: vec![0; 32], broken: None };
        loop {
            let segments = self.copies.of_ledger(ledger, chain.seq + 1, PIECE).await?;
            if segments.is_empty() {
                return Ok(chain);
            }
            for segment in &segments {
                chain.follow(segment);
                if chain.broken.is_some() {
                    return Ok(chain);
                }
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Chain {
    fn follow(&mut self, segment: &Segment) {
        if segment.first_seq != self.seq + 1 {
            let detail = format!("seq {} to {} are missing", self.seq + 1, segment.first_seq - 1);
            return self.break_at(VerificationFailure::Gap, self.seq + 1, detail);
        }
        if segment.previous_hash != self.hash {
            let detail = "the entry does not follow the one before it".to_owned();
            return self.break_at(VerificationFailure::ChainBroken, segment.first_seq, detail);
        }
        let (entries, unreadable) = segment.verified();
        for entry in entries {
            if !entry.intact {
                let detail = "the copy is not what was written: its content has another hash".to_owned();
                return self.break_at(VerificationFailure::HashMismatch, entry.seq, detail);
            }
            self.seq = entry.seq;
            self.hash = entry.hash.to_vec();
        }
        if let Some(unreadable) = unreadable {
            self.break_at(VerificationFailure::HashMismatch, unreadable.seq, unreadable.to_string());
        }
    }

    /// What was consumed was stored in the same transaction: a copy that ends earlier has lost its end.
    fn must_reach(&mut self, consumed: &Position) {
        if self.broken.is_none() && self.seq < consumed.seq {
            let detail = format!("seq {} to {} were copied and are missing", self.seq + 1, consumed.seq);
            self.break_at(VerificationFailure::Gap, self.seq + 1, detail);
        }
    }

    fn break_at(&mut self, failure: VerificationFailure, seq: u64, detail: String) {
        self.broken = Some(Broken { failure, seq, detail });
    }
}

/// What a service says it has; the error says why it doesn't.
async fn heads(channel: Channel) -> Result<GetHeadsResponse, String> {
    let mut client = sized!(LedgerServiceClient::new(channel));
    match tokio::time::timeout(PATIENCE, client.get_heads(GetHeadsRequest {})).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(format!("{}: {}", status.code(), status.message())),
        Err(_) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
    }
}

async fn compare(
    ledger: &LedgerKey,
    mut chain: Chain,
    heads: &Result<GetHeadsResponse, String>,
    channel: &Channel,
) -> LedgerVerification {
    let incarnation = ledger.incarnation.to_string();
    let mut head_seq = None;
    let mut remark = String::new();
    match heads {
        Err(why) => {
            remark = format!("{} could not be asked for its heads ({why}); only the copy was verified", ledger.service)
        }
        Ok(heads) if heads.incarnation != incarnation => {
            let detail = format!("{} now has incarnation {}", ledger.service, heads.incarnation);
            fork(&mut chain, detail);
        }
        Ok(heads) => {
            let head = heads.heads.iter().find(|head| head.partition == ledger.partition);
            head_seq = Some(head.map_or(0, |head| head.seq));
            if chain.broken.is_none() {
                let forked = match head {
                    Some(head) if head.seq == chain.seq => head.hash[..] != chain.hash,
                    Some(head) if head.seq > chain.seq => !continues(ledger, &chain, channel.clone()).await,
                    _ => true,
                };
                if forked {
                    let detail = format!("{} has no such entry any more at seq {}", ledger.service, chain.seq);
                    fork(&mut chain, detail);
                }
            }
        }
    }
    let broken = chain.broken;
    LedgerVerification {
        service: ledger.service.clone(),
        incarnation,
        partition: ledger.partition,
        intact: broken.is_none(),
        verified_seq: chain.seq,
        head_seq,
        failure: broken.as_ref().map_or(VerificationFailure::Unspecified, |broken| broken.failure).into(),
        failed_seq: broken.as_ref().map_or(0, |broken| broken.seq),
        detail: broken.map_or(remark, |broken| broken.detail),
    }
}

fn fork(chain: &mut Chain, detail: String) {
    if chain.broken.is_none() {
        let seq = chain.seq;
        chain.break_at(VerificationFailure::Forked, seq, detail);
    }
}

/// Whether a service that is ahead goes on from where the copy ends: it checks a position before it streams from it.
async fn continues(ledger: &LedgerKey, chain: &Chain, channel: Channel) -> bool {
    let after = Position {
        incarnation: ledger.incarnation.to_string(),
        partition: ledger.partition,
        seq: chain.seq,
        hash: chain.hash.clone().into(),
    };
    let request = StreamEntriesRequest { after: vec![after], max_batch: 1, ..Default::default() };
    let mut client = sized!(LedgerServiceClient::new(channel));
    let opened = tokio::time::timeout(PATIENCE, async {
        let mut stream = client.stream_entries(request).await?.into_inner();
        stream.message().await
    });
    !matches!(opened.await, Ok(Err(status)) if status.code() == Code::FailedPrecondition)
}

/// Partitions that a service has and of which nothing has been copied yet; one line for a service nothing is known of.
fn uncopied(service: &str, ledgers: &[LedgerKey], heads: &Result<GetHeadsResponse, String>) -> Vec<LedgerVerification> {
    let nothing = |incarnation: &str, partition, head_seq, detail: String| LedgerVerification {
        service: service.to_owned(),
        incarnation: incarnation.to_owned(),
        partition,
        intact: true,
        verified_seq: 0,
        head_seq,
        failure: VerificationFailure::Unspecified.into(),
        failed_seq: 0,
        detail,
    };
    match heads {
        Ok(heads) => heads
            .heads
            .iter()
            .filter(|head| ledgers.iter().all(|ledger| ledger.partition != head.partition))
            .map(|head| nothing(&heads.incarnation, head.partition, Some(head.seq), String::new()))
            .collect(),
        Err(why) if ledgers.is_empty() => {
            vec![nothing(
                "",
                0,
                None,
                format!("nothing is copied yet, and {service} could not be asked for its heads ({why})"),
            )]
        }
        Err(_) => Vec::new(),
    }
}
