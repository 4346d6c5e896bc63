//! Agents that rest or wind down, and windows of maintenance.

use std::time::Duration;

use domain::effect::Kind;
use rpc::convert::timestamp;
use rpc::error::{Code, status};
use rpc::v1::{BeginMaintenanceRequest, MaintenanceWindow, SetAgentActivityRequest, SetAgentActivityResponse};
use store::agents::{self, Activity};
use store::maintenance::{self, Window};
use store::{audit, effects, observations, proposals, run_tx, runs};
use tonic::Status;

use super::{Api, shapes};
use crate::error::{Error, of_store};
use crate::hours;
use crate::wake::Topic;

/// Characters of a reason.
const LONGEST_REASON: usize = 200;
/// The least and the most a window that is begun lasts, seconds.
const LASTS: std::ops::RangeInclusive<u32> = 60..=7 * 24 * 3600;
/// Why bids that were not sent yet are called off.
const WINDING_DOWN: &str = "the agent winds down";

impl Api {
    /// Lets an agent rest, wind down, or work again.
    pub(super) async fn rest(
        &self,
        request: SetAgentActivityRequest,
        actor: &str,
    ) -> Result<SetAgentActivityResponse, Status> {
        let (activity, act) = match request.activity.as_str() {
            "active" => (Activity::Active, "agents.resume"),
            "paused" => (Activity::Paused { now: request.now }, "agents.pause"),
            "winding_down" => (Activity::WindingDown, "agents.wind_down"),
            _ => {
                let why = "the activity must be active, paused or winding_down";
                return Err(status(Code::Invalid, "BAD_ACTIVITY", why));
            }
        };
        let name = &request.name;
        let reason = line(&request.reason)?;
        if agents::has_left(&self.desk.store, name).await.map_err(of_store)? {
            let why = format!("{name} was removed: add it again first, with `steward agents add`");
            return Err(status(Code::Refused, "AGENT_LEFT", why));
        }
        let (changed, called_off, resting) = run_tx!(self.desk.store, "agent_activity", |tx| {
            let changed = agents::set_activity(tx, name, activity, reason).await?;
            let called_off = if activity == Activity::WindingDown {
                let called_off = effects::cancel_unsent_of_agent(tx, name, &[Kind::Propose], WINDING_DOWN).await?;
                runs::cancel_bids_of_agent(tx, name, WINDING_DOWN).await?;
                proposals::skip_unsent_of_agent(tx, name, WINDING_DOWN).await?;
                called_off
            } else {
                0
            };
            let resting = agents::resting_one(tx, name).await?;
            hours::tell_rest(tx, &resting).await?;
            audit::record(tx, actor, act, name, reason).await?;
            Ok((changed, called_off, resting))
        })
        .map_err(of_store)?;
        for topic in [Topic::Dispatch, Topic::Courier, Topic::Duties, Topic::Overview] {
            self.desk.wake.wake(topic);
        }
        Ok(SetAgentActivityResponse {
            agent: Some(self.named(name).await?),
            changed,
            runs_active: shapes::count(resting.running),
            runs_queued: shapes::count(resting.queued),
            contracts_open: shapes::count(resting.contracts),
            bids_open: shapes::count(resting.bids),
            bids_called_off: shapes::count(called_off),
            soonest_deadline: shapes::at(resting.deadline),
            soonest_contract: resting.due.unwrap_or_default(),
        })
    }

    /// The windows that are on or to come.
    pub(super) async fn windows(&self) -> Result<Vec<MaintenanceWindow>, Status> {
        let now = observations::clock(&self.desk.store).await.map_err(of_store)?;
        let windows = maintenance::list(&self.desk.store).await.map_err(of_store)?;
        let shown = windows.into_iter().map(|window| {
            let on = window.starts_at <= now;
            shown(window, on)
        });
        Ok(shown.collect())
    }

    /// Begins a window now.
    pub(super) async fn begin_maintenance(
        &self,
        request: BeginMaintenanceRequest,
        actor: &str,
    ) -> Result<MaintenanceWindow, Status> {
        if !LASTS.contains(&request.seconds) {
            let why = "a maintenance lasts between a minute and a week";
            return Err(status(Code::Invalid, "BAD_SPAN", why));
        }
        let lasts = Duration::from_secs(u64::from(request.seconds));
        let reason = line(&request.reason)?;
        let window = run_tx!(self.desk.store, "maintenance_begin", Error, |tx| {
            let window = maintenance::begin(tx, lasts, reason.unwrap_or_default()).await?;
            hours::tell_hours(tx).await?;
            audit::record(tx, actor, "maintenance.begin", &window.id.to_string(), reason).await?;
            Ok(window)
        })?;
        self.desk.wake.wake(Topic::Overview);
        Ok(shown(window, true))
    }

    /// Ends what is on. Answers how many were.
    pub(super) async fn end_maintenance(&self, actor: &str) -> Result<u32, Status> {
        let ended = run_tx!(self.desk.store, "maintenance_end", Error, |tx| {
            let ended = maintenance::end(tx).await?;
            hours::tell_hours(tx).await?;
            if ended > 0 {
                audit::record(tx, actor, "maintenance.end", "", None).await?;
            }
            Ok(ended)
        })?;
        for topic in [Topic::Dispatch, Topic::Courier, Topic::Overview] {
            self.desk.wake.wake(topic);
        }
        Ok(shapes::count(ended))
    }
}

fn shown(window: Window, on: bool) -> MaintenanceWindow {
    MaintenanceWindow {
        starts_at: Some(timestamp(window.starts_at)),
        ends_at: Some(timestamp(window.ends_at)),
        source: window.source,
        reason: window.reason,
        on,
    }
}

/// A reason, if one was given.
fn line(text: &str) -> Result<Option<&str>, Status> {
    let text = text.trim();
    if text.chars().count() > LONGEST_REASON || text.chars().any(char::is_control) {
        let why = format!("a reason is one line of at most {LONGEST_REASON} characters");
        return Err(status(Code::Invalid, "BAD_REASON", why));
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}
