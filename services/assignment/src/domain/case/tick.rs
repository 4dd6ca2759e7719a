//! What the clock does to a case.

use otklik_chassis::ledger::Draft;
use otklik_proto::assignment::v1::CloseKind;

use super::{Case, Member, Setting};
use crate::domain::state::Verb;

impl Case {
    /// Does what is due by now: a rating window that has ended closes the case, a wait that has ended resumes work.
    /// Nothing happens when nothing is due, so it may be asked any number of times.
    pub fn tick(&mut self, members: &[Member], setting: Setting<'_>) -> Vec<Draft> {
        if self.timer_us().is_none_or(|due_us| due_us > setting.now_us) {
            return Vec::new();
        }
        if let Some(suspension) = self.suspension
            && self.step(Verb::Resume).is_ok()
        {
            // The wait ended when it was to end, however late the clock is looked at.
            self.end_wait(setting.pack, suspension.until_us);
            return vec![self.resumed(members, setting)];
        }
        if self.step(Verb::Expire).is_ok() {
            self.rating_end_us = None;
            return vec![self.closed(CloseKind::Unrated, members, setting)];
        }
        Vec::new()
    }
}
