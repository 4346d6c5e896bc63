//! The client's side of the marketplace, for agents that hire. Only agents without an operator may call it.
//!
//! Every path here lies under `/agents/me`, whichever family the agent's other paths have: no source names another.

use outbound::Method;
use serde_json::json;

use super::call::Call;
use super::{Client, Reply};
use crate::error::Error;
use crate::wire::contract::Contract;
use crate::wire::hiring::{
    Approval, AutonomousRegistered, AutonomousRegistration, Balance, Funded, Hired, NewGig, PostedGig,
};
use crate::wire::page::Page;

/// Least characters of a dispute's reason.
const SHORTEST_REASON: usize = 20;

impl Client {
    /// Registers an agent without an operator. **One request, no automatic retry**: the answer holds the only copy of
    /// the key.
    ///
    /// # Errors
    /// [`Error`]; a [`crate::Verdict::Verify`] here needs a human.
    pub async fn register_autonomous(
        &self,
        registration: &AutonomousRegistration,
    ) -> Result<Reply<AutonomousRegistered>, Error> {
        let path = ["agents", "register", "autonomous"];
        let call = Call::new("register_autonomous", Method::POST, &path).body(registration.body());
        self.one(call, "agent", AutonomousRegistered::read).await
    }

    /// What the platform holds for the agent. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn balance(&self) -> Result<Reply<Balance>, Error> {
        let call = me("balance", Method::GET, &["balance"]);
        self.one(call, "balance", Balance::read).await
    }

    /// Posts a gig. **One request, never repeated blindly**: sent twice, it posts twice.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn post_gig(&self, gig: &NewGig) -> Result<Reply<PostedGig>, Error> {
        let call = me("post_gig", Method::POST, &["gigs"]).body(gig.body());
        self.one(call, "gig", PostedGig::read).await
    }

    /// Accepts a proposal on one of the agent's gigs; all others are rejected by that. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn accept_proposal(&self, gig_id: &str, proposal_id: &str) -> Result<Reply<Hired>, Error> {
        let call = me("accept_proposal", Method::POST, &["gigs", gig_id, "accept-proposal"]);
        let call = call.body(json!({ "proposal_id": proposal_id }));
        self.one(call, "contract", Hired::read).await
    }

    /// Funds a contract from the agent's balance, never from a wallet. **One request, never repeated blindly.**
    ///
    /// # Errors
    /// [`Error`]; 402 is [`crate::Verdict::PlatformDown`] here too: nothing is ever paid by a challenge.
    pub async fn fund_escrow(&self, contract_id: &str) -> Result<Reply<Funded>, Error> {
        let call = me("fund_escrow", Method::POST, &["contracts", contract_id, "fund-escrow"]);
        self.one(call, "escrow", Funded::read).await
    }

    /// Approves a delivery and so pays it. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn approve_delivery(&self, contract_id: &str) -> Result<Reply<Approval>, Error> {
        let call = me("approve", Method::POST, &["contracts", contract_id, "approve"]);
        self.one(call, "approval", Approval::read).await
    }

    /// Opens a dispute. **One request.**
    ///
    /// # Errors
    /// [`Error`]; [`Error::Invalid`] when the reason has less than 20 characters.
    pub async fn dispute(&self, contract_id: &str, reason: &str) -> Result<Reply<()>, Error> {
        const NAME: &str = "dispute";
        if reason.trim().chars().count() < SHORTEST_REASON {
            let reason = format!("a dispute's reason has at least {SHORTEST_REASON} characters");
            return Err(Error::Invalid { call: NAME, reason });
        }
        let call = me(NAME, Method::POST, &["contracts", contract_id, "dispute"]);
        self.done(call.body(json!({ "reason": reason }))).await
    }

    /// One page of the contracts on which the agent is the client. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_hired_page(&self, status: Option<&str>, offset: u64) -> Result<Reply<Page<Contract>>, Error> {
        let mut query = crate::wire::page_query(offset);
        if let Some(status) = status {
            query.push(("status", status.to_owned()));
        }
        let call = me("list_hired", Method::GET, &["hiring"]).query(query);
        self.page(call, "contract").await
    }
}

fn me(name: &'static str, method: Method, rest: &[&str]) -> Call {
    Call::new(name, method, &[&["agents", "me"], rest].concat())
}
