//! A server of the protocol of S3 on this machine, and a proxy before it that injects faults.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use nonos_daemon::object_target::{Limits, ObjectTarget, OpenError};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The answer has this status, and the server never sees the request.
    Status(u16),
    /// There is no answer.
    Silence,
    /// The connections are cut after so many bytes of the request's body.
    CutRequest(usize),
    /// The connection is cut after so many bytes of the answer's body.
    CutAnswer(usize),
    /// The server does what was asked, and its answer is lost.
    LoseAnswer,
    /// A bit of this byte of the request's body changes on the way.
    Flip(usize),
}

/// A fault for the next requests of a method whose path and query contain a text.
#[derive(Clone, Debug)]
struct Rule {
    method: &'static str,
    contains: &'static str,
    times: usize,
    fault: Fault,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) range: Option<String>,
    pub(crate) fault: Option<Fault>,
}

#[derive(Debug, Default)]
struct Proxy {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
}

/// A server with a bucket, on a directory that is removed at drop.
pub(crate) struct Server {
    /// Ends with the server.
    _runtime: Runtime,
    root: TempDir,
    proxy: Arc<Proxy>,
    pub(crate) endpoint: String,
}

pub(crate) const KEY: &str = "an-access-key";
pub(crate) const SECRET: &str = "what-signs-requests";
pub(crate) const URL: &str = "s3://bucket/nodes/one";

impl Server {
    pub(crate) fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let root = tempfile::tempdir()?;
        fs::create_dir(root.path().join("bucket"))?;
        let files = s3s_fs::FileSystem::new(root.path()).map_err(|e| format!("{e:?}"))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = service.build();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let behind = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let before = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let (server, endpoint) = (behind.local_addr()?, before.local_addr()?);
        runtime.spawn(async move {
            while let Ok((socket, _)) = behind.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let http = auto::Builder::new(TokioExecutor::new()).http1_only();
                    let _served = http.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        let proxy = Arc::new(Proxy::default());
        let shared = Arc::clone(&proxy);
        runtime.spawn(async move {
            while let Ok((socket, _)) = before.accept().await {
                let proxy = Arc::clone(&shared);
                tokio::spawn(async move {
                    let _relayed = proxy.relay(socket, server).await;
                });
            }
        });
        Ok(Self {
            _runtime: runtime,
            root,
            proxy,
            endpoint: format!("http://{endpoint}"),
        })
    }

    pub(crate) fn target(&self) -> Result<ObjectTarget, OpenError> {
        self.target_with(&[], quick())
    }

    pub(crate) fn target_with(
        &self,
        more: &[(&str, &str)],
        limits: Limits,
    ) -> Result<ObjectTarget, OpenError> {
        let settings = [
            ("aws_access_key_id", KEY),
            ("aws_secret_access_key", SECRET),
            ("aws_region", "us-east-1"),
            ("aws_endpoint", &self.endpoint),
            ("aws_allow_http", "true"),
        ];
        ObjectTarget::with(URL, &[&settings, more].concat(), limits)
    }

    /// Injects a fault into the next requests that fit.
    pub(crate) fn inject(
        &self,
        fault: Fault,
        method: &'static str,
        contains: &'static str,
        times: usize,
    ) {
        let rule = Rule {
            method,
            contains,
            times,
            fault,
        };
        lock(&self.proxy.rules).push(rule);
    }

    /// Ends all faults and forgets what came.
    pub(crate) fn calm(&self) {
        lock(&self.proxy.rules).clear();
        lock(&self.proxy.seen).clear();
    }

    pub(crate) fn seen(&self, method: &str, contains: &str) -> Vec<Seen> {
        let seen = lock(&self.proxy.seen);
        let fits = |seen: &&Seen| seen.method == method && seen.target.contains(contains);
        seen.iter().filter(fits).cloned().collect()
    }

    /// How often each part arrived, and how often it was cut or refused on the way.
    pub(crate) fn parts(&self) -> BTreeMap<usize, (usize, usize)> {
        let mut parts = BTreeMap::new();
        for seen in self.seen("PUT", "partNumber=") {
            let (_, number) = seen.target.split_once("partNumber=").unwrap_or_default();
            let digits = number.split('&').next().unwrap_or_default();
            let (arrived, lost) = parts.entry(digits.parse().unwrap_or(0)).or_insert((0, 0));
            *(if seen.fault.is_none() { arrived } else { lost }) += 1;
        }
        parts
    }

    pub(crate) fn bucket(&self) -> PathBuf {
        self.root.path().join("bucket")
    }

    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.bucket().join("nodes/one").join(name)
    }

    /// Uploads and parts that the server still keeps.
    pub(crate) fn unfinished(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.path())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.contains(".upload") && !name.contains(".metadata.") {
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// Limits that make a test wait no longer than it has to.
pub(crate) fn quick() -> Limits {
    let mut limits = Limits::default();
    limits.pause = Duration::from_millis(5);
    limits.max_pause = Duration::from_millis(50);
    limits.part_bytes = 5 << 20;
    limits
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// Where the head of a message ends, if it has come whole.
fn head_len(bytes: &[u8]) -> Option<usize> {
    let at = bytes
        .windows(BLANK_LINE.len())
        .position(|w| w == BLANK_LINE)?;
    Some(at + BLANK_LINE.len())
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| found.eq_ignore_ascii_case(name))?;
    Some(value.trim())
}

impl Proxy {
    /// Notes a request and decides its fault.
    fn fault_of(&self, head: &str) -> Option<Fault> {
        let mut words = head.split(' ').map(str::to_owned);
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let mut rules = lock(&self.rules);
        let fits = |rule: &&mut Rule| {
            rule.times > 0 && rule.method == method && target.contains(rule.contains)
        };
        let fault = rules.iter_mut().find(fits).map(|rule| {
            rule.times -= 1;
            rule.fault
        });
        let range = header(head, "range").map(str::to_owned);
        lock(&self.seen).push(Seen {
            method,
            target,
            range,
            fault,
        });
        fault
    }

    /// Relays one request and its answer, and closes the connection.
    async fn relay(&self, mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
        let mut bytes = Vec::new();
        let head_len = loop {
            if client.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            if let Some(len) = head_len(&bytes) {
                break len;
            }
        };
        let mut body = bytes.split_off(head_len);
        let head = String::from_utf8_lossy(&bytes).into_owned();
        let len = header(&head, "content-length").and_then(|len| len.parse::<usize>().ok());
        let len = len.unwrap_or(0);
        let fault = self.fault_of(&head);
        let unheard = matches!(fault, Some(Fault::Status(_) | Fault::Silence));

        let mut upstream = TcpStream::connect(server).await?;
        let head = head.trim_end_matches("\r\n");
        let head = format!("{head}\r\nconnection: close\r\n\r\n");
        if !unheard {
            upstream.write_all(head.as_bytes()).await?;
        }
        let mut passed = 0;
        while passed < len {
            if body.is_empty() && client.read_buf(&mut body).await? == 0 {
                return Ok(());
            }
            if let Some(Fault::Flip(at)) = fault
                && let Some(byte) = at.checked_sub(passed).and_then(|at| body.get_mut(at))
            {
                *byte ^= 1;
            }
            if let Some(Fault::CutRequest(at)) = fault
                && passed + body.len() > at
            {
                body.truncate(at.saturating_sub(passed));
                return upstream.write_all(&body).await;
            }
            if !unheard {
                upstream.write_all(&body).await?;
            }
            passed += body.len();
            body.clear();
        }
        match fault {
            Some(Fault::Status(status)) => {
                let answer = format!(
                    "HTTP/1.1 {status} Injected\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                client.write_all(answer.as_bytes()).await
            }
            Some(Fault::Silence) => client.read_buf(&mut body).await.map(drop),
            Some(Fault::LoseAnswer) => upstream.read_to_end(&mut body).await.map(drop),
            Some(Fault::CutAnswer(at)) => {
                upstream.read_to_end(&mut body).await?;
                let cut = self::head_len(&body).unwrap_or(0) + at;
                body.truncate(cut);
                client.write_all(&body).await
            }
            _ => tokio::io::copy(&mut upstream, &mut client).await.map(drop),
        }
    }
}
