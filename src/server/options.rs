//! What a server is told before it begins: how it listens, whom it lets in, what holds where a request says nothing.

use crate::chat::ThinkingMode;
use crate::sample::Overrides;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Files of a certificate chain and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificates.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// How requests are told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogForm {
    /// Not at all.
    #[default]
    Off,
    /// A line for people.
    Text,
    /// A line of JSON.
    Json,
}

/// How a server listens and whom it lets in.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Addresses to listen at.
    pub hosts: Vec<IpAddr>,
    /// Port at each of them; 0 = any that is free.
    pub port: u16,
    /// Keys that clients must show one of; none = everyone who can reach the address.
    pub keys: Vec<String>,
    /// A file with one key per line, read again at SIGHUP.
    pub key_file: Option<PathBuf>,
    /// Origins whose pages may use the server; `*` = all.
    pub cors: Vec<String>,
    /// Names besides localhost and the address under which the server may be called.
    pub names: Vec<String>,
    /// Certificate and key.
    pub tls: Option<Tls>,
    /// How long running answers may go on after SIGTERM.
    pub drain: Duration,
    /// Largest body of a request in bytes.
    pub max_body: usize,
    /// Whether chat answers show their prompt and settings.
    pub verbose: bool,
    /// Whether `/metrics` answers.
    pub metrics: bool,
    /// Whether `/metrics` also uses the names that gateways of vLLM read.
    pub vllm_metrics: bool,
    /// Whether `/` shows the chat page.
    pub page: bool,
    /// Whether `/slots` tells what runs.
    pub slots: bool,
    /// The folder of uploaded files and batches; none = they go with the process.
    pub data: Option<PathBuf>,
    /// The folder of files that slots are saved in; none = they cannot be saved.
    pub slot_dir: Option<PathBuf>,
    /// How requests are told.
    pub log: LogForm,
    /// Whether the line that a coding agent puts before its system prompt, and changes with every request, stays there.
    pub keep_billing_line: bool,
}

/// What holds for a model where a request says nothing.
#[derive(Debug, Clone, Default)]
pub struct Defaults {
    /// Parameters of sampling.
    pub sampling: Overrides,
    /// Most tokens of an answer.
    pub max_tokens: Option<usize>,
    /// Seed; `None` = another one for each request.
    pub seed: Option<u64>,
    /// How much to think, where the model can be told.
    pub thinking: ThinkingMode,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            hosts: vec![IpAddr::from([127, 0, 0, 1])],
            port: 8080,
            keys: Vec::new(),
            key_file: None,
            cors: Vec::new(),
            names: Vec::new(),
            tls: None,
            drain: Duration::from_secs(30),
            max_body: 16 << 20,
            verbose: false,
            metrics: true,
            vllm_metrics: false,
            page: true,
            slots: true,
            data: None,
            slot_dir: None,
            log: LogForm::Off,
            keep_billing_line: false,
        }
    }
}
