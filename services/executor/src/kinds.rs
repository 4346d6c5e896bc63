//! Whether a file is what its name says, judged by its first bytes: a picture that is an error page, a PDF that is text.
//!
//! Only kinds with a beginning of their own are judged, and a mismatch is a remark in the run's log: what a client wants
//! is not known here.

/// The bytes that are looked at.
pub const HEAD: usize = 512;

/// A kind: endings, where and how such a file begins, and what it is called.
type Kind = (&'static [&'static str], usize, &'static [&'static [u8]], &'static str);

/// The kinds with a beginning of their own.
const KINDS: [Kind; 8] = [
    (&["png"], 0, &[b"\x89PNG\r\n\x1a\n"], "a PNG picture"),
    (&["jpg", "jpeg"], 0, &[b"\xff\xd8\xff"], "a JPEG picture"),
    (&["gif"], 0, &[b"GIF87a", b"GIF89a"], "a GIF picture"),
    (&["webp"], 8, &[b"WEBP"], "a WebP picture"),
    (&["pdf"], 0, &[b"%PDF-"], "a PDF document"),
    (&["gz", "tgz"], 0, &[b"\x1f\x8b"], "a gzip archive"),
    (
        &["zip", "docx", "xlsx", "pptx", "odt", "ods", "jar", "epub"],
        0,
        &[b"PK\x03\x04", b"PK\x05\x06"],
        "a zip archive",
    ),
    (&["mp4", "m4a", "mov"], 4, &[b"ftyp"], "an MP4 file"),
];

/// Endings of files people read as text.
const TEXT: [&str; 22] = [
    "txt", "md", "csv", "tsv", "json", "xml", "html", "htm", "css", "js", "mjs", "ts", "py", "rs", "sh", "toml",
    "yaml", "yml", "sql", "log", "svg", "rst",
];

/// Says what is wrong with a file of this name that begins like this.
#[must_use]
pub fn mismatch(name: &str, head: &[u8]) -> Option<String> {
    let (_, ending) = name.rsplit_once('.')?;
    let ending = ending.to_ascii_lowercase();
    if head.is_empty() {
        return Some(format!("out/{name} is empty"));
    }
    let begins = |offset: usize, marks: &[&[u8]]| {
        let rest = head.get(offset..).unwrap_or_default();
        marks.iter().any(|mark| rest.starts_with(mark))
    };
    if let Some((_, offset, marks, what)) = KINDS.iter().find(|(endings, ..)| endings.contains(&ending.as_str())) {
        return (!begins(*offset, marks)).then(|| format!("out/{name} does not begin like {what}"));
    }
    if TEXT.contains(&ending.as_str()) {
        let known = KINDS.iter().find(|(_, offset, marks, _)| begins(*offset, marks));
        return match known {
            Some((.., what)) => Some(format!("out/{name} is called a text and begins like {what}")),
            None => head
                .contains(&0)
                .then(|| format!("out/{name} is called a text and holds bytes that are none")),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_what_its_name_says_is_remarked_on() {
        for (name, head, told) in [
            ("a.png", &b"<html>"[..], Some("PNG")),
            ("a.PNG", b"\x89PNG\r\n\x1a\n....", None),
            ("deep/a.pdf", b"dear client", Some("PDF")),
            ("a.webp", b"RIFF....WEBPVP8 ", None),
            ("report.docx", b"PK\x03\x04", None),
            ("report.md", b"# fine", None),
            ("report.md", b"%PDF-1.7", Some("begins like a PDF")),
            ("data.csv", b"a\0b", Some("none")),
            ("a.txt", b"", Some("empty")),
            ("program", b"\x7fELF", None),
            ("a.bin", b"%PDF-", None),
        ] {
            let said = mismatch(name, head);
            assert_eq!(said.is_some(), told.is_some(), "{name}: {said:?}");
            assert!(told.is_none_or(|told| said.unwrap().contains(told)), "{name}");
        }
    }
}
