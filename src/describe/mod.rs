//! What is in a model file, without loading it: for `show`, for the server's model list, and to say what cannot be run
//! before anything is tried. Nothing here fails on a model that cannot be run; the reasons become [`Description::problems`].

mod memory;
mod problems;
mod talk;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::Serialize;

pub use memory::{CONTEXTS, MemoryUse};
pub use talk::{ChatTemplate, Sampling};

use crate::arch::{self, Rope, RopeScaling, Spec};
use crate::gguf::{Gguf, MetaValue, TensorFormat, TensorInfo, layout_name};
use crate::shapes::Recipe;

/// A model, described.
#[derive(Debug, Clone, Serialize)]
pub struct Description {
    /// `general.name`, else the file's name.
    pub name: String,
    /// The file that was opened.
    #[serde(serialize_with = "crate::text::path")]
    pub path: PathBuf,
    /// Number of files.
    pub files: usize,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// `general.architecture`, where it is a text.
    pub architecture: Option<String>,
    /// The recipe of its quantization (`Q4_K_M`), else the format that most of its bytes are in.
    pub quantization: String,
    /// How the rows of its weights lie: `plain` as in GGUF files, or `interleaved`.
    pub layout: &'static str,
    /// Number of weights.
    pub parameters: u64,
    /// Weights that one token passes: fewer than all where there are experts.
    pub active_parameters: u64,
    /// Bytes of all tensors.
    pub weight_bytes: u64,
    /// Formats, those with most bytes first.
    pub formats: Vec<FormatCount>,
    /// `general.license`.
    pub license: Option<String>,
    /// Dimensions; absent when the metadata are invalid, or the architecture is unknown.
    pub dimensions: Option<Dimensions>,
    /// The vocabulary.
    pub vocabulary: Vocabulary,
    /// The chat template; absent when there is none, or none that works.
    pub chat_template: Option<ChatTemplate>,
    /// How answers are sampled when nothing else is asked for.
    pub sampling: Vec<Sampling>,
    /// Memory by context and kind of cache.
    pub memory: Vec<MemoryUse>,
    /// Tensors that the model does not use.
    pub ignored_tensors: Vec<String>,
    /// Whether the model can be computed.
    pub runnable: bool,
    /// Whether text can be made into its tokens; without that only `logits` and `bench` work.
    pub reads_text: bool,
    /// Whether it can be talked with: it has a chat template that works.
    pub chats: bool,
    /// Why it cannot be run, each reason by itself.
    pub problems: Vec<String>,
    /// What is odd about it, though it can be run.
    pub warnings: Vec<String>,
}

/// Tensors in one format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FormatCount {
    /// `Q4_K`, or `IQ2_XXS (type 16)` for one that is not supported.
    pub name: String,
    /// Whether it can be computed with.
    pub supported: bool,
    /// Number of tensors.
    pub tensors: usize,
    /// Their bytes (0 for a format of unknown size).
    pub bytes: u64,
}

/// Dimensions of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dimensions {
    /// Context that it was trained for.
    pub context: usize,
    /// Layers.
    pub layers: usize,
    /// Layers that see only a window, and the window.
    pub windowed_layers: usize,
    /// The smallest window.
    pub window: Option<usize>,
    /// Embedding length.
    pub embedding: usize,
    /// Query heads (of the first layer).
    pub heads: usize,
    /// Key-value heads (of the first layer).
    pub kv_heads: usize,
    /// Length of a key head.
    pub key_length: usize,
    /// Length of a value head.
    pub value_length: usize,
    /// Width of a dense feed-forward, or of one expert where no layer is dense.
    pub feed_forward: usize,
    /// Experts.
    pub experts: Option<ExpertCounts>,
    /// Tokens.
    pub vocabulary: usize,
    /// Rotary embeddings, in words.
    pub rope: Vec<String>,
}

/// Experts of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpertCounts {
    /// How many there are in a layer.
    pub count: usize,
    /// How many a token passes.
    pub used: usize,
    /// Width of one.
    pub width: usize,
    /// Width of the one that every token passes.
    pub shared: Option<usize>,
}

/// The vocabulary of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`.
    pub model: Option<String>,
    /// `tokenizer.ggml.pre`.
    pub pre: Option<String>,
    /// Number of tokens.
    pub tokens: usize,
}

/// What the file calls the model, else the file's own name.
pub fn name(gguf: &Gguf) -> String {
    let file = gguf.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
    gguf.str("general.name").ok().flatten().map(str::to_owned).or(file).unwrap_or_default()
}

impl Description {
    /// Describes an open file.
    ///
    /// # Errors
    /// A shortage of memory or threads: everything else is a property of the file, and told as one.
    pub fn of(gguf: &Gguf) -> crate::Result<Self> {
        let text = |key: &str| gguf.str(key).ok().flatten().map(str::to_owned);
        let read = arch::spec_and_rest(gguf);
        let spec = read.as_ref().ok().map(|(spec, _)| spec);
        let found = problems::find(gguf, read.as_ref().map(|(spec, unknown)| (spec, unknown.as_slice())))?;
        let formats = formats(gguf);
        Ok(Self {
            name: name(gguf),
            path: gguf.path().to_path_buf(),
            files: gguf.paths().count(),
            file_bytes: gguf.file_bytes(),
            architecture: text("general.architecture"),
            quantization: quantization(gguf),
            layout: layout_name(gguf.layout()),
            parameters: gguf.tensors().map(TensorInfo::elements).sum(),
            active_parameters: spec.map_or(0, |spec| active_parameters(gguf, spec)),
            weight_bytes: gguf.tensors().filter_map(|tensor| tensor.bytes).sum(),
            formats,
            license: text("general.license"),
            dimensions: spec.map(dimensions),
            vocabulary: Vocabulary {
                model: text("tokenizer.ggml.model"),
                pre: text("tokenizer.ggml.pre"),
                tokens: gguf.array("tokenizer.ggml.tokens").ok().flatten().map_or(0, crate::gguf::Array::len),
            },
            chats: found.reads_text && found.chat_template.is_some(),
            chat_template: found.chat_template,
            sampling: found.sampling,
            memory: spec.map_or_else(Vec::new, memory::table),
            ignored_tensors: spec.map_or_else(Vec::new, |spec| arch::ignored_tensors(gguf, spec)),
            runnable: found.problems.is_empty(),
            reads_text: found.reads_text,
            problems: found.problems,
            warnings: found.warnings,
        })
    }
}

/// Tensors by format, those with most bytes first.
fn formats(gguf: &Gguf) -> Vec<FormatCount> {
    let count = |(format, tensors, bytes): (TensorFormat, usize, u64)| FormatCount {
        name: format.name(),
        supported: matches!(format, TensorFormat::Known(_)),
        tensors,
        bytes,
    };
    gguf.formats().into_iter().map(count).collect()
}

/// The recipe that the file names, if its main format bears it out; else the main format.
pub fn quantization(gguf: &Gguf) -> String {
    let formats = formats(gguf);
    let main = formats.first().map_or("none", |count| count.name.as_str());
    let id = gguf.u32("general.file_type").ok().flatten();
    let recipe = Recipe::all().find(|recipe| Some(recipe.file_type()) == id).map(|recipe| recipe.name().to_uppercase());
    match recipe {
        Some(recipe) if formats.iter().any(|count| recipe.starts_with(&count.name)) => recipe,
        _ => main.to_owned(),
    }
}

/// Weights without those of the experts that a token does not pass.
fn active_parameters(gguf: &Gguf, spec: &Spec) -> u64 {
    let idle = |tensor: &TensorInfo| -> u64 {
        let block = tensor.name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        let experts = block.and_then(|block| spec.layers.get(block)).and_then(arch::Layer::experts);
        match experts.filter(|_| tensor.name.contains("_exps.")) {
            Some(experts) => tensor.elements() / experts.count as u64 * (experts.count - experts.used) as u64,
            None => 0,
        }
    };
    gguf.tensors().map(|tensor| tensor.elements() - idle(tensor)).sum()
}

fn dimensions(spec: &Spec) -> Dimensions {
    let attn = spec.layers.iter().find_map(arch::Layer::attention);
    let of = |read: fn(&arch::Attention) -> usize| attn.map_or(0, read);
    let windows: Vec<usize> =
        spec.layers.iter().filter_map(|layer| layer.attention().and_then(arch::Attention::reach)).collect();
    let dense =
        spec.layers.iter().flat_map(|layer| &layer.feeds).find_map(|feed| feed.ffn.dense()).map(|dense| dense.width);
    let experts = spec.layers.iter().find_map(arch::Layer::experts).map(|experts| ExpertCounts {
        count: experts.count,
        used: experts.used,
        width: experts.width,
        shared: experts.shared.map(|shared| shared.width),
    });
    Dimensions {
        context: spec.context_train,
        // Some blocks are run as two layers, some several times.
        layers: spec.layers.iter().map(|layer| layer.block).collect::<std::collections::BTreeSet<_>>().len(),
        windowed_layers: windows.len(),
        window: windows.into_iter().min(),
        embedding: spec.embd,
        heads: of(|attn| attn.heads),
        kv_heads: of(|attn| attn.kv_heads),
        key_length: of(|attn| attn.k_dim),
        value_length: of(|attn| attn.v_dim),
        feed_forward: dense.or(experts.as_ref().map(|experts| experts.width)).unwrap_or(0),
        experts,
        vocabulary: spec.vocab,
        rope: ropes_in_words(spec),
    }
}

/// The rotary embeddings; of several, each with the number of layers that use it.
fn ropes_in_words(spec: &Spec) -> Vec<String> {
    let used = |index| {
        let mut layers = spec.layers.iter().filter_map(arch::Layer::attention);
        std::iter::from_fn(move || layers.find(|attn| attn.rope == Some(index))).count()
    };
    let words = |(index, rope): (usize, &Rope)| match spec.ropes.len() {
        1 => rope_in_words(rope),
        _ => format!("{}, in {} layers", rope_in_words(rope), used(index)),
    };
    spec.ropes.iter().enumerate().map(words).collect()
}

/// `base 1000000, yarn x40 from 4096`.
fn rope_in_words(rope: &Rope) -> String {
    let mut words = format!("base {}", rope.base);
    match rope.scaling {
        RopeScaling::Linear { factor: 1.0 } => {}
        RopeScaling::Linear { factor } => words.push_str(&format!(", linear x{factor}")),
        RopeScaling::Yarn { factor, original, .. } => words.push_str(&format!(", yarn x{factor} from {original}")),
    }
    match &rope.factors {
        None => {}
        Some(arch::RopeFactors::Fixed(_)) => words.push_str(", frequencies divided as the file says"),
        Some(arch::RopeFactors::Given(_)) => words.push_str(", frequencies divided as the family does"),
        Some(arch::RopeFactors::ByContext { original }) => {
            words.push_str(&format!(", frequencies divided by context (up to {original}, beyond)"));
        }
    }
    words
}

/// A value of a key as JSON; arrays by their length and kind, as vocabularies are long.
pub fn json(value: &MetaValue) -> serde_json::Value {
    match value {
        MetaValue::Uint(n) => (*n).into(),
        MetaValue::Int(n) => (*n).into(),
        // As a single, so that 0.6 does not come out as 0.6000000238418579.
        MetaValue::Float(x) => (*x as f32).into(),
        MetaValue::Bool(b) => (*b).into(),
        MetaValue::Text(text) => text.as_str().into(),
        MetaValue::BadText | MetaValue::Array(_) => value.describe().into(),
    }
}
