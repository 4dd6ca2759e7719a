//! Bearer JSON Web Tokens (RFC 7519, RFC 8725).

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail};
use http::HeaderValue;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    errors::ErrorKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse},
};
use serde::Deserialize;

use super::{Principal, checked, proven::Proven, role_named, unauthenticated};
use crate::error::Error;

/// How far the issuer's clock and ours may differ, in seconds.
const LEEWAY: u64 = 30;
/// For how long a token that was found good is not checked again. So long, too, may a key that was taken out of the
/// file still be honoured.
const TRUST: Duration = Duration::from_secs(60);
/// How often the key file is looked at for a change.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// An RSA key has at least 2048 bits (RFC 7518, 3.3).
const SHORTEST_RSA: usize = 2048 / 8;
/// An uncompressed point of P-256, the curve of ES256.
const P256_POINT: usize = 65;

/// Checks tokens against the keys of a file, which is read again when it changes.
#[derive(Debug)]
pub(super) struct Verifier {
    path: PathBuf,
    validation: Validation,
    keys: RwLock<Keys>,
    proven: Proven,
}

#[derive(Debug, Clone)]
struct Keys {
    keys: Arc<[Key]>,
    modified: Option<SystemTime>,
    looked: Instant,
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    decoding: DecodingKey,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?} {:?}", self.algorithm, self.id)
    }
}

/// The claims that are used. That those are there that must be is the validation's to say.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    sub: String,
    exp: u64,
    roles: Vec<String>,
}

impl Verifier {
    pub(super) fn open(path: &Path, issuer: &str, audience: &str) -> anyhow::Result<Self> {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.algorithms = vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        let keys = Keys::read(path)?;
        Ok(Self { path: path.to_owned(), validation, keys: RwLock::new(keys), proven: Proven::default() })
    }

    /// The principal of an `authorization` header.
    pub(super) fn principal(&self, header: &HeaderValue) -> Result<Arc<Principal>, Error> {
        let bytes = header.as_bytes();
        let token = match bytes.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
            _ => return Err(unauthenticated("the header `authorization` must be `Bearer` and a token")),
        };
        if let Some(principal) = self.proven.get(token) {
            return Ok(principal);
        }
        let claims = self.claims(token)?;
        let left = claims.exp.saturating_add(LEEWAY).saturating_sub(jsonwebtoken::get_current_timestamp());
        // A role that this version does not know gives nothing.
        let roles = claims.roles.iter().filter_map(|name| role_named(name));
        let principal = checked(Principal::new(claims.sub.as_str(), roles))?;
        self.proven.put(token, principal.clone(), Instant::now() + TRUST.min(Duration::from_secs(left)));
        Ok(principal)
    }

    fn claims(&self, token: &[u8]) -> Result<Claims, Error> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| unauthenticated("the token is malformed"))?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err(unauthenticated("the token must be signed with RS256, ES256 or EdDSA"));
        }
        let keys = self.current_keys();
        let mut fitting: Vec<&Key> = keys.iter().filter(|key| key.algorithm == header.alg).collect();
        // A key id chooses among the keys that have one; PEM keys have none.
        if let Some(id) = &header.kid {
            fitting.retain(|key| key.id.as_ref().is_none_or(|key_id| key_id == id));
        }
        let mut refusal = "no key of the key file has signed the token";
        for key in fitting {
            // The library refuses a validation that names algorithms of another family than the key's.
            let validation = Validation { algorithms: vec![key.algorithm], ..self.validation.clone() };
            match jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) => {
                    refusal = match error.kind() {
                        ErrorKind::InvalidSignature => continue,
                        ErrorKind::ExpiredSignature => "the token has expired",
                        ErrorKind::ImmatureSignature => "the token is not valid yet",
                        ErrorKind::InvalidIssuer => "the token comes from another issuer",
                        ErrorKind::InvalidAudience => "the token is for another audience",
                        ErrorKind::MissingRequiredClaim(_) => "the token must have exp, iss, aud and sub",
                        _ => "the token's claims can't be read",
                    };
                    break;
                }
            }
        }
        Err(unauthenticated(refusal))
    }

    /// The keys, read anew if the file has changed. A file that has become unreadable leaves the old ones in force.
    fn current_keys(&self) -> Arc<[Key]> {
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        if known.looked.elapsed() < LOOK_INTERVAL {
            return known.keys;
        }
        let next = if modified(&self.path) == known.modified {
            Keys { looked: Instant::now(), ..known }
        } else {
            Keys::read(&self.path).unwrap_or_else(|error| {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the changed key file can't be used; the keys before it stay"
                );
                Keys { looked: Instant::now(), ..known }
            })
        };
        let keys = next.keys.clone();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = next;
        keys
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

impl Keys {
    fn read(path: &Path) -> anyhow::Result<Self> {
        // The time before the content: a change in between is seen at the next look.
        let (modified, looked) = (modified(path), Instant::now());
        let keys = std::fs::read_to_string(path)
            .map_err(anyhow::Error::from)
            .and_then(|text| if text.trim_start().starts_with('{') { jwk_set(&text) } else { pem_keys(&text) })
            .with_context(|| format!("auth.jwt_keys: {}", path.display()))?;
        Ok(Self { keys: keys.into(), modified, looked })
    }
}

fn jwk_set(text: &str) -> anyhow::Result<Vec<Key>> {
    let set: JwkSet = serde_json::from_str(text)?;
    let mut keys = Vec::new();
    for jwk in set.keys {
        if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
            continue;
        }
        let id = jwk.common.key_id.clone();
        if let Some(algorithm) = algorithm_of(&jwk)? {
            let decoding = DecodingKey::from_jwk(&jwk)
                .with_context(|| format!("the key {} can't be used", id.as_deref().unwrap_or("without kid")))?;
            keys.push(Key { id, algorithm, decoding });
        }
    }
    if keys.is_empty() {
        bail!("has no key for RS256, ES256 or EdDSA");
    }
    Ok(keys)
}

/// The algorithm that a key is for; `None` for a key of an algorithm that is not accepted.
fn algorithm_of(jwk: &Jwk) -> anyhow::Result<Option<Algorithm>> {
    use base64::Engine;
    Ok(match &jwk.algorithm {
        AlgorithmParameters::RSA(parameters) => {
            let modulus = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(&parameters.n)?;
            if modulus.len() < SHORTEST_RSA {
                bail!("an RSA key must have at least {} bits", SHORTEST_RSA * 8);
            }
            Some(Algorithm::RS256)
        }
        AlgorithmParameters::EllipticCurve(parameters) => {
            (parameters.curve == EllipticCurve::P256).then_some(Algorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(parameters) => {
            (parameters.curve == EllipticCurve::Ed25519).then_some(Algorithm::EdDSA)
        }
        AlgorithmParameters::OctetKey(_) => bail!("has a symmetric key; only public keys are accepted"),
        _ => None,
    })
}

fn pem_keys(text: &str) -> anyhow::Result<Vec<Key>> {
    let mut keys = Vec::new();
    for block in text.split("-----BEGIN ").skip(1) {
        if !block.starts_with("PUBLIC KEY-----") && !block.starts_with("RSA PUBLIC KEY-----") {
            bail!("has a block that is no public key");
        }
        let pem = format!("-----BEGIN {block}");
        let pem = pem.as_bytes();
        let (algorithm, decoding) = if let Ok(key) = DecodingKey::from_rsa_pem(pem) {
            (Algorithm::RS256, key)
        } else if let Ok(key) = DecodingKey::from_ec_pem(pem) {
            (Algorithm::ES256, key)
        } else {
            let key =
                DecodingKey::from_ed_pem(pem).context("has a block that is no RSA, P-256 or Ed25519 public key")?;
            (Algorithm::EdDSA, key)
        };
        let length = decoding.try_get_as_bytes().map_or(0, <[u8]>::len);
        match algorithm {
            Algorithm::RS256 if length < SHORTEST_RSA => {
                bail!("an RSA key must have at least {} bits", SHORTEST_RSA * 8)
            }
            Algorithm::ES256 if length != P256_POINT => bail!("an elliptic-curve key must be of P-256"),
            _ => keys.push(Key { id: None, algorithm, decoding }),
        }
    }
    if keys.is_empty() {
        bail!("is neither a JWK set nor PEM public keys");
    }
    Ok(keys)
}
