//! Which addresses a client may talk to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// Which addresses a client may talk to. Checked on the resolved address, on literal addresses and on every
/// redirect, so a name that points inside is refused like the address itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Guard {
    /// Public addresses only: for every URL that came from outside.
    #[default]
    Public,
    /// Public addresses and this machine: for the simulator and local tools.
    AllowLoopback,
    /// Neither this machine nor anything private or link-local: for registries of packages. Unlike [`Self::Public`] it
    /// has the addresses set aside for examples, which lead nowhere on the internet and to a mirror in a laboratory.
    Outside,
    /// Any address: for hosts the operator wrote into the configuration.
    Any,
}

/// What kind of address a URL names, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// A DNS name.
    Name,
    /// A literal public address.
    Public,
    /// This machine.
    Loopback,
    /// Any other literal address.
    Private,
}

impl HostKind {
    /// A short word for metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
        }
    }

    /// The kind of host `url` names.
    #[must_use]
    pub fn of(url: &Url) -> Self {
        match address(url) {
            None if url.host_str() == Some("localhost") => Self::Loopback,
            None => Self::Name,
            Some(ip) if is_loopback(ip) => Self::Loopback,
            Some(ip) if is_public(ip) => Self::Public,
            Some(_) => Self::Private,
        }
    }
}

/// The guard's refusal.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Blocked {
    /// The host is, or resolves to, an address the guard does not allow.
    #[error("{host} is not a public address; only public addresses are allowed here")]
    Address {
        /// The host as written.
        host: String,
    },
    /// Neither http nor https, or http where https is required.
    #[error("the scheme {scheme} is not allowed here")]
    Scheme {
        /// The scheme as written.
        scheme: String,
    },
    /// No host at all.
    #[error("the address has no host")]
    NoHost,
}

impl Guard {
    /// Whether an address may be talked to.
    #[must_use]
    pub fn allows(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::AllowLoopback => is_loopback(ip) || is_public(ip),
            Self::Outside => is_public(ip) || is_example(ip),
            Self::Public => is_public(ip),
        }
    }

    /// Checks scheme and literal address of a URL. Names are checked when they are resolved.
    ///
    /// # Errors
    /// [`Blocked`] when the URL may not be called.
    pub fn check(self, url: &Url) -> Result<(), Blocked> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Blocked::Scheme {
                scheme: url.scheme().to_owned(),
            });
        }
        let host = url.host_str().ok_or(Blocked::NoHost)?;
        match address(url) {
            Some(ip) if !self.allows(ip) => Err(Blocked::Address { host: host.to_owned() }),
            _ => Ok(()),
        }
    }
}

/// The literal address a URL names, if it names one.
fn address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(IpAddr::V4(ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(ip)),
        Host::Domain(_) => None,
    }
}

/// Whether an address is this machine, also when written as IPv6.
fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

/// Whether an address is one of those set aside for examples.
fn is_example(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if EXAMPLES_V4.iter().any(|net| net.contains(&ip)))
}

/// Whether an address is on the public internet.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    !PRIVATE_V4.iter().any(|net| net.contains(&ip))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(inner) = embedded_v4(ip) {
        return is_public_v4(inner);
    }
    GLOBAL_V6.contains(&ip) && !PRIVATE_V6.iter().any(|net| net.contains(&ip))
}

/// IPv4 addresses carried inside IPv6 ones (mapped, NAT64, 6to4): the inside is what gets reached.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(inner) = ip.to_ipv4_mapped() {
        return Some(inner);
    }
    let octets = ip.octets();
    let pick = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    let segments = ip.segments();
    if segments[0] == 0x0064 && segments[1] == 0xff9b && segments[2..6] == [0, 0, 0, 0] {
        return Some(pick(12));
    }
    (segments[0] == 0x2002).then(|| pick(2))
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

/// Everything in IANA's IPv4 special-purpose registry that is not reachable from everywhere.
const PRIVATE_V4: [Ipv4Net; 16] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 88, 99, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(224, 0, 0, 0, 4),
    v4(240, 0, 0, 0, 4),
    v4(255, 255, 255, 255, 32),
];

/// Those of [`PRIVATE_V4`] that stand in documents.
const EXAMPLES_V4: [Ipv4Net; 3] = [v4(192, 0, 2, 0, 24), v4(198, 51, 100, 0, 24), v4(203, 0, 113, 0, 24)];

/// The only IPv6 range handed out for public use.
static GLOBAL_V6: LazyLock<Ipv6Net> =
    LazyLock::new(|| Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3));

/// Parts of it that are not public after all: benchmarking, Teredo, documentation.
static PRIVATE_V6: LazyLock<[Ipv6Net; 4]> = LazyLock::new(|| {
    [
        Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
        Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0), 32),
        Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
        Ipv6Net::new_assert(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    ]
});

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: Guard, url: &str) -> bool {
        Url::parse(url).is_ok_and(|url| guard.check(&url).is_ok())
    }

    #[test]
    fn private_and_metadata_addresses_are_refused_in_every_spelling() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://169.254.169.254/latest/meta-data",
            "http://10.1.2.3/",
            "http://172.31.255.255/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://0.0.0.0/",
            "http://224.0.0.1/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:7f00:1::]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
            "http://[2001:db8::1]/",
            "ftp://8.8.8.8/",
            "file:///etc/passwd",
        ] {
            assert!(!check(Guard::Public, url), "{url} must be refused");
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        for url in [
            "https://8.8.8.8/",
            "https://172.32.0.1/",
            "https://[2606:4700::1111]/",
            "https://[64:ff9b::808:808]/",
            "https://example.org/",
        ] {
            assert!(check(Guard::Public, url), "{url} must pass");
        }
    }

    #[test]
    fn loopback_guard_opens_this_machine_and_nothing_else() {
        assert!(check(Guard::AllowLoopback, "http://127.0.0.1:8080/"));
        assert!(check(Guard::AllowLoopback, "http://[::1]:8080/"));
        assert!(!check(Guard::AllowLoopback, "http://10.0.0.1/"));
        assert!(check(Guard::Any, "http://10.0.0.1/"));
    }

    #[test]
    fn outside_is_neither_this_machine_nor_its_network() {
        for url in [
            "https://8.8.8.8/",
            "https://203.0.113.80/",
            "https://[2606:4700::1111]/",
        ] {
            assert!(check(Guard::Outside, url), "{url} must pass");
        }
        for url in [
            "http://127.0.0.1/",
            "http://10.1.2.3/",
            "http://100.64.0.1/",
            "http://169.254.169.254/",
            "http://192.168.1.1/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[fe80::1]/",
            "http://[fd00:ec2::254]/",
        ] {
            assert!(!check(Guard::Outside, url), "{url} must be refused");
        }
    }
}
