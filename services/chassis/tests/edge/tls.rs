//! Mutual TLS, with real certificates.

use std::path::{Path, PathBuf};

use otklik_chassis::{
    client,
    config::{Client, Config, Sources, Tls},
};
use otklik_proto::ledger::v1::{GetHeadsRequest, ListParkedRequest, ledger_service_client::LedgerServiceClient};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tonic::{Code, Request};

use crate::house::{House, Plan, quick};

/// An authority and what it has signed, as files.
struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { dir, issuer: Issuer::new(params, key) }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The certificate and key of a subject with a role.
    fn issue(&self, name: &str, role: Option<&str>) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(role) = role {
            params.distinguished_name.push(DnType::OrganizationalUnitName, role);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |end: &str| self.dir.path().join(format!("{name}.{end}"));
        std::fs::write(path("crt"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("crt"), path("key"))
    }

    fn server(&self) -> Tls {
        let (cert, key) = self.issue("server", None);
        Tls { cert: Some(cert), key: Some(key), client_ca: Some(self.ca()) }
    }

    fn client(&self, identity: Option<(PathBuf, PathBuf)>) -> Client {
        let (cert, key) = identity.unzip();
        Client { cert, key, ca: Some(self.ca()), ..Client::default() }
    }
}

async fn heads(uri: &str, config: &Client) -> Result<String, Code> {
    let mut client = LedgerServiceClient::new(client::connect(uri, config).unwrap());
    let answer = client.get_heads(GetHeadsRequest {}).await;
    answer.map(|answer| answer.into_inner().service).map_err(|status| status.code())
}

#[tokio::test]
async fn callers_are_known_by_their_certificates() {
    let authority = Authority::new();
    let house = House::build(Plan { tls: authority.server(), limits: quick(), ..Plan::default() });

    let audit = authority.client(Some(authority.issue("service:audit", Some("service"))));
    assert_eq!(heads(&house.uri, &audit).await, Ok("service:audit as SERVICE".into()));

    let observer = authority.client(Some(authority.issue("olga", Some("observer"))));
    assert_eq!(heads(&house.uri, &observer).await, Ok("olga as OBSERVER".into()));
    let mut client = LedgerServiceClient::new(client::connect(&house.uri, &observer).unwrap());
    let status = client.list_parked(ListParkedRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let mut request = Request::new(GetHeadsRequest {});
    request.metadata_mut().insert("otklik-act-as", "anna;auditor".parse().unwrap());
    assert_eq!(client.get_heads(request).await.unwrap_err().code(), Code::Unauthenticated);

    let without_role = authority.client(Some(authority.issue("nobody", None)));
    assert_eq!(heads(&house.uri, &without_role).await, Err(Code::PermissionDenied));
    let impostor = authority.client(Some(authority.issue("service:intake", Some("observer"))));
    assert_eq!(heads(&house.uri, &impostor).await, Err(Code::Unauthenticated));
    house.stop().await.unwrap();
}

#[tokio::test]
async fn without_a_certificate_of_the_authority_there_is_no_connection() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let house = House::build(Plan { tls: authority.server(), limits: quick(), ..Plan::default() });
    assert_eq!(heads(&house.uri, &authority.client(None)).await, Err(Code::Unavailable));
    let forged = stranger.issue("service:audit", Some("service"));
    assert_eq!(heads(&house.uri, &authority.client(Some(forged))).await, Err(Code::Unavailable));
    // And the client does not talk to a server that it has no reason to trust.
    let mut trusting = stranger.client(Some(authority.issue("service:audit", Some("service"))));
    assert_eq!(heads(&house.uri, &trusting).await, Err(Code::Unavailable));
    trusting.ca = Some(authority.ca());
    trusting.server_name = Some("elsewhere".into());
    assert_eq!(heads(&house.uri, &trusting).await, Err(Code::Unavailable));
    trusting.server_name = None;
    assert!(heads(&house.uri, &trusting).await.is_ok());
    house.stop().await.unwrap();
}

#[test]
fn files_are_checked_with_the_configuration() {
    let authority = Authority::new();
    let tls = authority.server();
    let read = |cert: &Path, key: &Path| {
        let variables = [
            ("OTKLIK_LISTEN", "0.0.0.0:7411".to_owned()),
            ("OTKLIK_TLS_CERT", cert.display().to_string()),
            ("OTKLIK_TLS_KEY", key.display().to_string()),
            ("OTKLIK_TLS_CLIENT_CA", authority.ca().display().to_string()),
        ];
        let environment = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let sources = Sources { file: None, environment };
        Config::<toml::Table>::read("intake", 7411, &sources).map(|_| ()).map_err(|error| error.to_string())
    };
    let (cert, key) = (tls.cert.unwrap(), tls.key.unwrap());
    read(&cert, &key).unwrap();
    assert!(read(&cert, Path::new("/nowhere.pem")).unwrap_err().starts_with("tls.key: /nowhere.pem"));
    let (_, other_key) = authority.issue("other", None);
    assert!(read(&cert, &other_key).unwrap_err().starts_with("tls.cert, tls.key"));
    assert!(read(&key, &cert).unwrap_err().starts_with("tls.cert, tls.key"));
}
