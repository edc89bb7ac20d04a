//! Reads the metadata that all families share, and builds the plain pre-norm decoder that most of them vary.

use super::{
    Activation, Attention, Dense, Embedding, Feed, Ffn, Gate, Layer, Mixer, Norm, NormKind, Output, Pairing,
    Projection, Residual, Role, Rope, Spec, Stream, Values, Window,
};
use crate::gguf::{Gguf, MetaValue};
use crate::{Error, ErrorKind, Result};

/// Most layers of a model; the largest real ones have 126.
const MAX_LAYERS: usize = 1024;

/// The keys of one architecture: every name is prefixed with `<arch>.`.
pub(super) struct Keys<'a> {
    pub(super) gguf: &'a Gguf,
    arch: &'a str,
}

impl<'a> Keys<'a> {
    pub(super) fn new(gguf: &'a Gguf) -> Result<Self> {
        Ok(Self { gguf, arch: gguf.arch()? })
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    pub(super) fn usize(&self, key: &str) -> Result<Option<usize>> {
        self.gguf.usize(&self.full(key))
    }

    pub(super) fn need_usize(&self, key: &str) -> Result<usize> {
        self.gguf.need_usize(&self.full(key))
    }

    /// A number for which 0 means that it is not set.
    pub(super) fn set_usize(&self, key: &str) -> Result<Option<usize>> {
        Ok(self.usize(key)?.filter(|&n| n != 0))
    }

    /// A count that some files hold as a floating-point number.
    pub(super) fn count(&self, key: &str) -> Result<Option<usize>> {
        match self.gguf.value(&self.full(key)) {
            Some(MetaValue::Float(x)) if x.fract() == 0.0 && (0.0..1e6).contains(x) => Ok(Some(*x as usize)),
            _ => self.usize(key),
        }
    }

    pub(super) fn u32s(&self, key: &str, most: usize) -> Result<Option<Vec<u32>>> {
        self.gguf.u32s(&self.full(key), most)
    }

    pub(super) fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.gguf.f32(&self.full(key))
    }

    /// A number for which 0 means that it is not set.
    pub(super) fn set_f32(&self, key: &str) -> Result<Option<f32>> {
        Ok(self.f32(key)?.filter(|&x| x != 0.0))
    }

    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.gguf.bool(&self.full(key))
    }

    pub(super) fn str(&self, key: &str) -> Result<Option<&'a str>> {
        self.gguf.str(&self.full(key))
    }

    /// The error for a value that does not fit.
    pub(super) fn wrong(&self, key: &str, wanted: impl Into<String>) -> Error {
        self.gguf.wrong(&self.full(key), wanted)
    }

    /// Whether layer `block` has the tensor `blk.N.<name>`.
    pub(super) fn has(&self, block: usize, name: &str) -> bool {
        self.gguf.tensor(&format!("blk.{block}.{name}")).is_some()
    }

    /// Layers that are run: those of next-token prediction come last and are left out.
    pub(super) fn layers(&self) -> Result<usize> {
        let blocks = self.need_usize("block_count")?;
        let extra = self.usize("nextn_predict_layers")?.unwrap_or(0);
        match blocks.checked_sub(extra) {
            Some(layers @ 1..=MAX_LAYERS) => Ok(layers),
            _ => Err(self.wrong("block_count", format!("1 to {MAX_LAYERS} layers besides {extra} of prediction"))),
        }
    }

    pub(super) fn context(&self) -> Result<usize> {
        self.need_usize("context_length")
    }

    /// A number per layer: written once for all, or as an array.
    pub(super) fn per_layer(&self, key: &str, layers: usize) -> Result<Option<Vec<usize>>> {
        let name = self.full(key);
        if !matches!(self.gguf.value(&name), Some(MetaValue::Array(_))) {
            return Ok(self.gguf.usize(&name)?.map(|n| vec![n; layers]));
        }
        let values = self.gguf.u32s(&name, layers)?.unwrap_or_default();
        if values.len() < layers {
            return Err(self.gguf.wrong(&name, format!("{layers} values, one per layer")));
        }
        Ok(Some(values.into_iter().map(|n| n as usize).collect()))
    }

    /// A real number per layer: written once for all, or as an array.
    pub(super) fn f32s_per_layer(&self, key: &str, layers: usize) -> Result<Option<Vec<f32>>> {
        let name = self.full(key);
        if !matches!(self.gguf.value(&name), Some(MetaValue::Array(_))) {
            return Ok(self.gguf.f32(&name)?.map(|x| vec![x; layers]));
        }
        let values = self.gguf.f32s(&name, layers)?.unwrap_or_default();
        if values.len() < layers {
            return Err(self.gguf.wrong(&name, format!("{layers} values, one per layer")));
        }
        Ok(Some(values))
    }

    /// A mark per layer, as booleans or numbers.
    pub(super) fn marks(&self, key: &str, layers: usize) -> Result<Option<Vec<bool>>> {
        let name = self.full(key);
        if !matches!(self.gguf.value(&name), Some(MetaValue::Array(_))) {
            return Ok(None);
        }
        let marks = self.gguf.bools(&name, layers)?.unwrap_or_default();
        if marks.len() < layers {
            return Err(self.gguf.wrong(&name, format!("{layers} booleans, one per layer")));
        }
        Ok(Some(marks))
    }

    /// Which layers see only a window: a boolean per layer, or a period `n` whose last layer (or first one, for
    /// `global_first`) sees everything; a period of 0 makes all of them windows.
    pub(super) fn windowed(&self, layers: usize, default_period: usize, global_first: bool) -> Result<Vec<bool>> {
        let name = self.full("attention.sliding_window_pattern");
        if matches!(self.gguf.value(&name), Some(MetaValue::Array(_))) {
            return Ok(self.marks("attention.sliding_window_pattern", layers)?.unwrap_or_default());
        }
        let period = self.gguf.usize(&name)?.unwrap_or(default_period);
        Ok((0..layers)
            .map(|il| period == 0 || if global_first { il % period != 0 } else { il % period < period - 1 })
            .collect())
    }

    /// Gives the layers of `pattern` a window (the key's, or `default`), and their own rotary base if the file has one.
    pub(super) fn set_windows(&self, spec: &mut Spec, pattern: &[bool], default: usize) -> Result<()> {
        let window = self.set_usize("attention.sliding_window")?.unwrap_or(default);
        for (layer, &windowed) in spec.layers.iter_mut().zip(pattern) {
            if let Some(attn) = layer.attention_mut() {
                attn.window = windowed.then_some(Window::Last(window));
            }
        }
        let own_base = self.set_f32("rope.freq_base_swa")?;
        if let (Some(base), Some(main)) = (own_base, spec.ropes.first().cloned()) {
            self.rotate_windows(spec, Rope { base, ..main });
        }
        Ok(())
    }

    /// Gives the layers with a window another rotary embedding than the rest.
    pub(super) fn rotate_windows(&self, spec: &mut Spec, rope: Rope) {
        if spec.ropes.first() == Some(&rope) {
            return;
        }
        spec.ropes.truncate(1);
        spec.ropes.push(rope);
        for attn in spec.attentions().filter(|attn| attn.window.is_some()) {
            attn.rope = Some(1);
        }
    }

    /// The epsilon of norms of this kind; some converters write the key of the other.
    pub(super) fn norm_eps(&self, kind: NormKind) -> Result<f32> {
        let mut keys = ["attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"];
        if kind == NormKind::Layer {
            keys.reverse();
        }
        for key in keys {
            if let Some(eps) = self.set_f32(key)? {
                return Ok(eps);
            }
        }
        Ok(1e-5)
    }

    /// Rows of the embedding, which are also those of the logits.
    fn vocab(&self) -> Result<usize> {
        let tokens = self.gguf.array("tokenizer.ggml.tokens")?.map_or(0, crate::gguf::Array::len);
        let rows = match self.gguf.tensor("token_embd.weight").map(|tensor| tensor.shape.as_slice()) {
            Some([_, rows, ..]) => *rows,
            _ => self.usize("vocab_size")?.unwrap_or(tokens),
        };
        if tokens > rows {
            let place = format!("{}: tensor token_embd.weight", self.gguf.path().display());
            return Err(Error::input(place, format!("at least {tokens} rows, one for each token"), rows.to_string())
                .hint("vocabulary and weights are of different models, or the file is damaged")
                .of(ErrorKind::InvalidTensor));
        }
        Ok(rows)
    }

    /// Lengths of a key head and a value head, by the keys for all heads alike.
    pub(super) fn lengths_of_heads(&self) -> Result<(usize, usize)> {
        let heads = self.per_layer("attention.head_count", self.layers()?)?.unwrap_or_default();
        self.head_dims(self.need_usize("embedding_length")?, heads.into_iter().max().unwrap_or(0))
    }

    /// Lengths of a key head and a value head; the file may leave them to `E / H`.
    fn head_dims(&self, embd: usize, heads: usize) -> Result<(usize, usize)> {
        let even = embd / heads.max(1);
        let k_dim = self.set_usize("attention.key_length")?.unwrap_or(even);
        Ok((k_dim, self.set_usize("attention.value_length")?.unwrap_or(even)))
    }

    /// The plain decoder: RMS norm, attention with one rotary embedding, residual, norm, SwiGLU, residual, in every layer.
    pub(super) fn decoder(&self, pairing: Pairing) -> Result<Spec> {
        self.decoder_with(pairing, NormKind::Rms)
    }

    /// The plain decoder with norms of `kind`.
    pub(super) fn decoder_with(&self, pairing: Pairing, kind: NormKind) -> Result<Spec> {
        let layers = self.layers()?;
        let embd = self.need_usize("embedding_length")?;
        let heads = self.per_layer("attention.head_count", layers)?;
        let heads = heads.ok_or_else(|| self.wrong("attention.head_count", "a number of heads"))?;
        let kv_heads = self.per_layer("attention.head_count_kv", layers)?.unwrap_or_else(|| heads.clone());
        let widths = self.per_layer("feed_forward_length", layers)?.unwrap_or_else(|| vec![0; layers]);
        let most_heads = heads.iter().copied().max().unwrap_or(0);
        let (k_dim, v_dim) = self.head_dims(embd, most_heads)?;
        let scale = self.set_f32("attention.scale")?.unwrap_or_else(|| 1.0 / (k_dim as f32).sqrt());
        let norm = Norm { tensor: Some("attn_norm"), kind, eps: self.norm_eps(kind)? };
        let plain = Attention { scale, rope: Some(0), ..Attention::plain(k_dim, v_dim) };
        let layer = |il: usize| {
            let proj = if self.has(il, "attn_qkv.weight") { Projection::Fused } else { Projection::Split };
            let attn = Attention { heads: heads[il], kv_heads: kv_heads[il], proj, ..plain.clone() };
            Layer::plain(il, norm, Mixer::Attention(attn), Dense::plain(widths[il]))
        };
        Ok(Spec {
            arch: self.arch.to_owned(),
            vocab: self.vocab()?,
            embd,
            context_train: self.context()?,
            context_most: None,
            embedding: Embedding::default(),
            output_norm: Some(norm.of("output_norm")),
            output: Output::LOGITS,
            causal: self.bool("attention.causal")?.unwrap_or(true),
            pooling: self.pooling()?,
            norm_biases: false,
            ropes: vec![self.rope(pairing, k_dim)?],
            blocks: "blk",
            streams: None,
            layers: (0..layers).map(layer).collect(),
        })
    }
}

impl Attention {
    /// One head with nothing special.
    fn plain(k_dim: usize, v_dim: usize) -> Self {
        Self {
            heads: 1,
            kv_heads: 1,
            k_dim,
            v_dim,
            scale: 1.0,
            softcap: None,
            window: None,
            bias: None,
            temperature: None,
            rope: None,
            q_norm: None,
            k_norm: None,
            v_norm: None,
            norm_after_rope: false,
            clamp: None,
            sinks: false,
            proj: Projection::Split,
            output: Role::AttnOutput,
            values: Values::Own,
            kv_of: None,
            gate: None,
            out_norm: None,
            out_scale: 1.0,
        }
    }
}

impl Dense {
    /// SwiGLU with a matrix each.
    pub(super) fn plain(width: usize) -> Self {
        Self { width, act: Activation::Silu, gate: Gate::Split, inner_norm: None, divisors: false, sparsity: None }
    }
}

impl Layer {
    /// `x += mixer(attn_norm(x)); x += ffn(ffn_norm(x))`.
    fn plain(block: usize, norm: Norm, mixer: Mixer, dense: Dense) -> Self {
        let feed = Feed {
            of: Stream::Mixed,
            norm: Some(norm.of("ffn_norm")),
            ffn: Ffn::Dense(dense),
            post_norm: None,
            scale: 1.0,
        };
        Self {
            block,
            attn_norm: Some(norm),
            mixers: vec![mixer],
            attn_post_norm: None,
            attn_sum_norm: None,
            attn_again_norm: None,
            feeds: vec![feed],
            ffn_post_norm: None,
            ffn_sum_norm: None,
            residual_scale: 1.0,
            residual: Residual::Stream,
            skips: Vec::new(),
            ends: Vec::new(),
        }
    }
}
