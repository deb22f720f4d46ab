//! An issuer of tokens: keys of every kind, and a server of its own on loopback that publishes them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair,
    },
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::client::Socket;

/// The issuer's name, in tokens and in manifests.
pub(super) const ISSUER: &str = "https://id.example";

/// A key pair.
pub(super) struct Pair {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    key: EncodingKey,
}

impl Pair {
    pub(super) fn new(kid: &str, algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::EdDSA => {
                let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
                EncodingKey::from_ed_der(document.as_ref())
            }
            Algorithm::ES256 => elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                panic!("a shared secret is no pair")
            }
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512
            | _ => rsa(),
        };
        Self { kid: kid.to_owned(), algorithm, key }
    }

    /// The public half, as it stands in a set.
    pub(super) fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.clone());
        serde_json::to_value(jwk).unwrap()
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.kid, claims)
    }

    /// Signs as the bearer of another key's name.
    pub(super) fn sign_as(&self, kid: &str, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(kid.to_owned());
        encode(&header, claims, &self.key).unwrap()
    }
}

fn elliptic(curve: &'static EcdsaSigningAlgorithm) -> EncodingKey {
    let document = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
    EncodingKey::from_ec_der(document.as_ref())
}

fn rsa() -> EncodingKey {
    // jsonwebtoken reads the RSA key itself (PKCS #1), which lies in the last field of the document.
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let document = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let inner = document.as_ref().windows(4).position(|w| matches!(w, [0x04, 0x82, _, _])).unwrap();
    EncodingKey::from_rsa_der(&document.as_ref()[inner + 4..])
}

/// The claims of a good token, with changes to them.
pub(super) fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "orders", "sub": "ada", "exp": now() + 3_600, "scope": "read",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What proves that it is `localhost`, and the authority that vouches for it.
const CERTIFICATE: &str = include_str!("../certificates/issuer.crt");
const KEY: &str = include_str!("../certificates/issuer.key");
pub(super) const AUTHORITY: &str = include_str!("../certificates/authority.crt");

fn acceptor() -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()))
}

/// How an issuer answers.
#[derive(Clone)]
enum Answer {
    Set(String),
    Broken,
    /// By a byte now and then.
    Slowly,
    /// By ever more.
    Endlessly,
}

/// A server that publishes keys, or is out of order.
pub(super) struct Issuer {
    pub(super) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    pub(super) asked: Arc<AtomicUsize>,
    /// How many bytes were sent to whoever was answered endlessly.
    pub(super) flooded: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Issuer {
    pub(super) async fn start(keys: &[&Pair]) -> Self {
        Self::start_by(keys, None).await
    }

    /// One who speaks TLS.
    pub(super) async fn start_over_tls(keys: &[&Pair]) -> Self {
        Self::start_by(keys, Some(acceptor())).await
    }

    async fn start_by(keys: &[&Pair], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(Answer::Broken));
        let [asked, flooded] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let counts = [&asked, &flooded].map(Arc::clone);
        let task = tokio::spawn(publish(listener, tls, Arc::clone(&answer), counts));
        let issuer = Self { address, answer, asked, flooded, _task: AbortOnDropHandle::new(task) };
        issuer.publish(keys);
        issuer
    }

    pub(super) fn publish(&self, keys: &[&Pair]) {
        *self.answer.lock().unwrap() = Answer::Set(set(keys));
    }

    pub(super) fn break_down(&self) {
        *self.answer.lock().unwrap() = Answer::Broken;
    }

    pub(super) fn dawdle(&self) {
        *self.answer.lock().unwrap() = Answer::Slowly;
    }

    pub(super) fn flood(&self) {
        *self.answer.lock().unwrap() = Answer::Endlessly;
    }

    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/jwks.json?v=1", self.address)
    }
}

/// A JWK Set.
pub(super) fn set(keys: &[&Pair]) -> String {
    let keys: Vec<_> = keys.iter().map(|pair| pair.public()).collect();
    json!({ "keys": keys }).to_string()
}

async fn publish(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    answer: Arc<Mutex<Answer>>,
    [asked, flooded]: [Arc<AtomicUsize>; 2],
) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { return };
        asked.fetch_add(1, Ordering::Relaxed);
        let mut socket: Socket = match &tls {
            None => Box::new(socket),
            Some(tls) => match tls.accept(socket).await {
                Ok(socket) => Box::new(socket),
                // The other side doesn't trust this one.
                Err(_) => continue,
            },
        };
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                break;
            }
        }
        assert!(request.starts_with(b"GET /jwks.json?v=1 HTTP/1.1\r\n"), "{request:?}");
        let answer = answer.lock().unwrap().clone();
        let (status, body) = match answer {
            Answer::Set(set) => ("200 OK", set),
            Answer::Broken => ("500 Broken", String::new()),
            Answer::Slowly => {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n").await;
                while socket.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                continue;
            }
            Answer::Endlessly => {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                let spaces = vec![b' '; 64 * 1024];
                while socket.write_all(&spaces).await.is_ok() {
                    flooded.fetch_add(spaces.len(), Ordering::Relaxed);
                }
                continue;
            }
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
        let _ = socket.shutdown().await;
    }
}
