//! The certificate of the port: made at start and kept nowhere, or one from a folder, which may be renewed meanwhile.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio_rustls::TlsAcceptor;

use super::PortError;
use crate::sim::serve::certified;

/// What the port speaks.
const PROTOCOL: &str = "http/1.1";

/// Where TLS comes from.
pub(super) enum Certificate {
    /// Made for this process.
    Made(TlsAcceptor),
    /// In a folder, as a Secret of type kubernetes.io/tls is mounted.
    Folder(PathBuf, Mutex<Read>),
}

/// What was read last, and what came of it.
pub(super) struct Read {
    files: (Vec<u8>, Vec<u8>),
    acceptor: TlsAcceptor,
}

impl Certificate {
    /// One that is made now, and the authority that has signed it, as PEM.
    pub(super) fn made() -> Result<(Self, String), PortError> {
        let names = ["firedrill", "localhost"].map(str::to_owned).to_vec();
        let (acceptor, authority) = certified("firedrill controller", names, &[PROTOCOL])?;
        Ok((Self::Made(acceptor), authority))
    }

    /// `tls.crt` and `tls.key` of a folder.
    pub(super) fn of(folder: &Path) -> Result<Self, PortError> {
        let unusable = |why| PortError::Folder { folder: folder.to_owned(), why };
        let files = files(folder).map_err(unusable)?;
        let acceptor = acceptor(&files).map_err(unusable)?;
        Ok(Self::Folder(folder.to_owned(), Mutex::new(Read { files, acceptor })))
    }

    /// For the next connection: what the folder has by now. What cannot be used, as while it is being replaced, leaves
    /// the former one in use.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let (folder, read) = match self {
            Self::Made(acceptor) => return acceptor.clone(),
            Self::Folder(folder, read) => (folder, read),
        };
        let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = files(folder).and_then(|found| {
            if found == read.files {
                return Ok(None);
            }
            acceptor(&found).map(|acceptor| Some(Read { files: found, acceptor }))
        });
        match renewed {
            Ok(None) => {}
            Ok(Some(renewed)) => {
                tracing::info!(folder = %folder.display(), "the certificate of the port was renewed");
                *read = renewed;
            }
            Err(why) => {
                tracing::warn!(folder = %folder.display(), why, "the certificate of the port cannot be read anew");
            }
        }
        read.acceptor.clone()
    }
}

/// Certificates and key, as they are in the files.
fn files(folder: &Path) -> Result<(Vec<u8>, Vec<u8>), String> {
    let read = |name: &str| std::fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"));
    Ok((read("tls.crt")?, read("tls.key")?))
}

fn acceptor((chain, key): &(Vec<u8>, Vec<u8>)) -> Result<TlsAcceptor, String> {
    let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("tls.crt: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("tls.key: {error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![PROTOCOL.as_bytes().to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
