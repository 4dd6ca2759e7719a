//! The events of all services, as far as this version knows them.

use otklik_proto::{
    EventType,
    assignment::v1::{
        CaseAccepted, CaseAssigned, CaseCancelled, CaseClosed, CaseInterimAnswered, CaseOpened, CaseReclassified,
        CaseReopened, CaseResolved, CaseResumed, CaseReturned, CaseSuspended, LateFactRecorded, MessageJoined,
        WorkStarted,
    },
    classification::v1::{ClassificationCorrected, MessageClassified, MessageNotClassified, ReviewRequested},
    feedback::v1::{
        AnswerApproved, AnswerDelivered, AnswerDrafted, AnswerPublished, AnswerSentBack, DeliveryGivenUp,
        ErasureComplied, RatingRecorded, ReopenRequested,
    },
    intake::v1::{MessageErased, MessageReceived, MessageRejected, MessageRevised, MessageWithdrawn},
};
use prost::Message;

macro_rules! events {
    ($($message:ident),* $(,)?) => {
        /// What an entry says happened.
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "each variant is the event of the same name")]
        pub enum Event {
            $($message(Box<$message>),)*
            /// Of a type that this version doesn't know, or not to be decoded as its type. It is stored and shown by
            /// its header, and changes no state.
            Other,
        }

        impl Event {
            /// The event in a payload of the given type.
            #[must_use]
            pub fn decode(entry_type: &str, payload: &[u8]) -> Self {
                match entry_type {
                    $(<$message as EventType>::TYPE => {
                        $message::decode(payload).map_or(Self::Other, |event| Self::$message(Box::new(event)))
                    })*
                    _ => Self::Other,
                }
            }
        }
    };
}

events!(
    MessageReceived,
    MessageRejected,
    MessageRevised,
    MessageWithdrawn,
    MessageErased,
    MessageClassified,
    MessageNotClassified,
    ReviewRequested,
    ClassificationCorrected,
    CaseOpened,
    MessageJoined,
    CaseAssigned,
    CaseReclassified,
    CaseAccepted,
    CaseReturned,
    WorkStarted,
    CaseSuspended,
    CaseResumed,
    CaseInterimAnswered,
    CaseCancelled,
    CaseResolved,
    CaseReopened,
    CaseClosed,
    LateFactRecorded,
    AnswerDrafted,
    AnswerSentBack,
    AnswerApproved,
    AnswerPublished,
    AnswerDelivered,
    DeliveryGivenUp,
    RatingRecorded,
    ReopenRequested,
    ErasureComplied,
);
