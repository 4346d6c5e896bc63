//! An agent's versions, and going back to one.

use domain::agent_file::AgentFile;
use rpc::convert::timestamp;
use rpc::error::{Code, status};
use rpc::v1::{AgentVersion, RollbackRequest, RollbackResponse};
use store::bundles::{self, Bundle};
use store::{agents, audit, run_tx};
use tonic::Status;

use super::Api;
use crate::error::of_store;
use crate::wake::Topic;

/// Versions looked at.
const MOST: i64 = 200;
/// Digits of a hash that name a version.
const FEWEST: usize = 6;

impl Api {
    /// The versions of an agent, the newest first.
    pub(super) async fn versions(&self, agent: &str) -> Result<Vec<AgentVersion>, Status> {
        let agent = agents::get(&self.desk.store, agent).await.map_err(of_store)?;
        let known = bundles::of_agent(&self.desk.store, &agent.name, MOST)
            .await
            .map_err(of_store)?;
        Ok(known.iter().map(|bundle| shown(bundle, &agent.version)).collect())
    }

    /// Whether this is the version an agent was taken back from: the last that was added, and not the current one.
    pub(super) async fn is_rolled_back(&self, agent: &str, sha256: &str) -> Result<bool, Status> {
        let newest = bundles::of_agent(&self.desk.store, agent, 1).await.map_err(of_store)?;
        if newest.first().is_none_or(|newest| newest.sha256 != sha256) {
            return Ok(false);
        }
        let left = agents::has_left(&self.desk.store, agent).await.map_err(of_store)?;
        let current = agents::get(&self.desk.store, agent).await.map_err(of_store)?.version;
        Ok(!left && current != sha256)
    }

    /// Gives an agent an earlier version, with the file it came with.
    pub(super) async fn roll_back(&self, request: &RollbackRequest, actor: &str) -> Result<RollbackResponse, Status> {
        let agent = agents::get(&self.desk.store, &request.agent).await.map_err(of_store)?;
        let known = bundles::of_agent(&self.desk.store, &agent.name, MOST)
            .await
            .map_err(of_store)?;
        let from = known.iter().find(|bundle| bundle.sha256 == agent.version);
        let to = chosen(&known, &agent.version, &request.version)?;
        let refused = |error: String| {
            status(
                Code::Refused,
                "OLD_FILE",
                format!("this release cannot read the file it came with: {error}"),
            )
        };
        let spec: AgentFile = serde_json::from_value(to.spec.clone()).map_err(|error| refused(error.to_string()))?;
        let template = self.own_letter(&spec, &to.sha256).await?;
        run_tx!(self.desk.store, "agent_rollback", |tx| {
            agents::put(tx, &spec, agent.mode, &to.sha256, template.as_deref()).await?;
            audit::record(tx, actor, "agents.rollback", &agent.name, Some(&to.sha256)).await
        })
        .map_err(of_store)?;
        self.desk.wake.wake(Topic::Overview);
        Ok(RollbackResponse {
            agent: Some(self.named(&agent.name).await?),
            from: from.map(|bundle| shown(bundle, &to.sha256)),
            to: Some(shown(to, &to.sha256)),
        })
    }
}

/// The version that is meant, or the one added before the current one.
fn chosen<'a>(known: &'a [Bundle], current: &str, wanted: &str) -> Result<&'a Bundle, Status> {
    if wanted.is_empty() {
        let older = known.iter().skip_while(|bundle| bundle.sha256 != current).nth(1);
        let none = || {
            status(
                Code::Refused,
                "NO_OLDER",
                "there is no version before the current one: see `steward agents versions`",
            )
        };
        return older.ok_or_else(none);
    }
    let labelled = known.iter().find(|bundle| bundle.label.as_deref() == Some(wanted));
    let hashed = |bundle: &&Bundle| wanted.len() >= FEWEST && bundle.sha256.starts_with(wanted);
    let mut fits = known.iter().filter(hashed);
    match (labelled, fits.next(), fits.next()) {
        (Some(one), _, _) | (None, Some(one), None) => Ok(one),
        (None, Some(_), Some(_)) => Err(status(
            Code::Invalid,
            "AMBIGUOUS",
            format!("several versions begin with {wanted}"),
        )),
        (None, None, _) => Err(status(
            Code::NotFound,
            "NOT_FOUND",
            format!(
                "no version is called {wanted}, and none begins so (at least {FEWEST} digits): see `steward agents versions`"
            ),
        )),
    }
}

fn shown(bundle: &Bundle, current: &str) -> AgentVersion {
    AgentVersion {
        sha256: bundle.sha256.clone(),
        label: bundle.label.clone().unwrap_or_default(),
        bytes: u64::try_from(bundle.bytes).unwrap_or(0),
        added_at: Some(timestamp(bundle.added_at)),
        current: bundle.sha256 == current,
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn bundle(sha256: &str, label: Option<&str>) -> Bundle {
        Bundle {
            sha256: sha256.to_owned(),
            agent: "demo".to_owned(),
            bytes: 1,
            spec: serde_json::Value::Null,
            label: label.map(str::to_owned),
            added_at: Utc::now(),
        }
    }

    #[test]
    fn a_version_is_named_by_its_label_its_hash_or_its_place() {
        let known = [
            bundle("ccccccc1", Some("v3")),
            bundle("bbbbbbb1", Some("v2")),
            bundle("bbbbbbb2", None),
        ];
        let name = |current, wanted| chosen(&known, current, wanted).map(|bundle| bundle.sha256.as_str());
        assert_eq!(name("ccccccc1", "").unwrap(), "bbbbbbb1", "the one before");
        assert_eq!(name("bbbbbbb1", "").unwrap(), "bbbbbbb2");
        assert_eq!(name("ccccccc1", "v2").unwrap(), "bbbbbbb1");
        assert_eq!(name("ccccccc1", "bbbbbbb2").unwrap(), "bbbbbbb2");
        assert_eq!(Code::of(&name("bbbbbbb2", "").unwrap_err()), Code::Refused);
        assert_eq!(Code::of(&name("ccccccc1", "bbbbbb").unwrap_err()), Code::Invalid);
        assert_eq!(
            Code::of(&name("ccccccc1", "ccc").unwrap_err()),
            Code::NotFound,
            "too short to be sure"
        );
    }
}
