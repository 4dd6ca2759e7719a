//! Bearer tokens, with real keys.

use std::{path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Extensions, HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, EncodingKey, Header, get_current_timestamp};
use otklik_chassis::{
    client,
    config::{Auth, Client, Tls},
    error::Error,
    identity::{Authenticator, Principal},
};
use otklik_proto::{
    ledger::v1::{GetHeadsRequest, ledger_service_client::LedgerServiceClient},
    options::v1::Role,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::house::{House, Plan, quick};

/// Who signs tokens.
struct Issuer {
    dir: TempDir,
    ec: KeyPair,
    ed: KeyPair,
}

impl Issuer {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            ec: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
            ed: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn jwks(&self) -> Value {
        let point = self.ec.der_bytes();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "alg": "ES256", "x": x, "y": y},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": URL_SAFE_NO_PAD.encode(self.ed.der_bytes())},
        ]})
    }

    fn auth(&self, keys: &str) -> Auth {
        std::fs::write(self.path(), keys).unwrap();
        Auth {
            jwt_keys: Some(self.path()),
            jwt_issuer: Some("https://issuer".into()),
            jwt_audience: Some("otklik".into()),
        }
    }

    fn authenticator(&self, keys: &str) -> Authenticator {
        Authenticator::open(&self.auth(keys), &Tls::default()).unwrap()
    }

    fn sign(&self, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
        let key = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_pem(self.ec.serialize_pem().as_bytes()).unwrap(),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(self.ed.serialize_pem().as_bytes()).unwrap(),
            _ => EncodingKey::from_secret(self.ec.public_key_pem().as_bytes()),
        };
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer", "aud": "otklik", "sub": "anna", "exp": get_current_timestamp() + 600,
        "roles": ["executor", "APPROVER", "king"]
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims.as_object_mut().unwrap().insert(name.into(), value),
    };
    claims
}

fn known(authenticator: &Authenticator, token: &str) -> Result<Principal, String> {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
    match authenticator.authenticate(&headers, &Extensions::new()) {
        Ok(principal) => Ok(Principal::clone(&principal)),
        Err(Error::Unauthenticated { description }) => Err(description),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn tokens_of_the_issuer_are_accepted() {
    let issuer = Issuer::new();
    let anna = Principal::new("anna", [Role::Executor, Role::Approver]);
    let pem = format!("{}{}", issuer.ec.public_key_pem(), issuer.ed.public_key_pem());
    for keys in [issuer.jwks().to_string(), pem] {
        let authenticator = issuer.authenticator(&keys);
        for algorithm in [Algorithm::ES256, Algorithm::EdDSA] {
            let token = issuer.sign(algorithm, None, &claims());
            for _ in 0..2 {
                assert_eq!(known(&authenticator, &token), Ok(anna.clone()), "{algorithm:?}");
            }
        }
    }
    let authenticator = issuer.authenticator(&issuer.jwks().to_string());
    assert!(known(&authenticator, &issuer.sign(Algorithm::ES256, Some("ec"), &claims())).is_ok());
    assert!(known(&authenticator, &issuer.sign(Algorithm::ES256, Some("ed"), &claims())).is_err());
    let just_expired = with("exp", json!(get_current_timestamp() - 5));
    assert!(
        known(&authenticator, &issuer.sign(Algorithm::ES256, None, &just_expired)).is_ok(),
        "clocks differ a little"
    );
}

/// A token signed once with a key that nobody has any more, good until 2100.
#[test]
fn rsa_keys_of_sufficient_length_are_accepted() {
    let issuer = Issuer::new();
    let authenticator = issuer.authenticator(include_str!("rsa/public.pem"));
    let token = include_str!("rsa/token.jwt").trim();
    assert_eq!(known(&authenticator, token), Ok(Principal::new("olga", [Role::Observer])));
    assert!(known(&authenticator, &token.replacen('.', ".A", 1)).is_err());
    let short = Authenticator::open(&issuer.auth(include_str!("rsa/too-short.pem")), &Tls::default());
    assert!(format!("{:#}", short.unwrap_err()).contains("at least 2048 bits"));
}

#[test]
fn other_tokens_are_refused_and_the_reason_is_told() {
    let issuer = Issuer::new();
    let authenticator = issuer.authenticator(&issuer.jwks().to_string());
    let now = get_current_timestamp();
    for (claims, reason) in [
        (with("exp", json!(now - 60)), "the token has expired"),
        (with("exp", Value::Null), "the token must have exp, iss, aud and sub"),
        (with("iss", json!("https://another")), "the token comes from another issuer"),
        (with("iss", Value::Null), "the token must have exp, iss, aud and sub"),
        (with("aud", json!("another")), "the token is for another audience"),
        (with("aud", Value::Null), "the token must have exp, iss, aud and sub"),
        (with("sub", Value::Null), "the token"),
        (with("sub", json!("")), "the subject must be"),
        (with("sub", json!("service:intake")), "subjects that begin with `service:` need the role service"),
        (with("nbf", json!(now + 600)), "the token is not valid yet"),
        (with("roles", json!("executor")), "the token's claims can't be read"),
    ] {
        let refusal = known(&authenticator, &issuer.sign(Algorithm::ES256, None, &claims)).unwrap_err();
        assert!(refusal.starts_with(reason), "{claims}: {refusal}");
    }
    let stranger = Issuer::new();
    let refusal = known(&authenticator, &stranger.sign(Algorithm::ES256, Some("ec"), &claims())).unwrap_err();
    assert_eq!(refusal, "no key of the key file has signed the token");

    // Signed with the public key as if it were a shared secret, and not signed at all.
    let confused = issuer.sign(Algorithm::HS256, None, &claims());
    assert_eq!(known(&authenticator, &confused).unwrap_err(), "the token must be signed with RS256, ES256 or EdDSA");
    let body = URL_SAFE_NO_PAD.encode(claims().to_string());
    let unsigned = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#));
    assert!(known(&authenticator, &unsigned).is_err());
    for malformed in ["", "a.b.c", "Я"] {
        assert!(known(&authenticator, malformed).is_err());
    }
    let headers = HeaderMap::from_iter([(AUTHORIZATION, "Basic YTpi".parse().unwrap())]);
    assert!(authenticator.authenticate(&headers, &Extensions::new()).is_err());
    assert!(authenticator.authenticate(&HeaderMap::new(), &Extensions::new()).is_err());
}

#[test]
fn unfit_key_files_are_refused() {
    let issuer = Issuer::new();
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let mut only_encryption = issuer.jwks();
    for key in only_encryption["keys"].as_array_mut().unwrap() {
        key["use"] = json!("enc");
    }
    for (keys, reason) in [
        (String::new(), "is neither a JWK set nor PEM public keys"),
        ("{}".into(), "missing field"),
        (json!({"keys": []}).to_string(), "has no key for"),
        (only_encryption.to_string(), "has no key for"),
        (json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string(), "only public keys are accepted"),
        (issuer.ec.serialize_pem(), "has a block that is no public key"),
        (p384.public_key_pem(), "must be of P-256"),
    ] {
        let error = Authenticator::open(&issuer.auth(&keys), &Tls::default()).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.starts_with("auth.jwt_keys: ") && text.contains(reason), "{text}");
    }
}

#[tokio::test]
async fn a_service_shows_its_token() {
    let issuer = Issuer::new();
    let auth = issuer.auth(&issuer.jwks().to_string());
    let house = House::build(Plan { auth, limits: quick(), ..Plan::default() });
    let heads = async |config: &Client| {
        let mut client = LedgerServiceClient::new(client::connect(&house.uri, config).unwrap());
        let mut request = tonic::Request::new(GetHeadsRequest {});
        request.set_timeout(Duration::from_secs(20));
        client.get_heads(request).await.map(|answer| answer.into_inner().service).map_err(|status| status.code())
    };
    assert_eq!(heads(&Client::default()).await, Err(Code::Unauthenticated));

    let mut service = claims();
    service["sub"] = json!("service:audit");
    service["roles"] = json!(["service"]);
    let file = issuer.dir.path().join("token");
    std::fs::write(&file, format!("{}\n", issuer.sign(Algorithm::EdDSA, Some("ed"), &service))).unwrap();
    let config = Client { token_file: Some(file), ..Client::default() };
    assert_eq!(heads(&config).await, Ok("service:audit as SERVICE".into()));

    // Probes need no token.
    let mut health = tonic_health::pb::health_client::HealthClient::new(house.channel());
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    house.stop().await.unwrap();
}
