//! This program at a place the users of runs can reach.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use boot::Tasks;
use tokio::sync::OnceCell;

/// Folders every agent may read and execute.
const SYSTEM: [&str; 2] = ["/usr", "/bin"];
/// This very program, also when its file was replaced by a newer one.
const OWN: &str = "/proc/self/exe";

/// Where this program is started as an agent from; found out when the first one needs it.
#[derive(Debug)]
pub(crate) struct Runner {
    place: PathBuf,
    found: OnceCell<PathBuf>,
}

impl Runner {
    /// `place` is a file of ours in a folder every run's user can pass through.
    pub(crate) fn new(place: PathBuf) -> Self {
        let found = OnceCell::new();
        Self { place, found }
    }

    /// The program.
    ///
    /// # Errors
    /// It can neither be linked nor copied.
    pub(crate) async fn path(&self, tasks: &Tasks) -> io::Result<PathBuf> {
        let found = self.found.get_or_try_init(|| async {
            let place = self.place.clone();
            let putting = tasks.spawn_blocking("put_runner", move || put(&place));
            putting.await.unwrap_or_else(|| Err(io::Error::other("stopped")))
        });
        found.await.cloned()
    }
}

fn put(place: &Path) -> io::Result<PathBuf> {
    let own = std::fs::read_link(OWN).or_else(|_no_proc| std::env::current_exe())?;
    let anybody_may = own
        .metadata()
        .is_ok_and(|file| file.permissions().mode() & 0o005 == 0o005);
    if anybody_may && SYSTEM.iter().any(|folder| own.starts_with(folder)) {
        return Ok(own);
    }
    match std::fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // A link costs nothing; over the border of a file system, or of a file others may not read, it has to be a copy.
    if !anybody_may || std::fs::hard_link(&own, place).is_err() {
        let from = if Path::new(OWN).exists() { Path::new(OWN) } else { &own };
        let half = place.with_extension("half");
        std::fs::copy(from, &half)?;
        std::fs::set_permissions(&half, std::fs::Permissions::from_mode(0o555))?;
        std::fs::rename(&half, place)?;
    }
    Ok(place.to_owned())
}
