//! Raw copies in segments, and which of their entries concern whom.

use std::collections::{BTreeMap, HashMap};

use otklik_chassis::{
    error::Error,
    lane::Tx,
    storage::{Failure, Storage, rows},
};
use prost::bytes::Bytes;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Value};
use uuid::Uuid;

use crate::domain::{
    segment::{self, MOST_ENTRIES, Segment},
    step::Step,
};

/// Most bytes of a segment; one larger entry is a segment by itself.
const MOST_BYTES: usize = 256 << 10;

/// An entry on its way into a segment.
#[derive(Debug, Clone)]
pub struct Copied {
    /// Service that wrote it.
    pub service: &'static str,
    /// Incarnation of its ledger.
    pub incarnation: Uuid,
    /// Partition.
    pub partition: u32,
    /// Seq.
    pub seq: u64,
    /// Hash of the entry before it.
    pub previous_hash: Bytes,
    /// Its own hash.
    pub hash: Bytes,
    /// The entry as a segment holds it.
    pub encoded: Vec<u8>,
    /// Messages and cases that it concerns, each once.
    pub subjects: Vec<Uuid>,
}

impl Copied {
    fn follows(&self, before: &Self) -> bool {
        self.seq == before.seq + 1
            && self.partition == before.partition
            && self.service == before.service
            && self.incarnation == before.incarnation
            && self.previous_hash == before.hash
    }
}

/// An entry as a segment holds it.
#[must_use]
pub fn encode(header: &[u8], entry_type: &str, payload: &[u8], hash: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    segment::append(&mut encoded, header, entry_type, payload, hash);
    encoded
}

/// Stores entries in the order in which they are given. Takes the row of arrivals until the transaction ends, so that the
/// numbers of segments become visible in order and without gaps.
pub(super) async fn store(tx: &Tx<'_>, entries: &[&Copied]) -> Result<(), Failure> {
    let runs = runs(entries);
    let count = i64::try_from(runs.len()).unwrap_or(i64::MAX);
    let statement = tx.statement("UPDATE arrivals SET last = last + $1 WHERE one = 1 RETURNING last", [count.into()]);
    let row = tx.db.query_one_raw(statement).await?;
    let last: i64 = match row {
        Some(row) => row.try_get_by_index(0)?,
        None => return Err(Failure::Refused("the row of arrivals is gone".into())),
    };
    let mut segments = Vec::with_capacity(runs.len());
    let mut index: BTreeMap<(Uuid, i64), Vec<u8>> = BTreeMap::new();
    for (run, number) in runs.into_iter().zip(last - count + 1..) {
        for (place, entry) in (0u8..).zip(run) {
            for subject in &entry.subjects {
                index.entry((*subject, number)).or_default().push(place);
            }
        }
        segments.push(segment_row(number, run));
    }
    let columns = [
        "number",
        "service",
        "partition",
        "incarnation",
        "first_seq",
        "last_seq",
        "previous_hash",
        "last_hash",
        "body",
    ];
    rows::insert(tx.db, "segments", columns, segments, "").await?;
    let index = index.into_iter().map(|((subject, number), places)| [subject.into(), number.into(), places.into()]);
    rows::insert(tx.db, "subject_entries", ["subject", "segment", "places"], index.collect(), "").await?;
    Ok(())
}

/// Cuts entries into what can be one segment each.
fn runs<'a, 'b>(entries: &'a [&'b Copied]) -> Vec<&'a [&'b Copied]> {
    let mut runs = Vec::with_capacity(entries.len() / MOST_ENTRIES + 4);
    let (mut start, mut bytes) = (0, 0);
    for (index, entry) in entries.iter().enumerate() {
        let size = entry.encoded.len();
        if index > start
            && (index - start == MOST_ENTRIES || bytes + size > MOST_BYTES || !entry.follows(entries[index - 1]))
        {
            runs.push(&entries[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    runs.push(&entries[start..]);
    runs.retain(|run| !run.is_empty());
    runs
}

fn segment_row(number: i64, run: &[&Copied]) -> [Value; 9] {
    let (first, last) = (run[0], run[run.len() - 1]);
    let mut body = Vec::with_capacity(run.iter().map(|entry| entry.encoded.len()).sum());
    for entry in run {
        body.extend_from_slice(&entry.encoded);
    }
    [
        number.into(),
        first.service.into(),
        i64::from(first.partition).into(),
        first.incarnation.into(),
        to_i64(first.seq).into(),
        to_i64(last.seq).into(),
        first.previous_hash.to_vec().into(),
        last.hash.to_vec().into(),
        body.into(),
    ]
}

const SEGMENT: &str = "SELECT number, service, partition, incarnation, first_seq, previous_hash, body FROM segments";

fn read_segment(row: &QueryResult) -> Result<Segment, DbErr> {
    Ok(Segment {
        number: row.try_get_by_index(0)?,
        service: row.try_get_by_index(1)?,
        partition: u32::try_from(row.try_get_by_index::<i64>(2)?).unwrap_or(0),
        incarnation: row.try_get_by_index(3)?,
        first_seq: u64::try_from(row.try_get_by_index::<i64>(4)?).unwrap_or(0),
        previous_hash: row.try_get_by_index(5)?,
        body: row.try_get_by_index::<Vec<u8>>(6)?.into(),
    })
}

/// One partition of one ledger that is copied here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedgerKey {
    /// Service that writes it.
    pub service: String,
    /// Partition.
    pub partition: u32,
    /// Incarnation.
    pub incarnation: Uuid,
}

/// Reads copies.
#[derive(Debug, Clone)]
pub struct Copies {
    storage: Storage,
}

impl Copies {
    /// Reads from a database.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self { storage }
    }

    /// Number of the last segment that has arrived; 0 before the first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn last_arrival(&self) -> Result<i64, Error> {
        self.number("SELECT last FROM arrivals WHERE one = 1").await
    }

    /// Number of the last segment whose facts are projected.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn projected(&self) -> Result<i64, Error> {
        self.number("SELECT number FROM progress WHERE name = 'facts'").await
    }

    async fn number(&self, sql: &str) -> Result<i64, Error> {
        let row = self.storage.reader().query_one_raw(self.storage.statement(sql, [])).await?;
        Ok(row.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(0))
    }

    /// Segments in order of arrival: after `after`, up to and with `last`, at most `limit`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn arrivals(&self, after: i64, last: i64, limit: i64) -> Result<Vec<Segment>, Error> {
        let sql = format!("{SEGMENT} WHERE number > $1 AND number <= $2 ORDER BY number LIMIT $3");
        let statement = self.storage.statement(&sql, [after.into(), last.into(), limit.into()]);
        let rows = self.storage.reader().query_all_raw(statement).await?;
        Ok(rows.iter().map(read_segment).collect::<Result<_, _>>()?)
    }

    /// Segments of one ledger in its order: from `from_seq` on, at most `limit`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn of_ledger(&self, ledger: &LedgerKey, from_seq: u64, limit: i64) -> Result<Vec<Segment>, Error> {
        let sql = format!(
            "{SEGMENT} WHERE service = $1 AND partition = $2 AND incarnation = $3 AND first_seq >= $4
             ORDER BY first_seq LIMIT $5"
        );
        let values: [Value; 5] = [
            ledger.service.as_str().into(),
            i64::from(ledger.partition).into(),
            ledger.incarnation.into(),
            to_i64(from_seq).into(),
            limit.into(),
        ];
        let rows = self.storage.reader().query_all_raw(self.storage.statement(&sql, values)).await?;
        Ok(rows.iter().map(read_segment).collect::<Result<_, _>>()?)
    }

    /// The ledgers of a service that are copied here, by partition.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn ledgers(&self, service: &str) -> Result<Vec<LedgerKey>, Error> {
        // Hops from key to key: the index is not read through.
        let mut found: Vec<LedgerKey> = Vec::new();
        let mut after = (-1, Uuid::nil());
        loop {
            let statement = self.storage.statement(
                "SELECT partition, incarnation FROM segments
                 WHERE service = $1 AND (partition, incarnation) > ($2, $3) ORDER BY partition, incarnation LIMIT 1",
                [service.into(), after.0.into(), after.1.into()],
            );
            let Some(row) = self.storage.reader().query_one_raw(statement).await? else { return Ok(found) };
            after = (row.try_get_by_index::<i64>(0)?, row.try_get_by_index(1)?);
            let partition = u32::try_from(after.0).unwrap_or(0);
            found.push(LedgerKey { service: service.to_owned(), partition, incarnation: after.1 });
        }
    }

    /// Every entry that names one of the subjects, verified, each once.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn steps_of(&self, subjects: &[Uuid]) -> Result<Vec<Step>, Error> {
        if subjects.is_empty() {
            return Ok(Vec::new());
        }
        let found = rows::select_in(
            self.storage.reader(),
            "SELECT segment, places FROM subject_entries WHERE subject IN ({keys})",
            subjects.iter().map(|id| (*id).into()).collect(),
            |row| Ok((row.try_get_by_index::<i64>(0)?, row.try_get_by_index::<Vec<u8>>(1)?)),
        )
        .await?;
        let mut places: HashMap<i64, Vec<u8>> = HashMap::new();
        for (segment, found) in found {
            places.entry(segment).or_default().extend(found);
        }
        self.steps_at(places).await
    }

    /// The entries at these places of segments, verified.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn steps_at(&self, places: HashMap<i64, Vec<u8>>) -> Result<Vec<Step>, Error> {
        let keys: Vec<Value> = places.keys().map(|number| (*number).into()).collect();
        let mut steps = Vec::new();
        // A page at a time: a long life has many segments, and only a little of each is wanted.
        for page in keys.chunks(256) {
            let sql = format!("{SEGMENT} WHERE number IN ({{keys}})");
            for segment in rows::select_in(self.storage.reader(), &sql, page.to_vec(), read_segment).await? {
                let wanted = &places[&segment.number];
                let (entries, _) = segment.verified();
                let entries = entries.into_iter().filter(|entry| wanted.contains(&entry.place));
                steps.extend(entries.map(|entry| Step::of(&segment, entry)));
            }
        }
        steps.sort_by_key(|step| step.arrival);
        Ok(steps)
    }
}

pub(super) fn to_i64(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(service: &'static str, seq: u64) -> Copied {
        Copied {
            service,
            incarnation: Uuid::nil(),
            partition: 0,
            seq,
            previous_hash: vec![seq as u8 - 1].into(),
            hash: vec![seq as u8].into(),
            encoded: vec![0; 10],
            subjects: Vec::new(),
        }
    }

    #[test]
    fn only_what_follows_itself_shares_a_segment() {
        let entries: Vec<Copied> =
            (1..=40).map(|seq| entry("intake", seq)).chain([entry("intake", 42), entry("assignment", 43)]).collect();
        let borrowed: Vec<&Copied> = entries.iter().collect();
        let lengths: Vec<usize> = runs(&borrowed).iter().map(|run| run.len()).collect();
        assert_eq!(lengths, [32, 8, 1, 1]);
    }

    #[test]
    fn a_large_entry_is_a_segment_by_itself() {
        let mut entries: Vec<Copied> = (1..=3).map(|seq| entry("intake", seq)).collect();
        entries[1].encoded = vec![0; MOST_BYTES];
        let borrowed: Vec<&Copied> = entries.iter().collect();
        assert_eq!(runs(&borrowed).len(), 3);
    }
}
