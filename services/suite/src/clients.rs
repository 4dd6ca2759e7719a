//! The public API of the suite, as this binary calls it.

use anyhow::Context;
use otklik_chassis::{
    client::{self, Channel},
    config::Client,
    server::MESSAGE_LIMIT,
};
use otklik_proto::{
    assignment::v1::assignment_service_client::AssignmentServiceClient,
    audit::v1::audit_service_client::AuditServiceClient,
    classification::v1::classification_service_client::ClassificationServiceClient,
    feedback::v1::feedback_service_client::FeedbackServiceClient,
    intake::v1::intake_service_client::IntakeServiceClient, ledger::v1::ledger_service_client::LedgerServiceClient,
};

/// The services that keep a ledger, in the order of a message's way through them.
pub const SERVICES: [&str; 5] = ["intake", "classification", "assignment", "feedback", "audit"];

/// Channels to the five services.
#[derive(Clone)]
pub struct Clients {
    channels: Vec<(&'static str, Channel)>,
}

impl Clients {
    /// Clients for services at the addresses that `uri` gives by name; connections are made when first used.
    ///
    /// # Errors
    /// When an address is not a URI.
    pub fn new(uri: impl Fn(&str) -> String, config: &Client) -> anyhow::Result<Self> {
        let mut channels = Vec::new();
        for service in SERVICES {
            let uri = uri(service);
            let channel = client::connect(&uri, config).with_context(|| format!("the address of {service}: {uri}"))?;
            channels.push((service, channel));
        }
        Ok(Self { channels })
    }

    fn channel(&self, service: &str) -> Channel {
        let index = SERVICES.iter().position(|s| *s == service).unwrap_or(0);
        self.channels[index].1.clone()
    }

    /// Intake.
    pub fn intake(&self) -> IntakeServiceClient<Channel> {
        IntakeServiceClient::new(self.channel("intake")).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Classification.
    pub fn classification(&self) -> ClassificationServiceClient<Channel> {
        ClassificationServiceClient::new(self.channel("classification")).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Assignment.
    pub fn assignment(&self) -> AssignmentServiceClient<Channel> {
        AssignmentServiceClient::new(self.channel("assignment")).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Feedback.
    pub fn feedback(&self) -> FeedbackServiceClient<Channel> {
        FeedbackServiceClient::new(self.channel("feedback")).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Audit.
    pub fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel("audit")).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// The ledger of a service.
    pub fn ledger(&self, service: &str) -> LedgerServiceClient<Channel> {
        LedgerServiceClient::new(self.channel(service)).max_decoding_message_size(MESSAGE_LIMIT)
    }
}
