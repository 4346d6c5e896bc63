//! A root folder of a run's own: what it is given, at the places it has on the machine, and nothing else.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::pivot_root;

use super::policy::{Files, Policy};
use super::rules::{DEVICES, LOOK_UPS, PROGRAMS};
use super::spaces::step;

/// Where the new root is put up before it is entered. Any folder would do that is there for certain.
const SITE: &str = "/usr";
/// Where the machine's root stands while things are taken from it.
const OLD: &str = "/.machine";
/// Room for small files, and for the folders on the way to what is mounted.
const ROOT_OPTIONS: &str = "size=4m,nr_inodes=4k,mode=0755";
/// Files of the system no larger than this are copied, bytes.
const SMALL: u64 = 64 * 1024;
/// Room in /tmp, which is memory.
const TMP_OPTIONS: &str = "size=64m,nr_inodes=16k,mode=1777";
/// What the kernel tells about itself and other programs, where it would tell everybody.
const HIDDEN: [&str; 8] = [
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
];
/// Programs expect these beside the devices.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/shm", "/tmp"),
];

/// Something of the machine at its place in the new root.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A link, as it is.
    Link(PathBuf),
    /// What is in a small file: two mounts take longer.
    Copied(Vec<u8>),
    /// A file or folder, by its real path.
    Bound { source: PathBuf, kind: Kind },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    Device,
}

/// By place, so that what lies in a folder comes after it.
type Plan = BTreeMap<PathBuf, Part>;

/// Makes the new root of what the policy grants, enters it and the workspace, and lets go of the machine's.
pub(super) fn enter(policy: &Policy) -> Result<(), String> {
    let (system, given) = (system()?, given(policy.files.as_ref())?);
    pivot()?;
    put_all(&system)?;
    // Before what the run is given, which may lie below any of them.
    processes_and_links()?;
    put_all(&given)?;
    close_the_way(&given)?;
    step("let go of the machine", umount2(OLD, MntFlags::MNT_DETACH))?;
    step("let go of the machine", std::fs::remove_dir(OLD))?;
    let fixed = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | quiet();
    step("fix the root", change("/", fixed))?;
    step("enter the workspace", std::env::set_current_dir(&policy.cwd))
}

/// What every agent has, as far as this machine has it.
fn system() -> Result<Plan, String> {
    let mut plan = Plan::new();
    let all = [
        (&PROGRAMS[..], Kind::Read),
        (&LOOK_UPS[..], Kind::Read),
        (&DEVICES[..], Kind::Device),
    ];
    for (paths, kind) in all {
        for path in paths.iter().map(Path::new).filter(|path| !path.starts_with("/proc")) {
            match path.symlink_metadata() {
                Ok(found) if found.is_symlink() => {
                    let link = std::fs::read_link(path).map_err(|error| format!("{}: {error}", path.display()))?;
                    plan.insert(path.to_owned(), Part::Link(link));
                }
                Ok(found) => {
                    let source = path.to_owned();
                    let small = kind == Kind::Read && found.is_file() && found.len() <= SMALL;
                    // One that cannot be read is bound, and cannot be read there either.
                    let part = match small.then(|| std::fs::read(path)) {
                        Some(Ok(bytes)) => Part::Copied(bytes),
                        _ => Part::Bound { source, kind },
                    };
                    plan.insert(path.to_owned(), part);
                }
                // Not every system has everything.
                Err(_) => {}
            }
        }
    }
    Ok(plan)
}

/// What this run has. The real paths are found before the root changes: links on the way lead elsewhere afterwards.
fn given(files: Option<&Files>) -> Result<Plan, String> {
    let mut plan = Plan::new();
    let Some(files) = files else { return Ok(plan) };
    let read = files.execute.iter().chain(&files.read).map(|path| (path, Kind::Read));
    let write = files.write.iter().chain(&files.append).map(|path| (path, Kind::Write));
    for (path, kind) in read.chain(write) {
        let source = path
            .canonicalize()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        plan.insert(path.to_owned(), Part::Bound { source, kind });
    }
    Ok(plan)
}

/// Makes an empty folder the root, with the machine's root below it.
fn pivot() -> Result<(), String> {
    let nothing = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    step("keep mounts to itself", mount(nothing, "/", nothing, private, nothing))?;
    let room = mount(Some("root"), SITE, Some("tmpfs"), quiet(), Some(ROOT_OPTIONS));
    step("make a root", room)?;
    let old = format!("{SITE}{OLD}");
    step("make a root", std::fs::create_dir(&old))?;
    step("change the root", pivot_root(SITE, old.as_str()))?;
    step("change the root", std::env::set_current_dir("/"))?;
    // Before anything is put below it.
    step("make /tmp", folders(Path::new("/tmp")))?;
    let tmp = mount(Some("tmp"), "/tmp", Some("tmpfs"), quiet(), Some(TMP_OPTIONS));
    step("mount /tmp", tmp)
}

fn put_all(plan: &Plan) -> Result<(), String> {
    plan.iter()
        .try_for_each(|(place, part)| step(&format!("mount {}", place.display()), put(place, part)))
}

/// Folders that stand in /tmp only because something given lies below them can be passed through, not looked into.
fn close_the_way(given: &Plan) -> Result<(), String> {
    let on_the_way = given.keys().flat_map(|place| place.ancestors().skip(1));
    for folder in on_the_way.filter(|folder| !given.keys().any(|place| folder.starts_with(place))) {
        // By its real path: /dev/shm leads there too.
        let real = step("look at the way", folder.canonicalize())?;
        if real.parent().is_some_and(|parent| parent.starts_with("/tmp")) {
            step(
                "close the way",
                std::fs::set_permissions(&real, Permissions::from_mode(0o111)),
            )?;
        }
    }
    Ok(())
}

fn put(place: &Path, part: &Part) -> std::io::Result<()> {
    let (source, kind) = match part {
        Part::Link(link) => {
            folders(place.parent().unwrap_or(place))?;
            return symlink(link, place);
        }
        Part::Copied(bytes) => {
            folders(place.parent().unwrap_or(place))?;
            return std::fs::write(place, bytes);
        }
        Part::Bound { source, kind } => (source, *kind),
    };
    let source = Path::new(OLD).join(source.strip_prefix("/").unwrap_or(source));
    let folder = source.metadata()?.is_dir();
    if !place.exists() {
        folders(if folder { place } else { place.parent().unwrap_or(place) })?;
        if !folder {
            std::fs::File::create_new(place)?;
        }
    }
    let nothing = None::<&str>;
    let bound = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(&source), place, nothing, bound, nothing)?;
    if kind == Kind::Device {
        return Ok(());
    }
    // Mounts below it keep their flags; the file rules refuse writing there all the same.
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | quiet() | kept(statvfs(place)?.flags());
    if kind == Kind::Read {
        flags |= MsFlags::MS_RDONLY;
    }
    change(place, flags)
}

fn processes_and_links() -> Result<(), String> {
    let nothing = None::<&str>;
    step("make /proc", folders(Path::new("/proc")))?;
    let closed = quiet() | MsFlags::MS_NOEXEC;
    step(
        "mount /proc",
        mount(Some("proc"), "/proc", Some("proc"), closed, nothing),
    )?;
    for path in HIDDEN.iter().filter(|path| Path::new(path).exists()) {
        let hidden = mount(Some("/dev/null"), *path, nothing, MsFlags::MS_BIND, nothing);
        step("close a part of /proc", hidden)?;
    }
    step("make /dev", folders(Path::new("/dev")))?;
    DEVICE_LINKS
        .iter()
        .try_for_each(|(place, link)| step("link a device", symlink(link, place)))
}

fn change(place: impl AsRef<Path>, flags: MsFlags) -> std::io::Result<()> {
    let nothing = None::<&str>;
    Ok(mount(nothing, place.as_ref(), nothing, flags, nothing)?)
}

fn folders(path: &Path) -> std::io::Result<()> {
    // To make one that is there takes the kernel longer than to look for it.
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// Neither devices nor programs that bring rights.
fn quiet() -> MsFlags {
    MsFlags::MS_NOSUID | MsFlags::MS_NODEV
}

/// Flags of the machine's mount that nobody inside may take away.
fn kept(flags: FsFlags) -> MsFlags {
    let pairs = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
    ];
    pairs
        .into_iter()
        .filter(|(there, _)| flags.contains(*there))
        .fold(MsFlags::empty(), |all, (_, flag)| all | flag)
}
