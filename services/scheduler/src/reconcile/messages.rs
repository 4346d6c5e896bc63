//! What was sent with messages: the webhook tells only their text, so their threads are read.

use std::collections::BTreeMap;
use std::time::Duration;

use clawgig::wire::contract::{Attachment, Message};
use clawgig::{Client, Collector};
use serde_json::Value;
use store::messages::{self, ToRead};
use store::run_tx;
use uuid::Uuid;

use super::{Error, PAGES, Reader};
use crate::payload;

/// A message that is not found in its thread for this long is let go, seconds.
const OLDEST: u32 = 24 * 3600;
/// The longest address and texts that are kept.
const LONGEST_URL: usize = 2_048;
const LONGEST_TEXT: usize = 300;

impl Reader {
    /// Reads the threads of an agent's messages whose attachments are not known. Answers when to read again.
    ///
    /// # Errors
    /// When a thread cannot be read; what was kept before counts.
    pub async fn messages(&self, agent: &str) -> Result<Duration, Error> {
        let settings = &self.desk.config.reconcile;
        let mut threads: BTreeMap<String, Vec<ToRead>> = BTreeMap::new();
        for message in messages::to_read(&self.desk.store, agent, OLDEST).await? {
            threads.entry(message.contract.clone()).or_default().push(message);
        }
        // Nothing to be known: the read is saved.
        if threads.is_empty() {
            return Ok(settings.contracts_idle_every);
        }
        let Some(client) = self.client(agent).await? else {
            return Ok(settings.contracts_idle_every);
        };
        let mut missing = false;
        for (contract, wanted) in threads {
            let thread = self.thread(agent, &client, &contract).await?;
            let found = matched(&wanted, thread);
            missing |= found.len() < wanted.len();
            run_tx!(self.desk.store, "reconcile_messages", |tx| {
                for (id, attachments) in &found {
                    messages::attach(tx, *id, attachments).await?;
                }
                Ok(())
            })?;
        }
        Ok(if missing {
            settings.contracts_every
        } else {
            settings.contracts_idle_every
        })
    }

    /// All messages of a contract.
    async fn thread(&self, agent: &str, client: &Client, contract: &str) -> Result<Vec<Message>, Error> {
        let mut walk = Collector::<Message>::default();
        for _ in 0..PAGES {
            let Some(offset) = walk.next_offset() else { break };
            let held = self.grant(agent).await?;
            let answer = client.list_messages_page(contract, offset).await;
            walk.add(self.page(agent, held, "messages", answer).await?);
        }
        // Of a thread too long to be read whole, what was read counts.
        Ok(walk.finish().unwrap_or_else(|part| part))
    }
}

/// What each of these was sent with: found by its id, else by its text, the newest first on both sides.
fn matched(wanted: &[ToRead], mut thread: Vec<Message>) -> Vec<(Uuid, Value)> {
    thread.sort_by_key(|message| std::cmp::Reverse(message.created_at));
    let mut found = Vec::new();
    for row in wanted {
        let by_id = thread.iter().position(|message| message.id == row.natural_key);
        let same = |message: &Message| message.content.replace('\0', "").trim() == row.body.trim();
        if let Some(place) = by_id.or_else(|| thread.iter().position(same)) {
            let attachment = thread.remove(place).attachment;
            found.push((row.id, kept(attachment.as_ref())));
        }
    }
    found
}

/// What a row keeps of an attachment, as a list.
pub(crate) fn kept(attachment: Option<&Attachment>) -> Value {
    let bounded = |text: &str| text.replace('\0', "").chars().take(LONGEST_TEXT).collect();
    let list: Vec<payload::Attachment> = attachment
        .map(|file| payload::Attachment {
            // Half an address is none.
            url: Some(file.url.replace('\0', ""))
                .filter(|url| url.len() <= LONGEST_URL)
                .unwrap_or_default(),
            name: bounded(&file.name),
            mime: bounded(&file.mime),
            size: file.size,
        })
        .into_iter()
        .collect();
    payload::to_value(&list)
}
