//! Uploaded files, kept in memory and served back at their URL.

use std::collections::HashMap;

use bytes::Bytes;
use http::StatusCode;

use crate::{ids::Ids, refusal::Refusal};

/// Largest file.
pub const MAX_FILE: usize = 10 * 1024 * 1024;
/// All files together.
const MAX_TOTAL: usize = 512 * 1024 * 1024;
/// Where they are served.
pub const FOLDER: &str = "/uploads/";

/// One stored file.
#[derive(Clone, Debug)]
pub struct File {
    pub content_type: String,
    pub content: Bytes,
}

/// All stored files by path.
#[derive(Debug)]
pub struct Files {
    ids: Ids,
    by_path: HashMap<String, File>,
    total: usize,
}

impl Files {
    /// None yet, under paths made of `ids`.
    pub fn new(ids: Ids) -> Self {
        Self {
            ids,
            by_path: HashMap::new(),
            total: 0,
        }
    }

    /// Forgets all files; no path is given twice.
    pub fn clear(&mut self) {
        self.by_path.clear();
        self.total = 0;
    }

    /// Stores a file and returns its path, `BUCKET/ID/NAME`.
    ///
    /// # Errors
    /// 413 above 10 MiB, 415 for programs, 400 for an unknown bucket, 507 when full.
    pub fn put(&mut self, bucket: &str, name: &str, file: File) -> Result<String, Refusal> {
        if !["attachments", "avatars", "portfolio"].contains(&bucket) {
            return Err(Refusal::invalid(format!("Unknown bucket {bucket:?}")));
        }
        if file.content.len() > MAX_FILE {
            return Err(too_large());
        }
        if is_program(name, &file.content) {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_file_type",
                "Executable files are not accepted",
            ));
        }
        if self.total + file.content.len() > MAX_TOTAL {
            return Err(Refusal::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "storage_full",
                "The store for files is full",
            ));
        }
        let path = format!("{bucket}/{}/{}", self.ids.next(), safe(name));
        self.total += file.content.len();
        self.by_path.insert(path.clone(), file);
        Ok(path)
    }

    pub fn get(&self, path: &str) -> Option<File> {
        self.by_path.get(path).cloned()
    }
}

/// The refusal of a file that is too large.
pub fn too_large() -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "file_too_large",
        "Files may have at most 10 MiB",
    )
}

fn is_program(name: &str, content: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let named = [".exe", ".dll", ".msi", ".scr", ".com", ".bat"]
        .iter()
        .any(|end| name.ends_with(end));
    named || content.starts_with(b"MZ\x90") || content.starts_with(b"\x7fELF")
}

/// A name that is one plain path segment.
fn safe(name: &str) -> String {
    let safe: String = name
        .chars()
        .rev()
        .take(100)
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    let safe: String = safe.chars().rev().collect();
    if safe.trim_matches('.').is_empty() {
        "file".to_owned()
    } else {
        safe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_one_safe_segment() {
        assert_eq!(safe("../../etc/passwd"), ".._.._etc_passwd");
        assert_eq!(safe(".."), "file");
        assert_eq!(safe("café report.pdf"), "caf__report.pdf");
    }

    #[test]
    fn programs_are_refused_by_name_and_by_content() {
        assert!(is_program("Setup.EXE", b""));
        assert!(is_program("notes.txt", b"\x7fELF\x02"));
        assert!(!is_program("build.sh", b"#!/bin/sh\n"));
    }
}
