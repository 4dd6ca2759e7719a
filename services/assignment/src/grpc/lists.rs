//! Lists of cases and executors.

use otklik_chassis::{error::Error, page::Page, validate::Violations};
use otklik_proto::{assignment::v1 as api, classification::v1::Urgency};
use uuid::Uuid;

use super::{Api, convert};
use crate::store::query::{self, Filter};

/// The largest page of cases and of executors.
const LARGEST_PAGE: i32 = 500;

impl Api {
    pub(super) async fn list(&self, request: api::ListCasesRequest) -> Result<api::ListCasesResponse, Error> {
        let wanted = request.filter.unwrap_or_default();
        let now_us = self.now_us();
        let filter = filter(&wanted, now_us);
        let page: Result<Page<Uuid>, Error> =
            Page::of("ListCases", request.page_size.min(LARGEST_PAGE), &request.page_token, &wanted);
        let (filter, page) = both(filter, page)?;
        let found = query::list(self.lane.storage(), &filter, page.after, page.limit()).await?;
        let (found, next_page_token) = page.cut(found, |snapshot| snapshot.case.id);
        let cases = found.into_iter().map(|snapshot| convert::case(snapshot, now_us)).collect();
        Ok(api::ListCasesResponse { cases, next_page_token })
    }

    pub(super) fn executors(&self, request: api::ListExecutorsRequest) -> Result<api::ListExecutorsResponse, Error> {
        let filter = request.filter.unwrap_or_default();
        let page: Page<String> =
            Page::of("ListExecutors", request.page_size.min(LARGEST_PAGE), &request.page_token, &filter)?;
        let mut found: Vec<_> = self.pack.executors.all().iter().collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let found = found
            .into_iter()
            .filter(|executor| filter.kinds.is_empty() || filter.kinds().any(|kind| kind == executor.kind))
            .filter(|executor| page.after.as_ref().is_none_or(|after| executor.id > *after))
            .collect();
        let (found, next_page_token) = page.cut(found, |executor| executor.id.clone());
        Ok(api::ListExecutorsResponse {
            executors: found.into_iter().map(convert::executor).collect(),
            next_page_token,
        })
    }
}

fn filter(wanted: &api::ListCasesFilter, now_us: i64) -> Result<Filter, Error> {
    let mut violations = Violations::new();
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let filter = Filter {
        executor_id: text(&wanted.executor_id),
        states: wanted.states().filter(|state| *state != api::CaseState::Unspecified).collect(),
        topic_group: text(&wanted.topic_group),
        topic: text(&wanted.topic),
        place_id: text(&wanted.place_id),
        urgency: Some(wanted.urgency()).filter(|urgency| *urgency != Urgency::Unspecified),
        overdue_at_us: wanted.overdue.then_some(now_us),
        due_before_us: wanted
            .due_before_time
            .as_ref()
            .and_then(|time| violations.timestamp("filter.due_before_time", Some(time)))
            .map(jiff::Timestamp::as_microsecond),
        message_id: violations.optional_uuid("filter.message_id", &wanted.message_id),
        fallback: wanted.fallback,
        open: false,
    };
    violations.check(filter.states.len() == wanted.states.len(), "filter.states", "holds a state that is not known");
    violations.finish()?;
    Ok(filter)
}

/// Two checks, with the violations of both.
fn both<A, B>(a: Result<A, Error>, b: Result<B, Error>) -> Result<(A, B), Error> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(Error::Invalid(mut a)), Err(Error::Invalid(b))) => {
            a.extend(b);
            Err(Error::Invalid(a))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}
