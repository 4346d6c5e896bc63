//! What every part of the scheduler works with.

use std::sync::Arc;

use boot::{CancellationToken, Context, Tasks};
use store::{Store, seal::Sealer};

use crate::config::Config;
use crate::known::Registry;
use crate::wake::Wake;

/// Settings, store, wake-ups and tasks of one scheduler process. Shared as `Arc<Desk>`.
#[derive(Debug)]
pub struct Desk {
    /// The validated settings.
    pub config: Arc<Config>,
    /// Postgres, as the role `scheduler`.
    pub store: Store,
    /// Wake-ups of this process.
    pub wake: Wake,
    /// Where to spawn.
    pub tasks: Tasks,
    /// Cancelled when to take nothing new.
    pub soft: CancellationToken,
    /// Unique name of this process.
    pub instance: Arc<str>,
    /// Seals webhook secrets.
    pub webhook_sealer: Sealer,
    /// Seals marketplace keys.
    pub marketplace_sealer: Sealer,
    /// Secrets that must not go out.
    pub known: Registry,
}

impl Desk {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When a sealing key cannot be used.
    pub fn new(ctx: &Context<Config>, store: Store, wake: Wake) -> anyhow::Result<Self> {
        let keys = &ctx.config.keys;
        let known = Registry::new(ctx.config.billing.token.expose());
        let secret = |secret: &boot::Secret| secrecy::SecretString::from(secret.expose());
        Ok(Self {
            config: Arc::clone(&ctx.config),
            store,
            wake,
            tasks: ctx.tasks.clone(),
            soft: ctx.soft.clone(),
            instance: Arc::clone(&ctx.instance),
            known,
            webhook_sealer: Sealer::new(store::doors::SEAL_OWNER, &secret(&keys.webhook))?,
            marketplace_sealer: Sealer::new(store::agents::SEAL_OWNER, &secret(&keys.marketplace))?,
        })
    }
}
