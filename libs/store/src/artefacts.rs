//! Files that runs produced: names and hashes here, bytes in the object store.

use uuid::Uuid;

use crate::{Error, Store, Tx};

/// Files of several runs read at once.
const MOST_DELIVERED: i64 = 2_000;

/// One file of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// Path below out/.
    pub name: String,
    /// Of its bytes, hex.
    pub sha256: String,
    /// Size.
    pub bytes: i64,
    /// Media type.
    pub media_type: String,
    /// Where the marketplace keeps it, once uploaded.
    pub url: Option<String>,
    /// What it holds that looks like a secret, in words.
    pub secret: Option<String>,
}

/// Keeps one file of an attempt; the last upload of a name wins.
///
/// # Errors
/// When the insert fails.
pub async fn put(tx: &mut Tx, run: Uuid, attempt: i32, artefact: &Artefact) -> Result<(), Error> {
    sqlx::query!(
        "-- artefacts::put
        INSERT INTO scheduler.artefacts (run_id, attempt, name, sha256, bytes, media_type, secret)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (run_id, attempt, name)
        DO UPDATE SET sha256 = EXCLUDED.sha256, bytes = EXCLUDED.bytes, media_type = EXCLUDED.media_type,
                      secret = EXCLUDED.secret",
        run,
        attempt,
        artefact.name,
        artefact.sha256,
        artefact.bytes,
        artefact.media_type,
        artefact.secret,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Which of these objects a run sent up itself, in any attempt.
///
/// # Errors
/// When the query fails.
pub async fn sent_up(tx: &mut Tx, run: Uuid, hashes: &[String]) -> Result<Vec<String>, Error> {
    let known = sqlx::query_scalar!(
        "-- artefacts::sent_up
        SELECT DISTINCT sha256 FROM scheduler.artefacts WHERE run_id = $1 AND sha256 = ANY($2)",
        run,
        hashes,
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(known)
}

/// Files of one attempt, by name.
///
/// # Errors
/// When the query fails.
pub async fn of_attempt(tx: &mut Tx, run: Uuid, attempt: i32) -> Result<Vec<Artefact>, Error> {
    let artefacts = sqlx::query_as!(
        Artefact,
        "-- artefacts::of_attempt
        SELECT name, sha256, bytes, media_type, url, secret FROM scheduler.artefacts
        WHERE run_id = $1 AND attempt = $2 ORDER BY name",
        run,
        attempt,
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(artefacts)
}

/// Files of a run's last attempt that has any, by name.
///
/// # Errors
/// When the query fails.
pub async fn of_run(store: &Store, run: Uuid) -> Result<Vec<Artefact>, Error> {
    let artefacts = sqlx::query_as!(
        Artefact,
        "-- artefacts::of_run
        SELECT name, sha256, bytes, media_type, url, secret FROM scheduler.artefacts
        WHERE run_id = $1 AND attempt = (SELECT MAX(attempt) FROM scheduler.artefacts WHERE run_id = $1)
        ORDER BY name",
        run,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(artefacts)
}

/// What these runs deliver, by run and name: of the attempt that succeeded, what its result names.
///
/// # Errors
/// When the query fails.
pub async fn delivered(store: &Store, runs: &[Uuid]) -> Result<Vec<(Uuid, Artefact)>, Error> {
    let rows = sqlx::query!(
        "-- artefacts::delivered
        SELECT a.run_id, a.name, a.sha256, a.bytes, a.media_type, a.url, a.secret
        FROM scheduler.artefacts AS a
        JOIN scheduler.runs AS r ON r.id = a.run_id AND r.attempt = a.attempt
        WHERE a.run_id = ANY($1) AND r.result -> 'files' ? a.name
        ORDER BY a.run_id, a.name
        LIMIT $2",
        runs,
        MOST_DELIVERED,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let artefact = Artefact {
                name: row.name,
                sha256: row.sha256,
                bytes: row.bytes,
                media_type: row.media_type,
                url: row.url,
                secret: row.secret,
            };
            (row.run_id, artefact)
        })
        .collect())
}

/// Notes where the marketplace keeps a file, for every attempt of the run that has the same bytes under this name.
///
/// # Errors
/// When the update fails.
pub async fn set_url(tx: &mut Tx, run: Uuid, name: &str, sha256: &str, url: &str) -> Result<(), Error> {
    sqlx::query!(
        "-- artefacts::set_url
        UPDATE scheduler.artefacts SET url = $4 WHERE run_id = $1 AND name = $2 AND sha256 = $3",
        run,
        name,
        sha256,
        url,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// What was delivered before a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The revision it was.
    pub revision_no: i32,
    /// The agent's notes to it.
    pub notes: String,
    /// Its files, by name.
    pub files: Vec<Artefact>,
}

/// The last delivery of a contract before a revision, as its run's result named it; `None` when no run of ours made one.
///
/// # Errors
/// When a query fails.
pub async fn delivered_before(store: &Store, contract: Uuid, revision_no: i32) -> Result<Option<Delivery>, Error> {
    let run = sqlx::query!(
        r#"-- artefacts::delivered_before
        SELECT id, revision_no, COALESCE(result ->> 'notes', '') AS "notes!"
        FROM scheduler.runs
        WHERE contract_id = $1 AND revision_no < $2 AND state = 'succeeded' AND kind IN ('work', 'revise')
        ORDER BY revision_no DESC
        LIMIT 1"#,
        contract,
        revision_no,
    )
    .fetch_optional(&store.pool)
    .await?;
    let Some(run) = run else { return Ok(None) };
    // Files of a checkpoint are kept too, but only what the result names was delivered.
    let files = sqlx::query_as!(
        Artefact,
        "-- artefacts::delivered_before, files
        SELECT a.name, a.sha256, a.bytes, a.media_type, a.url, a.secret
        FROM scheduler.artefacts a
        JOIN scheduler.runs r ON r.id = a.run_id AND r.attempt = a.attempt
        WHERE r.id = $1 AND r.result -> 'files' ? a.name
        ORDER BY a.name",
        run.id,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(Some(Delivery {
        revision_no: run.revision_no,
        notes: run.notes,
        files,
    }))
}
