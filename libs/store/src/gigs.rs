//! Gigs seen on the marketplace, each kept once per agent.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use domain::money::MicroUsdc;
use uuid::Uuid;

use crate::{Error, Store, Tx};

mod list;

pub use list::{Filter, Listed, list, shown};

/// What is known of a gig.
#[derive(Debug, Clone, Default)]
pub struct NewGig {
    /// Whose door it came through.
    pub agent: String,
    /// The marketplace's id.
    pub external_id: String,
    /// Foreign text.
    pub title: String,
    /// Foreign text.
    pub description: String,
    /// The marketplace's category; may be empty.
    pub category: String,
    /// Skills the client wants.
    pub skills: Vec<String>,
    /// The client's budget.
    pub budget: Option<MicroUsdc>,
    /// When it has to be done.
    pub deadline: Option<DateTime<Utc>>,
    /// Who posted it.
    pub client_name: Option<String>,
    /// What is to be delivered, foreign text.
    pub deliverables: Option<String>,
}

/// One gig.
#[derive(Debug, Clone)]
pub struct Gig {
    /// Ours.
    pub id: Uuid,
    /// Whose.
    pub agent: String,
    /// The marketplace's id.
    pub external_id: String,
    /// Foreign text.
    pub title: String,
    /// Foreign text.
    pub description: String,
    /// The marketplace's category.
    pub category: String,
    /// Skills the client wants.
    pub skills: Vec<String>,
    /// The client's budget, micro-USDC.
    pub budget_micro: Option<i64>,
    /// When it has to be done.
    pub deadline: Option<DateTime<Utc>>,
    /// Who posted it.
    pub client_name: Option<String>,
    /// What is to be delivered, foreign text.
    pub deliverables: Option<String>,
    /// When we first heard of it.
    pub first_seen_at: DateTime<Utc>,
}

impl From<Gig> for NewGig {
    /// What is known of it, as it was told.
    fn from(gig: Gig) -> Self {
        Self {
            agent: gig.agent,
            external_id: gig.external_id,
            title: gig.title,
            description: gig.description,
            category: gig.category,
            skills: gig.skills,
            budget: gig.budget_micro.map(MicroUsdc),
            deadline: gig.deadline,
            client_name: gig.client_name,
            deliverables: gig.deliverables,
        }
    }
}

/// Keeps a gig, once. A repeat fills in what was not known; it overwrites nothing. Answers the id and whether it is new.
///
/// # Errors
/// When the insert fails.
pub async fn put(tx: &mut Tx, new: &NewGig) -> Result<(Uuid, bool), Error> {
    let row = sqlx::query!(
        r#"-- gigs::put
        INSERT INTO scheduler.gigs AS known
            (id, agent, external_id, title, description, category, skills, budget_micro, deadline, client_name,
             deliverables)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (agent, external_id) DO UPDATE
        SET title = COALESCE(NULLIF(known.title, ''), excluded.title),
            description = COALESCE(NULLIF(known.description, ''), excluded.description),
            category = COALESCE(NULLIF(known.category, ''), excluded.category),
            skills = CASE WHEN known.skills = '{}' THEN excluded.skills ELSE known.skills END,
            budget_micro = COALESCE(known.budget_micro, excluded.budget_micro),
            deadline = COALESCE(known.deadline, excluded.deadline),
            client_name = COALESCE(known.client_name, excluded.client_name),
            deliverables = COALESCE(known.deliverables, excluded.deliverables)
        RETURNING id, (xmax = 0) AS "fresh!""#,
        Uuid::now_v7(),
        new.agent,
        new.external_id,
        new.title,
        new.description,
        new.category,
        &new.skills,
        new.budget.map(|budget| budget.0),
        new.deadline,
        new.client_name,
        new.deliverables,
    )
    .fetch_one(tx.connection())
    .await?;
    Ok((row.id, row.fresh))
}

/// One gig.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn get(store: &Store, id: Uuid) -> Result<Gig, Error> {
    let row = sqlx::query_as!(
        Gig,
        "-- gigs::get
        SELECT id, agent, external_id, title, description, category, skills, budget_micro, deadline, client_name,
               deliverables, first_seen_at
        FROM scheduler.gigs
        WHERE id = $1",
        id,
    )
    .fetch_optional(&store.pool)
    .await?;
    row.ok_or_else(|| Error::NotFound {
        what: "gig",
        key: id.to_string(),
    })
}

/// One gig, as a transaction sees it.
///
/// # Errors
/// [`Error::NotFound`] when there is none.
pub async fn read(tx: &mut Tx, id: Uuid) -> Result<Gig, Error> {
    let row = sqlx::query_as!(
        Gig,
        "-- gigs::read
        SELECT id, agent, external_id, title, description, category, skills, budget_micro, deadline, client_name,
               deliverables, first_seen_at
        FROM scheduler.gigs
        WHERE id = $1",
        id,
    )
    .fetch_optional(tx.connection())
    .await?;
    row.ok_or_else(|| Error::NotFound {
        what: "gig",
        key: id.to_string(),
    })
}

/// Which of these gigs of the marketplace were decided on.
///
/// # Errors
/// When the query fails.
pub async fn decided(store: &Store, agent: &str, external_ids: &[String]) -> Result<HashSet<String>, Error> {
    let decided = sqlx::query_scalar!(
        "-- gigs::decided
        SELECT g.external_id
        FROM scheduler.gigs AS g
        JOIN scheduler.proposals AS p ON p.gig_id = g.id
        WHERE g.agent = $1 AND g.external_id = ANY($2)",
        agent,
        external_ids,
    )
    .fetch_all(&store.pool)
    .await?;
    Ok(decided.into_iter().collect())
}

/// A gig by the marketplace's id, with what a contract made from it needs: our id, title and deadline.
///
/// # Errors
/// When the query fails.
pub async fn find(tx: &mut Tx, agent: &str, external_id: &str) -> Result<Option<Gig>, Error> {
    let row = sqlx::query_as!(
        Gig,
        "-- gigs::find
        SELECT id, agent, external_id, title, description, category, skills, budget_micro, deadline, client_name,
               deliverables, first_seen_at
        FROM scheduler.gigs
        WHERE agent = $1 AND external_id = $2",
        agent,
        external_id,
    )
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}
