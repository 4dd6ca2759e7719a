//! The contracts of Otklik. Services meet here and nowhere else.
//!
//! Each module holds the messages, clients and servers of one package: `otklik.intake.v1` is [`intake::v1`]. What the
//! definitions say beyond types is here as well: [`PERMISSIONS`] tells who may call what, [`EventType`] what an entry of
//! a ledger is called, and `Debug` prints `[redacted]` for every field that can hold personal data or text.

use std::sync::LazyLock;

use options::v1::Role;
use prost_reflect::DescriptorPool;

pub mod time;

/// Declares the module of one package from its generated code.
macro_rules! package {
    ($service:ident, $package:literal, $doc:literal) => {
        #[doc = $doc]
        pub mod $service {
            /// Version 1 of the contract.
            #[allow(missing_docs, clippy::all, rustdoc::all)]
            pub mod v1 {
                tonic::include_proto!($package);
            }
        }
    };
}

package!(options, "otklik.options.v1", "Options of methods and fields: roles and permissions, behaviour of fields.");
package!(
    ledger,
    "otklik.ledger.v1",
    "Ledgers: the record every service keeps of its changes, and how others follow it."
);
package!(intake, "otklik.intake.v1", "Intake: takes messages in and keeps their texts.");
package!(classification, "otklik.classification.v1", "Classification: says what messages are about.");
package!(assignment, "otklik.assignment.v1", "Assignment: makes cases, routes them and keeps their clocks.");
package!(feedback, "otklik.feedback.v1", "Feedback: answers authors and asks whether it helped.");
package!(audit, "otklik.audit.v1", "Audit: lifecycles, proof and statistics.");
package!(channel, "otklik.channel.v1", "Channel: how answers leave the suite.");

include!(concat!(env!("OUT_DIR"), "/redacted_debug.rs"));
include!(concat!(env!("OUT_DIR"), "/permissions.rs"));
include!(concat!(env!("OUT_DIR"), "/events.rs"));

/// The encoded `FileDescriptorSet` of all contracts with their imports and options, for reflection and for tests.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/otklik.binpb"));

/// What a method requires of its caller, as the contract states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodPermission {
    /// Path of the method, for example `/otklik.intake.v1.IntakeService/SubmitMessage`.
    pub path: &'static str,
    /// Name of the permission, for example `intake.messages.submit`.
    pub permission: &'static str,
    /// Roles that hold the permission; one of them is enough.
    pub roles: &'static [Role],
    /// What the method does.
    pub effect: Effect,
}

/// What a method does to the service, from the standard option `idempotency_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Reads and changes nothing.
    Read,
    /// Changes something; repeats are recognised by a key of the domain.
    ChangeByOwnKey,
    /// Changes something; repeats are recognised by the request id.
    ChangeByRequestId,
}

/// Looks up what a method requires, by its path. `None` means that nobody may call it.
pub fn method_permission(path: &str) -> Option<&'static MethodPermission> {
    PERMISSIONS.binary_search_by(|entry| entry.path.cmp(path)).ok().map(|index| &PERMISSIONS[index])
}

/// An event: a message that a ledger entry can hold.
///
/// Every message of an `events.proto` is one. Any other message has the same name as `prost::Name::full_name()`.
pub trait EventType: prost::Message + Default + 'static {
    /// Full name of the message, which is the type of the entry, for example `otklik.intake.v1.MessageReceived`.
    const TYPE: &'static str;
}

impl Role {
    /// Short name of the role as tokens, actors and logs have it: `EXECUTOR` for [`Role::Executor`].
    pub fn code(self) -> &'static str {
        let name = self.as_str_name();
        name.strip_prefix("ROLE_").unwrap_or(name)
    }

    /// The role with this short name; `None` for an unknown one and for `UNSPECIFIED`, which nobody holds.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::from_str_name(&format!("ROLE_{code}")).filter(|role| *role != Self::Unspecified)
    }
}

/// The descriptors of all contracts, for whoever handles messages by name: an entry's payload by its type.
pub fn descriptor_pool() -> &'static DescriptorPool {
    static POOL: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build encoded these descriptors"));
    &POOL
}
