//! What was sent with messages: the webhook tells only their text, so their threads are read. While webhooks do not come
//! the messages themselves are looked for too.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use clawgig::wire::contract::{Attachment, Message, Sender};
use clawgig::{Client, Collector};
use serde_json::Value;
use store::messages::{self, Side, ToRead};
use store::run_tx;

use super::{Error, PAGES, Reader};
use crate::reads::is_newest_first;
use crate::wake::Topic;
use crate::{attachments, payload};

/// A message that is not found in its thread for this long is let go, seconds.
const OLDEST: u32 = 24 * 3600;
/// Between two looks for a message that is not found, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// The longest address and texts that are kept.
const LONGEST_URL: usize = 2_048;
const LONGEST_TEXT: usize = 300;

impl Reader {
    /// Reads the threads of an agent's messages whose attachments are not known, and while webhooks do not come all news.
    /// A thread that cannot be read keeps no other from being read. Answers when to read again.
    ///
    /// # Errors
    /// When no thread can be read, or the store is away; what was kept before counts.
    pub async fn messages(&self, agent: &str) -> Result<Duration, Error> {
        if self.is_wakeful(agent).await?
            && let Some(client) = self.client(agent).await?
        {
            self.news(agent, &client).await?;
        }
        let next = self.attachments(agent).await?;
        self.every(agent, next).await
    }

    /// Reads what came with messages whose webhook told only the text. Answers when to read again.
    async fn attachments(&self, agent: &str) -> Result<Duration, Error> {
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
        let us = store::agents::get(&self.desk.store, agent).await?.marketplace_id;
        let mut youngest: Option<i64> = None;
        let mut told = false;
        for (contract, wanted) in threads {
            let search = Search {
                wanted: &wanted,
                us: us.as_deref(),
            };
            let thread = match self.thread(agent, &client, &contract, &search).await {
                Ok(thread) => thread,
                Err(error @ Error::Read { .. }) => {
                    if !told {
                        tracing::warn!(agent, contract, %error, "a thread cannot be read; the others are, and it again later");
                    }
                    told = true;
                    Vec::new()
                }
                Err(error) => return Err(error),
            };
            let found = search.matched(&thread);
            let missing = wanted.iter().filter(|row| found.iter().all(|(of, _)| of.id != row.id));
            youngest = missing.map(|row| row.age_secs).chain(youngest).min();
            self.keep(agent, &found).await?;
        }
        Ok(youngest.map_or(settings.contracts_idle_every, |age| {
            pause(settings.contracts_every, age)
        }))
    }

    /// Pages of a contract's thread, until all that is searched for is there.
    async fn thread(
        &self,
        agent: &str,
        client: &Client,
        contract: &str,
        search: &Search<'_>,
    ) -> Result<Vec<Message>, Error> {
        let mut walk = Collector::<Message>::default();
        for _ in 0..PAGES {
            let Some(offset) = walk.next_offset() else { break };
            let ask = || client.list_messages_page(contract, offset);
            walk.add(self.page(agent, "messages", ask).await?);
            if search.is_over(walk.items()) {
                break;
            }
        }
        // Of a thread too long to be read whole, what was read counts.
        Ok(walk.finish().unwrap_or_else(|part| part))
    }

    /// Keeps what came with messages of one contract.
    async fn keep(&self, agent: &str, found: &[(&ToRead, Value)]) -> Result<(), Error> {
        let Some((first, _)) = found.first() else { return Ok(()) };
        let has = |which: fn(&payload::Attachment) -> bool| {
            let mut files = found.iter().flat_map(|(_, files)| payload::attachments(Some(files)));
            files.any(|file| which(&file))
        };
        let lost = has(|file| !file.is_readable());
        let awaited = has(payload::Attachment::is_awaited);
        run_tx!(self.desk.store, "reconcile_messages", crate::error::Error, |tx| {
            for (row, attachments) in found {
                messages::attach(tx, row.id, attachments).await?;
            }
            if lost {
                attachments::tell_of_lost(tx, first.contract_id).await?;
            }
            if awaited {
                store::duties::hasten(tx, attachments::FILES, agent, Duration::ZERO).await?;
            }
            Ok(())
        })?;
        if awaited {
            self.desk.wake.wake(Topic::Duties);
        }
        Ok(())
    }
}

/// The messages of one contract whose attachments are wanted, newest first.
struct Search<'a> {
    wanted: &'a [ToRead],
    /// Our own id on the marketplace.
    us: Option<&'a str>,
}

impl<'a> Search<'a> {
    /// Whether pages to come cannot change what is found: everything was found by its id, or at all while the rest is
    /// older. In a thread that begins with its oldest message a later one may say the same.
    fn is_over(&self, thread: &[Message]) -> bool {
        let ids: HashSet<&str> = thread.iter().map(|message| message.id.as_str()).collect();
        let by_id = self.wanted.iter().all(|row| ids.contains(row.natural_key.as_str()));
        by_id
            || (is_newest_first(thread.iter().map(|message| message.created_at))
                && self.matched(thread).len() == self.wanted.len())
    }

    /// What each came with: all that are found by their id, then by sender and text, the newest first on both sides.
    fn matched(&self, thread: &[Message]) -> Vec<(&'a ToRead, Value)> {
        let mut free: Vec<(String, &Message)> =
            thread.iter().map(|message| (text(&message.content), message)).collect();
        free.sort_by_key(|(_, message)| std::cmp::Reverse(message.created_at));
        let mut found = Vec::new();
        let mut rest = Vec::new();
        for row in self.wanted {
            match free.iter().position(|(_, message)| message.id == row.natural_key) {
                Some(place) => found.push((row, kept(free.remove(place).1.attachment.as_ref()))),
                None => rest.push(row),
            }
        }
        for row in rest {
            let wanted = text(&row.body);
            let same = |(said, message): &(String, &Message)| *said == wanted && self.may_be_from(row, &message.sender);
            if let Some(place) = free.iter().position(same) {
                found.push((row, kept(free.remove(place).1.attachment.as_ref())));
            }
        }
        found
    }

    fn may_be_from(&self, row: &ToRead, sender: &Sender) -> bool {
        match sender {
            Sender::Client(_) => row.side == Side::Client.name(),
            Sender::Agent(Some(id)) => row.side == Side::Agent.name() && Some(id.as_str()) != self.us,
            Sender::Agent(None) => row.side == Side::Agent.name(),
            Sender::Unknown => true,
        }
    }
}

/// Text as it is compared.
fn text(content: &str) -> String {
    content.replace('\0', "").trim().to_owned()
}

/// When to look again for a message that was not found: its age doubles from read to read, so that one whose text the
/// platform changed costs little. Others that wait are looked for with the youngest.
fn pause(every: Duration, age_secs: i64) -> Duration {
    let age = Duration::from_secs(u64::try_from(age_secs).unwrap_or(0));
    age.min(LONGEST_PAUSE).max(every)
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
            ..payload::Attachment::default()
        })
        .into_iter()
        .collect();
    payload::to_value(&list)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use uuid::Uuid;

    use super::*;

    fn row(side: Side, natural_key: &str, body: &str) -> ToRead {
        ToRead {
            id: Uuid::now_v7(),
            contract_id: Uuid::nil(),
            contract: "c-1".to_owned(),
            side: side.name().to_owned(),
            natural_key: natural_key.to_owned(),
            body: body.to_owned(),
            age_secs: 0,
        }
    }

    fn said(id: &str, sender: Sender, content: &str, second: i64) -> Message {
        Message {
            id: id.to_owned(),
            contract_id: None,
            sender,
            content: content.to_owned(),
            attachment: Some(Attachment {
                url: "https://files.example.org/1".to_owned(),
                name: id.to_owned(),
                mime: String::new(),
                size: 0,
            }),
            created_at: DateTime::<Utc>::from_timestamp(second, 0),
        }
    }

    /// Ids of the entries each of `wanted` was matched with.
    fn names(wanted: &[ToRead], thread: &[Message]) -> Vec<Option<String>> {
        let search = Search { wanted, us: Some("us") };
        let found = search.matched(thread);
        let name = |row: &ToRead| {
            let (_, files) = found.iter().find(|(of, _)| of.id == row.id)?;
            Some(payload::attachments(Some(files)).remove(0).name)
        };
        wanted.iter().map(name).collect()
    }

    #[test]
    fn what_another_side_said_in_the_same_words_is_no_match() {
        let agent = |id: &str| Sender::Agent(Some(id.to_owned()));
        let thread = [
            said("client", Sender::Client(None), "done", 1),
            said("other", agent("another"), "done", 2),
            said("ours", agent("us"), "done", 3),
        ];
        assert_eq!(
            names(&[row(Side::Client, "r-1", "done")], &thread),
            [Some("client".to_owned())]
        );
        assert_eq!(
            names(&[row(Side::Agent, "r-1", "done")], &thread),
            [Some("other".to_owned())]
        );
        assert_eq!(names(&[row(Side::Client, "r-1", "done")], &thread[1..]), [None]);
        assert_eq!(names(&[row(Side::Agent, "r-1", "done")], &thread[2..]), [None]);
    }

    #[test]
    fn a_text_never_takes_what_an_id_names() {
        let thread = [
            said("m-1", Sender::Client(None), "done", 1),
            said("m-2", Sender::Client(None), "done", 2),
        ];
        let wanted = [row(Side::Client, "r-1", "done"), row(Side::Client, "m-2", "done")];
        assert_eq!(
            names(&wanted, &thread),
            [Some("m-1".to_owned()), Some("m-2".to_owned())]
        );
    }

    #[test]
    fn a_search_ends_early_only_when_later_pages_cannot_change_it() {
        let thread = [
            said("m-3", Sender::Client(None), "done", 3),
            said("m-2", Sender::Client(None), "go on", 2),
        ];
        let oldest_first = [thread[1].clone(), thread[0].clone()];
        let is_over = |key: &str, thread: &[Message]| {
            let wanted = [row(Side::Client, key, "done")];
            Search {
                wanted: &wanted,
                us: None,
            }
            .is_over(thread)
        };
        assert!(is_over("r-1", &thread), "what follows is older");
        assert!(!is_over("r-1", &oldest_first), "a later one may say the same");
        assert!(is_over("m-3", &oldest_first), "an id is an id");
        assert!(!is_over("r-1", &thread[1..]), "it is not there");
    }

    #[test]
    fn a_message_that_is_not_found_is_looked_for_ever_more_rarely() {
        let every = Duration::from_secs(60);
        for (age, expected) in [(-5, 60), (0, 60), (59, 60), (600, 600), (80_000, 3600)] {
            assert_eq!(pause(every, age), Duration::from_secs(expected), "{age}");
        }
    }
}
