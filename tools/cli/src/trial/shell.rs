//! A shell inside the sandbox, led from outside: its terminal stays out there, so it is two pipes in its workspace.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::O_NOFOLLOW;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Between two looks whether the pipes are there.
const LOOK: Duration = Duration::from_millis(50);

/// How long the last words of a shell may take to come out.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A shell that is led.
pub(super) struct Led {
    _leading: JoinSet<()>,
    silent: oneshot::Receiver<()>,
}

impl Led {
    /// Waits for its last words.
    pub(super) async fn end(self) {
        // Nobody tells when it never began.
        let _silent = tokio::time::timeout(LAST_WORDS, self.silent).await;
    }
}

/// Waits for the shell and leads it until it ends.
pub(super) fn lead(runs: PathBuf) -> Led {
    let mut leading = JoinSet::new();
    let (tell, silent) = oneshot::channel();
    leading.spawn(async move {
        let pipes = loop {
            if let Some(pipes) = pipes(&runs) {
                break pipes;
            }
            tokio::time::sleep(LOOK).await;
        };
        let (to, from) = pipes;
        // Threads of their own: opening a pipe and reading a terminal both wait.
        let _writes = std::thread::Builder::new()
            .name("shell-in".to_owned())
            .spawn(move || pass_in(&to));
        let _reads = std::thread::Builder::new().name("shell-out".to_owned()).spawn(move || {
            pass_out(&from);
            let _nobody_waits = tell.send(());
        });
    });
    Led {
        _leading: leading,
        silent,
    }
}

fn pipes(runs: &Path) -> Option<(PathBuf, PathBuf)> {
    let work = std::fs::read_dir(runs).ok()?.flatten().next()?.path().join("work");
    let (to, from) = (work.join(".shell-in"), work.join(".shell-out"));
    (to.symlink_metadata().is_ok() && from.symlink_metadata().is_ok()).then_some((to, from))
}

fn pass_in(path: &Path) {
    let Ok(mut pipe) = OpenOptions::new().write(true).custom_flags(O_NOFOLLOW).open(path) else {
        return;
    };
    copy(&mut std::io::stdin(), &mut pipe);
}

fn pass_out(path: &Path) {
    let opened: std::io::Result<File> = OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path);
    let Ok(mut pipe) = opened else { return };
    copy(&mut pipe, &mut std::io::stdout());
}

/// As it comes, until either side ends.
fn copy(from: &mut impl std::io::Read, to: &mut impl std::io::Write) {
    let mut part = [0_u8; 4096];
    while let Ok(read @ 1..) = from.read(&mut part) {
        let written = to.write_all(part.get(..read).unwrap_or_default());
        if written.and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}
