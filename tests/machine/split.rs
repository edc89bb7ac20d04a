//! A model of DeepSeek's structure that is large enough for a memory limit to mean something, split over three files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tokki::internals::arch;
use tokki::internals::gguf::Gguf;
use tokki::testing::{Rng, Writer, vocabulary};

const SHARDS: usize = 3;
const F32: u32 = 0;
const Q8_0: u32 = 8;
/// Bytes of a Q8_0 block of 32 values.
const BLOCK: usize = 34;

/// The files, removed when dropped.
pub(crate) struct SplitModel {
    _folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

/// Latent attention, one dense layer, then layers with 64 experts in 8 groups of which 4 are used, beside a shared one.
fn keys(layers: u32) -> Writer {
    let mut writer = Writer::new("deepseek2");
    for (name, value) in [
        ("context_length", 4096),
        ("embedding_length", 1024),
        ("block_count", layers),
        ("feed_forward_length", 2048),
        ("leading_dense_block_count", 1),
        ("attention.head_count", 8),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 288),
        ("attention.value_length", 256),
        ("attention.key_length_mla", 96),
        ("attention.value_length_mla", 64),
        ("attention.q_lora_rank", 256),
        ("attention.kv_lora_rank", 256),
        ("rope.dimension_count", 32),
        ("expert_count", 64),
        ("expert_used_count", 4),
        ("expert_shared_count", 1),
        ("expert_feed_forward_length", 512),
        ("expert_group_count", 8),
        ("expert_group_used_count", 4),
        ("expert_gating_func", 2),
    ] {
        writer = writer.u32(&format!("deepseek2.{name}"), value);
    }
    vocabulary(writer)
        .f32("deepseek2.attention.layer_norm_rms_epsilon", 1e-6)
        .f32("deepseek2.rope.freq_base", 10_000.0)
        .f32("deepseek2.expert_weights_scale", 2.5)
        .bool("deepseek2.expert_weights_norm", true)
}

/// Names and shapes of all tensors in the order of the layers.
fn tensors(layers: u32) -> Vec<(String, Vec<u64>)> {
    let gguf = Gguf::from_bytes(Path::new("keys"), &keys(layers).bytes()).unwrap();
    let mut all = Vec::new();
    for (name, shape) in arch::spec(&gguf).unwrap().tensors() {
        // Without any tensors the keys read as those of an old file, which holds both in one.
        if let Some(block) = name.strip_suffix("attn_kv_b.weight") {
            all.push((format!("{block}attn_k_b.weight"), vec![64, 256, 8]));
            all.push((format!("{block}attn_v_b.weight"), vec![256, 64, 8]));
        } else {
            all.push((name, shape));
        }
    }
    let routers: Vec<_> = all.iter().filter_map(|(name, _)| name.strip_suffix("ffn_gate_inp.weight")).collect();
    let biases: Vec<_> = routers.iter().map(|block| (format!("{block}exp_probs_b.bias"), vec![64])).collect();
    all.extend(biases);
    all
}

fn format(name: &str) -> u32 {
    let small = ["norm.weight", "ffn_gate_inp.weight", ".bias"];
    if small.iter().any(|end| name.ends_with(end)) { F32 } else { Q8_0 }
}

fn bytes(name: &str, shape: &[u64]) -> usize {
    let values = shape.iter().product::<u64>() as usize;
    if format(name) == F32 { values * 4 } else { values / 32 * BLOCK }
}

impl SplitModel {
    /// Writes a model of so many layers in `folder`, about 107 MB for each but the first.
    pub(crate) fn write(folder: &Path, layers: u32) -> std::io::Result<Self> {
        let folder = tempfile::tempdir_in(folder)?;
        let all = tensors(layers);
        let each = all.iter().map(|(name, shape)| bytes(name, shape)).sum::<usize>() / SHARDS + 1;
        let mut parts = vec![Vec::new(); SHARDS];
        let mut before = 0;
        for (name, shape) in &all {
            parts[before / each].push((name.as_str(), shape.as_slice()));
            before += bytes(name, shape);
        }
        let mut data = Data::new();
        let mut paths = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let path = folder.path().join(format!("split-{:05}-of-{SHARDS:05}.gguf", number + 1));
            let writer = if number == 0 { keys(layers) } else { Writer::new("deepseek2") };
            let mut writer = writer.u32("split.no", number as u32).u32("split.count", SHARDS as u32);
            writer = writer.u32("split.tensors.count", all.len() as u32);
            write(writer, part, &path, &mut data)?;
            paths.push(path);
        }
        Ok(Self { _folder: folder, paths })
    }

    /// The file to open.
    pub(crate) fn path(&self) -> &Path {
        &self.paths[0]
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.paths.iter().map(|path| path.metadata().unwrap().len()).sum()
    }

    /// Takes the files out of the page cache, as far as the system does as told.
    pub(crate) fn forget_pages(&self) {
        for path in &self.paths {
            let file = File::open(path).unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    }
}

fn write(mut writer: Writer, part: &[(&str, &[u64])], path: &Path, data: &mut Data) -> std::io::Result<()> {
    let mut offset = 0u64;
    for (name, shape) in part {
        writer = writer.tensor(name, shape, format(name), Vec::new());
        writer.tensors.last_mut().unwrap().offset = Some(offset);
        offset = (offset + bytes(name, shape) as u64).next_multiple_of(32);
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(&writer.header())?;
    for (name, shape) in part {
        let len = bytes(name, shape);
        data.put(&mut out, name, len)?;
        out.write_all(&[0; 32][..len.next_multiple_of(32) - len])?;
    }
    out.into_inner()?.sync_all()
}

/// Where weights come from: two pools that are gone round.
struct Data {
    floats: Vec<u8>,
    blocks: Vec<u8>,
    at: usize,
}

impl Data {
    fn new() -> Self {
        /// A prime number, so that no two experts are alike.
        const BLOCKS: usize = 30_011;
        let mut rng = Rng::new(7);
        let floats = (0..BLOCKS).flat_map(|_| (0.05 * rng.signed()).to_le_bytes()).collect();
        let mut blocks = Vec::with_capacity(BLOCKS * BLOCK);
        for _ in 0..BLOCKS {
            let scale = half::f16::from_f32(0.0003 + 0.0001 * rng.signed());
            blocks.extend_from_slice(&scale.to_le_bytes());
            blocks.extend((0..4).flat_map(|_| rng.bits().to_le_bytes()));
        }
        Self { floats, blocks, at: 0 }
    }

    fn put(&mut self, out: &mut impl Write, name: &str, len: usize) -> std::io::Result<()> {
        if name.ends_with("norm.weight") {
            return out.write_all(&1f32.to_le_bytes().repeat(len / 4));
        }
        let pool = if format(name) == F32 { &self.floats } else { &self.blocks };
        let unit = if format(name) == F32 { 4 } else { BLOCK };
        let mut from = self.at % (pool.len() / unit) * unit;
        let mut left = len;
        while left > 0 {
            let take = left.min(pool.len() - from);
            out.write_all(&pool[from..from + take])?;
            (left, from) = (left - take, 0);
        }
        self.at += len / unit;
        Ok(())
    }
}
