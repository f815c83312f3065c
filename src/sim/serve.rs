//! The embedded API server on a loopback port, for kubectl and any other client: TLS only, and nobody without
//! a token.

use super::Sim;
use super::apiserver::{ApiBody, User, failure};
use super::store::Status;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rand::TryRng;
use rand::rngs::SysRng;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::BoxError;

/// What can go wrong before the port is open.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Only loopback addresses are served.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The port cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The kubeconfig cannot be written.
    #[error("cannot write the kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// The file asked for.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate was not taken.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The system gives no random bytes for a token.
    #[error("no random bytes from the system: {0}")]
    Random(String),
}

/// A port being served; dropping it leaves it open until the runtime ends, [`Serving::stop`] closes it.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    kubeconfig: String,
    stop: CancellationToken,
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A kubeconfig (JSON, which is YAML) of an administrator. It holds a credential.
    #[must_use]
    pub fn kubeconfig(&self) -> &str {
        &self.kubeconfig
    }

    /// Writes the kubeconfig, readable by its owner only.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<(), ServeError> {
        write_private(path, &self.kubeconfig)
            .map_err(|source| ServeError::Kubeconfig { path: path.to_path_buf(), source })
    }

    /// Closes the port and every connection.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

/// A file that nobody else may read, from before its first byte.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The mode above is for a new file only.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    file.write_all(text.as_bytes())
}

/// Opens a loopback port (port 0: any free one) in front of an embedded cluster. Needs a runtime with real time:
/// paused time runs ahead of real sockets.
///
/// # Errors
/// The address is not loopback, the port is taken, or no certificate can be made.
pub async fn serve(sim: &Sim, address: SocketAddr) -> Result<Serving, ServeError> {
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    let listener =
        TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen { address, source })?;
    let names = vec![address.ip().to_string(), "localhost".into(), "kubernetes.default.svc".into()];
    let (acceptor, authority) = certified("firedrill embedded cluster", names, &["h2", "http/1.1"])?;
    let token = random_token()?;
    let kubeconfig = kubeconfig(address, &authority, &token);
    let stop = CancellationToken::new();
    let port = Port { sim: sim.clone(), token: Arc::from(token), acceptor, stop: stop.clone() };
    tokio::spawn(port.accept(listener));
    Ok(Serving { address, kubeconfig, stop })
}

/// 32 random bytes from the system, in hex: a credential is not drawn from the seed.
fn random_token() -> Result<String, ServeError> {
    let mut bytes = [0_u8; 32];
    SysRng.try_fill_bytes(&mut bytes).map_err(|e| ServeError::Random(e.to_string()))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// TLS with a certificate for these names, signed by an authority made for it alone, and that authority as PEM.
///
/// # Errors
/// No certificate can be made, or it is not taken.
pub fn certified(
    authority_name: &str,
    names: Vec<String>,
    protocols: &[&str],
) -> Result<(TlsAcceptor, String), ServeError> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    authority.distinguished_name.push(DnType::CommonName, authority_name);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok((TlsAcceptor::from(Arc::new(config)), issuer.pem()))
}

fn kubeconfig(address: SocketAddr, authority: &str, token: &str) -> String {
    let name = "firedrill-sim";
    let authority = k8s_openapi::ByteString(authority.as_bytes().to_vec());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": format!("https://{address}"), "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
    });
    format!("{config:#}\n")
}

/// What a connection needs.
#[derive(Clone)]
struct Port {
    sim: Sim,
    token: Arc<str>,
    acceptor: TlsAcceptor,
    stop: CancellationToken,
}

impl Port {
    async fn accept(self, listener: TcpListener) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        tokio::spawn(self.clone().connection(stream));
                    }
                    // Out of descriptors, or the peer is gone already: others may still come.
                    Err(error) => {
                        tracing::debug!(%error, "a connection to the embedded API server was not accepted");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                },
            }
        }
    }

    async fn connection(self, stream: TcpStream) {
        let serve = async {
            let stream = self.acceptor.accept(stream).await?;
            let service = service_fn(|request| self.clone().answer(request));
            let builder = auto::Builder::new(TokioExecutor::new());
            builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            done = serve => {
                if let Err(error) = done {
                    tracing::debug!(%error, "a connection to the embedded API server ended");
                }
            }
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<ApiBody>, BoxError> {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let given = given.and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
        if !same_secret(given, &self.token) {
            return Ok(failure(&Status::failure(401, "Unauthorized", "Unauthorized")));
        }
        let last = request.uri().path().rsplit('/').next().unwrap_or_default();
        if request.uri().path().contains("/pods/") && ["attach", "exec", "portforward"].contains(&last) {
            let why = format!("the embedded cluster has no streams to pods on its port, and so no {last}");
            return Ok(failure(&Status::failure(501, "NotImplemented", why)));
        }
        let (parts, body) = request.into_parts();
        let body: Bytes = body.collect().await?.to_bytes();
        self.sim.server().handle(User::admin(), Request::from_parts(parts, body)).await
    }
}

/// Compares in a time that does not depend on where the two differ.
fn same_secret(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (x, y)| all | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimConfig;
    use k8s_openapi::api::core::v1::Namespace;
    use kube::api::{Api, ListParams};
    use kube::config::{KubeConfigOptions, Kubeconfig};

    async fn client(text: &str) -> kube::Client {
        let config = Kubeconfig::from_yaml(text).expect("kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        kube::Client::try_from(config.expect("config")).expect("client")
    }

    #[tokio::test]
    async fn a_kubeconfig_opens_the_port_and_nothing_else_does() {
        let sim = Sim::new(&SimConfig::default());
        let serving = serve(&sim, "127.0.0.1:0".parse().expect("address")).await.expect("serving");
        let api: Api<Namespace> = Api::all(client(serving.kubeconfig()).await);
        assert_eq!(api.list(&ListParams::default()).await.expect("list").items.len(), 4);
        let mut other: serde_json::Value = serde_json::from_str(serving.kubeconfig()).expect("json");
        other["users"][0]["user"]["token"] = "guess".into();
        let api: Api<Namespace> = Api::all(client(&other.to_string()).await);
        let Err(kube::Error::Api(status)) = api.list(&ListParams::default()).await else { panic!("refused") };
        assert_eq!(status.code, 401);
        // Streams are not there, and it says so.
        let pods: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(client(serving.kubeconfig()).await, "default");
        let how = kube::api::AttachParams::default();
        let refused = pods.attach("a", &how).await.err().expect("no streams");
        let kube::Error::Api(status) = refused else { panic!("{refused:?}") };
        assert!(status.code == 501 && status.message.contains("no streams to pods"), "{status:?}");
        serving.stop();
        let everywhere = "0.0.0.0:0".parse().expect("address");
        assert!(matches!(serve(&sim, everywhere).await, Err(ServeError::NotLoopback(_))));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_kubeconfig_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("kubeconfig");
        std::fs::write(&path, "old").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("mode");
        let sim = Sim::new(&SimConfig::default());
        let serving = serve(&sim, "127.0.0.1:0".parse().expect("address")).await.expect("serving");
        serving.write_kubeconfig(&path).expect("written");
        let mode = std::fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
