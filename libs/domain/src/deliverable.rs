//! What a delivery may consist of: what a marketplace would refuse, or a client could not open, is found before anything
//! is sent.

/// Bytes of a file's beginning that are enough to tell what it is.
pub const HEAD: usize = 1024;

/// One file of a delivery.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Path below out/.
    pub name: &'a str,
    /// Size.
    pub bytes: u64,
    /// Its first [`HEAD`] bytes, or all of them.
    pub head: &'a [u8],
}

/// What is taken.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Files of one delivery.
    pub files: usize,
    /// Bytes of one file.
    pub bytes: u64,
}

/// The longest name of a file, in bytes.
pub const LONGEST_NAME: usize = 200;

/// Endings that systems start by a click.
const PROGRAMS: [&str; 12] = [
    "exe", "dll", "msi", "scr", "com", "bat", "cmd", "pif", "cpl", "lnk", "vbs", "hta",
];

/// Everything wrong with a delivery, each in a sentence that tells its maker what to do; none when it may go out.
#[must_use]
pub fn problems(files: &[File<'_>], limits: Limits) -> Vec<String> {
    let mut found = Vec::new();
    if files.len() > limits.files {
        found.push(format!(
            "the delivery has {} files and at most {} are taken: pack them into an archive",
            files.len(),
            limits.files
        ));
    }
    found.extend(files.iter().filter_map(|file| problem(file, limits.bytes)));
    found
}

fn problem(file: &File<'_>, most: u64) -> Option<String> {
    let name = file.name;
    if name.contains(['/', '\\']) {
        return Some(format!(
            "{name} lies in a folder, and marketplaces take files without one: put it into out/ itself, or pack the \
             folder into an archive"
        ));
    }
    if name.len() > LONGEST_NAME {
        return Some(format!(
            "{name} has a name of {} bytes and at most {LONGEST_NAME} are taken: name it shorter",
            name.len()
        ));
    }
    if file.bytes == 0 {
        return Some(format!(
            "{name} is empty: fill it, leave it out, or pack it into an archive"
        ));
    }
    if file.bytes > most {
        return Some(format!("{name} has {} bytes and at most {most} are taken", file.bytes));
    }
    let ending = ending(name);
    if PROGRAMS.contains(&ending.as_str()) || is_program(&ending, file.head) {
        return Some(format!(
            "{name} is a program, which marketplaces refuse: deliver its source, or pack it into an archive"
        ));
    }
    let kind = disguise(&ending, file.head)?;
    Some(format!(
        "{name} is named like {kind} and is none: write it as one, or name it after what it is"
    ))
}

fn ending(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.rsplit_once('.')
        .map_or(String::new(), |(_, ending)| ending.to_ascii_lowercase())
}

/// Whether it begins like a program of any system, whatever it is called.
fn is_program(ending: &str, head: &[u8]) -> bool {
    const MACHO: [&[u8]; 4] = [
        b"\xfe\xed\xfa\xce",
        b"\xfe\xed\xfa\xcf",
        b"\xce\xfa\xed\xfe",
        b"\xcf\xfa\xed\xfe",
    ];
    // Two letters could begin a text; a text has no zero bytes.
    let windows = head.starts_with(b"MZ") && head.iter().take(64).any(|byte| *byte == 0);
    // Java's classes begin like programs for two kinds of processors.
    let universal = head.starts_with(b"\xca\xfe\xba\xbe") && ending != "class";
    windows || universal || head.starts_with(b"\x7fELF") || MACHO.iter().any(|magic| head.starts_with(magic))
}

/// What a file is named like, if it is not that. Only of kinds whose beginning is fixed.
fn disguise(ending: &str, head: &[u8]) -> Option<&'static str> {
    let begins = |magics: &[&[u8]]| magics.iter().any(|magic| head.starts_with(magic));
    let zip = || begins(&[b"PK\x03\x04", b"PK\x05\x06"]);
    let (kind, is_one) = match ending {
        "png" => ("a PNG picture", begins(&[b"\x89PNG\r\n\x1a\n"])),
        "jpg" | "jpeg" => ("a JPEG picture", begins(&[b"\xff\xd8\xff"])),
        "gif" => ("a GIF picture", begins(&[b"GIF87a", b"GIF89a"])),
        "webp" => ("a WebP picture", begins(&[b"RIFF"]) && head.get(8..12) == Some(b"WEBP")),
        // Readers allow some bytes before.
        "pdf" => ("a PDF document", head.windows(5).any(|part| part == b"%PDF-")),
        "zip" => ("a ZIP archive", zip()),
        // With a password they are of the older kind.
        "docx" | "xlsx" | "pptx" => ("an Office document", zip() || begins(&[b"\xd0\xcf\x11\xe0"])),
        "gz" | "tgz" => ("a gzip archive", begins(&[b"\x1f\x8b"])),
        _ => return None,
    };
    (!is_one).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { files: 2, bytes: 100 };

    fn of(name: &str, head: &[u8]) -> Vec<String> {
        let bytes = head.len() as u64;
        problems(&[File { name, bytes, head }], LIMITS)
    }

    #[test]
    fn what_people_deliver_goes_out() {
        for (name, head) in [
            ("report.md", b"# Report".as_slice()),
            ("build.sh", b"#!/bin/sh\n"),
            ("no_ending", b"MZ is how this text begins"),
            ("picture.PNG", b"\x89PNG\r\n\x1a\n...."),
            ("late.pdf", b"\xef\xbb\xbf%PDF-1.7"),
            ("empty.zip", b"PK\x05\x06\0\0"),
            ("locked.xlsx", b"\xd0\xcf\x11\xe0\xa1"),
            ("Main.class", b"\xca\xfe\xba\xbe\0\0"),
            ("v1.2", b"1"),
        ] {
            assert_eq!(of(name, head), [""; 0], "{name}");
        }
    }

    #[test]
    fn a_name_the_marketplace_refuses_is_told_with_what_to_do() {
        for (name, what) in [
            ("src/index.md", "pack the folder into an archive"),
            ("src\\index.md", "put it into out/ itself"),
            (&"x".repeat(LONGEST_NAME + 1), "name it shorter"),
        ] {
            let found = of(name, b"text");
            assert!(found.len() == 1 && found[0].contains(what), "{name}: {found:?}");
        }
        assert_eq!(of(&"x".repeat(LONGEST_NAME), b"text"), [""; 0]);
    }

    #[test]
    fn programs_are_found_by_name_and_by_what_they_are() {
        for (name, head) in [
            ("Setup.EXE", b"x".as_slice()),
            ("notes.txt", b"\x7fELF\x02\x01"),
            ("report.pdf", b"MZ\x90\0\x03\0"),
            ("a.class.txt", b"\xca\xfe\xba\xbe\0\0"),
            ("tool", b"\xcf\xfa\xed\xfe\x07"),
        ] {
            let found = of(name, head);
            assert!(
                found.len() == 1 && found[0].contains("is a program"),
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn a_file_is_what_its_name_says() {
        for (name, head) in [
            ("report.pdf", b"<html>".as_slice()),
            ("a.png", b"\xff\xd8\xff"),
            ("a.jpeg", b"GIF89a"),
            ("a.tgz", b"PK\x03\x04"),
            ("a.docx", b"# Report"),
        ] {
            let found = of(name, head);
            assert!(
                found.len() == 1 && found[0].contains("is named like"),
                "{name}: {found:?}"
            );
        }
    }

    #[test]
    fn every_breach_of_a_limit_is_named() {
        let file = |name, bytes| File {
            name,
            bytes,
            head: b"x",
        };
        let found = problems(&[file("a", 0), file("b", 101), file("c", 100)], LIMITS);
        assert_eq!(found.len(), 3, "{found:?}");
        for (text, part) in found.iter().zip(["at most 2", "a is empty", "b has 101 bytes"]) {
            assert!(text.contains(part), "{text}");
        }
    }
}
