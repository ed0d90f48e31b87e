//! What the daemon tells over HTTP: whether it is ready, its numbers for Prometheus, its status as JSON and as a page.
//!
//! Nothing can be changed through it, and no secret is in anything that it says. It listens on the loopback interface
//! unless it is told otherwise; then who asks must know a token. Without one, names of other hosts are refused, so no
//! page of the web can read it through a browser by giving itself this address.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::node::{Node, Phase};
use crate::error::CliError;

pub(crate) mod findings;
mod history;
mod prometheus;
pub(crate) mod status;
mod token;

pub(crate) use token::Token;

/// Connections that are served at once; more wait.
const CONNECTIONS: usize = 32;
/// Answers that read the database at once.
const READERS: usize = 4;
/// How long a connection may take, from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// Longer heads are refused.
const HEAD_LEN: usize = 16 * 1024;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// What answers are made of.
#[derive(Debug)]
pub(crate) struct Server {
    node: Arc<Node>,
    place: status::Place,
    token: Option<Token>,
    readers: Semaphore,
}

impl Server {
    pub(crate) fn new(node: Arc<Node>, place: status::Place, token: Option<Token>) -> Self {
        Self {
            node,
            place,
            token,
            readers: Semaphore::new(READERS),
        }
    }

    /// Takes the address; who cannot have it learns so before the database is touched.
    pub(crate) async fn listen(&self, address: SocketAddr) -> Result<TcpListener, CliError> {
        if !address.ip().is_loopback() && self.token.is_none() {
            return Err(CliError::Exposed { address });
        }
        let bound = TcpListener::bind(address).await;
        bound.map_err(|source| CliError::Listen { address, source })
    }

    /// Answers for as long as the daemon runs.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) -> CliError {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
                continue;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Of that connection, or there are too many files: neither lasts.
                    tracing::debug!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let server = Arc::clone(&self);
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let server = Arc::clone(&server);
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .max_buf_size(HEAD_LEN)
                    .keep_alive(false);
                let connection = http.serve_connection(TokioIo::new(stream), answer);
                match tokio::time::timeout(PATIENCE, connection).await {
                    Ok(Err(error)) => tracing::debug!(%error, "a connection ended early"),
                    Ok(Ok(())) => {}
                    Err(_) => tracing::debug!("a connection took too long"),
                }
                drop(permit);
            });
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let is_head = request.method() == Method::HEAD;
        let mut answer = self.find(&request).await;
        let headers = answer.headers_mut();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                 img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if is_head {
            *answer.body_mut() = Full::default();
        }
        answer
    }

    async fn find(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        let path = request.uri().path();
        // What a supervisor asks says nothing about the node.
        match path {
            "/healthz" => return text(StatusCode::OK, "ok\n"),
            "/readyz" => {
                return match self.node.readiness() {
                    Ok(()) => text(StatusCode::OK, "ready\n"),
                    Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
                };
            }
            _ => {}
        }
        if let Some(token) = &self.token {
            let given = request.headers().get(AUTHORIZATION);
            if !given.is_some_and(|given| token.opens(given.as_bytes())) {
                let mut answer = text(StatusCode::UNAUTHORIZED, "a token is needed\n");
                let basic = HeaderValue::from_static("Basic realm=\"nonos\"");
                answer.headers_mut().insert(WWW_AUTHENTICATE, basic);
                return answer;
            }
        } else if !is_own_name(request.headers()) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "ask by address, or as localhost; other names need a token\n",
            );
        }
        let query = request.uri().query().unwrap_or_default();
        match path {
            "/" => of(StatusCode::OK, HTML, include_str!("server/page.html")),
            "/page.css" => of(StatusCode::OK, "text/css", include_str!("server/page.css")),
            "/page.js" => of(
                StatusCode::OK,
                "text/javascript",
                include_str!("server/page.js"),
            ),
            "/api/v1/status" => self.read(Reading::status).await,
            "/api/v1/history" => match history::Asked::parse(query) {
                Ok(asked) => self.read(move |reading| reading.history(&asked)).await,
                Err(what) => text(StatusCode::BAD_REQUEST, &format!("{what}\n")),
            },
            "/metrics" => self.read(Reading::metrics).await,
            _ => text(StatusCode::NOT_FOUND, "there is no such page\n"),
        }
    }

    /// Reads the database on another thread: a few at a time, so that nobody keeps all of them busy.
    async fn read(
        &self,
        f: impl FnOnce(&Reading) -> Result<Answer, CliError> + Send + 'static,
    ) -> Answer {
        let Ok(_permit) = self.readers.acquire().await else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "closing\n");
        };
        let reading = Reading {
            node: Arc::clone(&self.node),
            place: self.place.clone(),
        };
        match tokio::task::spawn_blocking(move || f(&reading)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let reason = crate::output::chain(&error);
                tracing::warn!(%reason, "a request was not answered");
                // What went wrong may name files: it is in the log.
                text(StatusCode::SERVICE_UNAVAILABLE, "see the log\n")
            }
            Err(_panic) => text(StatusCode::INTERNAL_SERVER_ERROR, "see the log\n"),
        }
    }
}

/// What an answer is made of, on a thread that may wait.
struct Reading {
    node: Arc<Node>,
    place: status::Place,
}

impl Reading {
    fn storage(&self) -> Option<Arc<nonos_storage::NodeStorage>> {
        match self.node.phase() {
            Phase::Open(storage) => Some(storage),
            Phase::Opening(_) | Phase::Closing => None,
        }
    }

    fn status(&self) -> Result<Answer, CliError> {
        Ok(json(&status::of(&self.node, &self.place)?))
    }

    fn history(&self, asked: &history::Asked) -> Result<Answer, CliError> {
        let history = match self.storage() {
            Some(storage) => history::read(&storage, asked)?,
            None => history::History::default(),
        };
        Ok(json(&history))
    }

    fn metrics(&self) -> Result<Answer, CliError> {
        let status = status::of(&self.node, &self.place)?;
        let numbers = prometheus::encode(&status, self.storage().as_deref());
        Ok(of(StatusCode::OK, prometheus::CONTENT_TYPE, &numbers))
    }
}

fn json(value: &impl serde::Serialize) -> Answer {
    // Numbers, texts and lists: nothing in it cannot be written.
    let body = serde_json::to_string(value).unwrap_or_default();
    of(StatusCode::OK, JSON, &body)
}

fn text(status: StatusCode, body: &str) -> Answer {
    of(status, TEXT, body)
}

fn of(status: StatusCode, kind: &'static str, body: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// Whether it was asked by an address or as `localhost`: a page of the web that resolves its own name to this address
/// asks by that name.
fn is_own_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else {
        // A client before HTTP/1.1, which is no browser.
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}
