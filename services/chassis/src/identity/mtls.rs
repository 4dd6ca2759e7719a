//! The principal that a client certificate names. The TLS layer has verified the certificate by then.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Principal, checked, proven::Proven, role_named, unauthenticated};
use crate::error::Error;

/// For how long a parsed certificate is remembered.
const MEMORY: Duration = Duration::from_secs(600);

/// Reads principals out of certificates.
#[derive(Debug, Default)]
pub(super) struct Reader {
    proven: Proven,
}

impl Reader {
    /// The principal of a certificate: its common name, with the roles that its organisational units name.
    pub(super) fn principal(&self, der: &[u8]) -> Result<Arc<Principal>, Error> {
        if let Some(principal) = self.proven.get(der) {
            return Ok(principal);
        }
        let principal = read(der)?;
        self.proven.put(der, principal.clone(), Instant::now() + MEMORY);
        Ok(principal)
    }
}

fn read(der: &[u8]) -> Result<Arc<Principal>, Error> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| unauthenticated("the client certificate can't be read"))?;
    let subject = certificate.subject();
    let mut names = subject.iter_common_name().filter_map(|name| name.as_str().ok());
    let name = names.next().ok_or_else(|| unauthenticated("the client certificate has no common name"))?;
    if names.next().is_some() {
        return Err(unauthenticated("the client certificate has several common names"));
    }
    let roles = subject.iter_organizational_unit().filter_map(|unit| unit.as_str().ok()).filter_map(role_named);
    checked(Principal::new(name, roles))
}
