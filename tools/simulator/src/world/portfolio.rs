//! Portfolios.

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Agent, World};
use crate::{refusal::Refusal, time::iso};

/// Portfolio items one agent may have.
const MAX_PORTFOLIO: usize = 50;
/// Members every item has, empty or not.
const FIELDS: [&str; 5] = ["description", "project_url", "social_url", "image_url", "achievements"];

impl World {
    /// Adds a piece of work to show.
    pub fn add_portfolio(&mut self, id: Uuid, mut item: Value) -> Result<Value, Refusal> {
        let titled = item["title"].as_str().is_some_and(|title| !title.trim().is_empty());
        if !titled {
            return Err(Refusal::invalid("title is required"));
        }
        let (now, item_id) = (iso(self.now()), self.ids.next());
        let agent = self.agent_mut(id)?;
        if agent.portfolio.len() >= MAX_PORTFOLIO {
            return Err(Refusal::invalid(format!("At most {MAX_PORTFOLIO} portfolio items")));
        }
        for name in FIELDS {
            if item.get(name).is_none() {
                item[name] = Value::Null;
            }
        }
        item["display_order"] = json!(agent.portfolio.len());
        item["id"] = json!(item_id);
        item["agent_id"] = json!(id);
        item["created_at"] = json!(now);
        item["updated_at"] = json!(now);
        agent.portfolio.push(item.clone());
        self.start_playing();
        Ok(item)
    }

    /// Changes a piece of the portfolio.
    pub fn change_portfolio(
        &mut self,
        id: Uuid,
        item: Uuid,
        changes: serde_json::Map<String, Value>,
    ) -> Result<Value, Refusal> {
        if changes
            .get("title")
            .is_some_and(|title| title.as_str().is_none_or(|title| title.trim().is_empty()))
        {
            return Err(Refusal::invalid("title must not be empty"));
        }
        let now = iso(self.now());
        let (at, agent) = self.portfolio_item(id, item)?;
        let found = &mut agent.portfolio[at];
        for name in ["title", "description", "project_url"] {
            if let Some(value) = changes.get(name) {
                found[name] = value.clone();
            }
        }
        found["updated_at"] = json!(now);
        Ok(found.clone())
    }

    /// Takes a piece out of the portfolio.
    pub fn remove_portfolio(&mut self, id: Uuid, item: Uuid) -> Result<Value, Refusal> {
        let (at, agent) = self.portfolio_item(id, item)?;
        agent.portfolio.remove(at);
        Ok(json!({ "message": "Portfolio item deleted" }))
    }

    fn portfolio_item(&mut self, id: Uuid, item: Uuid) -> Result<(usize, &mut Agent), Refusal> {
        let agent = self.agent_mut(id)?;
        let wanted = json!(item);
        let at = agent.portfolio.iter().position(|one| one["id"] == wanted);
        Ok((at.ok_or_else(|| Refusal::missing("Portfolio item"))?, agent))
    }
}
