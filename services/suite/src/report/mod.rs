//! What a person reads: tables with bars, lifecycles as trees. With `--json` the same as JSON.

pub mod lifecycle;
pub mod statistics;
pub mod verification;

use comfy_table::{Table, presets::UTF8_BORDERS_ONLY};

/// An empty table in the house's style.
pub fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_header(header);
    table
}

/// A bar whose length shows `value` against the largest one.
pub fn bar(value: u64, largest: u64) -> String {
    const WIDTH: u64 = 24;
    if largest == 0 {
        return String::new();
    }
    let eighths = value * WIDTH * 8 / largest;
    let full = "█".repeat(usize::try_from(eighths / 8).unwrap_or(0));
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][usize::try_from(eighths % 8).unwrap_or(0)];
    if value > 0 && eighths == 0 { "▏".to_owned() } else { full + rest }
}

/// Prints a line to standard output; a reader who has gone away is no failure of ours.
pub fn say(text: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        assert_eq!(bar(10, 10).chars().count(), 24);
        assert_eq!(bar(5, 10).chars().count(), 12);
        assert_eq!(bar(0, 10), "");
        assert_eq!(bar(1, 100_000), "▏");
    }
}
