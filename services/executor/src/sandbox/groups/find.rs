//! Where groups can be made: read from what the kernel says about this process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Controller, Hierarchy, Version};

/// The folder of a group that lists what is in it; a process writes 0 into it to be there.
const PROCESSES: &str = "cgroup.procs";
/// What the groups below one can be limited in.
const PASSED_ON: &str = "cgroup.subtree_control";

/// Where groups are to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Where {
    /// Below this process's own, if it may.
    #[default]
    Own,
    /// Nowhere.
    Nowhere,
    /// Below this group of version 2, which the operator set apart.
    At(PathBuf),
}

impl TryFrom<String> for Where {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "auto" => Ok(Self::Own),
            "off" => Ok(Self::Nowhere),
            path if path.starts_with('/') => Ok(Self::At(path.into())),
            other => Err(format!(
                "{other:?} is neither \"auto\" nor \"off\" nor an absolute path"
            )),
        }
    }
}

impl From<Where> for String {
    fn from(place: Where) -> Self {
        match place {
            Where::Own => "auto".to_owned(),
            Where::Nowhere => "off".to_owned(),
            Where::At(path) => path.display().to_string(),
        }
    }
}

/// One line of /proc/self/mountinfo that is a hierarchy.
struct Mount {
    root: PathBuf,
    place: PathBuf,
    two: bool,
    options: String,
}

pub(super) fn bases(wanted: &Where) -> Result<(Version, Vec<Hierarchy>), String> {
    match wanted {
        Where::Nowhere => Err("isolation.cgroups is \"off\"".to_owned()),
        Where::At(folder) => unified(folder.clone()).map(|base| (Version::Two, vec![base])),
        Where::Own => {
            let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
            own(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
        }
    }
}

/// This process's own groups.
fn own(groups: &str, mounts: &str) -> Result<(Version, Vec<Hierarchy>), String> {
    let mounts: Vec<Mount> = mounts.lines().filter_map(mount).collect();
    let mut reason = "this machine has no control groups, or they are not mounted here".to_owned();
    if let Some(folder) = groups.lines().find_map(|line| line.strip_prefix("0::"))
        && let Some(base) = mounts
            .iter()
            .filter(|mount| mount.two)
            .find_map(|mount| mount.folder(folder))
    {
        match unified(base) {
            Ok(base) => return Ok((Version::Two, vec![base])),
            Err(why) => reason = why,
        }
    }
    let wanted = [
        ("memory", Controller::Memory, true),
        ("pids", Controller::Pids, true),
        ("cpu", Controller::Cpu, false),
        ("cpuacct", Controller::CpuTime, false),
    ];
    let mut bases: Vec<Hierarchy> = Vec::new();
    for (name, controller, needed) in wanted {
        match hierarchy(name, groups, &mounts) {
            Some(folder) => match bases.iter_mut().find(|base| base.folder == folder) {
                Some(base) => base.controllers.push(controller),
                None => bases.push(Hierarchy {
                    folder,
                    controllers: vec![controller],
                }),
            },
            None if needed => return Err(reason),
            None => {}
        }
    }
    Ok((Version::One, bases))
}

/// The folder of this process in the old hierarchy of this kind.
fn hierarchy(name: &str, groups: &str, mounts: &[Mount]) -> Option<PathBuf> {
    let has = |list: &str| list.split(',').any(|part| part == name);
    let group = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        parts.next().filter(|list| has(list)).and(parts.next())
    })?;
    let mut fitting = mounts.iter().filter(|mount| !mount.two && has(&mount.options));
    fitting
        .find_map(|mount| mount.folder(group))
        .filter(|folder| folder.is_dir())
}

/// A group of version 2 with what is needed.
fn unified(folder: PathBuf) -> Result<Hierarchy, String> {
    let path = folder.join("cgroup.controllers");
    let there = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let has = |name: &str| there.split_ascii_whitespace().any(|other| other == name);
    for needed in ["memory", "pids"] {
        if !has(needed) {
            return Err(format!("{} hands no limits of {needed} down", folder.display()));
        }
    }
    let mut controllers = vec![Controller::Memory, Controller::Pids];
    controllers.extend(has("cpu").then_some(Controller::Cpu));
    Ok(Hierarchy { folder, controllers })
}

/// Lets the groups below `base` be limited. A group with processes of its own cannot pass limits on, so this process
/// moves into one below; where others live beside it, that does not help, and it moves back.
pub(super) fn enable(base: &Path, name: &str) -> Result<(), String> {
    let wanted = unified(base.to_owned())?.controllers;
    if pass_on(base, &wanted).is_ok() {
        return Ok(());
    }
    let told = |error: io::Error| format!("{}: {error}", base.display());
    let room = base.join(format!("{name}.executor"));
    fs::create_dir(&room).map_err(told)?;
    let moved = fs::write(room.join(PROCESSES), "0").and_then(|()| pass_on(base, &wanted));
    moved.map_err(|error| {
        // As it was before.
        let _stays = fs::write(base.join(PROCESSES), "0").and_then(|()| fs::remove_dir(&room));
        format!(
            "{} cannot pass limits on: {error}; give the executor a control group of its own (systemd: Delegate=yes) or \
             set isolation.cgroups to one that is delegated to it",
            base.display()
        )
    })
}

/// Lets the groups below this one be limited.
pub(super) fn pass_on(folder: &Path, controllers: &[Controller]) -> io::Result<()> {
    let names: Vec<&str> = controllers
        .iter()
        .filter_map(|controller| match controller {
            Controller::Memory => Some("+memory"),
            Controller::Pids => Some("+pids"),
            Controller::Cpu => Some("+cpu"),
            Controller::CpuTime => None,
        })
        .collect();
    fs::write(folder.join(PASSED_ON), names.join(" "))
}

fn mount(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, place) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let two = match back.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    Some(Mount {
        root: root.into(),
        place: place.into(),
        two,
        options: back.nth(1)?.to_owned(),
    })
}

impl Mount {
    /// Where a group of this hierarchy stands; none if it lies outside what is mounted.
    fn folder(&self, group: &str) -> Option<PathBuf> {
        let below = Path::new(group).strip_prefix(&self.root).ok()?;
        Some(self.place.join(below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in folders {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        root
    }

    #[test]
    fn the_old_hierarchies_are_found_one_by_one_also_when_two_share_a_folder() {
        let root = tree(&["memory/a", "pids", "cpu"]);
        let at = root.path().display();
        let mounts = format!(
            "1 0 0:1 / {at}/memory rw - cgroup cgroup rw,memory\n2 0 0:2 / {at}/pids rw - cgroup cgroup rw,pids\n\
             3 0 0:3 / {at}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n4 0 0:4 / {at}/unified rw - cgroup2 cgroup2 rw\n"
        );
        let groups = "5:memory:/a\n4:pids:/\n3:cpu,cpuacct:/\n0::/\n";
        let (version, bases) = own(groups, &mounts).unwrap();
        assert_eq!(version, Version::One);
        let found: Vec<(PathBuf, usize)> = bases
            .into_iter()
            .map(|base| (base.folder, base.controllers.len()))
            .collect();
        let at = root.path();
        assert_eq!(
            found,
            [(at.join("memory/a"), 1), (at.join("pids"), 1), (at.join("cpu"), 2)]
        );
    }

    #[test]
    fn the_new_hierarchy_goes_first_where_it_can_limit() {
        let root = tree(&["sys/slice/executor"]);
        let own_folder = root.path().join("sys/slice/executor");
        fs::write(own_folder.join("cgroup.controllers"), "cpuset cpu memory pids\n").unwrap();
        let mounts = format!("1 0 0:1 / {}/sys rw - cgroup2 cgroup2 rw\n", root.path().display());
        let (version, bases) = own("0::/slice/executor\n", &mounts).unwrap();
        assert_eq!((version, &bases[0].folder), (Version::Two, &own_folder));
        assert_eq!(bases[0].controllers.len(), 3);
        fs::write(own_folder.join("cgroup.controllers"), "cpu\n").unwrap();
        let reason = own("0::/slice/executor\n", &mounts).unwrap_err();
        assert!(reason.contains("memory"), "{reason}");
    }

    #[test]
    fn inside_a_container_the_path_is_taken_from_what_is_mounted() {
        let line = "9 0 0:1 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";
        let found = mount(line).unwrap().folder("/docker/abc/x");
        assert_eq!(found, Some(PathBuf::from("/sys/fs/cgroup/memory/x")));
        assert_eq!(mount(line).unwrap().folder("/elsewhere"), None);
    }

    #[test]
    fn where_is_written_in_three_ways() {
        for text in ["auto", "off", "/sys/fs/cgroup/agents"] {
            let place = Where::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(place), text);
        }
        assert!(Where::try_from("here".to_owned()).is_err());
    }
}
