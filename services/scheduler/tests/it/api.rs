//! The operators' interface, over a real connection.

use std::net::SocketAddr;

use bytes::Bytes;
use rpc::auth::Credentials;
use rpc::v1::agents_client::AgentsClient;
use rpc::v1::inbox_client::InboxClient;
use rpc::v1::put_bundle_request::Kind;
use rpc::v1::{
    AddWebhookSecretRequest, BundleHeader, GetInboxRequest, ListAgentsRequest, PutAgentRequest, PutBundleRequest,
    RemoveAgentRequest, SetAgentModeRequest, SetCredentialsRequest,
};
use scheduler::api::{self, Api};
use scheduler::billing::Billing;
use scheduler::marketplace::Marketplace;
use scheduler::objects::Objects;
use scheduler::work::Floor;
use tokio::net::TcpListener;
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::desk::Bench;

pub const OPERATOR: &str = "operator-token-of-the-test";
pub const VIEWER: &str = "viewer-token-of-the-test";
pub const EXECUTOR: &str = "executor-token-of-the-test";

pub type Guarded = InterceptedService<Channel, Credentials>;

pub async fn serve(bench: &Bench) -> Channel {
    let desk = std::sync::Arc::clone(&bench.desk);
    let objects = Objects::open(&desk.config.objects.dir).await.unwrap();
    let (billing, _addresses) = Billing::open(&desk.config.billing).unwrap();
    let floor = Floor::new(std::sync::Arc::clone(&desk), billing.clone(), objects.clone());
    let market = std::sync::Arc::new(Marketplace::new(std::sync::Arc::clone(&desk)).unwrap());
    let api = Api::new(desk, market, billing, objects, floor.sessions());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    api::spawn(api, floor, listener);
    Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

pub fn with(channel: &Channel, token: &str) -> Guarded {
    let credentials = Credentials::new(&token.into(), || None).unwrap();
    InterceptedService::new(channel.clone(), credentials)
}

pub fn sha256(bytes: &[u8]) -> String {
    const_hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

pub fn parts(bytes: &'static [u8], sha256: String) -> Vec<PutBundleRequest> {
    let header = BundleHeader {
        agent: "second".to_owned(),
        sha256,
        bytes: bytes.len() as u64,
    };
    let data = bytes.chunks(7).map(|chunk| Kind::Data(Bytes::from_static(chunk)));
    std::iter::once(Kind::Header(header))
        .chain(data)
        .map(|kind| PutBundleRequest { kind: Some(kind) })
        .collect()
}

#[tokio::test]
async fn a_viewer_looks_an_operator_acts_and_nobody_else_enters() {
    let bench = Bench::new().await;
    let channel = serve(&bench).await;
    let mode = || SetAgentModeRequest {
        name: "demo".to_owned(),
        mode: "shadow".to_owned(),
    };
    for (token, looks, acts) in [
        (VIEWER, Code::Ok, Code::PermissionDenied),
        (OPERATOR, Code::Ok, Code::Ok),
        (EXECUTOR, Code::PermissionDenied, Code::PermissionDenied),
        ("wrong", Code::Unauthenticated, Code::Unauthenticated),
    ] {
        let mut agents = AgentsClient::new(with(&channel, token));
        let code = |result: Result<(), tonic::Status>| result.err().map_or(Code::Ok, |status| status.code());
        assert_eq!(
            code(agents.list_agents(ListAgentsRequest {}).await.map(drop)),
            looks,
            "{token} looks"
        );
        assert_eq!(
            code(agents.set_agent_mode(mode()).await.map(drop)),
            acts,
            "{token} acts"
        );
    }
    let mut inbox = InboxClient::new(with(&channel, VIEWER));
    let body = inbox.get_inbox(GetInboxRequest {
        id: uuid::Uuid::nil().to_string(),
    });
    assert_eq!(
        body.await.unwrap_err().code(),
        Code::PermissionDenied,
        "bodies are for operators"
    );
    let audited = bench
        .rows("SELECT actor, action, subject, detail FROM scheduler.audit")
        .await;
    assert_eq!(
        audited,
        [serde_json::json!({ "actor": "operator", "action": "agents.mode", "subject": "demo", "detail": "shadow" })]
    );
}

#[tokio::test]
async fn an_agent_is_added_with_its_bundle_key_and_secret() {
    let bench = Bench::new().await;
    let channel = serve(&bench).await;
    let mut agents = AgentsClient::new(with(&channel, OPERATOR));
    let file = "name = \"second\"\n[run]\ncommand = [\"true\"]\n[bidding]\nmode = \"ask\"\n".to_owned();
    let bytes: &'static [u8] = b"what would be a tar archive";
    let put = |simulated| PutAgentRequest {
        file: file.clone(),
        bundle_sha256: sha256(bytes),
        simulated,
        label: String::new(),
        keep_rollback: false,
    };
    assert_eq!(
        agents.put_agent(put(true)).await.unwrap_err().code(),
        Code::FailedPrecondition,
        "no bundle yet"
    );

    let wrong = agents
        .put_bundle(tokio_stream::iter(parts(bytes, sha256(b"other"))))
        .await;
    assert_eq!(wrong.unwrap_err().code(), Code::FailedPrecondition, "the hash differs");
    for existed in [false, true] {
        let answer = agents
            .put_bundle(tokio_stream::iter(parts(bytes, sha256(bytes))))
            .await
            .unwrap();
        assert_eq!(answer.into_inner().existed, existed);
    }
    let added = agents.put_agent(put(true)).await.unwrap().into_inner();
    assert_eq!(
        (added.mode.as_str(), added.version, added.has_key),
        ("ask", sha256(bytes), false)
    );
    let again = agents.put_agent(put(false)).await.unwrap().into_inner();
    assert_eq!(again.mode, "ask", "a known agent keeps its mode");

    let secret = AddWebhookSecretRequest {
        name: "second".to_owned(),
        secret: "whsec_canary".to_owned(),
        retire_others_after_secs: None,
    };
    agents.add_webhook_secret(secret).await.unwrap();
    let key = SetCredentialsRequest {
        name: "second".to_owned(),
        marketplace_id: "m-2".to_owned(),
        api_key: "cg_canary123".to_owned(),
    };
    let keyed = agents.set_credentials(key).await.unwrap().into_inner();
    assert_eq!(
        (keyed.has_key, keyed.webhook_secrets, keyed.marketplace_id.as_str()),
        (true, 1, "m-2")
    );
    assert_eq!(bench.count("scheduler.duties WHERE key = 'second'").await, 7);
    let kept = bench
        .rows("SELECT position('canary'::BYTEA IN api_key_sealed) AS at FROM scheduler.agents WHERE name = 'second'")
        .await;
    assert_eq!(kept[0]["at"], 0, "keys are sealed");
}

#[tokio::test]
async fn a_live_agent_begins_in_the_shadow_and_one_that_comes_back_begins_anew() {
    let bench = Bench::new().await;
    let channel = serve(&bench).await;
    let mut agents = AgentsClient::new(with(&channel, OPERATOR));
    let bytes: &'static [u8] = b"bundle";
    agents
        .put_bundle(tokio_stream::iter(parts(bytes, sha256(bytes))))
        .await
        .unwrap();
    let file = "name = \"second\"\n[run]\ncommand = [\"true\"]\n[bidding]\nmode = \"auto\"\n".to_owned();
    let put = PutAgentRequest {
        file,
        bundle_sha256: sha256(bytes),
        simulated: false,
        label: String::new(),
        keep_rollback: false,
    };
    assert_eq!(agents.put_agent(put.clone()).await.unwrap().into_inner().mode, "shadow");
    let remove = RemoveAgentRequest {
        name: "second".to_owned(),
    };
    agents.remove_agent(remove).await.unwrap();
    let back = PutAgentRequest { simulated: true, ..put };
    assert_eq!(
        agents.put_agent(back).await.unwrap().into_inner().mode,
        "auto",
        "who comes back begins as if new"
    );
    let bad = PutAgentRequest {
        file: "name = \"x\"\nunknown = 1".to_owned(),
        ..PutAgentRequest::default()
    };
    assert_eq!(agents.put_agent(bad).await.unwrap_err().code(), Code::InvalidArgument);
}
