//! THE ROUTE TABLE, and what every request passes before its handler.

use super::auth;
use super::dialect::{Dialect, OPENAI};
use super::error::ApiError;
use super::log::{Asker, Note};
use super::state::{Access, Call, HandlerAnswer, Route, State, over};
use super::{
    anthropic, completion, decisions, embeddings, files, llama_server, ollama, openai, openapi, responses, resume,
    slots,
};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Largest head of a request.
pub(super) const HEAD_BYTES: usize = 64 << 10;
/// Longest time that a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);

macro_rules! most {
    () => {
        None
    };
    ($most:path) => {
        Some($most)
    };
}

macro_rules! table {
    ($($method:literal $path:literal [$dialect:path] $access:ident $($most:path)?, $handler:path => $doc:ident;)*) => {
        &[$(Route {
            method: $method,
            path: $path,
            dialect: &$dialect,
            access: Access::$access,
            max_body: most!($($most)?),
            doc: openapi::$doc,
            handler: |state, call| Box::pin($handler(state, call)),
        }),*]
    };
}

/// All routes: method, path, dialect, who may use it, the largest body if it is not that of all requests, the function, and what
/// the document says of it.
pub(super) const ROUTES: &[Route] = table! {
    "GET" "/health" [OPENAI] Public, llama_server::health => HEALTH;
    "GET" "/v1/health" [OPENAI] Public, llama_server::health => HEALTH;
    "GET" "/livez" [OPENAI] Public, llama_server::live => LIVE;
    "GET" "/readyz" [OPENAI] Public, llama_server::health => HEALTH;
    "GET" "/openapi.json" [OPENAI] Keyed, openapi::document => DOCUMENT;
    "GET" "/version" [OPENAI] Keyed, llama_server::version => VERSION;
    "GET" "/metrics" [OPENAI] Keyed, llama_server::metrics => METRICS;
    "GET" "/props" [OPENAI] Keyed, llama_server::props => PROPS;
    "GET" "/slots" [OPENAI] Keyed, slots::list => SLOTS;
    "POST" "/slots/{id}" [OPENAI] Keyed, slots::act => SLOT;
    "POST" "/tokenize" [OPENAI] Keyed, llama_server::tokenize => TOKENIZE;
    "POST" "/detokenize" [OPENAI] Keyed, llama_server::detokenize => DETOKENIZE;
    "POST" "/apply-template" [OPENAI] Keyed, openai::apply_template => TEMPLATE;
    "POST" "/completion" [OPENAI] Keyed, completion::completion => COMPLETION;
    "POST" "/completions" [OPENAI] Keyed, completion::completion => COMPLETION;
    "GET" "/models" [OPENAI] Keyed, openai::models => MODELS;
    "POST" "/models/load" [OPENAI] Keyed, llama_server::load => LOAD;
    "POST" "/models/unload" [OPENAI] Keyed, llama_server::unload => UNLOAD;
    "GET" "/v1/models" [OPENAI] Keyed, openai::models => MODELS;
    "GET" "/v1/models/{*name}" [OPENAI] Keyed, openai::model => MODEL;
    "POST" "/chat/completions" [OPENAI] Keyed, openai::chat => CHAT;
    "POST" "/v1/chat/completions" [OPENAI] Keyed, openai::chat => CHAT;
    "POST" "/chat/completions/control" [OPENAI] Keyed, openai::control => CONTROL;
    "POST" "/v1/chat/completions/control" [OPENAI] Keyed, openai::control => CONTROL;
    "POST" "/v1/completions" [OPENAI] Keyed, openai::completions => COMPLETIONS;
    "POST" "/chat/completions/input_tokens" [OPENAI] Keyed, openai::input_tokens => CHAT_TOKENS;
    "POST" "/v1/chat/completions/input_tokens" [OPENAI] Keyed, openai::input_tokens => CHAT_TOKENS;
    "POST" "/responses" [OPENAI] Keyed, responses::create => RESPONSES;
    "POST" "/responses/input_tokens" [OPENAI] Keyed, responses::input_tokens => RESPONSES_TOKENS;
    "POST" "/v1/responses/input_tokens" [OPENAI] Keyed, responses::input_tokens => RESPONSES_TOKENS;
    "POST" "/v1/responses" [OPENAI] Keyed, responses::create => RESPONSES;
    "GET" "/v1/responses/{id}" [OPENAI] Keyed, responses::get => RESPONSE;
    "GET" "/v1/responses/{id}/input_items" [OPENAI] Keyed, responses::input_items => RESPONSE_ITEMS;
    "DELETE" "/v1/responses/{id}" [OPENAI] Keyed, responses::delete => RESPONSE_GONE;
    "POST" "/v1/responses/{id}/cancel" [OPENAI] Keyed, responses::cancel => RESPONSE_CANCEL;
    "GET" "/v1/stream" [OPENAI] Keyed, resume::follow => STREAM;
    "DELETE" "/v1/stream" [OPENAI] Keyed, resume::stop => STREAM_STOP;
    "POST" "/v1/streams/lookup" [OPENAI] Keyed, resume::lookup => STREAMS;
    "POST" "/v1/files" [OPENAI] Keyed files::MAX_FILE, files::upload => UPLOAD;
    "GET" "/v1/files" [OPENAI] Keyed, files::files => FILES;
    "GET" "/v1/files/{id}" [OPENAI] Keyed, files::file => FILE;
    "GET" "/v1/files/{id}/content" [OPENAI] Keyed, files::content => FILE_CONTENT;
    "DELETE" "/v1/files/{id}" [OPENAI] Keyed, files::delete => FILE_GONE;
    "POST" "/v1/batches" [OPENAI] Keyed, files::create => BATCH;
    "GET" "/v1/batches" [OPENAI] Keyed, files::batches => BATCHES;
    "GET" "/v1/batches/{id}" [OPENAI] Keyed, files::batch => BATCH_ONE;
    "POST" "/v1/batches/{id}/cancel" [OPENAI] Keyed, files::cancel => BATCH_CANCEL;
    "POST" "/v1/decisions" [OPENAI] Keyed, decisions::create => DECISIONS;
    "POST" "/infill" [OPENAI] Keyed, completion::infill => INFILL;
    "POST" "/embedding" [OPENAI] Keyed, embeddings::plain => EMBED_PLAIN;
    "POST" "/embeddings" [OPENAI] Keyed, embeddings::plain => EMBED_PLAIN;
    "POST" "/v1/embeddings" [OPENAI] Keyed, embeddings::embeddings => EMBEDDINGS;
    "POST" "/rerank" [OPENAI] Keyed, embeddings::rerank => RERANK;
    "POST" "/reranking" [OPENAI] Keyed, embeddings::rerank => RERANK;
    "POST" "/v1/rerank" [OPENAI] Keyed, embeddings::rerank => RERANK;
    "POST" "/v1/reranking" [OPENAI] Keyed, embeddings::rerank => RERANK;
    "POST" "/v1/messages" [anthropic::DIALECT] Keyed, anthropic::messages => MESSAGES;
    "POST" "/v1/messages/count_tokens" [anthropic::DIALECT] Keyed, anthropic::count_tokens => COUNT;
    "GET" "/" [ollama::DIALECT] Public, ollama::root => ROOT;
    "GET" "/api/version" [ollama::DIALECT] Keyed, ollama::version => VERSION;
    "GET" "/api/tags" [ollama::DIALECT] Keyed, ollama::tags => TAGS;
    "GET" "/api/ps" [ollama::DIALECT] Keyed, ollama::ps => PS;
    "POST" "/api/show" [ollama::DIALECT] Keyed, ollama::show => SHOW;
    "POST" "/api/chat" [ollama::DIALECT] Keyed, ollama::chat => OLLAMA_CHAT;
    "POST" "/api/generate" [ollama::DIALECT] Keyed, ollama::generate => GENERATE;
    "POST" "/api/embed" [ollama::DIALECT] Keyed, embeddings::embed => OLLAMA_EMBED;
    "POST" "/api/embeddings" [ollama::DIALECT] Keyed, embeddings::ollama_old => OLLAMA_EMBED_OLD;
};

/// Whether a path of the table is this one: `{id}` stands for one part, `{*name}` for all that are left.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return true,
            (Some(own), Some(part)) if own.starts_with("{*") => return !part.is_empty() || parts.next().is_some(),
            (Some(own), Some(part)) if own == part || own.starts_with('{') && !part.is_empty() => {}
            _ => return false,
        }
    }
}

/// Whose errors a client expects at a path that leads nowhere.
fn dialect_of(path: &str) -> &'static Dialect {
    let is_its = |dialect: &&Dialect| dialect.prefix.is_some_and(|prefix| path.starts_with(prefix));
    ROUTES.iter().map(|route| route.dialect).find(is_its).unwrap_or(&OPENAI)
}

/// What of the table a request is about.
struct Found {
    /// The path, without slashes at its end.
    path: String,
    /// The route of the path and the method.
    route: Option<&'static Route>,
    /// All routes of the path.
    on_path: Vec<&'static Route>,
    /// Whose form its errors have.
    dialect: &'static Dialect,
}

impl Found {
    fn at(path: &str, method: &Method) -> Self {
        let path = path.trim_end_matches('/');
        let path = if path.is_empty() { "/" } else { path };
        // A path of its own comes before those that it could be a part of.
        let exact = ROUTES.iter().any(|route| route.path == path);
        let is_on_path = |route: &&Route| if exact { route.path == path } else { matches(route.path, path) };
        let on_path: Vec<_> = ROUTES.iter().filter(is_on_path).collect();
        // The head of an answer is that of the answer: what follows it is left out where it is sent.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let route = on_path.iter().copied().find(|route| route.method == method.as_str());
        let dialect = route.or(on_path.first().copied()).map_or_else(|| dialect_of(path), |route| route.dialect);
        Self { path: path.to_owned(), route, on_path, dialect }
    }

    /// The methods that the path has.
    fn methods(&self) -> String {
        let methods =
            |route: &&'static Route| if route.method == "GET" { vec!["GET", "HEAD"] } else { vec![route.method] };
        self.on_path.iter().flat_map(methods).collect::<Vec<_>>().join(", ")
    }

    /// The route, or why there is none.
    fn route(&self, method: &Method) -> Result<&'static Route, ApiError> {
        match self.route {
            Some(route) => Ok(route),
            None if self.on_path.is_empty() => Err(ApiError::not_found(format!("there is no {method} {}", self.path))),
            None => Err(ApiError::method_not_allowed(&self.methods())),
        }
    }
}

/// Answers a request, whatever it is.
pub(super) async fn answer(state: Arc<State>, peer: std::net::IpAddr, request: Request<Body>) -> Response<Body> {
    let number = state.requests.fetch_add(1, Ordering::Relaxed);
    let (parts, body) = request.into_parts();
    let id = request_id(&parts.headers, number);
    let found = Found::at(parts.uri.path(), &parts.method);
    let told_method = |route: &Route| if parts.method == Method::HEAD { "HEAD" } else { route.method };
    let note = Note::new(&state.log, &id, found.route.map(|route| (told_method(route), route.path)));
    let asker = Asker { client: client(&parts.headers, peer), owner: 0, note: Arc::clone(&note) };
    let outcome = handled(&state, &parts, body, &found, &id, asker).await;
    let mut response = outcome.unwrap_or_else(|error| found.dialect.response(&error, &id));
    add_heads(&mut response, &id, &found, auth::allowed_origin(&state.options, &parts.headers));
    state.metrics.answered(response.status().as_u16());
    note.status(response.status().as_u16());
    response
}

/// What a request passes before its handler, and the handler's answer.
async fn handled(
    state: &Arc<State>,
    parts: &Parts,
    body: Body,
    found: &Found,
    id: &str,
    asker: Asker,
) -> HandlerAnswer {
    check_head(state, parts)?;
    // Whether a page may use the server is told by the origin in the answer's head, or its absence.
    if parts.method == Method::OPTIONS && parts.headers.contains_key(header::ORIGIN) {
        return Ok(preflight(&parts.headers));
    }
    let key = match found.route.map(|route| route.access) {
        Some(Access::Public) => None,
        Some(Access::Keyed) | None => state.keys.check(&parts.headers)?,
    };
    let owner = key.as_ref().map_or(0, |key| key.owner());
    asker.note.key(key);
    let route = found.route(&parts.method)?;
    let body = read_body(route.max_body.unwrap_or(state.options.max_body), body).await?;
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let call = Call {
        body,
        uri: parts.uri.clone(),
        id: id.to_owned(),
        wants_page: text(header::ACCEPT).contains("text/html"),
        content_type: text(header::CONTENT_TYPE).to_owned(),
        asker: Asker { owner, ..asker },
    };
    let named = resume::conversation(&parts.headers)?;
    match named.filter(|_| route.method == "POST" && route.doc.may_stream()) {
        None => run(state, route, call).await,
        // It goes on without the client, whether it comes as a stream or as a whole.
        Some(name) => {
            let (state, dialect) = (Arc::clone(state), found.dialect);
            let kept = async move {
                let answer = run(&state, route, call).await?;
                Ok(state.streams.keep(owner, name, dialect, answer))
            };
            tokio::spawn(kept).await.unwrap_or_else(|_| Err(ApiError::stopping()))
        }
    }
}

/// Whether a request's head is one that is answered at all, and not from a page that must not use the server.
fn check_head(state: &State, parts: &Parts) -> Result<(), ApiError> {
    if parts.uri.path().is_empty() {
        return Err(ApiError::bad("the request names no path"));
    }
    // The reader takes somewhat more than its buffer holds.
    if parts.uri.to_string().len() + head_length(&parts.headers) > HEAD_BYTES {
        return Err(ApiError::head_too_large(HEAD_BYTES));
    }
    auth::check_host(&state.options, parts.version, &parts.headers)?;
    // What a browser sends by itself to a server that asks for no key is not what its user wants.
    if !state.keys.are_wanted() && !parts.method.is_safe() {
        auth::check_page(&state.options, &parts.headers)?;
    }
    Ok(())
}

/// Adds what every answer says in its head: its number, the methods of the path, and what a page of `origin` may read.
fn add_heads(response: &mut Response<Body>, id: &str, found: &Found, origin: Option<(HeaderValue, bool)>) {
    /// What a page may read beside the body.
    const EXPOSED: &str = "x-request-id, x-warnings, x-ignored-fields, retry-after";
    let is_other_method = response.status() == StatusCode::METHOD_NOT_ALLOWED;
    let heads = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        heads.insert("x-request-id", id);
    }
    if let (true, Ok(allowed)) = (is_other_method, HeaderValue::from_str(&found.methods())) {
        heads.insert(header::ALLOW, allowed);
    }
    if let Some((origin, credentials)) = origin {
        heads.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if credentials {
            heads.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        heads.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        heads.insert(header::VARY, HeaderValue::from_static("origin"));
    }
}

/// The answer of a route's handler, which may break or be cut by the server's end.
async fn run(state: &Arc<State>, route: &Route, call: Call) -> HandlerAnswer {
    let answer = AssertUnwindSafe(route.call(Arc::clone(state), call)).catch_unwind();
    tokio::select! {
        answer = answer => {
            answer.unwrap_or_else(|_| Err(ApiError::internal("this request failed inside the server")))
        }
        () = over(state.deadline.subscribe()) => Err(ApiError::stopping()),
    }
}

/// Bytes of the lines of a head.
fn head_length(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// What a page of an allowed site may send: with credentials a `*` would be taken for a header of that name.
fn preflight(asked: &HeaderMap) -> Response<Body> {
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(HeaderValue::from_static("*")));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

async fn read_body(limit: usize, body: Body) -> Result<Bytes, ApiError> {
    // What is announced as too large is not waited for.
    if axum::body::HttpBody::size_hint(&body).lower() > limit as u64 {
        return Err(ApiError::too_large(limit));
    }
    match tokio::time::timeout(BODY_TIME, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(why)) if std::error::Error::source(&why).is_some_and(|why| why.to_string().contains("limit")) => {
            Err(ApiError::too_large(limit))
        }
        Ok(Err(why)) => Err(ApiError::bad(format!("the body cannot be read: {why}"))),
        Err(_) => Err(ApiError::timeout("the body did not arrive in time")),
    }
}

/// The client's own number for the request, if it is harmless, else one of ours.
fn request_id(headers: &HeaderMap, number: u64) -> String {
    let own = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    own.filter(harmless).map_or_else(|| format!("req_{:08x}_{number:x}", this_start()), str::to_owned)
}

/// A number that no other start of a server has: in containers all have the same process id.
fn this_start() -> u32 {
    static START: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *START.get_or_init(|| crate::sample::random_seed() as u32)
}

/// Who asks, for fairness: by what is shown as a key, even where none is wanted, else by address.
fn client(headers: &HeaderMap, peer: std::net::IpAddr) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    match headers.get("authorization").or_else(|| headers.get("x-api-key")) {
        Some(key) => key.as_bytes().hash(&mut hash),
        None => peer.hash(&mut hash),
    }
    hash.finish()
}
