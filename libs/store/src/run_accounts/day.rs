//! What one agent spent today, and what its runs may still spend.

use domain::{
    day::Day,
    money::{MicroUsd, PicoUsd},
};

use super::Opening;
use crate::{Error, Tx};

/// Sums end here, far from the end of 64 bits.
const MOST_PICO: i64 = i64::MAX / 4;

/// Waits until nobody else opens a run of this agent; holds until the transaction ends.
pub(super) async fn queue_up(tx: &mut Tx, agent: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- day::queue_up
        SELECT pg_advisory_xact_lock(hashtext('billing.run_accounts'), hashtext($1))",
        agent,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The agent's day, as the run that is opened finds it. One statement, so that money on its way from held to spent is
/// seen once. The run's own account counts only with what it spent: what is left on it is given anew.
pub(super) async fn of(tx: &mut Tx, opening: &Opening, limit: MicroUsd) -> Result<Day, Error> {
    let row = sqlx::query!(
        r#"-- day::of
        SELECT
            LEAST((SELECT COALESCE(SUM(u.cost_pico), 0)
                FROM billing.usage u
                WHERE u.agent = $1 AND u.at >= date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
            ), $3::BIGINT)::BIGINT AS "spent!",
            LEAST((SELECT COALESCE(SUM(GREATEST(r.budget_pico - r.spent_pico, r.held_pico)), 0)
                FROM billing.run_accounts r
                WHERE r.agent = $1 AND r.run_id <> $2 AND r.closed_at IS NULL AND r.expires_at > now()
            ), $3::BIGINT)::BIGINT AS "open!",
            -- Calls under way outlive the rights they began under.
            LEAST((SELECT COALESCE(SUM(h.amount_pico), 0)
                FROM billing.holds h
                JOIN billing.run_accounts r ON r.run_id = h.run_id
                WHERE r.agent = $1 AND r.run_id <> $2 AND (r.closed_at IS NOT NULL OR r.expires_at <= now())
            ), $3::BIGINT)::BIGINT AS "under_way!""#,
        opening.agent,
        opening.run_id,
        MOST_PICO,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok(Day {
        limit,
        spent: PicoUsd(row.spent),
        promised: PicoUsd(row.open + row.under_way),
    })
}
