//! User ids for agents, one per slot, never shared by two executors of one machine.
//!
//! A claim is a socket in the kernel's abstract namespace: exclusive, gone with its holder, and nothing on disk.

use super::{Error, Footprint};

/// How many ids are looked at for each one wanted.
const SEARCH: u32 = 64;

/// One user id that is ours for as long as this lives.
#[derive(Debug)]
pub struct Claim {
    id: u32,
    #[cfg(target_os = "linux")]
    _held: std::os::unix::net::UnixListener,
}

impl Claim {
    /// Claims this id, and ends whatever still runs under it. `None` when another executor holds it, or when something
    /// under it cannot be ended.
    #[must_use]
    pub fn take(id: u32) -> Option<Self> {
        let claim = Self::hold(id)?;
        if Footprint::of_user(id).end() {
            return Some(claim);
        }
        tracing::error!(
            uid = id,
            "processes under a user id for agents cannot be ended: it is not used"
        );
        None
    }

    /// Claims as many ids as there are slots, from `base` on.
    ///
    /// # Errors
    /// Other executors hold too many.
    pub fn take_all(base: u32, slots: u32) -> Result<Vec<Self>, Error> {
        let last = base.saturating_add(slots.saturating_mul(SEARCH));
        let claims: Vec<Self> = (base..last).filter_map(Self::take).take(slots as usize).collect();
        if claims.len() == slots as usize {
            Ok(claims)
        } else {
            Err(Error::Uids {
                slots,
                base,
                reason: "other executors hold the rest, or processes under them cannot be ended".to_owned(),
            })
        }
    }

    /// The user (and group) id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    #[cfg(target_os = "linux")]
    fn hold(id: u32) -> Option<Self> {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::{SocketAddr, UnixListener};

        let name = SocketAddr::from_abstract_name(format!("steward-agent-uid-{id}")).ok()?;
        let held = UnixListener::bind_addr(&name).ok()?;
        Some(Self { id, _held: held })
    }

    #[cfg(not(target_os = "linux"))]
    fn hold(id: u32) -> Option<Self> {
        Some(Self { id })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_held_by_one_and_free_again_afterwards() {
        // Far from the default, so that a stack running here is left alone.
        let base = 1_950_000_000 + std::process::id() % 10_000_000;
        let first = Claim::take_all(base, 2).unwrap();
        let second = Claim::take_all(base, 2).unwrap();
        let ids: Vec<u32> = first.iter().chain(&second).map(Claim::id).collect();
        assert_eq!(ids, [base, base + 1, base + 2, base + 3]);
        drop(first);
        assert!(Claim::take(base).is_some());
    }
}
