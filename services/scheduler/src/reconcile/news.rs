//! Messages no webhook told of, while there is no door or it fares badly: the list of all threads is read, and what is
//! new there goes through the inbox like a webhook.

use chrono::{DateTime, TimeDelta, Utc};
use clawgig::wire::contract::{Message, Sender};
use clawgig::{Client, Collector};
use serde_json::json;
use store::messages::{self, Heard, Side};
use store::{inbox, notices, observations, run_tx};

use super::{Error, PAGES, Reader};
use crate::reads::is_newest_first;
use crate::wake::Topic;

/// The kind of the notice that nobody knows who wrote a message; its key is the contract's id on the marketplace.
const UNCLEAR: &str = "message_sender";
/// A message older than this is let go, as its webhook would be.
const OLDEST: TimeDelta = TimeDelta::hours(72);

impl Reader {
    /// Reads all threads as one list, the newest pages of it, and takes in what is not known.
    pub(super) async fn news(&self, agent: &str, client: &Client) -> Result<(), Error> {
        let us = store::agents::get(&self.desk.store, agent).await?.marketplace_id;
        let us = us.filter(|id| !id.is_empty());
        let mut walk = Collector::<Message>::default();
        for _ in 0..PAGES {
            let Some(offset) = walk.next_offset() else { break };
            let now = observations::clock(&self.desk.store).await?;
            let page = self.page(agent, "messages", || client.list_inbox_page(offset)).await?;
            let mut news = 0;
            for message in &page.items {
                if is_fresh(message, now) && self.take_in(agent, us.as_deref(), message).await? {
                    news += 1;
                }
            }
            let quiet = news == 0 && page.skipped == 0;
            walk.add(page);
            if news > 0 {
                tracing::info!(agent, news, "a read told of messages no webhook had");
                self.desk.wake.wake(Topic::Intake);
            }
            // Behind a page without news it is only older.
            if quiet && is_newest_first(walk.items().iter().map(|message| message.created_at)) {
                break;
            }
        }
        Ok(())
    }

    /// Puts one message into the inbox, unless it is known or ours. Answers whether it did.
    async fn take_in(&self, agent: &str, us: Option<&str>, message: &Message) -> Result<bool, Error> {
        let Some(contract) = message.contract_id.as_deref() else {
            return Ok(false);
        };
        let side = match (&message.sender, us) {
            // Who may be ourselves is not taken for somebody else: an answer to it would never end.
            (Sender::Agent(None) | Sender::Unknown, _) | (Sender::Agent(_), None) => {
                return self.left_to_a_human(agent, contract, message).await;
            }
            (Sender::Agent(Some(id)) | Sender::Client(Some(id)), Some(us)) if id == us => return Ok(false),
            (Sender::Client(_), _) => Side::Client,
            (Sender::Agent(_), _) => Side::Agent,
        };
        let heard = Heard {
            contract,
            side,
            body: &message.content,
            said_at: message.created_at,
        };
        let stored = run_tx!(self.desk.store, "reconcile_news", |tx| {
            if messages::recognise(tx, agent, &message.id, heard).await? {
                return Ok(false);
            }
            let body = json!({
                "event": "message.received",
                "timestamp": message.created_at,
                "data": {
                    "contract_id": contract, "message_id": message.id, "message": message.content,
                    "sender_type": side.name(),
                },
            });
            let told = inbox::told(agent, &format!("message:{}", message.id), body.to_string().into_bytes());
            inbox::heal(tx, &told).await
        })?;
        Ok(stored)
    }
}

impl Reader {
    /// What is neither known nor surely somebody else's is read by a human. Answers that it was not taken in.
    async fn left_to_a_human(&self, agent: &str, contract: &str, message: &Message) -> Result<bool, Error> {
        run_tx!(self.desk.store, "reconcile_unclear", |tx| {
            for side in [Side::Us, Side::Client, Side::Agent] {
                let heard = Heard {
                    contract,
                    side,
                    body: &message.content,
                    said_at: message.created_at,
                };
                if messages::recognise(tx, agent, &message.id, heard).await? {
                    return Ok(());
                }
            }
            let body = format!(
                "a message in the thread of {contract} does not say whether {agent} or somebody else wrote it: read it on \
                 the marketplace"
            );
            notices::raise(tx, UNCLEAR, contract, &body).await?;
            Ok(())
        })?;
        Ok(false)
    }
}

fn is_fresh(message: &Message, now: DateTime<Utc>) -> bool {
    message.created_at.is_none_or(|said| now - said <= OLDEST)
}
