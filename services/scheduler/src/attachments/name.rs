//! Names of clients' files as they lie in a workspace: one plain part, none twice.

use crate::payload::Attachment;

/// Longest name, characters; none takes more than four bytes, and a file system allows 255.
const LONGEST: usize = 60;
/// The longest ending that is kept when a name is cut.
const LONGEST_ENDING: usize = 12;
/// A file without a name worth the word.
const NAMELESS: &str = "file";

/// What a file is called: the sender's name of it, or the end of its address, with nothing in it that leads elsewhere
/// or that a shell would take apart.
pub(super) fn safe(file: &Attachment) -> String {
    let path = file.url.split(['?', '#']).next().unwrap_or_default();
    let from_url = path.rsplit('/').next().unwrap_or_default();
    let given = if file.name.trim().is_empty() {
        from_url
    } else {
        &file.name
    };
    // Of a name with folders in it the last part.
    let given = given.trim().rsplit(['/', '\\']).next().unwrap_or_default();
    let plain = |character: char| {
        if character.is_alphanumeric() || "._-".contains(character) {
            character
        } else {
            '_'
        }
    };
    let name: String = given.chars().map(plain).collect();
    let name = name.trim_start_matches(['.', '-']).trim_end_matches('.');
    if name.chars().all(|character| character == '_') {
        return NAMELESS.to_owned();
    }
    let (stem, ending) = split(name);
    let room = LONGEST - ending.chars().count();
    format!("{}{ending}", stem.chars().take(room).collect::<String>())
}

/// The name, or the first of `NAME-2`, `NAME-3`, … that nobody has. Some file systems take upper and lower case as one.
pub(super) fn unique(name: &str, had: &[String]) -> String {
    let is_free = |name: &str| had.iter().all(|other| other.to_lowercase() != name.to_lowercase());
    if is_free(name) {
        return name.to_owned();
    }
    let (stem, ending) = split(name);
    let mut numbered = (2..=had.len() + 2).map(|number| format!("{stem}-{number}{ending}"));
    // Of as many names as that at least one is free.
    numbered.find(|name| is_free(name)).unwrap_or_default()
}

/// A name and its ending with the dot; an overlong ending is none.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= LONGEST_ENDING => name.split_at(dot),
        _ => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, url: &str) -> String {
        safe(&Attachment {
            name: name.to_owned(),
            url: url.to_owned(),
            ..Attachment::default()
        })
    }

    #[test]
    fn a_name_is_one_plain_part_whatever_the_sender_wrote() {
        for (name, expected) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\me\\plan.txt", "plan.txt"),
            ("-rf $(id).sh", "rf___id_.sh"),
            (".bashrc", "bashrc"),
            ("..", "file"),
            (" / ", "file"),
            ("Größe.csv", "Größe.csv"),
            ("a\u{202e}fdp.exe", "a_fdp.exe"),
        ] {
            assert_eq!(named(name, ""), expected, "{name:?}");
        }
        assert_eq!(named("", "https://x.example/a/b.csv?token=1#x"), "b.csv");
        let long = named(&format!("{}.tar.gz", "ü".repeat(300)), "");
        assert!(long.len() < 255 && long.ends_with(".gz"), "{long}");
    }

    #[test]
    fn no_two_files_have_one_name() {
        let had = ["a.csv", "A-2.csv", "b"].map(str::to_owned);
        assert_eq!(unique("a.csv", &had), "a-3.csv");
        assert_eq!(unique("A.CSV", &had), "A-3.CSV");
        assert_eq!(unique("b", &had), "b-2");
        assert_eq!(unique("c", &had), "c");
    }
}
