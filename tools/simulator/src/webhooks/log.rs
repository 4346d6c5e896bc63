//! The log of webhook deliveries, as the platform shows it and as the report counts it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Outcome;
use crate::{ids::Ids, time::iso, world::Event};

/// Deliveries kept; the oldest are forgotten first, sent or not.
const MAX_KEPT: usize = 100_000;

/// One event on its way to one agent.
#[derive(Clone, Debug)]
struct Delivery {
    delivery_id: Uuid,
    agent: Uuid,
    event: &'static str,
    body: Bytes,
    url: String,
    secret: String,
    max_attempts: u32,
    attempt: u32,
    received: bool,
    created_at: DateTime<Utc>,
    next_retry_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    last: Last,
}

/// The last attempt.
#[derive(Clone, Debug, Default)]
struct Last {
    status: Option<u16>,
    answer: Option<String>,
    error: Option<String>,
    took: Option<u64>,
}

/// What an attempt starts from.
pub struct Started {
    pub agent: Uuid,
    pub event: String,
    pub body: Bytes,
    pub url: String,
    pub secret: String,
    pub delivery_id: Uuid,
    /// Attempts made, this one included.
    pub attempt: u32,
}

/// What follows from an attempt's end.
pub struct Settled {
    pub agent: Uuid,
    /// The number of attempts made, if another is to follow.
    pub retry_after_attempt: Option<u32>,
}

/// What was sent, for one event or all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests made, retries and copies included.
    pub sends: u64,
    /// Requests answered 200.
    pub acks: u64,
    /// Requests that were a second or later attempt.
    pub retries: u64,
    /// Requests not answered 200.
    pub failures: u64,
    /// Events never sent, by a fault.
    pub dropped: u64,
    /// Events whose last attempt failed.
    pub given_up: u64,
}

/// All deliveries.
#[derive(Debug)]
pub struct Outbox {
    source: Ids,
    by_id: HashMap<Uuid, Delivery>,
    ids: HashMap<Uuid, Uuid>,
    order: VecDeque<Uuid>,
    held: HashMap<Uuid, Vec<Uuid>>,
    counts: BTreeMap<&'static str, Counts>,
}

/// Which deliveries to list.
#[derive(Debug, Default)]
pub struct Filter {
    pub event: Option<String>,
    pub success: Option<bool>,
    pub since: Option<DateTime<Utc>>,
}

impl Outbox {
    /// Empty, its deliveries named by `source`.
    pub fn new(source: Ids) -> Self {
        Self {
            source,
            by_id: HashMap::new(),
            ids: HashMap::new(),
            order: VecDeque::new(),
            held: HashMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Forgets everything; no id is given twice.
    pub fn clear(&mut self) {
        let source = std::mem::replace(&mut self.source, Ids::Random);
        *self = Self::new(source);
    }

    /// Adds the delivery of an event whose body is `body`, and returns its id.
    pub fn add(&mut self, event: Event, body: &Value, max_attempts: u32, now: DateTime<Utc>) -> Uuid {
        let (id, delivery_id) = (self.source.next(), self.source.next());
        let delivery = Delivery {
            delivery_id,
            agent: event.agent,
            event: event.name,
            body: Bytes::from(body.to_string()),
            url: event.url,
            secret: event.secret,
            max_attempts,
            attempt: 0,
            received: false,
            created_at: now,
            next_retry_at: Some(now),
            completed_at: None,
            last: Last::default(),
        };
        if self.order.len() >= MAX_KEPT
            && let Some(oldest) = self.order.pop_front()
            && let Some(forgotten) = self.by_id.remove(&oldest)
        {
            self.ids.remove(&forgotten.delivery_id);
        }
        self.order.push_back(id);
        self.ids.insert(delivery_id, id);
        self.by_id.insert(id, delivery);
        id
    }

    /// Marks a delivery as never sent.
    pub fn lose(&mut self, id: Uuid, now: DateTime<Utc>) {
        if let Some(delivery) = self.by_id.get_mut(&id) {
            delivery.next_retry_at = None;
            delivery.completed_at = Some(now);
            delivery.last.error = Some("lost".to_owned());
            self.counts.entry(delivery.event).or_default().dropped += 1;
        }
    }

    /// Holds a delivery back until the agent's next one was sent.
    pub fn hold(&mut self, agent: Uuid, id: Uuid) {
        self.held.entry(agent).or_default().push(id);
    }

    /// The deliveries held back for `agent`.
    pub fn held_by(&self, agent: Uuid) -> Vec<Uuid> {
        self.held.get(&agent).cloned().unwrap_or_default()
    }

    /// Stops holding a delivery; false if it was not held.
    pub fn let_go(&mut self, id: Uuid) -> bool {
        let mut found = false;
        self.held.retain(|_, held| {
            let before = held.len();
            held.retain(|one| *one != id);
            found |= held.len() < before;
            !held.is_empty()
        });
        found
    }

    /// Begins an attempt.
    pub fn start(&mut self, id: Uuid, extra: bool) -> Option<Started> {
        let delivery = self.by_id.get_mut(&id)?;
        let counts = self.counts.entry(delivery.event).or_default();
        counts.sends += 1;
        if !extra {
            delivery.attempt += 1;
            delivery.next_retry_at = None;
            counts.retries += u64::from(delivery.attempt > 1);
        }
        Some(Started {
            agent: delivery.agent,
            event: delivery.event.to_owned(),
            body: delivery.body.clone(),
            url: delivery.url.clone(),
            secret: delivery.secret.clone(),
            delivery_id: delivery.delivery_id,
            attempt: delivery.attempt,
        })
    }

    /// Records how an attempt ended.
    pub fn settle(&mut self, id: Uuid, extra: bool, outcome: &Outcome, now: DateTime<Utc>) -> Option<Settled> {
        let delivery = self.by_id.get_mut(&id)?;
        let counts = self.counts.entry(delivery.event).or_default();
        let received = outcome.received();
        counts.acks += u64::from(received);
        counts.failures += u64::from(!received);
        let more = !received && !extra && delivery.attempt < delivery.max_attempts;
        if !extra || received {
            delivery.received |= received;
            delivery.last = Last {
                status: outcome.status,
                answer: outcome.status.is_some().then(|| outcome.answer.clone()),
                error: outcome.error.clone(),
                took: u64::try_from(outcome.took.as_millis()).ok(),
            };
            if !more {
                delivery.completed_at = Some(now);
                counts.given_up += u64::from(!delivery.received);
            }
        }
        Some(Settled {
            agent: delivery.agent,
            retry_after_attempt: (more && !delivery.received).then_some(delivery.attempt),
        })
    }

    /// Shows when the next attempt is due.
    pub fn plan(&mut self, id: Uuid, at: DateTime<Utc>) {
        if let Some(delivery) = self.by_id.get_mut(&id) {
            delivery.next_retry_at = Some(at);
        }
    }

    /// The delivery of `agent` named by its id or its delivery id.
    pub fn find(&self, agent: Uuid, id: Uuid) -> Option<Uuid> {
        let id = self.ids.get(&id).copied().unwrap_or(id);
        self.by_id
            .get(&id)
            .is_some_and(|delivery| delivery.agent == agent)
            .then_some(id)
    }

    /// One page of an agent's deliveries, newest first, and how many there are.
    pub fn list(&self, agent: Uuid, filter: &Filter, offset: usize, limit: usize) -> (Vec<Value>, usize) {
        let matching = || {
            self.order
                .iter()
                .rev()
                .filter_map(|id| Some((id, self.by_id.get(id)?)))
                .filter(|(_, delivery)| {
                    delivery.agent == agent
                        && filter.event.as_deref().is_none_or(|event| event == delivery.event)
                        && filter.success.is_none_or(|success| success == delivery.received)
                        && filter.since.is_none_or(|since| delivery.created_at >= since)
                })
        };
        let page = matching()
            .skip(offset)
            .take(limit)
            .map(|(id, delivery)| delivery.shown(*id))
            .collect();
        (page, matching().count())
    }

    /// Counts by event.
    pub fn counts(&self) -> &BTreeMap<&'static str, Counts> {
        &self.counts
    }
}

impl Delivery {
    fn shown(&self, id: Uuid) -> Value {
        json!({
            "id": id,
            "delivery_id": self.delivery_id,
            "agent_id": self.agent,
            "event": self.event,
            "payload": serde_json::from_slice::<Value>(&self.body).unwrap_or_default(),
            "webhook_url": self.url,
            "status_code": self.last.status,
            "response_body": self.last.answer,
            "success": self.received,
            "attempt": self.attempt,
            "max_attempts": self.max_attempts,
            "next_retry_at": self.next_retry_at.map(iso),
            "duration_ms": self.last.took,
            "error_message": self.last.error,
            "completed_at": self.completed_at.map(iso),
            "created_at": iso(self.created_at),
        })
    }
}
