//! On the way to the first bid: calls whose answer is the only copy of a secret, the door as the marketplace was told
//! it, and the claim link until it was shown.

use std::time::Duration;

use domain::onboarding::{Call, Last};
use secrecy::SecretString;
use uuid::Uuid;

use crate::{Error, Store, Tx, seal::Sealer, tx::exactly_one};

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its answer is kept, in the same transaction.
    Kept,
    /// It was not acted on.
    Refused,
    /// It may have been acted on, and nobody has the answer.
    Lost,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

/// What became of an agent's last call, and what was said of it. One begun longer than `patience` ago is lost: whoever
/// made it is gone. Lock the agent first: two who begin at once see each other.
///
/// # Errors
/// When the query fails.
pub async fn last(tx: &mut Tx, agent: &str, call: Call, patience: Duration) -> Result<(Last, Option<String>), Error> {
    let row = sqlx::query!(
        r#"-- onboarding::last
        SELECT state, detail, begun_at > now() - make_interval(secs => $3) AS "fresh!"
        FROM scheduler.sole_answers
        WHERE agent = $1 AND call = $2"#,
        agent,
        call.name(),
        patience.as_secs_f64(),
    )
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else { return Ok((Last::None, None)) };
    let last = match row.state.as_str() {
        "begun" if row.fresh => Last::UnderWay,
        "kept" => Last::Kept,
        "refused" => Last::Refused,
        _ => Last::Lost,
    };
    Ok((last, row.detail))
}

/// Notes that a call is about to be made. Answers the token that ends it.
///
/// # Errors
/// When the agent is unknown, or the statement fails.
pub async fn begin(tx: &mut Tx, agent: &str, call: Call) -> Result<Uuid, Error> {
    let token = Uuid::now_v7();
    sqlx::query!(
        "-- onboarding::begin
        INSERT INTO scheduler.sole_answers (agent, call, token, state)
        VALUES ($1, $2, $3, 'begun')
        ON CONFLICT (agent, call) DO UPDATE
        SET token = excluded.token, state = 'begun', begun_at = now(), ended_at = NULL, detail = NULL",
        agent,
        call.name(),
        token,
    )
    .execute(tx.connection())
    .await?;
    Ok(token)
}

/// Ends a call that was begun under this token.
///
/// # Errors
/// [`Error::Stale`] when it was ended, or begun anew by somebody else.
pub async fn end(
    tx: &mut Tx,
    agent: &str,
    call: Call,
    token: Uuid,
    end: End,
    detail: Option<&str>,
) -> Result<(), Error> {
    let ended = sqlx::query!(
        "-- onboarding::end
        UPDATE scheduler.sole_answers
        SET state = $4, ended_at = now(), detail = $5
        WHERE agent = $1 AND call = $2 AND token = $3 AND state = 'begun'",
        agent,
        call.name(),
        token,
        end.name(),
        detail,
    )
    .execute(tx.connection())
    .await?;
    exactly_one("the call that was begun", ended.rows_affected())
}

/// Keeps where the marketplace was told to send webhooks.
///
/// # Errors
/// When the agent is unknown, or the statement fails.
pub async fn set_webhook_url(tx: &mut Tx, agent: &str, url: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- onboarding::set_webhook_url
        INSERT INTO scheduler.onboarding (agent, webhook_url, updated_by)
        VALUES ($1, $2, $3)
        ON CONFLICT (agent) DO UPDATE
        SET webhook_url = excluded.webhook_url, updated_at = now(), updated_by = excluded.updated_by",
        agent,
        url,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Where the marketplace was told to send webhooks, if it was told from here.
///
/// # Errors
/// When the query fails.
pub async fn webhook_url(store: &Store, agent: &str) -> Result<Option<String>, Error> {
    let url = sqlx::query_scalar!(
        "-- onboarding::webhook_url
        SELECT webhook_url FROM scheduler.onboarding WHERE agent = $1",
        agent,
    )
    .fetch_optional(&store.pool)
    .await?;
    Ok(url.flatten())
}

/// Seals and keeps the claim link until it was shown; `None` forgets it.
///
/// # Errors
/// When sealing fails, or the statement does.
pub async fn keep_claim(tx: &mut Tx, sealer: &Sealer, agent: &str, link: Option<&SecretString>) -> Result<(), Error> {
    let sealed = link.map(|link| sealer.seal(&bound_to(agent), link)).transpose()?;
    sqlx::query!(
        "-- onboarding::keep_claim
        INSERT INTO scheduler.onboarding (agent, claim_sealed, updated_by)
        VALUES ($1, $2, $3)
        ON CONFLICT (agent) DO UPDATE
        SET claim_sealed = excluded.claim_sealed, updated_at = now(), updated_by = excluded.updated_by",
        agent,
        sealed,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The claim link, while it was not shown.
///
/// # Errors
/// [`Error::Sealed`] when the sealer's key is another one, or the query fails.
pub async fn claim(store: &Store, sealer: &Sealer, agent: &str) -> Result<Option<SecretString>, Error> {
    let sealed = sqlx::query_scalar!(
        "-- onboarding::claim
        SELECT claim_sealed FROM scheduler.onboarding WHERE agent = $1",
        agent,
    )
    .fetch_optional(&store.pool)
    .await?;
    let sealed = sealed.flatten();
    sealed.map(|sealed| sealer.open(&bound_to(agent), &sealed)).transpose()
}

/// Sealed values are bound to what they are for: a claim link can never be opened as a key.
fn bound_to(agent: &str) -> String {
    format!("claim/{agent}")
}
