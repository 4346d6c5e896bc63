//! What a client of the proxy asks for.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest request: a line and a few headers.
const LONGEST: usize = 8 * 1024;
/// The longest name of a host.
const LONGEST_NAME: usize = 253;

/// A host and a port, spelled in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
}

/// Why a request is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the connection ended before the request did: {0}")]
    Broken(#[from] io::Error),
    #[error("the request is longer than {LONGEST} bytes")]
    TooLong,
    #[error("the request did not come in time")]
    Slow,
    #[error("this proxy only knows CONNECT: use https, or a tunnel")]
    Method,
    #[error("{0:?} is not host:port")]
    Target(String),
}

impl Error {
    pub(super) fn status(&self) -> &'static str {
        match self {
            Self::Method => "405 Method Not Allowed\r\nAllow: CONNECT",
            Self::Slow => "408 Request Timeout",
            Self::TooLong => "431 Request Header Fields Too Large",
            Self::Broken(_) | Self::Target(_) => "400 Bad Request",
        }
    }
}

impl Target {
    /// Reads `host:port`. Case and a dot at the end make no difference, brackets stand around IPv6 addresses.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Target(text.chars().take(80).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().map_err(|_not_one| wrong())?.to_string(),
            None => {
                let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
                if host.is_empty() || host.len() > LONGEST_NAME || !host.bytes().all(plain) {
                    return Err(wrong());
                }
                host
            }
        };
        Ok(Self { host, port })
    }

    pub(super) fn as_pair(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port}")
        } else {
            write!(formatter, "{host}:{port}")
        }
    }
}

/// Reads a request up to its empty line; what came after that line is the tunnel's already.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Target, Vec<u8>), Error> {
    let mut head = Vec::with_capacity(1024);
    let end = loop {
        if let Some(end) = head.windows(4).position(|part| part == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() >= LONGEST {
            return Err(Error::TooLong);
        }
        let mut part = [0; 1024];
        let read = stream.read(&mut part).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        head.extend_from_slice(part.get(..read).unwrap_or_default());
    };
    let early = head.split_off(end);
    let text = String::from_utf8_lossy(&head);
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    if words.next() != Some("CONNECT") {
        return Err(Error::Method);
    }
    Ok((Target::parse(words.next().unwrap_or_default())?, early))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Option<String> {
        Target::parse(text).ok().map(|target| target.to_string())
    }

    #[test]
    fn one_place_has_one_spelling() {
        assert_eq!(target("API.Example.org.:443").as_deref(), Some("api.example.org:443"));
        assert_eq!(
            target("[2606:4700:0:0::1111]:443").as_deref(),
            Some("[2606:4700::1111]:443")
        );
        for wrong in [
            "",
            "example.org",
            ":443",
            "example.org:0",
            "example.org:65536",
            "a b:1",
            "user@host:1",
            "a/b:1",
            "[x]:1",
            "::1:443",
        ] {
            assert_eq!(target(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn only_connect_is_understood_and_what_follows_is_kept() {
        let mut request: &[u8] = b"CONNECT example.org:443 HTTP/1.1\r\nHost: other:1\r\n\r\nhello";
        let (target, early) = read(&mut request).await.unwrap();
        assert_eq!(
            (target.to_string().as_str(), early.as_slice()),
            ("example.org:443", b"hello".as_slice())
        );
        let mut plain: &[u8] = b"GET http://example.org/ HTTP/1.1\r\n\r\n";
        assert!(matches!(read(&mut plain).await, Err(Error::Method)));
        let mut cut: &[u8] = b"CONNECT example.org:443";
        assert!(matches!(read(&mut cut).await, Err(Error::Broken(_))));
        let long = vec![b'x'; 2 * LONGEST];
        assert!(matches!(read(&mut long.as_slice()).await, Err(Error::TooLong)));
    }
}
