//! Who calls, how he proves it, and what he may do.
//!
//! A caller is known by the certificate of a mutual TLS connection (subject: its common name; roles: its
//! organisational units) or by a bearer JSON Web Token (subject: `sub`; roles: the claim `roles`). Where a call has
//! a token, the token counts. With neither configured, the service is an *open loopback*: it listens on a loopback
//! address only, and every caller is the principal `local` with all roles, or whoever the header `otklik-act-as`
//! says (`subject;role,role`), so that rules that need two people can be tried out. That header is for development
//! and demonstrations; an authenticated service refuses it.

mod jwt;
mod mtls;
mod permission;
mod principal;
mod proven;

use std::sync::Arc;

use anyhow::Context as _;
use http::{Extensions, HeaderMap};
use otklik_proto::options::v1::Role;
use tonic::transport::server::TlsConnectInfo;

pub use self::principal::{Actor, Principal, actor, all_roles, principal, role_name, role_named};
pub(crate) use self::{permission::Permissions, principal::ActingRole};
use crate::{
    config::{Auth, Tls},
    error::Error,
    server::Opened,
};

/// The header that chooses a principal on an open loopback.
pub const ACT_AS: &str = "otklik-act-as";

/// The subjects that begin so belong to the services of the suite.
const SERVICE_PREFIX: &str = "service:";
/// The longest subject, in bytes.
const LONGEST_SUBJECT: usize = 256;

/// Finds out who calls.
#[derive(Debug)]
pub struct Authenticator {
    tokens: Option<jwt::Verifier>,
    certificates: Option<mtls::Reader>,
    local: Arc<Principal>,
}

impl Authenticator {
    /// Reads the keys that the configuration names.
    ///
    /// # Errors
    /// The key file can't be read, or holds no usable key.
    pub fn open(auth: &Auth, tls: &Tls) -> anyhow::Result<Self> {
        let tokens = match &auth.jwt_keys {
            None => None,
            Some(path) => {
                let issuer = auth.jwt_issuer.as_deref().context("auth.jwt_issuer: must be set")?;
                let audience = auth.jwt_audience.as_deref().context("auth.jwt_audience: must be set")?;
                Some(jwt::Verifier::open(path, issuer, audience)?)
            }
        };
        let certificates = tls.client_ca.is_some().then(mtls::Reader::default);
        Ok(Self { tokens, certificates, local: Arc::new(Principal::new("local", all_roles())) })
    }

    /// Whether callers need not prove who they are.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_none() && self.certificates.is_none()
    }

    /// Whether callers may prove who they are by a token.
    pub(crate) fn takes_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// The caller of a request with these headers, on a connection with these extensions.
    ///
    /// # Errors
    /// `Unauthenticated`, with what is missing or wrong. Nothing of the credentials themselves is repeated.
    pub fn authenticate(&self, headers: &HeaderMap, extensions: &Extensions) -> Result<Arc<Principal>, Error> {
        let act_as = headers.get(ACT_AS);
        if self.is_open() {
            return match act_as {
                None => Ok(self.local.clone()),
                Some(value) => acting_as(value),
            };
        }
        if act_as.is_some() {
            return Err(unauthenticated(format!("the header {ACT_AS} is refused where callers are authenticated")));
        }
        if let (Some(tokens), Some(header)) = (&self.tokens, headers.get(http::header::AUTHORIZATION)) {
            return tokens.principal(header);
        }
        if let Some(certificates) = &self.certificates {
            let chain = extensions.get::<TlsConnectInfo<Opened>>().and_then(TlsConnectInfo::peer_certs);
            if let Some(certificate) = chain.as_ref().and_then(|chain| chain.first()) {
                return certificates.principal(certificate.as_ref());
            }
        }
        let wanted = match (&self.tokens, &self.certificates) {
            (Some(_), Some(_)) => "a client certificate, or a bearer token in the header `authorization`",
            (Some(_), None) => "a bearer token in the header `authorization`",
            _ => "a client certificate",
        };
        Err(unauthenticated(format!("the call needs {wanted}")))
    }
}

fn unauthenticated(description: impl Into<String>) -> Error {
    Error::Unauthenticated { description: description.into() }
}

/// The principal of `subject;role,role`.
fn acting_as(value: &http::HeaderValue) -> Result<Arc<Principal>, Error> {
    let malformed = || unauthenticated(format!("the header {ACT_AS} must be `subject;role,role`"));
    let (subject, names) = value.to_str().ok().and_then(|value| value.split_once(';')).ok_or_else(malformed)?;
    let mut roles = Vec::new();
    for name in names.split(',').filter(|name| !name.trim().is_empty()) {
        let role =
            role_named(name).ok_or_else(|| unauthenticated(format!("the header {ACT_AS} names an unknown role")))?;
        roles.push(role);
    }
    checked(Principal::new(subject.trim(), roles))
}

/// What every principal must satisfy, wherever it comes from.
fn checked(principal: Principal) -> Result<Arc<Principal>, Error> {
    let subject = &principal.subject;
    if subject.is_empty() || subject.len() > LONGEST_SUBJECT || subject.chars().any(char::is_control) {
        return Err(unauthenticated(format!("the subject must be 1 to {LONGEST_SUBJECT} printable bytes")));
    }
    // In a ledger `service:assignment` is the service itself.
    if subject.starts_with(SERVICE_PREFIX) && !principal.has(Role::Service) {
        return Err(unauthenticated(format!("subjects that begin with `{SERVICE_PREFIX}` need the role service")));
    }
    Ok(Arc::new(principal))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_loopback() -> Authenticator {
        Authenticator::open(&Auth::default(), &Tls::default()).unwrap()
    }

    fn act_as(value: &str) -> Result<Arc<Principal>, Error> {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static(ACT_AS), value.parse().unwrap())]);
        open_loopback().authenticate(&headers, &Extensions::new())
    }

    #[test]
    fn on_an_open_loopback_everybody_is_local() {
        let principal = open_loopback().authenticate(&HeaderMap::new(), &Extensions::new()).unwrap();
        assert_eq!(principal.subject, "local");
        assert_eq!(principal.roles, all_roles());
        assert!(principal.has(Role::Moderator) && principal.has(Role::Service) && !principal.has(Role::Unspecified));
    }

    #[test]
    fn on_an_open_loopback_a_principal_may_be_chosen() {
        let principal = act_as("anna; approver, ROLE_EXECUTOR,approver").unwrap();
        assert_eq!(*principal, Principal::new("anna", [Role::Approver, Role::Executor]));
        assert_eq!(act_as("anna;").unwrap().roles, []);
        for wrong in ["anna", ";approver", "anna;king", "service:intake;approver"] {
            assert!(matches!(act_as(wrong), Err(Error::Unauthenticated { .. })), "{wrong}");
        }
        assert!(act_as("service:intake;service").is_ok());
    }

    #[test]
    fn the_acting_role_is_the_first_permitted_one() {
        let principal = Principal::new("anna", [Role::Approver, Role::Executor]);
        assert_eq!(principal.actor_role(&[Role::Executor, Role::Approver]), Some(Role::Executor));
        assert_eq!(principal.actor_role(&[Role::Auditor]), None);
    }

    #[test]
    fn names_of_roles_come_back() {
        for role in all_roles() {
            assert_eq!(role_named(&role_name(role)), Some(role));
        }
        assert_eq!(role_named("unspecified"), None);
        assert_eq!(role_named("king"), None);
    }
}
