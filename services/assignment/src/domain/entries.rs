//! The ledger entries of cases.

use jiff::Timestamp;
use otklik_chassis::ledger::Draft;
use otklik_proto::EventType;
use prost::Name;

use super::{
    case::{Case, Member},
    pack::Pack,
};

/// The aggregate of all entries here.
const KIND: &str = "case";

/// An entry of a case: it concerns the case and all its messages, and was decided under the policies in force.
pub fn entry<M: EventType + Name>(case: &Case, members: &[Member], pack: &Pack, event: &M) -> Draft {
    let concerned = members.iter().map(|member| member.message_id).chain([case.id]);
    let draft = Draft::new(KIND, case.id, event).concerning(concerned).under("policies", &pack.versions.policies);
    match members {
        [_] => draft.dated(timestamp(case.published_us), timestamp(case.received_us)),
        _ => draft,
    }
}

fn timestamp(us: Option<i64>) -> Option<Timestamp> {
    us.and_then(|us| Timestamp::from_microsecond(us).ok())
}
