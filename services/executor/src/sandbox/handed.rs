//! The listeners of a run's own network, as the launcher hands them out.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::TcpListener;

use super::Listeners;

/// Opening the namespaces may take this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for the listeners. None when the launcher ended without: its end says why.
pub(super) async fn receive(socket: UnixStream) -> io::Result<Option<Listeners>> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixStream::from_std(socket)?;
    let receiving = socket.async_io(Interest::READABLE, || take(&socket));
    let late = |_elapsed| io::Error::new(io::ErrorKind::TimedOut, "the launcher handed no listener out");
    let handed = tokio::time::timeout(TIMEOUT, receiving).await.map_err(late)??;
    let Ok([gateway, proxy]) = <[OwnedFd; 2]>::try_from(handed) else {
        return Ok(None);
    };
    let ours = |handed: OwnedFd| {
        let listener = std::net::TcpListener::from(handed);
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    };
    Ok(Some(Listeners {
        gateway: ours(gateway)?,
        proxy: ours(proxy)?,
    }))
}

fn take(socket: &tokio::net::UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let handed = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(handed) => Some(handed),
        _ => None,
    });
    Ok(handed.flatten().collect())
}
