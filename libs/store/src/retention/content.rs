//! What was said and done about contracts that are closed and booked, and what came to nothing.
//!
//! Contracts themselves, their totals and everything in the books stay. Each statement leaves alone what something live
//! refers to, and looks at the oldest rows first by an index of their age.

use std::collections::HashSet;

use sqlx::PgConnection;

use crate::{Error, Store};

/// A folder of the object store whose objects are named in rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Files of runs.
    Artefacts,
    /// Agent versions.
    Bundles,
    /// What clients sent.
    Inputs,
}

/// Closed effects; one whose successor is open stays.
pub(super) async fn effects(connection: &mut PgConnection, secs: f64, batch: i64) -> Result<u64, Error> {
    let removed = sqlx::query!(
        "-- retention::effects
        DELETE FROM scheduler.effects
        WHERE id IN (
            SELECT e.id FROM scheduler.effects AS e
            WHERE e.state IN ('done', 'refused', 'cancelled') AND e.dead_reason IS NULL
              AND e.updated_at < now() - make_interval(secs => $1)
              AND scheduler.is_history(e.contract_id, now() - make_interval(secs => $1))
              AND NOT EXISTS (
                  SELECT FROM scheduler.effects AS s
                  WHERE s.after_id = e.id AND s.state NOT IN ('done', 'refused', 'cancelled'))
            ORDER BY e.updated_at LIMIT $2)",
        secs,
        batch,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// Files of finished runs; their bytes go when no row names them any more.
pub(super) async fn artefacts(connection: &mut PgConnection, secs: f64, batch: i64) -> Result<u64, Error> {
    let removed = sqlx::query!(
        "-- retention::artefacts
        DELETE FROM scheduler.artefacts
        WHERE (run_id, attempt, name) IN (
            SELECT a.run_id, a.attempt, a.name
            FROM scheduler.artefacts AS a
            JOIN scheduler.runs AS r ON r.id = a.run_id
            WHERE a.created_at < now() - make_interval(secs => $1) AND r.finished_at IS NOT NULL
              AND scheduler.is_history(r.contract_id, now() - make_interval(secs => $1))
            ORDER BY a.created_at LIMIT $2)",
        secs,
        batch,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// Finished runs without files, events and effects.
pub(super) async fn runs(connection: &mut PgConnection, secs: f64, batch: i64) -> Result<u64, Error> {
    let removed = sqlx::query!(
        "-- retention::runs
        DELETE FROM scheduler.runs
        WHERE id IN (
            SELECT r.id FROM scheduler.runs AS r
            WHERE r.finished_at < now() - make_interval(secs => $1)
              AND scheduler.is_history(r.contract_id, now() - make_interval(secs => $1))
              AND NOT EXISTS (SELECT FROM scheduler.run_events AS v WHERE v.run_id = r.id)
              AND NOT EXISTS (SELECT FROM scheduler.artefacts AS a WHERE a.run_id = r.id)
              AND NOT EXISTS (SELECT FROM scheduler.effects AS e WHERE e.run_id = r.id)
            ORDER BY r.finished_at LIMIT $2)",
        secs,
        batch,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// Threads.
pub(super) async fn messages(connection: &mut PgConnection, secs: f64, batch: i64) -> Result<u64, Error> {
    let removed = sqlx::query!(
        "-- retention::messages
        DELETE FROM scheduler.messages
        WHERE id IN (
            SELECT m.id FROM scheduler.messages AS m
            WHERE m.at < now() - make_interval(secs => $1)
              AND scheduler.is_history(m.contract_id, now() - make_interval(secs => $1))
            ORDER BY m.at LIMIT $2)",
        secs,
        batch,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// Timelines.
pub(super) async fn contract_events(connection: &mut PgConnection, secs: f64, batch: i64) -> Result<u64, Error> {
    let removed = sqlx::query!(
        "-- retention::contract_events
        DELETE FROM scheduler.contract_events
        WHERE id IN (
            SELECT v.id FROM scheduler.contract_events AS v
            WHERE v.at < now() - make_interval(secs => $1)
              AND scheduler.is_history(v.contract_id, now() - make_interval(secs => $1))
            ORDER BY v.at LIMIT $2)",
        secs,
        batch,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// Proposals that were skipped, only watched, refused or withdrawn.
pub(super) async fn proposals(connection: &mut PgConnection, secs: f64, batch: i64) -> Result<u64, Error> {
    let removed = sqlx::query!(
        "-- retention::proposals
        DELETE FROM scheduler.proposals
        WHERE id IN (
            SELECT p.id FROM scheduler.proposals AS p
            WHERE (p.state IN ('skipped', 'rejected', 'withdrawn') OR (p.state = 'considered' AND p.reason = 'shadow'))
              AND p.updated_at < now() - make_interval(secs => $1)
              AND NOT EXISTS (SELECT FROM scheduler.contracts AS c WHERE c.proposal_id = p.id)
              AND NOT EXISTS (SELECT FROM scheduler.effects AS e WHERE e.gig_id = p.gig_id AND e.kind = 'propose')
            ORDER BY p.updated_at LIMIT $2)",
        secs,
        batch,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// Gigs that nothing refers to.
pub(super) async fn gigs(connection: &mut PgConnection, secs: f64, batch: i64) -> Result<u64, Error> {
    let removed = sqlx::query!(
        "-- retention::gigs
        DELETE FROM scheduler.gigs
        WHERE id IN (
            SELECT g.id FROM scheduler.gigs AS g
            WHERE g.first_seen_at < now() - make_interval(secs => $1)
              AND NOT EXISTS (SELECT FROM scheduler.proposals AS p WHERE p.gig_id = g.id)
              AND NOT EXISTS (SELECT FROM scheduler.contracts AS c WHERE c.gig_id = g.id)
              AND NOT EXISTS (SELECT FROM scheduler.runs AS r WHERE r.gig_id = g.id)
              AND NOT EXISTS (SELECT FROM scheduler.effects AS e WHERE e.gig_id = g.id)
            ORDER BY g.first_seen_at LIMIT $2)",
        secs,
        batch,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// Versions no agent has now and no kept run had.
pub(super) async fn bundles(connection: &mut PgConnection, secs: f64, batch: i64) -> Result<u64, Error> {
    let removed = sqlx::query!(
        "-- retention::bundles
        DELETE FROM scheduler.bundles
        WHERE sha256 IN (
            SELECT b.sha256 FROM scheduler.bundles AS b
            WHERE b.added_at < now() - make_interval(secs => $1)
              AND NOT EXISTS (SELECT FROM scheduler.agents AS a WHERE a.version = b.sha256)
              AND NOT EXISTS (SELECT FROM scheduler.runs AS r WHERE r.version = b.sha256)
            ORDER BY b.added_at LIMIT $2)
          -- Looked at again on the locked row: it may have been added anew meanwhile.
          AND added_at < now() - make_interval(secs => $1)",
        secs,
        batch,
    )
    .execute(connection)
    .await?;
    Ok(removed.rows_affected())
}

/// Which of these objects a row names.
///
/// # Errors
/// When the query fails.
pub async fn referenced(store: &Store, kept: Kept, sha256: &[String]) -> Result<HashSet<String>, Error> {
    let named = match kept {
        Kept::Artefacts => {
            sqlx::query_scalar!(
                "-- retention::referenced
                SELECT sha256 AS \"sha256!\" FROM scheduler.artefacts WHERE sha256 = ANY($1)
                UNION
                SELECT file->>'sha256'
                FROM scheduler.runs AS r
                CROSS JOIN LATERAL jsonb_array_elements(
                    CASE jsonb_typeof(r.checkpoint->'files') WHEN 'array' THEN r.checkpoint->'files' ELSE '[]' END) AS file
                WHERE r.finished_at IS NULL AND file->>'sha256' = ANY($1)",
                sha256,
            )
            .fetch_all(&store.pool)
            .await?
        }
        Kept::Inputs => {
            sqlx::query_scalar!(
                "-- retention::referenced
                SELECT DISTINCT file ->> 'sha256' AS \"sha256!\"
                FROM scheduler.messages AS m
                CROSS JOIN LATERAL jsonb_array_elements(m.attachments) AS file
                WHERE m.attachments <> '[]' AND file ->> 'sha256' = ANY($1)",
                sha256,
            )
            .fetch_all(&store.pool)
            .await?
        }
        Kept::Bundles => {
            sqlx::query_scalar!(
                "-- retention::referenced
                SELECT sha256 FROM scheduler.bundles WHERE sha256 = ANY($1)",
                sha256,
            )
            .fetch_all(&store.pool)
            .await?
        }
    };
    Ok(named.into_iter().collect())
}
