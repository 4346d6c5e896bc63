//! Dead letters: tried again, or given up for good with a record.

use domain::{effect, run};
use rpc::error::{Code, status};
use rpc::v1::{DeadLetter, DeadLetterRef};
use store::ids::Table;
use store::{Tx, audit, dead_letters, effects, intake, notices, run_tx, runs};
use tonic::Status;
use uuid::Uuid;

use super::{Api, shapes};
use crate::contracts;
use crate::error::{Error, of_store};
use crate::wake::Topic;

/// What sort of row a letter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Inbox,
    Effect,
    Run,
}

impl Kind {
    fn read(name: &str) -> Result<Self, Status> {
        match name {
            "inbox" => Ok(Self::Inbox),
            "effect" => Ok(Self::Effect),
            "run" => Ok(Self::Run),
            _ => Err(status(
                Code::Invalid,
                "BAD_KIND",
                "a dead letter is inbox, effect or run",
            )),
        }
    }

    fn table(self) -> Table {
        match self {
            Self::Inbox => Table::Inbox,
            Self::Effect => Table::Effects,
            Self::Run => Table::Runs,
        }
    }

    fn topic(self) -> Topic {
        match self {
            Self::Inbox => Topic::Intake,
            Self::Effect => Topic::Courier,
            Self::Run => Topic::Dispatch,
        }
    }
}

impl Api {
    /// Tries a dead letter again, as if it had never failed. Answers it as it was, and the version a run takes now.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is no such dead letter.
    pub(super) async fn retry_letter(&self, letter: &DeadLetterRef, actor: &str) -> Result<DeadLetter, Status> {
        let kind = Kind::read(&letter.kind)?;
        let id = self.id(kind.table(), &letter.id).await?;
        let shown = match dead_letters::get(&self.desk.store, &letter.kind, id).await {
            Err(store::Error::NotFound { .. }) if kind == Kind::Run => return Err(self.not_parked(id).await),
            found => found.map_err(of_store)?,
        };
        let version = run_tx!(self.desk.store, "dead_letter_retry", Error, |tx| {
            let mut version = String::new();
            match kind {
                Kind::Inbox => intake::replay(tx, id).await?,
                Kind::Effect => effects::revive(tx, id).await?,
                Kind::Run => {
                    version = self.run_again(tx, id).await?;
                    if let Some(contract) = runs::contract_of(tx, id).await? {
                        contracts::calm(tx, contract).await?;
                    }
                }
            }
            settle(tx, kind, id).await?;
            audit::record(tx, actor, "dead_letters.retry", &id.to_string(), Some(&letter.kind)).await?;
            Ok(version)
        })?;
        self.desk.wake.wake(kind.topic());
        let letter = shapes::dead_letter(shown);
        Ok(DeadLetter { version, ..letter })
    }

    /// Why a run cannot be tried again by hand.
    async fn not_parked(&self, id: Uuid) -> Status {
        match store::runs::get(&self.desk.store, id).await {
            Ok(run) => status(
                Code::Refused,
                "NOT_PARKED",
                format!(
                    "run {id} is {}: only a parked run is tried again by hand",
                    run.machine.state.name()
                ),
            ),
            Err(error) => of_store(error),
        }
    }

    /// Gives a dead letter up for good; the row stays, with the reason. Answers it as it was.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is no such dead letter.
    pub(super) async fn drop_letter(
        &self,
        letter: &DeadLetterRef,
        actor: &str,
        reason: &str,
    ) -> Result<DeadLetter, Status> {
        let kind = Kind::read(&letter.kind)?;
        let id = self.id(kind.table(), &letter.id).await?;
        let shown = dead_letters::get(&self.desk.store, &letter.kind, id)
            .await
            .map_err(of_store)?;
        let policy = self.desk.config.runs.policy();
        let why = format!("dropped: {reason}");
        run_tx!(self.desk.store, "dead_letter_drop", Error, |tx| {
            match kind {
                Kind::Inbox => intake::drop_dead(tx, id, reason).await?,
                Kind::Effect => drop_effect(tx, id, &why).await?,
                Kind::Run => {
                    let note = runs::Note {
                        error: Some(why.clone()),
                        ..runs::Note::default()
                    };
                    runs::advance(tx, id, None, &run::Command::Cancel, &policy, &note).await?;
                }
            }
            settle(tx, kind, id).await?;
            let detail = format!("{}: {reason}", letter.kind);
            audit::record(tx, actor, "dead_letters.drop", &id.to_string(), Some(&detail)).await?;
            Ok(())
        })?;
        self.desk.wake.wake(Topic::Overview);
        Ok(shapes::dead_letter(shown))
    }
}

/// Closes an effect along its machine, whatever it was doing when it was given up.
async fn drop_effect(tx: &mut Tx, id: Uuid, why: &str) -> Result<(), Error> {
    let effect = effects::get_locked(tx, id).await?;
    let close = match effect.state {
        effect::State::Pending => Some(effect::Command::Cancel),
        effect::State::Unknown => Some(effect::Command::Refuse),
        _ => None,
    };
    if let Some(close) = close {
        let note = effects::Note {
            error: Some(why.to_owned()),
            ..effects::Note::default()
        };
        effects::advance(tx, id, None, close, &note).await?;
    }
    dead_letters::bury_effect(tx, id, why).await?;
    Ok(())
}

/// Nobody needs to look at it any more.
async fn settle(tx: &mut Tx, kind: Kind, id: Uuid) -> Result<(), Error> {
    let notice = match kind {
        Kind::Inbox => "inbox",
        Kind::Effect => crate::courier::DEAD_LETTER,
        Kind::Run => "run",
    };
    notices::resolve(tx, notice, &id.to_string()).await?;
    Ok(())
}
