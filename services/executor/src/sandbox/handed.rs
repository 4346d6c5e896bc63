//! The listener of a run's own network, as the launcher hands it out.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::TcpListener;

/// Opening the namespaces may take this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for the listener. None when the launcher ended without: its end says why.
pub(super) async fn receive(socket: UnixStream) -> io::Result<Option<TcpListener>> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixStream::from_std(socket)?;
    let receiving = socket.async_io(Interest::READABLE, || take(&socket));
    let late = |_elapsed| io::Error::new(io::ErrorKind::TimedOut, "the launcher handed no listener out");
    let Some(listener) = tokio::time::timeout(TIMEOUT, receiving).await.map_err(late)?? else {
        return Ok(None);
    };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Some)
}

fn take(socket: &tokio::net::UnixStream) -> io::Result<Option<std::net::TcpListener>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0_u8; 1];
    recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let handed = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handed) => handed.next(),
        _ => None,
    });
    Ok(handed.map(std::net::TcpListener::from))
}
