//! What an operator does: each is one call to the scheduler, which decides whether it may be done.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use rpc::v1;
use serde::Deserialize;

use crate::Console;
use crate::error::Error;
use crate::guard::is_our_path;
use crate::metrics::ACTIONS;
use crate::show;

/// The longest reason that is passed on.
const MAX_REASON: usize = 500;
/// When the operator gave none.
const NO_REASON: &str = "decided in the console";

/// The fields of our forms; the token is checked before any handler sees them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Fields {
    reason: String,
    decision: String,
    back: String,
}

impl Fields {
    fn reason(&self) -> String {
        let reason: String = show::clean(self.reason.trim()).chars().take(MAX_REASON).collect();
        if reason.is_empty() {
            NO_REASON.to_owned()
        } else {
            reason
        }
    }

    /// Back to where the form stood, with a word about what was done.
    fn back(&self, done: &'static str) -> Response {
        let back = if is_our_path(&self.back) && !self.back.contains(['?', '#']) {
            self.back.as_str()
        } else {
            "/"
        };
        Redirect::to(&format!("{back}?done={done}")).into_response()
    }
}

/// What the word in `?done=` means to people.
pub(crate) fn done(word: &str) -> Option<&'static str> {
    Some(match word {
        "approved" => "Approved: it is sent as soon as the request budget allows.",
        "refused" => "Refused: it is not sent, and what depends on it is called off.",
        "retried" => "Queued again.",
        "dropped" => "Dropped for good; it is kept as a record.",
        _ => return None,
    })
}

/// `POST /effects/{id}/decide`
pub(crate) async fn decide_effect(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Form(fields): Form<Fields>,
) -> Result<Response, Error> {
    let approve = match fields.decision.as_str() {
        "approve" => true,
        "refuse" => false,
        _ => return Err(Error::Invalid("say whether to approve or to refuse it")),
    };
    let request = v1::DecideEffectRequest {
        id,
        approve,
        reason: fields.reason(),
    };
    let mut operations = console.upstream.operations();
    let call = operations.decide_effect(request);
    let word = if approve { "approved" } else { "refused" };
    noted(word, console.upstream.ask_scheduler("held effect", call).await)?;
    Ok(fields.back(word))
}

/// `POST /dead-letters/{kind}/{id}/retry`
pub(crate) async fn retry_dead_letter(
    State(console): State<Arc<Console>>,
    Path((kind, id)): Path<(String, String)>,
    Form(fields): Form<Fields>,
) -> Result<Response, Error> {
    retry_letter(&console, kind, id).await?;
    Ok(fields.back("retried"))
}

/// `POST /dead-letters/{kind}/{id}/drop`
pub(crate) async fn drop_dead_letter(
    State(console): State<Arc<Console>>,
    Path((kind, id)): Path<(String, String)>,
    Form(fields): Form<Fields>,
) -> Result<Response, Error> {
    let request = v1::DropDeadLetterRequest {
        letter: Some(v1::DeadLetterRef { kind, id }),
        reason: fields.reason(),
    };
    let mut operations = console.upstream.operations();
    let call = operations.drop_dead_letter(request);
    noted("dropped", console.upstream.ask_scheduler("dead letter", call).await)?;
    Ok(fields.back("dropped"))
}

/// `POST /contracts/{id}/retry`
pub(crate) async fn retry_contract(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Form(fields): Form<Fields>,
) -> Result<Response, Error> {
    retry_contract_of(&console, id, &fields).await?;
    Ok(fields.back("retried"))
}

/// `POST /runs/{id}/retry`: its contract's, or its own when it works on a proposal.
pub(crate) async fn retry_run(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    Form(fields): Form<Fields>,
) -> Result<Response, Error> {
    let mut contracts = console.upstream.contracts();
    let call = contracts.get_run(v1::GetRunRequest {
        id: id.clone(),
        after_seq: 0,
    });
    let found = console.upstream.ask_scheduler("run", call).await?;
    let contract = found.run.map(|run| run.contract_id).unwrap_or_default();
    if contract.is_empty() {
        retry_letter(&console, "run".to_owned(), id).await?;
    } else {
        retry_contract_of(&console, contract, &fields).await?;
    }
    Ok(fields.back("retried"))
}

async fn retry_letter(console: &Console, kind: String, id: String) -> Result<(), Error> {
    let mut operations = console.upstream.operations();
    let call = operations.retry_dead_letter(v1::DeadLetterRef { kind, id });
    noted("retried", console.upstream.ask_scheduler("dead letter", call).await)
}

async fn retry_contract_of(console: &Console, id: String, fields: &Fields) -> Result<(), Error> {
    let request = v1::RetryContractRequest {
        id,
        reason: fields.reason(),
    };
    let mut contracts = console.upstream.contracts();
    let call = contracts.retry_contract(request);
    noted("retried", console.upstream.ask_scheduler("contract", call).await)
}

fn noted<T>(action: &'static str, answer: Result<T, Error>) -> Result<(), Error> {
    let outcome = if answer.is_ok() { "ok" } else { "failed" };
    metrics::counter!(ACTIONS, "action" => action, "outcome" => outcome).increment(1);
    match &answer {
        Ok(_) => tracing::info!(action, "an operator acted"),
        Err(error) => tracing::info!(action, %error, "an operator's action was not carried out"),
    }
    answer.map(drop)
}
