//! What the verification of ledgers found.

use comfy_table::{Cell, Color};

use crate::verify::Verification;

/// A table of the verified chains.
pub fn table(found: &[Verification]) -> comfy_table::Table {
    let mut table = super::table(["ledger", "partition", "entries verified", "chain"]);
    for v in found {
        let chain = match (&v.why, v.broken_at) {
            (Some(why), Some(seq)) => Cell::new(format!("BROKEN at seq {seq}: {why}")).fg(Color::Red),
            _ => Cell::new("whole").fg(Color::Green),
        };
        table.add_row(vec![Cell::new(&v.service), Cell::new(v.partition), Cell::new(v.verified), chain]);
    }
    table
}
