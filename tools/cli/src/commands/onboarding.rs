//! From an agent file to an agent that may bid: `steward agents register`, `readiness`, `verify-email`, `webhooks`,
//! `claim-link`.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::{Context as _, Result};
use rpc::v1;
use serde_json::{Value, json};

use crate::args::{Register, VerifyEmail, Webhooks};
use crate::context::{Access, Peer};
use crate::failure::{self, Failure};
use crate::out::Out;
use crate::render::{self, As};
use crate::view;

/// The longest line that can hold a code.
const LONGEST_CODE: usize = 64;

/// Something done after the registration itself.
struct Step {
    what: &'static str,
    said: String,
    /// The command that does it by hand; empty when it was done.
    fix: String,
}

pub(super) async fn register(access: &Access, options: Register, out: &Out) -> Result<u8> {
    let peer = access.patient_scheduler().await?;
    let name = options.name.clone();
    let request = v1::RegisterAgentRequest {
        name: options.name,
        webhook_url: options.webhook_url,
        username: options.username.unwrap_or_default(),
        again: options.again,
    };
    let mut market = peer.marketplace();
    let registered = peer.ask("register the agent", market.register_agent(request)).await?;
    let mut steps = Vec::new();
    if !registered.has_webhook_secret {
        steps.push(secret(&peer, &name).await);
    }
    steps.push(profile(&peer, &name).await);
    steps.push(code(&peer, &name).await);
    let claim = if registered.has_claim_link {
        Some(claim(&peer, &name).await?)
    } else {
        None
    };
    let agent = registered.agent.unwrap_or_default();
    let failed = steps.iter().any(|step| !step.fix.is_empty());
    let shown = json!({
        "agent": view::agent(&agent),
        "webhook_url": registered.webhook_url,
        "claim_link": claim,
        "steps": steps.iter().map(|step| json!({
            "what": step.what, "done": step.fix.is_empty(), "said": step.said, "fix": step.fix,
        })).collect::<Vec<_>>(),
    });
    out.result(&shown, |_| {
        registration(
            &name,
            &agent.marketplace_id,
            &registered.webhook_url,
            &steps,
            claim.as_deref(),
        )
    })?;
    if claim.is_some() {
        forget_claim(&peer, &name).await?;
    }
    Ok(u8::from(failed))
}

/// The registration for people: what was done, what is left to do.
fn registration(name: &str, id: &str, url: &str, steps: &[Step], claim: Option<&str>) -> String {
    let mut text = format!(
        "{} is registered as {}; its key is stored sealed\nwebhooks go to {}\n",
        render::plain(name),
        render::plain(id),
        render::plain(url)
    );
    for step in steps {
        let said = render::plain(&step.said);
        text.push_str(&format!("{}: {said}\n", step.what));
        if !step.fix.is_empty() {
            text.push_str(&format!("  then: {}\n", step.fix));
        }
    }
    if let Some(link) = claim {
        text.push_str(&format!(
            "\nClaim it: open this in a browser, signed in as its operator. It is as secret as a key, and shown once:\n  {}\n",
            render::plain(link)
        ));
    }
    text.push_str(&format!(
        "\nLeft to do: the claim, `steward agents verify-email {name} --code DIGITS`, then `steward agents readiness {name}`"
    ));
    text
}

/// The first webhook secret: only a rotation tells one.
async fn secret(peer: &Peer, name: &str) -> Step {
    let request = v1::SetWebhookRequest {
        name: name.to_owned(),
        rotate: true,
        ..v1::SetWebhookRequest::default()
    };
    let mut market = peer.marketplace();
    let made = peer.ask("make the webhook secret", market.set_webhook(request)).await;
    let fix = format!("steward agents webhooks {name} --rotate");
    step(
        "webhook secret",
        made.map(|_| "made, and stored sealed".to_owned()),
        fix,
    )
}

async fn profile(peer: &Peer, name: &str) -> Step {
    let request = v1::SendProfileRequest { name: name.to_owned() };
    let mut market = peer.marketplace();
    let sent = peer.ask("send the profile", market.send_profile(request)).await;
    let said = sent.map(|sent| works(&sent.works_added));
    step("profile", said, format!("steward agents readiness {name} --fix"))
}

fn works(added: &[String]) -> String {
    if added.is_empty() {
        return "sent; its portfolio has nothing new".to_owned();
    }
    format!("sent, with {} in its portfolio", added.join(", "))
}

async fn code(peer: &Peer, name: &str) -> Step {
    let request = v1::VerifyEmailRequest {
        name: name.to_owned(),
        ..v1::VerifyEmailRequest::default()
    };
    let mut market = peer.marketplace();
    let sent = peer.ask("have a code sent", market.verify_email(request)).await;
    let said = sent.map(|sent| format!("a code was sent to {}", sent.sent_to));
    step("e-mail", said, format!("steward agents verify-email {name}"))
}

fn step(what: &'static str, said: Result<String>, fix: String) -> Step {
    match said {
        Ok(said) => Step {
            what,
            said,
            fix: String::new(),
        },
        Err(error) => Step {
            what,
            said: failure::sentence(&error),
            fix,
        },
    }
}

async fn claim(peer: &Peer, name: &str) -> Result<String> {
    let request = v1::GetClaimLinkRequest {
        name: name.to_owned(),
        shown: false,
    };
    let mut market = peer.marketplace();
    Ok(peer
        .ask("read the claim link", market.get_claim_link(request))
        .await?
        .link)
}

/// It was printed: nothing keeps it any more.
async fn forget_claim(peer: &Peer, name: &str) -> Result<()> {
    let request = v1::GetClaimLinkRequest {
        name: name.to_owned(),
        shown: true,
    };
    let mut market = peer.marketplace();
    peer.ask("forget the claim link", market.get_claim_link(request))
        .await?;
    Ok(())
}

pub(super) async fn claim_link(access: &Access, name: String, out: &Out) -> Result<()> {
    let peer = access.patient_scheduler().await?;
    let link = claim(&peer, &name).await?;
    out.result(&json!({ "name": name, "claim_link": link }), |_| {
        format!(
            "{}\nIt is as secret as a key, and is not shown again.",
            render::plain(&link)
        )
    })?;
    forget_claim(&peer, &name).await
}

pub(super) async fn readiness(access: &Access, name: String, fix: bool, out: &Out) -> Result<u8> {
    let peer = access.patient_scheduler().await?;
    let mut market = peer.marketplace();
    let mut sent = Value::Null;
    if fix {
        let request = v1::SendProfileRequest { name: name.clone() };
        let answer = peer.ask("send the profile", market.send_profile(request)).await?;
        sent = json!({ "works_added": answer.works_added });
    }
    let request = v1::GetReadinessRequest { name: name.clone() };
    let ready = peer
        .ask("ask whether it is ready", market.get_readiness(request))
        .await?;
    let each = |list: &[v1::Missing]| -> Value {
        let rows = list.iter().map(|one| json!({ "what": one.what, "fix": one.fix }));
        rows.collect()
    };
    let shown = json!({
        "name": name,
        "ready": ready.ready,
        "missing": each(&ready.missing),
        "recommended": each(&ready.recommended),
        "status": ready.status,
        "claimed": ready.claimed,
        "sent": sent,
    });
    let status = ready.status.clone();
    // A profile that is complete belongs to nobody before it is claimed, and may not bid.
    let unclaimed = ready.claimed == Some(false);
    let may_bid = ready.ready && !unclaimed && matches!(status.as_str(), "" | "active");
    out.result(&shown, |_| progress(&name, &ready, may_bid))?;
    Ok(if may_bid { 0 } else { failure::REFUSED })
}

/// How far an agent is, for people.
fn progress(name: &str, ready: &v1::Readiness, may_bid: bool) -> String {
    let mut text = if may_bid {
        format!("{} is ready to bid", render::plain(name))
    } else {
        format!("{} is not ready to bid", render::plain(name))
    };
    if !ready.status.is_empty() {
        text.push_str(&format!(" ({})", render::plain(&ready.status)));
    }
    let mut list = |title: &str, rows: &[v1::Missing]| {
        for row in rows {
            text.push_str(&format!(
                "\n{title:12} {}\n               {}",
                render::plain(&row.what),
                render::plain(&row.fix)
            ));
        }
    };
    list("missing", &ready.missing);
    if ready.claimed == Some(false) {
        let claim = v1::Missing {
            what: "claim".to_owned(),
            fix: domain::onboarding::remedy("claim", name, None),
        };
        list("missing", &[claim]);
    }
    list("recommended", &ready.recommended);
    if ready.status == "suspended" {
        text.push_str("\nthe marketplace suspended it: see the agent's page in its dashboard");
    }
    if may_bid {
        text.push_str(&format!(
            "\nnext: `steward agents mode {name} auto` lets its bids go out"
        ));
    }
    text
}

pub(super) async fn verify_email(access: &Access, options: VerifyEmail, out: &Out) -> Result<()> {
    let peer = access.patient_scheduler().await?;
    let mut market = peer.marketplace();
    let VerifyEmail { name, email, code } = options;
    let code = match code.as_deref() {
        Some("-") => Some(read_code()?),
        Some(code) => Some(code.to_owned()),
        None => {
            let request = v1::VerifyEmailRequest {
                name: name.clone(),
                email: email.unwrap_or_default(),
                code: String::new(),
            };
            let sent = peer.ask("have a code sent", market.verify_email(request)).await?;
            if !std::io::stdin().is_terminal() || out.json() {
                let shown = json!({ "name": name, "sent_to": sent.sent_to, "verified": false });
                return out.result(&shown, |_| {
                    format!(
                        "a code was sent to {}; then: steward agents verify-email {name} --code DIGITS",
                        render::plain(&sent.sent_to)
                    )
                });
            }
            out.note(&format!(
                "a code was sent to {}; write it here:",
                render::plain(&sent.sent_to)
            ));
            Some(read_code()?)
        }
    };
    let request = v1::VerifyEmailRequest {
        name: name.clone(),
        email: String::new(),
        code: code.unwrap_or_default(),
    };
    peer.ask("confirm the address", market.verify_email(request)).await?;
    out.result(&json!({ "name": name, "verified": true }), |_| {
        format!("the address of {} is verified", render::plain(&name))
    })
}

fn read_code() -> Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("read the code")?;
    let code = line.trim();
    if code.is_empty() || code.len() > LONGEST_CODE {
        return Err(Failure::Usage("write the six digits that came".to_owned()).into());
    }
    Ok(code.to_owned())
}

pub(super) async fn webhooks(access: &Access, options: Webhooks, out: &Out) -> Result<()> {
    let peer = access.patient_scheduler().await?;
    let mut market = peer.marketplace();
    let request = v1::SetWebhookRequest {
        name: options.name.clone(),
        url: options.url.unwrap_or_default(),
        rotate: options.rotate,
        again: options.again,
    };
    let webhook = peer.ask("see to the webhooks", market.set_webhook(request)).await?;
    let shown = json!({
        "name": options.name,
        "url": webhook.url,
        "events": webhook.events,
        "has_secret": webhook.has_secret,
        "secrets": webhook.secrets,
        "known": webhook.known.iter().map(|secret| json!({
            "created_at": view::time(secret.created_at.as_ref()),
            "retires_at": view::time(secret.retires_at.as_ref()),
        })).collect::<Vec<_>>(),
        "rotated": webhook.rotated,
    });
    out.result(&shown, |_| {
        format!(
            "webhooks go to {}\n{}\nevents: {}",
            render::plain(&webhook.url),
            secrets(&options.name, &webhook),
            render::plain(&webhook.events.join(", "))
        )
    })
}

/// Which secrets webhooks may be signed with, newest first, a line each.
fn secrets(name: &str, webhook: &v1::Webhook) -> String {
    let at = |time| render::shown(&view::time(time), As::Time);
    let each = webhook.known.iter().enumerate().map(|(index, secret)| {
        let made = at(secret.created_at.as_ref());
        match (&secret.retires_at, index) {
            (Some(until), _) => format!(
                "  the one made {made} UTC is still accepted until {} UTC",
                at(Some(until))
            ),
            (None, 0) if webhook.rotated => format!("  the new one, made {made} UTC and stored sealed, is in use"),
            (None, 0) => format!("  the one made {made} UTC is in use"),
            (None, _) => format!("  the one made {made} UTC is accepted too"),
        }
    });
    let lines: Vec<_> = each.collect();
    if lines.is_empty() {
        return format!("no secret is known here: `steward agents webhooks {name} --rotate` makes one");
    }
    format!("secrets they may be signed with:\n{}", lines.join("\n"))
}
