//! `otklik verify`: every chain of a suite's SQLite files, read directly, beside a running suite or after it.

use std::path::Path;

use anyhow::Context;
use otklik_chassis::{ledger, storage::Storage};
use serde::Serialize;

use crate::clients::SERVICES;

/// What was found in one partition of one ledger.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// The service.
    pub service: String,
    /// The partition.
    pub partition: u32,
    /// Entries, from the first, whose hash and link are right.
    pub verified: u64,
    /// Whether the chain is whole up to its head.
    pub intact: bool,
    /// Where it is not: the seq of the first entry that does not fit.
    pub broken_at: Option<u64>,
    /// What is wrong there.
    pub why: Option<String>,
}

/// Verifies the ledgers of all services whose file is in `data_dir`.
///
/// # Errors
/// When no file is there, or one can't be read.
pub async fn verify(data_dir: &Path) -> anyhow::Result<Vec<Verification>> {
    let mut all = Vec::new();
    for service in SERVICES {
        let file = data_dir.join(format!("{service}.db"));
        if !file.exists() {
            continue;
        }
        let storage = Storage::open_read_only(&file).await?;
        let verified = ledger::verify(&storage).await;
        storage.close().await;
        for found in verified.with_context(|| format!("the ledger of {service} in {}", file.display()))? {
            all.push(Verification {
                service: service.to_owned(),
                partition: found.partition,
                verified: found.seq,
                intact: found.broken.is_none(),
                broken_at: found.broken.as_ref().map(|_| found.seq + 1),
                why: found.broken.map(|b| b.to_string()),
            });
        }
    }
    anyhow::ensure!(!all.is_empty(), "there is no ledger in {}", data_dir.display());
    Ok(all)
}
