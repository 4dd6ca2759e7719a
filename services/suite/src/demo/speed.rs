//! How fast answers went out, in working hours of the calendar under which the deadlines were set.

use std::path::Path;

use comfy_table::{Cell, CellAlignment};
use otklik_assignment::domain::pack::Pack;
use otklik_proto::{
    assignment::v1::{Case, DeadlineKind},
    classification::v1::Urgency,
    time::to_micros,
};
use serde_json::{Value, json};

use super::desk::cases;
use crate::{clients::Clients, report};

/// The answers to cases of one urgency.
pub struct Speed {
    urgency: &'static str,
    /// Working hours from receipt to the first answer, ascending.
    first: Vec<f64>,
    /// Working hours from receipt to the final answer, ascending.
    last: Vec<f64>,
    /// Cases whose deadlines were all met.
    in_time: usize,
}

/// Measures all answered cases.
///
/// # Errors
/// When assignment does not answer or the pack can't be read.
pub async fn measure(clients: &Clients, region_dir: Option<&Path>) -> anyhow::Result<Vec<Speed>> {
    let pack = Pack::load(region_dir)?;
    let mut speeds = [("emergency", Urgency::Emergency), ("high", Urgency::High), ("normal", Urgency::Normal)]
        .map(|(urgency, code)| (code, Speed { urgency, first: Vec::new(), last: Vec::new(), in_time: 0 }));
    for case in cases(clients, &[]).await? {
        let Some((_, speed)) = speeds.iter_mut().find(|(code, _)| *code == case.urgency()) else { continue };
        speed.add(&case, &pack);
    }
    let mut speeds: Vec<Speed> = speeds.into_iter().map(|(_, speed)| speed).collect();
    for speed in &mut speeds {
        speed.first.sort_by(f64::total_cmp);
        speed.last.sort_by(f64::total_cmp);
    }
    Ok(speeds)
}

impl Speed {
    fn add(&mut self, case: &Case, pack: &Pack) {
        let Some(timetable) = pack.timetable(&case.executor_id) else { return };
        let mut answered = false;
        let mut in_time = true;
        for deadline in &case.deadlines {
            let (Some(start), Some(met)) = (&deadline.start_time, &deadline.meet_time) else { continue };
            let worked = timetable.pause(to_micros(start), to_micros(met)).working_us;
            let hours = worked as f64 / 3.6e9;
            match deadline.kind() {
                DeadlineKind::FirstResponse => self.first.push(hours),
                _ => self.last.push(hours),
            }
            answered = true;
            in_time &= deadline.due_time.as_ref().is_none_or(|due| to_micros(met) <= to_micros(due));
        }
        self.in_time += usize::from(answered && in_time);
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let quantiles =
            |hours: &[f64]| json!({"count": hours.len(), "p50": quantile(hours, 0.5), "p90": quantile(hours, 0.9)});
        json!({
            "urgency": self.urgency, "first_answer_working_hours": quantiles(&self.first),
            "final_answer_working_hours": quantiles(&self.last), "in_time": self.in_time,
        })
    }
}

fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * q).round() as usize).copied()
}

/// A table of the figures.
pub fn table(speeds: &[Speed]) -> comfy_table::Table {
    let header =
        ["urgency", "answered", "first: half within", "nine in ten", "final: half within", "nine in ten", "in time"];
    let mut table = report::table(header);
    for speed in speeds.iter().filter(|s| !s.last.is_empty()) {
        let hours = |sorted: &[f64], q| quantile(sorted, q).map_or("–".to_owned(), |h| format!("{h:.1} h"));
        let share = speed.in_time as f64 / speed.last.len() as f64;
        let cells = [
            speed.last.len().to_string(),
            hours(&speed.first, 0.5),
            hours(&speed.first, 0.9),
            hours(&speed.last, 0.5),
            hours(&speed.last, 0.9),
            format!("{:.0} %", share * 100.0),
        ];
        let cells = cells.into_iter().map(|cell| Cell::new(cell).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Cell::new(speed.urgency)).chain(cells));
    }
    table
}
