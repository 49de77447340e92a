//! The synthetic account behind one HTTP endpoint on loopback.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

use crate::estate::{Answer, Estate};
use crate::options::Options;
use crate::outcomes::Told;
use crate::query::{Query, Refusal};
use crate::rates::Buckets;
use crate::services;
use crate::tls::Tls;

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
                if let Some(tls) = tls {
                    if let Ok(stream) = tls.accept(stream).await {
                        let _ = http.serve_connection(TokioIo::new(stream), service).await;
                    }
                } else {
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                }
            });
        }
    });
    Ok((address, accepting))
}

/// An answer with a body.
pub(crate) fn reply(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    if let Ok(status) = status.try_into() {
        *reply.status_mut() = status;
    }
    let kind = hyper::header::HeaderValue::from_static(kind);
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// Calls of one name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// All of them.
    pub(crate) made: usize,
    /// Those that were throttled.
    pub(crate) throttled: usize,
}

/// Calls by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Calls(pub(crate) BTreeMap<String, Count>);

/// What the names end in under which reads that only make sure before acting are counted.
pub(crate) const LOOKING_AGAIN: &str = "(looking again)";

impl Calls {
    fn count(&mut self, name: &str, throttled: bool) {
        let count = self.0.entry(name.to_owned()).or_default();
        count.made += 1;
        count.throttled += usize::from(throttled);
    }

    /// All calls together.
    pub(crate) fn total(&self) -> usize {
        self.0.values().map(|count| count.made).sum()
    }
}

/// The account: its estate, and what was asked of it.
#[derive(Debug)]
pub(crate) struct Account {
    estate: Box<dyn Estate>,
    latency: Duration,
    rates: Option<Buckets>,
    calls: Calls,
    /// When each call came and was answered.
    times: Vec<(String, Instant, Instant)>,
    refused: Vec<String>,
    told: Told,
}

impl Account {
    /// An account whose calls take as long as `options` say.
    pub(crate) fn new(estate: Box<dyn Estate>, options: &Options) -> Self {
        Self {
            estate,
            latency: options.latency,
            rates: options.aws_rates.then(Buckets::default),
            calls: Calls::default(),
            times: Vec::new(),
            refused: Vec::new(),
            told: Told::default(),
        }
    }

    /// What there is.
    pub(crate) fn estate(&self) -> &dyn Estate {
        self.estate.as_ref()
    }

    /// A sweep begins: from here on calls are counted and tellings noted anew.
    pub(crate) fn begin(&mut self) {
        self.calls = Calls::default();
        self.times.clear();
        self.told = Told::default();
        self.estate.begin();
    }

    /// What was called.
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// How many calls follow one another until the last one of `action` is answered; those that
    /// overlap in time are one round. None where `action` wasn't called.
    pub(crate) fn rounds_until(&self, action: &str) -> Option<usize> {
        let ends = self.times.iter().filter(|(name, ..)| name == action);
        let until = ends.map(|(_, _, end)| *end).max()?;
        let before = self.times.iter().filter(|(_, _, end)| *end <= until);
        Some(rounds(
            before.map(|(_, begin, end)| (*begin, *end)).collect(),
        ))
    }

    /// Requests that were wrong, each with the reason.
    pub(crate) fn refused(&self) -> &[String] {
        &self.refused
    }

    /// What arrived at SNS and EventBridge.
    pub(crate) fn told(&self) -> &Told {
        &self.told
    }

    /// Answers a request to any of the services; and what was called.
    fn respond(&mut self, target: Option<&str>, body: &[u8]) -> (String, Reply) {
        const JSON: &str = "application/x-amz-json-1.1";
        let Some(target) = target else {
            let query = Query::parse(body);
            let action = query.get("Action").unwrap_or_default().to_owned();
            let reply = self.query(&action, &query);
            return (action, reply);
        };
        let name = target.split('.').next_back().unwrap_or(target);
        let service = if name == "LookupEvents" {
            "cloudtrail"
        } else {
            ""
        };
        let throttled = self.is_throttled(service, name);
        self.calls.count(name, throttled);
        let reply = if throttled {
            let refusal = Refusal::throttled(service);
            reply(refusal.status, JSON, refusal.json())
        } else {
            let answer = self.json(target, body);
            self.reply(name, answer, JSON, Refusal::json)
        };
        (name.to_owned(), reply)
    }

    fn is_throttled(&mut self, service: &str, action: &str) -> bool {
        let buckets = self.rates.as_mut();
        buckets.is_some_and(|buckets| !buckets.take(service, action, Instant::now()))
    }

    fn json(&mut self, target: &str, body: &[u8]) -> Answer {
        let request = serde_json::from_slice(body)
            .map_err(|error| Refusal::of("SerializationException", error.to_string()))?;
        match target {
            "AmazonSSM.GetParameter" => services::get_parameter(&request, &self.estate.policy()),
            "AWSEvents.PutEvents" => services::put_events(&request, &mut self.told),
            _ => self.estate.json(target, &request),
        }
    }

    /// The query protocol: its version tells the service.
    fn query(&mut self, action: &str, query: &Query) -> Reply {
        const XML: &str = "text/xml;charset=UTF-8";
        let service = match query.get("Version") {
            Some("2010-03-31") => "sns",
            Some("2010-05-08") => "iam",
            Some("2010-05-15") => "cloudformation",
            Some("2011-01-01") => "autoscaling",
            _ => "ec2",
        };
        let body: fn(&Refusal) -> String = match service {
            "ec2" => Refusal::body,
            _ => Refusal::query,
        };
        let throttled = self.is_throttled(service, action);
        if self.estate.looks_again(action, query) {
            let name = format!("{action} {LOOKING_AGAIN}");
            self.calls.count(&name, throttled);
        } else {
            self.calls.count(action, throttled);
        }
        if throttled {
            let refusal = Refusal::throttled(service);
            return reply(refusal.status, XML, body(&refusal));
        }
        let answer = match (service, action) {
            ("sns", "Publish") => services::publish(query, &mut self.told),
            ("ec2", _) => self.estate.ec2(action, query),
            _ => self.estate.query(service, action, query),
        };
        self.reply(action, answer, XML, body)
    }

    /// Makes an answer a reply, and remembers what was refused.
    fn reply(
        &mut self,
        name: &str,
        answer: Answer,
        kind: &'static str,
        body: impl Fn(&Refusal) -> String,
    ) -> Reply {
        match answer {
            Ok(body) => reply(200, kind, body),
            Err(refusal) => {
                let Refusal { code, message, .. } = &refusal;
                self.refused.push(format!("{name}: {code}: {message}"));
                reply(refusal.status, kind, body(&refusal))
            }
        }
    }
}

/// The account's endpoint; gone when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    account: Arc<Mutex<Account>>,
    endpoint: Endpoint,
    accepting: JoinHandle<()>,
}

/// Where a function finds AWS.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    /// The file of certificates that it is to trust, where it isn't the system's.
    pub(crate) roots: Option<PathBuf>,
}

impl Server {
    /// Puts `account` behind a port.
    pub(crate) async fn start(account: Account) -> io::Result<Self> {
        Self::serving(account, None).await
    }

    /// The same over TLS, as AWS itself.
    pub(crate) async fn start_tls(account: Account, tls: &Tls) -> io::Result<Self> {
        Self::serving(account, Some(tls)).await
    }

    async fn serving(account: Account, tls: Option<&Tls>) -> io::Result<Self> {
        let account = Arc::new(Mutex::new(account));
        let shared = Arc::clone(&account);
        let handler = move |request| {
            let account = Arc::clone(&shared);
            answer(account, request)
        };
        let (address, accepting) = serve(handler, tls.map(Tls::acceptor)).await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        Ok(Self {
            account,
            endpoint: Endpoint {
                url: format!("{scheme}://{address}"),
                roots: tls.map(|tls| tls.roots().to_owned()),
            },
            accepting,
        })
    }

    /// Where the SDK finds it.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
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

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers after the latency, in which the time for making the answer is contained.
async fn answer(account: Arc<Mutex<Account>>, request: Request<Incoming>) -> Reply {
    let begun = tokio::time::Instant::now();
    let target = request
        .headers()
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .map(str::to_owned);
    let Ok(body) = request.into_body().collect().await else {
        return reply(400, "text/plain", "the request broke off");
    };
    let (name, reply, latency) = {
        let mut account = locked(&account);
        let (name, reply) = account.respond(target.as_deref(), &body.to_bytes());
        (name, reply, account.latency)
    };
    tokio::time::sleep_until(begun + latency).await;
    let call = (name, begun.into_std(), Instant::now());
    locked(&account).times.push(call);
    reply
}

/// The longest chain of calls each of which begins after the one before was answered.
fn rounds(mut calls: Vec<(Instant, Instant)>) -> usize {
    calls.sort_by_key(|(_, end)| *end);
    let mut last: Option<Instant> = None;
    let mut rounds = 0;
    for (begin, end) in calls {
        if last.is_none_or(|last| last <= begin) {
            rounds += 1;
            last = Some(end);
        }
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_overlap_are_one_round() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let calls = [(0, 50), (51, 101), (52, 160), (60, 110), (161, 211)];
        let calls = calls.map(|(begin, end)| (at(begin), at(end)));
        assert_eq!(rounds(calls.to_vec()), 3);
        assert_eq!(rounds(Vec::new()), 0);
    }
}
