//! What became of each request: one line when it has ended, which holds nothing of what was said.

use super::auth::ApiKey;
use super::options::LogForm;
use crate::Error;
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a server reports to its caller.
#[derive(Debug)]
pub enum Notice {
    /// It listens at this address.
    Listening(SocketAddr),
    /// It has read its keys again, on request, and has so many.
    Reloaded(usize),
    /// It could not read its keys or certificates again: the old ones stay.
    NotReloaded(Error),
    /// The line that a coding agent changes with every request was taken out of a system prompt: the first time.
    LineDropped,
    /// What became of a request, in the form that was asked for.
    Request(String),
}

/// Who is told.
pub type OnNotice = Arc<dyn Fn(Notice) + Send + Sync>;

/// Where lines go. What cannot keep up with them loses some: no request waits for that.
#[derive(Default)]
pub(super) struct Log {
    form: LogForm,
    out: Option<SyncSender<Notice>>,
    told_of_line: AtomicBool,
}

impl Log {
    pub(super) fn new(form: LogForm, out: SyncSender<Notice>) -> Self {
        Self { form, out: Some(out), told_of_line: AtomicBool::new(false) }
    }

    fn tell(&self, notice: Notice) {
        if let Some(out) = &self.out {
            drop(out.try_send(notice));
        }
    }

    /// The changing line was taken out of a system prompt: that is said once.
    pub(super) fn line_dropped(&self) {
        if !self.told_of_line.swap(true, Ordering::Relaxed) {
            self.tell(Notice::LineDropped);
        }
    }
}

/// Who asks, and what is noted of the request.
#[derive(Clone)]
pub(super) struct Asker {
    /// For fairness: by key, else by address.
    pub(super) client: u64,
    /// Whose files, answers, slots and streams it may use: those of the same key.
    pub(super) owner: u64,
    pub(super) note: Arc<Note>,
}

/// What is noted of a request. It is reported when all work on the request has ended.
pub(super) struct Note {
    log: Arc<Log>,
    id: String,
    method: &'static str,
    /// The row of the route table: paths may hold names.
    route: &'static str,
    began: Instant,
    told: Mutex<SaidOfRequest>,
}

#[derive(Default)]
struct SaidOfRequest {
    key: Option<Arc<ApiKey>>,
    status: Option<u16>,
    model: Option<String>,
    prompt: usize,
    cached: usize,
    generated: usize,
    first_token: Option<Duration>,
    end: Option<&'static str>,
}

impl Note {
    /// A request for this route; none where there is no such route.
    pub(super) fn new(log: &Arc<Log>, id: &str, route: Option<(&'static str, &'static str)>) -> Arc<Self> {
        let (method, route) = route.unwrap_or(("-", "-"));
        let (log, id, told) = (Arc::clone(log), id.to_owned(), Mutex::default());
        Arc::new(Self { log, id, method, route, began: Instant::now(), told })
    }

    fn told(&self) -> MutexGuard<'_, SaidOfRequest> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn key(&self, key: Option<Arc<ApiKey>>) {
        self.told().key = key;
    }

    pub(super) fn status(&self, status: u16) {
        self.told().status = Some(status);
    }

    pub(super) fn model(&self, name: &str) {
        self.told().model = Some(name.to_owned());
    }

    /// So many tokens of a prompt are read.
    pub(super) fn prompt(&self, tokens: usize) {
        self.told().prompt += tokens;
    }

    /// So many of them were in the cache.
    pub(super) fn cached(&self, tokens: usize) {
        self.told().cached += tokens;
    }

    /// An answer has begun.
    pub(super) fn first_token(&self) {
        self.told().first_token.get_or_insert(self.began.elapsed());
    }

    /// So many tokens of answers have come.
    pub(super) fn generated(&self, tokens: usize) {
        self.told().generated += tokens;
    }

    /// An answer has ended.
    pub(super) fn ended(&self, why: &'static str) {
        self.told().end = Some(why);
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let line = match self.log.form {
            LogForm::Off => return,
            LogForm::Json => self.as_json().to_string(),
            LogForm::Text => self.as_text(),
        };
        self.log.tell(Notice::Request(line));
    }
}

fn time() -> String {
    format!("{:.3}", crate::units::now())
}

fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e3).round() / 1e3
}

impl Note {
    fn as_json(&self) -> Value {
        let told = self.told();
        json!({
            "time": time(), "request_id": self.id, "key": told.key.as_ref().map(|key| key.name()),
            "method": self.method, "route": self.route, "model": told.model, "status": told.status,
            "prompt_tokens": told.prompt, "cached_tokens": told.cached, "generated_tokens": told.generated,
            "first_token_s": told.first_token.map(seconds), "duration_s": seconds(self.began.elapsed()),
            "end": told.end,
        })
    }

    fn as_text(&self) -> String {
        let told = self.told();
        let mut line = format!("{} {} {} {}", time(), self.id, self.method, self.route);
        let _ = write!(line, " {}", told.status.map_or_else(|| "-".to_owned(), |status| status.to_string()));
        if let Some(model) = &told.model {
            let _ = write!(line, " model={model}");
        }
        if told.prompt > 0 {
            let (prompt, cached, generated) = (told.prompt, told.cached, told.generated);
            let _ = write!(line, " prompt={prompt} cached={cached} generated={generated}");
        }
        if let Some(first) = told.first_token {
            let _ = write!(line, " first={}s", seconds(first));
        }
        let _ = write!(line, " took={}s", seconds(self.began.elapsed()));
        if let Some(end) = told.end {
            let _ = write!(line, " end={end}");
        }
        if let Some(key) = &told.key {
            let _ = write!(line, " key={}", key.name());
        }
        line
    }
}
