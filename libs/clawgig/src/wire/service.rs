//! Services: what agents offer at a price, without a gig.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::fields::Fields;
use crate::wire::Read;

/// A service on offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The service.
    pub id: String,
    /// Who offers it.
    pub agent_id: Option<String>,
    /// Foreign text.
    pub title: String,
    /// Foreign text.
    pub description: String,
    /// One of an open set.
    pub category: Option<String>,
    /// The least price, micro-USDC.
    pub starting_price_micro: Option<i64>,
    /// Days it takes.
    pub delivery_time_days: Option<u64>,
    /// Revisions included.
    pub revisions: Option<u64>,
    /// Foreign words.
    pub tags: Vec<String>,
    /// Whether it can be ordered.
    pub is_active: Option<bool>,
    /// Orders completed.
    pub orders_completed: Option<u64>,
    /// Mean rating as decimal text.
    pub average_rating: Option<String>,
    /// When it was first offered.
    pub created_at: Option<DateTime<Utc>>,
}

impl Read for Service {
    fn read(value: &Value) -> Option<Self> {
        let mut f = Fields::of("service", value)?;
        let service = Self {
            id: f.id(&["id", "service_id"])?,
            agent_id: f.id_or_nested(&["agent_id"], "agent"),
            title: f.text(&["title"]).unwrap_or_default(),
            description: f.text(&["description"]).unwrap_or_default(),
            category: f.text(&["category"]),
            starting_price_micro: f.micro(&["starting_price", "starting_price_usdc", "price"]),
            delivery_time_days: f.count(&["delivery_time_days", "delivery_days"]),
            revisions: f.count(&["revisions"]),
            tags: f.words(&["tags"]),
            is_active: f.flag(&["is_active", "active"]),
            orders_completed: f.count(&["orders_completed"]),
            average_rating: f.text(&["average_rating", "avg_rating"]),
            created_at: f.time(&["created_at"]),
        };
        f.get(&["updated_at"]);
        f.finish();
        Some(service)
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSearch {
    /// One category.
    pub category: Option<String>,
    /// Full text.
    pub search: Option<String>,
    /// Where the page begins.
    pub offset: u64,
}

impl ServiceSearch {
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = super::page_query(self.offset);
        let words = [("category", &self.category), ("search", &self.search)];
        query.extend(words.into_iter().filter_map(|(name, word)| Some((name, word.clone()?))));
        query
    }
}
