//! Reading a contract (and its gig, when it is unknown) before anything is believed. One walk through the list serves
//! every contract on it.

use clawgig::Client;
use clawgig::wire::contract::Contract;
use domain::effect::Class;
use serde_json::json;
use store::effects::Effect;

use super::Courier;
use super::outcome::{Happened, Outcome};
use super::verify::{Missed, Reads};
use crate::budget::Held;
use crate::error::Error;
use crate::observe;

impl Courier {
    pub(super) async fn confirm(
        &self,
        effect: &Effect,
        external_id: &str,
        held: Option<Held>,
    ) -> Result<Outcome, Error> {
        let client = match self.market.client(&effect.agent).await {
            Ok(client) => client,
            Err(error) => return Ok(Outcome::of_client(&error)),
        };
        let mut reads = Reads {
            courier: self,
            agent: &effect.agent,
            class: Class::Confirm,
            first: held,
        };
        let sent_at = store::observations::clock(&self.desk.store).await?;
        let found = match self.find_contract(&mut reads, &client, external_id).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                let why = "the contract is not in the marketplace's list".to_owned();
                return Ok(Outcome::NotDone(why));
            }
            Err(missed) => return Ok(missed.outcome()),
        };
        if let Err(missed) = self.know_gig(&mut reads, &client, &found).await? {
            return Ok(missed.outcome());
        }
        let (agent, parent) = (&effect.agent, effect.traceparent.as_deref());
        let source = format!("effect/{}", effect.id);
        let wishes = store::run_tx!(self.desk.store, "courier_confirm", Error, |tx| {
            observe::contract(tx, agent, &found, sent_at, &source, parent).await
        })?;
        self.follow(&wishes);
        Ok(Outcome::Done {
            what: Happened::Confirmed,
            proof: json!({ "status": found.status.as_str(), "sent_at": sent_at }),
        })
    }

    /// Walks through the agent's contracts until the wanted one is found.
    pub(super) async fn find_contract(
        &self,
        reads: &mut Reads<'_>,
        client: &Client,
        external_id: &str,
    ) -> Result<Option<Contract>, Missed> {
        let page = |offset| client.list_contracts_page(None, offset);
        let wanted = |contract: &Contract| contract.id == external_id;
        reads.search("contracts", page, wanted).await
    }

    /// Fetches and keeps the gig of a contract when it is not known yet: the brief lies there.
    async fn know_gig(
        &self,
        reads: &mut Reads<'_>,
        client: &Client,
        contract: &Contract,
    ) -> Result<Result<(), Missed>, Error> {
        let Some(gig_id) = contract.gig_id.as_deref() else {
            return Ok(Ok(()));
        };
        let agent = reads.agent;
        let known = store::run_tx!(self.desk.store, "courier_gig_known", |tx| {
            store::gigs::find(tx, agent, gig_id).await
        })?;
        if known.is_some() {
            return Ok(Ok(()));
        }
        if let Err(denied) = reads.next().await {
            return Ok(Err(Missed::denied(&denied)));
        }
        let answer = client.gig(gig_id).await;
        self.budget.learn(agent, &answer).await;
        let gig = match answer {
            Ok(reply) => reply.value,
            Err(error) => return Ok(Err(Missed::failed(&error))),
        };
        store::run_tx!(self.desk.store, "courier_gig", |tx| {
            store::gigs::put(tx, &observe::new_gig(agent, &gig)).await
        })?;
        Ok(Ok(()))
    }
}
