//! The routes of the public port, and of the one on which the application publishes.

use std::{
    convert::Infallible,
    future,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use http::{HeaderMap, Method, Response, StatusCode, header};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use warp::{
    Filter, Rejection, Reply, filters::BoxedFilter, path::FullPath, reply::Response as Answer,
};

use super::{
    accept::{Peer, Routes, Secure},
    durable::{self, Call},
    form,
    gate::{self, InUrl},
    later::unserved,
    problem::{Category, not_found, problem},
    publish::{busy, publish},
    read,
    subscribe::{self, Subscription, bad_query},
    takeover::Takeover,
};
use crate::{
    auth::Right,
    count::{Refusals, Transport},
    memory::{Budgets, Memory},
    pipeline::Pipeline,
    registry::Registry,
};

/// Where a request came in, and so what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The public port: subscribe; publish where the manifest opens that.
    Public,
    /// The loopback interface or the Unix socket, which only the application reaches: publish.
    Application,
}

/// What the routes need to know.
#[derive(Debug, Clone)]
pub struct Service {
    /// The pipelines.
    pub registry: Arc<Registry>,
    /// Cancelled when subscribers are sent away.
    pub draining: CancellationToken,
    /// Cancelled when the process ends.
    pub stopping: CancellationToken,
    /// Bounds the requests that wait for something to come.
    pub waiting: Arc<Semaphore>,
    /// Says whom there is memory for.
    pub memory: Memory,
    /// Bounds what of it is taken by what is on its way.
    pub budgets: Budgets,
    /// Counts the requests that are refused, and of no pipeline.
    pub unrouted: Arc<Refusals>,
}

impl Service {
    /// Comes when nobody should wait here any more.
    pub(super) async fn leaving(&self) {
        tokio::select! {
            () = self.draining.cancelled() => {}
            () = self.stopping.cancelled() => {}
        }
    }
}

/// The routes of a door, as one filter.
#[must_use]
pub fn routes(service: &Service, door: Door) -> Routes {
    let publishing = publish_route(service, door);
    let fallback = fallback(door).map(Reply::into_response);
    let answers = match door {
        Door::Application => publishing.map(Reply::into_response).or(fallback).unify().boxed(),
        Door::Public => {
            let answers = subscribe_route(service, Transport::Sse)
                .or(subscribe_route(service, Transport::WebSocket))
                .unify()
                .or(form_route(service))
                .unify()
                .or(publishing)
                .unify()
                .or(ticket_route(service))
                .unify()
                .map(Reply::into_response)
                .or(read_route(service))
                .unify()
                .or(durable_route(service))
                .unify()
                .or(fallback)
                .unify()
                .boxed();
            // Before anything else: what is asked in plain text is to be answered by nobody.
            let exposed = plain_text_route(service).map(Reply::into_response).boxed();
            readable_by_pages(service, exposed)
                .or(preflight_route(service))
                .unify()
                .or(readable_by_pages(service, answers))
                .unify()
                .boxed()
        }
    };
    counted(service, answers)
}

/// The same answers; those that refuse something are counted, by their pipeline and their reason.
fn counted(service: &Service, answers: Routes) -> Routes {
    let (registry, unrouted) = (Arc::clone(&service.registry), Arc::clone(&service.unrouted));
    warp::path::full()
        .and(answers)
        .map(move |path: FullPath, response: Answer| {
            if let Some(Category(reason)) = response.extensions().get() {
                match pipeline_of(&registry, &path) {
                    Some(pipeline) => pipeline.hub().accounts().refused.count(reason),
                    None => unrouted.count(reason),
                }
            }
            response
        })
        .boxed()
}

type Route = BoxedFilter<(Response<Vec<u8>>,)>;

/// Answers what would be read by others on the way, and is not to be: before any other route.
fn plain_text_route(service: &Service) -> Route {
    let registry = Arc::clone(&service.registry);
    warp::path::param::<String>()
        .and(secure())
        .and_then(move |name: String, secure: bool| {
            let asks = registry.get(&name).filter(|pipeline| pipeline.hub().settings().tls);
            let exposed = !secure && asks.is_some();
            async move { if exposed { Ok(plain_text(&name)) } else { Err(warp::reject()) } }
        })
        .boxed()
}

/// Takes a path as it is written: without a slash behind it, which [`warp::path::end`] doesn't see.
fn exact() -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::path::full()
        .and_then(|path: FullPath| {
            let is_exact = !path.as_str().ends_with('/');
            future::ready(if is_exact { Ok(()) } else { Err(warp::reject()) })
        })
        .untuple_one()
}

/// Whether a request came over TLS.
fn secure() -> impl Filter<Extract = (bool,), Error = Infallible> + Clone {
    warp::ext::optional::<Secure>().map(|secure: Option<Secure>| secure.is_some())
}

/// Where a request came from.
fn address() -> impl Filter<Extract = (IpAddr,), Error = Infallible> + Clone {
    let here = Peer(Ipv4Addr::UNSPECIFIED.into());
    warp::ext::optional::<Peer>().map(move |peer: Option<Peer>| peer.unwrap_or(here).0)
}

fn plain_text(name: &str) -> Response<Vec<u8>> {
    let detail = format!(
        "{name} is served over TLS only, as spec.endpoints.tls says: use https:// or wss:// on this port"
    );
    problem("plain_text", StatusCode::MISDIRECTED_REQUEST, detail)
}

fn subscribe_route(service: &Service, transport: Transport) -> Route {
    let service = service.clone();
    let endpoint = match transport {
        Transport::Sse => "sse",
        Transport::WebSocket => "ws",
    };
    exact()
        .and(warp::path::param::<String>())
        .and(warp::path(endpoint))
        .and(warp::path::end())
        .and(warp::get())
        .and(subscription())
        .then(move |name: String, subscription: Subscription| {
            let service = service.clone();
            async move {
                match service.registry.get(&name) {
                    Some(pipeline) => {
                        subscribe::serve(transport, &service, &pipeline, subscription).await
                    }
                    None => {
                        let sse = transport == Transport::Sse;
                        let subscriber = sse.then_some(&subscription.headers);
                        unknown_to(&service.registry, &name, Door::Public, subscriber)
                    }
                }
            }
        })
        .boxed()
}

/// Subscribes by what stands in the body of the request.
fn form_route(service: &Service) -> Route {
    let service = service.clone();
    exact()
        .and(warp::path!(String / "sse"))
        .and(has_form())
        .and(subscription())
        .and(warp::body::stream())
        .then(move |name: String, subscription: Subscription, body| {
            let service = service.clone();
            async move {
                let Some(pipeline) = service.registry.get(&name) else {
                    let subscriber = Some(&subscription.headers);
                    return unknown_to(&service.registry, &name, Door::Public, subscriber);
                };
                if !subscribe::offers_sse(&pipeline) {
                    return subscribe::not_served(&pipeline, "sse");
                }
                let Subscription { query, headers, in_url: _, takeover } = subscription;
                let query = match form::read(query, &headers, body, &service).await {
                    Ok(query) => query,
                    Err(refusal) => return refusal,
                };
                let in_url = InUrl::of(&query);
                let subscription = Subscription { query, headers, in_url, takeover };
                subscribe::serve(Transport::Sse, &service, &pipeline, subscription).await
            }
        })
        .boxed()
}

/// Takes a method whose body says what is asked for.
fn has_form() -> impl Filter<Extract = (), Error = Rejection> + Clone {
    warp::method()
        .and_then(|method: Method| {
            future::ready(if form::has_body(&method) { Ok(()) } else { Err(warp::reject()) })
        })
        .untuple_one()
}

fn publish_route(service: &Service, door: Door) -> Route {
    let service = service.clone();
    exact()
        .and(warp::path!(String / "events"))
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .and(in_url())
        .and(warp::body::stream())
        .then(move |name: String, headers: HeaderMap, in_url: InUrl, body| {
            let service = service.clone();
            async move {
                match service.registry.get(&name) {
                    Some(_) if is_cross_site(door, &headers) => cross_site(),
                    Some(pipeline) if door == Door::Application => {
                        publish(&pipeline, &headers, body, &service).await
                    }
                    Some(pipeline) if pipeline.hub().settings().publish => {
                        let right = Right::Publish;
                        match gate::admit(&pipeline, &headers, &in_url, right).await {
                            Ok(_) => publish(&pipeline, &headers, body, &service).await,
                            Err(refusal) => *refusal,
                        }
                    }
                    Some(_) => closed(&name),
                    None => unknown(&service.registry, &name, door),
                }
            }
        })
        .boxed()
}

fn read_route(service: &Service) -> Routes {
    let service = service.clone();
    exact()
        .and(warp::path!(String / "events"))
        .and(warp::get().or(warp::head()).unify())
        .and(query())
        .and(warp::header::headers_cloned())
        .and(address())
        .then(move |name: String, query: String, headers: HeaderMap, address| {
            let service = service.clone();
            async move {
                match service.registry.get(&name) {
                    Some(pipeline) if pipeline.hub().settings().read => {
                        let who = (&headers, &InUrl::of(&query), address);
                        held(read_page(&pipeline, &query, who, &service).await, &service)
                    }
                    Some(_) => {
                        let detail = format!(
                            "the pipeline {name} is not read by GET: set spec.endpoints.read"
                        );
                        not_found(detail).into_response()
                    }
                    None => unknown(&service.registry, &name, Door::Public).into_response(),
                }
            }
        })
        .boxed()
}

async fn read_page(
    pipeline: &Pipeline,
    query: &str,
    (headers, in_url, address): (&HeaderMap, &InUrl, IpAddr),
    service: &Service,
) -> Response<Vec<u8>> {
    let query = match read::Query::read(query) {
        Ok(query) => query,
        Err(error) => return bad_query(&error.to_string()),
    };
    match gate::admit(pipeline, headers, in_url, Right::Subscribe).await {
        Ok(grant) => {
            let mut page = read::serve(pipeline, &query, headers, (&grant, address), service).await;
            gate::keep_private(pipeline.guard(), page.headers_mut());
            page
        }
        Err(refusal) => *refusal,
    }
}

/// A page that counts as memory of the pages until it is sent.
fn held(page: Response<Vec<u8>>, service: &Service) -> Answer {
    let mut part = service.budgets.pages.part();
    if !part.grow(page.body().len()) {
        let detail =
            "as many bytes are on their way to readers as there may be: ask again in a while";
        return busy(detail).into_response();
    }
    page.map(|body| part.with(body)).into_response()
}

fn ticket_route(service: &Service) -> Route {
    let registry = Arc::clone(&service.registry);
    exact()
        .and(warp::path!(String / "ticket"))
        .and(warp::post())
        .and(warp::header::headers_cloned())
        .then(move |name: String, headers: HeaderMap| {
            let registry = Arc::clone(&registry);
            async move {
                match registry.get(&name) {
                    Some(pipeline) => gate::ticket(&pipeline, &headers).await,
                    None => unknown(&registry, &name, Door::Public),
                }
            }
        })
        .boxed()
}

fn durable_route(service: &Service) -> Routes {
    let service = service.clone();
    warp::path::param::<String>()
        .and(warp::path("streams"))
        .and(call())
        .and(warp::body::stream())
        .then(move |name: String, call, body| {
            let service = service.clone();
            async move {
                match service.registry.get(&name) {
                    Some(pipeline) => durable::serve(&pipeline, call, body, &service).await,
                    None => unknown(&service.registry, &name, Door::Public).into_response(),
                }
            }
        })
        .boxed()
}

/// All of a request about a durable stream but its body.
fn call() -> impl Filter<Extract = (Call,), Error = Rejection> + Clone {
    warp::path::tail()
        .and(warp::method())
        .and(warp::query::<Vec<(String, String)>>())
        .and(warp::header::headers_cloned())
        .and(in_url())
        .and(secure())
        .and(address())
        .map(|tail: warp::path::Tail, method, query, headers, in_url, secure, address| {
            let tail = tail.as_str().to_owned();
            Call { method, tail, query, headers, in_url, secure, address }
        })
}

/// What a browser asks before a page of another origin does something, where the pipeline has rules for
/// such pages.
fn preflight_route(service: &Service) -> Routes {
    let registry = Arc::clone(&service.registry);
    warp::options()
        .and(warp::path::full())
        .and(warp::header::headers_cloned())
        .and_then(move |path: FullPath, headers: HeaderMap| {
            let answered = pipeline_of(&registry, &path);
            let answered = answered
                .and_then(|pipeline| gate::preflight(pipeline.guard(), &Method::OPTIONS, &headers));
            future::ready(answered.map(Reply::into_response).ok_or_else(warp::reject))
        })
        .boxed()
}

/// The same answers, errors among them, with what lets pages of allowed origins read them.
fn readable_by_pages(service: &Service, answers: Routes) -> Routes {
    let registry = Arc::clone(&service.registry);
    warp::path::full()
        .and(warp::header::headers_cloned())
        .and(answers)
        .map(move |path: FullPath, headers: HeaderMap, mut response: Answer| {
            let pipeline = pipeline_of(&registry, &path);
            if let Some(cors) = pipeline.as_ref().and_then(|pipeline| pipeline.guard().cors()) {
                cors.allow(&headers, response.headers_mut());
            }
            response
        })
        .boxed()
}

fn pipeline_of(registry: &Registry, path: &FullPath) -> Option<Arc<Pipeline>> {
    registry.get(path.as_str().split('/').nth(1)?)
}

/// The query, the headers and the connection of a subscriber.
fn subscription() -> impl Filter<Extract = (Subscription,), Error = Rejection> + Clone {
    query().and(warp::header::headers_cloned()).and(warp::ext::get::<Takeover>()).map(
        |query: String, headers, takeover| {
            let in_url = InUrl::of(&query);
            Subscription { query, headers, in_url, takeover }
        },
    )
}

/// The query as it stands in the URL.
fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Clone {
    warp::query::raw().or(warp::any().map(String::new)).unify()
}

/// What the URL shows.
fn in_url() -> impl Filter<Extract = (InUrl,), Error = Infallible> + Clone {
    query().map(|query: String| InUrl::of(&query))
}

/// Whether a web page sent this to the application's door. Browsers send some POSTs to the loopback
/// interface for any page, without asking first; an application is no page, and sends no origin.
fn is_cross_site(door: Door, headers: &HeaderMap) -> bool {
    door == Door::Application && headers.contains_key(header::ORIGIN)
}

fn cross_site() -> Response<Vec<u8>> {
    let detail = "a web page can't publish here: publish from the application, or from the page to the \
                  public port, where spec.endpoints.publish opens it";
    problem("cross_site", StatusCode::FORBIDDEN, detail)
}

fn closed(name: &str) -> Response<Vec<u8>> {
    let detail = format!(
        "publishing to {name} is not open on the public port: publish from the application's own pod, or \
         set spec.endpoints.publish in the StreamPipeline"
    );
    problem("forbidden", StatusCode::FORBIDDEN, detail)
}

fn unknown(registry: &Registry, name: &str, door: Door) -> Response<Vec<u8>> {
    unknown_to(registry, name, door, None)
}

/// Says that there is no such pipeline, and which there are that everybody may read; to the application, which
/// all of them are for, all.
fn unknown_to(
    registry: &Registry,
    name: &str,
    door: Door,
    subscriber: Option<&HeaderMap>,
) -> Response<Vec<u8>> {
    if registry.refused().is_some() {
        return unserved(name, subscriber);
    }
    let all = registry.all();
    let told = |pipeline: &Pipeline| door == Door::Application || pipeline.guard().is_open();
    let told: Vec<_> =
        all.iter().filter(|(_, one)| told(one)).map(|(name, _)| name.as_str()).collect();
    let served = match (told.is_empty(), door) {
        (false, _) => format!("; served are: {}", told.join(", ")),
        (true, Door::Application) => "; none is served".to_owned(),
        (true, Door::Public) => String::new(),
    };
    not_found(format!("there is no pipeline {name} here{served}"))
}

/// What answers a request that no route takes.
fn fallback(door: Door) -> impl Filter<Extract = (Response<Vec<u8>>,), Error = Infallible> + Clone {
    warp::any().and(warp::method()).and(warp::path::full()).map(
        move |method: Method, path: FullPath| {
            match (door, endpoint(path.as_str()), &method) {
                (Door::Public, "sse", method) if *method != Method::GET => {
                    not_allowed("GET, POST, QUERY")
                }
                (Door::Public, "ws", method) if *method != Method::GET => not_allowed("GET"),
                (Door::Public, "events", _) => not_allowed("GET, HEAD, POST"),
                (Door::Application, "events", _) => not_allowed("POST"),
                (Door::Public, "ticket", _) => not_allowed("POST"),
                (Door::Public, _, _) => not_found(
                    "served here are GET /{pipeline}/sse, GET /{pipeline}/ws, GET and POST /{pipeline}/events, \
                     /{pipeline}/streams/{path} and, where spec.auth.tickets is set, POST /{pipeline}/ticket",
                ),
                (Door::Application, _, _) => not_found("served here is POST /{pipeline}/events"),
            }
        },
    )
}

/// The endpoint that a path names; none, where it is not of the form `/{pipeline}/{endpoint}`.
fn endpoint(path: &str) -> &str {
    let mut parts = path.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(""), Some(pipeline), Some(endpoint), None) if !pipeline.is_empty() => endpoint,
        _ => "",
    }
}

fn not_allowed(allowed: &'static str) -> Response<Vec<u8>> {
    let detail = format!("this path takes {allowed} only");
    let mut response = problem("method", StatusCode::METHOD_NOT_ALLOWED, detail);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    response
}
