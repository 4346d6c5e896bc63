//! The scheduler's side of one run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use rpc::v1::executor_message::Kind as Told;
use rpc::v1::run_event::Kind as Event;
use rpc::v1::scheduler_message::Kind as Say;
use rpc::v1::work_server::{Work, WorkServer};
use rpc::v1::{
    Assignment, CompleteRequest, CompleteResponse, ExecutorMessage, FetchBundleRequest, FetchInputRequest, FileChunk,
    PutArtefactRequest, PutArtefactResponse, Renewed, SchedulerMessage, Welcome, put_artefact_request,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::{Brief, Said};
use crate::bundle::Packed;
use crate::private::{random, sha256};

/// Long enough for a laptop that sleeps in between.
const LEASE: u32 = 3600;
const HEARTBEAT: u32 = 2;
/// Bytes of one message of a file.
const PIECE: usize = 256 * 1024;
/// Bytes of all files of a result.
const MOST_FILES: usize = 512 * 1024 * 1024;
/// Events on their way to the terminal.
const EVENTS: usize = 1024;
/// The token nobody looks at: everything stays on this machine and ends with this run.
const LEASE_TOKEN: &str = "trial";

/// How an attempt ended.
pub(super) struct Ended {
    pub(super) request: CompleteRequest,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) isolation: String,
}

enum News {
    Said(Said),
    Ended(Box<CompleteRequest>),
}

/// The played scheduler.
pub(super) struct Floor {
    pub(super) port: u16,
    pub(super) token: String,
    desk: Desk,
    news: mpsc::Receiver<News>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Desk {
    state: Arc<Mutex<State>>,
    news: mpsc::Sender<News>,
    token: Arc<str>,
}

#[derive(Default)]
struct State {
    /// Until an executor with a free slot came.
    assignment: Option<Assignment>,
    run_id: String,
    isolation: String,
    /// What may be fetched, by hash.
    files: BTreeMap<String, Bytes>,
    results: BTreeMap<String, Vec<u8>>,
}

impl Floor {
    pub(super) async fn start(
        packed: &Packed,
        brief: &Brief,
        spec: Value,
        (timeout, idle): (Duration, Duration),
    ) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen on this machine")?;
        let port = listener.local_addr()?.port();
        let run_id = format!("trial-{}", &random()?[..8]);
        let seconds = |span: Duration| u32::try_from(span.as_secs()).unwrap_or(u32::MAX).max(1);
        let budget = brief.budget(&packed.agent);
        let inputs = brief.inputs();
        let assignment = Assignment {
            run_id: run_id.clone(),
            lease_token: LEASE_TOKEN.to_owned(),
            attempt: 1,
            kind: brief.kind.name().to_owned(),
            agent: packed.agent.name.clone(),
            bundle_sha256: packed.sha256.clone(),
            job_json: brief.job_for(&packed.agent, &run_id, budget).to_string(),
            agent_spec_json: spec.to_string(),
            timeout_secs: seconds(timeout),
            idle_secs: seconds(idle),
            gateway_credential: random()?,
            inputs: inputs.iter().map(|(input, _)| input.clone()).collect(),
            traceparent: String::new(),
            slots: 1,
        };
        let mut files: BTreeMap<String, Bytes> = inputs
            .into_iter()
            .map(|(input, body)| (input.sha256, body.into()))
            .collect();
        files.insert(packed.sha256.clone(), packed.archive.clone().into());
        let (sender, news) = mpsc::channel(EVENTS);
        let token = random()?;
        let desk = Desk {
            state: Arc::new(Mutex::new(State {
                assignment: Some(assignment),
                run_id,
                files,
                ..State::default()
            })),
            news: sender,
            token: token.as_str().into(),
        };
        let server = tonic::transport::Server::builder().add_service(WorkServer::new(desk.clone()));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // When it ends, the run's end is missed, which is told.
            let _ended = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Self {
            port,
            token,
            desk,
            news,
            _serving: serving,
        })
    }

    /// Passes on what is said, until the end.
    pub(super) async fn end(mut self, hear: &mut impl FnMut(Said)) -> Result<Ended> {
        loop {
            match self
                .news
                .recv()
                .await
                .ok_or_else(|| anyhow!("nobody told the run's end"))?
            {
                News::Said(said) => hear(said),
                News::Ended(request) => {
                    let mut state = self.desk.lock();
                    return Ok(Ended {
                        request: *request,
                        files: std::mem::take(&mut state.results),
                        isolation: state.isolation.clone(),
                    });
                }
            }
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let shown = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        if shown.and_then(|shown| shown.strip_prefix("Bearer ")) == Some(&*self.token) {
            return Ok(());
        }
        Err(Status::unauthenticated("this scheduler is played for one executor"))
    }

    /// What to answer.
    async fn hear(&self, kind: Told) -> Option<Say> {
        match kind {
            Told::Hello(hello) => {
                self.lock().isolation = hello.isolation;
                Some(Say::Welcome(Welcome {
                    lease_secs: LEASE,
                    heartbeat_secs: HEARTBEAT,
                }))
            }
            Told::Offer(offer) if offer.free_slots > 0 => self.lock().assignment.take().map(Say::Assign),
            Told::Offer(_) => None,
            Told::Heartbeat(_) => {
                let run_ids = vec![self.lock().run_id.clone()];
                Some(Say::Renewed(Renewed { run_ids }))
            }
            Told::Event(event) => {
                let (kind, text) = match event.kind? {
                    Event::Progress(text) => ("progress", text),
                    Event::Message(message) => ("message", message.text),
                    Event::CheckpointJson(text) => ("checkpoint", text),
                    Event::Log(text) | Event::Alarm(text) => ("log", text),
                    Event::Output(text) => ("output", text),
                };
                // Nobody listens any more only when the trial is over.
                let _over = self.news.send(News::Said(Said { kind, text })).await;
                None
            }
        }
    }

    fn file(&self, sha256: &str) -> Result<Response<ReceiverStream<Result<FileChunk, Status>>>, Status> {
        let found = self.lock().files.get(sha256).cloned();
        let body = found.ok_or_else(|| Status::not_found("no such file"))?;
        let pieces: Vec<_> = (0..body.len())
            .step_by(PIECE)
            .map(|from| body.slice(from..body.len().min(from + PIECE)))
            .collect();
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        for data in pieces {
            // There is room for all of them.
            let _sent = sender.try_send(Ok(FileChunk { data }));
        }
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl Work for Desk {
    type SessionStream = ReceiverStream<Result<SchedulerMessage, Status>>;
    type FetchBundleStream = ReceiverStream<Result<FileChunk, Status>>;
    type FetchInputStream = ReceiverStream<Result<FileChunk, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<ExecutorMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        self.check(&request)?;
        let (sender, receiver) = mpsc::channel(64);
        let (desk, mut said) = (self.clone(), request.into_inner());
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            while let Ok(Some(message)) = said.message().await {
                let Some(kind) = message.kind else { continue };
                if let Some(kind) = desk.hear(kind).await
                    && sender.send(Ok(SchedulerMessage { kind: Some(kind) })).await.is_err()
                {
                    return;
                }
            }
        });
        // It ends with its stream.
        listening.detach_all();
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn fetch_bundle(
        &self,
        request: Request<FetchBundleRequest>,
    ) -> Result<Response<Self::FetchBundleStream>, Status> {
        self.check(&request)?;
        self.file(&request.into_inner().sha256)
    }

    async fn fetch_input(
        &self,
        request: Request<FetchInputRequest>,
    ) -> Result<Response<Self::FetchInputStream>, Status> {
        self.check(&request)?;
        self.file(&request.into_inner().sha256)
    }

    async fn put_artefact(
        &self,
        request: Request<Streaming<PutArtefactRequest>>,
    ) -> Result<Response<PutArtefactResponse>, Status> {
        self.check(&request)?;
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|part| part.kind);
        let Some(put_artefact_request::Kind::Header(header)) = first else {
            return Err(Status::invalid_argument("the first part has no header"));
        };
        let mut body = Vec::new();
        while let Some(part) = parts.message().await? {
            if let Some(put_artefact_request::Kind::Data(data)) = part.kind {
                body.extend_from_slice(&data);
            }
            if body.len() > MOST_FILES {
                return Err(Status::invalid_argument("the file is too long"));
            }
        }
        let (hash, bytes) = (sha256(&body), body.len() as u64);
        if hash != header.sha256 {
            return Err(Status::unavailable("the file came damaged"));
        }
        self.lock().results.insert(header.name, body);
        Ok(Response::new(PutArtefactResponse { sha256: hash, bytes }))
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Result<Response<CompleteResponse>, Status> {
        self.check(&request)?;
        // Nobody listens any more only when the trial is over.
        let _over = self.news.send(News::Ended(Box::new(request.into_inner()))).await;
        Ok(Response::new(CompleteResponse { duplicate: false }))
    }
}
