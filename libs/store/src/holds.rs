//! Money set aside before a call and settled after it. A hold ends exactly once: released, settled, or, when nobody
//! came back for it, charged whole. Whoever deletes its row is the one that ends it. Its process renews it while the
//! call lives, so that one left behind is noticed soon.

use std::time::Duration;

use domain::money::PicoUsd;
use uuid::Uuid;

use crate::{
    Error, Tx,
    run_accounts::Balance,
    usage::{self, Charge, Flag},
};

/// Money to be set aside.
#[derive(Debug, Clone)]
pub struct Hold {
    /// The hold's, and later the usage row's.
    pub id: Uuid,
    /// The run that pays.
    pub run_id: Uuid,
    /// The credential the call came with, so that a replaced one takes nothing.
    pub credential_hash: [u8; 32],
    /// How much.
    pub amount: PicoUsd,
    /// Model asked for.
    pub model: String,
    /// Provider that will be called.
    pub provider: String,
    /// It is charged whole when it was neither renewed nor ended for this long.
    pub lease: Duration,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is set aside.
    Held(Balance),
    /// It does not fit into what is left.
    Short(Balance),
    /// The right ended or its credential was replaced since it was looked up.
    Ended,
}

/// What became of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The usage row is written.
    Now(Balance),
    /// It was written before, by an attempt whose answer was lost or by the sweeper.
    Before,
    /// There is neither hold nor usage row.
    Unknown,
}

/// A hold that was charged whole because nobody settled it.
#[derive(Debug, Clone)]
pub struct Swept {
    /// Its id.
    pub id: Uuid,
    /// The run that paid.
    pub run_id: Uuid,
    /// How much.
    pub amount: PicoUsd,
}

/// Sets money aside if what is spent and held leaves room for it: one UPDATE that is both check and act. Doing it again
/// with the same id changes nothing.
///
/// # Errors
/// When a statement fails.
pub async fn take(tx: &mut Tx, hold: &Hold) -> Result<Taken, Error> {
    let row = sqlx::query!(
        r#"-- holds::take
        UPDATE billing.run_accounts AS r
        SET held_pico = held_pico + $2
        WHERE run_id = $1
            AND credential_hash = $3
            AND closed_at IS NULL
            AND expires_at > now()
            AND $2 <= budget_pico - spent_pico - held_pico
            AND NOT EXISTS (SELECT FROM billing.holds h WHERE h.id = $4)
        RETURNING budget_pico, spent_pico, held_pico"#,
        hold.run_id,
        hold.amount.0,
        hold.credential_hash.as_slice(),
        hold.id,
    )
    .fetch_optional(tx.connection())
    .await?;
    let Some(row) = row else {
        return not_taken(tx, hold).await;
    };
    sqlx::query!(
        "-- holds::take insert
        INSERT INTO billing.holds (id, run_id, amount_pico, model, provider, expires_at)
        VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))",
        hold.id,
        hold.run_id,
        hold.amount.0,
        hold.model,
        hold.provider,
        hold.lease.as_secs_f64(),
    )
    .execute(tx.connection())
    .await?;
    Ok(Taken::Held(balance(row.budget_pico, row.spent_pico, row.held_pico)))
}

async fn not_taken(tx: &mut Tx, hold: &Hold) -> Result<Taken, Error> {
    let row = sqlx::query!(
        r#"-- holds::take why
        SELECT budget_pico, spent_pico, held_pico,
            EXISTS (SELECT FROM billing.holds h WHERE h.id = $3) AS "held!",
            (closed_at IS NULL AND expires_at > now()) AS "open!"
        FROM billing.run_accounts
        WHERE run_id = $1 AND credential_hash = $2"#,
        hold.run_id,
        hold.credential_hash.as_slice(),
        hold.id,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(match row {
        Some(row) if row.held => Taken::Held(balance(row.budget_pico, row.spent_pico, row.held_pico)),
        Some(row) if row.open => Taken::Short(balance(row.budget_pico, row.spent_pico, row.held_pico)),
        _ => Taken::Ended,
    })
}

/// Keeps a hold for `lease` from now on. False when it is not there any more.
///
/// # Errors
/// When the statement fails.
pub async fn renew(tx: &mut Tx, id: Uuid, lease: Duration) -> Result<bool, Error> {
    let renewed = sqlx::query!(
        "-- holds::renew
        UPDATE billing.holds SET expires_at = now() + make_interval(secs => $2) WHERE id = $1",
        id,
        lease.as_secs_f64(),
    )
    .execute(tx.connection())
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Gives a hold back; `None` when it is not there (any more).
///
/// # Errors
/// When a statement fails.
pub async fn release(tx: &mut Tx, id: Uuid) -> Result<Option<Balance>, Error> {
    let row = sqlx::query!(
        "-- holds::release
        WITH gone AS (DELETE FROM billing.holds WHERE id = $1 RETURNING run_id, amount_pico)
        UPDATE billing.run_accounts AS r
        SET held_pico = r.held_pico - gone.amount_pico
        FROM gone
        WHERE r.run_id = gone.run_id
        RETURNING r.budget_pico, r.spent_pico, r.held_pico",
        id,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row.map(|row| balance(row.budget_pico, row.spent_pico, row.held_pico)))
}

/// Replaces the hold by what the call cost. Doing it again changes nothing.
///
/// # Errors
/// When a statement fails.
pub async fn settle(tx: &mut Tx, charge: &Charge) -> Result<Settled, Error> {
    let gone = sqlx::query!(
        "-- holds::settle
        DELETE FROM billing.holds
        WHERE id = $1
        RETURNING run_id, amount_pico",
        charge.id,
    )
    .fetch_optional(tx.connection())
    .await?;
    match gone {
        Some(gone) => Ok(Settled::Now(
            usage::charge(tx, gone.run_id, PicoUsd(gone.amount_pico), charge).await?,
        )),
        None if usage::exists(tx, charge.id).await? => Ok(Settled::Before),
        None => Ok(Settled::Unknown),
    }
}

/// Charges up to `limit` expired holds whole, flagged: the process that took them did not come back.
///
/// # Errors
/// When a statement fails.
pub async fn sweep(tx: &mut Tx, limit: i64) -> Result<Vec<Swept>, Error> {
    let mut expired = sqlx::query!(
        "-- holds::sweep
        DELETE FROM billing.holds
        WHERE id IN (
            SELECT id
            FROM billing.holds
            WHERE expires_at <= now()
            ORDER BY expires_at
            LIMIT $1
            FOR UPDATE SKIP LOCKED
        )
        RETURNING id, run_id, amount_pico, model, provider",
        limit,
    )
    .fetch_all(tx.connection())
    .await?;
    // Everybody locks runs in the same order.
    expired.sort_by_key(|row| row.run_id);
    let mut swept = Vec::with_capacity(expired.len());
    for row in expired {
        let amount = PicoUsd(row.amount_pico);
        let charge = Charge {
            cost: amount,
            flags: vec![Flag::UsageLost, Flag::ExpiredHold],
            ..Charge::nothing(row.id, row.provider, row.model)
        };
        usage::charge(tx, row.run_id, amount, &charge).await?;
        swept.push(Swept {
            id: row.id,
            run_id: row.run_id,
            amount,
        });
    }
    Ok(swept)
}

/// Whether a call of any run of this contract or gig is under way.
///
/// # Errors
/// When the query fails.
pub async fn any_of(tx: &mut Tx, subject_id: Uuid) -> Result<bool, Error> {
    let any = sqlx::query_scalar!(
        r#"-- holds::any_of
        SELECT EXISTS (
            SELECT FROM billing.holds h JOIN billing.run_accounts r ON r.run_id = h.run_id WHERE r.subject_id = $1
        ) AS "any!""#,
        subject_id,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(any)
}

pub(crate) fn balance(budget: i64, spent: i64, held: i64) -> Balance {
    Balance {
        budget: PicoUsd(budget),
        spent: PicoUsd(spent),
        held: PicoUsd(held),
    }
}
