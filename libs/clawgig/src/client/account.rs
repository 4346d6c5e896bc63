//! Identity, profile and readiness.

use outbound::Method;
use secrecy::SecretString;
use serde_json::json;

use super::call::Call;
use super::{Client, Family, Reply};
use crate::error::Error;
use crate::fields::Fields;
use crate::wire::Read;
use crate::wire::agent::{PortfolioItem, Profile, ProfilePatch, Readiness, Registered, Registration, Standing};
use crate::wire::page::Page;

impl Client {
    /// Registers a new agent. **One request, no automatic retry**: the answer holds the only copy of the
    /// key, and a second try makes a second agent.
    ///
    /// # Errors
    /// [`Error`]; a [`crate::Verdict::Verify`] here needs a human.
    pub async fn register(&self, registration: &Registration) -> Result<Reply<Registered>, Error> {
        let call = Call::new("register", Method::POST, &["agents", "register"]);
        self.one(call.body(registration.body()), "agent", Registered::read)
            .await
    }

    /// Asks one family's readiness path whether the server speaks that family, and remembers it if so.
    /// **One request.** Call for each of [`Family::ALL`] until one is `true`.
    ///
    /// # Errors
    /// [`Error`] for anything but 404, 405 (= `false`) and 403 (the path exists = `true`).
    pub async fn probe_family(&self, family: Family) -> Result<Reply<bool>, Error> {
        let path: &[&str] = match family {
            Family::AgentsMe => &["agents", "me", "readiness"],
            Family::Agent => &["agent", "readiness"],
        };
        let call = Call::new("probe_family", Method::GET, path);
        let (rate, speaks) = match self.call(call).await {
            Ok(reply) => (reply.rate, true),
            Err(error) => match error.answer() {
                Some(answer) if answer.status == 403 => (answer.rate.clone(), true),
                Some(answer) if matches!(answer.status, 404 | 405) => (answer.rate.clone(), false),
                _ => return Err(error),
            },
        };
        if speaks {
            self.set_family(Some(family));
        }
        Ok(Reply { value: speaks, rate })
    }

    /// Whether the agent may bid, and what is missing. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn readiness(&self) -> Result<Reply<Readiness>, Error> {
        let path = ["readiness"];
        let call = self.mine("readiness", Method::GET, &path, &path);
        self.one(call, "readiness", Readiness::read).await
    }

    /// The agent's standing: pending, active, suspended. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn standing(&self) -> Result<Reply<Standing>, Error> {
        let path: [&str; 2] = match self.family_or_default() {
            Family::AgentsMe => ["agents", "status"],
            Family::Agent => ["agent", "status"],
        };
        let call = Call::new("standing", Method::GET, &path);
        self.one(call, "agent", Standing::read).await
    }

    /// The agent's profile. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn profile(&self) -> Result<Reply<Profile>, Error> {
        let call = self.mine("profile", Method::GET, &[], &["profile"]);
        self.one(call, "agent", Profile::read).await
    }

    /// Changes the profile. **One request**; sending it again does no harm.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update_profile(&self, patch: &ProfilePatch) -> Result<Reply<Profile>, Error> {
        let call = self.mine("update_profile", Method::PATCH, &[], &["profile"]);
        self.one(call.body(patch.body()), "agent", Profile::read).await
    }

    /// Has a six-digit code sent to an address. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn verify_email(&self, email: &str) -> Result<Reply<()>, Error> {
        let path = ["verify-email"];
        let call = self.mine("verify_email", Method::POST, &path, &path);
        self.done(call.body(json!({ "email": email }))).await
    }

    /// Confirms the address with the code. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn confirm_email(&self, code: &str) -> Result<Reply<()>, Error> {
        let call = self.mine(
            "confirm_email",
            Method::POST,
            &["verify-email", "confirm"],
            &["confirm-email"],
        );
        self.done(call.body(json!({ "code": code }))).await
    }

    /// The portfolio. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn portfolio(&self) -> Result<Reply<Page<PortfolioItem>>, Error> {
        let path = ["portfolio"];
        let call = self.mine("portfolio", Method::GET, &path, &path);
        self.page(call, "portfolio").await
    }

    /// Adds to the portfolio. **One request**; sent twice, it adds twice.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn add_portfolio(&self, item: &PortfolioItem) -> Result<Reply<PortfolioItem>, Error> {
        let path = ["portfolio"];
        let call = self.mine("add_portfolio", Method::POST, &path, &path);
        self.one(call.body(item.body()), "portfolio", PortfolioItem::read).await
    }

    /// Changes a piece of the portfolio. **One request**; sending it again does no harm.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update_portfolio(&self, id: &str, item: &PortfolioItem) -> Result<Reply<PortfolioItem>, Error> {
        let path = ["portfolio", id];
        let call = self.mine("update_portfolio", Method::PATCH, &path, &path);
        self.one(call.body(item.body()), "portfolio", PortfolioItem::read).await
    }

    /// Takes a piece out of the portfolio. **One request.**
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_portfolio(&self, id: &str) -> Result<Reply<()>, Error> {
        let path = ["portfolio", id];
        self.done(self.mine("delete_portfolio", Method::DELETE, &path, &path))
            .await
    }

    /// Makes a new API key. Whether the old one works on is not documented: take it for dead. **One request, never
    /// repeated blindly**: the answer holds the only copy.
    ///
    /// # Errors
    /// [`Error`]; a [`crate::Verdict::Verify`] here needs a human.
    pub async fn regenerate_key(&self, agent_id: &str) -> Result<Reply<SecretString>, Error> {
        let path = ["agents", agent_id, "regenerate-key"];
        let call = Call::new("regenerate_key", Method::POST, &path);
        let read = |value: &serde_json::Value| {
            let mut fields = Fields::of("key", value)?;
            fields.text(&["api_key", "key", "new_key"]).map(SecretString::from)
        };
        self.one(call, "agent", read).await
    }

    /// A call to the agent's own paths, in the family found.
    pub(super) fn mine(&self, name: &'static str, method: Method, me: &[&str], agent: &[&str]) -> Call {
        Call::of_family(name, method, self.family_or_default(), me, agent)
    }
}
