//! Connections: accepted, limited, encrypted where asked for, and brought to an end in order.

use super::auth::ApiKeys;
use super::files;
use super::log::{Log, Notice, OnNotice};
use super::models::Models;
use super::options::{ServerOptions, Tls};
use super::patience::{ARRIVING, Answering, Busy, Patient};
use super::routes::{HEAD_BYTES, ROUTES, answer};
use super::state::{State, over};
use crate::error::FileAction;
use crate::platform::files::private_folder;
use crate::platform::{input, signals};
use crate::{Error, Result};
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Longest time for the head of a request, and for a TLS handshake.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Longest time that a client may leave unread what is sent to it.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// Longest file of certificates, or of a key.
const MAX_PEM_BYTES: u64 = 1 << 20;
/// Connections at the same time.
const MAX_CONNECTIONS: usize = 4096;
/// Lines that wait to be told; more are lost.
const MAX_LINES: usize = 4096;
/// How long the last of them are waited for.
const LAST_LINES: Duration = Duration::from_millis(200);
/// How long answers that are cut short are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What takes connections with this certificate.
fn acceptor(tls: &Tls) -> Result<TlsAcceptor> {
    let bad = |path: &Path, wanted: &str, why: &dyn std::fmt::Display| {
        Error::input(path.display().to_string(), wanted, why.to_string())
    };
    let certs = CertificateDer::pem_slice_iter(input::read_text(&tls.cert, MAX_PEM_BYTES)?.as_bytes())
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|why| bad(&tls.cert, "certificates in PEM", &why))?;
    let key = input::read_text(&tls.key, MAX_PEM_BYTES)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|why| match why {
        pem::Error::NoItemsFound => bad(&tls.key, "a private key in PEM", &"none"),
        why => bad(&tls.key, "a private key in PEM", &why),
    })?;
    if certs.is_empty() {
        return Err(bad(&tls.cert, "certificates in PEM", &"none"));
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certs, key));
    let mut config = config.map_err(|why| bad(&tls.cert, "a certificate that fits the key", &why))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves `models` until SIGTERM or SIGINT; running answers may then end within `options.drain`, a second signal ends
/// them at once. `told` gets to know where it listens, what becomes of a
/// request (SIGHUP) to read keys and certificates again, and of all others.
///
/// # Errors
/// An address that cannot be used or would let everybody in, keys or certificates that cannot be read.
pub fn serve(models: Models, options: ServerOptions, told: &OnNotice) -> Result<()> {
    check_keys(&options)?;
    let tls = options.tls.as_ref().map(acceptor).transpose()?;
    let form = options.log;
    let runtime = super::runtime::start("the server")?;
    let (lines, teller) = teller(told)?;
    let state = State::new(models, options, Log::new(form, lines.clone()), ROUTES)?;
    let outcome = runtime.block_on(run(state, tls, &lines));
    drop(lines);
    // Threads that still prepare a request are not waited for.
    runtime.shutdown_background();
    let start = Instant::now();
    while !teller.is_finished() && start.elapsed() < LAST_LINES {
        std::thread::sleep(Duration::from_millis(5));
    }
    outcome
}

/// Finds out what would keep a server from listening, while no model is open yet: keys, certificates, folders, addresses.
///
/// # Errors
/// As [`serve`].
pub fn check(options: &ServerOptions) -> Result<()> {
    check_keys(options)?;
    options.tls.as_ref().map(acceptor).transpose()?;
    let mut folders = options.slot_dir.iter().chain(&options.data);
    folders.try_for_each(|folder| private_folder(folder).map_err(|why| Error::io(folder, FileAction::Create, why)))?;
    options.hosts.iter().try_for_each(|&host| {
        let wanted = SocketAddr::new(host, options.port);
        std::net::TcpListener::bind(wanted).map(drop).map_err(|why| unusable(wanted, &why))
    })
}

/// An address that others can reach wants a key.
fn check_keys(options: &ServerOptions) -> Result<()> {
    let wanted = ApiKeys::load(options)?.are_wanted();
    if options.hosts.iter().all(IpAddr::is_loopback) || wanted {
        return Ok(());
    }
    let hint = "give it a key (`api_key` KEY, `api_key_file` FILE), or let it listen at 127.0.0.1";
    Err(Error::input("`host`", "a key for an address that others can reach", "none").hint(hint))
}

/// Why a server cannot listen at an address.
fn unusable(wanted: SocketAddr, why: &std::io::Error) -> Error {
    let place = format!("address {wanted}");
    match why.kind() {
        std::io::ErrorKind::AddrInUse => Error::failed(place, "another program listens there")
            .hint("take another port with `port`, or 0 for one that is free"),
        std::io::ErrorKind::PermissionDenied => Error::failed(place, "this user may not listen there")
            .hint("ports from 1024 on are open to all users: `port`"),
        std::io::ErrorKind::AddrNotAvailable => Error::failed(place, "this machine has no such address"),
        _ => Error::failed(place, why.to_string()),
    }
}

/// A thread that tells what is sent to it, until all senders are gone: the reader of the lines may be slow.
fn teller(told: &OnNotice) -> Result<(SyncSender<Notice>, JoinHandle<()>)> {
    let (lines, inbox) = sync_channel(MAX_LINES);
    let told = Arc::clone(told);
    let work = move || inbox.into_iter().for_each(|notice| told(notice));
    let thread = std::thread::Builder::new().name("tokki-log".into()).spawn(work);
    Ok((lines, thread.map_err(|why| Error::failed("the log", format!("cannot start its thread: {why}")))?))
}

async fn run(state: Arc<State>, mut tls: Option<TlsAcceptor>, lines: &SyncSender<Notice>) -> Result<()> {
    // A reader of what is told that does not read holds up nothing.
    let told = |notice| drop(lines.try_send(notice));
    let listeners = bind(&state.options).await?;
    let (mut stop, mut reload) = signals::watch()?;
    for (_, address) in &listeners {
        told(Notice::Listening(*address));
    }
    tokio::spawn(close_unused(Arc::downgrade(&state)));
    files::resume(&state);
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let permit = Arc::clone(&room).acquire_owned();
        tokio::select! {
            Ok(permit) = permit => tokio::select! {
                accepted = accept(&listeners) => match accepted {
                    Ok((stream, peer)) => {
                        let _ = stream.set_nodelay(true);
                        let (state, tls) = (Arc::clone(&state), tls.clone());
                        tokio::spawn(async move {
                            connection(state, tls, stream, peer.ip()).await;
                            drop(permit);
                        });
                    }
                    // Out of descriptors: wait for some to come back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                () = stop.asked() => break,
                () = reload.asked() => {
                    // What cannot be read leaves what was there.
                    told(state.keys.reload(&state.options).map_or_else(Notice::NotReloaded, Notice::Reloaded));
                    match state.options.tls.as_ref().map(acceptor) {
                        Some(Ok(acceptor)) => tls = Some(acceptor),
                        Some(Err(why)) => told(Notice::NotReloaded(why)),
                        None => {}
                    }
                }
            },
            () = stop.asked() => break,
        }
    }
    drop(listeners);
    state.draining.send_replace(true);
    let over = async || {
        while room.available_permits() < MAX_CONNECTIONS || !state.streams.are_over() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = over() => {}
        () = tokio::time::sleep(state.options.drain) => {
            // Those that are cut short are told so.
            state.deadline.send_replace(true);
            let _ = tokio::time::timeout(LAST_WORDS, over()).await;
        }
        () = stop.asked() => {}
    }
    Ok(())
}

/// Listens at every address.
async fn bind(options: &ServerOptions) -> Result<Vec<(TcpListener, SocketAddr)>> {
    let mut port = options.port;
    let mut listeners = Vec::new();
    for &host in &options.hosts {
        let wanted = SocketAddr::new(host, port);
        let listener = TcpListener::bind(wanted).await.map_err(|why| unusable(wanted, &why))?;
        let address = listener.local_addr().map_err(|why| unusable(wanted, &why))?;
        // A port that was chosen for the first address holds for all.
        port = address.port();
        listeners.push((listener, address));
    }
    Ok(listeners)
}

/// The next connection at any of the addresses.
async fn accept(listeners: &[(TcpListener, SocketAddr)]) -> std::io::Result<(tokio::net::TcpStream, SocketAddr)> {
    let next = |context: &mut Context<'_>| {
        let mut all = listeners.iter().map(|(listener, _)| listener.poll_accept(context));
        all.find(Poll::is_ready).unwrap_or(Poll::Pending)
    };
    std::future::poll_fn(next).await
}

/// Closes models that have been idle for long enough, as long as the server is there.
async fn close_unused(state: std::sync::Weak<State>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(state) = state.upgrade() else { return };
        let work = move || {
            super::llama_server::keep_props(&state);
            // The thread of an engine is waited for.
            state.models.close_expired();
        };
        let _ = tokio::task::spawn_blocking(work).await;
    }
}

async fn connection(state: Arc<State>, tls: Option<TlsAcceptor>, stream: tokio::net::TcpStream, peer: IpAddr) {
    let Some(acceptor) = tls else { return talk(state, stream, peer).await };
    let end = over(state.draining.subscribe());
    tokio::select! {
        greeted = tokio::time::timeout(HEAD_TIME, acceptor.accept(stream)) => {
            if let Ok(Ok(stream)) = greeted {
                talk(state, stream, peer).await;
            }
        }
        // Who has not said what it wants waits for nothing.
        () = end => {}
    }
}

/// One connection, request after request, until either side ends it.
async fn talk<S>(state: Arc<State>, stream: S, peer: IpAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let end = over(state.draining.subscribe());
    let busy = Busy::default();
    let stream = Patient::new(stream, WRITE_TIME, busy.clone());
    let asked = busy.clone();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (state, work) = (Arc::clone(&state), asked.begin());
        async move {
            let response = answer(state, peer, request.map(Body::new)).await;
            Ok::<_, std::convert::Infallible>(response.map(|body| Body::new(Answer { body, _of: work })))
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.title_case_headers(true).timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = end => connection.as_mut().graceful_shutdown(),
    }
    // A request that is still on its way may arrive, if it does so at once.
    let idle = async || {
        tokio::time::sleep(ARRIVING).await;
        while busy.is_busy() {
            tokio::time::sleep(ARRIVING).await;
        }
    };
    tokio::select! {
        _ = &mut connection => {}
        () = idle() => {}
    }
}

/// A body, and the request that it answers.
struct Answer {
    body: Body,
    _of: Answering,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
