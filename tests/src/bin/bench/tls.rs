//! TLS for the synthetic AWS, so that a first invocation does what it does in Lambda: read the root
//! certificates, seed the random generator, shake hands.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Failure;

/// A certificate for 127.0.0.1 that signs itself, and its key. The key is no secret: only processes
/// that the benchmark starts trust it, and only on loopback. Valid until 2120.
const CERTIFICATE: &str = include_str!("loopback.pem");

/// Where Linux distributions keep the root certificates in one file; the second is Lambda's.
const SYSTEM_ROOTS: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// How the synthetic AWS proves that it is AWS. The file of roots is gone when it is dropped.
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    roots: PathBuf,
}

impl Tls {
    /// Reads the certificate, and writes it behind the system's roots into a file for the functions:
    /// they have as many certificates to read as in Lambda.
    pub(crate) fn new() -> Result<Self, Failure> {
        let system = SYSTEM_ROOTS.iter().find_map(|file| fs::read(file).ok());
        let Some(mut bundle) = system else {
            return Err(format!(
                "no root certificates in {}: install the package ca-certificates",
                SYSTEM_ROOTS.join(" or ")
            )
            .into());
        };
        bundle.extend_from_slice(CERTIFICATE.as_bytes());
        let roots = std::env::temp_dir().join(format!("bench-{}-roots.pem", std::process::id()));
        fs::write(&roots, bundle)?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes())?],
                PrivateKeyDer::from_pem_slice(CERTIFICATE.as_bytes())?,
            )?;
        Ok(Self {
            config: Arc::new(config),
            roots,
        })
    }

    /// What takes connections.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// The file of certificates that a function must trust.
    pub(crate) fn roots(&self) -> &Path {
        &self.roots
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.roots);
    }
}
