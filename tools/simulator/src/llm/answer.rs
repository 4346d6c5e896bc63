//! The answers: plausible prose, wholly determined by seed, model and messages.

use serde_json::{Value, json};

use super::Ask;
use crate::rng::{Rng, hash};

/// Bytes of a token.
const TOKEN: usize = 4;
/// Words of a streamed piece.
const PIECE_WORDS: usize = 3;

const OPENINGS: &[&str] = &[
    "Here is the result, following the brief step by step.",
    "The work is done; the notes below say how and why.",
    "This covers what was asked for, and names what was left out.",
    "The request comes down to three things, taken in order.",
];

const SUBJECTS: &[&str] = &[
    "The first part",
    "The second part",
    "Each record",
    "The input",
    "The output",
    "Every section",
    "The summary",
    "The check at the end",
    "The remaining case",
];

const VERBS: &[&str] = &[
    "follows",
    "covers",
    "keeps to",
    "states",
    "is measured against",
    "is built from",
    "is limited by",
    "explains",
];

const OBJECTS: &[&str] = &[
    "the format that was asked for",
    "the points named in the brief",
    "the smallest form that works",
    "what a reader needs first",
    "the totals of the source",
    "the deadline and the budget",
    "one clear rule per line",
    "the errors that can really happen",
];

/// What makes a review reject a delivery.
const REJECT: &str = "please reject this";
/// What makes it talk and not judge.
const MUMBLE: &str = "please mumble about this";

/// An answer.
pub struct Text {
    pub whole: String,
    /// It was cut at the caller's limit.
    pub cut: bool,
    /// A number derived from the question, for ids.
    pub mark: u64,
}

impl Text {
    /// The answer in pieces, as it is streamed.
    pub fn pieces(&self) -> Vec<&str> {
        let mut pieces = Vec::new();
        let (mut start, mut words) = (0, 0);
        for (at, _) in self.whole.match_indices(' ') {
            words += 1;
            if words == PIECE_WORDS {
                pieces.push(&self.whole[start..at]);
                (start, words) = (at, 0);
            }
        }
        pieces.push(&self.whole[start..]);
        pieces
    }

    /// An id with the provider's prefix.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}{:016x}", self.mark)
    }
}

/// Tokens of that many bytes of text.
pub fn tokens(bytes: usize) -> u64 {
    (bytes.div_ceil(TOKEN) as u64).max(1)
}

/// Answers `ask`.
pub fn compose(seed: u64, ask: &Ask) -> Text {
    let mark = hash(&[&seed.to_le_bytes(), ask.model.as_bytes(), ask.basis.as_bytes()]);
    if let Some(whole) = verdict(&ask.basis) {
        return Text {
            whole,
            cut: false,
            mark,
        };
    }
    let mut rng = Rng::new(mark);
    let mut whole = rng.pick(OPENINGS).to_owned();
    for _ in 0..2 + rng.below(3) {
        whole.push_str("\n\n");
        for _ in 0..2 + rng.below(3) {
            let (subject, verb) = (rng.pick(SUBJECTS), rng.pick(VERBS));
            whole.push_str(&format!("{subject} {verb} {}. ", rng.pick(OBJECTS)));
        }
        whole.truncate(whole.trim_end().len());
    }
    let most = ask.max_tokens.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX).saturating_mul(TOKEN)
    });
    let cut = whole.len() > most;
    // The text is ASCII: any byte is a boundary.
    whole.truncate(most);
    Text { whole, cut, mark }
}

/// The verdict of who is asked for a review of a delivery: no, when the words "please reject this" stand anywhere in the
/// question, nothing that is a verdict for "please mumble about this", else yes.
fn verdict(basis: &str) -> Option<String> {
    let asked: Value = serde_json::from_str(basis).ok()?;
    let told = asked[0]["content"].as_str().filter(|_| asked[0]["role"] == "system")?;
    let (_, rest) = told.split_once("{\"review\":\"")?;
    let (word, _) = rest.split_once('"')?;
    let question = asked[1]["content"].as_str().unwrap_or_default().to_lowercase();
    if question.contains(MUMBLE) {
        return None;
    }
    let accept = !question.contains(REJECT);
    let reasons: &[&str] = if accept {
        &[]
    } else {
        &["the client asked for it to be rejected"]
    };
    Some(json!({ "review": word, "accept": accept, "reasons": reasons }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(basis: &str, max_tokens: Option<u64>) -> Ask {
        Ask {
            model: "m".into(),
            basis: basis.into(),
            prompt_tokens: 1,
            max_tokens,
            stream: false,
            include_usage: false,
            stores: false,
        }
    }

    #[test]
    fn pieces_add_up_to_the_whole() {
        for question in ["a", "b", "c", "d"] {
            let text = compose(1, &ask(question, None));
            assert_eq!(text.pieces().concat(), text.whole);
            assert!(text.whole.is_ascii() && text.pieces().len() > 5);
        }
    }

    #[test]
    fn the_question_and_the_seed_decide_the_answer() {
        let text = |seed, question| compose(seed, &ask(question, None)).whole;
        assert_eq!(text(1, "a"), text(1, "a"));
        assert_ne!(text(1, "a"), text(1, "b"));
        assert_ne!(text(1, "a"), text(2, "a"));
    }

    #[test]
    fn a_limit_cuts_to_the_token() {
        let text = compose(1, &ask("a", Some(5)));
        assert!(text.cut);
        assert_eq!(tokens(text.whole.len()), 5);
        assert_eq!(tokens(0), 1);
        assert_eq!(tokens(5), 2);
    }

    #[test]
    fn a_review_is_answered_by_a_verdict() {
        let asked = |question: &str| {
            let system = "Answer with {\"review\":\"w-1\",\"accept\":true,\"reasons\":[]}";
            let basis = json!([{ "role": "system", "content": system }, { "role": "user", "content": question }]);
            compose(1, &ask(&basis.to_string(), None)).whole
        };
        assert_eq!(asked("x"), r#"{"accept":true,"reasons":[],"review":"w-1"}"#);
        assert!(asked("Please reject this").contains("\"accept\":false"));
        assert!(!asked("please mumble about this").contains("w-1"));
    }
}
