//! The page at `/`: the world at a glance, and forms that do by hand what `/control` does for scripts.
//!
//! Whoever reaches the control surface reaches this; both refuse what another site's page sends.

use std::{collections::HashMap, sync::Arc};

use askama::Template;
use axum::{
    Form, Router,
    extract::{Query, Request, State},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    acts::{Act, Echo, Message, Moderate, Names, Resolve, Review, Words, perform},
    api::reply::Params,
    app::App,
    faults::Spec,
    refusal::Refusal,
    sync::lock,
    time::iso,
    world::{Contract, Gig, GigSpec, Status, World},
};

mod claim;

/// Newest rows of each kind shown.
const ROWS: usize = 50;
/// Characters of a title shown.
const TITLE: usize = 80;
/// What the page may load: nothing but its own style.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'";

struct AgentRow {
    username: String,
    status: &'static str,
    missing: String,
    /// The code its mail holds, while one waits to be confirmed.
    email_code: Option<String>,
    /// The end of its claim link, while nobody has claimed it.
    claim: Option<String>,
    earned: String,
}

struct GigRow {
    id: String,
    title: String,
    client: &'static str,
    category: String,
    budget: String,
    status: &'static str,
    moderation: String,
    proposals: Vec<String>,
    rivals: u64,
}

struct ContractRow {
    id: String,
    title: String,
    agent: String,
    amount: String,
    status: &'static str,
    deliveries: u32,
    messages: usize,
    /// The forms that can do something now: act, and what its button says.
    steps: Vec<(&'static str, &'static str)>,
}

struct BreachRow {
    at: String,
    agent: String,
    what: &'static str,
    detail: String,
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    now: String,
    frozen: bool,
    dialect: &'static str,
    refused: Option<String>,
    agents: Vec<AgentRow>,
    gigs: Vec<GigRow>,
    contracts: Vec<ContractRow>,
    breaches: Vec<BreachRow>,
    breaches_total: u64,
    faults: String,
    counts: Vec<(&'static str, usize)>,
}

/// The page and where its forms go.
pub fn router(app: &Arc<App>) -> Router {
    Router::new()
        .route("/", get(show))
        .route("/page.css", get(style))
        .route("/act", post(act))
        .route("/dashboard/agents/claim/{token}", get(claim::show).post(claim::claim))
        .layer(middleware::from_fn(same_origin))
        .with_state(Arc::clone(app))
}

/// Refuses what a browser sends on behalf of another site.
pub async fn same_origin(request: Request, next: Next) -> Response {
    if is_ours(request.headers()) {
        return next.run(request).await;
    }
    Refusal::forbidden("other_origin", "Sent by a page of another origin").into_response()
}

/// Whether a request comes from no page at all, or from one of this address.
fn is_ours(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let origin = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok());
    origin.is_some_and(|url| {
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        url.host_str().is_some_and(|name| format!("{name}{port}") == host)
    })
}

async fn style() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (kind, include_str!("../templates/page.css")).into_response()
}

async fn show(State(app): State<Arc<App>>, Query(params): Query<Params>) -> Response {
    let faults = serde_json::to_string(&lock(&app.faults).list()).unwrap_or_default();
    let page = app.see(|world| page(world, faults, params.get("refused").cloned(), app.clock.is_frozen()));
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    match page.render() {
        Ok(text) => (headers, Html(text)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn page(world: &World, faults: String, refused: Option<String>, frozen: bool) -> Page {
    let agents = world.agents.iter().map(|agent| AgentRow {
        username: agent.username.clone(),
        status: agent.standing.name(),
        missing: world.missing(agent).join(", "),
        email_code: agent.email_code.clone(),
        claim: agent.may_be_claimed().then(|| agent.claim_token.to_string()),
        earned: agent.stats.earned.to_string(),
    });
    let breaches = world.etiquette.breaches();
    Page {
        now: iso(world.now()),
        frozen,
        dialect: world.settings().dialect.name(),
        refused,
        agents: agents.collect(),
        gigs: world
            .gigs
            .iter()
            .rev()
            .take(ROWS)
            .map(|gig| gig_row(world, gig))
            .collect(),
        contracts: world
            .contracts
            .iter()
            .rev()
            .take(ROWS)
            .map(|contract| contract_row(world, contract))
            .collect(),
        breaches: breaches
            .iter()
            .rev()
            .take(ROWS)
            .map(|breach| BreachRow {
                at: breach.at.clone(),
                agent: breach.agent.clone(),
                what: breach.what,
                detail: breach.detail.clone(),
            })
            .collect(),
        breaches_total: world.etiquette.total(),
        faults,
        counts: vec![
            ("agents", world.agents.len()),
            ("gigs", world.gigs.len()),
            ("proposals", world.proposals.len()),
            ("contracts", world.contracts.len()),
        ],
    }
}

fn short(text: &str) -> String {
    text.chars().take(TITLE).collect()
}

fn gig_row(world: &World, gig: &Gig) -> GigRow {
    let proposals = gig.proposals.iter().filter_map(|id| world.proposals.get(*id));
    let worded = proposals.map(|proposal| {
        let agent = world.agents.get(proposal.agent);
        let name = agent.map(|agent| agent.username.as_str()).unwrap_or_default();
        format!("{name} {} ({})", proposal.amount, proposal.state.name())
    });
    GigRow {
        id: gig.id.to_string(),
        title: short(&gig.title),
        client: gig.client_name,
        category: gig.category.clone(),
        budget: gig.budget.to_string(),
        status: gig.status,
        moderation: gig.moderation.clone(),
        proposals: worded.collect(),
        rivals: gig.rivals,
    }
}

fn contract_row(world: &World, contract: &Contract) -> ContractRow {
    let agent = world.agents.get(contract.agent);
    let title = world.gigs.get(contract.gig).map(|gig| short(&gig.title));
    let steps: &[(&str, &str)] = match contract.status {
        Status::Active => &[("fund", "Fund"), ("cancel", "Cancel")],
        Status::Funded => &[("dispute", "Dispute"), ("cancel", "Cancel")],
        Status::Delivered => &[
            ("approve", "Approve"),
            ("revise", "Ask for changes"),
            ("dispute", "Dispute"),
            ("cancel", "Cancel"),
        ],
        Status::Disputed => &[("resolve_approved", "Pay the agent"), ("resolve_cancelled", "Pay back")],
        Status::Approved if contract.review.is_none() => &[("review", "Review with 5")],
        Status::Approved | Status::Cancelled => &[],
    };
    ContractRow {
        id: contract.id.to_string(),
        title: title.unwrap_or_default(),
        agent: agent.map(|agent| agent.username.clone()).unwrap_or_default(),
        amount: contract.amount.to_string(),
        status: contract.status.name(),
        deliveries: contract.deliveries,
        messages: contract.messages.len(),
        steps: steps.to_vec(),
    }
}

/// Does what a form asks for, and shows the page again.
async fn act(State(app): State<Arc<App>>, Form(fields): Form<HashMap<String, String>>) -> Redirect {
    let done = read(&fields).and_then(|act| perform(&app, &Names::new(), &act));
    match done {
        Ok(_) => Redirect::to("/"),
        Err(refusal) => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("refused", &refusal.message);
            Redirect::to(&format!("/?{}", query.finish()))
        }
    }
}

/// The act a form describes.
fn read(fields: &HashMap<String, String>) -> Result<Act, Refusal> {
    let field = |name: &str| fields.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    let gig = || field("of").unwrap_or_default().to_owned();
    let words = |usual: &str| Words {
        gig: gig(),
        text: field("text").unwrap_or(usual).to_owned(),
    };
    let resolve = |outcome: &str| {
        Act::Resolve(Resolve {
            gig: gig(),
            outcome: outcome.to_owned(),
            text: field("text").map(str::to_owned),
        })
    };
    Ok(match field("act").unwrap_or_default() {
        "post" => Act::Post(Box::new(gig_spec(fields)?)),
        "accept" => Act::Accept(gig()),
        "close" => Act::Close(gig()),
        "moderate" => Act::Moderate(Moderate {
            gig: gig(),
            status: field("status").unwrap_or("approved").to_owned(),
        }),
        "fund" => Act::Fund(gig()),
        "approve" => Act::Approve(gig()),
        "cancel" => Act::Cancel(gig()),
        "dispute" => Act::Dispute(words("The work does not match what the brief asked for")),
        "revise" => Act::Revise(words("Please shorten the introduction and fix the second section")),
        "resolve_approved" => resolve("approved"),
        "resolve_cancelled" => resolve("cancelled"),
        "review" => Act::Review(Review {
            gig: gig(),
            rating: 5,
            text: field("text").map(str::to_owned),
        }),
        "message" => Act::Message(Message {
            gig: gig(),
            text: words("How is it going?").text,
            sender_type: field("sender_type").map(str::to_owned),
        }),
        "echo" => Act::Echo(Echo { gig: gig(), rounds: 20 }),
        "suspend" => Act::Suspend(gig()),
        "activate" => Act::Activate(gig()),
        "faults" => {
            let specs: Vec<Spec> = serde_json::from_str(field("faults").unwrap_or("[]"))
                .map_err(|error| Refusal::invalid(format!("faults not changed: {error}")))?;
            Act::Faults(specs)
        }
        "dialect" => {
            let dialect = field("dialect").unwrap_or("docs");
            Act::Settings(Map::from_iter([("dialect".to_owned(), Value::from(dialect))]))
        }
        other => return Err(Refusal::invalid(format!("there is no act {other:?}"))),
    })
}

/// The gig a form describes; empty fields are made up.
fn gig_spec(fields: &HashMap<String, String>) -> Result<GigSpec, Refusal> {
    let names = ["title", "description", "category", "template", "budget_usdc"];
    let given = fields
        .iter()
        .filter(|(name, text)| names.contains(&name.as_str()) && !text.trim().is_empty())
        .map(|(name, text)| (name.clone(), Value::from(text.trim())));
    serde_json::from_value(Value::Object(given.collect()))
        .map_err(|error| Refusal::invalid(format!("gig not posted: {error}")))
}
