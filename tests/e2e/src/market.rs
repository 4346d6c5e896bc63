//! The other side of the table: posting gigs, playing clients, breaking things, reading the report.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use outbound::{Client, Guard, Method, Url};
use serde_json::{Value, json};

/// The longest answer: a list of a few hundred contracts with their messages.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;
/// The simulator answers at once or is broken.
const PATIENCE: Duration = Duration::from_secs(15);

/// The simulator's control surface.
#[derive(Debug, Clone)]
pub struct Market {
    http: Client,
    base: String,
}

impl Market {
    /// The control surface of the simulator at this address.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn at(url: &str) -> Result<Self> {
        Ok(Self {
            http: client(PATIENCE)?,
            base: url.trim_end_matches('/').to_owned(),
        })
    }

    /// What happened so far, counted.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub async fn report(&self) -> Result<Value> {
        self.call(Method::GET, "report", None).await
    }

    /// Posts gigs whose clients accept, fund and approve by themselves; answers their ids.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn post_automatic(&self, count: usize) -> Result<Vec<String>> {
        self.post(json!({"count": count, "auto": true})).await
    }

    /// Posts one gig with this title whose client does everything by itself.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn post_titled(&self, title: &str) -> Result<String> {
        let ids = self.post(json!({"title": title, "auto": true})).await?;
        ids.into_iter().next().context("read the id of the gig posted")
    }

    /// Posts gigs as ordered (tools/simulator/README.md); answers their ids.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn post(&self, order: Value) -> Result<Vec<String>> {
        let posted = self.call(Method::POST, "gigs", Some(&order)).await?;
        let ids = array(&posted, "gig_ids").iter().filter_map(Value::as_str);
        Ok(ids.map(str::to_owned).collect())
    }

    /// Everything the market knows of all contracts.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub async fn contracts(&self) -> Result<Vec<Value>> {
        let listed = self.call(Method::GET, "contracts", None).await?;
        Ok(array(&listed, "data").to_vec())
    }

    /// The contract that came of a gig, once there is one.
    ///
    /// # Errors
    /// When the simulator does not answer or has none.
    pub async fn contract_of(&self, gig: &str) -> Result<Value> {
        let contracts = self.contracts().await?;
        let found = contracts.into_iter().find(|contract| text(contract, "gig_id") == gig);
        found.with_context(|| format!("find the contract of gig {gig}"))
    }

    /// Everything the market knows of one gig, its proposals included.
    ///
    /// # Errors
    /// When the simulator does not answer or has none.
    pub async fn gig(&self, gig: &str) -> Result<Value> {
        let listed = self.call(Method::GET, "gigs", None).await?;
        let found = array(&listed, "data").iter().find(|found| text(found, "id") == gig);
        found.cloned().with_context(|| format!("find gig {gig}"))
    }

    /// Everything the market knows of the agent with this username, the code sent to its address included.
    ///
    /// # Errors
    /// When the simulator does not answer or has none.
    pub async fn agent(&self, username: &str) -> Result<Value> {
        let listed = self.call(Method::GET, "agents", None).await?;
        let found = array(&listed, "data")
            .iter()
            .find(|agent| text(agent, "username") == username);
        found.cloned().with_context(|| format!("find the agent {username}"))
    }

    /// Plays the operator in a browser: opens a claim link.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn claim(&self, link: &str) -> Result<()> {
        let token = link.rsplit('/').next().unwrap_or_default();
        let url: Url = format!("{}/api/v1/agents/claim/{token}", self.base)
            .parse()
            .context("read the claim link")?;
        let response = self.http.send(self.http.request(Method::GET, url)).await;
        let status = response.context("open the claim link")?.status();
        ensure!(status.is_success(), "the claim link answered {status}");
        Ok(())
    }

    /// Presses the button on the page behind a claim link.
    ///
    /// # Errors
    /// When there is no such page, or the simulator refuses.
    pub async fn claim_by_hand(&self, link: &str) -> Result<()> {
        for method in [Method::GET, Method::POST] {
            let url: Url = link.parse().context("read the claim link")?;
            let response = self.http.send(self.http.request(method.clone(), url)).await;
            let status = response.context("open the claim link")?.status();
            let well = status.is_success() || status.is_redirection();
            ensure!(well, "{method} of the claim link answered {status}");
        }
        Ok(())
    }

    /// Plays the client: accept a proposal on a gig.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn accept(&self, gig: &str) -> Result<Value> {
        self.call(Method::POST, &format!("gigs/{gig}/accept"), Some(&json!({})))
            .await
    }

    /// Plays the client: `fund`, `approve`, `message`, …
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn step(&self, contract: &str, step: &str, with: Value) -> Result<Value> {
        self.call(Method::POST, &format!("contracts/{contract}/{step}"), Some(&with))
            .await
    }

    /// The calls made to the marketplace so far, oldest first: method, path, status, when.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub async fn calls(&self) -> Result<Vec<Value>> {
        let log = self.call(Method::GET, "log?since=0", None).await?;
        Ok(array(&log, "entries").to_vec())
    }

    /// Arms these faults in place of all others.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn break_with(&self, faults: Value) -> Result<()> {
        self.call(Method::PUT, "faults", Some(&faults)).await.map(drop)
    }

    /// Whether every armed fault that is counted has struck as often as it should.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub async fn all_struck(&self) -> Result<()> {
        let armed = self.call(Method::GET, "faults", None).await?;
        let waiting = armed
            .as_array()
            .into_iter()
            .flatten()
            .find(|fault| fault["count"] != fault["struck"]);
        ensure!(
            waiting.is_none(),
            "this fault has not struck as often as it should: {waiting:?}"
        );
        Ok(())
    }

    /// Changes settings of the simulator.
    ///
    /// # Errors
    /// When the simulator refuses.
    pub async fn set(&self, settings: Value) -> Result<()> {
        self.call(Method::PUT, "settings", Some(&settings)).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let url: Url = format!("{}/control/{path}", self.base)
            .parse()
            .context("read the simulator's address")?;
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let what = || format!("call /control/{path}");
        let response = self.http.send(request).await.with_context(what)?;
        let status = response.status();
        let bytes = outbound::read_limited(response, LONGEST_ANSWER)
            .await
            .with_context(what)?;
        let said = String::from_utf8_lossy(&bytes);
        ensure!(status.is_success(), "call /control/{path}: answered {status}: {said}");
        serde_json::from_str(&said).with_context(what)
    }
}

/// A client for loopback.
pub(crate) fn client(patience: Duration) -> Result<Client> {
    let client = Client::builder("e2e")
        .connect_timeout(Duration::from_secs(3))
        .read_timeout(patience)
        .total_timeout(Some(patience))
        .without_system_roots()
        .guard(Guard::Any)
        .build();
    client.context("make an HTTP client")
}

/// A list in an answer; empty when it is not there.
#[must_use]
pub fn array<'value>(value: &'value Value, key: &str) -> &'value [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// A text in an answer; empty when it is not there.
#[must_use]
pub fn text<'value>(value: &'value Value, key: &str) -> &'value str {
    value[key].as_str().unwrap_or_default()
}

/// A whole number in an answer, written as number or text; 0 when it is not there.
#[must_use]
pub fn number(value: &Value, key: &str) -> i64 {
    let found = &value[key];
    let written = found.as_str().and_then(|text| text.parse().ok());
    found.as_i64().or(written).unwrap_or(0)
}
