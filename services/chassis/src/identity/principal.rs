//! Who calls: a subject and its roles.

use std::sync::Arc;

use otklik_proto::options::v1::Role;

use crate::error::Error;

/// An authenticated caller. It comes from a verified certificate or token (or, on an open loopback, is the
/// local user), never from the body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Stable name of the caller: the `sub` of a token, the common name of a certificate, or `local`.
    pub subject: String,
    /// What the caller may act as, without repeats and without `ROLE_UNSPECIFIED`.
    pub roles: Vec<Role>,
}

/// In whose name, and in which role, an entry of the ledger is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The principal's subject.
    pub subject: String,
    /// The one role, of those that the principal has, that the called method permits.
    pub role: Role,
}

/// The role that the permission check let the caller in by; the permission layer puts it beside the principal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActingRole(pub(crate) Role);

impl Principal {
    /// A principal of the given subject and roles.
    pub fn new(subject: impl Into<String>, roles: impl IntoIterator<Item = Role>) -> Self {
        let mut distinct = Vec::new();
        for role in roles {
            if role != Role::Unspecified && !distinct.contains(&role) {
                distinct.push(role);
            }
        }
        Self { subject: subject.into(), roles: distinct }
    }

    /// Whether the caller has this role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The role by which the caller may do what `permitted` roles may do: the first of `permitted` that the
    /// caller has. `None` when it has none of them.
    #[must_use]
    pub fn actor_role(&self, permitted: &[Role]) -> Option<Role> {
        permitted.iter().copied().find(|role| self.has(*role))
    }
}

/// The principal of a request that came through the server's layers.
///
/// # Errors
/// `Unauthenticated` when the request carries none, which only happens to a service that is called past the layers.
pub fn principal<T>(request: &tonic::Request<T>) -> Result<&Principal, Error> {
    request
        .extensions()
        .get::<Arc<Principal>>()
        .map(AsRef::as_ref)
        .ok_or_else(|| Error::Unauthenticated { description: "the call carries no principal".into() })
}

/// The actor to record for a request: its principal in the role that the permission check let it in by.
///
/// # Errors
/// `Unauthenticated` as for [`principal`].
pub fn actor<T>(request: &tonic::Request<T>) -> Result<Actor, Error> {
    let principal = principal(request)?;
    let role = request
        .extensions()
        .get::<ActingRole>()
        .map(|acting| acting.0)
        .or_else(|| principal.roles.first().copied())
        .unwrap_or(Role::Unspecified);
    Ok(Actor { subject: principal.subject.clone(), role })
}

/// All roles that exist, in the order of their numbers.
#[must_use]
pub fn all_roles() -> Vec<Role> {
    (1..=i32::from(u8::MAX)).filter_map(|number| Role::try_from(number).ok()).collect()
}

/// The role of a name as tokens, certificates and headers spell it: `MODERATOR`, `moderator` or `ROLE_MODERATOR`.
/// `None` for a name that no role has.
#[must_use]
pub fn role_named(name: &str) -> Option<Role> {
    let name = name.trim().to_ascii_uppercase();
    Role::from_code(name.strip_prefix("ROLE_").unwrap_or(&name))
}

/// The name of a role as the contracts write it: `MODERATOR`.
#[must_use]
pub fn role_name(role: Role) -> String {
    role.code().to_owned()
}
