//! What a stack would make of a result: the same rules it has before a delivery goes out.

use std::collections::BTreeMap;

use domain::deliverable::{self, File, HEAD, Limits};
use domain::secret_scan;
use serde_json::Value;

/// What the marketplace takes, as the scheduler is set when nothing else is said.
const LIMITS: Limits = Limits {
    files: 50,
    bytes: 10 * 1024 * 1024,
};
/// What of a result is text for somebody outside.
const TEXTS: [&str; 5] = ["notes", "message", "text", "cover_letter", "decline"];

/// What would stop it, each in a sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The attempt would fail.
    pub(crate) refused: Vec<String>,
    /// It would wait for a human.
    pub(crate) held: Vec<String>,
}

impl Verdict {
    /// Of a result with its files, and what was said to the client before.
    pub(crate) fn of(result: Option<&Value>, files: &BTreeMap<String, Vec<u8>>, messages: &[String]) -> Self {
        let delivered: Vec<File<'_>> = files
            .iter()
            .map(|(name, body)| File {
                name,
                bytes: body.len() as u64,
                head: body.get(..HEAD.min(body.len())).unwrap_or_default(),
            })
            .collect();
        let said = messages.iter().map(|text| ("a message", text.as_str()));
        let texts = TEXTS
            .iter()
            .filter_map(|field| Some((*field, result?[*field].as_str()?)));
        let mut held: Vec<String> = said
            .chain(texts)
            .filter_map(|(of, text)| Some(format!("{of} holds what looks like {}", secret_scan::text(text, &[])?)))
            .collect();
        for (name, body) in files {
            let mut scan = secret_scan::Scan::default();
            scan.feed(body);
            held.extend(scan.end().map(|what| format!("{name} holds what looks like {what}")));
        }
        Self {
            refused: deliverable::problems(&delivered, LIMITS),
            held,
        }
    }

    /// Whether nothing stops it.
    pub(crate) fn passes(&self) -> bool {
        self.refused.is_empty() && self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_stack_refuses_or_holds_does_not_pass_a_trial() {
        let file = |name: &str, body: &str| BTreeMap::from([(name.to_owned(), body.as_bytes().to_vec())]);
        let key = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
        let result = json!({ "notes": "done" });
        assert!(Verdict::of(Some(&result), &file("a.md", "text"), &[]).passes());
        assert_eq!(Verdict::of(Some(&result), &file("run.exe", "MZ"), &[]).refused.len(), 1);
        assert_eq!(Verdict::of(Some(&result), &file("a.md", &key), &[]).held.len(), 1);
        assert_eq!(
            Verdict::of(
                Some(&json!({ "notes": key })),
                &BTreeMap::new(),
                std::slice::from_ref(&key)
            )
            .held
            .len(),
            2
        );
    }
}
