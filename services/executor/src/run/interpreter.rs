//! The interpreter a virtual environment was made from: it lies elsewhere, and `pyvenv.cfg` says where.
//!
//! That file comes with the bundle, or from its `setup`, so it is an agent's word. It opens nothing but an
//! interpreter's own folder, and never one where a machine keeps what is nobody's business.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Of `pyvenv.cfg`, bytes.
const LONGEST: u64 = 64 * 1024;
/// Open to every agent anyway.
const SYSTEM: [&str; 1] = ["/usr"];
/// Nothing in these is an interpreter's, whatever it looks like.
const CLOSED: [&str; 9] = [
    "/boot", "/dev", "/etc", "/proc", "/root", "/run", "/sys", "/tmp", "/var",
];

/// Folders to open for it besides those that are open already.
///
/// # Errors
/// It lies where agents must not read; the sentence says what to do.
pub(super) fn folders(bundle: &Path, venv: &str, open: &[PathBuf], ours: &[&Path]) -> Result<Vec<PathBuf>, String> {
    let Some(given) = (!venv.is_empty())
        .then(|| prefix(&bundle.join(venv).join("pyvenv.cfg")))
        .flatten()
    else {
        return Ok(Vec::new());
    };
    // One that is not there fails by itself.
    let Ok(real) = given.canonicalize() else {
        return Ok(Vec::new());
    };
    let below = |folder: &Path| real.starts_with(folder) || folder.canonicalize().is_ok_and(|it| real.starts_with(it));
    if below(bundle) || SYSTEM.iter().any(|folder| below(Path::new(folder))) || open.iter().any(|folder| below(folder))
    {
        return Ok(Vec::new());
    }
    let refused = |why: &str| {
        Err(format!(
            "the virtual environment {venv} was made from an interpreter in {}, {why}; make it from one of the system's, or \
             name that folder in isolation.readable of the executor",
            given.display()
        ))
    };
    let closed = |path: &Path| {
        let ours = ours.iter().filter_map(|folder| folder.canonicalize().ok());
        let mut all = CLOSED.iter().map(PathBuf::from).chain(ours);
        all.any(|folder| path.starts_with(&folder) || folder.starts_with(path))
    };
    if closed(&real) || closed(&given) {
        return refused("where agents may not read");
    }
    if !is_interpreter(&real) {
        return refused("which is no folder of an interpreter (bin/python3 and lib/python3.*/os.py)");
    }
    if !passable(&real) {
        return refused("where not every user may pass");
    }
    let mut folders = vec![real];
    if !folders.contains(&given) {
        folders.push(given);
    }
    Ok(folders)
}

/// `home` is the folder of the program; its libraries lie beside that folder.
fn prefix(config: &Path) -> Option<PathBuf> {
    use std::io::Read as _;

    let mut text = String::new();
    let file = std::fs::File::open(config).ok()?;
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    let mut lines = text.lines();
    let home = lines.find_map(|line| line.strip_prefix("home")?.trim_start().strip_prefix('='))?;
    let prefix = Path::new(home.trim()).parent()?.to_owned();
    let plain = prefix.components().all(|part| part != std::path::Component::ParentDir);
    (prefix.is_absolute() && plain).then_some(prefix)
}

fn is_interpreter(prefix: &Path) -> bool {
    let starts = |folder: PathBuf, name: &str, within: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
        named.any(|entry| entry.path().join(within).is_file() || (within.is_empty() && entry.path().is_file()))
    };
    starts(prefix.join("bin"), "python", "") && starts(prefix.join("lib"), "python", "os.py")
}

/// Whether anybody may pass through all folders on the way, and nobody but their owners may change them.
fn passable(path: &Path) -> bool {
    path.ancestors().all(|folder| {
        folder
            .metadata()
            .is_ok_and(|it| it.mode() & 0o001 != 0 && it.mode() & 0o002 == 0)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A bundle whose environment says that it was made from an interpreter there.
    fn made_from(home: &Path) -> tempfile::TempDir {
        let bundle = tempfile::tempdir().unwrap();
        std::fs::create_dir(bundle.path().join(".venv")).unwrap();
        let config = format!("home = {}/bin\nversion = 3.12.1\n", home.display());
        std::fs::write(bundle.path().join(".venv/pyvenv.cfg"), config).unwrap();
        bundle
    }

    fn interpreter(at: &Path) {
        for folder in ["bin", "lib/python3.12"] {
            std::fs::create_dir_all(at.join(folder)).unwrap();
        }
        for file in ["bin/python3", "lib/python3.12/os.py"] {
            std::fs::write(at.join(file), "").unwrap();
        }
        for folder in at.ancestors().take(2) {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn nothing_is_opened_where_a_machine_keeps_what_is_nobodys_business() {
        let work = tempfile::tempdir().unwrap();
        interpreter(&work.path().join("looks/right"));
        let ours = [work.path()];
        let inside = work.path().join("looks/right");
        for home in [
            "/",
            "/etc",
            "/var/lib/steward",
            "/root",
            "/run/secrets",
            "/proc/1",
            "/home",
            "/tmp/x",
        ]
        .map(PathBuf::from)
        .into_iter()
        .chain([inside, work.path().to_owned(), work.path().join("looks")])
        {
            if !home.exists() {
                continue;
            }
            let bundle = made_from(&home);
            let refused = folders(bundle.path(), ".venv", &[], &ours).unwrap_err();
            assert!(refused.contains("isolation.readable"), "{}: {refused}", home.display());
        }
    }

    #[test]
    fn a_link_to_such_a_place_is_seen_through_and_what_is_open_anyway_needs_nothing() {
        let bundle = made_from(Path::new("/usr"));
        assert_eq!(
            folders(bundle.path(), ".venv", &[], &[]).unwrap(),
            Vec::<PathBuf>::new()
        );
        let inside = bundle.path().join("link");
        std::os::unix::fs::symlink("/etc", &inside).unwrap();
        let link = made_from(&inside);
        assert!(folders(link.path(), ".venv", &[], &[]).is_err());
        let readable = tempfile::tempdir().unwrap();
        let named = made_from(&readable.path().join("python"));
        std::fs::create_dir(readable.path().join("python")).unwrap();
        let open = [readable.path().to_owned()];
        assert_eq!(
            folders(named.path(), ".venv", &open, &[]).unwrap(),
            Vec::<PathBuf>::new()
        );
        assert!(folders(named.path(), ".venv", &[], &[]).is_err());
        assert!(folders(named.path(), "", &[], &[]).unwrap().is_empty());
    }

    #[test]
    fn an_interpreter_where_every_user_may_pass_is_opened_and_nothing_beside_it() {
        let root = tempfile::Builder::new().prefix("interpreter-").tempdir_in("/opt");
        // Only root may put one there.
        let Ok(root) = root else { return };
        let version = root.path().join("versions/3.12.1");
        interpreter(&version);
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let bundle = made_from(&version);
        assert_eq!(folders(bundle.path(), ".venv", &[], &[]).unwrap(), [version]);
        let above = made_from(&root.path().join("versions"));
        assert!(folders(above.path(), ".venv", &[], &[]).is_err());
    }
}
