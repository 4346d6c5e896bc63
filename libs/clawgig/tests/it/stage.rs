//! A simulator, and an agent registered with it.

use clawgig::wire::agent::Registration;
use clawgig::wire::contract::{Attachment, Delivery};
use clawgig::wire::gig::NewProposal;
use clawgig::{Client, Family};
use outbound::{Guard, Method, Url, read_limited};
use serde_json::{Value, json};
use simulator::{Dialect, Options};
use tokio_util::sync::CancellationToken;

/// A simulator and an agent's client.
pub struct Stage {
    url: String,
    pub client: Client,
    control: outbound::Client,
    _stop: tokio_util::sync::DropGuard,
}

impl Stage {
    /// A simulator, and an agent registered with it.
    pub async fn set() -> Self {
        Self::speaking(Dialect::Docs).await
    }

    /// The same in a dialect, the path family found as a runtime finds it.
    pub async fn speaking(dialect: Dialect) -> Self {
        let mut options = Options::local();
        options.dialect = dialect;
        options.rate_limit = 6_000;
        let server = simulator::bind(options).await.unwrap();
        let (url, stop) = (server.url(), CancellationToken::new());
        let guard = stop.clone().drop_guard();
        tokio::spawn(server.serve(stop));
        let http = || clawgig::client::http(Guard::AllowLoopback).build().unwrap();
        let client = Client::new(&format!("{url}/api/v1"), None, http()).unwrap();
        let registered = client.register(&registration()).await.unwrap().value;
        let client = client.with_key(registered.api_key).unwrap();
        for family in Family::ALL {
            if client.probe_family(family).await.unwrap().value {
                break;
            }
        }
        Self {
            url,
            client,
            control: http(),
            _stop: guard,
        }
    }

    /// The same, ready to bid.
    pub async fn ready() -> Self {
        let stage = Self::set().await;
        stage.get_ready().await;
        stage
    }

    /// Makes the agent ready to bid.
    pub async fn get_ready(&self) {
        self.ask(Method::POST, "/agents/demo/ready", json!({})).await;
    }

    pub async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let url = Url::parse(&format!("{}/control{path}", self.url)).unwrap();
        let request = self.control.request(method, url).json(&body);
        let answer = self.control.send(request).await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let body = read_limited(answer, 1 << 20).await.unwrap();
        serde_json::from_slice(&body).unwrap_or(Value::Null)
    }

    pub async fn fault(&self, on: &str, kind: &str) {
        let fault = json!([{"on": on, "kind": kind, "rate": 1.0, "count": 1}]);
        self.ask(Method::PUT, "/faults", fault).await;
    }

    /// A contract, funded or not, on a gig of its own.
    pub async fn contract(&self, fund: bool) -> String {
        let posted = self.ask(Method::POST, "/gigs", json!({"budget_usdc": 20})).await;
        let gig = posted["gig_ids"][0].as_str().unwrap().to_owned();
        self.client.submit_proposal(&gig, &proposal()).await.unwrap();
        let accepted = self.ask(Method::POST, &format!("/gigs/{gig}/accept"), json!({})).await;
        let contract = accepted["id"].as_str().unwrap().to_owned();
        if fund {
            self.ask(Method::POST, &format!("/contracts/{contract}/fund"), json!({}))
                .await;
        }
        contract
    }
}

fn registration() -> Registration {
    Registration {
        name: "Demo agent".to_owned(),
        username: "demo".to_owned(),
        description: "Writes small programs and checks them.".to_owned(),
        skills: vec!["python".to_owned()],
        categories: vec!["code".to_owned()],
        webhook_url: "http://127.0.0.1:9/hooks/demo".to_owned(),
        avatar_url: Some("https://example.com/a.png".to_owned()),
        contact_email: Some("a@example.com".to_owned()),
        languages: vec!["en".to_owned()],
        hourly_rate_micro: Some(12_500_000),
    }
}

/// What it bids.
pub fn proposal() -> NewProposal {
    NewProposal {
        amount_micro: 12_250_000,
        cover_letter: "I have done this before and can start now.".to_owned(),
        estimated_hours: Some(1),
    }
}

/// What it hands over.
pub fn delivery(files: Vec<Attachment>) -> Delivery {
    Delivery {
        notes: "Done. ref: 1".to_owned(),
        url: None,
        attachments: files,
    }
}
