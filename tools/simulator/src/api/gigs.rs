//! Finding gigs and bidding on them.

use std::{cmp::Reverse, sync::Arc};

use axum::extract::{Path, Query, State};
use bytes::Bytes;

use super::reply::{Answer, Caller, Page, Params, created, id, ok, parse};
use crate::{
    app::App,
    money::Micro,
    refusal::Refusal,
    world::{Bid, Gig},
};

/// Which gigs to list.
struct Search<'a> {
    text: Option<String>,
    category: Option<&'a str>,
    skills: Vec<String>,
    least: Option<Micro>,
    most: Option<Micro>,
    status: &'a str,
}

impl<'a> Search<'a> {
    fn of(params: &'a Params) -> Self {
        let word = |name: &str| params.get(name).map(String::as_str).filter(|w| !w.is_empty());
        let amount = |name: &str| word(name).and_then(Micro::parse);
        Self {
            text: word("q").map(str::to_lowercase),
            category: word("category"),
            skills: word("skills")
                .map(|list| list.split(',').map(|skill| skill.trim().to_lowercase()).collect())
                .unwrap_or_default(),
            least: amount("min_budget"),
            most: amount("max_budget"),
            status: word("status").unwrap_or("open"),
        }
    }

    fn finds(&self, gig: &Gig) -> bool {
        gig.is_listed()
            && gig.status == self.status
            && self.category.is_none_or(|category| category == gig.category)
            && self.least.is_none_or(|least| gig.budget >= least)
            && self.most.is_none_or(|most| gig.budget <= most)
            && (self.skills.is_empty()
                || gig
                    .skills
                    .iter()
                    .any(|skill| self.skills.contains(&skill.to_lowercase())))
            && self.text.as_ref().is_none_or(|text| {
                gig.title.to_lowercase().contains(text) || gig.description.to_lowercase().contains(text)
            })
    }
}

pub async fn list(State(app): State<Arc<App>>, Query(params): Query<Params>) -> Answer {
    let (search, page) = (Search::of(&params), Page::of(&params));
    let sort = params.get("sort").map_or("newest", String::as_str);
    app.see(|world| {
        // Rows are kept in order of posting.
        let mut found: Vec<&Gig> = world.gigs.iter().filter(|gig| search.finds(gig)).collect();
        match sort {
            "oldest" => {}
            "budget_high" => found.sort_by_key(|gig| Reverse(gig.budget)),
            "budget_low" => found.sort_by_key(|gig| gig.budget),
            _ => found.reverse(),
        }
        let total = found.len();
        let cut = found.into_iter().skip(page.offset).take(page.limit);
        page.written(&cut.map(Gig::view).collect::<Vec<_>>(), total)
    })
}

pub async fn show(State(app): State<Arc<App>>, Path(gig): Path<String>) -> Answer {
    let gig = id(&gig, "Gig")?;
    ok(app.see(|world| world.gig(gig).map(Gig::shown))?)
}

pub async fn propose(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(gig): Path<String>,
    body: Bytes,
) -> Answer {
    let gig = id(&gig, "Gig")?;
    let bid: Bid = parse(&body)?;
    created(app.act(|world| world.propose(caller, gig, bid))?)
}

pub async fn withdraw(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path((gig, proposal)): Path<(String, String)>,
) -> Answer {
    let (gig, proposal) = (id(&gig, "Gig")?, id(&proposal, "Proposal")?);
    ok(app.act(|world| world.withdraw(caller, gig, proposal))?)
}

pub async fn withdraw_by_query(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(gig): Path<String>,
    Query(params): Query<Params>,
) -> Answer {
    let named = params.get("proposal_id");
    let named = named.ok_or_else(|| Refusal::invalid("proposal_id is required"))?;
    let (gig, proposal) = (id(&gig, "Gig")?, id(named, "Proposal")?);
    ok(app.act(|world| world.withdraw(caller, gig, proposal))?)
}

pub async fn own_proposals(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Query(params): Query<Params>,
) -> Answer {
    let page = Page::or_whole(&params, app.dialect());
    let status = params.get("status");
    let rows = app.see(|world| {
        let agent = world.agent(caller)?;
        let newest_first = agent.proposals.iter().rev();
        Ok::<_, Refusal>(
            newest_first
                .filter_map(|id| world.proposals.get(*id))
                .filter(|one| status.is_none_or(|status| status == one.state.name()))
                .map(|proposal| proposal.shown())
                .collect::<Vec<_>>(),
        )
    })?;
    page.cut(rows)
}

pub async fn own_proposal(State(app): State<Arc<App>>, Caller(caller): Caller, Path(proposal): Path<String>) -> Answer {
    let proposal = id(&proposal, "Proposal")?;
    ok(app.see(|world| world.own_proposal(caller, proposal).map(|one| one.shown()))?)
}

pub async fn change_proposal(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Path(proposal): Path<String>,
    body: Bytes,
) -> Answer {
    let proposal = id(&proposal, "Proposal")?;
    let bid: Bid = parse(&body)?;
    ok(app.act(|world| world.change_proposal(caller, proposal, bid))?)
}
