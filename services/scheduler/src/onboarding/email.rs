//! The address people can be reached at, confirmed by a code.

use clawgig::Client;
use domain::agent_file::is_address;
use store::{agents, audit, run_tx};

use super::{Error, Onboarding};

/// Digits of a code.
const DIGITS: usize = 6;

impl Onboarding {
    /// Has a code sent to the address, or to the file's. Answers where it went.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn send_code(&self, name: &str, email: Option<&str>) -> Result<String, Error> {
        let file = agents::get(&self.desk().store, name).await?.spec;
        let email = email.unwrap_or(&file.profile.contact_email).trim().to_owned();
        if !is_address(&email) {
            let why = format!("{email:?} is no e-mail address: write profile.contact_email, or say --email");
            return Err(Error::Invalid(why));
        }
        let send = |client: Client| {
            let email = email.clone();
            async move { client.verify_email(&email).await }
        };
        self.caller.write(name, send).await?;
        Ok(email)
    }

    /// Confirms the address with the code that came.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn confirm(&self, name: &str, code: &str, actor: &str) -> Result<(), Error> {
        let code: String = code
            .chars()
            .filter(|letter| !letter.is_whitespace() && *letter != '-')
            .collect();
        if code.len() != DIGITS || !code.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(Error::Invalid(format!("a code has {DIGITS} digits")));
        }
        let send = |client: Client| {
            let code = code.clone();
            async move { client.confirm_email(&code).await }
        };
        self.caller.write(name, send).await?;
        run_tx!(self.desk().store, "onboarding_email", |tx| {
            audit::record(tx, actor, "agents.verify_email", name, None).await
        })?;
        Ok(())
    }
}
