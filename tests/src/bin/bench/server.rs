//! The synthetic account, and Lambda's Runtime API, behind HTTP endpoints on loopback.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Failure;
use crate::account::Account;
use crate::call::Call;

/// What a handler answers.
pub(crate) type Reply = Response<Full<Bytes>>;

/// Serves `handler` on a free port of loopback, over TLS where `tls` is given, until the returned
/// task is aborted.
pub(crate) async fn serve<H, F>(
    handler: H,
    tls: Option<TlsAcceptor>,
) -> io::Result<(SocketAddr, JoinHandle<()>)>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Answers are written in one go, and waiting for acknowledgements would be measured.
            let _ = stream.set_nodelay(true);
            let (handler, tls) = (handler.clone(), tls.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let reply = handler(request);
                    async move { Ok::<_, Infallible>(reply.await) }
                });
                // A connection that breaks is the function's end; nobody has to be told.
                let http = http1::Builder::new();
                let Some(tls) = tls else {
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    return;
                };
                if let Ok(stream) = tls.accept(stream).await {
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });
    Ok((address, accepting))
}

/// An answer with a body.
pub(crate) fn reply(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let reply = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, kind);
    reply.body(Full::new(body.into())).unwrap_or_default()
}

/// The account's endpoint; gone when dropped.
pub(crate) struct Server {
    account: Arc<Mutex<Account>>,
    pub(crate) url: String,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Puts `account`, whose calls take `latency`, behind a port; over TLS, as AWS itself, where
    /// `tls` is given.
    pub(crate) async fn start(
        account: Account,
        latency: Duration,
        tls: Option<&Tls>,
    ) -> io::Result<Self> {
        let account = Arc::new(Mutex::new(account));
        let shared = Arc::clone(&account);
        let handler = move |request| answer(Arc::clone(&shared), latency, request);
        let (address, accepting) = serve(handler, tls.map(|tls| tls.acceptor.clone())).await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{address}");
        Ok(Self {
            account,
            url,
            accepting,
        })
    }

    /// The account as it is now.
    pub(crate) fn account(&self) -> MutexGuard<'_, Account> {
        locked(&self.account)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn locked(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers after the latency, in which the time for making the answer is contained.
async fn answer(
    account: Arc<Mutex<Account>>,
    latency: Duration,
    request: Request<Incoming>,
) -> Reply {
    let begun = tokio::time::Instant::now();
    let target = request.headers().get("x-amz-target").cloned();
    let Ok(body) = request.into_body().collect().await else {
        return reply(400, "text/plain", "the request broke off");
    };
    let target = target.as_ref().and_then(|target| target.to_str().ok());
    let call = Call::read(target, &body.to_bytes());
    let (status, kind, body) = locked(&account).respond(&call);
    tokio::time::sleep_until(begun + latency).await;
    reply(status, kind, body)
}

/// A certificate for 127.0.0.1 that signs itself, and its key. The key is no secret: only processes
/// that the benchmark starts trust it, and only on loopback. Valid until 2120.
const CERTIFICATE: &str = include_str!("loopback.pem");

/// Where Linux distributions keep the root certificates in one file; the second is Lambda's.
const DEBIAN_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
const LAMBDA_ROOTS: &str = "/etc/pki/tls/certs/ca-bundle.crt";

/// How the synthetic AWS proves that it is AWS, so that a first invocation does what it does in
/// Lambda: read the root certificates, seed the random generator, shake hands.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    /// The file of certificates that a function is to trust. Gone when this is dropped.
    pub(crate) roots: PathBuf,
}

impl Tls {
    /// Reads the certificate, and writes it behind the system's roots into a file for the functions:
    /// they have as many certificates to read as in Lambda.
    pub(crate) fn new() -> Result<Self, Failure> {
        let mut bundle = fs::read(DEBIAN_ROOTS).or_else(|_| fs::read(LAMBDA_ROOTS))?;
        bundle.extend_from_slice(CERTIFICATE.as_bytes());
        let roots = std::env::temp_dir().join(format!("bench-{}-roots.pem", std::process::id()));
        fs::write(&roots, bundle)?;
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(CERTIFICATE.as_bytes())?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { acceptor, roots })
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.roots);
    }
}
