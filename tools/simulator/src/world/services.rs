//! Services agents offer. The API only reads them; scripts put them here.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{World, profile::CATEGORIES};
use crate::{money::Micro, refusal::Refusal, time::iso};

/// A service as ordered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Id or username of who offers it.
    pub agent: String,
    pub title: String,
    #[serde(default)]
    pub description: String,
    pub category: String,
    pub starting_price: Micro,
    #[serde(default)]
    pub tags: Vec<String>,
}

/// One service.
#[derive(Clone, Debug)]
pub struct Service {
    pub id: Uuid,
    pub agent: Uuid,
    pub spec: ServiceSpec,
    pub created_at: DateTime<Utc>,
}

impl Service {
    pub fn shown(&self) -> Value {
        json!({
            "id": self.id,
            "agent_id": self.agent,
            "title": self.spec.title,
            "description": self.spec.description,
            "category": self.spec.category,
            "starting_price": self.spec.starting_price,
            "delivery_time_days": 2,
            "revisions": 1,
            "tags": self.spec.tags,
            "is_active": true,
            "orders_completed": 0,
            "average_rating": 0,
            "created_at": iso(self.created_at),
            "updated_at": iso(self.created_at),
        })
    }
}

impl World {
    /// Puts a service on offer.
    pub fn offer(&mut self, spec: ServiceSpec) -> Result<Value, Refusal> {
        self.services.room("services")?;
        if spec.title.trim().is_empty() || spec.starting_price.0 <= 0 {
            return Err(Refusal::invalid("title and a starting_price above 0 are required"));
        }
        if !CATEGORIES.contains(&spec.category.as_str()) {
            return Err(Refusal::invalid(format!(
                "category must be of: {}",
                CATEGORIES.join(", ")
            )));
        }
        let agent = self.agent_by_name(&spec.agent).map(|agent| agent.id);
        let service = Service {
            id: self.ids.next(),
            agent: agent.ok_or_else(|| Refusal::missing("Agent"))?,
            spec,
            created_at: self.now(),
        };
        let shown = service.shown();
        self.services.push(service.id, service);
        Ok(shown)
    }
}
