//! `steward doctor live`, `steward doctor sandbox` and `steward smoke --live`: is everything there, and does the marketplace speak as it did?

mod sandbox;
mod secrets;

use anyhow::Result;
use domain::metering::serves;
use rpc::v1;
use serde_json::{Value, json};

use crate::args::{DoctorCommand, Global};
use crate::context::{Access, Peer};
use crate::failure::{self, Failure};
use crate::out::Out;
use crate::{render, view};

/// What is asked once for the whole stack.
const COMMON: [(&str, v1::Check); 2] = [("marketplace", v1::Check::Marketplace), ("clocks", v1::Check::Clock)];
/// What is asked for each agent.
const EACH: [(&str, v1::Check); 4] = [
    ("key", v1::Check::Key),
    ("readiness", v1::Check::Readiness),
    ("webhook", v1::Check::Webhook),
    ("test event", v1::Check::TestEvent),
];
/// The reads, a gig after the page it is taken from.
const READS: [(&str, v1::Read); 12] = [
    ("gigs", v1::Read::Gigs),
    ("gig", v1::Read::Gig),
    ("services", v1::Read::Services),
    ("profile", v1::Read::Profile),
    ("standing", v1::Read::Standing),
    ("readiness", v1::Read::Readiness),
    ("contracts", v1::Read::Contracts),
    ("proposals", v1::Read::Proposals),
    ("messages", v1::Read::Messages),
    ("portfolio", v1::Read::Portfolio),
    ("webhook", v1::Read::Webhook),
    ("deliveries", v1::Read::Deliveries),
];
/// Names that are shown of what a read did not understand.
const MOST_NAMES: usize = 6;

/// One line.
struct Line {
    agent: String,
    check: &'static str,
    outcome: String,
    detail: String,
    fix: String,
}

impl Line {
    fn shown(&self) -> Value {
        json!({
            "agent": self.agent, "check": self.check, "outcome": self.outcome, "detail": self.detail, "fix": self.fix,
        })
    }

    fn text(&self) -> String {
        let about = if self.agent.is_empty() {
            self.check.to_owned()
        } else {
            format!("{}: {}", self.agent, self.check)
        };
        let mut text = format!("{:4}  {about:24}  {}", self.outcome, render::plain(&self.detail));
        if !self.fix.is_empty() {
            text.push_str(&format!("\n      {:24}  {}", "", render::plain(&self.fix)));
        }
        text
    }
}

pub(super) async fn run(global: &Global, command: Option<DoctorCommand>, out: &Out) -> Result<u8> {
    let name = match command {
        Some(DoctorCommand::Live { name }) => name,
        Some(DoctorCommand::Sandbox) => return sandbox::run(global, out),
        None => {
            out.result(&json!({ "doctors": ["live", "sandbox"] }), |_| {
                "steward doctor live [AGENT]  looks whether everything is there that live work needs\n\
                 steward doctor sandbox       looks what keeps agents in on this machine"
                    .to_owned()
            })?;
            return Ok(0);
        }
    };
    let access = Access::find(global)?;
    let scheduler = access.patient_scheduler().await?;
    let agents = agents(&scheduler, name).await?;
    let mut lines = Vec::new();
    for (what, check) in COMMON {
        let line = examine(&scheduler, "", what, check).await;
        tell(&mut lines, line, out)?;
    }
    let books = books(&access).await;
    for agent in &agents {
        for (what, check) in EACH {
            let line = examine(&scheduler, &agent.name, what, check).await;
            tell(&mut lines, line, out)?;
        }
        for line in models(agent, &books).into_iter().chain(rests(agent)) {
            tell(&mut lines, line, out)?;
        }
        if let Some(line) = secrets::of(&access, agent).await {
            tell(&mut lines, line, out)?;
        }
    }
    let failed = lines.iter().filter(|line| line.outcome == "fail").count();
    if out.json() {
        let checks: Vec<_> = lines.iter().map(Line::shown).collect();
        out.line(&json!({ "ok": failed == 0, "failed": failed, "checks": checks }).to_string())?;
    } else if agents.is_empty() {
        out.line("no agent yet: `steward agents add FILE`")?;
    } else {
        out.line(&format!("{} checks, {failed} failed", lines.len()))?;
    }
    Ok(if failed == 0 { 0 } else { failure::FAILED })
}

/// Prints a line as soon as it is known: some of them take their time.
fn tell(lines: &mut Vec<Line>, line: Line, out: &Out) -> Result<()> {
    if !out.json() {
        out.line(&line.text())?;
    }
    lines.push(line);
    Ok(())
}

async fn examine(scheduler: &Peer, agent: &str, what: &'static str, check: v1::Check) -> Line {
    let mut market = scheduler.marketplace();
    let request = v1::ExamineRequest {
        name: agent.to_owned(),
        check: check.into(),
    };
    let found = scheduler.ask(what, market.examine(request)).await;
    let (outcome, detail, fix) = match found {
        Ok(found) => (found.outcome, found.detail, found.fix),
        Err(error) => (
            "fail".to_owned(),
            failure::sentence(&error),
            "steward status".to_owned(),
        ),
    };
    Line {
        agent: agent.to_owned(),
        check: what,
        outcome,
        detail,
        fix,
    }
}

/// The agents asked about.
async fn agents(scheduler: &Peer, name: Option<String>) -> Result<Vec<v1::Agent>> {
    let mut client = scheduler.agents();
    let listed = scheduler
        .ask("list the agents", client.list_agents(v1::ListAgentsRequest {}))
        .await?;
    let Some(name) = name else { return Ok(listed.agents) };
    let found: Vec<_> = listed.agents.into_iter().filter(|agent| agent.name == name).collect();
    if found.is_empty() {
        return Err(Failure::NotFound(format!("there is no agent {name}: see `steward agents list`")).into());
    }
    Ok(found)
}

/// What billing knows of providers and prices, or why it cannot be asked.
type Books = std::result::Result<(Vec<v1::Provider>, Vec<v1::Price>), String>;

async fn books(access: &Access) -> Books {
    let asked = async {
        let billing = access.billing().await?;
        let mut client = billing.billing();
        let providers = billing
            .ask("list the providers", client.list_providers(v1::ListProvidersRequest {}))
            .await?;
        let prices = billing
            .ask("list the prices", client.list_prices(v1::ListPricesRequest {}))
            .await?;
        Ok::<_, anyhow::Error>((providers.providers, prices.prices))
    };
    asked.await.map_err(|error| failure::sentence(&error))
}

/// That an agent is paused or winding down, if it is: it is meant, and so no failure.
fn rests(agent: &v1::Agent) -> Option<Line> {
    if !agent.paused && !agent.winding_down {
        return None;
    }
    let why = match agent.rest_reason.as_str() {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    Some(Line {
        agent: agent.name.clone(),
        check: "activity",
        outcome: "skip".to_owned(),
        detail: format!("it is {}{why}: it bids on nothing new", view::activity(agent)),
        fix: format!("steward agents resume {}", agent.name),
    })
}

/// Whether each model of an agent has a provider with a key, and a price.
fn models(agent: &v1::Agent, books: &Books) -> [Line; 2] {
    let line = |check, outcome: &str, detail: String, fix: String| Line {
        agent: agent.name.clone(),
        check,
        outcome: outcome.to_owned(),
        detail,
        fix,
    };
    let (providers, prices) = match books {
        Ok(books) => books,
        Err(error) => {
            let skip = |check| {
                line(
                    check,
                    "skip",
                    format!("billing cannot be asked: {error}"),
                    String::new(),
                )
            };
            return [skip("provider"), skip("prices")];
        }
    };
    let of_model = |provider: &&v1::Provider, model: &str| provider.models.iter().any(|pattern| serves(pattern, model));
    let without: Vec<&str> = agent
        .models
        .iter()
        .filter(|model| {
            let provider = providers.iter().find(|provider| of_model(provider, model));
            provider.is_none_or(|provider| !provider.has_key)
        })
        .map(String::as_str)
        .collect();
    let unpriced: Vec<&str> = agent
        .models
        .iter()
        .filter(|model| !prices.iter().any(|price| serves(model, &price.model)))
        .map(String::as_str)
        .collect();
    let all = agent.models.join(", ");
    let failing = agent.models.iter().find_map(|model| {
        let provider = providers.iter().find(|provider| of_model(provider, model))?;
        Some((provider, provider.outage.as_ref()?))
    });
    let provider = if let (true, Some((provider, outage))) = (without.is_empty(), failing) {
        line(
            "provider",
            "fail",
            format!(
                "calls of {} fail: {}; {} in a row, the last {}",
                provider.name,
                outage.error,
                outage.failures,
                render::shown(&view::time(outage.last_at.as_ref()), render::As::Age),
            ),
            "look at its status page, and at your account and key there; runs wait and go on by themselves".to_owned(),
        )
    } else if without.is_empty() {
        line(
            "provider",
            "ok",
            format!("a provider with a key serves {all}"),
            String::new(),
        )
    } else {
        line(
            "provider",
            "fail",
            format!("no provider with a key serves {}", without.join(", ")),
            "name it under [[upstreams]] in config/billing.toml, with its key, and start billing again".to_owned(),
        )
    };
    let price = match unpriced.first() {
        None => line("prices", "ok", format!("priced: {all}"), String::new()),
        Some(first) => line(
            "prices",
            "fail",
            format!(
                "without a price, and counted as the dearest known: {}",
                unpriced.join(", ")
            ),
            format!("steward prices set {first} --provider NAME --input USD --output USD"),
        ),
    };
    [provider, price]
}

pub(super) async fn smoke(global: &Global, name: Option<String>, out: &Out) -> Result<u8> {
    let access = Access::find(global)?;
    let scheduler = access.patient_scheduler().await?;
    let wanted = name.is_some();
    let mut agents = agents(&scheduler, name).await?;
    agents.retain(|agent| agent.has_key || wanted);
    if agents.is_empty() {
        let why = "no agent has a marketplace key: `steward agents register NAME --webhook-url https://…`";
        return Err(Failure::Refused(why.to_owned()).into());
    }
    let (mut shown, mut failed, mut unknown) = (Vec::new(), 0_u32, 0_i64);
    for agent in &agents {
        let mut gig = String::new();
        for (what, read) in READS {
            if read == v1::Read::Gig && gig.is_empty() {
                continue;
            }
            let tried = attempt(&scheduler, &agent.name, what, read, &gig).await;
            if read == v1::Read::Gigs {
                gig.clone_from(&tried.first_id);
            }
            failed += u32::from(!tried.ok);
            unknown += tried.unknown.iter().map(|one| one.seen).sum::<i64>();
            if !out.json() {
                out.line(&read_line(&agent.name, what, &tried))?;
            }
            shown.push(read_shown(&agent.name, what, &tried));
        }
    }
    if out.json() {
        out.line(&json!({ "ok": failed == 0, "failed": failed, "unknown": unknown, "reads": shown }).to_string())?;
    } else {
        let drift = if unknown == 0 {
            ""
        } else {
            "; `steward api drift` names it"
        };
        out.line(&format!(
            "{} reads, {failed} failed, {unknown} times something was not understood{drift}",
            shown.len()
        ))?;
    }
    Ok(if failed == 0 { 0 } else { failure::FAILED })
}

async fn attempt(scheduler: &Peer, agent: &str, what: &str, read: v1::Read, id: &str) -> v1::ReadTried {
    let mut market = scheduler.marketplace();
    let request = v1::TryReadRequest {
        name: agent.to_owned(),
        read: read.into(),
        id: id.to_owned(),
    };
    let tried = scheduler.ask(&format!("read {what}"), market.try_read(request)).await;
    tried.unwrap_or_else(|error| v1::ReadTried {
        error: failure::sentence(&error),
        ..v1::ReadTried::default()
    })
}

fn read_line(agent: &str, what: &str, tried: &v1::ReadTried) -> String {
    let about = format!("{agent}: {what}");
    if !tried.ok {
        return format!("fail  {about:24}  {}", render::plain(&tried.error));
    }
    let mut text = format!("ok    {about:24}  {}", tried.items);
    if tried.skipped > 0 {
        text.push_str(&format!(", {} unreadable", tried.skipped));
    }
    if !tried.unknown.is_empty() {
        let names = tried.unknown.iter().take(MOST_NAMES);
        let names: Vec<_> = names
            .map(|one| format!("{} {} of {}", one.what, one.name, one.place))
            .collect();
        let more = if tried.unknown.len() > MOST_NAMES { ", …" } else { "" };
        text.push_str(&format!(", not understood: {}{more}", render::plain(&names.join(", "))));
    }
    text
}

fn read_shown(agent: &str, what: &str, tried: &v1::ReadTried) -> Value {
    let unknown: Vec<_> = tried
        .unknown
        .iter()
        .map(|one| json!({ "what": one.what, "place": one.place, "name": one.name, "seen": one.seen }))
        .collect();
    json!({
        "agent": agent, "read": what, "ok": tried.ok, "error": tried.error, "items": tried.items,
        "skipped": tried.skipped, "unknown": unknown,
    })
}

#[cfg(test)]
mod tests;
