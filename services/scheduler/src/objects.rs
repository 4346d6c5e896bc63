//! Bytes that belong to rows: bundles, artefacts and what clients sent, named by the SHA-256 of what they hold.
//!
//! Content-addressed, so a repeat of an upload changes nothing and nothing is ever overwritten by something else.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart, local::LocalFileSystem};

/// An object written before this is written again when it is put again; far less than what is removed is old.
const FRESH: TimeDelta = TimeDelta::days(1);

/// Where a kind of object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// Agent versions.
    Bundles,
    /// What runs produced.
    Artefacts,
    /// What clients sent.
    Inputs,
}

impl Folder {
    fn name(self) -> &'static str {
        match self {
            Self::Bundles => "bundles",
            Self::Artefacts => "artefacts",
            Self::Inputs => "inputs",
        }
    }
}

/// Why bytes could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is not 64 lower-case hex digits.
    #[error("{0:?} is not a SHA-256 in lower-case hex")]
    Name(String),
    /// The bytes are not what the name says.
    #[error("the bytes have the SHA-256 {found}, {wanted} was announced")]
    Differs {
        /// What was announced.
        wanted: String,
        /// What came.
        found: String,
    },
    /// More bytes than announced or allowed.
    #[error("more than {0} bytes")]
    TooLarge(u64),
    /// Nothing has this name.
    #[error("no object {0}")]
    Missing(String),
    /// The store cannot be used.
    #[error("the object store failed")]
    Store(#[source] object_store::Error),
}

/// The object store of this stack.
#[derive(Debug, Clone)]
pub struct Objects {
    inner: Arc<dyn ObjectStore>,
}

impl Objects {
    /// Opens (and makes) a folder, and proves that it can be written and read back.
    ///
    /// # Errors
    /// When the folder cannot be made or used.
    pub async fn open(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let objects = Self {
            inner: Arc::new(LocalFileSystem::new_with_prefix(dir)?),
        };
        let probe = object_store::path::Path::from("probe");
        objects.inner.put(&probe, Bytes::from_static(b"steward").into()).await?;
        let back = objects.inner.get(&probe).await?.bytes().await?;
        anyhow::ensure!(
            back.as_ref() == b"steward",
            "what was written to {} does not read back",
            dir.display()
        );
        Ok(objects)
    }

    /// Whether an object is there and was written lately, so that it need not be written again. One that is older is
    /// to be: what nobody refers to any more may be about to be removed.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn is_fresh(&self, folder: Folder, sha256: &str) -> Result<bool, Error> {
        match self.inner.head(&path(folder, sha256)?).await {
            Ok(found) => Ok(Utc::now() - found.last_modified < FRESH),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(Error::Store(error)),
        }
    }

    /// How many bytes an object has; `None` when nothing has this name.
    ///
    /// # Errors
    /// When the name is none or the store cannot be used.
    pub async fn size(&self, folder: Folder, sha256: &str) -> Result<Option<u64>, Error> {
        match self.inner.head(&path(folder, sha256)?).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::Store(error)),
        }
    }

    /// Names of a folder's objects that were written `older_than` this long ago.
    pub fn old(
        &self,
        folder: Folder,
        older_than: TimeDelta,
    ) -> impl Stream<Item = Result<String, Error>> + Send + use<> {
        let before = Utc::now() - older_than;
        let listed = self.inner.list(Some(&object_store::path::Path::from(folder.name())));
        listed.map_err(Error::Store).try_filter_map(move |found| {
            let name = found.location.filename().map(str::to_owned);
            // What is no object of ours is left alone.
            let ours = |name: &String| found.last_modified < before && path(folder, name).is_ok();
            std::future::ready(Ok(name.filter(ours)))
        })
    }

    /// Removes an object, unless it was written anew since it was listed. Answers whether it did.
    ///
    /// # Errors
    /// When the name is none or the store cannot be used.
    pub async fn remove_old(&self, folder: Folder, sha256: &str, older_than: TimeDelta) -> Result<bool, Error> {
        let path = path(folder, sha256)?;
        match self.inner.head(&path).await {
            Ok(found) if found.last_modified < Utc::now() - older_than => {}
            Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(Error::Store(error)),
        }
        match self.inner.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(true),
            Err(error) => Err(Error::Store(error)),
        }
    }

    /// Begins to write an object of at most `limit` bytes.
    ///
    /// # Errors
    /// When the name is none or the store cannot be used.
    pub async fn writer(&self, folder: Folder, sha256: &str, limit: u64) -> Result<Writer, Error> {
        let upload = self
            .inner
            .put_multipart(&path(folder, sha256)?)
            .await
            .map_err(Error::Store)?;
        Ok(Writer {
            upload: WriteMultipart::new(upload),
            context: digest::Context::new(&digest::SHA256),
            wanted: sha256.to_owned(),
            bytes: 0,
            limit,
        })
    }

    /// Reads an object piece by piece.
    ///
    /// # Errors
    /// [`Error::Missing`] when nothing has this name.
    pub async fn read(
        &self,
        folder: Folder,
        sha256: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        match self.inner.get(&path(folder, sha256)?).await {
            Ok(found) => Ok(found.into_stream().map_err(Error::Store)),
            Err(object_store::Error::NotFound { .. }) => Err(Error::Missing(sha256.to_owned())),
            Err(error) => Err(Error::Store(error)),
        }
    }

    /// Reads a whole object of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::TooLarge`], or the store's.
    pub async fn read_all(&self, folder: Folder, sha256: &str, limit: u64) -> Result<Bytes, Error> {
        let mut pieces = Box::pin(self.read(folder, sha256).await?);
        let mut whole = Vec::new();
        while let Some(piece) = pieces.next().await {
            whole.extend_from_slice(&piece?);
            if whole.len() as u64 > limit {
                return Err(Error::TooLarge(limit));
            }
        }
        Ok(whole.into())
    }
}

/// An object on its way in. Dropped without [`Writer::finish`] it leaves nothing.
pub struct Writer {
    upload: WriteMultipart,
    context: digest::Context,
    wanted: String,
    bytes: u64,
    limit: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("wanted", &self.wanted)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past the limit.
    pub fn write(&mut self, data: &Bytes) -> Result<(), Error> {
        self.bytes += data.len() as u64;
        if self.bytes > self.limit {
            return Err(Error::TooLarge(self.limit));
        }
        self.context.update(data);
        self.upload.put(data.clone());
        Ok(())
    }

    /// Ends it: the object is there, whole, or not at all. Answers its size.
    ///
    /// # Errors
    /// [`Error::Differs`] when the bytes are not what the name says.
    pub async fn finish(self) -> Result<u64, Error> {
        let found = const_hex::encode(self.context.finish().as_ref());
        if found != self.wanted {
            self.upload.abort().await.map_err(Error::Store)?;
            return Err(Error::Differs {
                wanted: self.wanted,
                found,
            });
        }
        self.upload.finish().await.map_err(Error::Store)?;
        Ok(self.bytes)
    }
}

fn path(folder: Folder, sha256: &str) -> Result<object_store::path::Path, Error> {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if sha256.len() != 64 || !sha256.bytes().all(hex) {
        return Err(Error::Name(sha256.to_owned()));
    }
    let folder = folder.name();
    // Two levels, so that no folder grows without end.
    Ok(object_store::path::Path::from(format!(
        "{folder}/{}/{sha256}",
        &sha256[..2]
    )))
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        use rpc::error::{Code, status};
        let text = error.to_string();
        match error {
            Error::Name(_) => status(Code::Invalid, "BAD_HASH", text),
            Error::Differs { .. } => status(Code::Refused, "HASH_DIFFERS", text),
            Error::TooLarge(_) => status(Code::Invalid, "TOO_LARGE", text),
            Error::Missing(_) => status(Code::NotFound, "NO_OBJECT", text),
            Error::Store(source) => {
                tracing::error!(error = %source, "the object store failed");
                status(Code::Unavailable, "OBJECT_STORE", text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(data: &[u8]) -> String {
        const_hex::encode(digest::digest(&digest::SHA256, data).as_ref())
    }

    #[tokio::test]
    async fn an_object_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(dir.path()).await.unwrap();
        let name = sha256(b"hello");
        let mut writer = objects.writer(Folder::Artefacts, &name, 100).await.unwrap();
        writer.write(&Bytes::from_static(b"hel")).unwrap();
        writer.write(&Bytes::from_static(b"lo")).unwrap();
        assert!(!objects.is_fresh(Folder::Artefacts, &name).await.unwrap());
        assert_eq!(writer.finish().await.unwrap(), 5);
        assert_eq!(
            objects.read_all(Folder::Artefacts, &name, 10).await.unwrap().as_ref(),
            b"hello"
        );
        assert!(matches!(
            objects.read_all(Folder::Artefacts, &name, 4).await,
            Err(Error::TooLarge(4))
        ));
        assert!(matches!(
            objects.read_all(Folder::Bundles, &name, 10).await,
            Err(Error::Missing(_))
        ));
    }

    #[tokio::test]
    async fn bytes_that_are_not_what_was_announced_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let objects = Objects::open(dir.path()).await.unwrap();
        let name = sha256(b"hello");
        let mut writer = objects.writer(Folder::Bundles, &name, 100).await.unwrap();
        writer.write(&Bytes::from_static(b"other")).unwrap();
        assert!(matches!(writer.finish().await, Err(Error::Differs { .. })));
        assert!(!objects.is_fresh(Folder::Bundles, &name).await.unwrap());
        assert!(matches!(
            objects.is_fresh(Folder::Bundles, "../../etc/passwd").await,
            Err(Error::Name(_))
        ));
    }
}
