//! Secrets in what is about to go out, by the shapes of known keys, and by the hashes of those that are kept.
//!
//! A secret an agent was talked into telling is held back for a human; so is harmless text that looks like one, which
//! costs a look. Bytes are looked at as they are: what is packed or encrypted is not unpacked.

mod known;
mod roll;

pub use known::{Known, Prints};
pub use roll::Roll;

/// Longest piece of text that is looked at as one: of a longer secret, its beginning.
pub const LONGEST: usize = 512;
/// Fewer different characters than this are a placeholder (`sk-xxxxxxxx…`), not a key.
const DIFFERENT: usize = 8;

/// Bytes of the shortest secret that is looked for: a shorter one is found in any text.
pub const SHORTEST: usize = 12;

/// Begin of the decoy keys that are laid out for agents and open nothing: only who was told to steal carries one out.
pub const DECOY: &str = "stw_live_";

/// How keys of one kind look.
struct Shape {
    what: &'static str,
    prefix: &'static str,
    /// Characters after the prefix, at least.
    least: usize,
    /// Whether `_` and `-` belong to the characters too.
    dashes: bool,
}

const fn shape(what: &'static str, prefix: &'static str, least: usize, dashes: bool) -> Shape {
    Shape {
        what,
        prefix,
        least,
        dashes,
    }
}

/// As their issuers document them, or as they were seen; the longer prefix first.
const SHAPES: [Shape; 26] = [
    shape(
        "a decoy key laid out for an agent, which somebody talked it into telling",
        DECOY,
        32,
        false,
    ),
    shape("a ClawGig key", "cg_live_", 16, false),
    shape("a ClawGig key", "cg_", 20, false),
    shape("a ClawGig claim token", "clm_", 16, false),
    shape("a webhook secret", "whsec_", 16, true),
    shape("an Anthropic key", "sk-ant-", 24, true),
    shape("an OpenAI key", "sk-proj-", 24, true),
    shape("an OpenRouter key", "sk-or-", 24, true),
    shape("an OpenAI key", "sk-", 32, false),
    shape("a Groq key", "gsk_", 32, false),
    shape("a Hugging Face token", "hf_", 30, false),
    shape("a Google key", "AIza", 35, true),
    shape("an AWS key id", "AKIA", 16, false),
    shape("an AWS key id", "ASIA", 16, false),
    shape("a GitHub token", "ghp_", 36, false),
    shape("a GitHub token", "gho_", 36, false),
    shape("a GitHub token", "ghs_", 36, false),
    shape("a GitHub token", "ghu_", 36, false),
    shape("a GitHub token", "github_pat_", 40, true),
    shape("a GitLab token", "glpat-", 20, true),
    shape("a Slack token", "xoxb-", 24, true),
    shape("a Slack token", "xoxp-", 24, true),
    shape("a Stripe key", "sk_live_", 20, false),
    shape("a Stripe key", "rk_live_", 20, false),
    shape("an npm token", "npm_", 36, false),
    shape("a PyPI token", "pypi-", 50, true),
];

const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";
const BEGIN: &[u8] = b"-----BEGIN ";
/// Between the two.
const KEY_KIND: usize = 24;

/// A scan of bytes that come in pieces.
#[derive(Debug, Default)]
pub struct Scan<'a> {
    known: Vec<(&'static str, &'a [u8])>,
    others: Option<&'a dyn Known>,
    /// The end of what was looked at: a secret may lie across two pieces.
    kept: Vec<u8>,
    found: Option<String>,
}

impl<'a> Scan<'a> {
    /// One that also finds these very secrets, each with a word for it. Shorter ones than 8 bytes are passed over.
    #[must_use]
    pub fn with(known: &[(&'static str, &'a [u8])]) -> Self {
        let is_secret = |(_, secret): &&(&str, &[u8])| (8..=LONGEST).contains(&secret.len());
        Self {
            known: known.iter().filter(is_secret).copied().collect(),
            ..Self::default()
        }
    }

    /// Also finds secrets known by their hashes.
    #[must_use]
    pub fn and(mut self, others: &'a dyn Known) -> Self {
        self.others = Some(others);
        self
    }

    /// Looks at the next piece.
    pub fn feed(&mut self, piece: &[u8]) {
        if self.found.is_some() {
            return;
        }
        // Pieces as large as they come would be copied whole.
        for part in piece.chunks(64 * 1024) {
            self.kept.extend_from_slice(part);
            self.found = self.look();
            if self.found.is_some() {
                return;
            }
            // One byte more than a secret is long tells where its word begins.
            let over = self.kept.len().saturating_sub(LONGEST + 1);
            self.kept.drain(..over);
        }
    }

    /// What was found, in words; never the secret.
    #[must_use]
    pub fn end(self) -> Option<String> {
        self.found
    }

    fn look(&self) -> Option<String> {
        let text = self.kept.as_slice();
        let holds = |secret: &[u8]| text.windows(secret.len()).any(|part| part == secret);
        let known = self.known.iter().find(|(_, secret)| holds(secret));
        let own = known.map(|(what, _)| (*what).to_owned());
        // Whose secret it is says more than what it looks like.
        own.or_else(|| known::find(self.others?, text))
            .or_else(|| by_shape(text).map(str::to_owned))
    }
}

/// What a text holds that looks like a secret, in words.
#[must_use]
pub fn text(text: &str, known: &[(&'static str, &[u8])]) -> Option<String> {
    let mut scan = Scan::with(known);
    scan.feed(text.as_bytes());
    scan.end()
}

fn by_shape(text: &[u8]) -> Option<&'static str> {
    let mut before = b' ';
    for (place, &byte) in text.iter().enumerate() {
        let begins = !is_part(before, true);
        before = byte;
        if !begins {
            continue;
        }
        let rest = text.get(place..).unwrap_or_default();
        if byte == b'-' && is_private_key(rest) {
            return Some("a private key");
        }
        let fitting = SHAPES.iter().find(|shape| fits(shape, rest));
        if let Some(shape) = fitting {
            return Some(shape.what);
        }
    }
    None
}

fn fits(shape: &Shape, text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(shape.prefix.as_bytes()) else {
        return false;
    };
    let length = rest.iter().take_while(|byte| is_part(**byte, shape.dashes)).count();
    let key = rest.get(..length.min(LONGEST)).unwrap_or_default();
    length >= shape.least && is_random(key)
}

/// Letters and digits both, and many different ones.
fn is_random(key: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in key {
        seen[usize::from(*byte)] = true;
    }
    let different = seen.iter().filter(|seen| **seen).count();
    different >= DIFFERENT && key.iter().any(u8::is_ascii_digit) && key.iter().any(u8::is_ascii_alphabetic)
}

fn is_part(byte: u8, dashes: bool) -> bool {
    byte.is_ascii_alphanumeric() || (dashes && (byte == b'_' || byte == b'-'))
}

fn is_private_key(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(BEGIN) else {
        return false;
    };
    let head = rest
        .get(..(KEY_KIND + PRIVATE_KEY.len()).min(rest.len()))
        .unwrap_or_default();
    head.windows(PRIVATE_KEY.len()).any(|part| part == PRIVATE_KEY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "cg_0123456789abcdef0123456789abcdef";

    #[test]
    fn keys_are_found_wherever_they_stand() {
        let pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn";
        for (secret, what) in [
            (KEY, "a ClawGig key"),
            ("whsec_b6784623df7946818bda0c43883a510d", "a webhook secret"),
            ("sk-ant-api03-Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8", "an Anthropic key"),
            ("sk-proj-Ab1Cd2Ef3Gh4_Ij5Kl6Mn7-Op8", "an OpenAI key"),
            ("ghp_Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2", "a GitHub token"),
            ("AKIAIOSFODNN7EXAMPLE", "an AWS key id"),
            (pem, "a private key"),
        ] {
            for around in [
                secret.to_owned(),
                format!("key={secret}"),
                format!("\"{secret}\","),
                format!("see\n{secret}\nthere"),
            ] {
                assert_eq!(text(&around, &[]).as_deref(), Some(what), "{around}");
            }
        }
    }

    #[test]
    fn words_and_placeholders_are_no_keys() {
        for harmless in [
            "",
            "sk-your-key-here",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "the task-force sk-learn of cg_compute_gradient_of_everything_there",
            "whsec_your_secret_goes_here",
            "a PRIVATE KEY----- is no key",
            "-----BEGIN CERTIFICATE-----",
            "hf_hub_download(repo_id)",
        ] {
            assert_eq!(text(harmless, &[]), None, "{harmless}");
        }
    }

    #[test]
    fn known_secrets_are_found_whatever_they_look_like() {
        let known: [(&'static str, &[u8]); 2] = [("the agent's key", b"correct horse"), ("nothing", b"short")];
        assert_eq!(
            text("it is correct horse, you know", &known).as_deref(),
            Some("the agent's key")
        );
        assert_eq!(text("short and correct", &known), None);
    }

    /// Knows each by its text; the real one by a digest.
    #[derive(Debug)]
    struct Others(Prints, Vec<(Vec<u8>, String)>);

    impl Others {
        fn of(secrets: &[(&[u8], &str)]) -> Self {
            let roll = Roll::new(7);
            let prints = secrets.iter().map(|(secret, _)| (secret.len(), roll.print(secret)));
            let named = secrets
                .iter()
                .map(|(secret, whose)| (secret.to_vec(), (*whose).to_owned()));
            Self(Prints::new(roll, prints), named.collect())
        }
    }

    impl Known for Others {
        fn prints(&self) -> &Prints {
            &self.0
        }

        fn name(&self, text: &[u8]) -> Option<String> {
            let found = self.1.iter().find(|(secret, _)| secret == text);
            found.map(|(_, whose)| whose.clone())
        }
    }

    #[test]
    fn a_secret_known_by_its_hash_is_found_inside_other_text_and_across_pieces() {
        let long = "y1".repeat(LONGEST / 2);
        let others = Others::of(&[
            (b"plain words here", "one"),
            (b"and other words", "two"),
            (long.as_bytes(), "long"),
        ]);
        for (secret, whose) in [("plain words here", "one"), ("and other words", "two"), (&long, "long")] {
            for (before, size) in [(0, 11), (1, 11), (700, 64), (700, 100_000), (32_700, 40_000)] {
                let text = format!("{}{secret}tail", "é".repeat(before));
                let mut scan = Scan::default().and(&others);
                text.as_bytes().chunks(size).for_each(|piece| scan.feed(piece));
                assert_eq!(scan.end().as_deref(), Some(whose), "{before} {size}");
            }
        }
        let mut scan = Scan::default().and(&others);
        scan.feed(b"plain words, here and other-words");
        assert_eq!(scan.end(), None);
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_a_key_is_found(
            before in proptest::collection::vec(any::<u8>(), 0..2000),
            cuts in proptest::collection::vec(1_usize..300, 0..20),
            after in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let mut bytes = before;
            bytes.push(b' ');
            bytes.extend_from_slice(KEY.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(&after);
            let mut scan = Scan::default();
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                scan.feed(piece);
                rest = left;
            }
            scan.feed(rest);
            prop_assert!(scan.end().is_some());
        }

        #[test]
        fn plain_words_are_never_held_back(words in "[a-z ,.\n]{0,400}") {
            prop_assert_eq!(text(&words, &[]), None);
        }
    }
}
