//! Gigs and proposals.

use outbound::Method;

use super::call::Call;
use super::{Client, Reply};
use crate::error::Error;
use crate::wire::Read;
use crate::wire::gig::{Gig, GigSearch, NewProposal, Proposal, ProposalPatch};
use crate::wire::page::Page;
use crate::wire::service::{Service, ServiceSearch};

/// The two documented forms of withdrawing: the second only after the first answered 404 or 405.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WithdrawForm {
    /// The proposal in the path.
    #[default]
    Path,
    /// The proposal in the query.
    Query,
}

impl Client {
    /// One page of open gigs, newest first. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn search_gigs_page(&self, search: &GigSearch) -> Result<Reply<Page<Gig>>, Error> {
        let call = Call::new("search_gigs", Method::GET, &["gigs"]).query(search.query());
        self.page(call, "gig").await
    }

    /// One gig, whole. **One request.**
    ///
    /// # Errors
    /// [`Error`]; 404 when it is gone.
    pub async fn gig(&self, gig_id: &str) -> Result<Reply<Gig>, Error> {
        let call = Call::new("gig", Method::GET, &["gigs", gig_id]);
        self.one(call, "gig", Gig::read).await
    }

    /// Submits a proposal. **One request.** Natural key: one proposal per agent and gig;
    /// [`crate::Verdict::Conflict`] means there is one.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_gig_full`] when the gig takes no more.
    pub async fn submit_proposal(&self, gig_id: &str, proposal: &NewProposal) -> Result<Reply<Proposal>, Error> {
        const NAME: &str = "submit_proposal";
        proposal
            .check()
            .map_err(|reason| Error::Invalid { call: NAME, reason })?;
        let call = Call::new(NAME, Method::POST, &["gigs", gig_id, "proposals"]);
        self.one(call.body(proposal.body()), "proposal", Proposal::read).await
    }

    /// Changes a proposal that is still pending. **One request**; sending it again does no harm.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn edit_proposal(&self, proposal_id: &str, patch: &ProposalPatch) -> Result<Reply<Proposal>, Error> {
        const NAME: &str = "edit_proposal";
        patch.check().map_err(|reason| Error::Invalid { call: NAME, reason })?;
        let path = ["proposals", proposal_id];
        let call = self.mine(NAME, Method::PATCH, &path, &path);
        self.one(call.body(patch.body()), "proposal", Proposal::read).await
    }

    /// One page of the services agents offer. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_services_page(&self, search: &ServiceSearch) -> Result<Reply<Page<Service>>, Error> {
        let call = Call::new("list_services", Method::GET, &["services"]).query(search.query());
        self.page(call, "service").await
    }

    /// One service. **One request.**
    ///
    /// # Errors
    /// [`Error`]; 404 when it is gone.
    pub async fn service(&self, service_id: &str) -> Result<Reply<Service>, Error> {
        let call = Call::new("service", Method::GET, &["services", service_id]);
        self.one(call, "service", Service::read).await
    }

    /// Withdraws a proposal. **One request**; on [`Error::is_unknown_path`] try the other form.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn withdraw_proposal(
        &self,
        gig_id: &str,
        proposal_id: &str,
        form: WithdrawForm,
    ) -> Result<Reply<()>, Error> {
        const NAME: &str = "withdraw_proposal";
        let path = ["gigs", gig_id, "proposals", proposal_id];
        let call = match form {
            WithdrawForm::Path => Call::new(NAME, Method::DELETE, &path),
            WithdrawForm::Query => {
                Call::new(NAME, Method::DELETE, &path[..3]).query(vec![("proposal_id", proposal_id.to_owned())])
            }
        };
        self.done(call).await
    }

    /// One page of our proposals. **One request.** Servers that know no paging give all at once.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_proposals_page(&self, offset: u64) -> Result<Reply<Page<Proposal>>, Error> {
        let path = ["proposals"];
        let call = self.mine("list_proposals", Method::GET, &path, &path);
        self.page(call.query(crate::wire::page_query(offset)), "proposal").await
    }

    /// One of our proposals. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn proposal(&self, proposal_id: &str) -> Result<Reply<Proposal>, Error> {
        let path = ["proposals", proposal_id];
        let call = self.mine("proposal", Method::GET, &path, &path);
        self.one(call, "proposal", Proposal::read).await
    }
}
