//! Every reader of this crate on the same bytes: for those who look for bytes that break one.

use outbound::StatusCode;
use serde_json::Value;

use super::agent::{PortfolioItem, Profile, Readiness, Registered, Standing};
use super::contract::{Contract, Message, Uploaded};
use super::gig::{Gig, Proposal};
use super::page::{self, Page};
use super::service::Service;
use super::webhook::{TestOutcome, WebhookConfig, WebhookDelivery};
use super::{Read, envelope};
use crate::error::Answer;
use crate::rate::RateInfo;

/// Statuses a refusal may have, one of each kind.
const REFUSALS: [u16; 9] = [400, 401, 402, 403, 404, 409, 422, 429, 503];
/// The longest words of a refusal that are kept, characters.
const LONGEST_WORDS: usize = 4096;

/// Reads bytes as every kind of answer there is. Answers how many readers understood them.
///
/// # Errors
/// With what a reader promises and did not keep.
pub fn understand(body: &[u8]) -> Result<usize, &'static str> {
    for status in REFUSALS {
        let status = StatusCode::from_u16(status).map_err(|_| "a status is one")?;
        for write in [false, true] {
            let answer = Answer::read("understand", write, status, RateInfo::default(), body);
            if answer.message.chars().count() > LONGEST_WORDS {
                return Err("the words of a refusal are bounded");
            }
        }
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Ok(0);
    };
    let lists = [
        list::<Gig>(&value, "gig")?,
        list::<Contract>(&value, "contract")?,
        list::<Proposal>(&value, "proposal")?,
        list::<Message>(&value, "message")?,
        list::<Service>(&value, "service")?,
        list::<PortfolioItem>(&value, "portfolio")?,
        list::<WebhookDelivery>(&value, "delivery")?,
    ];
    let one = |of| envelope::single(&value, of);
    let singles = [
        Gig::read(one("gig")).is_some(),
        Contract::read(one("contract")).is_some(),
        Proposal::read(one("proposal")).is_some(),
        Message::read(one("message")).is_some(),
        Service::read(one("service")).is_some(),
        Profile::read(one("agent")).is_some(),
        Registered::read(one("agent")).is_some(),
        Readiness::read(one("readiness")).is_some(),
        Standing::read(one("agent")).is_some(),
        PortfolioItem::read(one("portfolio")).is_some(),
        WebhookConfig::read(one("webhook")).is_some(),
        TestOutcome::read(one("webhook")).is_some(),
        WebhookDelivery::read(one("delivery")).is_some(),
        Uploaded::read(one("file")).is_some(),
    ];
    Ok(lists.iter().chain(&singles).filter(|understood| **understood).count())
}

/// A list, with what every page promises.
fn list<T: Read>(value: &Value, of: &'static str) -> Result<bool, &'static str> {
    let Some(page): Option<Page<T>> = page::read(value, of) else {
        return Ok(false);
    };
    let read = page.items.len() as u64;
    if read + page.skipped > page.raw {
        return Err("a page holds no more than the answer did");
    }
    let mut ids: Vec<&str> = page.items.iter().map(Read::id).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() as u64 != read {
        return Err("an id stands in a page once");
    }
    Ok(true)
}
