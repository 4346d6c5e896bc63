//! Taking effects to send them, under a lease judged by Postgres' clock.

use std::time::Duration;

use domain::effect::{Kind, Repeat, State};
use uuid::Uuid;

use super::{Effect, millis, read};
use crate::{Error, Store, Tx};

/// Due effects of one agent and kind that are looked at together.
const MOST_OF_KIND: i64 = 16;
/// Due for this long and not tried: somebody is away.
const LONG_DUE: Duration = Duration::from_secs(600);

/// Something the courier might do now.
#[derive(Debug, Clone)]
pub struct Due {
    /// Which.
    pub id: Uuid,
    /// Whose: the request budget is per agent.
    pub agent: String,
    /// What.
    pub kind: Kind,
    /// `Pending` (to be sent) or `Unknown` (to be verified).
    pub state: State,
}

/// What is due, most important first; what waited long counts as more important. Of each agent and kind only the first
/// few, so that nobody's backlog hides what others wait for; none of whom has to wait for more than seconds. Takes nothing:
/// [`begin`] does.
///
/// # Errors
/// When the query fails.
pub async fn due(store: &Store, limit: i64) -> Result<Vec<Due>, Error> {
    let kinds = Kind::ALL.map(|kind| kind.name().to_owned());
    let patience = Kind::ALL.map(|kind| kind.patience().as_secs_f64());
    let rows = sqlx::query!(
        r#"-- effects::due
        WITH ranked AS (
            SELECT e.id, e.agent, e.kind, e.state, e.not_before,
                   e.priority + LEAST(
                       10 * LEAST(FLOOR(EXTRACT(EPOCH FROM now() - e.not_before) / known.patience), 10)::int,
                       GREATEST($4 - e.priority, 0)) AS rank
            FROM scheduler.effects e JOIN UNNEST($2::text[], $3::float8[]) AS known (kind, patience) USING (kind)
            WHERE e.state IN ('pending', 'unknown') AND e.dead_reason IS NULL AND e.not_before <= now()
              AND (e.kind = 'settle' OR NOT EXISTS (
                  SELECT FROM scheduler.api_budget b
                  WHERE b.key = e.agent
                    AND (b.stopped_reason IS NOT NULL
                         OR GREATEST(b.blocked_until, b.open_until) > now() + INTERVAL '5 seconds')))
        ), best AS (
            SELECT *, row_number() OVER (PARTITION BY agent, kind ORDER BY rank DESC, not_before) AS place FROM ranked
        )
        SELECT id AS "id!", agent AS "agent!", kind AS "kind!", state AS "state!" FROM best
        WHERE place <= $5
        ORDER BY rank DESC, not_before
        LIMIT $1"#,
        limit,
        &kinds[..],
        &patience[..],
        domain::effect::MOST_AGED,
        MOST_OF_KIND,
    )
    .fetch_all(&store.pool)
    .await?;
    let known = rows.into_iter().filter_map(|row| {
        // A newer release's kind is left to a newer release.
        let kind = Kind::from_name(&row.kind)?;
        Some(Due {
            id: row.id,
            agent: row.agent,
            kind,
            state: State::from_name(&row.state),
        })
    });
    Ok(known.collect())
}

/// Moves a pending effect to `sending` under a fresh lease. `None` when another courier was faster.
/// The caller checks its preconditions in the same transaction, before this.
///
/// # Errors
/// When the update fails.
pub async fn begin(tx: &mut Tx, id: Uuid, lease: Duration) -> Result<Option<Effect>, Error> {
    let token = Uuid::now_v7();
    let taken = sqlx::query!(
        "-- effects::begin
        UPDATE scheduler.effects
        SET state = 'sending', lease_until = now() + $2 * INTERVAL '1 millisecond', lease_token = $3,
            attempts = attempts + 1, updated_at = now(), updated_by = $4
        WHERE id = $1 AND state = 'pending' AND dead_reason IS NULL AND not_before <= now()",
        id,
        millis(lease),
        token,
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    if taken.rows_affected() == 0 {
        return Ok(None);
    }
    read::get_in_tx(tx, id).await.map(Some)
}

/// Takes an unknown effect to verify it; nobody else looks at it for `pause`. `None` when somebody was faster.
///
/// # Errors
/// When the update fails.
pub async fn begin_verifying(tx: &mut Tx, id: Uuid, pause: Duration) -> Result<Option<Effect>, Error> {
    let taken = sqlx::query!(
        "-- effects::begin_verifying
        UPDATE scheduler.effects
        SET not_before = now() + $2 * INTERVAL '1 millisecond', updated_at = now(), updated_by = $3
        WHERE id = $1 AND state = 'unknown' AND dead_reason IS NULL AND not_before <= now()",
        id,
        millis(pause),
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    if taken.rows_affected() == 0 {
        return Ok(None);
    }
    read::get_in_tx(tx, id).await.map(Some)
}

/// Takes all unknown effects of a kind that are due for an agent, oldest first, `limit` at most, as [`begin_verifying`]
/// takes one: one walk through a list may tell of all of them.
///
/// # Errors
/// When the update fails.
pub async fn begin_verifying_all(
    tx: &mut Tx,
    (agent, kind): (&str, Kind),
    limit: i64,
    pause: Duration,
) -> Result<Vec<Effect>, Error> {
    let ids = sqlx::query_scalar!(
        "-- effects::begin_verifying_all
        UPDATE scheduler.effects
        SET not_before = now() + $4 * INTERVAL '1 millisecond', updated_at = now(), updated_by = $5
        WHERE id IN (
            SELECT id FROM scheduler.effects
            WHERE agent = $1 AND kind = $2 AND state = 'unknown' AND dead_reason IS NULL AND not_before <= now()
            ORDER BY created_at LIMIT $3 FOR UPDATE SKIP LOCKED)
        RETURNING id",
        agent,
        kind.name(),
        limit,
        millis(pause),
        tx.name,
    )
    .fetch_all(tx.connection())
    .await?;
    read::of_ids(tx, &ids).await
}

/// Whether the lease is still held with at least `margin` left: asked just before the socket is written.
///
/// # Errors
/// When the query fails.
pub async fn still_leased(store: &Store, id: Uuid, token: Uuid, margin: Duration) -> Result<bool, Error> {
    let held = sqlx::query_scalar!(
        "-- effects::still_leased
        SELECT EXISTS (
            SELECT FROM scheduler.effects
            WHERE id = $1 AND state = 'sending' AND lease_token = $2
              AND lease_until > clock_timestamp() + $3 * INTERVAL '1 millisecond'
        ) AS \"held!\"",
        id,
        token,
        millis(margin),
    )
    .fetch_one(&store.pool)
    .await?;
    Ok(held)
}

/// What was found due and not tried again and again for longer than `patience`: no call could be made, though nobody
/// stopped the key. What is found so for the first time is marked; time in which nobody looked does not count. A hundred
/// at most.
///
/// # Errors
/// When the query fails.
pub async fn overdue(tx: &mut Tx, patience: Duration) -> Result<Vec<Uuid>, Error> {
    sqlx::query!(
        "-- effects::overdue
        UPDATE scheduler.effects SET away_since = now()
        WHERE id IN (
            SELECT id FROM scheduler.effects
            WHERE state IN ('pending', 'unknown') AND dead_reason IS NULL AND away_since IS NULL
              AND not_before < now() - $1 * INTERVAL '1 millisecond'
            ORDER BY not_before
            LIMIT 1000
            FOR UPDATE SKIP LOCKED)",
        millis(LONG_DUE),
    )
    .execute(tx.connection())
    .await?;
    let overdue = sqlx::query_scalar!(
        "-- effects::overdue
        SELECT id FROM scheduler.effects e
        WHERE state IN ('pending', 'unknown') AND dead_reason IS NULL AND not_before < now()
          AND away_since < now() - $1 * INTERVAL '1 millisecond'
          AND NOT EXISTS (
              SELECT FROM scheduler.api_budget b WHERE b.key = e.agent AND b.stopped_reason IS NOT NULL)
        ORDER BY not_before
        LIMIT 100
        FOR UPDATE SKIP LOCKED",
        millis(patience),
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(overdue)
}

/// Takes effects back whose courier died: what may be repeated becomes pending, the rest unknown, to be verified no
/// sooner than `settle` after the lease ended. Answers how many.
///
/// # Errors
/// When the update fails.
pub async fn expire_leases(tx: &mut Tx, settle: Duration) -> Result<u64, Error> {
    let freely: Vec<String> = Kind::ALL
        .into_iter()
        .filter(|kind| kind.repeat() == Repeat::Freely)
        .map(|kind| kind.name().to_owned())
        .collect();
    let expired = sqlx::query!(
        "-- effects::expire_leases
        WITH gone AS (
            SELECT id FROM scheduler.effects
            WHERE state = 'sending' AND lease_until < now()
            ORDER BY lease_until
            LIMIT 200
            FOR UPDATE SKIP LOCKED
        )
        UPDATE scheduler.effects e
        SET state = CASE WHEN e.kind = ANY($1) THEN 'pending' ELSE 'unknown' END,
            maybe_sent_at = e.lease_until,
            not_before = CASE WHEN e.kind = ANY($1) THEN now() ELSE e.lease_until + $2 * INTERVAL '1 millisecond' END,
            absent_reads = 0, lease_until = NULL, lease_token = NULL,
            error = 'the courier stopped while sending', updated_at = now(), updated_by = $3
        FROM gone
        WHERE e.id = gone.id AND e.state = 'sending'",
        &freely,
        millis(settle),
        tx.name,
    )
    .execute(tx.connection())
    .await?;
    Ok(expired.rows_affected())
}
