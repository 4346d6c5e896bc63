//! A secret, cut out of what passes by.

use bytes::Bytes;

/// Puts asterisks over a secret in bytes that come in pieces; their number stays.
#[derive(Clone)]
pub struct Cut {
    /// The longest first.
    needles: Vec<Vec<u8>>,
    kept: Vec<u8>,
}

impl std::fmt::Debug for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cut").finish_non_exhaustive()
    }
}

impl Cut {
    /// For this secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let percent = encoded.replace('+', "%20");
        let lower = lower_escapes(&percent);
        let slashes = secret.replace('/', "\\/");
        let escaped = secret.replace('\\', "\\\\").replace('"', "\\\"");
        let mut needles: Vec<Vec<u8>> = [secret.to_owned(), encoded, percent, lower, slashes, escaped]
            .into_iter()
            .filter(|needle| !needle.is_empty())
            .map(String::into_bytes)
            .collect();
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Self {
            needles,
            kept: Vec::new(),
        }
    }

    /// The next piece, as far as no secret can begin in it that goes on in the next.
    pub fn push(&mut self, piece: &[u8]) -> Bytes {
        self.kept.extend_from_slice(piece);
        mask(&mut self.kept, &self.needles);
        let open = self.open();
        let rest = self.kept.split_off(self.kept.len() - open);
        std::mem::replace(&mut self.kept, rest).into()
    }

    /// What was kept back.
    pub fn end(&mut self) -> Bytes {
        std::mem::take(&mut self.kept).into()
    }

    /// The same of bytes that are all there.
    #[must_use]
    pub fn whole(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        mask(&mut bytes, &self.needles);
        bytes
    }

    /// Bytes at the end that a secret may begin with.
    fn open(&self) -> usize {
        let longest = self.needles.iter().map(Vec::len).max().unwrap_or(0);
        let most = longest.saturating_sub(1).min(self.kept.len());
        let begins = |length: &usize| {
            let end = &self.kept[self.kept.len() - length..];
            self.needles
                .iter()
                .any(|needle| needle.len() > end.len() && needle.starts_with(end))
        };
        (1..=most).rev().find(begins).unwrap_or(0)
    }
}

fn mask(bytes: &mut [u8], needles: &[Vec<u8>]) {
    for needle in needles {
        let mut from = 0;
        while let Some(rest) = bytes.get(from..).filter(|rest| rest.len() >= needle.len()) {
            let Some(at) = rest.windows(needle.len()).position(|part| part == needle.as_slice()) else {
                break;
            };
            bytes[from + at..from + at + needle.len()].fill(b'*');
            from += at + needle.len();
        }
    }
}

/// `%2F` as others write it: `%2f`.
fn lower_escapes(text: &str) -> String {
    let mut left = 0;
    let lower = text.chars().map(|letter| {
        if letter == '%' {
            left = 2;
            return letter;
        }
        let escaped = left > 0;
        left -= i32::from(escaped);
        if escaped { letter.to_ascii_lowercase() } else { letter }
    });
    lower.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_cut_however_it_is_written_and_however_it_comes() {
        let secret = "ab/cd+ab/cd=ef";
        for shown in [
            "ab/cd+ab/cd=ef",
            "ab%2Fcd%2Bab%2Fcd%3Def",
            "ab%2fcd%2bab%2fcd%3def",
            "ab\\/cd+ab\\/cd=ef",
        ] {
            let text = format!("ab/{shown}ab/cd+ {shown}{shown} ab/cd+ab/cd=e");
            let wanted = text.replace(shown, &"*".repeat(shown.len()));
            for size in 1..text.len() {
                let mut cut = Cut::new(secret);
                let mut out = Vec::new();
                for piece in text.as_bytes().chunks(size) {
                    out.extend_from_slice(&cut.push(piece));
                }
                out.extend_from_slice(&cut.end());
                assert_eq!(String::from_utf8(out).unwrap(), wanted, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_cannot_be_the_begin_of_a_secret_is_not_kept_waiting() {
        let mut cut = Cut::new("secret-of-many");
        assert_eq!(cut.push(b"data: one\n\n"), "data: one\n\n");
        assert_eq!(cut.push(b"data: sec"), "data: ");
        assert_eq!(cut.push(b"ond"), "second");
    }
}
