//! The secret that authors' keys are made with: generated once, kept in the database.

use otklik_chassis::{
    error::Error,
    storage::{Storage, rows},
};
use ring::rand::{SecureRandom, SystemRandom};
use sea_orm::ConnectionTrait;

use crate::domain::keys::AuthorSecret;

const NAME: &str = "author-key";

/// The secret of this database; makes one when there is none yet. Replicas that start together agree on one.
///
/// # Errors
/// An outage of the database, or of the system's source of random numbers.
pub async fn author_secret(storage: &Storage) -> Result<AuthorSecret, Error> {
    let mut fresh = [0; AuthorSecret::LENGTH];
    SystemRandom::new()
        .fill(&mut fresh)
        .map_err(|_| Error::internal(anyhow::anyhow!("the system gives no random numbers")))?;
    let tx = storage.begin().await?;
    let row = [NAME.into(), fresh.to_vec().into()];
    rows::insert(&tx, "secrets", ["name", "secret"], vec![row], "ON CONFLICT DO NOTHING").await?;
    let statement = storage.statement("SELECT secret FROM secrets WHERE name = $1", [NAME.into()]);
    let stored = tx.query_one_raw(statement).await?;
    tx.commit().await?;
    let stored = stored.ok_or_else(|| Error::internal(anyhow::anyhow!("the secret was not stored")))?;
    let bytes: Vec<u8> = stored.try_get_by_index(0)?;
    Ok(AuthorSecret::new(&bytes))
}
