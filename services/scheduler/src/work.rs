//! The interface of executors: sessions, files, completions.

use std::pin::Pin;
use std::sync::Arc;

use rpc::auth::{self, Role};
use rpc::v1::work_server::Work;
use rpc::v1::{
    CompleteRequest, CompleteResponse, ExecutorMessage, FetchBundleRequest, FetchInputRequest, FileChunk,
    PutArtefactRequest, PutArtefactResponse, SchedulerMessage,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::billing::Billing;
use crate::desk::Desk;
use crate::objects::Objects;

mod assign;
mod close;
mod complete;
mod deliver;
mod events;
mod files;
mod rules;
mod session;
mod sessions;

pub(crate) use files::chunks;
pub use sessions::{Executor, Sessions};

/// Messages on their way to one executor.
const OUTGOING: usize = 256;

/// What the calls of executors work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Floor {
    desk: Arc<Desk>,
    billing: Billing,
    objects: Objects,
    sessions: Sessions,
}

/// Bytes on their way out.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<FileChunk, Status>> + Send>>;

impl Floor {
    /// Puts the parts together.
    #[must_use]
    pub fn new(desk: Arc<Desk>, billing: Billing, objects: Objects) -> Self {
        Self {
            desk,
            billing,
            objects,
            sessions: Sessions::default(),
        }
    }

    /// Settings, store and wake-ups.
    #[must_use]
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Executors connected to this process.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        self.sessions.clone()
    }
}

#[tonic::async_trait]
impl Work for Floor {
    type SessionStream = ReceiverStream<Result<SchedulerMessage, Status>>;
    type FetchBundleStream = Chunks;
    type FetchInputStream = Chunks;

    async fn session(
        &self,
        request: Request<Streaming<ExecutorMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        auth::require(&request, &[Role::Executor])?;
        let (out, answers) = mpsc::channel(OUTGOING);
        let floor = self.clone();
        let said = request.into_inner();
        let _running = self
            .desk
            .tasks
            .spawn_job("executor_session", session::run(floor, said, out));
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn fetch_bundle(
        &self,
        request: Request<FetchBundleRequest>,
    ) -> Result<Response<Self::FetchBundleStream>, Status> {
        auth::require(&request, &[Role::Executor])?;
        files::bundle(self, &request.into_inner().sha256)
            .await
            .map(Response::new)
    }

    async fn fetch_input(
        &self,
        request: Request<FetchInputRequest>,
    ) -> Result<Response<Self::FetchInputStream>, Status> {
        auth::require(&request, &[Role::Executor])?;
        files::input(self, request.into_inner()).await.map(Response::new)
    }

    async fn put_artefact(
        &self,
        request: Request<Streaming<PutArtefactRequest>>,
    ) -> Result<Response<PutArtefactResponse>, Status> {
        auth::require(&request, &[Role::Executor])?;
        files::put(self, request.into_inner()).await.map(Response::new)
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Result<Response<CompleteResponse>, Status> {
        auth::require(&request, &[Role::Executor])?;
        if let Some(parent) = auth::traceparent(&request) {
            telemetry::set_parent(&tracing::Span::current(), &parent);
        }
        complete::complete(self, request.into_inner()).await.map(Response::new)
    }
}
