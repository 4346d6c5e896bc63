//! The private folder of one attempt.
//!
//! ```text
//! runs/RUN-ATTEMPT/        ours: the agent passes through, but cannot rename or replace what stands here
//!   job.json               the job, for the agent to read
//!   events                 the pipe it writes events to
//!   lines                  the pipe an endpoint's later answers come out of, where there is one
//!   task.json              what to play, when the agent is this program
//!   review.json            what to judge, when a model reviews the delivery
//!   process.json           who runs here, for the next start
//!   work/                  the agent's own: it starts here
//!     out/ tmp/ .cache/ …
//! ```

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::disk::{self, Unknown, Usage};
use crate::tree;

/// Folders that stand in a new workspace.
const FOLDERS: [&str; 6] = ["out", "tmp", ".cache", ".config", ".local", ".run"];

/// A run's folder. Removed by [`Workspace::remove`], not when dropped: a failed run may be kept for a look.
#[derive(Debug, Clone)]
pub struct Workspace {
    folder: PathBuf,
    uid: Option<u32>,
}

impl Workspace {
    /// Makes the folder, the pipe and the job file. Blocks.
    ///
    /// # Errors
    /// The system refuses; whatever stood there before is removed first.
    pub fn create(runs: &Path, name: &str, uid: Option<u32>, job: &str) -> io::Result<Self> {
        let folder = runs.join(name);
        tree::remove(&folder)?;
        // Others may pass through to their own part, but not look around.
        make(&folder, if uid.is_some() { 0o711 } else { 0o700 }, None)?;
        let space = Self { folder, uid };
        make(&space.work(), 0o700, uid)?;
        for name in FOLDERS {
            make(&space.work().join(name), 0o700, uid)?;
        }
        std::fs::write(space.job(), job)?;
        std::fs::set_permissions(space.job(), std::fs::Permissions::from_mode(0o400))?;
        give(&space.job(), uid)?;
        space.pipe("events")?;
        Ok(space)
    }

    /// Makes a pipe beside the agent's folder, for its user.
    ///
    /// # Errors
    /// The system refuses.
    pub fn pipe(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        give(&path, self.uid)?;
        Ok(path)
    }

    /// The outer folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The agent's folder.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Where deliverables go.
    #[must_use]
    pub fn out(&self) -> PathBuf {
        self.work().join("out")
    }

    /// The job file.
    #[must_use]
    pub fn job(&self) -> PathBuf {
        self.folder.join("job.json")
    }

    /// The event pipe.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        self.folder.join("events")
    }

    /// Writes what an agent played by this program is told, for its user alone. Blocks, shortly.
    ///
    /// # Errors
    /// The system refuses.
    pub fn task(&self, name: &str, task: &impl serde::Serialize) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        let mut file = std::fs::File::options();
        let mut file = std::os::unix::fs::OpenOptionsExt::mode(file.write(true).create_new(true), 0o400).open(&path)?;
        io::Write::write_all(&mut file, &serde_json::to_vec(task)?)?;
        give(&path, self.uid)?;
        Ok(path)
    }

    /// The user id it belongs to, if not ours.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// A place for an input, folders on the way made; `name` must be a checked relative name. Only before the agent
    /// starts: afterwards a folder on the way could be a link to somewhere else.
    ///
    /// # Errors
    /// The system refuses.
    pub fn place(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.work().join(name);
        let mut at = self.work();
        let folders = Path::new(name).parent().into_iter().flat_map(Path::components);
        for part in folders {
            at.push(part);
            match make(&at, 0o700, self.uid) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        Ok(path)
    }

    /// Hands a finished input to the agent.
    ///
    /// # Errors
    /// The system refuses.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        give(path, self.uid)
    }

    /// Removes it, with everything in it. Blocks.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(&self) -> io::Result<()> {
        tree::remove(&self.folder)
    }

    /// What the agent's folder takes on disk. Blocks; stops counting at 200,000 entries.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn usage(&self) -> Result<Usage, Unknown> {
        disk::usage(&self.work())
    }
}

fn make(path: &Path, mode: u32, uid: Option<u32>) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(mode).create(path)?;
    // Whatever the umask is.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    give(path, uid)
}

fn give(path: &Path, uid: Option<u32>) -> io::Result<()> {
    match uid {
        Some(id) => chown(path, Some(id), Some(id)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_whose_rights_were_taken_away_is_removed_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "x").unwrap();
        let space = Workspace::create(root.path(), "r-1", None, "{}").unwrap();
        let deep = space.work().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::os::unix::fs::symlink(&outside, deep.join("link")).unwrap();
        std::fs::set_permissions(&deep, std::fs::Permissions::from_mode(0o000)).unwrap();
        space.remove().unwrap();
        assert!(!space.folder().exists());
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn usage_counts_what_is_there_and_not_behind_links() {
        let root = tempfile::tempdir().unwrap();
        let space = Workspace::create(root.path(), "r-1", None, "{}").unwrap();
        let before = space.usage().unwrap();
        std::fs::write(space.out().join("file"), vec![7; 100_000]).unwrap();
        std::os::unix::fs::symlink("/usr", space.work().join("link")).unwrap();
        let after = space.usage().unwrap();
        assert_eq!(after.entries, before.entries + 2);
        assert!(after.bytes - before.bytes >= 100_000 && after.bytes - before.bytes < 200_000);
    }

    #[test]
    fn inputs_get_the_folders_on_their_way() {
        let root = tempfile::tempdir().unwrap();
        let space = Workspace::create(root.path(), "r-1", None, "{}").unwrap();
        let path = space.place("attachments/a/b.txt").unwrap();
        std::fs::write(&path, "x").unwrap();
        assert!(
            space.place("attachments/a/c.txt").is_ok(),
            "folders may be there already"
        );
    }
}
