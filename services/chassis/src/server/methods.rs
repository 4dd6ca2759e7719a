//! The methods of the contracts, as the server's and the client's layers need to know them.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message;
use prost_types::FileDescriptorSet;

/// How messages flow in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// One request, one response: the call has a deadline.
    Unary,
    /// One request, a stream of responses: it ends with OK and is taken up again.
    ServerStream,
    /// A stream of requests: the caller resends what it has no answer to.
    ClientStream,
}

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Method {
    /// `otklik.intake.v1.IntakeService/GetMessage`, as spans and metrics call it.
    pub(crate) name: &'static str,
    pub(crate) flow: Flow,
}

/// All methods, by path (`/otklik.intake.v1.IntakeService/GetMessage`).
static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let sets = [
        otklik_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ];
    sets.iter().flat_map(|set| of(set)).collect()
});

/// The method of a path, if the contracts have it.
pub(crate) fn method(path: &str) -> Option<&'static Method> {
    METHODS.get(path)
}

/// The full names of the services of a package.
pub(crate) fn services_of(package: &str) -> Vec<String> {
    let mut names: Vec<String> = METHODS
        .values()
        .filter_map(|method| method.name.split_once('/'))
        .map(|(service, _)| service.to_owned())
        .filter(|service| service.rsplit_once('.').is_some_and(|(of, _)| of == package))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn of(descriptors: &[u8]) -> Vec<(String, Method)> {
    // The set is a constant of the build, made by the same compiler as the code around it.
    let set = FileDescriptorSet::decode(descriptors).unwrap_or_default();
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                let flow = match (method.client_streaming(), method.server_streaming()) {
                    (false, false) => Flow::Unary,
                    (false, true) => Flow::ServerStream,
                    (true, _) => Flow::ClientStream,
                };
                // A bounded number of short strings, kept for the life of the process.
                let leaked: &'static str = Box::leak(format!("/{name}").into_boxed_str());
                methods.push((leaked.to_owned(), Method { name: &leaked[1..], flow }));
            }
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_come_from_the_contracts() {
        let check = method("/grpc.health.v1.Health/Check").unwrap();
        assert_eq!(*check, Method { name: "grpc.health.v1.Health/Check", flow: Flow::Unary });
        assert_eq!(method("/grpc.health.v1.Health/Watch").unwrap().flow, Flow::ServerStream);
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        assert_eq!(method(reflection).unwrap().flow, Flow::ClientStream);
        assert_eq!(method("/grpc.health.v1.Health/Cure"), None);
        assert_eq!(services_of("grpc.health.v1"), ["grpc.health.v1.Health"]);
        assert!(method("/otklik.ledger.v1.LedgerService/StreamEntries").is_some());
    }

    #[test]
    fn every_method_of_the_contracts_has_a_permission() {
        let mut missing: Vec<_> = METHODS
            .keys()
            .filter(|path| path.starts_with("/otklik."))
            .filter(|path| !otklik_proto::PERMISSIONS.iter().any(|entry| entry.path == path.as_str()))
            .collect();
        missing.sort_unstable();
        assert!(missing.is_empty(), "without a permission: {missing:?}");
    }
}
