//! Addresses: chosen once per folder, kept in `addresses.json`, used again by every later `up`.
//!
//! They are taken from below the kernel's range for outgoing connections: a port from within that range could be
//! somebody's outgoing connection at the moment a child is started again.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::home::Home;
use crate::failure::Failure;
use crate::private;

/// Ports below belong to well-known servers.
const LOWEST: u16 = 20_000;
/// Where systems begin to choose ports of outgoing connections, when they do not say.
const USUAL_RANGE_START: u16 = 32_768;
/// Attempts to find a free one.
const ATTEMPTS: usize = 1_000;

/// The ports of a stack by what listens there, such as `ingress.public` or `scheduler-1.grpc`.
#[derive(Debug)]
pub struct Ports {
    file: PathBuf,
    chosen: BTreeMap<String, u16>,
}

/// Refuses an address the operator chose and somebody else listens on.
///
/// # Errors
/// [`Failure::Refused`] with the option to change.
pub fn claim(option: &str, address: Option<SocketAddr>) -> Result<()> {
    let Some(address) = address else { return Ok(()) };
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::Refused(format!(
            "nothing can listen on {address} ({error}): stop what does, or choose another with {option}"
        ))
        .into()),
    }
}

impl Ports {
    /// Reads what was chosen earlier.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn load(home: &Home) -> Result<Self> {
        let file = home.path().join("addresses.json");
        let chosen = match private::read(&file)? {
            Some(text) => serde_json::from_str(&text)
                .with_context(|| format!("read {}: remove it to have addresses chosen anew", file.display()))?,
            None => BTreeMap::new(),
        };
        Ok(Self { file, chosen })
    }

    /// The port of a listener; chosen now if it has none.
    ///
    /// # Errors
    /// No port is free.
    pub fn of(&mut self, listener: &str) -> Result<u16> {
        if let Some(port) = self.chosen.get(listener) {
            return Ok(*port);
        }
        let port = self.choose()?;
        self.chosen.insert(listener.to_owned(), port);
        Ok(port)
    }

    /// Chooses other ports for listeners whose port somebody else has taken. Returns which. `ours` are in use by
    /// children that still run.
    ///
    /// # Errors
    /// No port is free.
    pub fn renew_taken(&mut self, ours: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let taken: Vec<String> = self
            .chosen
            .iter()
            .filter(|(listener, port)| !ours(listener) && !is_free(**port))
            .map(|(listener, _)| listener.clone())
            .collect();
        for listener in &taken {
            self.chosen.remove(listener);
            self.of(listener)?;
        }
        Ok(taken)
    }

    /// Keeps what was chosen.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> Result<()> {
        private::write(
            &self.file,
            serde_json::to_string_pretty(&self.chosen)?.as_bytes(),
            0o600,
        )
    }

    fn choose(&self) -> Result<u16> {
        let above = range_start().max(LOWEST + 1);
        for _ in 0..ATTEMPTS {
            let mut bytes = [0_u8; 2];
            aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
            let port = LOWEST + u16::from_ne_bytes(bytes) % (above - LOWEST);
            if !self.chosen.values().any(|other| *other == port) && is_free(port) {
                return Ok(port);
            }
        }
        bail!("find a free port from {LOWEST} to {above}: none of {ATTEMPTS} tried was free")
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn range_start() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let start = range.split_whitespace().next().and_then(|number| number.parse().ok());
    start.filter(|start| *start > LOWEST).unwrap_or(USUAL_RANGE_START)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_somebody_else_has_is_refused_with_the_option_to_change() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = held.local_addr().unwrap();
        let refused = claim("--listen", Some(taken)).unwrap_err().to_string();
        assert!(
            refused.contains(&taken.to_string()) && refused.contains("--listen"),
            "{refused}"
        );
        drop(held);
        claim("--listen", Some(taken)).unwrap();
        claim("--listen", None).unwrap();
    }

    #[test]
    fn a_port_stays_the_same_until_somebody_else_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        let mut ports = Ports::load(&home).unwrap();
        let first = ports.of("ingress.public").unwrap();
        ports.save().unwrap();

        let mut again = Ports::load(&home).unwrap();
        assert_eq!(again.of("ingress.public").unwrap(), first);
        assert!(again.renew_taken(|_| false).unwrap().is_empty());

        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        assert!(
            again.renew_taken(|_| true).unwrap().is_empty(),
            "our own child listens there"
        );
        assert_eq!(again.renew_taken(|_| false).unwrap(), ["ingress.public"]);
        assert_ne!(again.of("ingress.public").unwrap(), first);
        drop(held);
    }
}
