//! Who may call what: the table that the contracts' method options make.

use std::collections::HashMap;

use otklik_proto::{MethodPermission, options::v1::Role};

use super::Principal;
use crate::error::Error;

/// What everybody may call without saying who he is: probes and clients that learn the contracts.
const OPEN_SERVICES: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection.v1.ServerReflection/"];

/// The permissions of all methods, by path.
#[derive(Debug)]
pub(crate) struct Permissions {
    methods: HashMap<&'static str, &'static MethodPermission>,
}

impl Permissions {
    /// The table of the contracts.
    pub(crate) fn of_contracts() -> Self {
        Self::new(otklik_proto::PERMISSIONS)
    }

    pub(crate) fn new(table: &'static [MethodPermission]) -> Self {
        Self { methods: table.iter().map(|method| (method.path, method)).collect() }
    }

    /// Whether the method needs no principal.
    pub(crate) fn is_open(path: &str) -> bool {
        OPEN_SERVICES.iter().any(|service| path.starts_with(service))
    }

    /// The role by which the principal may call the method.
    ///
    /// # Errors
    /// `PermissionDenied`: none of his roles may, or the method has no entry in the table.
    pub(crate) fn check(&self, path: &str, principal: &Principal) -> Result<Role, Error> {
        let Some(method) = self.methods.get(path) else {
            return Err(Error::PermissionDenied {
                permission: "none".into(),
                description: "the method is not one of the contracts', or has no permission".into(),
            });
        };
        principal.actor_role(method.roles).ok_or_else(|| Error::PermissionDenied {
            permission: method.permission.to_owned(),
            description: "the caller has none of the roles that may do this".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use otklik_proto::Effect;

    use super::*;

    static TABLE: [MethodPermission; 2] = [
        MethodPermission {
            path: "/a.A/Read",
            permission: "a.read",
            roles: &[Role::Observer, Role::Curator],
            effect: Effect::Read,
        },
        MethodPermission { path: "/a.A/Nobody", permission: "a.nobody", roles: &[], effect: Effect::Read },
    ];

    fn check(path: &str, roles: &[Role]) -> Result<Role, String> {
        match Permissions::new(&TABLE).check(path, &Principal::new("anna", roles.iter().copied())) {
            Ok(role) => Ok(role),
            Err(Error::PermissionDenied { permission, .. }) => Err(permission),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_not_permitted_is_denied() {
        assert_eq!(check("/a.A/Read", &[Role::Curator]), Ok(Role::Curator));
        assert_eq!(check("/a.A/Read", &[Role::Curator, Role::Observer]), Ok(Role::Observer));
        assert_eq!(check("/a.A/Read", &[Role::Executor]), Err("a.read".into()));
        assert_eq!(check("/a.A/Read", &[]), Err("a.read".into()));
        assert_eq!(check("/a.A/Nobody", &[Role::Administrator]), Err("a.nobody".into()));
        assert_eq!(check("/a.A/Unknown", &[Role::Administrator]), Err("none".into()));
    }

    #[test]
    fn only_health_and_reflection_are_open() {
        assert!(Permissions::is_open("/grpc.health.v1.Health/Check"));
        assert!(Permissions::is_open("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"));
        assert!(!Permissions::is_open("/grpc.health.v1.HealthX/Check"));
        assert!(!Permissions::is_open("/otklik.intake.v1.IntakeService/SubmitMessage"));
    }
}
