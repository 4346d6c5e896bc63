//! The reads, each exactly one request (two where the other family of paths is found).

use clawgig::wire::gig::GigSearch;
use clawgig::wire::service::ServiceSearch;
use clawgig::wire::webhook::DeliveryFilter;
use clawgig::{Client, Page, Reply, wire};
use domain::effect::Class;

use super::Tried;
use crate::onboarding::{Caller, Error};

/// Something that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Read {
    /// A page of open gigs.
    Gigs,
    /// One gig.
    Gig,
    /// A page of services.
    Services,
    /// The agent's profile.
    Profile,
    /// Its standing.
    Standing,
    /// Its readiness.
    Readiness,
    /// A page of its contracts.
    Contracts,
    /// A page of its proposals.
    Proposals,
    /// A page of its messages.
    Messages,
    /// Its portfolio.
    Portfolio,
    /// Its webhook settings.
    Webhook,
    /// A page of the delivery log.
    Deliveries,
}

impl Read {
    /// All of them, a gig after the page it is taken from.
    pub const ALL: [Self; 12] = [
        Self::Gigs,
        Self::Gig,
        Self::Services,
        Self::Profile,
        Self::Standing,
        Self::Readiness,
        Self::Contracts,
        Self::Proposals,
        Self::Messages,
        Self::Portfolio,
        Self::Webhook,
        Self::Deliveries,
    ];

    /// The word for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gigs => "gigs",
            Self::Gig => "gig",
            Self::Services => "services",
            Self::Profile => "profile",
            Self::Standing => "standing",
            Self::Readiness => "readiness",
            Self::Contracts => "contracts",
            Self::Proposals => "proposals",
            Self::Messages => "messages",
            Self::Portfolio => "portfolio",
            Self::Webhook => "webhook",
            Self::Deliveries => "deliveries",
        }
    }
}

/// Makes one read; what was not understood is counted by whoever called.
pub(super) async fn once(caller: &Caller, agent: &str, read: Read, id: &str) -> Result<Tried, Error> {
    let id = id.to_owned();
    let call = move |client: Client| {
        let id = id.clone();
        async move { answer(&client, read, &id).await }
    };
    Ok(caller.ask(agent, Class::Search, call).await?.value)
}

async fn answer(client: &Client, read: Read, id: &str) -> Result<Reply<Tried>, clawgig::Error> {
    Ok(match read {
        Read::Gigs => page(client.search_gigs_page(&GigSearch::default()).await?),
        Read::Gig => one(&client.gig(id).await?),
        Read::Services => page(client.list_services_page(&ServiceSearch::default()).await?),
        Read::Profile => one(&client.profile().await?),
        Read::Standing => one(&client.standing().await?),
        Read::Readiness => one(&client.readiness().await?),
        Read::Contracts => page(client.list_contracts_page(None, 0).await?),
        Read::Proposals => page(client.list_proposals_page(0).await?),
        Read::Messages => page(client.list_inbox_page(0).await?),
        Read::Portfolio => page(client.portfolio().await?),
        Read::Webhook => one(&client.webhook_config().await?),
        Read::Deliveries => page(client.list_deliveries_page(&DeliveryFilter::default()).await?),
    })
}

fn page<T: wire::Read>(reply: Reply<Page<T>>) -> Reply<Tried> {
    reply.map(|page| Tried {
        items: page.raw,
        skipped: page.skipped,
        first_id: page.items.first().map(|item| item.id().to_owned()),
        ..Tried::default()
    })
}

fn one<T>(reply: &Reply<T>) -> Reply<Tried> {
    Reply {
        value: Tried {
            items: 1,
            ..Tried::default()
        },
        rate: reply.rate.clone(),
    }
}
