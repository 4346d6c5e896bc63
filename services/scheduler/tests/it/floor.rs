//! The scheduler's floor with books of the test, and an executor's hand that does what the test says.

use std::sync::Arc;

use bytes::Bytes;
use rpc::v1::complete_request::Outcome;
use rpc::v1::executor_message::Kind as Say;
use rpc::v1::put_artefact_request::Kind as Part;
use rpc::v1::run_event::Kind as Said;
use rpc::v1::scheduler_message::Kind as Heard;
use rpc::v1::work_client::WorkClient;
use rpc::v1::{
    ArtefactHeader, Assignment, CompleteRequest, ExecutorMessage, FetchInputRequest, Heartbeat, Hello, LeaseRef, Offer,
    PutArtefactRequest, RunEvent, SchedulerMessage,
};
use scheduler::api::{self, Api};
use scheduler::billing::Billing;
use scheduler::marketplace::Marketplace;
use scheduler::objects::Objects;
use scheduler::work::Floor;
use serde_json::Value;
use store::run_tx;
use store::runs::{self, NewRun};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::api::{EXECUTOR, Guarded, with};
use crate::desk::{Bench, PATIENCE};
use crate::ledger::Ledger;

/// An executor with one slot.
pub struct Hand {
    client: WorkClient<Guarded>,
    say: mpsc::Sender<ExecutorMessage>,
    session: Streaming<SchedulerMessage>,
}

pub fn sha256(bytes: &[u8]) -> String {
    const_hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// Serves the floor with these books; answers a connection to it.
pub async fn serve(bench: &Bench, ledger: &Ledger) -> Channel {
    serve_with(bench, books(bench, ledger).await).await
}

/// These books, as the scheduler asks them.
pub async fn books(bench: &Bench, ledger: &Ledger) -> Billing {
    let mut books = bench.desk.config.billing.clone();
    books.url = ledger.serve(books.token.expose()).await;
    let (billing, keep_resolving) = Billing::open(&books).unwrap();
    tokio::task::spawn(keep_resolving);
    billing
}

/// The same with other books.
pub async fn serve_with(bench: &Bench, billing: Billing) -> Channel {
    let desk = Arc::clone(&bench.desk);
    let objects = Objects::open(&desk.config.objects.dir).await.unwrap();
    let floor = Floor::new(Arc::clone(&desk), billing.clone(), objects.clone());
    let market = Arc::new(Marketplace::new(Arc::clone(&desk)).unwrap());
    let api = Api::new(desk, market, billing, objects, floor.sessions());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    api::spawn(api, floor, listener);
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect().await.unwrap()
}

impl Hand {
    pub async fn new(channel: &Channel) -> Self {
        Self::named(channel, &Uuid::now_v7().to_string()).await
    }

    /// One with this id.
    pub async fn named(channel: &Channel, id: &str) -> Self {
        let mut client = WorkClient::new(with(channel, EXECUTOR));
        let (say, said) = mpsc::channel(64);
        let hello = Hello {
            executor_id: id.to_owned(),
            slots: 1,
            isolation: "process".to_owned(),
            ..Hello::default()
        };
        for word in [Say::Hello(hello), Say::Offer(Offer { free_slots: 1 })] {
            say.send(ExecutorMessage { kind: Some(word) }).await.unwrap();
        }
        let session = client.session(ReceiverStream::new(said)).await.unwrap().into_inner();
        Self { client, say, session }
    }

    async fn heard<T>(&mut self, what: &str, mut wanted: impl FnMut(Heard) -> Option<T>) -> T {
        let listening = async {
            loop {
                let heard = self.session.message().await.unwrap().unwrap();
                if let Some(found) = heard.kind.and_then(&mut wanted) {
                    return found;
                }
            }
        };
        let found = timeout(PATIENCE, listening).await;
        assert!(found.is_ok(), "{what} did not come");
        found.unwrap()
    }

    /// The next assignment.
    pub async fn assignment(&mut self) -> Assignment {
        self.heard("an assignment", |heard| match heard {
            Heard::Assign(job) => Some(job),
            _ => None,
        })
        .await
    }

    /// Heartbeats for a run until it is told to stop.
    pub async fn told_to_stop(&mut self, job: &Assignment) {
        let runs = vec![LeaseRef {
            run_id: job.run_id.clone(),
            lease_token: job.lease_token.clone(),
        }];
        let beat = Say::Heartbeat(Heartbeat { runs });
        self.say.send(ExecutorMessage { kind: Some(beat) }).await.unwrap();
        self.heard("a cancel", |heard| matches!(heard, Heard::Cancel(_)).then_some(()))
            .await;
    }

    /// Waits until it is to take no more work.
    pub async fn told_to_drain(&mut self) {
        self.heard("a drain", |heard| matches!(heard, Heard::Drain(_)).then_some(()))
            .await;
    }

    /// Sends a file up.
    pub async fn put(&mut self, job: &Assignment, name: &str, body: &'static [u8]) {
        let header = ArtefactHeader {
            run_id: job.run_id.clone(),
            lease_token: job.lease_token.clone(),
            attempt: job.attempt,
            name: name.to_owned(),
            sha256: sha256(body),
            bytes: body.len() as u64,
            media_type: "text/plain".to_owned(),
        };
        let parts = [Part::Header(header), Part::Data(Bytes::from_static(body))];
        let parts = parts.map(|part| PutArtefactRequest { kind: Some(part) });
        self.client.put_artefact(tokio_stream::iter(parts)).await.unwrap();
    }

    /// Fetches an input.
    pub async fn fetch(&mut self, job: &Assignment, sha256: &str) -> Result<Vec<u8>, Status> {
        let request = FetchInputRequest {
            run_id: job.run_id.clone(),
            lease_token: job.lease_token.clone(),
            sha256: sha256.to_owned(),
        };
        let mut chunks = self.client.fetch_input(request).await?.into_inner();
        let mut body = Vec::new();
        while let Some(chunk) = chunks.message().await? {
            body.extend_from_slice(&chunk.data);
        }
        Ok(body)
    }

    /// Ends an attempt; what was said on the way goes with it.
    pub async fn complete(&mut self, job: &Assignment, outcome: Outcome, said: Vec<Said>) -> Result<(), Status> {
        self.complete_after(job, outcome, said, "").await
    }

    /// The same with the end of what was printed.
    pub async fn complete_after(
        &mut self,
        job: &Assignment,
        outcome: Outcome,
        said: Vec<Said>,
        log_tail: &str,
    ) -> Result<(), Status> {
        let events = (1..).zip(said).map(|(seq, said)| RunEvent {
            run_id: job.run_id.clone(),
            lease_token: job.lease_token.clone(),
            seq,
            at: None,
            kind: Some(said),
        });
        let complete = CompleteRequest {
            run_id: job.run_id.clone(),
            lease_token: job.lease_token.clone(),
            attempt: job.attempt,
            outcome: Some(outcome),
            events: events.collect(),
            log_tail: log_tail.to_owned(),
            duration_ms: 1000,
            ..CompleteRequest::default()
        };
        self.client.complete(complete).await.map(drop)
    }
}

impl Bench {
    /// A funded contract with its gig and a run of it.
    pub async fn run(&self, kind: domain::run::Kind, revision_no: i32) -> (Uuid, Uuid) {
        let (_external, contract) = self.contract().await;
        let (_external, gig) = self.gig().await;
        self.change(&format!(
            "UPDATE scheduler.contracts SET state = 'funded', funding_confirmed = TRUE, gig_id = '{gig}',
                    amount_micro = 20000000 WHERE id = '{contract}'"
        ))
        .await;
        (contract, self.run_of(contract, kind, revision_no, "v1").await)
    }

    /// One more run of a contract.
    pub async fn run_of(&self, contract: Uuid, kind: domain::run::Kind, revision_no: i32, version: &str) -> Uuid {
        let new = NewRun {
            agent: "demo".to_owned(),
            kind,
            contract_id: Some(contract),
            gig_id: None,
            natural_key: format!("{}/{contract}/{revision_no}", kind.name()),
            version: version.to_owned(),
            revision_no,
            priority: 0,
            max_attempts: 3,
            deadline: None,
            timeout: std::time::Duration::from_secs(60),
            budget_micro: 0,
            request: Some("shorter, please".to_owned()),
            traceparent: None,
        };
        run_tx!(self.desk.store, "fixture", |tx| runs::insert(tx, &new).await).unwrap()
    }

    /// Lets a run that pauses be leased now.
    pub async fn hurry(&self, run: Uuid) {
        self.change(&format!(
            "UPDATE scheduler.runs SET not_before = now() WHERE id = '{run}'"
        ))
        .await;
    }

    /// Some columns of a run.
    pub async fn columns(&self, run: Uuid, columns: &str) -> Value {
        let query = format!("SELECT {columns} FROM scheduler.runs WHERE id = '{run}'");
        self.rows(&query).await.remove(0)
    }

    /// Waits until these columns are so.
    pub async fn run_is(&self, run: Uuid, columns: &str, expected: Value) {
        let met = testkit::eventually(PATIENCE, "the run", async || {
            let found = self.columns(run, columns).await;
            if found == expected {
                Ok(())
            } else {
                Err(found.to_string())
            }
        });
        let met = met.await;
        assert!(met.is_ok(), "{met:?}, expected {expected}");
    }
}
