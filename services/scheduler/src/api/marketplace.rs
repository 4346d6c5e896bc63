//! What operators ask of the marketplace, and about it.

use domain::onboarding::remedy;
use rpc::convert::timestamp;
use rpc::error::{Code, status};
use rpc::v1::marketplace_server::Marketplace;
use rpc::v1::{
    Agent, Check, ClaimLink, Drift, ExamineRequest, Examined, GetClaimLinkRequest, GetReadinessRequest,
    ListDriftRequest, ListDriftResponse, Missing, Read, ReadTried, Readiness, RegisterAgentRequest,
    RegisterAgentResponse, ResumeCallsRequest, SendProfileRequest, SendProfileResponse, SetWebhookRequest,
    TryReadRequest, VerifyEmailRequest, VerifyEmailResponse, Webhook, WebhookSecret,
};
use secrecy::ExposeSecret as _;
use store::{agents, doors, drift};
use tonic::{Request, Response, Status};

use super::{Api, acts, looks, optional};
use crate::canary;
use crate::error::of_store;
use crate::onboarding::examine::{self, Found};
use crate::onboarding::{Error, Order};

#[tonic::async_trait]
impl Marketplace for Api {
    async fn list_drift(&self, request: Request<ListDriftRequest>) -> Result<Response<ListDriftResponse>, Status> {
        looks(&request)?;
        let found = drift::list(&self.desk.store).await.map_err(of_store)?;
        let shown = found.into_iter().map(|one| Drift {
            what: one.what,
            place: one.place,
            name: one.name,
            seen: one.seen,
            first_at: Some(timestamp(one.first_at)),
            last_at: Some(timestamp(one.last_at)),
        });
        Ok(Response::new(ListDriftResponse { drift: shown.collect() }))
    }

    async fn register_agent(
        &self,
        request: Request<RegisterAgentRequest>,
    ) -> Result<Response<RegisterAgentResponse>, Status> {
        let actor = acts(&request)?;
        let asked = request.into_inner();
        let order = Order {
            name: asked.name.clone(),
            webhook_url: asked.webhook_url,
            username: optional(asked.username),
            again: asked.again,
        };
        let registered = self.onboarding.register(order, actor).await?;
        Ok(Response::new(RegisterAgentResponse {
            agent: Some(self.named(&asked.name).await?),
            webhook_url: registered.webhook_url,
            has_claim_link: registered.has_claim_link,
            has_webhook_secret: registered.has_webhook_secret,
        }))
    }

    async fn get_claim_link(&self, request: Request<GetClaimLinkRequest>) -> Result<Response<ClaimLink>, Status> {
        let actor = acts(&request)?;
        let GetClaimLinkRequest { name, shown } = request.into_inner();
        if shown {
            self.onboarding.claim_shown(&name, actor).await?;
            return Ok(Response::new(ClaimLink::default()));
        }
        let none = || {
            let why = format!("there is no claim link of {name}: it was shown, or the agent is claimed");
            status(Code::NotFound, "NO_CLAIM_LINK", why)
        };
        let link = self.onboarding.claim_link(&name).await?.ok_or_else(none)?;
        Ok(Response::new(ClaimLink {
            link: link.expose_secret().to_owned(),
        }))
    }

    async fn set_webhook(&self, request: Request<SetWebhookRequest>) -> Result<Response<Webhook>, Status> {
        let actor = acts(&request)?;
        let asked = request.into_inner();
        let (name, url) = (asked.name, optional(asked.url));
        let webhook = self
            .onboarding
            .webhook(&name, url.as_deref(), asked.rotate, asked.again, actor)
            .await?;
        Ok(Response::new(Webhook {
            url: webhook.url.unwrap_or_default(),
            events: webhook.events,
            has_secret: webhook.has_secret,
            secrets: self.named(&name).await?.webhook_secrets,
            rotated: webhook.rotated,
            known: self.accepted_secrets(&name).await?,
        }))
    }

    async fn get_readiness(&self, request: Request<GetReadinessRequest>) -> Result<Response<Readiness>, Status> {
        let _actor = acts(&request)?;
        let name = request.into_inner().name;
        let progress = self.onboarding.readiness(&name).await?;
        let file = agents::get(&self.desk.store, &name).await.map_err(of_store)?.spec;
        let mended = |words: Vec<String>| {
            let each = words.into_iter().map(|what| Missing {
                fix: remedy(&what, &name, Some(&file)),
                what,
            });
            each.collect()
        };
        Ok(Response::new(Readiness {
            ready: progress.readiness.ready,
            missing: mended(progress.readiness.missing),
            recommended: mended(progress.readiness.recommended),
            status: progress.status.unwrap_or_default(),
            claimed: progress.claimed,
        }))
    }

    async fn send_profile(
        &self,
        request: Request<SendProfileRequest>,
    ) -> Result<Response<SendProfileResponse>, Status> {
        let actor = acts(&request)?;
        let sent = self.onboarding.send_profile(&request.into_inner().name, actor).await?;
        Ok(Response::new(SendProfileResponse {
            works_added: sent.works,
        }))
    }

    async fn verify_email(
        &self,
        request: Request<VerifyEmailRequest>,
    ) -> Result<Response<VerifyEmailResponse>, Status> {
        let actor = acts(&request)?;
        let VerifyEmailRequest { name, email, code } = request.into_inner();
        let sent_to = match optional(code) {
            Some(code) => {
                self.onboarding.confirm(&name, &code, actor).await?;
                String::new()
            }
            None => self.onboarding.send_code(&name, optional(email).as_deref()).await?,
        };
        Ok(Response::new(VerifyEmailResponse { sent_to }))
    }

    async fn resume_calls(&self, request: Request<ResumeCallsRequest>) -> Result<Response<Agent>, Status> {
        let actor = acts(&request)?;
        let name = request.into_inner().name;
        self.onboarding.resume(&name, actor).await?;
        self.named(&name).await.map(Response::new)
    }

    async fn examine(&self, request: Request<ExamineRequest>) -> Result<Response<Examined>, Status> {
        let _actor = acts(&request)?;
        let asked = request.into_inner();
        let check = match asked.check() {
            Check::Marketplace => examine::Check::Marketplace,
            Check::Clock => examine::Check::Clock,
            Check::Key => examine::Check::Key,
            Check::Readiness => examine::Check::Readiness,
            Check::Webhook => examine::Check::Webhook,
            Check::TestEvent => examine::Check::TestEvent,
            Check::Unspecified => return Err(unknown("check")),
        };
        let (outcome, detail, fix) = match self.onboarding.examine(&asked.name, check).await? {
            Found::Ok(detail) => ("ok", detail, String::new()),
            Found::Fail(detail, fix) => ("fail", detail, fix),
            Found::Skip(detail) => ("skip", detail, String::new()),
        };
        Ok(Response::new(Examined {
            outcome: outcome.to_owned(),
            detail,
            fix,
        }))
    }

    async fn try_read(&self, request: Request<TryReadRequest>) -> Result<Response<ReadTried>, Status> {
        let _actor = acts(&request)?;
        let asked = request.into_inner();
        let read = read_of(asked.read()).ok_or_else(|| unknown("read"))?;
        agents::get(&self.desk.store, &asked.name).await.map_err(of_store)?;
        let tried = canary::attempt(self.onboarding.caller(), &asked.name, read, &asked.id).await;
        // What is told here is what `ListDrift` names from now on.
        crate::drift::keep(&self.desk).await.map_err(of_store)?;
        match tried {
            Ok(tried) => Ok(Response::new(shown(tried))),
            // What the marketplace does is the answer; what we cannot do is an error.
            Err(Error::Said(error)) => Ok(Response::new(ReadTried {
                error: error.to_string(),
                ..ReadTried::default()
            })),
            Err(error) => Err(error.into()),
        }
    }
}

impl Api {
    /// The secrets webhooks of an agent may be signed with, newest first.
    async fn accepted_secrets(&self, name: &str) -> Result<Vec<WebhookSecret>, Status> {
        let now = chrono::Utc::now();
        let known = doors::secrets(&self.desk.store, name).await.map_err(of_store)?;
        let accepted = known
            .into_iter()
            .filter(|secret| secret.retires_at.is_none_or(|at| at > now));
        let shown = accepted.map(|secret| WebhookSecret {
            created_at: Some(timestamp(secret.created_at)),
            retires_at: secret.retires_at.map(timestamp),
        });
        Ok(shown.collect())
    }
}

fn unknown(what: &str) -> Status {
    status(
        Code::Invalid,
        "UNKNOWN",
        format!("this release does not know that {what}"),
    )
}

fn read_of(read: Read) -> Option<canary::Read> {
    Some(match read {
        Read::Unspecified => return None,
        Read::Gigs => canary::Read::Gigs,
        Read::Gig => canary::Read::Gig,
        Read::Services => canary::Read::Services,
        Read::Profile => canary::Read::Profile,
        Read::Standing => canary::Read::Standing,
        Read::Readiness => canary::Read::Readiness,
        Read::Contracts => canary::Read::Contracts,
        Read::Proposals => canary::Read::Proposals,
        Read::Messages => canary::Read::Messages,
        Read::Portfolio => canary::Read::Portfolio,
        Read::Webhook => canary::Read::Webhook,
        Read::Deliveries => canary::Read::Deliveries,
    })
}

fn shown(tried: canary::Tried) -> ReadTried {
    let unknown = tried.unknown.into_iter().map(|one| Drift {
        what: one.what.to_owned(),
        place: one.of.to_owned(),
        name: one.name,
        seen: i64::try_from(one.count).unwrap_or(i64::MAX),
        first_at: None,
        last_at: None,
    });
    ReadTried {
        ok: true,
        error: String::new(),
        items: tried.items,
        skipped: tried.skipped,
        unknown: unknown.collect(),
        first_id: tried.first_id.unwrap_or_default(),
    }
}
