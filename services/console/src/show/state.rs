//! States and kinds in words, and in a tone that says whether anybody has to look.

use askama::Template;
use askama::filters::HtmlSafe;

use super::clean;

/// A state, as a small label.
#[derive(Template)]
#[template(source = "<span class=\"badge {{ tone }}\">{{ word }}</span>", ext = "html")]
pub(crate) struct Badge {
    tone: &'static str,
    word: String,
}

// It escapes the word by itself.
impl HtmlSafe for Badge {}

/// A state of a contract, run, effect, proposal or agent. One we do not know is shown as it came.
pub(crate) fn badge(state: &str) -> Badge {
    Badge {
        tone: tone(state),
        word: kind(state),
    }
}

/// What a state means to whoever looks.
pub(crate) fn tone(state: &str) -> &'static str {
    match state {
        "approved" | "succeeded" | "done" | "auto" => "good",
        "funded" | "leased" | "sending" | "submitted" => "work",
        "delivered" => "sent",
        "revision_requested" | "retrying" | "held" | "waiting" | "unknown" | "ask" => "warn",
        "disputed" | "parked" | "refused" | "dead" => "alarm",
        "cancelled" | "skipped" | "withdrawn" | "rejected" | "off" => "off",
        _ => "calm",
    }
}

/// A word of the protocol for people: `revision_requested` is "revision requested".
pub(crate) fn kind(word: &str) -> String {
    if word.is_empty() {
        return "\u{2013}".to_owned();
    }
    clean(word)
        .chars()
        .take(48)
        .map(|letter| if letter == '_' { ' ' } else { letter })
        .collect()
}

/// What waits for a human, in words.
pub(crate) fn waiting(kind: &str) -> String {
    match kind {
        "held_effect" => "Approval".to_owned(),
        "parked_run" => "Parked run".to_owned(),
        "dead_letter" => "Dead letter".to_owned(),
        "dispute" => "Dispute".to_owned(),
        "notice" => "Notice".to_owned(),
        other => self::kind(other),
    }
}

/// A score in thousandths, as a fraction of one.
pub(crate) fn score(permille: &u32) -> String {
    let digits = format!("{:03}", permille % 1000);
    format!("{}.{:0<2}", permille / 1000, digits.trim_end_matches('0'))
}

/// A size in bytes.
pub(crate) fn bytes(bytes: &u64) -> String {
    let (unit, name) = match bytes {
        0..1024 => return format!("{bytes} B"),
        1024..1_048_576 => (1024, "KiB"),
        _ => (1_048_576, "MiB"),
    };
    let tenths = u128::from(*bytes) * 10 / unit;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_a_newer_release_are_shown_escaped() {
        let html = badge("<b>new_state").to_string();
        assert!(html.contains("new state") && !html.contains("<b>"), "{html}");
        assert_eq!(tone("never heard of"), "calm");
    }

    #[test]
    fn a_score_is_a_fraction_of_one() {
        for (permille, text) in [(950, "0.95"), (0, "0.00"), (1000, "1.00"), (905, "0.905")] {
            assert_eq!(score(&permille), text);
        }
    }

    #[test]
    fn sizes_are_readable() {
        for (size, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB")] {
            assert_eq!(bytes(&size), text);
        }
    }
}
