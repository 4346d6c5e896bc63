//! Ids as people write them: whole, or the beginning of one that fits a single row.

use rpc::error::{Code, status};
use store::ids::{self, Table};
use tonic::Status;
use uuid::Uuid;

use super::Api;
use crate::error::of_store;

/// Digits of a whole id.
const DIGITS: usize = 32;
/// Digits of the shortest beginning that is looked for.
const FEWEST: usize = 4;
/// And where something is decided about the row: its time to the millisecond.
const FEWEST_CHOSEN: usize = 12;
/// Rows named when several fit.
const NAMED: i64 = 8;

impl Api {
    /// The id a text means.
    pub(super) async fn id(&self, table: Table, text: &str) -> Result<Uuid, Status> {
        let one = table.one();
        let bad = || {
            let why =
                format!("{text:?} is no {one}'s id: write it whole, or its beginning of at least {FEWEST} digits");
            status(Code::Invalid, "BAD_ID", why)
        };
        let (first, last) = range(text).ok_or_else(bad)?;
        if first == last {
            return Ok(first);
        }
        let fits = ids::between(&self.desk.store, table, first, last, NAMED + 1).await;
        let fits = fits.map_err(of_store)?;
        match fits.as_slice() {
            [id] => Ok(*id),
            [] => Err(status(
                Code::NotFound,
                "NOT_FOUND",
                format!("there is no {one} whose id begins with {text}"),
            )),
            several => {
                let named = usize::try_from(NAMED).unwrap_or(several.len());
                let mut list: Vec<_> = several.iter().take(named).map(Uuid::to_string).collect();
                if several.len() > named {
                    list.push("…".to_owned());
                }
                let why = format!("several ids begin with {text}: {}", list.join(", "));
                Err(status(Code::Invalid, "AMBIGUOUS_ID", why))
            }
        }
    }

    /// Ours where the text is the beginning of one of ours; as it is where it is whole or foreign.
    pub(super) async fn whole(&self, table: Table, text: String) -> Result<String, Status> {
        match range(&text) {
            Some((first, last)) if first != last => match self.id(table, &text).await {
                Ok(id) => Ok(id.to_string()),
                // The marketplace's own ids may look like anything.
                Err(error) if Code::of(&error) == Code::NotFound => Ok(text),
                Err(error) => Err(error),
            },
            _ => Ok(text),
        }
    }

    /// The id a text means, for what releases money. Ids begin with the time, so a short beginning could meet a newer row
    /// than the one that was looked at.
    pub(super) async fn chosen_id(&self, table: Table, text: &str) -> Result<Uuid, Status> {
        let digits = text.chars().filter(char::is_ascii_hexdigit).count();
        if digits < FEWEST_CHOSEN {
            let why = format!(
                "{text} could mean another {} than the one you looked at: write at least {FEWEST_CHOSEN} digits of its id",
                table.one()
            );
            return Err(status(Code::Invalid, "ID_TOO_SHORT", why));
        }
        self.id(table, text).await
    }

    /// As [`Api::id`]; an empty text means none.
    pub(super) async fn optional_id(&self, table: Table, text: &str) -> Result<Option<Uuid>, Status> {
        if text.is_empty() {
            return Ok(None);
        }
        self.id(table, text).await.map(Some)
    }
}

/// The first and the last id that begin like this; `None` when none can.
fn range(text: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = text.chars().filter(|letter| *letter != '-').collect();
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hex || !(FEWEST..=DIGITS).contains(&digits.len()) {
        return None;
    }
    let filled = |with: &str| Uuid::try_parse(&format!("{digits}{}", with.repeat(DIGITS - digits.len()))).ok();
    filled("0").zip(filled("f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_means_the_ids_between_its_zeros_and_its_fs() {
        let id = |text: &str| Uuid::try_parse(text).unwrap();
        let (first, last) = range("0192ABCD-7").unwrap();
        assert_eq!(first, id("0192abcd-7000-0000-0000-000000000000"));
        assert_eq!(last, id("0192abcd-7fff-ffff-ffff-ffffffffffff"));
        let whole = "0192abcd-7000-7000-8000-000000000001";
        assert_eq!(range(whole), Some((id(whole), id(whole))));
        for none in ["", "019", "xyz1", "0192abcd/", &"0".repeat(33), "é192abcd"] {
            assert_eq!(range(none), None, "{none}");
        }
    }
}
