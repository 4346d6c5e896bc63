//! Whether the secrets an agent's file names are set.

use rpc::v1;

use super::Line;
use crate::commands::secrets::{command, missing};
use crate::context::Access;
use crate::failure;

/// One line for an agent that names any.
pub(super) async fn of(access: &Access, agent: &v1::Agent) -> Option<Line> {
    if agent.secrets.is_empty() {
        return None;
    }
    let asked = async { missing(&access.billing().await?, &agent.name, &agent.secrets).await };
    let (outcome, detail, fix) = match asked.await {
        Ok(missing) if missing.is_empty() => ("ok", format!("set: {}", agent.secrets.join(", ")), String::new()),
        Ok(missing) => {
            let commands: Vec<String> = missing.iter().map(|secret| command(&agent.name, secret)).collect();
            ("fail", format!("not set: {}", missing.join(", ")), commands.join("; "))
        }
        Err(error) => (
            "skip",
            format!("billing cannot be asked: {}", failure::sentence(&error)),
            String::new(),
        ),
    };
    Some(Line {
        agent: agent.name.clone(),
        check: "secrets",
        outcome: outcome.to_owned(),
        detail,
        fix,
    })
}
