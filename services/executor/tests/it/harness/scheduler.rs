//! The scheduler's side of `Work`, played in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use bytes::Bytes;
use rpc::v1::executor_message::Kind as Said;
use rpc::v1::scheduler_message::Kind as Say;
use rpc::v1::work_server::{Work, WorkServer};
use rpc::v1::*;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Agent, Job, eventually};

/// The credential every run gets; no agent may ever see it.
pub const CREDENTIAL: &str = "credential-canary-7f3a";

#[derive(Default)]
pub struct State {
    pub hellos: Vec<Hello>,
    pub free_slots: u32,
    pub heartbeats: Vec<Vec<LeaseRef>>,
    pub events: Vec<RunEvent>,
    pub completions: Vec<(Instant, CompleteRequest)>,
    pub attempts_to_complete: usize,
    pub bundle_fetches: usize,
    pub artefacts: HashMap<String, Bytes>,
    files: HashMap<String, Vec<u8>>,
    session: Option<mpsc::Sender<Result<SchedulerMessage, Status>>>,
    ended: Arc<tokio::sync::Notify>,
    /// Do not answer heartbeats.
    pub silent: bool,
    /// Answer UNAVAILABLE to completions.
    pub deaf: bool,
    /// Answer LEASE_LOST to completions.
    pub leases_gone: bool,
    /// Files cannot be had.
    pub away: bool,
    pub lease_secs: u32,
}

#[derive(Clone, Default)]
struct Service(Arc<Mutex<State>>);

pub struct Scheduler {
    pub url: String,
    service: Service,
    _serving: JoinSet<()>,
}

impl Scheduler {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = Service::default();
        service.lock().lease_secs = 20;
        let server = tonic::transport::Server::builder().add_service(WorkServer::new(service.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let mut serving = JoinSet::new();
        serving.spawn(async move { server.serve_with_incoming(incoming).await.unwrap() });
        Self {
            url,
            service,
            _serving: serving,
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.service.lock()
    }

    /// Waits for a free slot and assigns a new run. Returns the lease token.
    pub async fn assign(&self, agent: &Agent, job: Job) -> String {
        let id = uuid::Uuid::now_v7().to_string();
        let token = format!("token-{id}");
        let sha256 = executor::hash::of(&agent.bundle);
        let assignment = Assignment {
            job_json: job.file(&id).to_string(),
            run_id: id,
            lease_token: token.clone(),
            attempt: 1,
            kind: job.kind.to_owned(),
            agent: "demo".to_owned(),
            bundle_sha256: job.bundle_sha256.unwrap_or_else(|| sha256.clone()),
            agent_spec_json: agent.spec.to_string(),
            timeout_secs: job.timeout_secs,
            idle_secs: job.idle_secs,
            gateway_credential: CREDENTIAL.to_owned(),
            inputs: job.inputs.iter().map(|(input, _)| input.clone()).collect(),
            traceparent: job.traceparent,
            slots: 1,
        };
        {
            let mut state = self.state();
            state.files.insert(sha256, agent.bundle.clone());
            for (input, body) in job.inputs {
                state.files.insert(input.sha256, body);
            }
        }
        let session = eventually("a free slot", || {
            let state = self.state();
            (state.free_slots > 0).then(|| state.session.clone()).flatten()
        })
        .await;
        self.state().free_slots -= 1;
        let message = SchedulerMessage {
            kind: Some(Say::Assign(assignment)),
        };
        session.send(Ok(message)).await.unwrap();
        token
    }

    pub async fn say(&self, kind: Say) {
        let session = self.state().session.clone().unwrap();
        session.send(Ok(SchedulerMessage { kind: Some(kind) })).await.unwrap();
    }

    /// Ends the session as a restart would.
    pub fn end_session(&self) {
        let mut state = self.state();
        state.session = None;
        state.free_slots = 0;
        state.ended.notify_waiters();
    }

    /// Waits for the end of a run.
    pub async fn completion(&self, token: &str) -> CompleteRequest {
        eventually("a completion", || {
            let state = self.state();
            let found = state
                .completions
                .iter()
                .find(|(_, request)| request.lease_token == token);
            found.map(|(_, request)| request.clone())
        })
        .await
    }

    /// What the agent reported on its way, as texts.
    pub fn progress(&self, token: &str) -> Vec<String> {
        let state = self.state();
        let mine = state.events.iter().filter(|event| event.lease_token == token);
        mine.filter_map(|event| match &event.kind {
            Some(run_event::Kind::Progress(text)) => Some(text.clone()),
            _ => None,
        })
        .collect()
    }
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn hear(&self, kind: Said, session: &mpsc::Sender<Result<SchedulerMessage, Status>>) -> Option<Say> {
        let mut state = self.lock();
        match kind {
            Said::Hello(hello) => {
                state.hellos.push(hello);
                state.session = Some(session.clone());
                let lease_secs = state.lease_secs;
                return Some(Say::Welcome(Welcome {
                    lease_secs,
                    heartbeat_secs: 1,
                }));
            }
            Said::Offer(offer) => state.free_slots = offer.free_slots,
            Said::Heartbeat(heartbeat) => {
                let run_ids = heartbeat.runs.iter().map(|lease| lease.run_id.clone()).collect();
                state.heartbeats.push(heartbeat.runs);
                return (!state.silent).then_some(Say::Renewed(Renewed { run_ids }));
            }
            Said::Event(event) => state.events.push(event),
        }
        None
    }

    fn file(&self, sha256: &str) -> Result<Response<ReceiverStream<Result<FileChunk, Status>>>, Status> {
        if self.lock().away {
            return Err(Status::unavailable("not now"));
        }
        let body = self.lock().files.get(sha256).cloned();
        let body = body.ok_or_else(|| rpc::error::status(rpc::error::Code::NotFound, "NO_FILE", "no such file"))?;
        let chunks: Vec<_> = body
            .chunks(1000)
            .map(|chunk| {
                Ok(FileChunk {
                    data: Bytes::copy_from_slice(chunk),
                })
            })
            .collect();
        let (sender, receiver) = mpsc::channel(chunks.len().max(1));
        for chunk in chunks {
            sender.try_send(chunk).unwrap();
        }
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Work for Service {
    type SessionStream = ReceiverStream<Result<SchedulerMessage, Status>>;
    type FetchBundleStream = ReceiverStream<Result<FileChunk, Status>>;
    type FetchInputStream = ReceiverStream<Result<FileChunk, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<ExecutorMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        assert_eq!(
            request.metadata().get("authorization").unwrap(),
            "Bearer executor-token"
        );
        let (sender, receiver) = mpsc::channel(64);
        let service = self.clone();
        let mut said = request.into_inner();
        let mut reading = JoinSet::new();
        let ended = Arc::clone(&self.lock().ended);
        reading.spawn(async move {
            loop {
                let message = tokio::select! {
                    message = said.message() => message,
                    () = ended.notified() => return,
                };
                let Ok(Some(message)) = message else { return };
                let answer = message.kind.and_then(|kind| service.hear(kind, &sender));
                if let Some(kind) = answer
                    && sender.send(Ok(SchedulerMessage { kind: Some(kind) })).await.is_err()
                {
                    return;
                }
            }
        });
        reading.detach_all();
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn fetch_bundle(
        &self,
        request: Request<FetchBundleRequest>,
    ) -> Result<Response<Self::FetchBundleStream>, Status> {
        self.lock().bundle_fetches += 1;
        self.file(&request.into_inner().sha256)
    }

    async fn fetch_input(
        &self,
        request: Request<FetchInputRequest>,
    ) -> Result<Response<Self::FetchInputStream>, Status> {
        self.file(&request.into_inner().sha256)
    }

    async fn put_artefact(
        &self,
        request: Request<Streaming<PutArtefactRequest>>,
    ) -> Result<Response<PutArtefactResponse>, Status> {
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|part| part.kind);
        let Some(put_artefact_request::Kind::Header(header)) = first else {
            return Err(Status::invalid_argument("no header"));
        };
        let mut body = Vec::new();
        while let Some(part) = parts.message().await? {
            if let Some(put_artefact_request::Kind::Data(data)) = part.kind {
                body.extend_from_slice(&data);
            }
        }
        let sha256 = executor::hash::of(&body);
        if sha256 != header.sha256 || body.len() as u64 != header.bytes {
            return Err(Status::unavailable("it came damaged"));
        }
        self.lock().artefacts.insert(header.name, body.into());
        Ok(Response::new(PutArtefactResponse {
            sha256,
            bytes: header.bytes,
        }))
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Result<Response<CompleteResponse>, Status> {
        let mut state = self.lock();
        state.attempts_to_complete += 1;
        if state.deaf {
            return Err(Status::unavailable("not now"));
        }
        let request = request.into_inner();
        let known = state
            .completions
            .iter()
            .any(|(_, other)| other.lease_token == request.lease_token);
        if state.leases_gone {
            return Err(rpc::error::status(
                rpc::error::Code::Refused,
                "LEASE_LOST",
                "the lease is somebody else's",
            ));
        }
        if !known {
            state.completions.push((Instant::now(), request));
        }
        Ok(Response::new(CompleteResponse { duplicate: known }))
    }
}
