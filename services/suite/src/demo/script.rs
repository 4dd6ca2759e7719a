//! What the people of the demo do: read from the sample where it says so, otherwise by habit.

use jiff::{SignedDuration, Timestamp, ToSpan, civil::Weekday, tz::TimeZone};
use serde::Deserialize;

/// What a line of a sample says about itself: how a person would label it, and what becomes of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Hints {
    /// Topic group a person would choose.
    pub topic_group: String,
    /// Topic in that group.
    pub topic_hint: String,
    /// `complaint`, `question`, `proposal`, `thanks`, `spam`, `own-post`, `unclear`.
    pub kind: String,
    /// `normal` or `urgent`.
    pub urgency: String,
    /// Names of places.
    pub places: Vec<String>,
    /// What the people of the demo do.
    pub play: Play,
}

/// What the people of the demo do with a case.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Play {
    /// `return`, `suspend`, `interim`, `slow`.
    pub executor: String,
    /// The author's rating; `Some(None)` is a silence that is meant.
    #[serde(deserialize_with = "said")]
    pub rating: Option<Option<u32>>,
    /// The author has the case reopened.
    pub reopen: bool,
    /// `flaky` or `dead`.
    pub channel: String,
}

fn said<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::<u32>::deserialize(deserializer).map(Some)
}

/// Something an official or a citizen does with a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The executor takes it.
    Accept,
    /// The executor says it is not theirs.
    Return,
    /// The coordinator gives it to somebody else.
    Reassign,
    /// Work begins.
    StartWork,
    /// Nothing, for a long while.
    Ponder,
    /// Work waits for a contractor.
    Suspend,
    /// Work goes on.
    Resume,
    /// An interim answer is drafted.
    DraftInterim,
    /// The final answer is drafted.
    DraftFinal,
    /// Somebody else approves the draft.
    Approve,
    /// It goes out.
    Publish,
    /// The authors of all member messages rate it, if they do.
    Rate,
}

/// What happens to a case that an executor has just been given, in order, each with the time since the one before.
pub fn plan(play: &Play, seed: u64, urgent: bool, reopened: bool) -> Vec<(SignedDuration, Act)> {
    let pace = if urgent { 1 } else { 4 };
    let minutes = |salt: u64, from: u64, to: u64| {
        let spread = mix(seed ^ salt) % (to - from).max(1);
        SignedDuration::from_mins(i64::try_from((from + spread) * pace / 2).unwrap_or(60))
    };
    let mut acts = Vec::new();
    if play.executor == "return" && !reopened {
        acts.extend([(minutes(1, 10, 60), Act::Return), (minutes(2, 10, 60), Act::Reassign)]);
    }
    acts.extend([(minutes(3, 5, 45), Act::Accept), (minutes(4, 5, 60), Act::StartWork)]);
    if reopened {
        acts.extend(answer(Act::DraftFinal, minutes(5, 60, 600), &minutes));
        acts.push((SignedDuration::from_hours(20), Act::Rate));
        return acts;
    }
    match play.executor.as_str() {
        "suspend" => acts.extend([
            (minutes(6, 20, 90), Act::Suspend),
            (SignedDuration::from_hours(24 * (2 + i64::try_from(mix(seed) % 5).unwrap_or(0))), Act::Resume),
        ]),
        "interim" => acts.extend(answer(Act::DraftInterim, minutes(7, 20, 120), &minutes)),
        "slow" => acts.push((SignedDuration::from_hours(24 * 20), Act::Ponder)),
        _ => {}
    }
    acts.extend(answer(Act::DraftFinal, minutes(8, 20, 400), &minutes));
    acts.push((SignedDuration::from_hours(18), Act::Rate));
    acts
}

fn answer(
    draft: Act,
    work: SignedDuration,
    minutes: &impl Fn(u64, u64, u64) -> SignedDuration,
) -> [(SignedDuration, Act); 3] {
    [(work, draft), (minutes(9, 5, 50), Act::Approve), (minutes(10, 1, 10), Act::Publish)]
}

/// The rating that the author of a message gives: what the sample says, else mostly silence or content.
pub fn rating(play: &Play, seed: u64, reopened: bool) -> Option<u32> {
    if reopened {
        return Some(4);
    }
    if play.reopen {
        return Some(1);
    }
    match play.rating {
        Some(said) => said,
        None => [None, Some(5), None, Some(4), Some(3), None][usize::try_from(mix(seed) % 6).unwrap_or(0)],
    }
}

/// The first moment from `at` on when an office is open: working days from nine to six. Emergencies don't wait.
pub fn office_time(at: Timestamp, zone: &TimeZone, urgent: bool) -> Timestamp {
    if urgent {
        return at;
    }
    let mut local = zone.to_datetime(at);
    loop {
        let weekend = matches!(local.weekday(), Weekday::Saturday | Weekday::Sunday);
        let minute_of_day = i32::from(local.hour()) * 60 + i32::from(local.minute());
        if !weekend && (540..1080).contains(&minute_of_day) {
            return zone.to_timestamp(local).unwrap_or(at);
        }
        let before = !weekend && minute_of_day < 540;
        let day = if before { Ok(local.date()) } else { local.date().checked_add(1.day()) };
        let Ok(day) = day else { return at };
        // The minute stays, so that not everything happens at nine sharp.
        local = day.at(9, local.minute(), 0, 0);
    }
}

/// A number that looks random and is always the same (SplitMix64's finaliser).
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offices_open_on_monday_at_nine() {
        let zone = TimeZone::get("Asia/Vladivostok").unwrap();
        let saturday: Timestamp = "2020-11-21T12:20:00+10:00".parse().unwrap();
        let monday: Timestamp = "2020-11-23T09:20:00+10:00".parse().unwrap();
        assert_eq!(office_time(saturday, &zone, false), monday);
        assert_eq!(office_time(saturday, &zone, true), saturday);
    }

    #[test]
    fn a_returned_case_is_given_to_somebody_else_before_it_is_accepted() {
        let play = Play { executor: "return".into(), ..Play::default() };
        let acts: Vec<Act> = plan(&play, 7, false, false).into_iter().map(|(_, act)| act).collect();
        assert_eq!(acts[..3], [Act::Return, Act::Reassign, Act::Accept]);
    }
}
