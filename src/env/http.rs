//! HTTP to anything that is not the API server.

use std::{fmt, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{
    Method, Request, Response, Uri,
    uri::{Authority, Scheme},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{Resolver, is_forbidden, literal_address};

/// Answers longer than this are refused: a metric answer of one number has no business being longer.
const BODY_MAX: usize = 8 << 20;

/// Put into a request's extensions: so many bytes of the answer's body are read and the rest is left alone.
/// Without it, a body that is too long is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstBytes(pub usize);

/// Put into a request's extensions: HTTP/2 is spoken, without TLS by prior knowledge (RFC 9113, section 3.3). The
/// answer's trailers are among its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2;

/// Put into a request's extensions: it is not sent to a [link-local](is_forbidden) address, whatever its host's name
/// means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded;

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Not connected, broken off, TLS refused, too long.
    #[error("{0}")]
    Unreachable(String),
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
}

/// How to speak TLS to one server; put into the request's extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM of the only authorities to trust; None: the system's.
    pub ca: Option<Vec<u8>>,
    /// The name to expect in the certificate, if it is not the host's.
    pub server_name: Option<String>,
    /// Trust anybody. The plan names it as a hazard.
    pub insecure_skip_verify: bool,
}

type Send = dyn Fn(Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, HttpError>>
    + std::marker::Send
    + Sync;

/// Sends requests; no redirects are followed. CONNECT opens a TCP connection to its authority and closes it
/// again: the answer to it is that it could be opened.
#[derive(Clone)]
pub struct HttpClient(Arc<Send>);

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

impl HttpClient {
    /// The real network.
    pub fn network() -> Self {
        Self::from_fn(|request| Box::pin(over_network(request)))
    }

    /// Anything that answers: the embedded cluster's metrics, or an error for every request.
    pub fn from_fn(
        answer: impl Fn(Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, HttpError>>
        + std::marker::Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(answer))
    }

    /// Sends one request and reads the whole answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        (self.0)(request).await
    }
}

async fn over_network(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    if request.method() == Method::CONNECT {
        return connect(request.uri()).await;
    }
    let tls = request.extensions_mut().remove::<Tls>().unwrap_or_default();
    let first = request.extensions_mut().remove::<FirstBytes>();
    let second = request.extensions_mut().remove::<Http2>().is_some();
    let guarded = request.extensions_mut().remove::<Guarded>().is_some();
    if guarded && literal_address(request.uri()).is_some_and(is_forbidden) {
        return Err(HttpError::Settings("nothing is sent to a link-local address".to_owned()));
    }
    let config = client_config(&tls, request.uri().scheme() != Some(&Scheme::HTTP))?;
    let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
    let builder = match tls.server_name {
        Some(name) => {
            let name = rustls::pki_types::ServerName::try_from(name)
                .map_err(|error| HttpError::Settings(format!("tls.serverName: {error}")))?;
            builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
        }
        None => builder,
    };
    let mut http =
        HttpConnector::new_with_resolver(if guarded { Resolver::guarded() } else { Resolver::open() });
    http.enforce_http(false);
    let connector = if second {
        builder.enable_http2().wrap_connector(http)
    } else {
        builder.enable_http1().wrap_connector(http)
    };
    let client: Client<_, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).http2_only(second).build(connector);
    let unreachable = |error: &dyn std::error::Error| HttpError::Unreachable(chain(error));
    let response = client.request(request.map(Full::new)).await.map_err(|error| unreachable(&error))?;
    let (mut parts, body) = response.into_parts();
    let body = match first {
        Some(FirstBytes(limit)) => first_bytes(body, limit).await.map_err(|error| unreachable(&error))?,
        None => {
            let whole = Limited::new(body, BODY_MAX).collect().await;
            let whole = whole.map_err(|error| unreachable(&*error))?;
            if let Some(trailers) = whole.trailers().filter(|_| second) {
                parts.headers.extend(trailers.clone());
            }
            whole.to_bytes()
        }
    };
    Ok(Response::from_parts(parts, body))
}

/// Opens a connection and lets go of it.
async fn connect(to: &Uri) -> Result<Response<Bytes>, HttpError> {
    let address = to.authority().map_or("", Authority::as_str);
    match tokio::net::TcpStream::connect(address).await {
        Ok(_) => Ok(Response::new(Bytes::new())),
        Err(error) => Err(HttpError::Unreachable(error.to_string())),
    }
}

/// The first `limit` bytes of a body; what follows is not waited for.
///
/// # Errors
/// The body broke off before that.
pub async fn first_bytes<B>(body: B, limit: usize) -> Result<Bytes, B::Error>
where
    B: http_body::Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let mut read = BytesMut::new();
    while read.len() < limit
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            read.extend_from_slice(&data);
        }
    }
    read.truncate(limit);
    Ok(read.freeze())
}

/// An error and everything behind it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// How to speak TLS as these settings say. Without `with_roots` nobody is trusted: plain HTTP has no use for the
/// system's authorities, and they take time to read.
///
/// # Errors
/// The settings cannot be used.
pub fn client_config(tls: &Tls, with_roots: bool) -> Result<ClientConfig, HttpError> {
    let settings = |error: String| HttpError::Settings(format!("tls: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| settings(error.to_string()))?;
    if tls.insecure_skip_verify {
        let verifier = Arc::new(trust::Anybody(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| settings(error.to_string()))?;
                roots.add(certificate).map_err(|error| settings(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(settings("the CA holds no certificate".to_owned()));
            }
        }
        None if !with_roots => {}
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// `insecureSkipVerify`: signatures are checked, names and authorities are not.
mod trust {
    use std::sync::Arc;

    use rustls::{
        DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime},
    };

    #[derive(Debug)]
    pub(super) struct Anybody(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
