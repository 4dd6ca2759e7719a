//! Counts with growth against the period before.

use std::collections::HashMap;

use comfy_table::{Cell, CellAlignment, Color};
use otklik_proto::audit::v1::{GetStatisticsResponse, StatisticsRow};
use serde_json::{Value, json};

/// A table of `statistics` with bars, largest first; `titles` gives a person's words for a key.
pub fn table(
    statistics: &GetStatisticsResponse,
    heading: &str,
    titles: &HashMap<String, String>,
) -> comfy_table::Table {
    let mut rows: Vec<&StatisticsRow> = statistics.rows.iter().collect();
    let by_time = heading == "month" || heading == "year";
    if by_time {
        rows.sort_by(|a, b| a.key.cmp(&b.key));
    } else {
        rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
    }
    let largest = rows.iter().map(|r| r.count).max().unwrap_or(0);
    let mut table = super::table([heading, "count", "", "before", "growth"]);
    for row in rows {
        let title = titles.get(&row.key).map_or(row.key.as_str(), String::as_str);
        table.add_row(vec![
            Cell::new(if title.is_empty() { "–" } else { title }),
            Cell::new(row.count).set_alignment(CellAlignment::Right),
            Cell::new(super::bar(row.count, largest)).fg(Color::Cyan),
            Cell::new(row.previous_count).set_alignment(CellAlignment::Right),
            growth(row),
        ]);
    }
    table
}

fn growth(row: &StatisticsRow) -> Cell {
    match row.growth {
        None => Cell::new("–"),
        Some(growth) => {
            let color = if growth > 0.0 { Color::Yellow } else { Color::Green };
            Cell::new(format!("{:+.0} %", growth * 100.0)).fg(color)
        }
    }
    .set_alignment(CellAlignment::Right)
}

/// The statistics as JSON.
pub fn to_json(statistics: &GetStatisticsResponse) -> Value {
    let rows: Vec<Value> = statistics
        .rows
        .iter()
        .map(|r| json!({"key": r.key, "count": r.count, "previous_count": r.previous_count, "growth": r.growth}))
        .collect();
    let states: Vec<Value> =
        statistics.state_counts.iter().map(|s| json!({"state": s.state, "count": s.count})).collect();
    json!({
        "rows": rows, "messages": statistics.message_count, "messages_before": statistics.previous_message_count,
        "cases": statistics.case_count, "states": states,
        "answer_times": statistics.answer_times.as_ref().map(|t| {
            let seconds = |d: &Option<prost_types::Duration>| d.as_ref().map(|d| d.seconds);
            json!({
                "first_answered": t.first_answered_count, "first_answer_p50_seconds": seconds(&t.first_answer_p50),
                "first_answer_p90_seconds": seconds(&t.first_answer_p90), "final_answered": t.final_answered_count,
                "final_answer_p50_seconds": seconds(&t.final_answer_p50),
                "final_answer_p90_seconds": seconds(&t.final_answer_p90), "overdue": t.overdue_count,
            })
        }),
    })
}
