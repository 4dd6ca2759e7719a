//! The lifecycle trace: which spans an entry is, in which traces, and under which parents.
//!
//! A message's id is its trace id, and so is a case's. Every span id follows from the entry and the trace, so a parent is
//! known before its span has been seen, and a repeat is the same span byte for byte.

use ring::digest::{Context, SHA256};
use uuid::Uuid;

use super::step::Step;

/// Most member messages whose traces a case's step is projected into; beyond, the case's own span links to theirs.
pub const MOST_PROJECTED: usize = 50;

/// Identifier of a span, 8 bytes, never all zero.
pub type SpanId = [u8; 8];

/// The traces that an entry is a span of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traces {
    /// Messages and cases in whose traces it is a span.
    pub projected: Vec<Uuid>,
    /// Messages that its spans link to instead.
    pub linked: Vec<Uuid>,
}

/// An entry that can be a parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its id.
    pub entry: Uuid,
    /// When it was recorded, in microseconds.
    pub recorded_us: i64,
}

/// A span of a lifecycle trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The trace: a message or a case.
    pub trace: Uuid,
    /// The span.
    pub id: SpanId,
    /// Its parent; `None` for the root.
    pub parent: Option<SpanId>,
    /// What happened: `received`, `assigned`, `answer drafted`.
    pub name: String,
    /// When its parent's entry was recorded, in microseconds; the root has no length.
    pub start_us: i64,
    /// When its entry was recorded.
    pub end_us: i64,
    /// Roots of other traces that it links to: trace and span.
    pub links: Vec<(Uuid, SpanId)>,
}

/// The span of an entry in a trace: the first 8 bytes of SHA-256 over `otklik.span.v1`, a zero byte, the 16 bytes of the
/// entry's id and the 16 bytes of the trace id.
#[must_use]
pub fn span_id(entry: Uuid, trace: Uuid) -> SpanId {
    let mut context = Context::new(&SHA256);
    context.update(b"otklik.span.v1\0");
    context.update(entry.as_bytes());
    context.update(trace.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&context.finish().as_ref()[..8]);
    // All zero is no span id; no SHA-256 is known to begin so.
    if id == [0; 8] { [0, 0, 0, 0, 0, 0, 0, 1] } else { id }
}

/// The traces of an entry. `members` are the messages of its case as far as they are known, for entries of a case that
/// name no message.
#[must_use]
pub fn traces(step: &Step, members: &[Uuid]) -> Traces {
    let messages = if step.subjects.messages.is_empty() { members } else { &step.subjects.messages };
    let mut traces = Traces { projected: step.subjects.cases.clone(), linked: Vec::new() };
    if messages.len() > MOST_PROJECTED && !traces.projected.is_empty() {
        traces.linked = messages.to_vec();
    } else {
        traces.projected.extend(messages);
    }
    traces
}

/// The span of an entry in `trace`. `parent` is the entry that caused it, where that is in the same trace, and else the
/// trace's root; `None` for the root itself.
#[must_use]
pub fn span(step: &Step, trace: Uuid, parent: Option<&Origin>, links: Vec<(Uuid, SpanId)>) -> Span {
    Span {
        trace,
        id: span_id(step.id, trace),
        parent: parent.map(|parent| span_id(parent.entry, trace)),
        name: name(&step.entry_type),
        // Clocks of two services may differ: no span ends before it starts.
        start_us: parent.map_or(step.recorded_us, |parent| parent.recorded_us.min(step.recorded_us)),
        end_us: step.recorded_us,
        links,
    }
}

/// What an entry's type says, in words: `otklik.intake.v1.MessageReceived` is `received`,
/// `otklik.feedback.v1.AnswerDrafted` is `answer drafted`.
#[must_use]
pub fn name(entry_type: &str) -> String {
    let short = entry_type.rsplit('.').next().unwrap_or(entry_type);
    let short = ["Message", "Case"].into_iter().find_map(|noun| short.strip_prefix(noun)).unwrap_or(short);
    let mut words = String::with_capacity(short.len() + 4);
    for (index, letter) in short.chars().enumerate() {
        if index > 0 && letter.is_uppercase() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// A trace id as it is typed into a tracing backend: 32 hexadecimal digits.
#[must_use]
pub fn trace_id_text(trace: Uuid) -> String {
    trace.simple().to_string()
}

/// A span id as 16 hexadecimal digits.
#[must_use]
pub fn span_id_text(id: SpanId) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use otklik_proto::ledger::v1::EntryHeader;

    use super::{
        super::{event::Event, step::Subjects},
        *,
    };

    fn step(messages: usize) -> Step {
        let header = EntryHeader {
            aggregate_kind: "case".into(),
            aggregate_id: Uuid::from_u128(1).to_string(),
            subject_ids: (0..messages as u128).map(|n| Uuid::from_u128(100 + n).to_string()).collect(),
            ..Default::default()
        };
        Step {
            arrival: (1, 0),
            service: "assignment".into(),
            incarnation: Uuid::nil(),
            partition: 0,
            seq: 1,
            hash: Default::default(),
            intact: true,
            subjects: Subjects::of(&header),
            header,
            entry_type: "otklik.assignment.v1.CaseAccepted".into(),
            event: Event::Other,
            payload: Default::default(),
            id: Uuid::from_u128(7),
            cause: None,
            recorded_us: 50,
        }
    }

    #[test]
    fn a_span_id_follows_from_entry_and_trace() {
        let (entry, trace, other) = (Uuid::from_u128(7), Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(span_id_text(span_id(entry, trace)), "02b79547ce8b27f1");
        assert_ne!(span_id(entry, trace), span_id(entry, other));
        assert_ne!(span_id(entry, trace), span_id(trace, entry));
    }

    #[test]
    fn a_case_step_is_in_the_traces_of_up_to_fifty_members() {
        assert_eq!(traces(&step(50), &[]).projected.len(), 51);
        let many = traces(&step(51), &[]);
        assert_eq!((many.projected, many.linked.len()), (vec![Uuid::from_u128(1)], 51));
        let learned = traces(&step(0), &[Uuid::from_u128(100)]);
        assert_eq!(learned.projected, [Uuid::from_u128(1), Uuid::from_u128(100)]);
    }

    #[test]
    fn the_parent_gives_the_beginning() {
        let trace = Uuid::from_u128(100);
        let parent = Origin { entry: Uuid::from_u128(3), recorded_us: 20 };
        let child = span(&step(1), trace, Some(&parent), Vec::new());
        assert_eq!((child.start_us, child.end_us), (20, 50));
        assert_eq!(child.parent, Some(span_id(parent.entry, trace)));
        let late = Origin { recorded_us: 60, ..parent };
        assert_eq!(span(&step(1), trace, Some(&late), Vec::new()).start_us, 50);
        let root = span(&step(1), trace, None, Vec::new());
        assert_eq!((root.start_us, root.parent), (50, None));
    }

    #[test]
    fn names_are_words() {
        assert_eq!(name("otklik.intake.v1.MessageReceived"), "received");
        assert_eq!(name("otklik.assignment.v1.CaseInterimAnswered"), "interim answered");
        assert_eq!(name("otklik.feedback.v1.AnswerDrafted"), "answer drafted");
        assert_eq!(name("RainFell"), "rain fell");
    }
}
